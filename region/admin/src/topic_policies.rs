//! The policies of one topic: overrides of what its namespace says. Partitions share those of their partitioned topic.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::namespace_policies;
use crate::namespaces::{check_clusters, check_quota, quota_type};
use crate::policy::{Place, Policy, Setter, Shape, fields};
use crate::record::{Edit, decode, edit_record, no_namespace, put_json, require_namespace};
use crate::step::{Context, Next, Step};
use crate::topics::{exists, require_persistent};
use base::TopicName;
use meta_api::Compare;
use serde::Serialize;
use serde_json::Value;
use tenancy::{BacklogQuota, BrokerDefaults, DispatchRate, TopicPolicies, TopicPolicyRecord, keys};

/// A topic's policy, and the namespace's policy that holds where it is not set.
pub(crate) struct TopicPolicy {
    pub policy: Policy,
    pub namespace: &'static str,
}

macro_rules! policies {
    ($($setter:ident $path:literal $key:literal $namespace:literal $shape:expr;)*) => {
        &[$(TopicPolicy {
            policy: Policy { path: $path, key: $key, place: Place::Field, setter: Setter::$setter, shape: $shape },
            namespace: $namespace,
        }),*]
    };
}

const NATURAL: Shape = Shape::Number { least: 0, rule: "the value must be 0 or more" };

/// facts/pulsar-admin-rest.md §5.1.
pub(crate) const TABLE: &[TopicPolicy] = policies! {
    Post "messageTTL" "messageTtlS" "messageTTL" Shape::Number { least: 0, rule: "Invalid value for message TTL" };
    Post "retention" "retention" "retention" Shape::Object;
    Post "persistence" "persistence" "persistence" Shape::Object;
    Post "delayedDelivery" "delayedDelivery" "delayedDelivery" Shape::Object;
    Post "dispatchRate" "dispatchRate" "dispatchRate" Shape::Object;
    Post "subscriptionDispatchRate" "subscriptionDispatchRate" "subscriptionDispatchRate" Shape::Object;
    Post "replicatorDispatchRate" "replicatorDispatchRate" "replicatorDispatchRate" Shape::Object;
    Post "subscribeRate" "subscribeRate" "subscribeRate" Shape::Object;
    Post "publishRate" "publishRate" "publishRate" Shape::Object;
    Post "inactiveTopicPolicies" "inactiveTopics" "inactiveTopicPolicies" Shape::Object;
    Post "offloadPolicies" "offloadPolicies" "offloadPolicies" Shape::Object;
    Post "autoSubscriptionCreation" "autoSubscriptionCreation" "autoSubscriptionCreation" Shape::Object;
    Post "entryFilters" "entryFilters" "entryFilters" Shape::Object;
    Post "maxProducers" "maxProducers" "maxProducersPerTopic" NATURAL;
    Post "maxConsumers" "maxConsumers" "maxConsumersPerTopic" NATURAL;
    Post "maxConsumersPerSubscription" "maxConsumersPerSubscription" "maxConsumersPerSubscription" NATURAL;
    Post "maxSubscriptionsPerTopic" "maxSubscriptionsPerTopic" "maxSubscriptionsPerTopic" NATURAL;
    Post "maxMessageSize" "maxMessageSize" "" NATURAL;
    Post "maxUnackedMessagesOnConsumer" "maxUnackedMessagesOnConsumer" "maxUnackedMessagesPerConsumer" NATURAL;
    Post "maxUnackedMessagesOnSubscription" "maxUnackedMessagesOnSubscription" "maxUnackedMessagesPerSubscription" NATURAL;
    Post "compactionThreshold" "compactionThresholdBytes" "compactionThreshold" NATURAL;
    Post "deduplicationSnapshotInterval" "deduplicationSnapshotIntervalS" "deduplicationSnapshotInterval" NATURAL;
    Post "deduplicationEnabled" "deduplicationEnabled" "deduplication" Shape::Flag;
    Put "schemaCompatibilityStrategy" "schemaCompatibility" "schemaCompatibilityStrategy" Shape::Text;
    Post "schemaValidationEnforced" "schemaValidationEnforced" "schemaValidationEnforced" Shape::Flag;
    Post "subscriptionTypesEnabled" "subscriptionTypesEnabled" "subscriptionTypesEnabled" Shape::List;
    Post "replication" "replicationClusters" "" Shape::List;
    Post "replicateSubscriptionState" "replicateSubscriptionState" "replicateSubscriptionState" Shape::Flag;
    Post "dispatcherPauseOnAckStatePersistent" "dispatcherPauseOnAckStatePersistent" "dispatcherPauseOnAckStatePersistent" Shape::Flag;
    Post "resourceGroup" "resourceGroup" "resourcegroup" Shape::Text;
};

