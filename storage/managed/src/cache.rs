//! Recent entries in memory: what tailing readers read.
//!
//! **What**  A ring of the newest confirmed entries, oldest evicted first, so what every active reader has passed goes
//! before what they still need.
//!
//! **Invariants**
//! - I1  the ring is consecutive in the log: entry `i` of the ring has rank `first_rank + i`.
//! - I2  `bytes` is the sum of the costs of the entries held, and stays within the budget that was last set.
//!
//! **Not here**  Read-ahead blocks (`blocks`), the process-wide budget (the owner sets ours).

use crate::Entry;
use std::collections::VecDeque;

/// Memory that an entry takes besides its bytes.
const ENTRY_OVERHEAD_BYTES: u64 = 160;

/// What an entry costs in memory, in bytes. A body that is a slice of a larger buffer keeps all of it alive: owners copy
/// small payloads out of large buffers before they add them.
pub(crate) fn cost(entry: &Entry) -> u64 {
    entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// Takes entries until one of the bounds is reached; the first always.
pub(crate) fn take_within<'a>(
    entries: impl Iterator<Item = &'a Entry>,
    entries_max: u32,
    bytes_max: u64,
) -> Vec<Entry> {
    let mut bytes = 0;
    let within = |entry: &&Entry| {
        let first = bytes == 0;
        bytes += (entry.data.len() as u64).max(1);
        first || bytes <= bytes_max
    };
    entries.take(usize::try_from(entries_max.max(1)).unwrap_or(usize::MAX)).take_while(within).cloned().collect()
}

/// The tail ring.
#[derive(Debug, Default)]
pub(crate) struct EntryCache {
    ring: VecDeque<Entry>,
    first_rank: u64,
    bytes: u64,
    evicted: u64,
}

impl EntryCache {
    /// Appends the entry with this rank, then evicts down to `budget` bytes.
    pub(crate) fn push(&mut self, rank: u64, entry: Entry, budget: u64) {
        if self.ring.is_empty() {
            self.first_rank = rank;
        }
        assert!(rank == self.first_rank + self.ring.len() as u64, "EntryCache I1: rank {rank} continues the ring");
        self.bytes += cost(&entry);
        self.ring.push_back(entry);
        self.evict_to(budget);
    }

    /// Entries from this rank on, or `None` when the ring does not hold it.
    pub(crate) fn get(&self, rank: u64, entries_max: u32, bytes_max: u64) -> Option<Vec<Entry>> {
        let index = usize::try_from(rank.checked_sub(self.first_rank)?).ok()?;
        if index >= self.ring.len() {
            return None;
        }
        Some(take_within(self.ring.range(index..), entries_max, bytes_max))
    }

    pub(crate) fn holds(&self, rank: u64) -> bool {
        rank >= self.first_rank && rank - self.first_rank < self.ring.len() as u64
    }

    /// Evicts the oldest entries until at most `bytes` are held.
    pub(crate) fn evict_to(&mut self, bytes: u64) {
        while self.bytes > bytes {
            self.pop();
        }
        self.give_back();
    }

    /// Evicts what stands before `rank`.
    pub(crate) fn evict_before(&mut self, rank: u64) {
        while self.first_rank < rank && !self.ring.is_empty() {
            self.pop();
        }
        self.give_back();
    }

    fn pop(&mut self) {
        let Some(entry) = self.ring.pop_front() else { panic!("EntryCache I2: {} bytes of no entry", self.bytes) };
        self.first_rank += 1;
        self.evicted += 1;
        self.bytes -= cost(&entry);
    }

    /// An idle topic keeps no large empty ring.
    fn give_back(&mut self) {
        if self.ring.is_empty() && self.ring.capacity() > 8 {
            self.ring = VecDeque::new();
        }
    }

    /// Entries evicted since this was last asked.
    pub(crate) fn take_evicted(&mut self) -> u64 {
        std::mem::take(&mut self.evicted)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{EntryData, LedgerId, Position};
    use bytes::Bytes;

    fn entry(n: i64) -> Entry {
        let data = EntryData::new(Bytes::new(), Bytes::from(vec![0; 100]));
        Entry { position: Position::new(LedgerId(1), n), data }
    }

    #[test]
    fn the_oldest_entries_leave_first_and_the_budget_holds() {
        let mut cache = EntryCache::default();
        let budget = 3 * cost(&entry(0));
        (0..10).for_each(|n| cache.push(n + 5, entry(i64::try_from(n).unwrap()), budget));
        assert_eq!(cache.bytes(), budget);
        assert!(cache.get(11, 9, u64::MAX).is_none() && !cache.holds(11) && !cache.holds(15));
        let positions = |rank, entries, bytes| -> Vec<i64> {
            cache.get(rank, entries, bytes).unwrap().iter().map(|e| e.position.entry.0).collect()
        };
        assert_eq!(positions(12, 9, u64::MAX), [7, 8, 9]);
        assert_eq!(positions(13, 1, u64::MAX), [8]);
        assert_eq!(positions(12, 9, 250), [7, 8]);
        assert_eq!(positions(12, 9, 0), [7], "the first entry comes whatever the bound");
    }

    #[test]
    fn entries_that_every_reader_passed_can_be_given_up() {
        let mut cache = EntryCache::default();
        (0..10).for_each(|n| cache.push(n, entry(i64::try_from(n).unwrap()), u64::MAX));
        cache.evict_before(8);
        assert!(!cache.holds(7) && cache.holds(8));
        cache.evict_before(99);
        assert_eq!(cache.bytes(), 0);
        cache.push(10, entry(10), u64::MAX);
        assert!(cache.holds(10));
    }
}
