//! A topic's own policies: overrides of what its namespace says.
//!
//! **What**  One record per topic (of a partitioned topic: one for all partitions). A field that is absent leaves the
//! decision to the namespace. The values are the objects of facts/pulsar-admin-rest.md §5.1; the record's JSON is ours.

use crate::backlog::BacklogQuotas;
use crate::rates::{DispatchRate, PublishRate, SubscribeRate};
use crate::values::{
    AutoSubscriptionCreation, DelayedDelivery, EntryFilters, InactiveTopics, OffloadPolicies, Persistence, Retention,
    SchemaCompatibility, SubscriptionKind,
};
use base::RegionName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Overrides of one topic. `None` and empty maps mean "as the namespace says".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TopicPolicies {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_ttl_s: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delayed_delivery: Option<DelayedDelivery>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inactive_topics: Option<InactiveTopics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offload_policies: Option<OffloadPolicies>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_subscription_creation: Option<AutoSubscriptionCreation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_filters: Option<EntryFilters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_rate: Option<PublishRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_rate: Option<DispatchRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_dispatch_rate: Option<DispatchRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicator_dispatch_rate: Option<DispatchRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe_rate: Option<SubscribeRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_producers: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_consumers: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_consumers_per_subscription: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_subscriptions_per_topic: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_size: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unacked_messages_on_consumer: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unacked_messages_on_subscription: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compaction_threshold_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication_enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deduplication_snapshot_interval_s: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_compatibility: Option<SchemaCompatibility>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_validation_enforced: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_types_enabled: Option<BTreeSet<SubscriptionKind>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replication_clusters: Option<BTreeSet<RegionName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicate_subscription_state: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatcher_pause_on_ack_state_persistent: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub backlog_quotas: BacklogQuotas,
    /// Dispatch rates of single subscriptions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dispatch_rate_of_subscription: BTreeMap<String, DispatchRate>,
}

/// The metadata record of a topic's policies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicPolicyRecord {
    pub policies: TopicPolicies,
    /// Grows with every write in any region; the larger version wins, `writer` breaks a tie.
    pub version: u64,
    /// The region that wrote this version.
    pub writer: Option<RegionName>,
}

impl TopicPolicyRecord {
    /// Whether this record replaces `other` when two regions meet.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, &self.writer) > (other.version, &other.writer)
    }
}

impl TopicPolicies {
    /// Whether nothing is overridden, so that the record may go.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
