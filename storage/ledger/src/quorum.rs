//! Quorum arithmetic as small pure objects: who answered, and is it enough.
//!
//! **Invariants**
//! - I1  a slot counts once, however often its answer arrives.
//! - I2  an answer that is neither a clear yes nor a clear no never moves a verdict towards "no" (B5, B8).

use crate::{ENSEMBLE_MAX, ReplicationConfig};

/// A set of slots of one ensemble (indexes into a fragment's bookies).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SlotSet(u32);

impl SlotSet {
    pub const EMPTY: Self = Self(0);

    /// Slots `0..count`.
    pub fn first(count: u32) -> Self {
        assert!(count <= ENSEMBLE_MAX, "ReplicationConfig I1: {count} slots fit one word");
        Self(u32::try_from((1u64 << count) - 1).unwrap_or(u32::MAX))
    }

    /// Adds a slot; answers whether it was missing (I1).
    pub fn insert(&mut self, slot: u32) -> bool {
        assert!(slot < ENSEMBLE_MAX, "ReplicationConfig I1: slot {slot} fits one word");
        let before = self.0;
        self.0 |= 1 << slot;
        self.0 != before
    }

    pub fn remove(&mut self, slot: u32) {
        self.0 &= !(1 << slot);
    }

    pub fn contains(self, slot: u32) -> bool {
        self.0 & (1 << slot) != 0
    }

    pub fn count(self) -> u32 {
        self.0.count_ones()
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Slots in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let slot = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (slot < ENSEMBLE_MAX).then_some(slot)
        })
    }
}

impl FromIterator<u32> for SlotSet {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut set = Self::EMPTY;
        for slot in slots {
            set.insert(slot);
        }
        set
    }
}

/// Counts durable fences of one ensemble.
#[derive(Clone, Copy, Debug, Hash)]
pub struct FenceCoverage {
    fenced: SlotSet,
    needed: u32,
}

impl FenceCoverage {
    pub fn new(replication: ReplicationConfig) -> Self {
        Self { fenced: SlotSet::EMPTY, needed: replication.fence_coverage() }
    }

    /// Coverage that asks for another number of fences than the protocol's; for seeded bugs.
    pub(crate) fn needing(needed: u32) -> Self {
        Self { fenced: SlotSet::EMPTY, needed }
    }

    /// Slot `slot` answered that its fence is durable.
    pub fn record_fenced(&mut self, slot: u32) {
        self.fenced.insert(slot);
    }

    pub fn fenced(&self) -> SlotSet {
        self.fenced
    }

    /// No ack quorum can form any more among the nodes that are not fenced.
    pub fn is_complete(&self) -> bool {
        self.fenced.count() >= self.needed
    }
}

/// What the answers to a recovery read of one entry amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadVerdict {
    /// An ack quorum holds it: it may have been confirmed and has to survive.
    Recoverable,
    /// Too few nodes can hold it for it ever to have been confirmed: the ledger ends before it.
    Unrecoverable,
    /// Neither yet.
    Unknown,
}

/// Counts the answers to the recovery read of one entry over its write set.
#[derive(Clone, Copy, Debug, Hash)]
pub struct ReadTally {
    write_set: SlotSet,
    positives: SlotSet,
    negatives: SlotSet,
    ack_quorum: u32,
    negatives_needed: u32,
}

impl ReadTally {
    pub fn new(replication: ReplicationConfig, write_set: SlotSet) -> Self {
        Self {
            write_set,
            positives: SlotSet::EMPTY,
            negatives: SlotSet::EMPTY,
            ack_quorum: replication.ack_quorum(),
            negatives_needed: replication.negative_coverage(),
        }
    }

    /// The slot gave the entry back. Ignored from outside the write set.
    pub fn record_positive(&mut self, slot: u32) {
        if self.write_set.contains(slot) {
            self.positives.insert(slot);
            self.negatives.remove(slot);
        }
    }

