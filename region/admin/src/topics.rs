//! Topics: created, grown, deleted, unloaded.
//!
//! **Invariants**
//! - I1  a partitioned topic and a topic of the same name never exist both: creating either is conditional on the other's
//!   absence.
//! - I2  the number of partitions only grows.

use crate::answer::{Refusal, json, no_content};
use crate::call::{Call, whole};
use crate::namespaces::{check_deleted, forget_grants};
use crate::record::{Edit, decode, edit_record, put_json, require_namespace};
use crate::step::{Context, Next, Step};
use base::{Domain, TopicName};
use broker::admin_command::{AdminCommand, AdminReply, FailureKind, Force, TopicOp};
use meta_api::{Compare, Write};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use tenancy::{PartitionedRecord, keys};

/// Most partitions that a topic may have.
const PARTITIONS_MAX: u32 = 10_000;

pub(crate) fn command(topic: TopicName, op: TopicOp) -> AdminCommand {
    AdminCommand::Topic { topic, op }
}

fn force(call: &Call) -> Force {
    if call.flag("force") { Force::Yes } else { Force::No }
}

/// Pulsar's topics without storage are not built.
pub(crate) fn require_persistent(topic: &TopicName) -> Result<(), Refusal> {
    match topic.domain() {
        Domain::Persistent => Ok(()),
        Domain::NonPersistent => {
            Err(Refusal::new(405, format!("{topic}: non-persistent topics are not built yet, use a persistent one")))
        }
    }
}

/// The topic that the path names, once it is known to be one whose messages can be asked for.
pub(crate) fn single(context: &Context<'_>, call: &Call) -> Result<TopicName, Refusal> {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    if context.directory().partitions(&topic).is_some_and(|count| count > 0) {
        let reason =
            format!("{topic} is a partitioned topic: this is not supported on it, ask its partitions one by one");
        return Err(Refusal::new(405, reason));
    }
    Ok(topic)
}

// ── Creation

fn properties(value: Value) -> Result<BTreeMap<String, String>, Refusal> {
    match value {
        Value::Object(map) if map.is_empty() => Ok(BTreeMap::new()),
        Value::Object(_) => crate::call::read(value, "map of properties"),
        // Clients send nothing, null or any scrap where properties are optional.
        _ => Ok(BTreeMap::new()),
    }
}

pub(crate) fn create(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    if context.directory().partitions(&topic).is_some() {
        return Err(Refusal::new(409, format!("This topic already exists: {topic} is partitioned")));
    }
    check_limits(context, &topic, 1)?;
    let op = TopicOp::Create { properties: properties(call.value())? };
    Step::command(command(topic.clone(), op), move |_, _| {
        Step::reply_when(move |broker| broker.core().directory.has_topic(&topic), no_content())
    })
}

/// That `more` topics fit into the namespace and the tenant.
fn check_limits(context: &Context<'_>, topic: &TopicName, more: usize) -> Result<(), Refusal> {
    let directory = context.directory();
    let policies = directory.effective_of_namespace(topic.namespace());
    let limit = policies.and_then(|policies| policies.limits.topics_per_namespace);
    if let Some(max) = limit.filter(|max| directory.topic_count(topic.namespace()) + more > *max as usize) {
        return Err(Refusal::bad_value(format!(
            "Exceed maximum number of topics in namespace {}: its limit maxTopicsPerNamespace is {max}",
            topic.namespace()
        )));
    }
    let limit = directory.tenant(topic.tenant()).and_then(|tenant| tenant.limits().topics_max);
    if let Some(max) = limit.filter(|max| directory.topic_count_of_tenant(topic.tenant()) + more > *max as usize) {
        return Err(Refusal::bad_value(format!(
            "tenant {} has reached its limit maxTopics of {max}: delete topics or raise it",
            topic.tenant()
        )));
    }
    Ok(())
}

/// Reads `4`, `"4"` or `{"partitions":4,"properties":{…}}`.
fn partitions_of(call: &Call) -> Result<PartitionedRecord, Refusal> {
    let body = call.value();
    let (count, properties) = match &body {
        Value::Object(map) => {
            (map.get("partitions").and_then(whole), properties(map.get("properties").cloned().unwrap_or_default())?)
        }
        other => (whole(other), BTreeMap::new()),
    };
    let count = count.ok_or_else(|| Refusal::bad_value("the body must be the number of partitions"))?;
    match u32::try_from(count) {
        Ok(partitions @ 1..=PARTITIONS_MAX) => Ok(PartitionedRecord { partitions, properties }),
        Ok(_) | Err(_) => Err(Refusal::new(
            406,
            format!("Number of partitions should be more than 0 and at most {PARTITIONS_MAX}, not {count}"),
        )),
    }
}

