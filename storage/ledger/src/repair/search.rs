//! Looks for the next entry that some copy still has, behind one that no copy gives.
//!
//! **What**  The bookies of the fragment are asked what they lack from there on, all at once. One that says nothing until the
//! deadline counts as having nothing: what only it holds has to wait until it is back.
//!
//! **Invariants**
//! - I1  an entry is passed over only when every bookie that has answered said that it lacks it.

use super::RepairEffects;
use crate::{LedgerEffect, RequestIds};
use base::{EntryId, LedgerId, Mono, NodeId, RequestId};
use wire::bookie::{BookieRequest, EntryRange};

#[derive(Debug)]
pub(super) struct Search {
    range: EntryRange,
    waiting: Vec<(RequestId, NodeId)>,
    /// The first entry of the range that somebody has; its end for none.
    found: EntryId,
    deadline: Mono,
}

impl Search {
    pub(super) fn start(
        ledger: LedgerId,
        range: EntryRange,
        bookies: impl Iterator<Item = NodeId>,
        deadline: Mono,
        ids: &mut RequestIds,
        fx: &mut RepairEffects,
    ) -> Self {
        let mut waiting = Vec::new();
        for to in bookies {
            let id = ids.allocate();
            fx.push(LedgerEffect::Bookie { to, request: BookieRequest::Missing { id, ledger, range } });
            waiting.push((id, to));
        }
        Self { range, waiting, found: range.end, deadline }
    }

    /// What one bookie lacks of the range up to `until`; nothing at all when it cannot say.
    pub(super) fn handle_missing(&mut self, id: RequestId, until: EntryId, lacks: &[EntryRange]) {
        let waits = self.waiting.iter().position(|(asked, _)| *asked == id);
        let Some(index) = waits else { return };
        self.waiting.swap_remove(index);
        if until <= self.range.first {
            return;
        }
        let mut has = self.range.first;
        for range in lacks.iter().take_while(|range| range.end <= until) {
            if range.first > has {
                break;
            }
            has = has.max(range.end);
        }
        assert!(has <= until, "Search I1: {has} is above {until}, up to which was answered");
        self.found = self.found.min(has);
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn found(&self) -> EntryId {
        self.found
    }

    pub(super) fn deadline(&self) -> Mono {
        self.deadline
    }

    /// Those who have not answered.
    pub(super) fn silent(&self) -> impl Iterator<Item = NodeId> {
        self.waiting.iter().map(|(_, node)| *node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{Effects, OwnerId};

    /// Up to where a bookie has answered, and what it lacks.
    type Said<'a> = (i64, &'a [EntryRange]);

    fn range(first: i64, end: i64) -> EntryRange {
        EntryRange { first: EntryId(first), end: EntryId(end) }
    }

    #[test]
    fn i1_the_first_entry_that_anybody_has_is_found() {
        let table: [(&[Said<'_>], i64); 6] = [
            (&[(20, &[range(5, 20)]), (20, &[range(5, 9), range(12, 20)])], 9),
            (&[(20, &[range(5, 20)]), (20, &[range(5, 20)])], 20),
            (&[(20, &[range(7, 20)]), (20, &[range(5, 20)])], 5),
            (&[(5, &[]), (20, &[range(5, 8)])], 8),
            (&[(5, &[]), (5, &[])], 20),
            // A page that ends within what lacks: it is asked again from there.
            (&[(11, &[range(5, 11)]), (20, &[range(5, 20)])], 11),
        ];
        for (answers, found) in table {
            let (mut ids, mut fx) = (RequestIds::new(OwnerId(1), 1), Effects::new());
            let bookies = [NodeId(1), NodeId(2)].into_iter();
            let mut search = Search::start(LedgerId(1), range(5, 20), bookies, Mono(9), &mut ids, &mut fx);
            for (effect, (until, lacks)) in fx.take().into_iter().zip(answers) {
                let LedgerEffect::Bookie { request, .. } = effect else { panic!("{effect:?}") };
                assert!(!search.is_over());
                search.handle_missing(request.id(), EntryId(*until), lacks);
            }
            assert!(search.is_over());
            assert_eq!(search.found().0, found, "Search I1");
        }
    }
}