    /// The slot said that it does not have the entry. Ignored from outside the write set and after its yes.
    pub fn record_negative(&mut self, slot: u32) {
        if self.write_set.contains(slot) && !self.positives.contains(slot) {
            self.negatives.insert(slot);
        }
    }

    /// Slots of the write set that gave no clear answer yet.
    pub fn unanswered(&self) -> SlotSet {
        self.write_set.without(self.positives).without(self.negatives)
    }

    pub fn has_positive(&self) -> bool {
        !self.positives.is_empty()
    }

    pub fn verdict(&self) -> ReadVerdict {
        if self.negatives.count() >= self.negatives_needed {
            return ReadVerdict::Unrecoverable;
        }
        if self.positives.count() >= self.ack_quorum {
            return ReadVerdict::Recoverable;
        }
        ReadVerdict::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::EntryId;

    /// All valid configurations with an ensemble of at most 6.
    fn configs() -> impl Iterator<Item = ReplicationConfig> {
        (1..=6).flat_map(|e| (1..=e).flat_map(move |w| (1..=w).map(move |a| ReplicationConfig::new(e, w, a).unwrap())))
    }

    fn subsets(of: SlotSet) -> impl Iterator<Item = SlotSet> {
        (0..64u32).map(SlotSet).filter(move |s| s.without(of).is_empty())
    }

    #[test]
    fn a_complete_fence_leaves_no_ack_quorum_in_any_write_set() {
        for config in configs() {
            for fenced in subsets(SlotSet::first(config.ensemble())) {
                let mut coverage = FenceCoverage::new(config);
                fenced.iter().for_each(|slot| coverage.record_fenced(slot));
                let quorum_left = (0..12)
                    .any(|entry| config.write_set(EntryId(entry)).without(fenced).count() >= config.ack_quorum());
                assert!(!(coverage.is_complete() && quorum_left), "B2: {config:?} {fenced:?}");
            }
        }
    }

    #[test]
    fn enough_negatives_exclude_every_ack_quorum_and_a_full_answer_always_decides() {
        for config in configs() {
            let write_set = config.write_set(EntryId(1));
            for holders in subsets(write_set) {
                let mut tally = ReadTally::new(config, write_set);
                for slot in write_set.iter() {
                    assert!(tally.unanswered().contains(slot));
                    if holders.contains(slot) { tally.record_positive(slot) } else { tally.record_negative(slot) }
                }
                let confirmable = holders.count() >= config.ack_quorum();
                let expected = if confirmable { ReadVerdict::Recoverable } else { ReadVerdict::Unrecoverable };
                assert_eq!(tally.verdict(), expected, "B5: {config:?} {holders:?}");
            }
        }
    }

    #[test]
    fn doubled_and_foreign_answers_do_not_count() {
        let config = ReplicationConfig::new(5, 3, 2).unwrap();
        let mut tally = ReadTally::new(config, config.write_set(EntryId(0)));
        tally.record_negative(1);
        tally.record_negative(1);
        tally.record_negative(4);
        assert_eq!(tally.verdict(), ReadVerdict::Unknown, "quorum I1, I2: one slot of the write set denied it");
        tally.record_positive(0);
        tally.record_positive(0);
        tally.record_positive(3);
        assert_eq!(tally.verdict(), ReadVerdict::Unknown);
        tally.record_negative(0);
        assert_eq!(tally.verdict(), ReadVerdict::Unknown, "a slot that gave the entry back still has it");
        tally.record_positive(2);
        assert_eq!(tally.verdict(), ReadVerdict::Recoverable);
    }

    #[test]
    fn slot_sets_reach_the_largest_ensemble() {
        let all = SlotSet::first(ENSEMBLE_MAX);
        assert_eq!(all.count(), 32);
        assert_eq!(all.iter().last(), Some(31));
        assert_eq!(SlotSet::EMPTY.iter().next(), None);
    }
}
