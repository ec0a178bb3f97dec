//! Numbers of topics, producers, subscriptions and consumers, with exactly the JSON keys that Pulsar's tools read.
//!
//! **What**  Plain serde structs (facts/pulsar-admin-rest.md §7), their sums over the partitions of a topic, and the
//! [`RateMeter`] that feeds their rates.
//!
//! **Not here**  Who counts (topics, producers, subscriptions), HTTP (`admin`).

mod internal;
mod rate;
mod sum;
#[cfg(test)]
mod tests;
mod window;

pub use internal::{CursorInternals, InternalStats, LedgerInternals};
pub use rate::{RATE_WINDOW, RateMeter, iso_time};
pub use window::{LATENCY_BOUNDS_US, SIZE_BOUNDS, WindowCounts};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What one topic (or one partition) does and holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStats {
    #[serde(flatten)]
    pub traffic: TopicTraffic,
    #[serde(flatten)]
    pub storage: TopicStorage,
    #[serde(flatten)]
    pub transactions: TransactionCounts,
    /// For metrics only: Pulsar's JSON has no such keys.
    #[serde(skip)]
    pub entries: EntryStats,
    /// Always an array, also when nobody publishes.
    pub publishers: Vec<PublisherStats>,
    pub subscriptions: BTreeMap<String, SubscriptionStats>,
    /// By remote region.
    pub replication: BTreeMap<String, ReplicatorStats>,
    /// `Enabled`, `Disabled`, …
    pub deduplication_status: String,
    pub compaction: CompactionStats,
    pub owner_broker: Option<String>,
    pub topic_epoch: Option<u64>,
    /// Unix milliseconds.
    pub topic_creation_time_stamp: u64,
    /// Unix milliseconds.
    pub last_publish_time_stamp: u64,
}

/// Messages and bytes in and out of a topic. Rates are per second, throughput in bytes per second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicTraffic {
    pub msg_rate_in: f64,
    pub msg_throughput_in: f64,
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_in_counter: u64,
    pub msg_in_counter: u64,
    pub system_topic_bytes_in_counter: u64,
    pub bytes_out_counter: u64,
    pub msg_out_counter: u64,
    pub bytes_out_internal_counter: u64,
    /// Bytes.
    pub average_msg_size: f64,
    /// Whether a chunked message was published.
    pub msg_chunk_published: bool,
    pub publish_rate_limited_times: u64,
    pub waiting_publishers: u64,
}

/// What a topic keeps. Sizes in bytes, −1 where there is no limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicStorage {
    pub storage_size: u64,
    pub backlog_size: u64,
    pub offloaded_storage_size: u64,
    pub backlog_quota_limit_size: i64,
    /// Seconds.
    pub backlog_quota_limit_time: i64,
    /// −1: no backlog or not known.
    pub oldest_backlog_message_age_seconds: i64,
    pub oldest_backlog_message_subscription_name: Option<String>,
    /// Unix milliseconds.
    pub earliest_msg_publish_time_in_backlogs: u64,
    pub non_contiguous_deleted_messages_ranges: u64,
    pub non_contiguous_deleted_messages_ranges_serialized_size: u64,
    pub delayed_message_index_size_in_bytes: u64,
}

/// Entries written to and read from a topic's log: rates per second, and counts of about the last [`RATE_WINDOW`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EntryStats {
    pub write_rate: f64,
    pub read_rate: f64,
    /// By [`LATENCY_BOUNDS_US`], from the arrival of an entry until it is durable; the last is overflow.
    pub write_latency: [u64; 10],
    /// By [`SIZE_BOUNDS`]; the last is overflow.
    pub size: [u64; 9],
}

/// Transactions of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TransactionCounts {
    pub ongoing_txn_count: u64,
    pub aborted_txn_count: u64,
    pub committed_txn_count: u64,
}

/// The last compaction of a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CompactionStats {
    pub last_compaction_removed_event_count: u64,
    pub last_compaction_succeed_timestamp: u64,
    pub last_compaction_failed_timestamp: u64,
    pub last_compaction_duration_time_in_mills: u64,
}

/// One producer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PublisherStats {
    /// `Shared`, `Exclusive`, `ExclusiveWithFencing` or `WaitForExclusive`.
    pub access_mode: String,
    pub msg_rate_in: f64,
    pub msg_throughput_in: f64,
    pub average_msg_size: f64,
    pub chunked_message_rate: f64,
    pub producer_id: u64,
    pub supports_partial_producer: bool,
    pub producer_name: String,
    /// `/ip:port`.
    pub address: String,
    /// As [`iso_time`] writes it.
    pub connected_since: String,
    /// Without spaces.
    pub client_version: String,
    pub metadata: BTreeMap<String, String>,
}

