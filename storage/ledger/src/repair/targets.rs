//! The bookies that get the copies of one fragment, and what each of them lacks.
//!
//! **What**  A bookie says itself what it lacks: a repair before this one may have given it much of the fragment, and a copy
//! that a writer did not wait for may have arrived after all.
//!
//! **Invariants**
//! - I1  what a bookie lacks counts only below the entry up to which every target has answered.

use super::RepairEffects;
use crate::{LedgerEffect, ReplicationConfig, RequestIds};
use base::{EntryId, LedgerId, NodeId, RequestId};
use wire::bookie::{BookieRequest, EntryRange};

#[derive(Debug)]
struct Target {
    slot: u32,
    node: NodeId,
    /// In order.
    lacks: Vec<EntryRange>,
    /// A question that is not answered.
    asked: Option<RequestId>,
    /// Its last answer reaches up to this.
    until: EntryId,
}

#[derive(Debug)]
pub(super) struct Targets {
    replication: ReplicationConfig,
    all: Vec<Target>,
    /// What they lack is known below this.
    known: EntryId,
}

impl Targets {
    /// Bookies that are asked what they lack from `first` on.
    pub(super) fn unknown(replication: ReplicationConfig, seats: Vec<(u32, NodeId)>, first: EntryId) -> Self {
        let target = |(slot, node)| Target { slot, node, lacks: Vec::new(), asked: None, until: first };
        Self { replication, all: seats.into_iter().map(target).collect(), known: first }
    }

    /// Bookies that lack exactly this below `end`.
    pub(super) fn lacking(
        replication: ReplicationConfig,
        seats: Vec<(u32, NodeId)>,
        lacks: &[EntryRange],
        end: EntryId,
    ) -> Self {
        let target = |(slot, node)| Target { slot, node, lacks: lacks.to_vec(), asked: None, until: end };
        Self { replication, all: seats.into_iter().map(target).collect(), known: end }
    }

    /// Which bookie takes which slot.
    pub(super) fn seats(&self) -> Vec<(u32, NodeId)> {
        self.all.iter().map(|target| (target.slot, target.node)).collect()
    }

    /// What they lack is known below this.
    pub(super) fn known(&self) -> EntryId {
        self.known
    }

    /// Nobody is asked any more: whatever is not known up to `end` counts as lacking.
    pub(super) fn give_up(&mut self, end: EntryId) {
        let rest = EntryRange { first: self.known, end };
        if rest.first < rest.end {
            self.all.iter_mut().for_each(|target| {
                target.lacks.retain(|range| range.end <= rest.first);
                target.lacks.push(rest);
            });
            self.known = end;
        }
    }

    /// Nothing from `end` on is of interest.
    pub(super) fn limit(&mut self, end: EntryId) {
        self.known = self.known.min(end);
    }

    /// The first entry from `from` on that one of them is to get, and where the range ends in which it lacks that one.
    pub(super) fn wanted(&self, from: EntryId) -> Option<EntryRange> {
        self.all.iter().filter_map(|target| self.wanted_of(target, from)).min_by_key(|range| range.first)
    }

    fn wanted_of(&self, target: &Target, from: EntryId) -> Option<EntryRange> {
        let period = i64::from(self.replication.ensemble());
        let ranges = target.lacks.iter().skip(target.lacks.partition_point(|range| range.end <= from));
        ranges.take_while(|range| range.first < self.known).find_map(|range| {
            let (first, end) = (range.first.max(from), range.end.min(self.known)); // I1
            let turn = first.0..end.0.min(first.0.saturating_add(period));
            let mut here = turn.map(EntryId);
            let first = here.find(|entry| self.replication.write_set(*entry).contains(target.slot))?;
            Some(EntryRange { first, end })
        })
    }

    /// Who is to get this entry.
    pub(super) fn wanting(&self, entry: EntryId) -> impl Iterator<Item = NodeId> {
        let write_set = self.replication.write_set(entry);
        let lacks = move |target: &&Target| {
            let index = target.lacks.partition_point(|range| range.end <= entry);
            write_set.contains(target.slot) && target.lacks.get(index).is_some_and(|range| range.first <= entry)
        };
        let known = entry < self.known; // I1
        self.all.iter().filter(move |target| known && lacks(target)).map(|target| target.node)
    }

