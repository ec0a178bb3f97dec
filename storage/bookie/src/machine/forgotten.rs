//! Ledgers that were deleted while this process ran, and of which nothing is left.
//!
//! **What**  A fence goes with its ledger. A writer that was frozen when its ledger was recovered, read out and deleted would
//! find a bookie that knows nothing of it and takes its entries; a quorum of such bookies would confirm them. So deleted
//! ledgers are remembered. Their ids are given out in blocks and deleted in the end, so that they join to few ranges.
//!
//! **Invariants**
//! - I1  ranges are disjoint, do not touch, and are at most [`RANGES_MAX`]; beyond that the lowest goes.
//!
//! **Not here**  Tombstones, which guard what is on the disk (`index`). A start forgets what no tombstone says any more.

use base::LedgerId;
use std::collections::BTreeMap;

/// Ranges kept: 32 MiB or so.
const RANGES_MAX: usize = 1 << 20;

/// Ids in ranges: first → last.
#[derive(Debug, Default)]
pub(crate) struct Forgotten {
    ranges: BTreeMap<u64, u64>,
}

impl Forgotten {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_neighbours_join_to_one_range() {
        let mut forgotten = Forgotten::default();
        for id in [5, 1, 3, 2, 9, 4, 3] {
            forgotten.insert(LedgerId(id));
        }
        assert_eq!(forgotten.ranges, BTreeMap::from([(1, 5), (9, 9)]), "I1");
        let held: Vec<u64> = (0..12).filter(|id| forgotten.contains(LedgerId(*id))).collect();
        assert_eq!(held, [1, 2, 3, 4, 5, 9]);
    }
}
