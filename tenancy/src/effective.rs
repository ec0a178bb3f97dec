//! Which value holds for a topic: its own, else its namespace's, else the broker's default.
//!
//! **What**  [`EffectivePolicies::resolve`] makes one value per policy, with Pulsar's "0 or negative is no limit" turned
//! into `None`, so that the broker asks no further questions.
//!
//! **Invariants**
//! - I1  a value set on the topic wins over the namespace's, a value set on the namespace over the broker's.

use crate::backlog::{BacklogQuota, BacklogQuotaType};
use crate::defaults::BrokerDefaults;
use crate::policies::Policies;
use crate::rates::{DispatchRate, PublishRate, Rate};
use crate::tenant::TenantInfo;
use crate::topic_policies::TopicPolicies;
use crate::values::{
    AutoTopicCreation, DelayedDelivery, InactiveTopics, Persistence, Retention, SchemaCompatibility, SubscriptionKind,
};
use base::RegionName;
use std::collections::{BTreeMap, BTreeSet};

/// Where a topic's policies come from.
#[derive(Clone, Copy, Debug)]
pub struct PolicySources<'a> {
    pub cluster: &'a RegionName,
    pub defaults: &'a BrokerDefaults,
    pub tenant: Option<&'a TenantInfo>,
    pub namespace: &'a Policies,
    pub topic: &'a TopicPolicies,
}

/// The values that hold for one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectivePolicies {
    pub rates: EffectiveRates,
    pub limits: EffectiveLimits,
    pub storage: EffectiveStorage,
    pub backlog_by_bytes: BacklogQuota,
    pub backlog_by_age: BacklogQuota,
    pub deduplication_enabled: bool,
    pub auto_topic_creation: AutoTopicCreation,
    pub auto_subscription_creation: bool,
    pub delayed_delivery: DelayedDelivery,
    pub inactive_topics: InactiveTopics,
    pub schema_compatibility: SchemaCompatibility,
    pub schema_validation_enforced: bool,
    pub allow_auto_update_schema: bool,
    pub encryption_required: bool,
    /// Empty: all four kinds.
    pub subscription_types_enabled: BTreeSet<SubscriptionKind>,
    /// The regions that hold a copy.
    pub replication_clusters: BTreeSet<RegionName>,
    /// `None`: as the consumer asks.
    pub replicate_subscription_state: Option<bool>,
}

/// How much per second, for the topic and for what it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectiveRates {
    pub topic_publish: Rate,
    pub topic_dispatch: DispatchRate,
    pub subscription_dispatch: DispatchRate,
    /// Exceptions from `subscription_dispatch`, by subscription.
    pub dispatch_of_subscription: BTreeMap<String, DispatchRate>,
    pub replicator_dispatch: DispatchRate,
    /// Subscribe commands of one consumer.
    pub subscribe: Rate,
    pub namespace_publish: Rate,
    pub namespace_dispatch: Rate,
    pub tenant_publish: Rate,
    pub tenant_dispatch: Rate,
}

/// How many; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectiveLimits {
    pub producers_per_topic: Option<u32>,
    pub consumers_per_topic: Option<u32>,
    pub consumers_per_subscription: Option<u32>,
    pub unacked_messages_per_consumer: Option<u32>,
    pub unacked_messages_per_subscription: Option<u32>,
    pub subscriptions_per_topic: Option<u32>,
    pub topics_per_namespace: Option<u32>,
    /// Bytes; never above the broker's own limit.
    pub message_bytes: u32,
}

/// What is kept, how long, in how many copies; `None` is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EffectiveStorage {
    pub retention: Retention,
    pub persistence: Persistence,
    pub message_ttl_s: Option<u32>,
    pub compaction_threshold_bytes: Option<u64>,
    pub subscription_expiration_minutes: Option<u32>,
}

fn positive<N: TryInto<u32>>(value: N) -> Option<u32> {
    value.try_into().ok().filter(|number| *number > 0)
}

/// The first that is set (I1).
fn pick<T>(topic: Option<T>, namespace: Option<T>, broker: T) -> T {
    topic.or(namespace).unwrap_or(broker)
}

/// As [`pick`], where 0 and negative mean "no limit": the first that is set decides, also when it says "none".
fn limit(topic: Option<i32>, namespace: Option<i32>, broker: u32) -> Option<u32> {
    topic.or(namespace).map_or_else(|| positive(broker), positive)
}

