//! What a topic counts about itself.

use crate::stats::RateMeter;
use base::Mono;
use std::time::Duration;

/// Upper bounds of Pulsar's write latency gauges, in milliseconds with one decimal (ux.md §5.4); the last is overflow.
pub(crate) const LATENCY_BOUNDS_US: [u64; 9] = [500, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 1_000_000];
/// Upper bounds of Pulsar's entry size gauges, in bytes; the last is overflow.
pub(crate) const SIZE_BOUNDS: [u64; 8] = [128, 512, 1024, 2048, 4096, 16_384, 102_400, 1_048_576];

/// Counters of one topic since it was loaded.
#[derive(Debug, Default)]
pub(crate) struct TopicMeters {
    pub(crate) messages_in: RateMeter,
    pub(crate) bytes_in: RateMeter,
    pub(crate) messages_in_total: u64,
    pub(crate) bytes_in_total: u64,
    pub(crate) publish_rate_limited: u64,
    pub(crate) last_publish_ms: u64,
    pub(crate) latency: [u64; 10],
    pub(crate) latency_us_sum: u64,
    pub(crate) size: [u64; 9],
    pub(crate) evicted_by_quota: u64,
}

impl TopicMeters {
    pub(crate) fn record_in(&mut self, now: Mono, messages: u32, bytes: u64) {
        self.messages_in.record(now, u64::from(messages));
        self.bytes_in.record(now, bytes);
        self.messages_in_total += u64::from(messages);
        self.bytes_in_total += bytes;
    }

    pub(crate) fn record_latency(&mut self, latency: Duration, bytes: u64) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us_sum = self.latency_us_sum.saturating_add(us);
        let slot = LATENCY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BOUNDS_US.len());
        self.latency[slot] += 1;
        let slot = SIZE_BOUNDS.iter().position(|bound| bytes <= *bound).unwrap_or(SIZE_BOUNDS.len());
        self.size[slot] += 1;
    }
}
