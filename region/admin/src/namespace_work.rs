//! What is done on all topics of a namespace or of one bundle, and the namespace's settings for this region alone.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::namespaces::check_deleted;
use crate::record::{edit_namespace, no_namespace, require_namespace};
use crate::step::{Context, Next, Step};
use crate::topics::command;
use base::{Domain, NamespaceName, SubscriptionName, TopicName};
use broker::admin_command::{AdminCommand, AdminReply, Force, TopicOp};
use tenancy::{BookieAffinity, BundleRange, PolicyRecord, topic_hash};

/// Existing topics of the namespace, or of the bundle that the path names.
pub(crate) fn topics(context: &Context<'_>, call: &Call) -> Result<Vec<TopicName>, Refusal> {
    let namespace = call.namespace()?;
    require_namespace(context, &namespace)?;
    let mut topics = context.directory().topics_of(&namespace, Domain::Persistent, None, usize::MAX);
    if !call.param("bundle").is_empty() {
        let range = BundleRange::parse(call.param("bundle"))
            .ok_or_else(|| Refusal::bad_value("a bundle is written 0x00000000_0x40000000"))?;
        topics.retain(|topic| range.contains(topic_hash(topic)));
    }
    Ok(topics)
}

/// Runs commands; what is not there counts as done.
pub(crate) fn run(commands: Vec<AdminCommand>) -> Next {
    Step::commands(commands, |_, replies| {
        check_deleted(replies)?;
        Ok(Step::Reply(no_content()))
    })
}

pub(crate) fn clear_backlog(context: &Context<'_>, call: Call) -> Next {
    let topics = topics(context, &call)?;
    if !call.param("subscription").is_empty() {
        let name = call.subscription()?;
        return run(topics.into_iter().map(|topic| command(topic, TopicOp::SkipAll { name: name.clone() })).collect());
    }
    let looks = topics.iter().map(|topic| command(topic.clone(), TopicOp::Subscriptions)).collect();
    Step::commands(looks, move |_, replies| {
        let mut commands = Vec::new();
        for (topic, reply) in topics.iter().zip(&replies) {
            let AdminReply::Names(names) = reply else { continue };
            let names = names.iter().filter_map(|name| SubscriptionName::parse(name).ok());
            commands.extend(names.map(|name| command(topic.clone(), TopicOp::SkipAll { name })));
        }
        check_deleted(replies)?;
        run(commands)
    })
}

pub(crate) fn unsubscribe(context: &Context<'_>, call: Call) -> Next {
    let name = call.subscription()?;
    let op = TopicOp::DeleteSubscription { name, force: Force::No };
    run(topics(context, &call)?.into_iter().map(|topic| command(topic, op.clone())).collect())
}

// ── Settings of this region

fn record<'a>(context: &'a Context<'_>, namespace: &NamespaceName) -> Result<&'a PolicyRecord, Refusal> {
    context.directory().namespace_record(namespace).ok_or_else(|| no_namespace(context, namespace))
}

pub(crate) fn bookie_affinity(context: &Context<'_>, call: Call) -> Next {
    let own = record(context, &call.namespace()?)?.local.bookie_affinity.as_ref();
    Ok(Step::Reply(own.map_or_else(no_content, json)))
}

pub(crate) fn set_bookie_affinity(_context: &Context<'_>, call: Call) -> Next {
    let affinity: Option<BookieAffinity> = call.optional("BookieAffinityGroupData")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.local.bookie_affinity.clone_from(&affinity);
        Ok(())
    })
}

pub(crate) fn remove_bookie_affinity(_context: &Context<'_>, call: Call) -> Next {
    edit_namespace(call.namespace()?, no_content(), |_, record| {
        record.local.bookie_affinity = None;
        Ok(())
    })
}

pub(crate) fn anti_affinity(context: &Context<'_>, call: Call) -> Next {
    let own = record(context, &call.namespace()?)?.local.anti_affinity_group.as_ref();
    Ok(Step::Reply(own.map_or_else(no_content, json)))
}

pub(crate) fn set_anti_affinity(_context: &Context<'_>, call: Call) -> Next {
    let group: String = call.required("name of a group")?;
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.local.anti_affinity_group = Some(group.clone());
        Ok(())
    })
}

pub(crate) fn remove_anti_affinity(_context: &Context<'_>, call: Call) -> Next {
    edit_namespace(call.namespace()?, no_content(), |_, record| {
        record.local.anti_affinity_group = None;
        Ok(())
    })
}

pub(crate) fn set_resource_group(_context: &Context<'_>, call: Call) -> Next {
    let name = call.param("name").to_owned();
    edit_namespace(call.namespace()?, no_content(), move |_, record| {
        record.policies.resource_group_name = Some(name.clone());
        Ok(())
    })
}

pub(crate) fn remove_offload_policies(_context: &Context<'_>, call: Call) -> Next {
    edit_namespace(call.namespace()?, no_content(), |_, record| {
        record.policies.offload_policies = None;
        Ok(())
    })
}
