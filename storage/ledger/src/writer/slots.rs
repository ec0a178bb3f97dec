//! Watches the bookies of the current ensemble: who owes an answer, and since when.
//!
//! **What**  An entry leaves the pending window at its ack quorum, so a dead bookie beyond the quorum would go unnoticed
//! there. Here every slot has the last entry sent and the last acknowledged; a slot that owes one and stays silent for
//! the add timeout becomes a suspect. What was confirmed without a slot's acknowledgement is remembered until that comes, so
//! that the metadata can say which copies lack.
//!
//! **Invariants**
//! - I1  a slot that owes nothing is never waited for.
//! - I2  any acknowledgement clears the suspicion: only silence and refusal make a suspect, and being away.

use super::owed::Owed;
use crate::{ReplicationConfig, SlotSet};
use base::{EntryId, Mono, earliest};
use std::time::Duration;

#[derive(Clone, Debug, Hash)]
struct Slot {
    sent_up_to: EntryId,
    acked_up_to: EntryId,
    /// Since when it owes an answer without having given any.
    waiting_since: Option<Mono>,
    owed: Owed,
}

impl Slot {
    fn fresh() -> Self {
        Self { sent_up_to: EntryId::NONE, acked_up_to: EntryId::NONE, waiting_since: None, owed: Owed::default() }
    }
}

/// The slots of one writer's current ensemble.
#[derive(Clone, Debug, Hash)]
pub(super) struct SlotWatch {
    slots: Vec<Slot>,
    suspects: SlotSet,
    /// Slots whose bookies are away, or where nobody sits.
    absent: SlotSet,
    replication: ReplicationConfig,
    timeout: Duration,
}

impl SlotWatch {
    pub(super) fn new(replication: ReplicationConfig, timeout: Duration) -> Self {
        let slots = (0..replication.ensemble()).map(|_| Slot::fresh()).collect();
        Self { slots, suspects: SlotSet::EMPTY, absent: SlotSet::EMPTY, replication, timeout }
    }

    pub(super) fn record_sent(&mut self, now: Mono, slot: u32, entry: EntryId) {
        if let Some(slot) = self.slot_mut(slot) {
            slot.sent_up_to = slot.sent_up_to.max(entry);
            // An old entry sent again is watched by its own deadline.
            if slot.acked_up_to < slot.sent_up_to {
                slot.waiting_since = slot.waiting_since.or(Some(now));
            }
        }
    }

    pub(super) fn record_acked(&mut self, now: Mono, slot: u32, entry: EntryId) {
        self.suspects.remove(slot); // I2
        if let Some(slot) = self.slot_mut(slot) {
            slot.acked_up_to = slot.acked_up_to.max(entry);
            slot.owed.remove(entry);
            slot.waiting_since = (slot.acked_up_to < slot.sent_up_to).then_some(now); // I1
        }
    }

    pub(super) fn suspect(&mut self, slots: SlotSet) {
        self.suspects = self.suspects.union(slots);
    }

    /// The entry was confirmed; these slots have not acknowledged it.
    pub(super) fn record_confirmed(&mut self, entry: EntryId, missing: SlotSet) {
        for index in missing.iter() {
            let previous = self.replication.previous_of(entry, index);
            if let Some(slot) = self.slot_mut(index) {
                slot.owed.insert(previous, entry);
            }
        }
    }

    /// The confirmed entries that a slot has not acknowledged, as runs from the first to the last.
    pub(super) fn owed(&self, slot: u32) -> impl Iterator<Item = (EntryId, EntryId)> {
        let slot = usize::try_from(slot).ok().and_then(|index| self.slots.get(index));
        slot.into_iter().flat_map(|slot| slot.owed.runs())
    }

    /// The slot's bookie is away.
    pub(super) fn suspect_absent(&mut self, slot: u32) {
        self.absent.insert(slot);
    }

    /// The slot's bookie is not, or no longer, away.
    pub(super) fn clear_absence(&mut self, slot: u32) {
        self.absent.remove(slot);
    }

    /// Makes suspects of the slots that have been silent for the timeout. They are waited for again from the next
    /// entry on, so that an idle ledger has no deadline.
    pub(super) fn check_silent(&mut self, now: Mono) {
        for (slot, index) in self.slots.iter_mut().zip(0..) {
            if slot.waiting_since.is_some_and(|since| since + self.timeout <= now) {
                assert!(slot.acked_up_to < slot.sent_up_to, "SlotWatch I1: slot {index} owes an answer");
                slot.waiting_since = None;
                self.suspects.insert(index);
            }
        }
    }

    /// Other bookies are proposed for these slots: nobody waits for those who leave. What they owe is still to be said.
    pub(super) fn leave(&mut self, slots: SlotSet) {
        (self.suspects, self.absent) = (self.suspects.without(slots), self.absent.without(slots));
        for slot in slots.iter() {
            if let Some(slot) = self.slot_mut(slot) {
                slot.waiting_since = None;
            }
        }
    }

    /// Other bookies stand in these slots now.
    pub(super) fn replace(&mut self, slots: SlotSet) {
        self.suspects = self.suspects.without(slots);
        self.absent = self.absent.without(slots);
        for slot in slots.iter() {
            if let Some(slot) = self.slot_mut(slot) {
                *slot = Slot::fresh();
            }
        }
    }

    pub(super) fn suspects(&self) -> SlotSet {
        self.suspects.union(self.absent)
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        let since = self.slots.iter().fold(None, |first, slot| earliest(first, slot.waiting_since));
        since.map(|since| since + self.timeout)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_nanos(10);

    fn watch() -> SlotWatch {
        SlotWatch::new(ReplicationConfig::new(3, 3, 2).unwrap(), TIMEOUT)
    }

    #[test]
    fn only_a_slot_that_owes_an_answer_becomes_a_suspect() {
        let mut watch = watch();
        watch.record_sent(Mono(0), 0, EntryId(0));
        watch.record_sent(Mono(0), 1, EntryId(0));
        watch.record_acked(Mono(3), 0, EntryId(0));
        assert_eq!(watch.next_deadline(), Some(Mono(10)));
        watch.check_silent(Mono(9));
        assert!(watch.suspects().is_empty());
        watch.check_silent(Mono(10));
        assert_eq!(watch.suspects().iter().collect::<Vec<_>>(), [1]);
        assert_eq!(watch.next_deadline(), None, "an idle ledger has no deadline");
        watch.record_acked(Mono(11), 1, EntryId(0));
        assert!(watch.suspects().is_empty(), "SlotWatch I2");
    }

    #[test]
    fn a_slow_slot_that_keeps_answering_is_no_suspect() {
        let mut watch = watch();
        for entry in 0..5 {
            watch.record_sent(Mono(0), 2, EntryId(entry));
        }
        for entry in 0..4 {
            let now = Mono(9 * (u64::try_from(entry).unwrap() + 1));
            watch.check_silent(now);
            watch.record_acked(now, 2, EntryId(entry));
        }
        assert!(watch.suspects().is_empty());
        watch.check_silent(Mono(46));
        assert_eq!(watch.suspects().count(), 1);
    }

    #[test]
    fn a_replaced_slot_starts_afresh() {
        let mut watch = watch();
        watch.record_sent(Mono(0), 1, EntryId(7));
        watch.suspect(SlotSet::from_iter([0, 1]));
        watch.replace(SlotSet::from_iter([1]));
        assert_eq!(watch.suspects().iter().collect::<Vec<_>>(), [0]);
        assert_eq!(watch.next_deadline(), None);
    }
}
