//! What a consumer and a subscription count.

use crate::stats::RateMeter;
use base::Now;

/// Messages and bytes that went out, and what came back.
#[derive(Clone, Debug, Default)]
pub(super) struct ConsumerMeters {
    pub messages: RateMeter,
    pub bytes: RateMeter,
    pub redelivered: RateMeter,
    pub acked: RateMeter,
    pub messages_total: u64,
    pub bytes_total: u64,
    pub entries_total: u64,
    /// Unix milliseconds, 0 for never.
    pub last_sent_ms: u64,
    /// Unix milliseconds, 0 for never.
    pub last_acked_ms: u64,
    /// Unix milliseconds, 0 for never.
    pub last_flow_ms: u64,
}

/// One entry that goes out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub messages: u32,
    pub bytes: u64,
    /// Redeliveries of it so far.
    pub redeliveries: u32,
}

impl ConsumerMeters {
    pub(super) fn record_sent(&mut self, now: Now, sent: Sent) {
        self.messages.record(now.mono, u64::from(sent.messages));
        self.bytes.record(now.mono, sent.bytes);
        if sent.redeliveries > 0 {
            self.redelivered.record(now.mono, u64::from(sent.messages));
        }
        self.messages_total += u64::from(sent.messages);
        self.bytes_total += sent.bytes;
        self.entries_total += 1;
        self.last_sent_ms = now.wall_ms;
    }

    pub(super) fn record_acked(&mut self, now: Now, messages: u64) {
        self.acked.record(now.mono, messages);
        self.last_acked_ms = now.wall_ms;
    }

    /// Messages per entry on average, at least 1.
    pub(super) fn messages_per_entry(&self) -> u64 {
        self.messages_total.checked_div(self.entries_total).unwrap_or(1).max(1)
    }
}

/// The numbers of a subscription; they outlive its consumers.
#[derive(Clone, Debug, Default)]
pub(super) struct SubscriptionMeters {
    pub traffic: ConsumerMeters,
    pub expired: RateMeter,
    pub expired_total: u64,
    /// Unix milliseconds, 0 for never.
    pub last_expired_ms: u64,
    /// Unix milliseconds, 0 for never.
    pub last_mark_delete_ms: u64,
}
