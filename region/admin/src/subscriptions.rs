//! Subscriptions of a topic: listed, created, moved, deleted. On a partitioned topic most of it is done on every partition.

use crate::answer::{Refusal, json, no_content};
use crate::call::{Call, read, whole};
use crate::step::{Context, Next, Step};
use crate::topics::{command, require_persistent, single, unexpected};
use base::{LedgerId, Position, TopicName};
use broker::admin_command::{AdminReply, FailureKind, Force, StartAt, TopicOp};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The topic, or all its partitions.
fn parts(context: &Context<'_>, call: &Call) -> Result<Vec<TopicName>, Refusal> {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    crate::record::require_namespace(context, topic.namespace())?;
    Ok(match context.directory().partitions(&topic) {
        Some(count) if count > 0 => (0..count).map(|index| topic.with_partition(index)).collect(),
        Some(_) | None => vec![topic],
    })
}

/// Does `op` on the topic or on every partition; the first failure is the answer.
fn on_parts(context: &Context<'_>, call: &Call, op: &TopicOp) -> Next {
    let commands = parts(context, call)?.into_iter().map(|topic| command(topic, op.clone())).collect();
    Step::commands(commands, |_, replies| {
        for reply in replies {
            if let AdminReply::Failed(failure) = reply {
                return Err(failure.into());
            }
        }
        Ok(Step::Reply(no_content()))
    })
}

pub(crate) fn list(context: &Context<'_>, call: Call) -> Next {
    let commands = parts(context, &call)?.into_iter().map(|topic| command(topic, TopicOp::Subscriptions)).collect();
    Step::commands(commands, |_, replies| {
        let mut all = BTreeSet::new();
        for reply in replies {
            match reply {
                AdminReply::Names(names) => all.extend(names),
                AdminReply::Failed(failure) => return Err(failure.into()),
                _ => return Err(unexpected()),
            }
        }
        Ok(Step::Reply(json(&all)))
    })
}

/// Reads a MessageId or ResetCursor body: −1/−1 is the earliest, the largest numbers are the latest.
fn start_at(value: &Value) -> Result<StartAt, Refusal> {
    if value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty) {
        return Ok(StartAt::Latest);
    }
    if let Some(text) = value.as_str() {
        match text {
            "latest" => return Ok(StartAt::Latest),
            "earliest" => return Ok(StartAt::Earliest),
            _ => (),
        }
    }
    let number = |key: &str| value.get(key).and_then(whole);
    let (Some(ledger), Some(entry)) = (number("ledgerId"), number("entryId")) else {
        return Err(Refusal::new(400, "the position must be {\"ledgerId\":…,\"entryId\":…}"));
    };
    let excluded = match value.get("isExcluded").or_else(|| value.get("excluded")) {
        Some(Value::Bool(flag)) => *flag,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    match (u64::try_from(ledger), excluded) {
        (Err(_), _) => Ok(StartAt::Earliest),
        (Ok(_), _) if ledger == i64::MAX => Ok(StartAt::Latest),
        (Ok(ledger), true) => Ok(StartAt::After(Position::new(LedgerId(ledger), entry))),
        (Ok(ledger), false) => Ok(StartAt::Position(Position::new(LedgerId(ledger), entry))),
    }
}

pub(crate) fn create(context: &Context<'_>, call: Call) -> Next {
    let body = call.value();
    let properties: BTreeMap<String, String> = match body.get("properties") {
        Some(Value::Null) | None => BTreeMap::new(),
        Some(map) => read(map.clone(), "map of properties")?,
    };
    let parts = parts(context, &call)?;
    let op = TopicOp::CreateSubscription { name: call.subscription()?, start: start_at(&body)?, properties };
    let commands = parts.into_iter().map(|topic| command(topic, op.clone())).collect();
    Step::commands(commands, |_, replies| {
        // On a partitioned topic the missing ones are added: it existed only when it existed everywhere.
        let failures: Vec<_> = replies
            .iter()
            .filter_map(|reply| if let AdminReply::Failed(failure) = reply { Some(failure.clone()) } else { None })
            .collect();
        let all = failures.len() == replies.len();
        match failures.into_iter().find(|failure| all || failure.kind != FailureKind::AlreadyExists) {
            Some(failure) => Err(failure.into()),
            None => Ok(Step::Reply(no_content())),
        }
    })
}

pub(crate) fn delete(context: &Context<'_>, call: Call) -> Next {
    let force = if call.flag("force") { Force::Yes } else { Force::No };
    let op = TopicOp::DeleteSubscription { name: call.subscription()?, force };
    let commands = parts(context, &call)?.into_iter().map(|topic| command(topic, op.clone())).collect();
    Step::commands(commands, |_, replies| {
        // Partitions where it is gone already are as wanted, so that a deletion that failed in part can be tried again.
        let all = replies.len();
        let failures: Vec<_> = replies
            .into_iter()
            .filter_map(|reply| if let AdminReply::Failed(failure) = reply { Some(failure) } else { None })
            .collect();
        let nowhere = failures.len() == all && failures.iter().all(|failure| failure.kind == FailureKind::NotFound);
        match failures.into_iter().find(|failure| nowhere || failure.kind != FailureKind::NotFound) {
            Some(failure) => Err(failure.into()),
            None => Ok(Step::Reply(no_content())),
        }
    })
}

pub(crate) fn skip_all(context: &Context<'_>, call: Call) -> Next {
    on_parts(context, &call, &TopicOp::SkipAll { name: call.subscription()? })
}

pub(crate) fn skip(context: &Context<'_>, call: Call) -> Next {
    let entries = call.number("count")?;
    let topic = single(context, &call)?;
    let op = TopicOp::Skip { name: call.subscription()?, entries };
    Step::command(command(topic, op), |_, _| Ok(Step::Reply(no_content())))
}

pub(crate) fn expire(context: &Context<'_>, call: Call) -> Next {
    let older_than_s = call.number("seconds")?;
    on_parts(context, &call, &TopicOp::Expire { name: Some(call.subscription()?), older_than_s })
}

pub(crate) fn expire_all(context: &Context<'_>, call: Call) -> Next {
    let older_than_s = call.number("seconds")?;
    on_parts(context, &call, &TopicOp::Expire { name: None, older_than_s })
}

pub(crate) fn reset_to_time(context: &Context<'_>, call: Call) -> Next {
    let time: u64 = call.number("time")?;
    on_parts(context, &call, &TopicOp::Reset { name: call.subscription()?, to: StartAt::Time(time) })
}

pub(crate) fn reset_to_id(context: &Context<'_>, call: Call) -> Next {
    let to = start_at(&call.value())?;
    let topic = single(context, &call)?;
    let op = TopicOp::Reset { name: call.subscription()?, to };
    Step::command(command(topic, op), |_, _| Ok(Step::Reply(no_content())))
}
