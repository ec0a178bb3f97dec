//! The ensemble change: puts other bookies in the place of suspects, in the middle of an open ledger.
//!
//! **States**  none → proposed (compare-and-put under way) → won: new fragment in use, unconfirmed entries sent again;
//! or → lost: fenced, or proposed anew when only older fragments were repaired meanwhile.
//!
//! **Invariants**
//! - I1  the new fragment starts at LAC + 1 as of the proposal; entries confirmed later have their ack quorum among the
//!   bookies that stay (LedgerWriter I7).
//! - I2  every unconfirmed entry goes to the new bookies of its write set before anything is counted from them.
//!
//! **Tests**  `writer/tests.rs`; the simulator in `tests/`.

use super::{LedgerWriter, Phase, WriterEffects, WriterEvent};
use crate::cas::{CasVerdict, MetadataCas};
use crate::{LedgerEffect, LedgerState, MetadataOutcome, RequestIds, Seeded, SeededBug, SlotSet, VersionedMetadata};
use base::{Mono, NodeId, Now, RequestId};

/// A proposed ensemble and the slots in which it differs.
#[derive(Debug)]
pub(super) struct EnsembleChange {
    cas: MetadataCas,
    replaced: SlotSet,
}

impl EnsembleChange {
    pub(super) fn replaced(&self) -> SlotSet {
        self.replaced
    }

    pub(super) fn next_deadline(&self) -> Mono {
        self.cas.next_deadline()
    }

    pub(super) fn on_deadline(&mut self, ids: &mut RequestIds, now: Now, fx: &mut WriterEffects) {
        self.cas.on_deadline(ids, now, fx);
    }
}

impl LedgerWriter {
    /// Proposes another ensemble when there are suspects and spare bookies. Otherwise the suspects stay: their entries
    /// are sent again at each deadline, and the ledger goes on with the copies it gets.
    pub(super) fn start_change(&mut self, now: Now, fx: &mut WriterEffects) {
        match self.phase {
            Phase::Open | Phase::Draining if self.change.is_none() => (),
            Phase::Open | Phase::Draining | Phase::Closing(_) | Phase::Closed | Phase::Fenced => return,
        }
        let Some((bookies, replaced)) = self.pick_ensemble() else { return };
        let start = self.pending.first();
        assert!(start == self.last_confirmed().next(), "EnsembleChange I1: the new ensemble starts at LAC + 1");
        let start = if self.options.seeded.has(SeededBug::EnsembleStartsAtLac) { start.previous() } else { start };
        let proposed = self.metadata.with_ensemble(start.max(base::EntryId(0)), bookies);
        if !self.options.seeded.has(SeededBug::LacCountsReplacedBookies) {
            self.pending.forget_acks(replaced);
        }
        let early = self.options.seeded.has(SeededBug::EnsembleBeforeCas).then(|| proposed.clone());
        let cas = MetadataCas::start(&mut self.ids, self.ledger, self.version, proposed, now, fx);
        if let Some(metadata) = early {
            return self.use_ensemble(now, VersionedMetadata { metadata, version: self.version }, replaced, fx);
        }
        self.change = Some(Box::new(EnsembleChange { cas, replaced }));
        self.slots.replace(replaced);
    }

    /// The current ensemble with spare bookies in the slots of as many suspects as possible.
    fn pick_ensemble(&mut self) -> Option<(Vec<NodeId>, SlotSet)> {
        let suspects = self.slots.suspects();
        let mut bookies = self.metadata.last_fragment().bookies.clone();
        let by_slot = || bookies.iter().copied().zip(0..);
        let leaving: Vec<NodeId> =
            by_slot().filter(|(_, slot)| suspects.contains(*slot)).map(|(node, _)| node).collect();
        let mut replaced = SlotSet::EMPTY;
        for slot in suspects.iter() {
            let (Ok(index), Some(node)) = (usize::try_from(slot), self.placement.pick_replacement(&bookies, &leaving))
            else {
                continue;
            };
            bookies[index] = node;
            replaced.insert(slot);
        }
        (!replaced.is_empty()).then_some((bookies, replaced))
    }

    pub(super) fn handle_change_metadata(
        &mut self,
        now: Now,
        id: RequestId,
        outcome: MetadataOutcome,
        fx: &mut WriterEffects,
    ) {
        let Some(mut change) = self.change.take() else { return };
        match change.cas.handle(&mut self.ids, now, id, outcome, fx) {
            CasVerdict::Pending => self.change = Some(change),
            CasVerdict::Won { version } => {
                let metadata = change.cas.into_proposed();
                self.use_ensemble(now, VersionedMetadata { metadata, version }, change.replaced, fx);
            }
            CasVerdict::Lost(Some(actual)) => self.handle_change_lost(now, actual, *change, fx),
            CasVerdict::Lost(None) => self.become_fenced(fx),
        }
    }

    fn handle_change_lost(
        &mut self,
        now: Now,
        mut actual: VersionedMetadata,
        change: EnsembleChange,
        fx: &mut WriterEffects,
    ) {
        if self.options.seeded.has(SeededBug::WriterOverwritesRecovery) {
            actual.metadata.state = LedgerState::Open;
        }
        match actual.metadata.state {
            LedgerState::Open if actual.metadata.last_fragment() == change.cas.proposed().last_fragment() => {
                self.use_ensemble(now, actual, change.replaced, fx);
            }
            // Only older fragments differ: a repair. The same change again, upon what stands there now.
            LedgerState::Open if actual.metadata.last_fragment() == self.metadata.last_fragment() => {
                self.adopt(actual);
                self.slots.suspect(change.replaced);
                self.start_change(now, fx);
            }
            // A recovery has begun or has ended (B7).
            LedgerState::Open | LedgerState::InRecovery | LedgerState::Closed { .. } => self.become_fenced(fx),
        }
    }

    fn use_ensemble(&mut self, now: Now, won: VersionedMetadata, replaced: SlotSet, fx: &mut WriterEffects) {
        let start = won.metadata.last_fragment().first_entry;
        assert!(start <= self.pending.first(), "LedgerWriter I5: the ensemble of {start} holds every pending entry");
        assert!(self.change.is_none(), "LedgerWriter I5: one change at a time");
        let counted = self.pending.iter().any(|(entry, _, missing)| {
            !self.metadata.replication.write_set(entry).intersection(replaced).without(missing).is_empty()
        });
        assert!(
            !counted || self.options.seeded != Seeded::NONE,
            "EnsembleChange I2: nothing counted before it was sent"
        );
        self.adopt(won);
        self.slots.replace(replaced);
        fx.push(LedgerEffect::Event(WriterEvent::EnsembleChanged));
        if !self.options.seeded.has(SeededBug::EnsembleWithoutResend) {
            self.resend(now, self.pending.len(), replaced, fx); // I2
        }
        self.start_change(now, fx); // Others may have become suspects meanwhile.
        self.close_when_drained(now, fx);
    }
}
