//! Adding up the stats of the partitions of one topic.

use super::{
    ConsumerStats, DrainingStats, EntryStats, PublisherStats, ReplicatorStats, SubscriptionBacklog, SubscriptionStats,
    SubscriptionTimes, SubscriptionTraffic, TopicStats, TopicStorage, TopicTraffic,
};

impl TopicStats {
    /// Adds another partition of the same topic: counts and rates are added, producers and consumers of the same name
    /// become one.
    pub fn add(&mut self, other: &Self) {
        self.traffic.add(&other.traffic);
        self.storage.add(&other.storage);
        self.entries.add(&other.entries);
        self.transactions.ongoing_txn_count += other.transactions.ongoing_txn_count;
        self.transactions.aborted_txn_count += other.transactions.aborted_txn_count;
        self.transactions.committed_txn_count += other.transactions.committed_txn_count;
        for publisher in &other.publishers {
            match self.publishers.iter_mut().find(|p| p.producer_name == publisher.producer_name) {
                Some(same) => same.add(publisher),
                None => self.publishers.push(publisher.clone()),
            }
        }
        for (name, subscription) in &other.subscriptions {
            match self.subscriptions.get_mut(name) {
                Some(same) => same.add(subscription),
                None => drop(self.subscriptions.insert(name.clone(), subscription.clone())),
            }
        }
        for (region, replicator) in &other.replication {
            self.replication.entry(region.clone()).or_default().add(replicator);
        }
        if self.deduplication_status.is_empty() {
            self.deduplication_status.clone_from(&other.deduplication_status);
        }
        self.topic_creation_time_stamp = earlier(self.topic_creation_time_stamp, other.topic_creation_time_stamp);
        self.last_publish_time_stamp = self.last_publish_time_stamp.max(other.last_publish_time_stamp);
    }
}

/// The earlier of two points in time where 0 stands for "never".
fn earlier(left: u64, right: u64) -> u64 {
    match (left, right) {
        (0, only) | (only, 0) => only,
        (left, right) => left.min(right),
    }
}

impl TopicTraffic {
    fn add(&mut self, other: &Self) {
        let messages = self.msg_rate_in + other.msg_rate_in;
        if messages > 0.0 {
            let bytes = self.average_msg_size * self.msg_rate_in + other.average_msg_size * other.msg_rate_in;
            self.average_msg_size = bytes / messages;
        } else {
            self.average_msg_size = self.average_msg_size.max(other.average_msg_size);
        }
        self.msg_rate_in = messages;
        self.msg_throughput_in += other.msg_throughput_in;
        self.msg_rate_out += other.msg_rate_out;
        self.msg_throughput_out += other.msg_throughput_out;
        self.bytes_in_counter += other.bytes_in_counter;
        self.msg_in_counter += other.msg_in_counter;
        self.system_topic_bytes_in_counter += other.system_topic_bytes_in_counter;
        self.bytes_out_counter += other.bytes_out_counter;
        self.msg_out_counter += other.msg_out_counter;
        self.bytes_out_internal_counter += other.bytes_out_internal_counter;
        self.msg_chunk_published |= other.msg_chunk_published;
        self.publish_rate_limited_times += other.publish_rate_limited_times;
        self.waiting_publishers += other.waiting_publishers;
    }
}

impl TopicStorage {
    fn add(&mut self, other: &Self) {
        self.storage_size += other.storage_size;
        self.backlog_size += other.backlog_size;
        self.offloaded_storage_size += other.offloaded_storage_size;
        self.backlog_quota_limit_size = self.backlog_quota_limit_size.max(other.backlog_quota_limit_size);
        self.backlog_quota_limit_time = self.backlog_quota_limit_time.max(other.backlog_quota_limit_time);
        if other.oldest_backlog_message_age_seconds > self.oldest_backlog_message_age_seconds {
            self.oldest_backlog_message_age_seconds = other.oldest_backlog_message_age_seconds;
            self.oldest_backlog_message_subscription_name.clone_from(&other.oldest_backlog_message_subscription_name);
        }
        self.earliest_msg_publish_time_in_backlogs =
            earlier(self.earliest_msg_publish_time_in_backlogs, other.earliest_msg_publish_time_in_backlogs);
        self.non_contiguous_deleted_messages_ranges += other.non_contiguous_deleted_messages_ranges;
        self.non_contiguous_deleted_messages_ranges_serialized_size +=
            other.non_contiguous_deleted_messages_ranges_serialized_size;
        self.delayed_message_index_size_in_bytes += other.delayed_message_index_size_in_bytes;
    }
}

impl EntryStats {
    fn add(&mut self, other: &Self) {
        self.write_rate += other.write_rate;
        self.read_rate += other.read_rate;
        self.write_latency.iter_mut().zip(other.write_latency).for_each(|(mine, theirs)| *mine += theirs);
        self.size.iter_mut().zip(other.size).for_each(|(mine, theirs)| *mine += theirs);
    }
}

impl PublisherStats {
    fn add(&mut self, other: &Self) {
        self.msg_rate_in += other.msg_rate_in;
        self.msg_throughput_in += other.msg_throughput_in;
        self.average_msg_size = self.average_msg_size.max(other.average_msg_size);
        self.chunked_message_rate += other.chunked_message_rate;
    }
}

