//! Writes recovered entries back to an ack quorum before the ledger is closed.
//!
//! **What**  A node that gave an entry back may not have it on disk, so every copy is written again and only the answers
//! to these writes count. A bookie that is away, or does not take them in time, is replaced, or its seat becomes vacant; the
//! changed ensemble stays in memory until the close commits it, and another recovery never sees half of it.
//!
//! **Invariants**
//! - I1  entries are written back in order without a gap from the first recovered one on.
//! - I2  a changed ensemble starts at the first entry that is not yet on its ack quorum.
//! - I3  the LAC sent along stays the one that the recovery began with. What is written back counts as confirmed only once
//!   the close has committed its ensemble; another recovery that heard a higher LAC would skip entries whose copies
//!   the metadata does not know of.
//!
//! **Tests**  `recovery/tests.rs`; the simulator in `tests/`.

use super::{RecoveryEffects, RecoveryOptions};
use crate::pending::PendingAdds;
use crate::{LedgerEffect, LedgerMetadata, Placement, RequestIds, SeededBug, SlotSet, VACANT};
use base::{EntryData, EntryId, LedgerId, NodeId, Now};
use wire::bookie::{AddOutcome, BookieRequest};

/// The write-back of one recovery.
#[derive(Clone, Debug, Hash)]
pub(super) struct WriteBack {
    ledger: LedgerId,
    options: RecoveryOptions,
    metadata: LedgerMetadata,
    pending: PendingAdds,
    /// The LAC that the recovery began with.
    lac: EntryId,
    /// Slots that did not take an entry in time.
    suspects: SlotSet,
    bytes: u64,
}

impl WriteBack {
    /// Nothing recovered yet; `first` will be the first entry. `metadata` is as the store has it.
    pub(super) fn new(ledger: LedgerId, options: RecoveryOptions, metadata: LedgerMetadata, first: EntryId) -> Self {
        let pending = PendingAdds::new(metadata.replication, first, options.seeded);
        let lac = first.previous();
        Self { ledger, options, metadata, pending, lac, suspects: SlotSet::EMPTY, bytes: 0 }
    }

    /// Sends the next recovered entry to its write set.
    pub(super) fn push(&mut self, now: Now, data: EntryData, ids: &mut RequestIds, fx: &mut RecoveryEffects) {
        self.bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
        let entry = self.pending.push(0, data.clone(), now.mono + self.options.request_timeout);
        self.send_copies(entry, &data, self.metadata.replication.write_set(entry), ids, fx);
    }

    /// Takes one bookie's answer; false when it changes nothing.
    pub(super) fn handle_added(&mut self, from: NodeId, entry: EntryId, outcome: AddOutcome) -> bool {
        let position = self.metadata.last_fragment().bookies.iter().position(|bookie| *bookie == from);
        let Some(slot) = position.and_then(|index| u32::try_from(index).ok()) else { return false };
        match outcome {
            AddOutcome::Stored => {
                self.suspects.remove(slot);
                self.pending.record_ack(entry, slot);
                let before = self.pending.first();
                while self.pending.take_confirmed().is_some() {}
                assert!(self.pending.first() >= before, "WriteBack I1: no entry is written back twice");
                true
            }
            AddOutcome::ReadOnly => {
                self.suspects.insert(slot);
                false
            }
            // A concurrent recovery fenced after us, or no outcome: the deadline asks again.
            AddOutcome::Fenced | AddOutcome::Unknown => false,
        }
    }

    /// Replaces the bookies that keep entries waiting where spare ones exist, and sends everything missing again.
    /// Answers whether the ensemble changed.
    pub(super) fn on_deadline(
        &mut self,
        now: Now,
        placement: &mut Placement,
        ids: &mut RequestIds,
        fx: &mut RecoveryEffects,
    ) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        self.suspects = self.suspects.union(self.pending.overdue_slots(now.mono));
        let changed = self.replace_suspects(placement);
        self.pending.postpone_overdue(now.mono, now.mono + self.options.request_timeout);
        self.resend(ids, fx);
        changed
    }

    /// Leaves the bookies that are not available: others take their places, or nobody. Answers whether the ensemble changed.
    pub(super) fn leave_unavailable(&mut self, placement: &mut Placement) -> bool {
        let seats = self.metadata.last_fragment().bookies.iter().zip(0..);
        let away = seats.filter(|(node, _)| !placement.available().contains(node)).map(|(_, slot)| slot).collect();
        self.suspects = self.suspects.union(away);
        self.replace_suspects(placement)
    }

    /// Sends everything that is missing again.
    pub(super) fn resend(&self, ids: &mut RequestIds, fx: &mut RecoveryEffects) {
        let missing: Vec<_> = self.pending.iter().map(|(entry, add, slots)| (entry, add.data.clone(), slots)).collect();
        for (entry, data, slots) in missing {
            self.send_copies(entry, &data, slots, ids, fx);
        }
    }

    /// Entries not yet on their ack quorum.
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// The last recovered entry.
    pub(super) fn last_entry(&self) -> EntryId {
        self.pending.end().previous()
    }

    /// Bytes of all recovered entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The metadata with the ensembles that hold what was written back.
    pub(super) fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    fn replace_suspects(&mut self, placement: &mut Placement) -> bool {
        let seats = &self.metadata.last_fragment().bookies;
        let Some((bookies, replaced)) = placement.reseat(seats, self.suspects, self.metadata.replication) else {
            return false;
        };
        self.suspects = self.suspects.without(replaced);
        let start = self.pending.first();
        assert!(start >= self.metadata.last_fragment().first_entry, "WriteBack I2: {start} is in the last fragment");
        self.pending.forget_acks(replaced);
        self.metadata = self.metadata.with_ensemble(start, bookies);
        true
    }

    fn send_copies(
        &self,
        entry: EntryId,
        data: &EntryData,
        slots: SlotSet,
        ids: &mut RequestIds,
        fx: &mut RecoveryEffects,
    ) {
        let advanced = self.options.seeded.has(SeededBug::RecoveryAdvancesLac);
        let (ledger, lac) = (self.ledger, if advanced { self.pending.first().previous() } else { self.lac });
        assert!(lac == self.lac || advanced, "WriteBack I3: the LAC stays at {}", self.lac);
        for (&to, slot) in self.metadata.last_fragment().bookies.iter().zip(0..) {
            if to != VACANT && slots.contains(slot) {
                let (id, data) = (ids.allocate(), data.clone());
                fx.push(LedgerEffect::Bookie {
                    to,
                    request: BookieRequest::Add { id, ledger, entry, lac, recovery: true, data },
                });
            }
        }
    }
}
