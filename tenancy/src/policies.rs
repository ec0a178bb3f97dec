//! A namespace's policies, in Pulsar's JSON.
//!
//! **What**  [`Policies`] reads leniently (facts/pulsar-admin-rest.md §9) and writes every key, `null` where unset, as
//! Pulsar's broker does (§4). Our own keys, the namespace-wide rates, appear only when set. [`PolicyRecord`] is what the
//! metadata store holds: the policies with what geo-synchronisation needs beside them.
//!
//! **Not here**  Which value wins for a topic (`effective`).

use crate::backlog::BacklogQuotas;
use crate::bundle::Bundles;
use crate::lenient;
use crate::rates::{DispatchRate, PublishRate, SubscribeRate};
use crate::values::{
    AutoSubscriptionCreation, AutoTopicCreation, BookieAffinity, DelayedDelivery, EntryFilters, InactiveTopics,
    OffloadPolicies, Persistence, Retention, SchemaCompatibility, SubscriptionAuthMode, SubscriptionKind,
};
use auth::Grants;
use base::RegionName;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The policies of a namespace. Field names are ours, JSON keys are Pulsar's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policies {
    #[serde(rename = "auth_policies", deserialize_with = "lenient::or_default")]
    pub grants: Grants,
    #[serde(deserialize_with = "lenient::or_default")]
    pub replication_clusters: BTreeSet<RegionName>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub allowed_clusters: BTreeSet<RegionName>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub bundles: Bundles,
    #[serde(rename = "backlog_quota_map", deserialize_with = "lenient::or_default")]
    pub backlog_quotas: BacklogQuotas,
    #[serde(rename = "clusterDispatchRate", deserialize_with = "lenient::or_default")]
    pub cluster_dispatch_rate: BTreeMap<String, DispatchRate>,
    #[serde(rename = "topicDispatchRate", deserialize_with = "lenient::or_default")]
    pub topic_dispatch_rate: BTreeMap<String, DispatchRate>,
    #[serde(rename = "subscriptionDispatchRate", deserialize_with = "lenient::or_default")]
    pub subscription_dispatch_rate: BTreeMap<String, DispatchRate>,
    #[serde(rename = "replicatorDispatchRate", deserialize_with = "lenient::or_default")]
    pub replicator_dispatch_rate: BTreeMap<String, DispatchRate>,
    #[serde(rename = "clusterSubscribeRate", deserialize_with = "lenient::or_default")]
    pub subscribe_rate: BTreeMap<String, SubscribeRate>,
    /// Per topic of the namespace, by cluster.
    #[serde(rename = "publishMaxMessageRate", deserialize_with = "lenient::or_default")]
    pub topic_publish_rate: BTreeMap<String, PublishRate>,
    /// All topics of the namespace together, in each region; ours.
    #[serde(rename = "namespacePublishRate", skip_serializing_if = "Option::is_none")]
    pub namespace_publish_rate: Option<PublishRate>,
    /// All topics of the namespace together, in each region; ours.
    #[serde(rename = "namespaceDispatchRate", skip_serializing_if = "Option::is_none")]
    pub namespace_dispatch_rate: Option<DispatchRate>,
    pub persistence: Option<Persistence>,
    #[serde(rename = "deduplicationEnabled", deserialize_with = "lenient::maybe_flag")]
    pub deduplication_enabled: Option<bool>,
    #[serde(rename = "deduplicationSnapshotIntervalSeconds", deserialize_with = "lenient::maybe_number")]
    pub deduplication_snapshot_interval_s: Option<i32>,
    #[serde(rename = "autoTopicCreationOverride")]
    pub auto_topic_creation: Option<AutoTopicCreation>,
    #[serde(rename = "autoSubscriptionCreationOverride")]
    pub auto_subscription_creation: Option<AutoSubscriptionCreation>,
    #[serde(rename = "latency_stats_sample_rate", deserialize_with = "lenient::or_default")]
    pub latency_stats_sample_rate: BTreeMap<String, i32>,
    #[serde(rename = "message_ttl_in_seconds", deserialize_with = "lenient::maybe_number")]
    pub message_ttl_s: Option<i32>,
    #[serde(rename = "subscription_expiration_time_minutes", deserialize_with = "lenient::maybe_number")]
    pub subscription_expiration_minutes: Option<i32>,
    #[serde(rename = "retention_policies")]
    pub retention: Option<Retention>,
    #[serde(deserialize_with = "lenient::flag")]
    pub deleted: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub encryption_required: bool,
    #[serde(rename = "delayed_delivery_policies")]
    pub delayed_delivery: Option<DelayedDelivery>,
    #[serde(rename = "inactive_topic_policies")]
    pub inactive_topics: Option<InactiveTopics>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub subscription_auth_mode: SubscriptionAuthMode,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_producers_per_topic: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_consumers_per_topic: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_consumers_per_subscription: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_unacked_messages_per_consumer: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_unacked_messages_per_subscription: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_subscriptions_per_topic: Option<i32>,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub max_topics_per_namespace: Option<i32>,
    #[serde(rename = "compaction_threshold", deserialize_with = "lenient::maybe_number")]
    pub compaction_threshold_bytes: Option<i64>,
    #[serde(rename = "offload_threshold", deserialize_with = "lenient::number_or_unset")]
    pub offload_threshold_bytes: i64,
    #[serde(rename = "offload_threshold_in_seconds", deserialize_with = "lenient::number_or_unset")]
    pub offload_threshold_s: i64,
    #[serde(deserialize_with = "lenient::maybe_number")]
    pub offload_deletion_lag_ms: Option<i64>,
    pub offload_policies: Option<OffloadPolicies>,
    pub schema_auto_update_compatibility_strategy: Option<String>,
    #[serde(rename = "schema_compatibility_strategy", deserialize_with = "lenient::or_default")]
    pub schema_compatibility: SchemaCompatibility,
    #[serde(deserialize_with = "lenient::maybe_flag")]
    pub is_allow_auto_update_schema: Option<bool>,
    #[serde(deserialize_with = "lenient::flag")]
    pub schema_validation_enforced: bool,
    #[serde(deserialize_with = "lenient::or_default")]
    pub subscription_types_enabled: BTreeSet<SubscriptionKind>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub properties: BTreeMap<String, String>,
    pub resource_group_name: Option<String>,
    #[serde(deserialize_with = "lenient::flag")]
    pub migrated: bool,
    #[serde(deserialize_with = "lenient::maybe_flag")]
    pub replicate_subscription_state: Option<bool>,
    #[serde(rename = "entryFilters")]
    pub entry_filters: Option<EntryFilters>,
    #[serde(rename = "dispatcherPauseOnAckStatePersistentEnabled", deserialize_with = "lenient::maybe_flag")]
    pub dispatcher_pause_on_ack_state_persistent: Option<bool>,
}

