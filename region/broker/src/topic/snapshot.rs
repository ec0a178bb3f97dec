//! A topic's statistics, put together from its parts.

use crate::stats::{
    CursorInternals, InternalStats, LedgerInternals, PublisherStats, ReplicatorStats, TopicStats, iso_time,
};
use crate::topic::producers::Producer;
use crate::topic::{Topic, TopicEnv};
use base::Now;
use link::LinkPhase;
use managed::Cursor;
use wire::pulsar::ProducerAccessMode;

impl Topic {
    pub(crate) fn stats(&self, env: &TopicEnv<'_>) -> TopicStats {
        let now = env.now;
        let mut stats = TopicStats::default();
        stats.traffic.msg_rate_in = self.meters.messages_in.rate(now.mono);
        stats.traffic.msg_throughput_in = self.meters.bytes_in.rate(now.mono);
        stats.traffic.msg_in_counter = self.meters.messages_in_total;
        stats.traffic.bytes_in_counter = self.meters.bytes_in_total;
        stats.traffic.publish_rate_limited_times = self.meters.publish_rate_limited;
        stats.traffic.waiting_publishers = self.producers.waiting() as u64;
        if self.meters.messages_in_total > 0 {
            stats.traffic.average_msg_size = self.meters.bytes_in_total as f64 / self.meters.messages_in_total as f64;
        }
        stats.entries = self.meters.entries(now.mono);
        stats.storage.storage_size = self.ledger.total_bytes();
        stats.storage.backlog_size = self.backlog_bytes();
        let quotas = &self.settings.policies;
        stats.storage.backlog_quota_limit_size =
            quotas.backlog_by_bytes.limit_bytes.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        stats.storage.backlog_quota_limit_time =
            quotas.backlog_by_age.limit_s.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(-1);
        stats.publishers = self.producers.iter().map(|producer| publisher(producer, now)).collect();
        for sub in self.subs.by_id.values() {
            let one = sub.stats(&self.ledger, now);
            stats.traffic.msg_rate_out += one.traffic.msg_rate_out;
            stats.traffic.msg_throughput_out += one.traffic.msg_throughput_out;
            stats.traffic.bytes_out_counter += one.traffic.bytes_out_counter;
            stats.traffic.msg_out_counter += one.traffic.msg_out_counter;
            stats.subscriptions.insert(sub.name().to_string(), one);
        }
        self.add_replication(&mut stats, now);
        let dedup = if self.settings.policies.deduplication_enabled { "Enabled" } else { "Disabled" };
        stats.deduplication_status = dedup.to_owned();
        stats.owner_broker = Some(env.core.options.http_url.trim_start_matches("http://").to_owned());
        stats.topic_epoch = self.producers.epoch();
        stats.topic_creation_time_stamp = self.record.value.created_ms;
        stats.last_publish_time_stamp = self.meters.last_publish_ms;
        stats
    }

    fn add_replication(&self, stats: &mut TopicStats, now: Now) {
        for (region, link) in &self.links.out {
            let mut one = ReplicatorStats::default();
            if let Some(sender) = &link.sender {
                let lag = sender.lag(now);
                one.replication_backlog = lag.messages;
                one.replication_delay_in_seconds = lag.oldest_ms / 1000;
                one.connected = matches!(sender.phase(), LinkPhase::Streaming);
            }
            stats.replication.insert(region.to_string(), one);
        }
    }

    pub(crate) fn internal_stats(&self) -> InternalStats {
        let ledgers = self.ledger.ledgers();
        let mut stats = InternalStats {
            entries_added_counter: self.meters.messages_in_total,
            number_of_entries: self.ledger.total_entries(),
            total_size: self.ledger.total_bytes(),
            pending_add_entries_count: self.ledger.pending_adds() as u64,
            last_confirmed_entry: self.ledger.last_confirmed().to_string(),
            state: if self.is_ready() { "LedgerOpened" } else { "Closed" }.to_owned(),
            ..InternalStats::default()
        };
        if let Some(current) = ledgers.last() {
            stats.current_ledger_entries = current.entries;
            stats.current_ledger_size = current.bytes;
        }
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        stats.ledgers = ledgers
            .iter()
            .map(|ledger| LedgerInternals {
                ledger_id: signed(ledger.ledger.0),
                entries: signed(ledger.entries),
                size: signed(ledger.bytes),
                ..LedgerInternals::default()
            })
            .collect();
        let cursor_ledger = self.ledger.cursor_ledger().map_or(-1, |ledger| signed(ledger.0));
        for (_, cursor) in self.ledger.cursors() {
            let mut one = self.cursor_internals(cursor);
            one.cursor_ledger = cursor_ledger;
            stats.cursors.insert(cursor.name().to_owned(), one);
        }
        stats
    }

    fn cursor_internals(&self, cursor: &Cursor) -> CursorInternals {
        let ranges: Vec<String> = cursor
            .individually_acked()
            .map(|(ledger, first, last)| format!("({ledger}:{}..{ledger}:{last}]", first - 1))
            .collect();
        CursorInternals {
            mark_delete_position: cursor.mark_delete().to_string(),
            read_position: self.ledger.next_position(cursor.mark_delete()).to_string(),
            total_non_contiguous_deleted_messages_range: ranges.len() as u64,
            individually_deleted_messages: format!("[{}]", ranges.join(",")),
            state: "Open".to_owned(),
            active: true,
            number_of_entries_since_first_not_acked_message: self.ledger.entries_after(cursor.mark_delete()),
            properties: cursor.properties().iter().filter_map(|(k, v)| Some((k.clone(), v.parse().ok()?))).collect(),
            ..CursorInternals::default()
        }
    }
}

fn publisher(producer: &Producer, now: Now) -> PublisherStats {
    let spec = &producer.spec;
    let messages = producer.messages.rate(now.mono);
    let bytes = producer.bytes.rate(now.mono);
    PublisherStats {
        access_mode: match spec.access {
            ProducerAccessMode::Shared => "Shared",
            ProducerAccessMode::Exclusive => "Exclusive",
            ProducerAccessMode::WaitForExclusive => "WaitForExclusive",
            ProducerAccessMode::ExclusiveWithFencing => "ExclusiveWithFencing",
        }
        .to_owned(),
        msg_rate_in: messages,
        msg_throughput_in: bytes,
        average_msg_size: if messages > 0.0 { bytes / messages } else { 0.0 },
        producer_id: spec.key.producer_id,
        producer_name: spec.name.clone(),
        address: format!("/{}", spec.address),
        connected_since: iso_time(spec.connected_since_ms),
        client_version: spec.client_version.replace(' ', "-"),
        metadata: spec.metadata.clone(),
        ..PublisherStats::default()
    }
}
