//! Namespaces: created, listed, deleted, and the policies that need more than a value (`namespace_policies` has those).
//!
//! **Invariants**
//! - I1  a namespace's record goes only when no topic of it is left, checked by the store in the same transaction.
//! - I2  a namespace is replicated only to clusters that exist and that its tenant may use.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::hand_over::hand_over;
use crate::record::{Edit, edit_namespace, edit_record, no_namespace, purge, put_json, require_namespace, transact};
use crate::step::{Context, Next, Step};
use base::{Domain, NamespaceName, RegionName, TopicName};
use broker::admin_command::{AdminCommand, AdminReply, FailureKind, Force, TopicOp};
use cluster::View;
use meta_api::{Compare, Write};
use std::collections::BTreeSet;
use tenancy::{BacklogQuota, BacklogQuotaType, Policies, PolicyRecord, Retention, keys};

pub(crate) fn list(context: &Context<'_>, call: Call) -> Next {
    let tenant = call.tenant()?;
    let directory = context.directory();
    directory.tenant(&tenant).ok_or_else(crate::tenants::missing)?;
    let names: Vec<&NamespaceName> = directory.namespaces_of(&tenant).map(|(name, _)| name).collect();
    Ok(Step::Reply(json(&names)))
}

fn policies<'a>(context: &'a Context<'_>, namespace: &NamespaceName) -> Result<&'a Policies, Refusal> {
    context.directory().namespace(namespace).ok_or_else(|| no_namespace(context, namespace))
}

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(policies(context, &call.namespace()?)?)))
}

pub(crate) fn bundles(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(&policies(context, &call.namespace()?)?.bundles)))
}

pub(crate) fn create(_context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    let given: Policies = call.optional("Policies")?.unwrap_or_default();
    let key = keys::namespace_key(&namespace);
    edit_record(key.clone(), move |context, found| {
        if found.is_some() {
            return Err(Refusal::new(409, format!("Namespace already exists: {namespace}")));
        }
        let directory = context.directory();
        directory.tenant(namespace.tenant()).ok_or_else(crate::tenants::missing)?;
        let local = directory.cluster_name();
        let policies = given.clone().at_creation(local);
        check_clusters(context, &namespace, &policies.replication_clusters)?;
        check_policies(&policies)?;
        let record = PolicyRecord { policies, version: 1, writer: Some(local.clone()), ..PolicyRecord::default() };
        let tenant = Compare::Exists { key: keys::tenant_key(namespace.tenant()) };
        let compare = vec![(tenant, crate::tenants::missing())];
        Ok(Edit { compare, writes: vec![put_json(key.clone(), &record)?], answer: no_content() })
    })
}

fn check_policies(policies: &Policies) -> Result<(), Refusal> {
    if let Some(persistence) = &policies.persistence {
        persistence.check()?;
    }
    if let Some(retention) = &policies.retention {
        retention.check()?;
        retention.check_against(&policies.backlog_quotas)?;
    }
    if let Some(creation) = &policies.auto_topic_creation {
        creation.check()?;
    }
    Ok(())
}

/// I2.
pub(crate) fn check_clusters(
    context: &Context<'_>,
    namespace: &NamespaceName,
    clusters: &BTreeSet<RegionName>,
) -> Result<(), Refusal> {
    let directory = context.directory();
    if let Some(unknown) = clusters.iter().find(|name| directory.cluster(name).is_none()) {
        return Err(Refusal::bad_value(format!("Invalid cluster id: {unknown}; create the cluster first")));
    }
    let tenant = directory.tenant(namespace.tenant()).ok_or_else(crate::tenants::missing)?;
    match clusters.iter().find(|name| !tenant.allowed_clusters.contains(*name)) {
        Some(refused) => Err(Refusal::new(
            403,
            format!(
                "Cluster [{refused}] is not in the list of allowed clusters of tenant [{}]: a super user adds it to \
                 allowedClusters",
                namespace.tenant()
            ),
        )),
        None => Ok(()),
    }
}

