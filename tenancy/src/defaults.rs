//! What holds where neither a topic nor its namespace says anything.
//!
//! **What**  Plain values from the server's configuration; [`BrokerDefaults::standalone`] gives Pulsar's own.

use crate::backlog::BacklogQuota;
use crate::rates::{DispatchRate, PublishRate, SubscribeRate};
use crate::values::{AutoTopicCreation, DelayedDelivery, InactiveTopics, Persistence, Retention, SchemaCompatibility};

/// What holds where neither topic nor namespace says anything; from the server's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerDefaults {
    pub retention: Retention,
    pub persistence: Persistence,
    /// Seconds; 0 is off.
    pub message_ttl_s: u32,
    pub backlog_by_bytes: BacklogQuota,
    pub backlog_by_age: BacklogQuota,
    pub deduplication_enabled: bool,
    pub auto_topic_creation: AutoTopicCreation,
    pub auto_subscription_creation: bool,
    pub topic_publish_rate: PublishRate,
    pub topic_dispatch_rate: DispatchRate,
    pub subscription_dispatch_rate: DispatchRate,
    pub replicator_dispatch_rate: DispatchRate,
    pub subscribe_rate: SubscribeRate,
    /// 0 is no limit, here and below.
    pub max_producers_per_topic: u32,
    pub max_consumers_per_topic: u32,
    pub max_consumers_per_subscription: u32,
    pub max_unacked_messages_per_consumer: u32,
    pub max_unacked_messages_per_subscription: u32,
    pub max_subscriptions_per_topic: u32,
    pub max_topics_per_namespace: u32,
    pub max_message_bytes: u32,
    pub compaction_threshold_bytes: u64,
    pub subscription_expiration_minutes: u32,
    pub delayed_delivery: DelayedDelivery,
    pub inactive_topics: InactiveTopics,
    pub schema_compatibility: SchemaCompatibility,
    pub schema_validation_enforced: bool,
    pub allow_auto_update_schema: bool,
    pub encryption_required: bool,
}

impl BrokerDefaults {
    /// Pulsar's own defaults, with one copy of everything: those of a single node.
    pub fn standalone() -> Self {
        Self {
            retention: Retention::default(),
            persistence: Persistence {
                bookkeeper_ensemble: 1,
                bookkeeper_write_quorum: 1,
                bookkeeper_ack_quorum: 1,
                managed_ledger_max_mark_delete_rate: 0.0,
            },
            message_ttl_s: 0,
            backlog_by_bytes: BacklogQuota::default(),
            backlog_by_age: BacklogQuota::default(),
            deduplication_enabled: false,
            auto_topic_creation: AutoTopicCreation {
                allow_auto_topic_creation: true,
                topic_type: Some("non-partitioned".to_owned()),
                default_num_partitions: None,
            },
            auto_subscription_creation: true,
            topic_publish_rate: PublishRate::default(),
            topic_dispatch_rate: DispatchRate::default(),
            subscription_dispatch_rate: DispatchRate::default(),
            replicator_dispatch_rate: DispatchRate::default(),
            subscribe_rate: SubscribeRate::default(),
            max_producers_per_topic: 0,
            max_consumers_per_topic: 0,
            max_consumers_per_subscription: 0,
            max_unacked_messages_per_consumer: 50_000,
            max_unacked_messages_per_subscription: 200_000,
            max_subscriptions_per_topic: 0,
            max_topics_per_namespace: 0,
            max_message_bytes: 5 * 1024 * 1024,
            compaction_threshold_bytes: 0,
            subscription_expiration_minutes: 0,
            delayed_delivery: DelayedDelivery::default(),
            inactive_topics: InactiveTopics::default(),
            schema_compatibility: SchemaCompatibility::Full,
            schema_validation_enforced: false,
            allow_auto_update_schema: true,
            encryption_required: false,
        }
    }
}