fn require_base_name(topic: &TopicName) -> Result<(), Refusal> {
    if topic.partition().is_none() {
        return Ok(());
    }
    let reason = format!("Partitioned Topic Name should not contain '-partition-': {topic}; use the name without it");
    Err(Refusal::bad_value(reason))
}

pub(crate) fn create_partitioned(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_base_name(&topic)?;
    require_namespace(context, topic.namespace())?;
    let record = partitions_of(&call)?;
    check_limits(context, &topic, record.partitions as usize)?;
    let key = keys::partitioned_key(&topic);
    edit_record(key.clone(), move |context, found| {
        let exists = || Refusal::new(409, format!("This topic already exists: {topic}"));
        if found.is_some() || context.directory().has_topic(&topic) {
            return Err(exists());
        }
        let no_namespace = crate::record::no_namespace(context, topic.namespace());
        let compare = vec![
            (Compare::Exists { key: keys::namespace_key(topic.namespace()) }, no_namespace),
            (Compare::Absent { key: keys::topic_key(&topic) }, exists()), // I1
        ];
        Ok(Edit { compare, writes: vec![put_json(key.clone(), &record)?], answer: no_content() })
    })
}

pub(crate) fn grow_partitions(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_base_name(&topic)?;
    require_namespace(context, topic.namespace())?;
    let wanted = partitions_of(&call)?.partitions;
    let key = keys::partitioned_key(&topic);
    edit_record(key.clone(), move |context, found| {
        let bytes = found.ok_or_else(|| not_partitioned(&topic))?;
        let mut record: PartitionedRecord = decode(bytes, &key)?;
        if wanted <= record.partitions {
            return Err(Refusal::new(
                409,
                format!(
                    "Desired partitions {wanted} of {topic} can't be less than or equal to the current {}",
                    record.partitions
                ),
            )); // I2
        }
        check_limits(context, &topic, (wanted - record.partitions) as usize)?;
        record.partitions = wanted;
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &record)?], answer: no_content() })
    })
}

/// Creates the partitions that nobody has used yet.
pub(crate) fn create_missed(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    let count = context.directory().partitions(&topic).ok_or_else(|| not_partitioned(&topic))?;
    create_missing(context, &topic, count, |_| Ok(Step::Reply(no_content())))
}

