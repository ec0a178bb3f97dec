//! The ensemble change: puts other bookies, or nobody, in the place of suspects, in the middle of an open ledger.
//!
//! **States**  none → proposed (compare-and-put under way) → won: new fragment in use, unconfirmed entries sent again;
//! or → lost: fenced, or proposed anew when only older fragments were repaired meanwhile.
//!
//! **Invariants**
//! - I1  the new fragment starts at LAC + 1 as of the proposal; entries confirmed later have their ack quorum among the
//!   bookies that stay (LedgerWriter I7).
//! - I2  every unconfirmed entry goes to the new bookies of its write set before anything is counted from them.
//! - I3  what was confirmed without a bookie that leaves names it no longer: the metadata says which copies lack.
//! - I4  the new fragment names the newcomers for what was confirmed since the proposal: they get that too, as far as it was
//!   kept, at most [`KEPT_BYTES_MAX`] and [`KEPT_ENTRIES_MAX`]. What was not kept they owe, as the next change or the close says.
//!
//! **Tests**  `writer/tests.rs`; the simulator in `tests/`.

use super::{LedgerWriter, Phase, WriterEffects, WriterEvent};
use crate::cas::{CasVerdict, MetadataCas};
use crate::{
    LedgerEffect, LedgerMetadata, LedgerState, MetadataOutcome, RequestIds, Seeded, SeededBug, SlotSet, VACANT,
    VersionedMetadata,
};
use base::{EntryData, EntryId, Mono, Now, RequestId};
use std::time::Duration;

/// Bytes of the entries kept for newcomers: what a busy topic confirms while the metadata answers …
const KEPT_BYTES_MAX: usize = 1 << 20;
/// … and their number.
const KEPT_ENTRIES_MAX: usize = 1_000;
/// How long an idle ledger keeps a bookie that is away.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A proposed ensemble and the slots in which it differs.
#[derive(Clone, Debug, Hash)]
pub(super) struct EnsembleChange {
    cas: MetadataCas,
    replaced: SlotSet,
    /// Confirmed since the proposal, in order.
    kept: Vec<(EntryId, EntryData)>,
    kept_bytes: usize,
}

impl EnsembleChange {
    pub(super) fn replaced(&self) -> SlotSet {
        self.replaced
    }

    /// The entry is confirmed by those who stay (I4).
    pub(super) fn keep(&mut self, entry: EntryId, data: EntryData) {
        let bytes = self.kept_bytes.saturating_add(data.len());
        if bytes <= KEPT_BYTES_MAX && self.kept.len() < KEPT_ENTRIES_MAX {
            self.kept_bytes = bytes;
            self.kept.push((entry, data));
        }
        assert!(self.kept_bytes <= KEPT_BYTES_MAX, "EnsembleChange I4: {} bytes", self.kept_bytes);
    }

    pub(super) fn next_deadline(&self) -> Mono {
        self.cas.next_deadline()
    }

    pub(super) fn on_deadline(&mut self, ids: &mut RequestIds, now: Now, fx: &mut WriterEffects) {
        self.cas.on_deadline(ids, now, fx);
    }
}

impl LedgerWriter {
    /// Proposes another ensemble when there are suspects and spare bookies, or suspects that are away. Otherwise the suspects
    /// stay: their entries are sent again at each deadline, and the ledger goes on with the copies it gets.
    pub(super) fn start_change(&mut self, now: Now, fx: &mut WriterEffects) {
        match self.phase {
            Phase::Open | Phase::Draining if self.change.is_none() => (),
            Phase::Open | Phase::Draining | Phase::Closing(_) | Phase::Closed | Phase::Fenced => return,
        }
        let seats = &self.metadata.last_fragment().bookies;
        let reseated = self.placement.reseat(seats, self.slots.suspects(), self.metadata.replication);
        let Some((bookies, replaced)) = reseated else { return };
        self.leave_at = None;
        let start = self.pending.first();
        assert!(start == self.last_confirmed().next(), "EnsembleChange I1: the new ensemble starts at LAC + 1");
        let start = if self.options.seeded.has(SeededBug::EnsembleStartsAtLac) { start.previous() } else { start };
        let proposed = self.without_owed(replaced).with_ensemble(start.max(EntryId(0)), bookies);
        if !self.options.seeded.has(SeededBug::LacCountsReplacedBookies) {
            self.pending.forget_acks(replaced);
        }
        let early = self.options.seeded.has(SeededBug::EnsembleBeforeCas).then(|| proposed.clone());
        let cas = MetadataCas::start(&mut self.ids, self.ledger, self.version, proposed, now, fx);
        if let Some(metadata) = early {
            let won = VersionedMetadata { metadata, version: self.version };
            return self.use_ensemble(now, won, replaced, Vec::new(), fx);
        }
        self.change = Some(Box::new(EnsembleChange { cas, replaced, kept: Vec::new(), kept_bytes: 0 }));
        self.slots.leave(replaced);
    }

