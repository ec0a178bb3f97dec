//! What was sent to Shared and Key_Shared consumers and is not acknowledged yet, and how often entries were redelivered.
//!
//! **Invariants**
//! - I1  an entry lies with at most one consumer.
//! - I2  `unacked` of a consumer is the sum of the messages of its entries; `unacked_total` the sum over all consumers.

use super::consumer::ConsumerKey;
use base::{FixedMap, Position};
use std::collections::BTreeMap;

/// One entry that lies with a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PendingEntry {
    /// Messages of it that are not acknowledged.
    pub messages: u32,
    pub slot: u16,
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<Position, PendingEntry>,
    unacked: u64,
}

/// All entries that lie with consumers. Bounded by the limits on unacknowledged messages and by `ENTRIES_MAX`.
#[derive(Debug, Default)]
pub(super) struct Pending {
    holders: FixedMap<Position, ConsumerKey>,
    held: BTreeMap<ConsumerKey, Held>,
    unacked_total: u64,
}

/// Entries that may lie with the consumers of one subscription, also when its limits are switched off.
pub(super) const ENTRIES_MAX: usize = 1_000_000;

impl Pending {
    pub(super) fn insert(&mut self, consumer: ConsumerKey, position: Position, entry: PendingEntry) {
        let before = self.holders.insert(position, consumer);
        assert!(before.is_none(), "Pending I1: {position} was sent while it lay with a consumer");
        let held = self.held.entry(consumer).or_default();
        held.entries.insert(position, entry);
        held.unacked += u64::from(entry.messages);
        self.unacked_total += u64::from(entry.messages);
    }

    /// With whom the entry lies.
    pub(super) fn holder(&self, position: Position) -> Option<ConsumerKey> {
        self.holders.get(&position).copied()
    }

    /// The entry no longer lies with its consumer; answers with whom it lay.
    pub(super) fn remove(&mut self, position: Position) -> Option<(ConsumerKey, PendingEntry)> {
        let consumer = self.holders.remove(&position)?;
        let held = self.held.get_mut(&consumer)?;
        let entry = held.entries.remove(&position)?;
        held.unacked -= u64::from(entry.messages);
        self.unacked_total -= u64::from(entry.messages);
        Some((consumer, entry))
    }

    /// Of a batch only `messages` are left unacknowledged; answers with whom it lies and how many that made less.
    pub(super) fn shrink(&mut self, position: Position, messages: u32) -> Option<(ConsumerKey, u32)> {
        let consumer = self.holder(position)?;
        let held = self.held.get_mut(&consumer)?;
        let entry = held.entries.get_mut(&position)?;
        let less = entry.messages.saturating_sub(messages);
        entry.messages -= less;
        held.unacked -= u64::from(less);
        self.unacked_total -= u64::from(less);
        Some((consumer, less))
    }

    /// Everything that lay with a consumer that is gone.
    pub(super) fn take_consumer(&mut self, consumer: ConsumerKey) -> BTreeMap<Position, PendingEntry> {
        let Some(held) = self.held.remove(&consumer) else { return BTreeMap::new() };
        for position in held.entries.keys() {
            self.holders.remove(position);
        }
        self.unacked_total -= held.unacked;
        held.entries
    }

    /// The entries of one consumer, ascending.
    pub(super) fn entries_of(&self, consumer: ConsumerKey) -> Vec<Position> {
        self.held.get(&consumer).map(|held| held.entries.keys().copied().collect()).unwrap_or_default()
    }

    /// Every entry at or below `position`, ascending per consumer.
    pub(super) fn up_to(&self, position: Position) -> Vec<Position> {
        self.held.values().flat_map(|held| held.entries.range(..=position).map(|(p, _)| *p)).collect()
    }

    /// Messages that lie with one consumer.
    pub(super) fn unacked(&self, consumer: ConsumerKey) -> u64 {
        self.held.get(&consumer).map_or(0, |held| held.unacked)
    }

    /// Messages of `slot` that lie with `consumer`.
    pub(super) fn unacked_by_slot(&self, consumer: ConsumerKey) -> BTreeMap<u16, u64> {
        let mut by_slot = BTreeMap::new();
        for entry in self.held.get(&consumer).iter().flat_map(|held| held.entries.values()) {
            *by_slot.entry(entry.slot).or_default() += u64::from(entry.messages);
        }
        by_slot
    }

    pub(super) fn unacked_total(&self) -> u64 {
        self.unacked_total
    }

    /// Entries of all consumers.
    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }
}

/// How often each entry was redelivered. Survives consumers, not the topic; only entries redelivered at least once cost
/// anything, and they leave when they are acknowledged.
#[derive(Debug, Default)]
pub(super) struct RedeliveryCounts {
    counts: BTreeMap<Position, u32>,
}

/// Entries whose redeliveries are counted; beyond them the count of further entries stays 0.
const COUNTED_MAX: usize = 200_000;

impl RedeliveryCounts {
    pub(super) fn count(&self, position: Position) -> u32 {
        self.counts.get(&position).copied().unwrap_or(0)
    }

    pub(super) fn increment(&mut self, position: Position) {
        if self.counts.len() < COUNTED_MAX || self.counts.contains_key(&position) {
            let count = self.counts.entry(position).or_default();
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn forget(&mut self, position: Position) {
        self.counts.remove(&position);
    }

    /// Everything at or below `position` is acknowledged.
    pub(super) fn forget_up_to(&mut self, position: Position) {
        while let Some((&first, _)) = self.counts.first_key_value().filter(|(first, _)| **first <= position) {
            self.counts.remove(&first);
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
    }
}