// ── Deletion

pub(crate) fn delete(context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    if call.flag("force") {
        return delete_all(context, vec![namespace], |_| Ok(Step::Reply(no_content())));
    }
    let directory = context.directory();
    let domains = [Domain::Persistent, Domain::NonPersistent];
    let full = directory.topic_count(&namespace) > 0
        || domains.iter().any(|domain| !directory.partitioned_of(&namespace, *domain, None, 1).is_empty());
    if full {
        return Err(not_empty(&namespace));
    }
    delete_record(namespace, |_| Ok(Step::Reply(no_content())))
}

fn not_empty(namespace: &NamespaceName) -> Refusal {
    Refusal::new(409, format!("Cannot delete non empty namespace {namespace}: delete its topics first or use force"))
}

/// Deletes namespaces with all their topics, one after the other.
pub(crate) fn delete_all(
    context: &Context<'_>,
    mut namespaces: Vec<NamespaceName>,
    then: impl FnOnce(&Context<'_>) -> Next + Send + 'static,
) -> Next {
    let Some(namespace) = namespaces.pop() else { return then(context) };
    let then: Box<dyn FnOnce(&Context<'_>) -> Next + Send> = Box::new(then);
    if context.broker.core().cluster.view().is_some_and(|view| view.gather(&namespace).is_some()) {
        // Only the owner of a topic can delete it: this node becomes the owner of all of them.
        namespaces.push(namespace.clone());
        return hand_over(context, namespace, View::gather, |context| delete_all(context, namespaces, then));
    }
    let domains = [Domain::Persistent, Domain::NonPersistent];
    let directory = context.directory();
    let topics = domains.iter().flat_map(|domain| directory.topics_of(&namespace, *domain, None, usize::MAX));
    let deletions = topics.map(|topic| AdminCommand::Topic { topic, op: TopicOp::Delete { force: Force::Yes } });
    Step::commands(deletions.collect(), move |_, replies| {
        check_deleted(replies)?;
        purge(keys::partitioned_prefix(&namespace), move |_| {
            delete_record(namespace, move |context| delete_all(context, namespaces, then))
        })
    })
}

/// That nothing went wrong; a topic that is gone already is what was wanted.
pub(crate) fn check_deleted(replies: Vec<AdminReply>) -> Result<(), Refusal> {
    let failure = replies.into_iter().find_map(|reply| match reply {
        AdminReply::Failed(failure) if failure.kind != FailureKind::NotFound => Some(failure),
        _ => None,
    });
    failure.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Removes the record (I1), then what only its topics could have used.
fn delete_record(namespace: NamespaceName, then: impl FnOnce(&Context<'_>) -> Next + Send + 'static) -> Next {
    let compare = vec![
        Compare::Exists { key: keys::namespace_key(&namespace) },
        Compare::NoneWithPrefix { prefix: keys::topics_prefix(&namespace) },
        Compare::NoneWithPrefix { prefix: keys::partitioned_prefix(&namespace) },
    ];
    let writes = vec![Write::Delete { key: keys::namespace_key(&namespace) }];
    transact(compare, writes, not_empty(&namespace), move |_| {
        purge(keys::topic_policies_prefix(&namespace), move |_| {
            purge(keys::schemas_prefix(&namespace), move |_| purge(keys::owners_prefix(&namespace), then))
        })
    })
}

pub(crate) fn unload(context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    if context.broker.core().cluster.view().is_some() {
        return hand_over(context, namespace, View::unload, |_| Ok(Step::Reply(no_content())));
    }
    Step::command(AdminCommand::UnloadNamespace { namespace }, |_, _| Ok(Step::Reply(no_content())))
}

// ── Replication

pub(crate) fn replication(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(&policies(context, &call.namespace()?)?.replication_clusters)))
}

pub(crate) fn set_replication(_context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    let clusters: BTreeSet<RegionName> = call.required("list of clusters")?;
    edit_namespace(namespace.clone(), no_content(), move |context, record| {
        if clusters.is_empty() {
            return Err(Refusal::bad_value("ClusterIds should not be null or empty: name at least one cluster"));
        }
        check_clusters(context, &namespace, &clusters)?;
        let allowed = &record.policies.allowed_clusters;
        if let Some(name) = clusters.iter().find(|name| !allowed.is_empty() && !allowed.contains(*name)) {
            let reason =
                format!("Cluster [{name}] is not in the allowedClusters of namespace {namespace}: add it there first");
            return Err(Refusal::new(403, reason));
        }
        record.policies.replication_clusters.clone_from(&clusters);
        Ok(())
    })
}

pub(crate) fn allowed_clusters(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(&policies(context, &call.namespace()?)?.allowed_clusters)))
}