/// Goes on when every partition exists as a topic.
pub(crate) fn create_missing(
    context: &Context<'_>,
    topic: &TopicName,
    count: u32,
    then: impl FnOnce(&Context<'_>) -> Next + Send + 'static,
) -> Next {
    let missing = (0..count).map(|index| topic.with_partition(index));
    let missing = missing.filter(|name| !context.directory().has_topic(name));
    let commands = missing.map(|name| command(name, TopicOp::Create { properties: BTreeMap::new() })).collect();
    Step::commands(commands, |context, replies| {
        for reply in replies {
            match reply {
                // Somebody used it meanwhile.
                AdminReply::Failed(failure) if failure.kind == FailureKind::AlreadyExists => (),
                AdminReply::Failed(failure) => return Err(failure.into()),
                _ => (),
            }
        }
        then(context)
    })
}

pub(crate) fn not_partitioned(topic: &TopicName) -> Refusal {
    Refusal::new(404, format!("Partitioned Topic not found: {topic}"))
}

fn not_found(topic: &TopicName) -> Refusal {
    Refusal::new(404, format!("Topic {topic} not found"))
}

pub(crate) fn partitions(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    let directory = context.directory();
    if let Some(record) = directory.partitioned(&topic) {
        return Ok(Step::Reply(json(&metadata(record))));
    }
    let nothing = PartitionedRecord::default();
    if directory.has_topic(&topic) || is_partition(context, &topic) {
        return Ok(Step::Reply(json(&metadata(&nothing))));
    }
    require_namespace(context, topic.namespace())?;
    let creation = directory.effective_of_namespace(topic.namespace()).map(|policies| policies.auto_topic_creation);
    let creation =
        creation.filter(|creation| creation.allow_auto_topic_creation && call.flag("checkAllowAutoCreation"));
    match creation.ok_or_else(|| not_found(&topic))?.partitions() {
        Some(count) if topic.partition().is_none() => {
            let partitions = count.clamp(1, PARTITIONS_MAX);
            auto_create(topic, PartitionedRecord { partitions, properties: BTreeMap::new() })
        }
        Some(_) | None => Ok(Step::Reply(json(&metadata(&nothing)))),
    }
}

fn auto_create(topic: TopicName, record: PartitionedRecord) -> Next {
    let key = keys::partitioned_key(&topic);
    edit_record(key.clone(), move |context, found| {
        if let Some(bytes) = found {
            let answer = json(&metadata(&decode(bytes, &key)?));
            return Ok(Edit { compare: Vec::new(), writes: Vec::new(), answer });
        }
        let gone = crate::record::no_namespace(context, topic.namespace());
        let taken = Refusal::new(409, format!("This topic already exists: {topic}"));
        let compare = vec![
            (Compare::Exists { key: keys::namespace_key(topic.namespace()) }, gone),
            (Compare::Absent { key: keys::topic_key(&topic) }, taken),
        ];
        Ok(Edit { compare, writes: vec![put_json(key.clone(), &record)?], answer: json(&metadata(&record)) })
    })
}

pub(crate) fn metadata(record: &PartitionedRecord) -> Value {
    let mut value = object!({ "partitions": record.partitions, "deleted": false });
    if !record.properties.is_empty()
        && let Some(map) = value.as_object_mut()
    {
        map.insert("properties".to_owned(), object!(record.properties));
    }
    value
}

/// Whether the topic exists: alone, as a partition, or partitioned.
pub(crate) fn exists(context: &Context<'_>, topic: &TopicName) -> bool {
    let directory = context.directory();
    directory.has_topic(topic) || directory.partitions(topic).is_some() || is_partition(context, topic)
}

/// Whether the name is a partition of a partitioned topic.
fn is_partition(context: &Context<'_>, topic: &TopicName) -> bool {
    let count = context.directory().partitions(&topic.partitioned());
    topic.partition().is_some_and(|index| count.is_some_and(|count| index < count))
}

// ── Deletion

pub(crate) fn delete(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    if context.directory().partitions(&topic).is_some() {
        let reason = format!("{topic} is a partitioned topic: delete it with DELETE …/{}/partitions", topic.local());
        return Err(Refusal::new(409, reason));
    }
    Step::command(command(topic.clone(), TopicOp::Delete { force: force(&call) }), move |_, _| {
        let gone = topic.clone();
        Step::wait(
            move |broker| !broker.core().directory.has_topic(&gone),
            move |context| forget_grants(context, vec![topic]),
        )
    })
}

/// Partitions that exist as topics already.
pub(crate) fn existing_partitions(context: &Context<'_>, topic: &TopicName, count: u32) -> Vec<TopicName> {
    (0..count).map(|index| topic.with_partition(index)).filter(|name| context.directory().has_topic(name)).collect()
}

pub(crate) fn delete_partitioned(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_base_name(&topic)?;
    require_namespace(context, topic.namespace())?;
    let count = context.directory().partitions(&topic).ok_or_else(|| not_partitioned(&topic))?;
    let existing = existing_partitions(context, &topic, count);
    let force = force(&call);
    if force == Force::Yes {
        return delete_partitions(topic, existing);
    }
    // All are looked at before the first one is deleted, so that a refusal leaves nothing half done.
    let looks = existing.iter().map(|name| command(name.clone(), TopicOp::Stats)).collect();
    Step::commands(looks, move |_, replies| {
        let in_use = |reply: &AdminReply| match reply {
            AdminReply::Stats(stats) => !stats.publishers.is_empty() || !stats.subscriptions.is_empty(),
            _ => false,
        };
        let unknown = replies.iter().find_map(|reply| match reply {
            AdminReply::Failed(failure) if failure.kind != FailureKind::NotFound => Some(failure.clone()),
            _ => None,
        });
        if let Some(failure) = unknown {
            return Err(failure.into());
        }
        if replies.iter().any(in_use) {
            let reason =
                format!("Topic {topic} has active producers/subscriptions; close and delete them or use force");
            return Err(Refusal::bad_value(reason));
        }
        delete_partitions(topic, existing)
    })
}

fn delete_partitions(topic: TopicName, existing: Vec<TopicName>) -> Next {
    let deletions = existing.iter().map(|name| command(name.clone(), TopicOp::Delete { force: Force::Yes })).collect();
    Step::commands(deletions, move |_, replies| {
        check_deleted(replies)?;
        let key = keys::partitioned_key(&topic);
        let writes = vec![Write::Delete { key: key.clone() }, Write::Delete { key: keys::topic_policies_key(&topic) }];
        let gone = not_partitioned(&topic);
        crate::record::transact(vec![Compare::Exists { key }], writes, gone, move |context| {
            let mut names = existing;
            names.push(topic);
            forget_grants(context, names)
        })
    })
}

pub(crate) fn unload(context: &Context<'_>, call: Call) -> Next {
    let topic = call.topic()?;
    require_namespace(context, topic.namespace())?;
    let names = match context.directory().partitions(&topic) {
        Some(count) => existing_partitions(context, &topic, count),
        None if context.directory().has_topic(&topic) || is_partition(context, &topic) => vec![topic],
        None => return Err(not_found(&topic)),
    };
    let commands = names.into_iter().map(|name| command(name, TopicOp::Unload)).collect();
    Step::commands(commands, |_, replies| {
        check_deleted(replies)?;
        Ok(Step::Reply(no_content()))
    })
}

pub(crate) fn unexpected() -> Refusal {
    Refusal::new(500, "the broker answered something else than it was asked")
}
