//! A set of ledger ids as ranges: ids are given out in blocks and deleted in the end, so that they join to few.
//!
//! **Invariants**
//! - I1  ranges are disjoint, do not touch, and are at most [`RANGES_MAX`]; beyond that the lowest goes.

use base::LedgerId;
use std::collections::BTreeMap;

/// Ranges kept: 32 MiB or so.
const RANGES_MAX: usize = 1 << 20;

/// Ids in ranges: first → last.
#[derive(Debug, Default)]
pub(crate) struct IdRanges {
    ranges: BTreeMap<u64, u64>,
}

impl IdRanges {
    /// The ids from `first` up to and without `below`, except those in `known` (ascending).
    pub(crate) fn between(first: LedgerId, below: LedgerId, known: impl IntoIterator<Item = LedgerId>) -> Self {
        let (mut ranges, mut next) = (BTreeMap::new(), first.0);
        let inside = known.into_iter().map(|id| id.0).filter(|id| (first.0..below.0).contains(id));
        for id in inside.chain([below.0]) {
            if next < id {
                ranges.insert(next, id - 1);
            }
            next = next.max(id.saturating_add(1));
        }
        while ranges.len() > RANGES_MAX {
            ranges.pop_first(); // I1
        }
        Self { ranges }
    }

    pub(crate) fn contains(&self, ledger: LedgerId) -> bool {
        self.ranges.range(..=ledger.0).next_back().is_some_and(|(_, last)| *last >= ledger.0)
    }

    pub(crate) fn insert(&mut self, ledger: LedgerId) {
        if self.contains(ledger) {
            return;
        }
        let (mut first, mut last) = (ledger.0, ledger.0);
        if let Some((before, _)) = self.ranges.range(..first).next_back().filter(|(_, end)| **end + 1 == first) {
            first = *before;
        }
        if let Some(end) = last.checked_add(1).and_then(|next| self.ranges.remove(&next)) {
            last = end;
        }
        self.ranges.insert(first, last);
        if self.ranges.len() > RANGES_MAX {
            self.ranges.pop_first(); // I1
        }
    }

    pub(crate) fn remove(&mut self, ledger: LedgerId) {
        let Some((first, last)) = self.ranges.range(..=ledger.0).next_back().map(|(first, last)| (*first, *last))
        else {
            return;
        };
        if last < ledger.0 {
            return;
        }
        self.ranges.remove(&first);
        if first < ledger.0 {
            self.ranges.insert(first, ledger.0 - 1);
        }
        if ledger.0 < last {
            self.ranges.insert(ledger.0 + 1, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn held(ids: &IdRanges) -> Vec<u64> {
        (0..12).filter(|id| ids.contains(LedgerId(*id))).collect()
    }

    #[test]
    fn i1_neighbours_join_to_one_range() {
        let mut ids = IdRanges::default();
        for id in [5, 1, 3, 2, 9, 4, 3] {
            ids.insert(LedgerId(id));
        }
        assert_eq!(ids.ranges, BTreeMap::from([(1, 5), (9, 9)]), "I1");
        assert_eq!(held(&ids), [1, 2, 3, 4, 5, 9]);
    }

    #[test]
    fn ids_are_taken_out_of_ranges() {
        let mut ids = IdRanges::between(LedgerId(1), LedgerId(10), []);
        for id in [1, 4, 9, 11, 4, 0] {
            ids.remove(LedgerId(id));
        }
        assert_eq!(held(&ids), [2, 3, 5, 6, 7, 8]);
    }

    #[test]
    fn what_is_known_lies_between_the_ranges() {
        let known: BTreeSet<LedgerId> = [0, 1, 4, 5, 9, 30].map(LedgerId).into();
        assert_eq!(held(&IdRanges::between(LedgerId(1), LedgerId(9), known)), [2, 3, 6, 7, 8]);
        assert_eq!(held(&IdRanges::between(LedgerId(3), LedgerId(3), [])), [] as [u64; 0]);
    }
}
