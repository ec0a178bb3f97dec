//! What operators and clients see of a subscription and its consumers.

use super::consumer::{Consumer, ConsumerKey, KeyOrder, SubType};
use super::replay::DELAYED_BYTES;
use super::route::Split;
use super::shared::Shared;
use super::{Dispatcher, Durability, Subscription};
use crate::stats::{
    ConsumerStats, ConsumerTraffic, DrainingStats, SubscriptionBacklog, SubscriptionStats, SubscriptionTimes,
    SubscriptionTraffic, iso_time,
};
use base::{Mono, Now};
use managed::{Cursor, ManagedLedger};
use std::collections::BTreeMap;
use wire::pulsar::{CommandConsumerStatsResponse, ServerError};

impl Subscription {
    /// Entries not acknowledged.
    pub fn backlog(&self, ledger: &ManagedLedger) -> u64 {
        ledger.cursor(self.cursor).map_or(0, |cursor| cursor.backlog_entries(ledger))
    }

    /// Messages and bytes that go out per second.
    pub(crate) fn sent_rates(&self, now: Now) -> (f64, f64) {
        let traffic = &self.meters.traffic;
        (traffic.messages.rate(now.mono), traffic.bytes.rate(now.mono))
    }

    /// Everything that tools show of it.
    pub fn stats(&self, ledger: &ManagedLedger, now: Now) -> SubscriptionStats {
        let shared = self.shared();
        let by_key = shared.and_then(|shared| shared.route.by_key());
        let drained = self.draining();
        let mut draining = DrainingStats::default();
        drained.values().for_each(|of_one| draining.add(of_one));
        draining.draining_hashes_cleared_total = by_key.map_or(0, |by_key| by_key.drained_total());
        let durable = self.durability == Durability::Durable;
        SubscriptionStats {
            traffic: self.traffic(now.mono),
            backlog: self.backlog_stats(ledger),
            times: self.times(),
            draining,
            sub_type: self.kind.map(|kind| type_name(kind).to_owned()),
            active_consumer_name: self.active_consumer().map(|consumer| consumer.spec.name.clone()),
            consumers: self.consumers.iter().map(|consumer| self.stats_of(consumer, &drained, now.mono)).collect(),
            is_durable: durable,
            durable,
            allow_out_of_order_delivery: by_key.is_some_and(|by_key| by_key.order() == KeyOrder::Waived),
            key_shared_mode: by_key.map(|by_key| split_name(by_key.split()).to_owned()),
            subscription_properties: ledger.cursor(self.cursor).map(Cursor::properties).cloned().unwrap_or_default(),
            ..SubscriptionStats::default()
        }
    }

    /// The answer to ConsumerStats, also when there is no such consumer.
    pub fn consumer_stats(
        &self,
        key: ConsumerKey,
        request_id: u64,
        ledger: &ManagedLedger,
        now: Now,
    ) -> CommandConsumerStatsResponse {
        let Some(consumer) = self.consumers.get(key) else {
            return CommandConsumerStatsResponse {
                request_id,
                error_code: Some(ServerError::ConsumerNotFound as i32),
                error_message: Some(format!(
                    "consumer {} is not connected to subscription '{}'",
                    key.consumer_id, self.name
                )),
                ..CommandConsumerStatsResponse::default()
            };
        };
        let stats = self.stats_of(consumer, &BTreeMap::new(), now.mono);
        CommandConsumerStatsResponse {
            request_id,
            error_code: None,
            error_message: None,
            msg_rate_out: Some(stats.traffic.msg_rate_out),
            msg_throughput_out: Some(stats.traffic.msg_throughput_out),
            msg_rate_redeliver: Some(stats.traffic.msg_rate_redeliver),
            consumer_name: Some(stats.consumer_name),
            available_permits: Some(u64::try_from(stats.available_permits).unwrap_or(0)),
            unacked_messages: Some(stats.unacked_messages),
            blocked_consumer_on_unacked_msgs: Some(stats.blocked_consumer_on_unacked_msgs),
            address: Some(stats.address),
            connected_since: Some(stats.connected_since),
            r#type: Some(type_name(consumer.spec.sub_type).to_owned()),
            msg_rate_expired: Some(self.meters.expired.rate(now.mono)),
            msg_backlog: Some(self.backlog(ledger)),
            message_ack_rate: Some(stats.traffic.message_ack_rate),
        }
    }

    fn shared(&self) -> Option<&Shared> {
        match &self.dispatcher {
            Dispatcher::Shared(shared) => Some(shared),
            Dispatcher::Idle | Dispatcher::Single(_) => None,
        }
    }

    /// The consumer that gets everything, where there is such a one.
    fn active_consumer(&self) -> Option<&Consumer> {
        match &self.dispatcher {
            Dispatcher::Single(single) => single.active().and_then(|key| self.consumers.get(key)),
            Dispatcher::Idle | Dispatcher::Shared(_) => None,
        }
    }

