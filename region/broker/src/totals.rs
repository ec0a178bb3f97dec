//! What the broker counts over all topics, also those that are no longer loaded.
//!
//! **Not here**  What one topic counts (`topic::meters`), how it is shown (`admin`).

use crate::admin_command::CacheStats;
use crate::stats::{RATE_WINDOW, RateMeter};
use crate::topic::meters::Publishes;
use base::Mono;
use managed::ReadCounts;

/// Counters since the start of the broker.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) publishes: Publishes,
    hit_entries: RateMeter,
    hit_bytes: RateMeter,
    miss_entries: RateMeter,
    miss_bytes: RateMeter,
    evictions: RateMeter,
}

impl Totals {
    /// Adds what a topic counted since it was asked before.
    pub(crate) fn add(&mut self, now: Mono, publishes: Publishes, reads: ReadCounts) {
        self.publishes.count += publishes.count;
        self.publishes.latency_us = self.publishes.latency_us.saturating_add(publishes.latency_us);
        if reads == ReadCounts::default() {
            return;
        }
        self.hit_entries.record(now, reads.hit_entries);
        self.hit_bytes.record(now, reads.hit_bytes);
        self.miss_entries.record(now, reads.miss_entries);
        self.miss_bytes.record(now, reads.miss_bytes);
        self.evictions.record(now, reads.evicted_entries);
    }

    pub(crate) fn cache(&self, now: Mono) -> CacheStats {
        CacheStats {
            hits_rate: self.hit_entries.rate(now),
            hits_throughput: self.hit_bytes.rate(now),
            misses_rate: self.miss_entries.rate(now),
            misses_throughput: self.miss_bytes.rate(now),
            evictions: (self.evictions.rate(now) * RATE_WINDOW.as_secs_f64()).round(),
        }
    }
}
