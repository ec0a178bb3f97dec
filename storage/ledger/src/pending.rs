//! Entries that were sent and are not confirmed yet, indexed by entry id.
//!
//! **Invariants**
//! - I1  ids are dense: entry `first + i` stands at index `i`.
//! - I2  an acknowledgement counts only from a slot of the entry's own write set, and once.
//! - I3  entries leave at the front, in order, and only with an ack quorum.
//! - I4  `bytes` is the sum over the entries held.
//! - I5  an empty window keeps room for at most [`IDLE_CAPACITY_MAX`] entries: an idle ledger is small.

use crate::{ReplicationConfig, Seeded, SeededBug, SlotSet};
use base::{EntryData, EntryId, Mono};
use std::collections::VecDeque;

/// Room above which a window that runs empty shrinks, in entries; below it a busy ledger keeps its allocation.
const IDLE_CAPACITY_MAX: usize = 64;
/// Room that is left then.
const IDLE_CAPACITY: usize = 16;

/// One entry on its way to its write set.
#[derive(Clone, Debug, Hash)]
pub(crate) struct PendingAdd {
    pub(crate) ctx: u64,
    pub(crate) data: EntryData,
    /// When its missing copies are asked for again.
    pub(crate) deadline: Mono,
    acked: SlotSet,
}

impl PendingAdd {
    /// The slots that hold it durably.
    pub(crate) fn acked(&self) -> SlotSet {
        self.acked
    }
}

/// The window of unconfirmed entries.
#[derive(Clone, Debug, Hash)]
pub(crate) struct PendingAdds {
    replication: ReplicationConfig,
    seeded: Seeded,
    first: EntryId,
    entries: VecDeque<PendingAdd>,
    bytes: usize,
}

impl PendingAdds {
    /// An empty window whose next entry is `first`.
    pub(crate) fn new(replication: ReplicationConfig, first: EntryId, seeded: Seeded) -> Self {
        Self { replication, seeded, first, entries: VecDeque::new(), bytes: 0 }
    }

    /// Appends an entry and gives it the next id (I1).
    pub(crate) fn push(&mut self, ctx: u64, data: EntryData, deadline: Mono) -> EntryId {
        let entry = self.end();
        self.bytes += data.len();
        self.entries.push_back(PendingAdd { ctx, data, deadline, acked: SlotSet::EMPTY });
        assert!(self.end() == entry.next(), "PendingAdds I1: {entry} is followed by {}", self.end());
        entry
    }

    /// `slot` holds `entry` durably. Late, doubled and foreign acknowledgements change nothing (I2).
    pub(crate) fn record_ack(&mut self, entry: EntryId, slot: u32) {
        let write_set = self.replication.write_set(entry);
        if let (Some(index), true) = (self.index_of(entry), write_set.contains(slot)) {
            let acked = &mut self.entries[index].acked;
            acked.insert(slot);
            assert!(acked.without(write_set).is_empty(), "PendingAdds I2: {acked:?} of {entry} in {write_set:?}");
        }
    }

    /// The slots are other bookies from now on: what the former ones hold does not count any more.
    pub(crate) fn forget_acks(&mut self, slots: SlotSet) {
        for add in &mut self.entries {
            add.acked = add.acked.without(slots);
        }
    }

    /// Takes the first entry out if its ack quorum is reached (I3).
    pub(crate) fn take_confirmed(&mut self) -> Option<(EntryId, PendingAdd)> {
        if !self.front_is_confirmed() {
            return None;
        }
        let add = self.entries.pop_front()?;
        assert!(self.bytes >= add.data.len(), "PendingAdds I4: {} >= {}", self.bytes, add.data.len());
        self.bytes -= add.data.len();
        if self.entries.is_empty() && self.entries.capacity() > IDLE_CAPACITY_MAX {
            self.entries.shrink_to(IDLE_CAPACITY); // I5
        }
        let entry = self.first;
        self.first = entry.next();
        Some((entry, add))
    }

    fn front_is_confirmed(&self) -> bool {
        let quorum = self.replication.ack_quorum();
        if self.seeded.has(SeededBug::AckBelowAckQuorum) {
            return self.entries.front().is_some_and(|add| add.acked.count() >= (quorum - 1).max(1));
        }
        if self.seeded.has(SeededBug::ConfirmOutOfOrder) {
            return self.entries.iter().any(|add| add.acked.count() >= quorum);
        }
        self.entries.front().is_some_and(|add| add.acked.count() >= quorum)
    }

    /// The first entry that is not confirmed: LAC + 1.
    pub(crate) fn first(&self) -> EntryId {
        self.first
    }

    /// The id of the next entry.
    pub(crate) fn end(&self) -> EntryId {
        EntryId(self.first.0 + i64::try_from(self.entries.len()).unwrap_or(i64::MAX))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the oldest entry's missing copies are asked for again.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.entries.front().map(|add| add.deadline)
    }