fn find(call: &Call) -> Result<&'static TopicPolicy, Refusal> {
    let word = call.param("policy");
    TABLE.iter().find(|own| own.policy.path == word).ok_or_else(|| {
        let shown: String = word.chars().take(64).collect();
        Refusal::new(
            404,
            format!("a topic has no policy '{shown}': the documentation lists those of /admin/v2/persistent"),
        )
    })
}

/// The topic of the path, if it exists: policies belong to what is there.
fn topic(context: &Context<'_>, call: &Call) -> Result<TopicName, Refusal> {
    let topic = call.topic()?;
    require_persistent(&topic)?;
    require_namespace(context, topic.namespace())?;
    if exists(context, &topic) { Ok(topic) } else { Err(Refusal::new(404, format!("Topic {topic} not found"))) }
}

// ── Reading

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    let (own, topic) = (find(&call)?, topic(context, &call)?);
    let directory = context.directory();
    if let Some(record) = directory.topic_policies(&topic) {
        let fields = fields(&record.policies)?;
        if let Some(value) = own.policy.value(&fields, "") {
            return Ok(Step::Reply(json(value)));
        }
    }
    if !call.flag("applied") {
        return Ok(Step::Reply(no_content()));
    }
    let policies = directory.namespace(topic.namespace()).ok_or_else(|| no_namespace(context, topic.namespace()))?;
    if own.policy.path == "replication" {
        return Ok(Step::Reply(json(&policies.replication_clusters)));
    }
    let fields = fields(policies)?;
    let row = namespace_policies::TABLE.iter().find(|row| row.path == own.namespace);
    let value = row.and_then(|row| row.value(&fields, directory.cluster_name().as_str()));
    if let Some(value) = value.filter(|value| value.as_str() != Some("UNDEFINED")) {
        return Ok(Step::Reply(json(value)));
    }
    let default = broker_default(own.policy.path, directory.defaults());
    Ok(Step::Reply(default.map_or_else(no_content, |value| json(&value))))
}

/// What holds where neither topic nor namespace says anything.
fn broker_default(path: &str, defaults: &BrokerDefaults) -> Option<Value> {
    match path {
        "messageTTL" => value(&defaults.message_ttl_s),
        "retention" => value(&defaults.retention),
        "persistence" => value(&defaults.persistence),
        "delayedDelivery" => value(&defaults.delayed_delivery),
        "dispatchRate" => value(&defaults.topic_dispatch_rate),
        "subscriptionDispatchRate" => value(&defaults.subscription_dispatch_rate),
        "replicatorDispatchRate" => value(&defaults.replicator_dispatch_rate),
        "subscribeRate" => value(&defaults.subscribe_rate),
        "publishRate" => value(&defaults.topic_publish_rate),
        "inactiveTopicPolicies" => value(&defaults.inactive_topics),
        "maxProducers" => value(&defaults.max_producers_per_topic),
        "maxConsumers" => value(&defaults.max_consumers_per_topic),
        "maxConsumersPerSubscription" => value(&defaults.max_consumers_per_subscription),
        "maxSubscriptionsPerTopic" => value(&defaults.max_subscriptions_per_topic),
        "maxMessageSize" => value(&defaults.max_message_bytes),
        "maxUnackedMessagesOnConsumer" => value(&defaults.max_unacked_messages_per_consumer),
        "maxUnackedMessagesOnSubscription" => value(&defaults.max_unacked_messages_per_subscription),
        "compactionThreshold" => value(&defaults.compaction_threshold_bytes),
        "deduplicationEnabled" => value(&defaults.deduplication_enabled),
        "schemaCompatibilityStrategy" => value(&defaults.schema_compatibility),
        "schemaValidationEnforced" => value(&defaults.schema_validation_enforced),
        _ => None,
    }
}

fn value(of: &impl Serialize) -> Option<Value> {
    serde_json::to_value(of).ok()
}

// ── Writing

