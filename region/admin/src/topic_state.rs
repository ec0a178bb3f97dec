//! Topics as they are: their stats, what their logs hold, where those end, and ending them.

use crate::HttpResponse;
use crate::answer::{Refusal, json};
use crate::call::Call;
use crate::record::require_namespace;
use crate::step::{Context, Next, Step};
use crate::topics::{
    command, create_missing, existing_partitions, metadata, not_partitioned, require_persistent, single, unexpected,
};
use base::TopicName;
use broker::admin_command::{AdminReply, FailureKind, MessageIdView, TopicOp};
use broker::stats::{PartitionedTopicStats, TopicStats};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;

/// A persistent topic of a namespace that exists, partitioned or not.
fn whole_topic(context: &Context<'_>, call: &Call) -> Result<TopicName, Refusal> {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    Ok(topic)
}

/// Asks each topic the same and answers with what they say; one that was deleted meanwhile says nothing.
fn ask_each(
    topics: Vec<TopicName>,
    op: TopicOp,
    answer: impl FnOnce(Vec<(TopicName, AdminReply)>) -> Result<HttpResponse, Refusal> + Send + 'static,
) -> Next {
    let commands = topics.iter().map(|name| command(name.clone(), op.clone())).collect();
    Step::commands(commands, move |_, replies| {
        let mut said = Vec::with_capacity(topics.len());
        for (name, reply) in topics.into_iter().zip(replies) {
            match reply {
                AdminReply::Failed(failure) if failure.kind == FailureKind::NotFound => (),
                AdminReply::Failed(failure) => return Err(failure.into()),
                reply => said.push((name, reply)),
            }
        }
        Ok(Step::Reply(answer(said)?))
    })
}

/// Leaves out what the query asks to leave out.
fn trim(mut stats: TopicStats, call: &Call) -> TopicStats {
    if call.flag("excludePublishers") {
        stats.publishers.clear();
    }
    if call.flag("excludeConsumers") {
        for subscription in stats.subscriptions.values_mut() {
            subscription.consumers.clear();
        }
    }
    stats
}

pub(crate) fn stats(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    if context.directory().partitions(&topic).is_some() {
        return Err(Refusal::new(404, format!("Topic not found: {topic} is partitioned, ask for partitioned-stats")));
    }
    Step::command(command(topic, TopicOp::Stats), move |_, reply| match reply {
        AdminReply::Stats(stats) => Ok(Step::Reply(json(&trim(*stats, &call)))),
        _ => Err(unexpected()),
    })
}

pub(crate) fn partitioned_stats(context: &Context<'_>, call: Call) -> Next {
    let topic = whole_topic(context, &call)?;
    let count = context.directory().partitions(&topic).ok_or_else(|| not_partitioned(&topic))?;
    let existing = existing_partitions(context, &topic, count);
    ask_each(existing, TopicOp::Stats, move |replies| {
        let mut loaded = BTreeMap::new();
        for (name, reply) in replies {
            let AdminReply::Stats(stats) = reply else { return Err(unexpected()) };
            loaded.insert(name.to_string(), trim(*stats, &call));
        }
        let mut sum = PartitionedTopicStats::add_up(count, loaded);
        let per_partition = call.query.get("perPartition").is_none_or(|value| !value.eq_ignore_ascii_case("false"));
        if !per_partition {
            sum.partitions.clear();
        }
        Ok(json(&sum))
    })
}

pub(crate) fn internal_stats(context: &Context<'_>, call: Call) -> Next {
    let topic = single(context, &call)?;
    require_namespace(context, topic.namespace())?;
    Step::command(command(topic, TopicOp::InternalStats), |_, reply| match reply {
        AdminReply::Internal(stats) => Ok(Step::Reply(json(&stats))),
        _ => Err(unexpected()),
    })
}

pub(crate) fn partitioned_internal_stats(context: &Context<'_>, call: Call) -> Next {
    let topic = whole_topic(context, &call)?;
    let record = context.directory().partitioned(&topic).ok_or_else(|| not_partitioned(&topic))?;
    let (existing, metadata) = (existing_partitions(context, &topic, record.partitions), metadata(record));
    ask_each(existing, TopicOp::InternalStats, move |replies| {
        let mut partitions = BTreeMap::new();
        for (name, reply) in replies {
            let AdminReply::Internal(stats) = reply else { return Err(unexpected()) };
            partitions.insert(name.to_string(), stats);
        }
        Ok(json(&object!({ "metadata": metadata, "partitions": partitions })))
    })
}

fn message_id(view: MessageIdView) -> Value {
    // No message yet is −1:−1 in Pulsar's words.
    let none = view.position.entry.0 < 0 && view.position.ledger.0 == 0;
    let ledger = if none { Value::from(-1) } else { Value::from(view.position.ledger.0) };
    let mut value = object!({ "ledgerId": ledger, "entryId": view.position.entry.0, "partitionIndex": view.partition });
    if view.batch_index >= 0
        && let Some(map) = value.as_object_mut()
    {
        map.insert("batchIndex".to_owned(), view.batch_index.into());
        map.insert("batchSize".to_owned(), (view.batch_index + 1).into());
    }
    value
}

/// Asks a topic for a message id.
fn ask_message_id(topic: TopicName, op: TopicOp) -> Next {
    Step::command(command(topic, op), |_, reply| match reply {
        AdminReply::MessageId(view) => Ok(Step::Reply(json(&message_id(view)))),
        _ => Err(unexpected()),
    })
}

pub(crate) fn last_message_id(context: &Context<'_>, call: Call) -> Next {
    ask_message_id(single(context, &call)?, TopicOp::LastMessageId)
}

pub(crate) fn message_id_at(context: &Context<'_>, call: Call) -> Next {
    let publish_time_ms = call.number("time")?;
    ask_message_id(single(context, &call)?, TopicOp::FirstAt { publish_time_ms })
}

pub(crate) fn terminate(context: &Context<'_>, call: Call) -> Next {
    ask_message_id(single(context, &call)?, TopicOp::Terminate)
}

/// Ends every partition. Those that nobody has used yet are created for it: else the first producer would make them anew.
pub(crate) fn terminate_partitions(context: &Context<'_>, call: Call) -> Next {
    let topic = whole_topic(context, &call)?;
    let count = context.directory().partitions(&topic).ok_or_else(|| {
        let reason = format!("{topic} is not partitioned: terminate it with POST …/{}/terminate", topic.local());
        Refusal::new(405, reason)
    })?;
    let all: Vec<TopicName> = (0..count).map(|index| topic.with_partition(index)).collect();
    create_missing(context, &topic, count, move |_| {
        ask_each(all, TopicOp::Terminate, |replies| {
            let mut last = BTreeMap::new();
            for (name, reply) in replies {
                let AdminReply::MessageId(view) = reply else { return Err(unexpected()) };
                last.insert(name.partition().unwrap_or_default(), message_id(view));
            }
            Ok(json(&last))
        })
    })
}
