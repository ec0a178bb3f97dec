//! How many bookies hold an entry, and which.
//!
//! **Invariants**
//! - I1  [`ENSEMBLE_MAX`] ≥ ensemble ≥ write_quorum ≥ ack_quorum ≥ 1.
//! - I2  the write set of entry e is `write_quorum` consecutive slots of the ensemble, from slot `e mod ensemble` on.

use crate::SlotSet;
use base::EntryId;
use serde::{Deserialize, Serialize};

/// The largest ensemble. Acknowledgements are bits of one word.
pub const ENSEMBLE_MAX: u32 = 32;

/// Ensemble, write quorum and ack quorum of a ledger, fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Counts", into = "Counts")]
pub struct ReplicationConfig {
    ensemble: u32,
    write_quorum: u32,
    ack_quorum: u32,
}

/// The stored form, not yet checked.
#[derive(Serialize, Deserialize)]
struct Counts {
    ensemble: u32,
    write_quorum: u32,
    ack_quorum: u32,
}

/// The three counts break a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "replication {ensemble}/{write_quorum}/{ack_quorum} is not possible: it must hold that {max} >= ensemble >= write \
     quorum >= ack quorum >= 1",
    max = ENSEMBLE_MAX
)]
pub struct ReplicationError {
    pub ensemble: u32,
    pub write_quorum: u32,
    pub ack_quorum: u32,
}

impl ReplicationConfig {
    /// One copy on one bookie.
    pub const SINGLE: Self = Self { ensemble: 1, write_quorum: 1, ack_quorum: 1 };

    /// # Errors
    /// [`ReplicationError`] when I1 does not hold.
    pub fn new(ensemble: u32, write_quorum: u32, ack_quorum: u32) -> Result<Self, ReplicationError> {
        let ordered = ENSEMBLE_MAX >= ensemble && ensemble >= write_quorum && write_quorum >= ack_quorum;
        if !ordered || ack_quorum == 0 {
            return Err(ReplicationError { ensemble, write_quorum, ack_quorum });
        }
        Ok(Self { ensemble, write_quorum, ack_quorum })
    }

    /// Bookies over which the ledger is spread.
    pub fn ensemble(self) -> u32 {
        self.ensemble
    }

    /// Copies of every entry.
    pub fn write_quorum(self) -> u32 {
        self.write_quorum
    }

    /// Copies that must be durable before an entry is confirmed.
    pub fn ack_quorum(self) -> u32 {
        self.ack_quorum
    }

    /// Fenced nodes after which no ack quorum can form among the others, whatever the entry (B2).
    pub fn fence_coverage(self) -> u32 {
        self.ensemble - self.ack_quorum + 1
    }

    /// Explicit negatives of a write set after which the entry cannot have been confirmed (B5).
    pub fn negative_coverage(self) -> u32 {
        self.write_quorum - self.ack_quorum + 1
    }

    /// Seats of an ensemble that may be vacant: every write set keeps its ack quorum.
    pub fn vacancies_max(self) -> u32 {
        self.write_quorum - self.ack_quorum
    }

    /// The slot of the ensemble that holds copy `copy` (0-based) of `entry` (I2).
    pub fn slot(self, entry: EntryId, copy: u32) -> u32 {
        let first = entry.0.rem_euclid(i64::from(self.ensemble));
        (u32::try_from(first).unwrap_or(0) + copy) % self.ensemble
    }

    /// The slots that hold `entry`.
    pub fn write_set(self, entry: EntryId) -> SlotSet {
        if self.write_quorum == self.ensemble {
            return SlotSet::first(self.ensemble);
        }
        (0..self.write_quorum).map(|copy| self.slot(entry, copy)).collect()
    }

    /// The last entry below `entry` that `slot` holds, given that it holds `entry`.
    pub fn previous_of(self, entry: EntryId, slot: u32) -> EntryId {
        let before = entry.previous();
        let gap = i64::from(self.ensemble - self.write_quorum);
        if self.write_set(before).contains(slot) { before } else { EntryId(before.0 - gap) }
    }

    /// How many consecutive entries from `entry` on `slot` holds: 0 when it does not hold `entry`, `None` for all.
    pub fn run_length(self, entry: EntryId, slot: u32) -> Option<u32> {
        if self.write_quorum == self.ensemble {
            return None;
        }
        let copy = (slot + self.ensemble - self.slot(entry, 0)) % self.ensemble;
        Some(if copy < self.write_quorum { copy + 1 } else { 0 })
    }
}

impl TryFrom<Counts> for ReplicationConfig {
    type Error = ReplicationError;
    fn try_from(counts: Counts) -> Result<Self, ReplicationError> {
        Self::new(counts.ensemble, counts.write_quorum, counts.ack_quorum)
    }
}

impl From<ReplicationConfig> for Counts {
    fn from(config: ReplicationConfig) -> Self {
        Self { ensemble: config.ensemble, write_quorum: config.write_quorum, ack_quorum: config.ack_quorum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_counts_are_refused_with_the_rule() {
        for (e, w, a) in [(0, 0, 0), (3, 3, 0), (2, 3, 2), (3, 2, 3), (33, 3, 2)] {
            let error = ReplicationConfig::new(e, w, a).unwrap_err();
            let rule = "32 >= ensemble >= write quorum >= ack quorum >= 1";
            assert!(error.to_string().contains(rule), "ReplicationConfig I1: {error}");
        }
        assert_eq!(ReplicationConfig::new(1, 1, 1), Ok(ReplicationConfig::SINGLE));
    }

    #[test]
    fn write_sets_are_striped_round_robin() {
        let config = ReplicationConfig::new(5, 3, 2).unwrap();
        let slots = |entry| config.write_set(EntryId(entry)).iter().collect::<Vec<_>>();
        assert_eq!(slots(0), [0, 1, 2], "ReplicationConfig I2");
        assert_eq!(slots(3), [0, 3, 4]);
        assert_eq!(slots(9), [0, 1, 4]);
        let all = ReplicationConfig::new(3, 3, 2).unwrap();
        assert_eq!(all.write_set(EntryId(7)).iter().collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn run_length_counts_the_consecutive_entries_of_a_slot() {
        for (e, w) in [(5, 3), (3, 2), (4, 1), (6, 5)] {
            let config = ReplicationConfig::new(e, w, 1).unwrap();
            for entry in 0..20 {
                for slot in 0..e {
                    let held = (entry..).take_while(|&i| config.write_set(EntryId(i)).contains(slot)).count();
                    assert_eq!(config.run_length(EntryId(entry), slot), Some(u32::try_from(held).unwrap()));
                }
            }
        }
        assert_eq!(ReplicationConfig::new(3, 3, 2).unwrap().run_length(EntryId(4), 1), None);
    }
}