    /// The metadata with the seats of those who leave vacant for what was confirmed without them since they sat down (I3).
    pub(super) fn without_owed(&self, leaving: SlotSet) -> LedgerMetadata {
        let mut metadata = self.metadata.clone();
        for (node, slot) in self.metadata.last_fragment().bookies.iter().zip(0..) {
            for (from, to) in self.slots.owed(slot).filter(|_| leaving.contains(slot)) {
                metadata = metadata.with_vacated(*node, from, to.next());
            }
        }
        metadata
    }

    /// Finds the seats whose bookies are not available, and whether somebody waits for another ensemble. An idle ledger waits
    /// a while: its bookie may come back before it has missed anything.
    pub(super) fn check_seats(&mut self, now: Now) -> bool {
        let mut urgent = false;
        for (node, slot) in self.metadata.last_fragment().bookies.iter().zip(0..) {
            if self.placement.available().contains(node) {
                self.slots.clear_absence(slot);
            } else {
                self.slots.suspect_absent(slot);
                urgent |= *node == VACANT || self.slots.owed(slot).next().is_some();
            }
        }
        let absent = !self.slots.suspects().is_empty();
        self.leave_at = absent.then(|| self.leave_at.unwrap_or(now.mono + IDLE_MAX));
        urgent || !self.pending.is_empty()
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
                let EnsembleChange { cas, replaced, kept, .. } = *change;
                let won = VersionedMetadata { metadata: cas.into_proposed(), version };
                self.use_ensemble(now, won, replaced, kept, fx);
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
                self.use_ensemble(now, actual, change.replaced, change.kept, fx);
            }
            // Only older fragments differ: a repair. The same change again, upon what stands there now.
            LedgerState::Open if actual.metadata.last_fragment() == self.metadata.last_fragment() => {
                self.adopt(actual);
                self.slots.suspect(change.replaced);
                self.start_change(now, fx);
                self.close_when_drained(now, fx); // Nobody need leave any more: a close waited for this change.
            }
            // A recovery has begun or has ended (B7).
            LedgerState::Open | LedgerState::InRecovery | LedgerState::Closed { .. } => self.become_fenced(fx),
        }
    }

    fn use_ensemble(
        &mut self,
        now: Now,
        won: VersionedMetadata,
        replaced: SlotSet,
        kept: Vec<(EntryId, EntryData)>,
        fx: &mut WriterEffects,
    ) {
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
        // Confirmed since the proposal by those who stay.
        for entry in (start.0..self.pending.first().0).map(EntryId) {
            let sitting = replaced.without(self.metadata.last_fragment().vacant());
            self.slots.record_confirmed(entry, self.metadata.replication.write_set(entry).intersection(sitting));
        }
        fx.push(LedgerEffect::Event(WriterEvent::EnsembleChanged));
        if !self.options.seeded.has(SeededBug::EnsembleWithoutResend) {
            self.resend(now, self.pending.len(), replaced, fx); // I2
        }
        for (entry, data) in kept {
            assert!(entry >= start, "EnsembleChange I4: {entry} is in the fragment that begins at {start}");
            let newcomers = self.metadata.replication.write_set(entry).intersection(replaced);
            self.send_copies(now, entry, &data, newcomers, fx);
        }
        self.check_seats(now);
        self.start_change(now, fx); // Others may have become suspects meanwhile.
        self.close_when_drained(now, fx);
    }
}
