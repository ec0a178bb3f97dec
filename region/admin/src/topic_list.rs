//! Listings of topics.

use crate::answer::json;
use crate::call::Call;
use crate::record::require_namespace;
use crate::step::{Context, Next, Step};
use base::{Domain, NamespaceName, TopicName};
use std::collections::BTreeSet;

/// Topics with partitions one by one; system topics only when asked for.
fn names(context: &Context<'_>, namespace: &NamespaceName, domains: &[Domain], call: &Call) -> BTreeSet<TopicName> {
    let directory = context.directory();
    let mut names = BTreeSet::new();
    for domain in domains {
        names.extend(directory.topics_of(namespace, *domain, None, usize::MAX));
        for (topic, partitions) in directory.partitioned_of(namespace, *domain, None, usize::MAX) {
            names.extend((0..partitions).map(|index| topic.with_partition(index)));
        }
    }
    if !call.flag("includeSystemTopic") {
        names.retain(|name| !name.is_system());
    }
    names
}

pub(crate) fn of_namespace(context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    let domains: &[Domain] = match call.query.get("mode").map(String::as_str) {
        Some("PERSISTENT") => &[Domain::Persistent],
        Some("NON_PERSISTENT") => &[Domain::NonPersistent],
        Some(_) | None => &[Domain::Persistent, Domain::NonPersistent],
    };
    Ok(Step::Reply(json(&names(context, &namespace, domains, &call))))
}

pub(crate) fn of_domain(context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    let mut names = names(context, &namespace, &[call.domain()], &call);
    if let Some(bundle) = call.query.get("bundle").and_then(|text| tenancy::BundleRange::parse(text)) {
        names.retain(|name| bundle.contains(tenancy::topic_hash(name)));
    }
    Ok(Step::Reply(json(&names)))
}

pub(crate) fn partitioned(context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    let own = context.directory().partitioned_of(&namespace, call.domain(), None, usize::MAX);
    let names: Vec<TopicName> = own.into_iter().map(|(name, _)| name).collect();
    Ok(Step::Reply(json(&names)))
}
