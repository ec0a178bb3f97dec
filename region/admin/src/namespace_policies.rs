//! The simple policies of a namespace: one value each, under the last word of the path.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::policy::{Place, Policy, Setter, Shape, fields};
use crate::record::{edit_namespace, no_namespace};
use crate::step::{Context, Next, Step};
use serde_json::Value;
use tenancy::{BundleRange, Policies};

macro_rules! policies {
    ($($setter:ident $path:literal $place:ident $key:literal $shape:expr;)*) => {
        &[$(Policy { path: $path, key: $key, place: Place::$place, setter: Setter::$setter, shape: $shape }),*]
    };
}

const fn at_least(least: i64, rule: &'static str) -> Shape {
    Shape::Number { least, rule }
}

/// facts/pulsar-admin-rest.md §4; the texts of §11 stand here as rules.
pub(crate) const TABLE: &[Policy] = policies! {
    Post "messageTTL" Field "message_ttl_in_seconds" at_least(0, "Invalid value for message TTL");
    Post "subscriptionExpirationTime" Field "subscription_expiration_time_minutes" at_least(0, "Invalid value for subscription expiration time");
    Post "deduplication" Field "deduplicationEnabled" Shape::Flag;
    Post "deduplicationSnapshotInterval" Field "deduplicationSnapshotIntervalSeconds" at_least(0, "interval must be greater than or equal to 0");
    Post "autoTopicCreation" Field "autoTopicCreationOverride" Shape::Object;
    Post "autoSubscriptionCreation" Field "autoSubscriptionCreationOverride" Shape::Object;
    Post "retention" Field "retention_policies" Shape::Object;
    Post "persistence" Field "persistence" Shape::Object;
    Post "dispatchRate" PerCluster "topicDispatchRate" Shape::Object;
    Post "subscriptionDispatchRate" PerCluster "subscriptionDispatchRate" Shape::Object;
    Post "replicatorDispatchRate" PerCluster "replicatorDispatchRate" Shape::Object;
    Post "subscribeRate" PerCluster "clusterSubscribeRate" Shape::Object;
    Post "publishRate" PerCluster "publishMaxMessageRate" Shape::Object;
    Post "namespacePublishRate" Field "namespacePublishRate" Shape::Object;
    Post "namespaceDispatchRate" Field "namespaceDispatchRate" Shape::Object;
    Put "compactionThreshold" Field "compaction_threshold" at_least(0, "compactionThreshold must be 0 or more");
    Put "offloadThreshold" Field "offload_threshold" at_least(-1, "Invalid value for offloadThreshold");
    Put "offloadThresholdInSeconds" Field "offload_threshold_in_seconds" at_least(-1, "Invalid value for offloadThresholdInSecond");
    Put "offloadDeletionLagMs" Field "offload_deletion_lag_ms" at_least(i64::MIN, "");
    Post "offloadPolicies" Field "offload_policies" Shape::Object;
    Post "maxProducersPerTopic" Field "max_producers_per_topic" at_least(0, "maxProducersPerTopic must be 0 or more");
    Post "maxConsumersPerTopic" Field "max_consumers_per_topic" at_least(0, "maxConsumersPerTopic must be 0 or more");
    Post "maxConsumersPerSubscription" Field "max_consumers_per_subscription" at_least(0, "maxConsumersPerSubscription must be 0 or more");
    Post "maxUnackedMessagesPerConsumer" Field "max_unacked_messages_per_consumer" at_least(0, "maxUnackedMessagesPerConsumer must be 0 or more");
    Post "maxUnackedMessagesPerSubscription" Field "max_unacked_messages_per_subscription" at_least(0, "maxUnackedMessagesPerSubscription must be 0 or more");
    Post "maxSubscriptionsPerTopic" Field "max_subscriptions_per_topic" at_least(0, "maxSubscriptionsPerTopic must be 0 or more");
    Post "maxTopicsPerNamespace" Field "max_topics_per_namespace" at_least(0, "maxTopicsPerNamespace must be 0 or more");
    Post "delayedDelivery" Field "delayed_delivery_policies" Shape::Object;
    Post "inactiveTopicPolicies" Field "inactive_topic_policies" Shape::Object;
    Post "encryptionRequired" Field "encryption_required" Shape::Flag;
    Post "subscriptionAuthMode" Field "subscription_auth_mode" Shape::Text;
    Put "schemaCompatibilityStrategy" Field "schema_compatibility_strategy" Shape::Text;
    Put "schemaAutoUpdateCompatibilityStrategy" Field "schema_auto_update_compatibility_strategy" Shape::Text;
    Post "schemaValidationEnforced" Field "schema_validation_enforced" Shape::Flag;
    Post "isAllowAutoUpdateSchema" Field "is_allow_auto_update_schema" Shape::Flag;
    Post "subscriptionTypesEnabled" Field "subscription_types_enabled" Shape::List;
    Post "resourcegroup" Field "resource_group_name" Shape::Text;
    Post "entryFilters" Field "entryFilters" Shape::Object;
    Post "migration" Field "migrated" Shape::Flag;
    Post "replicateSubscriptionState" Field "replicate_subscription_state" Shape::Flag;
    Post "dispatcherPauseOnAckStatePersistent" Field "dispatcherPauseOnAckStatePersistentEnabled" Shape::Flag;
};