    /// Asks those who have not said yet what they lack of `range`; one of them.
    pub(super) fn ask(
        &mut self,
        ledger: LedgerId,
        range: EntryRange,
        ids: &mut RequestIds,
        fx: &mut RepairEffects,
    ) -> Option<NodeId> {
        for target in self.all.iter_mut().filter(|target| target.until <= range.first) {
            let id = ids.allocate();
            target.asked = Some(id);
            fx.push(LedgerEffect::Bookie { to: target.node, request: BookieRequest::Missing { id, ledger, range } });
        }
        self.all.iter().find(|target| target.asked.is_some()).map(|target| target.node)
    }

    /// What one of them lacks; whether all have answered. One that cannot say now is asked again.
    pub(super) fn handle_missing(&mut self, id: RequestId, until: EntryId, ranges: Vec<EntryRange>) -> bool {
        let asked = self.all.iter_mut().find(|target| target.asked == Some(id) && until > target.until);
        let Some(target) = asked else { return false };
        (target.asked, target.until, target.lacks) = (None, until, ranges);
        if self.all.iter().any(|target| target.asked.is_some()) {
            return false;
        }
        let until = self.all.iter().map(|target| target.until).min().unwrap_or(self.known);
        assert!(until >= self.known, "Targets I1: {until} after {}", self.known);
        self.known = until;
        // Who has said more is asked anew behind that: a question is about all of them.
        self.all.iter_mut().for_each(|target| target.until = until);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Effects, OwnerId};

    fn range(first: i64, end: i64) -> EntryRange {
        EntryRange { first: EntryId(first), end: EntryId(end) }
    }

    fn wanted(targets: &Targets, from: i64) -> Option<(i64, i64)> {
        targets.wanted(EntryId(from)).map(|range| (range.first.0, range.end.0))
    }

    #[test]
    fn i1_what_lacks_is_known_as_far_as_everybody_has_answered() {
        let replication = ReplicationConfig::new(3, 3, 1).unwrap();
        let seats = vec![(0, NodeId(5)), (2, NodeId(6))];
        let (mut targets, mut ids) = (Targets::unknown(replication, seats, EntryId(0)), RequestIds::new(OwnerId(1), 1));
        let mut ask = |targets: &mut Targets, first: i64| {
            let mut fx = Effects::new();
            targets.ask(LedgerId(1), range(first, 100), &mut ids, &mut fx);
            let asked = fx.take().into_iter().map(|effect| match effect {
                LedgerEffect::Bookie { request, .. } => request.id(),
                other => panic!("{other:?}"),
            });
            asked.collect::<Vec<_>>()
        };
        let asked = ask(&mut targets, 0);
        assert!(!targets.handle_missing(asked[0], EntryId(0), vec![]), "it cannot say");
        assert!(!targets.handle_missing(asked[0], EntryId(100), vec![range(3, 4), range(50, 60)]));
        assert_eq!(wanted(&targets, 0), None, "Targets I1");
        let again = ask(&mut targets, 0);
        assert_eq!(again.len(), 1, "only who has not answered");
        assert!(targets.handle_missing(again[0], EntryId(40), vec![range(9, 11)]));
        assert_eq!(
            (wanted(&targets, 0), wanted(&targets, 4), wanted(&targets, 11)),
            (Some((3, 4)), Some((9, 11)), None)
        );
        assert_eq!(targets.wanting(EntryId(10)).collect::<Vec<_>>(), [NodeId(6)]);
        assert_eq!((targets.known(), ask(&mut targets, 40).len()), (EntryId(40), 2));
    }

    #[test]
    fn of_a_striped_range_a_target_wants_what_its_slot_holds() {
        let replication = ReplicationConfig::new(3, 2, 2).unwrap();
        let targets = Targets::lacking(replication, vec![(0, NodeId(5))], &[range(1, 2), range(4, 9)], EntryId(8));
        assert_eq!((wanted(&targets, 0), wanted(&targets, 6)), (Some((5, 8)), Some((6, 8))));
        assert_eq!(targets.wanting(EntryId(7)).count() + targets.wanting(EntryId(8)).count(), 0);
    }
}