    fn traffic(&self, now: Mono) -> SubscriptionTraffic {
        let traffic = &self.meters.traffic;
        SubscriptionTraffic {
            msg_rate_out: traffic.messages.rate(now),
            msg_throughput_out: traffic.bytes.rate(now),
            bytes_out_counter: traffic.bytes_total,
            msg_out_counter: traffic.messages_total,
            msg_rate_redeliver: traffic.redelivered.rate(now),
            message_ack_rate: traffic.acked.rate(now),
            chunked_message_rate: 0.0,
            msg_rate_expired: self.meters.expired.rate(now),
            total_msg_expired: self.meters.expired_total,
        }
    }

    fn backlog_stats(&self, ledger: &ManagedLedger) -> SubscriptionBacklog {
        let cursor = ledger.cursor(self.cursor);
        let entries = self.backlog(ledger);
        let delayed = self.shared().map_or(0, |shared| shared.delayed.len() as u64);
        SubscriptionBacklog {
            msg_backlog: entries,
            backlog_size: cursor.map_or(0, |cursor| cursor.backlog_bytes(ledger)),
            msg_backlog_no_delayed: entries.saturating_sub(delayed),
            blocked_subscription_on_unacked_msgs: self.shared().is_some_and(|shared| shared.is_full(self.options)),
            msg_delayed: delayed,
            msg_in_replay: self.shared().map_or(0, |shared| shared.replay.len() as u64),
            unacked_messages: self.shared().map_or(0, |shared| shared.pending.unacked_total()),
            non_contiguous_deleted_messages_ranges: cursor
                .map_or(0, |cursor| cursor.individually_acked().count() as u64),
            delayed_message_index_size_in_bytes: delayed * DELAYED_BYTES,
            ..SubscriptionBacklog::default()
        }
    }

    fn times(&self) -> SubscriptionTimes {
        SubscriptionTimes {
            last_expire_timestamp: self.meters.last_expired_ms,
            last_consumed_flow_timestamp: self.meters.traffic.last_flow_ms,
            last_consumed_timestamp: self.meters.traffic.last_sent_ms,
            last_acked_timestamp: self.meters.traffic.last_acked_ms,
            last_mark_delete_advanced_timestamp: self.meters.last_mark_delete_ms,
        }
    }

    /// Hashes that wait for each former owner.
    fn draining(&self) -> BTreeMap<ConsumerKey, DrainingStats> {
        let mut found: BTreeMap<ConsumerKey, DrainingStats> = BTreeMap::new();
        let Some(shared) = self.shared() else { return found };
        let mut messages: BTreeMap<ConsumerKey, BTreeMap<u16, u64>> = BTreeMap::new();
        for (slot, holder) in shared.route.by_key().iter().flat_map(|by_key| by_key.draining()) {
            let by_slot = messages.entry(holder).or_insert_with(|| shared.pending.unacked_by_slot(holder));
            let stats = found.entry(holder).or_default();
            stats.draining_hashes_count += 1;
            stats.draining_hashes_unacked_messages += by_slot.get(&slot).copied().unwrap_or(0);
        }
        found
    }

    fn stats_of(
        &self,
        consumer: &Consumer,
        draining: &BTreeMap<ConsumerKey, DrainingStats>,
        now: Mono,
    ) -> ConsumerStats {
        let (spec, meters) = (&consumer.spec, &consumer.meters);
        let unacked = self.shared().map_or(0, |shared| shared.pending.unacked(spec.key));
        let max = u64::from(self.options.unacked_max_per_consumer);
        let by_key = self.shared().and_then(|shared| shared.route.by_key());
        let ranges = by_key.map(|by_key| by_key.ranges_of(spec.key));
        ConsumerStats {
            traffic: ConsumerTraffic {
                msg_rate_out: meters.messages.rate(now),
                msg_throughput_out: meters.bytes.rate(now),
                bytes_out_counter: meters.bytes_total,
                msg_out_counter: meters.messages_total,
                msg_rate_redeliver: meters.redelivered.rate(now),
                message_ack_rate: meters.acked.rate(now),
                chunked_message_rate: 0.0,
            },
            draining: draining.get(&spec.key).cloned().unwrap_or_default(),
            consumer_name: spec.name.clone(),
            available_permits: consumer.permits,
            unacked_messages: unacked,
            avg_messages_per_entry: meters.messages_per_entry(),
            blocked_consumer_on_unacked_msgs: self.shared().is_some() && max > 0 && unacked >= max,
            read_position_when_joining: Some(consumer.read_from.to_string()),
            address: format!("/{}", spec.address.trim_start_matches('/')),
            connected_since: iso_time(spec.connected_since_ms),
            client_version: spec.client_version.replace(' ', "-"),
            last_acked_timestamp: meters.last_acked_ms,
            last_consumed_timestamp: meters.last_sent_ms,
            last_consumed_flow_timestamp: meters.last_flow_ms,
            key_hash_ranges: ranges.map(|all| all.iter().map(|r| format!("[{}, {}]", r.start, r.end)).collect()),
            metadata: spec.metadata.clone(),
        }
    }
}

fn type_name(kind: SubType) -> &'static str {
    match kind {
        SubType::Exclusive => "Exclusive",
        SubType::Shared => "Shared",
        SubType::Failover => "Failover",
        SubType::KeyShared => "Key_Shared",
    }
}

fn split_name(split: Split) -> &'static str {
    match split {
        Split::Auto => "AUTO_SPLIT",
        Split::Sticky => "STICKY",
    }
}
