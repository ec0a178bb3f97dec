//! The confirmed entries that one bookie of the ensemble has not acknowledged.
//!
//! **What**  Runs of entries. A slow bookie's run moves along with it, that of a dead one grows at its end, an entry that was
//! lost on the way leaves a run of its own behind.
//!
//! **Invariants**
//! - I1  no entry that was acknowledged is in a run: its copy may be one of the ack quorum, and must stay named.
//! - I2  at most [`RUNS_MAX`] runs are kept. What would need more is not remembered; only a check of the bookies finds it.

use base::EntryId;
use std::collections::VecDeque;

const RUNS_MAX: usize = 64;

/// Runs in ascending order, each with its first and last entry.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Owed {
    runs: VecDeque<(EntryId, EntryId)>,
}

impl Owed {
    /// `entry` is confirmed, above all that were inserted before. `previous` is the last one below it of which this slot is
    /// to have a copy: what lies between the two is of other slots alone.
    pub(super) fn insert(&mut self, previous: EntryId, entry: EntryId) {
        let adjoins = |last: &EntryId| *last >= previous;
        if let Some((_, last)) = self.runs.back_mut().filter(|(_, last)| adjoins(last)) {
            *last = entry;
        } else if self.runs.len() < RUNS_MAX {
            self.runs.push_back((entry, entry)); // I2
        }
        assert!(self.runs.len() <= RUNS_MAX, "Owed I2: {} runs", self.runs.len());
    }

    /// `entry` is acknowledged.
    pub(super) fn remove(&mut self, entry: EntryId) {
        let index = self.runs.partition_point(|(_, last)| *last < entry);
        let Some((first, last)) = self.runs.get(index).copied().filter(|(first, _)| *first <= entry) else { return };
        match (first == entry, last == entry) {
            (true, true) => drop(self.runs.remove(index)),
            (true, false) => self.runs[index].0 = entry.next(),
            (false, true) => self.runs[index].1 = entry.previous(),
            (false, false) => {
                self.runs[index].1 = entry.previous();
                self.runs.insert(index + 1, (entry.next(), last));
                self.runs.truncate(RUNS_MAX);
            }
        }
        let named = self.runs.iter().any(|(first, last)| (*first..=*last).contains(&entry));
        assert!(!named, "Owed I1: {entry} has its copy");
    }

    pub(super) fn runs(&self) -> impl Iterator<Item = (EntryId, EntryId)> {
        self.runs.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn i1_exactly_what_was_confirmed_and_not_acknowledged_is_owed(steps in vec((any::<bool>(), 0..40_i64), 0..90)) {
            let (mut owed, mut model, mut next) = (Owed::default(), BTreeSet::new(), 0);
            for (confirmed, entry) in steps {
                if confirmed {
                    next += 1 + entry % 2;
                    owed.insert(EntryId(next - 1), EntryId(next));
                    model.insert(next);
                } else {
                    owed.remove(EntryId(entry));
                    model.remove(&entry);
                }
            }
            let listed: BTreeSet<i64> = owed.runs().flat_map(|(first, last)| first.0..=last.0).collect();
            prop_assert_eq!(listed, model, "Owed I1");
        }
    }

    #[test]
    fn i2_runs_are_bounded() {
        let mut owed = Owed::default();
        (0..1_000).step_by(2).for_each(|entry| owed.insert(EntryId(entry - 1), EntryId(entry)));
        assert_eq!(owed.runs().count(), RUNS_MAX, "Owed I2");
    }

    #[test]
    fn a_striped_slot_has_one_run_for_what_it_missed_in_a_row() {
        let mut owed = Owed::default();
        for (previous, entry) in [(-2, 0), (0, 1), (1, 3), (3, 4), (4, 6), (6, 7)] {
            owed.insert(EntryId(previous), EntryId(entry));
        }
        assert_eq!(owed.runs().collect::<Vec<_>>(), [(EntryId(0), EntryId(7))]);
    }
}