/// One subscription.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionStats {
    #[serde(flatten)]
    pub traffic: SubscriptionTraffic,
    #[serde(flatten)]
    pub backlog: SubscriptionBacklog,
    #[serde(flatten)]
    pub times: SubscriptionTimes,
    #[serde(flatten)]
    pub draining: DrainingStats,
    #[serde(flatten)]
    pub filters: FilterStats,
    /// `Exclusive`, `Shared`, `Failover`, `Key_Shared`; `None` while no consumer ever connected.
    #[serde(rename = "type")]
    pub sub_type: Option<String>,
    pub active_consumer_name: Option<String>,
    pub consumers: Vec<ConsumerStats>,
    pub is_durable: bool,
    pub is_replicated: bool,
    pub allow_out_of_order_delivery: bool,
    pub key_shared_mode: Option<String>,
    pub consumers_after_mark_delete_position: BTreeMap<String, String>,
    pub subscription_properties: BTreeMap<String, String>,
    /// Same as `is_durable`, under the second name that tools read.
    pub durable: bool,
    /// Same as `is_replicated`.
    pub replicated: bool,
}

/// What a subscription sent and got acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionTraffic {
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_out_counter: u64,
    pub msg_out_counter: u64,
    pub msg_rate_redeliver: f64,
    pub message_ack_rate: f64,
    pub chunked_message_rate: f64,
    pub msg_rate_expired: f64,
    pub total_msg_expired: u64,
}

/// What a subscription still has to deliver or to get acknowledged. Backlogs count entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionBacklog {
    pub msg_backlog: u64,
    /// Bytes.
    pub backlog_size: u64,
    /// Unix milliseconds.
    pub earliest_msg_publish_time_in_backlog: u64,
    pub msg_backlog_no_delayed: u64,
    pub blocked_subscription_on_unacked_msgs: bool,
    pub msg_delayed: u64,
    pub msg_in_replay: u64,
    pub unacked_messages: u64,
    pub non_contiguous_deleted_messages_ranges: u64,
    pub non_contiguous_deleted_messages_ranges_serialized_size: u64,
    pub delayed_message_index_size_in_bytes: u64,
}

/// When things last happened, Unix milliseconds, 0 for never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionTimes {
    pub last_expire_timestamp: u64,
    pub last_consumed_flow_timestamp: u64,
    pub last_consumed_timestamp: u64,
    pub last_acked_timestamp: u64,
    pub last_mark_delete_advanced_timestamp: u64,
}

/// Key_Shared: hashes whose messages still lie with a former owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DrainingStats {
    pub draining_hashes_count: u64,
    pub draining_hashes_cleared_total: u64,
    pub draining_hashes_unacked_messages: u64,
}

/// Entry filters, which Meridian does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FilterStats {
    pub filter_processed_msg_count: u64,
    pub filter_accepted_msg_count: u64,
    pub filter_rejected_msg_count: u64,
    pub filter_rescheduled_msg_count: u64,
}

/// One consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStats {
    #[serde(flatten)]
    pub traffic: ConsumerTraffic,
    #[serde(flatten)]
    pub draining: DrainingStats,
    pub consumer_name: String,
    /// May be negative by one batch.
    pub available_permits: i64,
    pub unacked_messages: u64,
    pub avg_messages_per_entry: u64,
    pub blocked_consumer_on_unacked_msgs: bool,
    pub read_position_when_joining: Option<String>,
    /// `/ip:port`.
    pub address: String,
    /// As [`iso_time`] writes it.
    pub connected_since: String,
    /// Without spaces.
    pub client_version: String,
    pub last_acked_timestamp: u64,
    pub last_consumed_timestamp: u64,
    pub last_consumed_flow_timestamp: u64,
    /// `[start, end]`, both inclusive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_hash_ranges: Option<Vec<String>>,
    pub metadata: BTreeMap<String, String>,
}

/// What one consumer got and acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerTraffic {
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub bytes_out_counter: u64,
    pub msg_out_counter: u64,
    pub msg_rate_redeliver: f64,
    pub message_ack_rate: f64,
    pub chunked_message_rate: f64,
}

/// One direction pair of a topic's replication with a remote region.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicatorStats {
    pub msg_rate_in: f64,
    pub msg_throughput_in: f64,
    pub msg_rate_out: f64,
    pub msg_throughput_out: f64,
    pub msg_rate_expired: f64,
    /// Entries not yet acknowledged by the remote region.
    pub replication_backlog: u64,
    pub connected: bool,
    pub replication_delay_in_seconds: u64,
    pub inbound_connection: Option<String>,
    pub inbound_connected_since: Option<String>,
    pub outbound_connection: Option<String>,
    pub outbound_connected_since: Option<String>,
}

/// The partitions of a partitioned topic, added up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionedTopicStats {
    #[serde(flatten)]
    pub sum: TopicStats,
    pub metadata: PartitionedMetadata,
    /// By full name; empty when the caller did not ask for them.
    pub partitions: BTreeMap<String, TopicStats>,
}

/// What a partitioned topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartitionedMetadata {
    pub partitions: u32,
    pub deleted: bool,
}

impl PartitionedTopicStats {
    /// Adds up the stats of the partitions, given by full name. Partitions that are not loaded may be missing.
    pub fn add_up(partitions: u32, loaded: BTreeMap<String, TopicStats>) -> Self {
        let mut sum = TopicStats::default();
        for stats in loaded.values() {
            sum.add(stats);
        }
        Self { sum, metadata: PartitionedMetadata { partitions, deleted: false }, partitions: loaded }
    }
}