impl EffectivePolicies {
    /// Resolves every policy (I1).
    pub fn resolve(from: PolicySources<'_>) -> Self {
        let PolicySources { defaults, namespace, topic, .. } = from;
        let quota = |kind, broker| {
            pick(topic.backlog_quotas.get(&kind).copied(), namespace.backlog_quotas.get(&kind).copied(), broker)
        };
        let set = |strategy: &SchemaCompatibility| *strategy != SchemaCompatibility::Undefined;
        Self {
            rates: EffectiveRates::resolve(from),
            limits: EffectiveLimits::resolve(from),
            storage: EffectiveStorage::resolve(from),
            backlog_by_bytes: quota(BacklogQuotaType::DestinationStorage, defaults.backlog_by_bytes),
            backlog_by_age: quota(BacklogQuotaType::MessageAge, defaults.backlog_by_age),
            deduplication_enabled: pick(
                topic.deduplication_enabled,
                namespace.deduplication_enabled,
                defaults.deduplication_enabled,
            ),
            auto_topic_creation: pick(
                None,
                namespace.auto_topic_creation.clone(),
                defaults.auto_topic_creation.clone(),
            ),
            auto_subscription_creation: topic
                .auto_subscription_creation
                .or(namespace.auto_subscription_creation)
                .map_or(defaults.auto_subscription_creation, |own| own.allow_auto_subscription_creation),
            delayed_delivery: pick(topic.delayed_delivery, namespace.delayed_delivery, defaults.delayed_delivery),
            inactive_topics: pick(topic.inactive_topics, namespace.inactive_topics, defaults.inactive_topics),
            schema_compatibility: pick(
                topic.schema_compatibility.filter(set),
                Some(namespace.schema_compatibility).filter(set),
                defaults.schema_compatibility,
            ),
            schema_validation_enforced: topic
                .schema_validation_enforced
                .unwrap_or(namespace.schema_validation_enforced || defaults.schema_validation_enforced),
            allow_auto_update_schema: pick(
                None,
                namespace.is_allow_auto_update_schema,
                defaults.allow_auto_update_schema,
            ),
            encryption_required: namespace.encryption_required || defaults.encryption_required,
            subscription_types_enabled: pick(
                topic.subscription_types_enabled.clone(),
                Some(namespace.subscription_types_enabled.clone()),
                BTreeSet::new(),
            ),
            replication_clusters: pick(
                topic.replication_clusters.clone(),
                Some(namespace.replication_clusters.clone()),
                BTreeSet::new(),
            ),
            replicate_subscription_state: topic.replicate_subscription_state.or(namespace.replicate_subscription_state),
        }
    }
}

impl EffectiveRates {
    fn resolve(from: PolicySources<'_>) -> Self {
        let PolicySources { cluster, defaults, tenant, namespace, topic } = from;
        let here = cluster.as_str();
        Self {
            topic_publish: pick(
                topic.publish_rate,
                namespace.topic_publish_rate.get(here).copied(),
                defaults.topic_publish_rate,
            )
            .rate(),
            topic_dispatch: pick(
                topic.dispatch_rate,
                namespace.topic_dispatch_rate.get(here).copied(),
                defaults.topic_dispatch_rate,
            ),
            subscription_dispatch: pick(
                topic.subscription_dispatch_rate,
                namespace.subscription_dispatch_rate.get(here).copied(),
                defaults.subscription_dispatch_rate,
            ),
            dispatch_of_subscription: topic.dispatch_rate_of_subscription.clone(),
            replicator_dispatch: pick(
                topic.replicator_dispatch_rate,
                namespace.replicator_dispatch_rate.get(here).copied(),
                defaults.replicator_dispatch_rate,
            ),
            subscribe: pick(topic.subscribe_rate, namespace.subscribe_rate.get(here).copied(), defaults.subscribe_rate)
                .rate(),
            namespace_publish: namespace.namespace_publish_rate.map_or(Rate::NONE, PublishRate::rate),
            namespace_dispatch: namespace.namespace_dispatch_rate.map_or(Rate::NONE, DispatchRate::rate),
            tenant_publish: tenant.and_then(|own| own.publish_rate).map_or(Rate::NONE, PublishRate::rate),
            tenant_dispatch: tenant.and_then(|own| own.dispatch_rate).map_or(Rate::NONE, DispatchRate::rate),
        }
    }
}

impl EffectiveLimits {
    fn resolve(from: PolicySources<'_>) -> Self {
        let PolicySources { defaults, namespace, topic, .. } = from;
        Self {
            producers_per_topic: limit(
                topic.max_producers,
                namespace.max_producers_per_topic,
                defaults.max_producers_per_topic,
            ),
            consumers_per_topic: limit(
                topic.max_consumers,
                namespace.max_consumers_per_topic,
                defaults.max_consumers_per_topic,
            ),
            consumers_per_subscription: limit(
                topic.max_consumers_per_subscription,
                namespace.max_consumers_per_subscription,
                defaults.max_consumers_per_subscription,
            ),
            unacked_messages_per_consumer: limit(
                topic.max_unacked_messages_on_consumer,
                namespace.max_unacked_messages_per_consumer,
                defaults.max_unacked_messages_per_consumer,
            ),
            unacked_messages_per_subscription: limit(
                topic.max_unacked_messages_on_subscription,
                namespace.max_unacked_messages_per_subscription,
                defaults.max_unacked_messages_per_subscription,
            ),
            subscriptions_per_topic: limit(
                topic.max_subscriptions_per_topic,
                namespace.max_subscriptions_per_topic,
                defaults.max_subscriptions_per_topic,
            ),
            topics_per_namespace: limit(None, namespace.max_topics_per_namespace, defaults.max_topics_per_namespace),
            message_bytes: topic
                .max_message_size
                .and_then(positive)
                .map_or(defaults.max_message_bytes, |own| own.min(defaults.max_message_bytes)),
        }
    }
}

impl EffectiveStorage {
    fn resolve(from: PolicySources<'_>) -> Self {
        let PolicySources { defaults, namespace, topic, .. } = from;
        let compaction = pick(
            topic.compaction_threshold_bytes,
            namespace.compaction_threshold_bytes,
            i64::try_from(defaults.compaction_threshold_bytes).unwrap_or(i64::MAX),
        );
        Self {
            retention: pick(topic.retention, namespace.retention, defaults.retention),
            persistence: pick(topic.persistence, namespace.persistence, defaults.persistence),
            message_ttl_s: limit(topic.message_ttl_s, namespace.message_ttl_s, defaults.message_ttl_s),
            compaction_threshold_bytes: u64::try_from(compaction).ok().filter(|bytes| *bytes > 0),
            subscription_expiration_minutes: limit(
                None,
                namespace.subscription_expiration_minutes,
                defaults.subscription_expiration_minutes,
            ),
        }
    }
}