pub(crate) fn set_allowed_clusters(_context: &Context<'_>, call: Call) -> Next {
    let namespace = call.namespace()?;
    let clusters: BTreeSet<RegionName> = call.required("list of clusters")?;
    edit_namespace(namespace.clone(), no_content(), move |context, record| {
        check_clusters(context, &namespace, &clusters)?;
        let replicated = &record.policies.replication_clusters;
        if let Some(left_out) = replicated.iter().find(|name| !clusters.is_empty() && !clusters.contains(*name)) {
            let reason = format!(
                "cluster {left_out} is a replication cluster of namespace {namespace}: keep it or change replication"
            );
            return Err(Refusal::new(400, reason));
        }
        record.policies.allowed_clusters.clone_from(&clusters);
        Ok(())
    })
}

// ── Backlog quota

pub(crate) fn backlog_quotas(context: &Context<'_>, call: Call) -> Next {
    Ok(Step::Reply(json(&policies(context, &call.namespace()?)?.backlog_quotas)))
}

/// Which of the two quotas the query names; storage when it names none.
pub(crate) fn quota_type(call: &Call) -> Result<BacklogQuotaType, Refusal> {
    match call.query.get("backlogQuotaType").map(String::as_str) {
        None | Some("") => Ok(BacklogQuotaType::DestinationStorage),
        Some(name) => BacklogQuotaType::parse(name)
            .ok_or_else(|| Refusal::bad_value("backlogQuotaType must be destination_storage or message_age")),
    }
}

/// A quota must stay below what is retained.
pub(crate) fn check_quota(
    retention: Option<Retention>,
    kind: BacklogQuotaType,
    quota: BacklogQuota,
) -> Result<(), Refusal> {
    if let Some(retention) = retention {
        retention.check_against(&[(kind, quota)].into())?;
    }
    Ok(())
}

pub(crate) fn set_backlog_quota(_context: &Context<'_>, call: Call) -> Next {
    let kind = quota_type(&call)?;
    let quota: BacklogQuota = call.required("BacklogQuota")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        check_quota(record.policies.retention, kind, quota)?;
        record.policies.backlog_quotas.insert(kind, quota);
        Ok(())
    })
}

pub(crate) fn remove_backlog_quota(_context: &Context<'_>, call: Call) -> Next {
    let kind = quota_type(&call)?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.backlog_quotas.remove(&kind);
        Ok(())
    })
}

/// Takes the grants of deleted topics away, so that a later topic of the name does not inherit them.
pub(crate) fn forget_grants(context: &Context<'_>, topics: Vec<TopicName>) -> Next {
    let Some(namespace) = topics.first().map(|topic| topic.namespace().clone()) else {
        return Ok(Step::Reply(no_content()));
    };
    let granted = context.directory().namespace(&namespace).is_some_and(|policies| {
        topics.iter().any(|topic| policies.grants.topic_grants(topic) != *policies.grants.namespace_grants())
    });
    if !granted {
        return Ok(Step::Reply(no_content()));
    }
    edit_namespace(namespace, no_content(), move |_, record| {
        for topic in &topics {
            record.policies.grants.remove_topic(topic);
        }
        Ok(())
    })
}