/// Changes the record of the topic's policies, and raises its version for other regions.
fn edit(
    context: &Context<'_>,
    topic: &TopicName,
    change: impl Fn(&Context<'_>, &mut TopicPolicies) -> Result<(), Refusal> + Send + Sync + 'static,
) -> Next {
    let base = topic.partitioned();
    let key = keys::topic_policies_key(&base);
    let home = match context.directory().partitions(&base) {
        Some(_) => keys::partitioned_key(&base),
        None => keys::topic_key(topic),
    };
    let topic = topic.clone();
    edit_record(key.clone(), move |context, found| {
        let mut record: TopicPolicyRecord = match found {
            Some(bytes) => decode(bytes, &key)?,
            None => TopicPolicyRecord::default(),
        };
        change(context, &mut record.policies)?;
        record.version += 1;
        record.writer = Some(context.directory().cluster_name().clone());
        let gone = Refusal::new(404, format!("Topic {topic} not found"));
        let compare = vec![(Compare::Exists { key: home.clone() }, gone)];
        Ok(Edit { compare, writes: vec![put_json(key.clone(), &record)?], answer: no_content() })
    })
}

pub(crate) fn post(context: &Context<'_>, call: Call) -> Next {
    set(context, call, Setter::Post)
}

pub(crate) fn put(context: &Context<'_>, call: Call) -> Next {
    set(context, call, Setter::Put)
}

fn set(context: &Context<'_>, call: Call, with: Setter) -> Next {
    let own = find(&call)?;
    if own.policy.setter != with {
        return Err(Refusal::new(405, format!("{} is set with the other of POST and PUT", own.policy.path)));
    }
    let body = match (own.policy.path, call.value()) {
        // Pulsar takes this one from the query, and this one without a body.
        ("messageTTL", Value::Null) => {
            call.query.get("messageTTL").map_or(Value::Null, |text| Value::from(text.as_str()))
        }
        ("dispatcherPauseOnAckStatePersistent", Value::Null) => Value::Bool(true),
        (_, body) => body,
    };
    let body = own.policy.shaped(body)?;
    change(context, call, &own.policy, body)
}

pub(crate) fn remove(context: &Context<'_>, call: Call) -> Next {
    let own = find(&call)?;
    change(context, call, &own.policy, None)
}

fn change(context: &Context<'_>, call: Call, policy: &'static Policy, value: Option<Value>) -> Next {
    let topic = topic(context, &call)?;
    edit(context, &topic.clone(), move |context, policies| {
        let changed = policy.replaced(policies, "", value.as_ref())?;
        check(context, &topic, policy, &changed)?;
        *policies = changed;
        Ok(())
    })
}

fn check(context: &Context<'_>, topic: &TopicName, policy: &Policy, policies: &TopicPolicies) -> Result<(), Refusal> {
    match policy.path {
        "persistence" => Ok(policies.persistence.map_or(Ok(()), |value| value.check())?),
        "retention" => {
            let Some(retention) = policies.retention else { return Ok(()) };
            retention.check()?;
            Ok(retention.check_against(&policies.backlog_quotas)?)
        }
        "replication" => match &policies.replication_clusters {
            Some(clusters) => check_clusters(context, topic.namespace(), clusters),
            None => Ok(()),
        },
        "maxMessageSize" => {
            let most = context.directory().defaults().max_message_bytes;
            let given = policies.max_message_size.and_then(|size| u32::try_from(size).ok());
            match given.filter(|size| *size > most) {
                Some(size) => {
                    Err(Refusal::bad_value(format!("maxMessageSize {size} exceeds the broker's limit of {most} bytes")))
                }
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

// ── Policies with a parameter

pub(crate) fn backlog_quotas(context: &Context<'_>, call: Call) -> Next {
    let topic = topic(context, &call)?;
    let directory = context.directory();
    let mut quotas =
        directory.topic_policies(&topic).map(|own| own.policies.backlog_quotas.clone()).unwrap_or_default();
    if call.flag("applied")
        && let Some(policies) = directory.namespace(topic.namespace())
    {
        for (kind, quota) in &policies.backlog_quotas {
            quotas.entry(*kind).or_insert(*quota);
        }
    }
    Ok(Step::Reply(json(&quotas)))
}

pub(crate) fn set_backlog_quota(context: &Context<'_>, call: Call) -> Next {
    let kind = quota_type(&call)?;
    let quota: BacklogQuota = call.required("BacklogQuota")?;
    edit(context, &topic(context, &call)?, move |_, policies| {
        check_quota(policies.retention, kind, quota)?;
        policies.backlog_quotas.insert(kind, quota);
        Ok(())
    })
}

pub(crate) fn remove_backlog_quota(context: &Context<'_>, call: Call) -> Next {
    let kind = quota_type(&call)?;
    edit(context, &topic(context, &call)?, move |_, policies| {
        policies.backlog_quotas.remove(&kind);
        Ok(())
    })
}

pub(crate) fn subscription_rate(context: &Context<'_>, call: Call) -> Next {
    let (topic, subscription) = (topic(context, &call)?, call.subscription()?);
    let record = context.directory().topic_policies(&topic);
    let rate = record.and_then(|own| own.policies.dispatch_rate_of_subscription.get(subscription.as_str()));
    Ok(Step::Reply(rate.map_or_else(no_content, json)))
}

pub(crate) fn set_subscription_rate(context: &Context<'_>, call: Call) -> Next {
    let subscription = call.subscription()?.to_string();
    let rate: DispatchRate = call.required("DispatchRate")?;
    edit(context, &topic(context, &call)?, move |_, policies| {
        policies.dispatch_rate_of_subscription.insert(subscription.clone(), rate);
        Ok(())
    })
}

pub(crate) fn remove_subscription_rate(context: &Context<'_>, call: Call) -> Next {
    let subscription = call.subscription()?.to_string();
    edit(context, &topic(context, &call)?, move |_, policies| {
        policies.dispatch_rate_of_subscription.remove(&subscription);
        Ok(())
    })
}