fn find(call: &Call) -> Result<&'static Policy, Refusal> {
    let word = call.param("policy");
    TABLE.iter().find(|policy| policy.path == word).ok_or_else(|| {
        if BundleRange::parse(word).is_some() {
            return Refusal::new(501, format!("deleting bundle {word} alone is not built yet: delete topics by name"));
        }
        let shown: String = word.chars().take(64).collect();
        Refusal::new(404, format!("a namespace has no policy '{shown}': see /admin/v2/namespaces of the documentation"))
    })
}

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    let (namespace, policy) = (call.namespace()?, find(&call)?);
    let directory = context.directory();
    let policies = directory.namespace(&namespace).ok_or_else(|| no_namespace(context, &namespace))?;
    let fields = fields(policies)?;
    let value = policy.value(&fields, directory.cluster_name().as_str());
    Ok(Step::Reply(value.map_or_else(no_content, json)))
}

pub(crate) fn post(_context: &Context<'_>, call: Call) -> Next {
    set(call, Setter::Post)
}

pub(crate) fn put(_context: &Context<'_>, call: Call) -> Next {
    set(call, Setter::Put)
}

fn set(call: Call, with: Setter) -> Next {
    let policy = find(&call)?;
    if policy.setter != with {
        return Err(Refusal::new(405, format!("{} is set with the other of POST and PUT", policy.path)));
    }
    let body = match call.value() {
        // Pulsar's tools switch this one on without a body.
        Value::Null if policy.path == "dispatcherPauseOnAckStatePersistent" => Value::Bool(true),
        body => body,
    };
    change(call, policy, policy.shaped(body)?)
}

pub(crate) fn remove(_context: &Context<'_>, call: Call) -> Next {
    let policy = find(&call)?;
    change(call, policy, None)
}

fn change(call: Call, policy: &'static Policy, value: Option<Value>) -> Next {
    edit_namespace(call.namespace()?, no_content(), move |context, record| {
        let cluster = context.directory().cluster_name().as_str();
        let policies: Policies = policy.replaced(&record.policies, cluster, value.as_ref())?;
        check(policy, &policies)?;
        record.policies = policies;
        Ok(())
    })
}

/// What a value's own type cannot know.
fn check(policy: &Policy, policies: &Policies) -> Result<(), Refusal> {
    match policy.path {
        "autoTopicCreation" => match policies.auto_topic_creation.as_ref().map(tenancy::AutoTopicCreation::check) {
            Some(Err(error)) => Err(Refusal::new(400, error.to_string())),
            Some(Ok(())) | None => Ok(()),
        },
        "persistence" => Ok(policies.persistence.map_or(Ok(()), |value| value.check())?),
        "retention" => {
            let Some(retention) = policies.retention else { return Ok(()) };
            retention.check()?;
            Ok(retention.check_against(&policies.backlog_quotas)?)
        }
        _ => Ok(()),
    }
}