    /// Every entry's content and the slots of its write set that have not acknowledged it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EntryId, &PendingAdd, SlotSet)> {
        (self.first.0..).zip(&self.entries).map(|(entry, add)| {
            let missing = self.replication.write_set(EntryId(entry)).without(add.acked);
            (EntryId(entry), add, missing)
        })
    }

    /// The slots that have not acknowledged the entries overdue at `now`.
    pub(crate) fn overdue_slots(&self, now: Mono) -> SlotSet {
        let overdue = self.iter().take_while(|(_, add, _)| add.deadline <= now);
        overdue.fold(SlotSet::EMPTY, |slots, (_, _, missing)| slots.union(missing))
    }

    /// Moves the deadline of every entry overdue at `now`; answers how many there were at the front.
    pub(crate) fn postpone_overdue(&mut self, now: Mono, until: Mono) -> usize {
        let mut count = 0;
        for add in self.entries.iter_mut().take_while(|add| add.deadline <= now) {
            add.deadline = until;
            count += 1;
        }
        count
    }

    /// Takes everything out and answers the contexts in entry order.
    pub(crate) fn abandon(&mut self) -> Vec<u64> {
        self.bytes = 0;
        self.entries.drain(..).map(|add| add.ctx).collect()
    }

    fn index_of(&self, entry: EntryId) -> Option<usize> {
        usize::try_from(entry.0 - self.first.0).ok().filter(|&index| index < self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn window(e: u32, w: u32, a: u32) -> PendingAdds {
        let mut pending = PendingAdds::new(ReplicationConfig::new(e, w, a).unwrap(), EntryId(0), Seeded::NONE);
        for ctx in 0..4 {
            let data = EntryData::new(Bytes::new(), Bytes::from_static(b"abc"));
            assert_eq!(pending.push(ctx, data, Mono(ctx)), EntryId(i64::try_from(ctx).unwrap()));
        }
        pending
    }

    fn confirmed(pending: &mut PendingAdds) -> Vec<i64> {
        std::iter::from_fn(|| pending.take_confirmed()).map(|(entry, _)| entry.0).collect()
    }

    #[test]
    fn a_later_entry_waits_for_the_earlier_one() {
        let mut pending = window(3, 3, 2);
        for slot in [0, 1] {
            pending.record_ack(EntryId(1), slot);
        }
        assert_eq!(confirmed(&mut pending), Vec::<i64>::new());
        pending.record_ack(EntryId(0), 2);
        pending.record_ack(EntryId(0), 2);
        assert_eq!(confirmed(&mut pending), Vec::<i64>::new(), "a doubled ack counts once");
        pending.record_ack(EntryId(0), 1);
        assert_eq!(confirmed(&mut pending), [0, 1], "PendingAdds I3");
        assert_eq!((pending.first(), pending.end(), pending.bytes()), (EntryId(2), EntryId(4), 6));
    }

    #[test]
    fn acks_from_outside_the_write_set_do_not_count() {
        let mut pending = window(3, 2, 2);
        pending.record_ack(EntryId(0), 0);
        pending.record_ack(EntryId(0), 2);
        assert_eq!(confirmed(&mut pending), Vec::<i64>::new());
        pending.record_ack(EntryId(0), 1);
        assert_eq!(confirmed(&mut pending), [0]);
    }

    #[test]
    fn forgotten_acks_must_come_again() {
        let mut pending = window(3, 3, 2);
        pending.record_ack(EntryId(0), 0);
        pending.record_ack(EntryId(0), 1);
        pending.forget_acks(SlotSet::from_iter([1]));
        assert_eq!(confirmed(&mut pending), Vec::<i64>::new());
        pending.record_ack(EntryId(0), 1);
        assert_eq!(confirmed(&mut pending), [0]);
    }

    #[test]
    fn an_empty_window_gives_its_memory_back() {
        let mut pending = PendingAdds::new(ReplicationConfig::SINGLE, EntryId(0), Seeded::NONE);
        for _ in 0..1_000 {
            let entry = pending.push(0, EntryData::default(), Mono(0));
            pending.record_ack(entry, 0);
        }
        assert_eq!(confirmed(&mut pending).len(), 1_000);
        assert!(pending.entries.capacity() <= IDLE_CAPACITY_MAX, "I5: {}", pending.entries.capacity());
    }

    #[test]
    fn overdue_entries_name_the_silent_slots_once() {
        let mut pending = window(3, 2, 1);
        pending.record_ack(EntryId(0), 0);
        assert_eq!(pending.overdue_slots(Mono(0)).iter().collect::<Vec<_>>(), [1]);
        assert_eq!(pending.overdue_slots(Mono(1)).iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(pending.postpone_overdue(Mono(1), Mono(9)), 2);
        assert_eq!(pending.next_deadline(), Some(Mono(9)));
        assert_eq!(pending.abandon(), [0, 1, 2, 3]);
        assert_eq!(pending.bytes(), 0);
    }
}