impl SubscriptionStats {
    fn add(&mut self, other: &Self) {
        self.traffic.add(&other.traffic);
        self.backlog.add(&other.backlog);
        self.times.add(&other.times);
        self.draining.add(&other.draining);
        if self.sub_type.is_none() {
            self.sub_type.clone_from(&other.sub_type);
        }
        for consumer in &other.consumers {
            match self.consumers.iter_mut().find(|c| c.consumer_name == consumer.consumer_name) {
                Some(same) => same.add(consumer),
                None => self.consumers.push(consumer.clone()),
            }
        }
    }
}

impl SubscriptionTraffic {
    fn add(&mut self, other: &Self) {
        self.msg_rate_out += other.msg_rate_out;
        self.msg_throughput_out += other.msg_throughput_out;
        self.bytes_out_counter += other.bytes_out_counter;
        self.msg_out_counter += other.msg_out_counter;
        self.msg_rate_redeliver += other.msg_rate_redeliver;
        self.message_ack_rate += other.message_ack_rate;
        self.chunked_message_rate += other.chunked_message_rate;
        self.msg_rate_expired += other.msg_rate_expired;
        self.total_msg_expired += other.total_msg_expired;
    }
}

impl SubscriptionBacklog {
    fn add(&mut self, other: &Self) {
        self.msg_backlog += other.msg_backlog;
        self.backlog_size += other.backlog_size;
        self.earliest_msg_publish_time_in_backlog =
            earlier(self.earliest_msg_publish_time_in_backlog, other.earliest_msg_publish_time_in_backlog);
        self.msg_backlog_no_delayed += other.msg_backlog_no_delayed;
        self.blocked_subscription_on_unacked_msgs |= other.blocked_subscription_on_unacked_msgs;
        self.msg_delayed += other.msg_delayed;
        self.msg_in_replay += other.msg_in_replay;
        self.unacked_messages += other.unacked_messages;
        self.non_contiguous_deleted_messages_ranges += other.non_contiguous_deleted_messages_ranges;
        self.non_contiguous_deleted_messages_ranges_serialized_size +=
            other.non_contiguous_deleted_messages_ranges_serialized_size;
        self.delayed_message_index_size_in_bytes += other.delayed_message_index_size_in_bytes;
    }
}

impl SubscriptionTimes {
    fn add(&mut self, other: &Self) {
        self.last_expire_timestamp = self.last_expire_timestamp.max(other.last_expire_timestamp);
        self.last_consumed_flow_timestamp = self.last_consumed_flow_timestamp.max(other.last_consumed_flow_timestamp);
        self.last_consumed_timestamp = self.last_consumed_timestamp.max(other.last_consumed_timestamp);
        self.last_acked_timestamp = self.last_acked_timestamp.max(other.last_acked_timestamp);
        self.last_mark_delete_advanced_timestamp =
            self.last_mark_delete_advanced_timestamp.max(other.last_mark_delete_advanced_timestamp);
    }
}

impl DrainingStats {
    pub(crate) fn add(&mut self, other: &Self) {
        self.draining_hashes_count += other.draining_hashes_count;
        self.draining_hashes_cleared_total += other.draining_hashes_cleared_total;
        self.draining_hashes_unacked_messages += other.draining_hashes_unacked_messages;
    }
}

impl ConsumerStats {
    fn add(&mut self, other: &Self) {
        self.traffic.msg_rate_out += other.traffic.msg_rate_out;
        self.traffic.msg_throughput_out += other.traffic.msg_throughput_out;
        self.traffic.bytes_out_counter += other.traffic.bytes_out_counter;
        self.traffic.msg_out_counter += other.traffic.msg_out_counter;
        self.traffic.msg_rate_redeliver += other.traffic.msg_rate_redeliver;
        self.traffic.message_ack_rate += other.traffic.message_ack_rate;
        self.traffic.chunked_message_rate += other.traffic.chunked_message_rate;
        self.draining.add(&other.draining);
        self.available_permits += other.available_permits;
        self.unacked_messages += other.unacked_messages;
        self.avg_messages_per_entry = self.avg_messages_per_entry.max(other.avg_messages_per_entry);
        self.blocked_consumer_on_unacked_msgs |= other.blocked_consumer_on_unacked_msgs;
        self.last_acked_timestamp = self.last_acked_timestamp.max(other.last_acked_timestamp);
        self.last_consumed_timestamp = self.last_consumed_timestamp.max(other.last_consumed_timestamp);
        self.last_consumed_flow_timestamp = self.last_consumed_flow_timestamp.max(other.last_consumed_flow_timestamp);
    }
}

impl ReplicatorStats {
    fn add(&mut self, other: &Self) {
        self.msg_rate_in += other.msg_rate_in;
        self.msg_throughput_in += other.msg_throughput_in;
        self.msg_rate_out += other.msg_rate_out;
        self.msg_throughput_out += other.msg_throughput_out;
        self.msg_rate_expired += other.msg_rate_expired;
        self.replication_backlog += other.replication_backlog;
        self.connected |= other.connected;
        self.replication_delay_in_seconds = self.replication_delay_in_seconds.max(other.replication_delay_in_seconds);
        for (mine, theirs) in [
            (&mut self.inbound_connection, &other.inbound_connection),
            (&mut self.inbound_connected_since, &other.inbound_connected_since),
            (&mut self.outbound_connection, &other.outbound_connection),
            (&mut self.outbound_connected_since, &other.outbound_connected_since),
        ] {
            if mine.is_none() {
                mine.clone_from(theirs);
            }
        }
    }
}