impl Default for Policies {
    /// Nothing granted, nothing overridden, four bundles.
    fn default() -> Self {
        Self {
            grants: Grants::default(),
            replication_clusters: BTreeSet::new(),
            allowed_clusters: BTreeSet::new(),
            bundles: Bundles::default(),
            backlog_quotas: BacklogQuotas::new(),
            cluster_dispatch_rate: BTreeMap::new(),
            topic_dispatch_rate: BTreeMap::new(),
            subscription_dispatch_rate: BTreeMap::new(),
            replicator_dispatch_rate: BTreeMap::new(),
            subscribe_rate: BTreeMap::new(),
            topic_publish_rate: BTreeMap::new(),
            namespace_publish_rate: None,
            namespace_dispatch_rate: None,
            persistence: None,
            deduplication_enabled: None,
            deduplication_snapshot_interval_s: None,
            auto_topic_creation: None,
            auto_subscription_creation: None,
            latency_stats_sample_rate: BTreeMap::new(),
            message_ttl_s: None,
            subscription_expiration_minutes: None,
            retention: None,
            deleted: false,
            encryption_required: false,
            delayed_delivery: None,
            inactive_topics: None,
            subscription_auth_mode: SubscriptionAuthMode::None,
            max_producers_per_topic: None,
            max_consumers_per_topic: None,
            max_consumers_per_subscription: None,
            max_unacked_messages_per_consumer: None,
            max_unacked_messages_per_subscription: None,
            max_subscriptions_per_topic: None,
            max_topics_per_namespace: None,
            compaction_threshold_bytes: None,
            offload_threshold_bytes: -1,
            offload_threshold_s: -1,
            offload_deletion_lag_ms: None,
            offload_policies: None,
            schema_auto_update_compatibility_strategy: None,
            schema_compatibility: SchemaCompatibility::Undefined,
            is_allow_auto_update_schema: None,
            schema_validation_enforced: false,
            subscription_types_enabled: BTreeSet::new(),
            properties: BTreeMap::new(),
            resource_group_name: None,
            migrated: false,
            replicate_subscription_state: None,
            entry_filters: None,
            dispatcher_pause_on_ack_state_persistent: None,
        }
    }
}

impl Policies {
    /// The policies of a namespace created with these: a namespace lives at least in the region that created it.
    #[must_use]
    pub fn at_creation(mut self, local: &RegionName) -> Self {
        if self.replication_clusters.is_empty() {
            self.replication_clusters.insert(local.clone());
        }
        self
    }
}

/// Policies that Pulsar keeps per cluster, outside of [`Policies`]; they are not synchronised between regions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LocalPolicies {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bookie_affinity: Option<BookieAffinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anti_affinity_group: Option<String>,
}

/// The metadata record of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PolicyRecord {
    pub policies: Policies,
    /// Grows with every write in any region; the larger version wins, `writer` breaks a tie.
    pub version: u64,
    /// The region that wrote this version.
    pub writer: Option<RegionName>,
    pub local: LocalPolicies,
}

impl PolicyRecord {
    /// Whether this record replaces `other` when two regions meet.
    pub fn is_newer_than(&self, other: &Self) -> bool {
        (self.version, &self.writer) > (other.version, &other.writer)
    }
}
