//! What is under way: sent and unacknowledged entries, and the skipped ones between them.
//!
//! **Invariants**
//! - I1  positions ascend.
//! - I2  no two skipped items stand side by side, so items ≤ 2 × sent entries + 1.

use base::Position;
use std::collections::VecDeque;

/// An entry that was sent, or the last of a run of entries that are not to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) position: Position,
    pub(crate) messages_end: u64,
    pub(crate) published_ms: u64,
    /// Bytes of the window, `None` of a skipped entry.
    pub(crate) cost: Option<u64>,
}

/// What left the window at its front.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The last item that left, sent or skipped.
    pub(crate) last: Option<Item>,
    /// The last sent one among them.
    pub(crate) last_sent: Option<Position>,
    pub(crate) sent: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Window {
    items: VecDeque<Item>,
    bytes: u64,
    sent: usize,
    credit: u64,
}

impl Window {
    pub(crate) fn push(&mut self, item: Item) {
        if let Some(last) = self.items.back_mut() {
            assert!(last.position < item.position, "Window I1: positions ascend, {last:?} then {item:?}");
            if last.cost.is_none() && item.cost.is_none() {
                *last = item; // I2
                return;
            }
        }
        if let Some(cost) = item.cost {
            self.bytes += cost;
            self.sent += 1;
        }
        self.items.push_back(item);
    }

    /// Takes from the front what is acknowledged, and skipped items that nothing unacknowledged precedes.
    pub(crate) fn settle(&mut self, acked: Option<Position>) -> Settled {
        let mut settled = Settled::default();
        while let Some(&item) = self.items.front() {
            if let Some(cost) = item.cost {
                if acked < Some(item.position) {
                    break;
                }
                self.bytes -= cost;
                self.sent -= 1;
                settled.sent += 1;
                settled.last_sent = Some(item.position);
            }
            settled.last = Some(item);
            self.items.pop_front();
        }
        settled
    }

    /// Forgets what stands after `watermark`: it will be read and sent again.
    pub(crate) fn truncate_after(&mut self, watermark: Position) {
        while let Some(&item) = self.items.back()
            && item.position > watermark
        {
            self.items.pop_back();
            if let Some(cost) = item.cost {
                self.bytes -= cost;
                self.sent -= 1;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn set_credit(&mut self, credit_bytes: u64) {
        self.credit = credit_bytes;
    }

    /// Whether an entry of this cost may be sent: within the bound, or alone when it is larger than the bound.
    pub(crate) fn takes(&self, cost: u64, bytes_max: u64) -> bool {
        let bound = bytes_max.min(self.credit);
        bound > 0 && (self.sent == 0 || self.bytes + cost <= bound)
    }

    /// Bytes that may still be sent.
    pub(crate) fn room(&self, bytes_max: u64) -> u64 {
        bytes_max.min(self.credit).saturating_sub(self.bytes)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn has_sent(&self) -> bool {
        self.sent > 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// When the oldest unacknowledged entry was published, Unix milliseconds.
    pub(crate) fn oldest_ms(&self) -> Option<u64> {
        self.items.iter().find(|item| item.cost.is_some()).map(|item| item.published_ms)
    }
}
