//! Blocks of older entries in memory: what catching-up readers read, and what was read ahead for them.
//!
//! **Invariants**
//! - I1  a block is consecutive in the log and never empty; no rank is in two blocks.
//! - I2  `bytes` is the sum of the costs of the entries held.
//!
//! **Not here**  Fetching (`reads`), the budget (`reads`).

use crate::Entry;
use crate::cache::{cost, take_within};

#[derive(Debug)]
struct Block {
    first_rank: u64,
    entries: Vec<Entry>,
    bytes: u64,
    used: u64,
}

impl Block {
    fn end_rank(&self) -> u64 {
        self.first_rank + self.entries.len() as u64
    }
}

/// What a block gave.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BlockRead {
    pub(crate) entries: Vec<Entry>,
    /// The first rank after the block.
    pub(crate) block_end: u64,
    /// Whether the reader is beyond the middle of the block: time to read ahead.
    pub(crate) past_middle: bool,
}

/// A few blocks, least recently used out first.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    blocks: Vec<Block>,
    bytes: u64,
    clock: u64,
    evicted: u64,
}

impl Blocks {
    /// Keeps entries whose first has this rank. What other blocks hold already is cut off.
    pub(crate) fn insert(&mut self, mut first_rank: u64, mut entries: Vec<Entry>) {
        while let Some(block) = self.holder(first_rank) {
            let held = usize::try_from(block.end_rank() - first_rank).unwrap_or(usize::MAX).min(entries.len());
            first_rank = block.end_rank();
            entries.drain(..held);
        }
        let inside = |block: &&Block| block.first_rank > first_rank;
        if let Some(next) = self.blocks.iter().filter(inside).map(|block| block.first_rank).min() {
            entries.truncate(usize::try_from(next - first_rank).unwrap_or(usize::MAX));
        }
        if entries.is_empty() {
            return;
        }
        let bytes = entries.iter().map(cost).sum();
        self.bytes += bytes;
        self.clock += 1;
        self.blocks.push(Block { first_rank, entries, bytes, used: self.clock });
    }

    fn holder(&self, rank: u64) -> Option<&Block> {
        self.blocks.iter().find(|block| (block.first_rank..block.end_rank()).contains(&rank))
    }

    pub(crate) fn get(&mut self, rank: u64, entries_max: u32, bytes_max: u64) -> Option<BlockRead> {
        self.clock += 1;
        let clock = self.clock;
        let block = self.blocks.iter_mut().find(|block| (block.first_rank..block.end_rank()).contains(&rank))?;
        block.used = clock;
        let start = usize::try_from(rank - block.first_rank).unwrap_or(0);
        let entries = take_within(block.entries[start..].iter(), entries_max, bytes_max);
        let past_middle = (start + entries.len()) * 2 >= block.entries.len();
        Some(BlockRead { entries, block_end: block.end_rank(), past_middle })
    }

    pub(crate) fn holds(&self, rank: u64) -> bool {
        self.holder(rank).is_some()
    }

    /// Drops least recently used blocks until at most `bytes` are held.
    pub(crate) fn evict_to(&mut self, bytes: u64) {
        while self.bytes > bytes {
            let oldest = self.blocks.iter().enumerate().min_by_key(|(_, block)| block.used).map(|(index, _)| index);
            let Some(index) = oldest else { panic!("Blocks I2: {} bytes of no block", self.bytes) };
            let block = self.blocks.swap_remove(index);
            self.bytes -= block.bytes;
            self.evicted += block.entries.len() as u64;
        }
    }

    /// Drops blocks that end at or before `rank`.
    pub(crate) fn evict_before(&mut self, rank: u64) {
        let gone = self.blocks.iter().filter(|block| block.end_rank() <= rank);
        self.evicted += gone.map(|block| block.entries.len() as u64).sum::<u64>();
        self.blocks.retain(|block| block.end_rank() > rank);
        self.bytes = self.blocks.iter().map(|block| block.bytes).sum();
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

    fn entries(ranks: std::ops::Range<i64>) -> Vec<Entry> {
        ranks.map(|n| Entry { position: Position::new(LedgerId(1), n), data: EntryData::default() }).collect()
    }

    #[test]
    fn no_rank_is_kept_twice() {
        let mut blocks = Blocks::default();
        blocks.insert(10, entries(10..20));
        blocks.insert(5, entries(5..15));
        blocks.insert(12, entries(12..30));
        let read = blocks.get(5, 100, u64::MAX).unwrap();
        assert_eq!((read.entries.len(), read.block_end, read.past_middle), (5, 10, true));
        assert_eq!(blocks.get(19, 100, u64::MAX).unwrap().block_end, 20);
        assert_eq!(blocks.get(20, 100, u64::MAX).unwrap().entries.len(), 10);
        assert_eq!(blocks.bytes(), 25 * cost(&entries(0..1)[0]));
    }

    #[test]
    fn the_least_recently_used_block_leaves_first() {
        let mut blocks = Blocks::default();
        blocks.insert(0, entries(0..4));
        let one = blocks.bytes();
        blocks.insert(4, entries(4..8));
        blocks.get(0, 1, 1);
        blocks.evict_to(one);
        assert!(blocks.holds(0) && !blocks.holds(4));
        blocks.evict_before(4);
        assert_eq!(blocks.bytes(), 0);
    }

    #[test]
    fn the_middle_of_a_block_is_the_sign_to_read_ahead() {
        let mut blocks = Blocks::default();
        blocks.insert(0, entries(0..10));
        assert!(!blocks.get(0, 4, u64::MAX).unwrap().past_middle);
        assert!(blocks.get(4, 1, u64::MAX).unwrap().past_middle);
    }
}
