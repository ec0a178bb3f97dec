//! What a topic counts about itself.

use crate::stats::{EntryStats, LATENCY_BOUNDS_US, RateMeter, SIZE_BOUNDS, WindowCounts};
use base::Mono;
use std::time::Duration;

/// Counters of one topic since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct TopicMeters {
    pub(crate) messages_in: RateMeter,
    pub(crate) bytes_in: RateMeter,
    pub(crate) messages_in_total: u64,
    pub(crate) bytes_in_total: u64,
    pub(crate) publish_rate_limited: u64,
    pub(crate) last_publish_ms: u64,
    pub(crate) evicted_by_quota: u64,
    pub(crate) entries_read: RateMeter,
    entries_written: RateMeter,
    latency: WindowCounts<10>,
    size: WindowCounts<9>,
    /// Since the broker last took them.
    publishes: Publishes,
}

/// Entries made durable, and how long that took altogether.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Publishes {
    pub(crate) count: u64,
    pub(crate) latency_us: u64,
}

impl TopicMeters {
    pub(crate) fn record_in(&mut self, now: Mono, messages: u32, bytes: u64) {
        self.messages_in.record(now, u64::from(messages));
        self.bytes_in.record(now, bytes);
        self.messages_in_total += u64::from(messages);
        self.bytes_in_total += bytes;
    }

    /// An entry of this size became durable this long after it came.
    pub(crate) fn record_written(&mut self, now: Mono, latency: Duration, bytes: u64) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.record(now, us, &LATENCY_BOUNDS_US);
        self.size.record(now, bytes, &SIZE_BOUNDS);
        self.entries_written.record(now, 1);
        self.publishes.count += 1;
        self.publishes.latency_us = self.publishes.latency_us.saturating_add(us);
    }

    pub(crate) fn take_publishes(&mut self) -> Publishes {
        std::mem::take(&mut self.publishes)
    }

    pub(crate) fn entries(&self, now: Mono) -> EntryStats {
        EntryStats {
            write_rate: self.entries_written.rate(now),
            read_rate: self.entries_read.rate(now),
            write_latency: self.latency.counts(now),
            size: self.size.counts(now),
        }
    }
}
