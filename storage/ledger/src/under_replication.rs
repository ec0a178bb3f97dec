//! Which entries have too few copies, read off the metadata alone.
//!
//! **What**  A pure look at a listing of ledger metadata and the bookies that are available: every fragment that names
//! another bookie lacks that bookie's copies. It drives repairs, fewest copies first, and the metric "entries with fewer
//! than write quorum copies".
//!
//! **Invariants**
//! - I1  entries are counted exactly, from the striping, without looking at them.
//! - I2  the last fragment of a ledger that is not closed is reported, but not as repairable (LedgerRepair I1).
//!
//! **Not here**  Copies that an available bookie should have and has not: it says so when asked (`reader`), and a refill
//! (`repair`) gives them back.

use crate::{LedgerMetadata, ReplicationConfig, SlotSet};
use base::{EntryId, LedgerId, NodeId};
use std::collections::BTreeSet;

/// One fragment with too few copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LackingFragment {
    pub ledger: LedgerId,
    pub first_entry: EntryId,
    /// The bookies that it names and that are not available.
    pub lost: BTreeSet<NodeId>,
    /// Entries with fewer than write quorum copies; unknown, so 0, when not settled.
    pub entries: u64,
    /// Copies that the worst of these entries has left at most.
    pub copies_left: u32,
    /// Whether a repair may take it now; otherwise its writer or a recovery must go first.
    pub settled: bool,
}

/// What lacks copies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderReplication {
    /// Fewest copies first, then by ledger and entry.
    pub fragments: Vec<LackingFragment>,
    /// All entries with fewer than write quorum copies.
    pub entries: u64,
    /// Those of them with fewer than ack quorum copies: one more loss than was paid for.
    pub entries_below_ack_quorum: u64,
    /// Those of them with no copy left on an available bookie.
    pub entries_without_copy: u64,
}

impl UnderReplication {
    /// Looks at every ledger of a listing.
    pub fn find<'a>(
        ledgers: impl IntoIterator<Item = (LedgerId, &'a LedgerMetadata)>,
        available: &BTreeSet<NodeId>,
    ) -> Self {
        let mut found = Self::default();
        for (ledger, metadata) in ledgers {
            for fragment in &metadata.fragments {
                let lost: BTreeSet<NodeId> =
                    fragment.bookies.iter().filter(|node| !available.contains(node)).copied().collect();
                if !lost.is_empty() {
                    found.note(ledger, metadata, fragment.first_entry, lost);
                }
            }
        }
        found.fragments.sort_by_key(|fragment| (fragment.copies_left, fragment.ledger, fragment.first_entry));
        found
    }

    fn note(&mut self, ledger: LedgerId, metadata: &LedgerMetadata, first_entry: EntryId, lost: BTreeSet<NodeId>) {
        let replication = metadata.replication;
        let bookies = &metadata.fragment_of(first_entry).bookies;
        let slots: SlotSet = bookies.iter().zip(0..).filter(|(node, _)| lost.contains(node)).map(|(_, s)| s).collect();
        let settled_end = metadata.settled_end(first_entry);
        let end = settled_end.unwrap_or(first_entry);
        let mut fragment = LackingFragment {
            ledger,
            first_entry,
            lost,
            entries: 0,
            copies_left: replication.write_quorum(),
            settled: settled_end.is_some(),
        };
        for (entries, copies) in copies_by_residue(replication, slots, first_entry, end) {
            if copies < replication.write_quorum() && (entries > 0 || settled_end.is_none()) {
                fragment.copies_left = fragment.copies_left.min(copies);
                fragment.entries += entries;
                self.entries += entries;
                self.entries_below_ack_quorum += if copies < replication.ack_quorum() { entries } else { 0 };
                self.entries_without_copy += if copies == 0 { entries } else { 0 };
            }
        }
        self.fragments.push(fragment);
    }
}

/// Of the entries `first..end`: how many there are of each place in the striping, and how many copies those have left (I1).
fn copies_by_residue(
    replication: ReplicationConfig,
    lost: SlotSet,
    first: EntryId,
    end: EntryId,
) -> impl Iterator<Item = (u64, u32)> {
    let period = i64::from(replication.ensemble());
    (first.0..first.0 + period).map(move |entry| {
        let count = (end.0 - entry + period - 1).max(0) / period;
        (u64::try_from(count).unwrap_or(0), replication.write_set(EntryId(entry)).without(lost).count())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn nodes(ids: std::ops::Range<u64>) -> Vec<NodeId> {
        ids.map(NodeId).collect()
    }

    proptest! {
        #[test]
        fn entries_are_counted_as_if_one_looked_at_each(
            e in 1..7_u32, w in 1..7_u32, a in 1..7_u32, split in 0..20_i64, last in -1..40_i64, lost in 0..128_u64
        ) {
            let Ok(replication) = ReplicationConfig::new(e, w, a) else { return Ok(()) };
            let ledger = LedgerId(3);
            let mut metadata = LedgerMetadata::new(replication, nodes(1..1 + u64::from(e)), 0).unwrap();
            if split > 0 {
                metadata = metadata.with_ensemble(EntryId(split), nodes(2..2 + u64::from(e)));
            }
            let metadata = metadata.closed_at(EntryId(last), 0);
            let available: BTreeSet<NodeId> = (1..9).filter(|node| lost & 1 << (node - 1) == 0).map(NodeId).collect();
            let found = UnderReplication::find([(ledger, &metadata)], &available);
            let copies = |entry: i64| {
                let bookies = &metadata.fragment_of(EntryId(entry)).bookies;
                let slots = replication.write_set(EntryId(entry));
                slots.iter().filter(|slot| available.contains(&bookies[*slot as usize])).count() as u32
            };
            let count = |limit: u32| (0..=last).filter(|entry| copies(*entry) < limit).count() as u64;
            prop_assert_eq!(found.entries, count(w), "UnderReplication I1");
            prop_assert_eq!(found.entries_below_ack_quorum, count(a));
            prop_assert_eq!(found.entries_without_copy, count(1));
            prop_assert_eq!(found.fragments.iter().map(|fragment| fragment.entries).sum::<u64>(), found.entries);
            prop_assert!(found.fragments.is_sorted_by_key(|fragment| fragment.copies_left));
            prop_assert!(found.fragments.iter().all(|fragment| fragment.settled));
        }
    }

    #[test]
    fn the_last_fragment_of_an_open_ledger_is_reported_but_not_to_be_repaired() {
        let replication = ReplicationConfig::new(3, 3, 2).unwrap();
        let open = LedgerMetadata::new(replication, nodes(1..4), 0).unwrap();
        let open = open.with_ensemble(EntryId(10), nodes(2..5));
        let available = BTreeSet::from([NodeId(1), NodeId(2), NodeId(4)]);
        let found = UnderReplication::find([(LedgerId(1), &open)], &available);
        let settled: Vec<_> = found.fragments.iter().map(|f| (f.first_entry.0, f.entries, f.settled)).collect();
        assert_eq!(settled, [(0, 10, true), (10, 0, false)], "UnderReplication I2");
        assert_eq!(found.entries, 10);
    }

    #[test]
    fn nothing_lacks_copies_while_every_bookie_is_there() {
        let metadata = LedgerMetadata::new(ReplicationConfig::SINGLE, nodes(1..2), 0).unwrap();
        let found = UnderReplication::find([(LedgerId(1), &metadata)], &BTreeSet::from([NodeId(1)]));
        assert_eq!(found, UnderReplication::default());
    }
}
