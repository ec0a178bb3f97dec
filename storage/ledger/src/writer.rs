//! Appends entries to one open ledger and confirms them in order.
//!
//! **States**  Open → Draining → Closing → Closed;  any of them → Fenced. Closed and Fenced are terminal. While Open or
//! Draining, at most one ensemble change is under way (`writer/change.rs`).
//!
//! **Invariants**
//! - I1  ensemble ≥ write_quorum ≥ ack_quorum ≥ 1, fixed at creation.
//! - I2  entry ids are dense: the next id is one above the last assigned.
//! - I3  the LAC only grows; it covers entry e only when every entry ≤ e has ack_quorum acks from its own write set.
//! - I4  after Fenced or Closed nothing is confirmed; a late ack is ignored, a pending add ends as unknown, not failed.
//! - I5  a new ensemble starts at LAC + 1 and is used only once its compare-and-put won.
//! - I6  pending adds ≤ `options.pending_adds_max`, their bytes ≤ `options.pending_bytes_max` (or one single entry).
//! - I7  while an ensemble change is under way only bookies of both ensembles count, so that whatever is confirmed
//!   meanwhile has its ack quorum in whichever of the two a recovery finds.
//! - I8  the ledger is closed by its writer only when nothing is pending, at its LAC; the copies that lack then are named.
//!
//! An acknowledgement is a lasting fact (this bookie holds this entry), so it is taken from any answer that names the
//! entry, whichever copy of the request it answers.
//!
//! **Not here**  Choosing bookies (`placement`), taking over a dead writer's ledger (`recovery`), copying confirmed
//! entries that a replaced bookie held (background repair).
//!
//! **Tests**  `writer/tests.rs`; the simulator in `tests/`.

mod change;
mod owed;
mod slots;
#[cfg(test)]
mod tests;

use crate::cas::{CasVerdict, MetadataCas};
use crate::pending::PendingAdds;
use crate::{
    LedgerEffect, LedgerMetadata, LedgerState, MetadataOutcome, Placement, RequestIds, Seeded, SeededBug, SlotSet,
    VACANT, VersionedMetadata, Zones,
};
use base::{Effects, EntryData, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use change::EnsembleChange;
use slots::SlotWatch;
use std::time::Duration;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse};

/// How long a close waits for the copies beyond the ack quorum of its last entries, so that a slow third copy costs no repair.
const CLOSE_WAIT: Duration = Duration::from_millis(200);

/// What a writer asks for.
pub type WriterEffects = Effects<LedgerEffect<WriterEvent>>;

/// Bounds and times of one writer.
#[derive(Clone, Copy, Debug, Hash)]
pub struct WriterOptions {
    /// Unconfirmed entries.
    pub pending_adds_max: usize,
    /// Their bytes. One entry is always admitted when nothing is pending.
    pub pending_bytes_max: usize,
    /// A bookie that has not answered an add for so long is replaced; without a spare one the add is sent again.
    pub add_timeout: Duration,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

/// What a writer tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterEvent {
    /// The entry is durable on its ack quorum, and so are all before it. Strictly in entry order.
    Confirmed { ctx: u64, entry: EntryId },
    /// Somebody else has taken the ledger over: nothing will be confirmed any more. Whether the pending adds are in the
    /// ledger is unknown until the recovery's result is read; `unknown` lists their `ctx` in entry order.
    Fenced { unknown: Vec<u64> },
    /// [`LedgerWriter::metadata`] has a new ensemble; readers of the open ledger need it.
    EnsembleChanged,
    /// Closed with everything that was added before. The end of this machine.
    Closed { last_entry: EntryId, length: u64 },
}

/// Why an add was not taken; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error(
        "the ledger writer has {pending_adds} unconfirmed entries of {pending_bytes} bytes, which is its bound; wait \
         for confirmations"
    )]
    Full { pending_adds: usize, pending_bytes: usize },
    #[error("the ledger is closed or being closed; open another one")]
    Closed,
    #[error("the ledger was taken over by another owner; reopen it")]
    Fenced,
}

impl AddError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Full { .. } => ErrorClass::Retry { after: Duration::from_millis(10) },
            Self::Closed | Self::Fenced => ErrorClass::Fatal,
        }
    }
}

#[derive(Clone, Debug, Hash)]
enum Phase {
    Open,
    /// Takes no more adds; waits for those pending.
    Draining,
    Closing(Box<MetadataCas>),
    Closed,
    Fenced,
}

/// The writer of one open ledger.
#[derive(Clone, Debug, Hash)]
pub struct LedgerWriter {
    ids: RequestIds,
    ledger: LedgerId,
    metadata: LedgerMetadata,
    version: u64,
    options: WriterOptions,
    placement: Placement,
    phase: Phase,
    pending: PendingAdds,
    slots: SlotWatch,
    change: Option<Box<EnsembleChange>>,
    /// A bookie of the ensemble is away; without a next entry it is left then.
    leave_at: Option<Mono>,
    /// The close waits so long for copies beyond the ack quorum.
    close_by: Option<Mono>,
    /// Bytes of the confirmed entries.
    length: u64,
}

impl LedgerWriter {
    /// A writer for a ledger that was just created: open, empty, one fragment.
    ///
    /// # Panics
    /// When the ledger is not open or has more than one fragment: only a recovery may continue such a ledger.
    pub fn new(
        ids: RequestIds,
        ledger: LedgerId,
        metadata: VersionedMetadata,
        options: WriterOptions,
        placement: Placement,
    ) -> Self {
        let VersionedMetadata { metadata, version } = metadata;
        assert!(metadata.check().is_ok(), "LedgerWriter I1: {metadata:?}");
        assert!(metadata.state == LedgerState::Open && metadata.fragments.len() == 1, "LedgerWriter I2: a new ledger");
        Self {
            pending: PendingAdds::new(metadata.replication, EntryId(0), options.seeded),
            slots: SlotWatch::new(metadata.replication, options.add_timeout),
            ids,
            ledger,
            metadata,
            version,
            options,
            placement,
            phase: Phase::Open,
            change: None,
            leave_at: None,
            close_by: None,
            length: 0,
        }
    }

    /// Appends one entry and sends it to its write set. `ctx` comes back in the event.
    ///
    /// # Errors
    /// [`AddError`]; then nothing was sent.
    pub fn add_entry(
        &mut self,
        now: Now,
        ctx: u64,
        data: EntryData,
        fx: &mut WriterEffects,
    ) -> Result<EntryId, AddError> {
        self.check_add(data.len())?;
        let expected = self.last_added().next();
        let entry = self.pending.push(ctx, data.clone(), now.mono + self.options.add_timeout);
        assert!(entry == expected, "LedgerWriter I2: {entry} follows {expected}");
        let within = self.pending.len() <= self.options.pending_adds_max || self.pending.len() == 1;
        assert!(within, "LedgerWriter I6: {} pending adds", self.pending.len());
        let slots = self.metadata.replication.write_set(entry).without(self.masked());
        self.send_copies(now, entry, &data, slots, fx);
        if self.leave_at.is_some() {
            self.start_change(now, fx);
        }
        Ok(entry)
    }

    /// Whether an entry of `bytes` would be taken now.
    ///
    /// # Errors
    /// What [`LedgerWriter::add_entry`] would answer.
    pub fn check_add(&self, bytes: usize) -> Result<(), AddError> {
        match self.phase {
            Phase::Open => (),
            Phase::Draining | Phase::Closing(_) | Phase::Closed => return Err(AddError::Closed),
            Phase::Fenced => return Err(AddError::Fenced),
        }
        let (pending_adds, pending_bytes) = (self.pending.len(), self.pending.bytes());
        let fits = pending_adds < self.options.pending_adds_max
            && pending_bytes.saturating_add(bytes) <= self.options.pending_bytes_max;
        if fits || pending_adds == 0 { Ok(()) } else { Err(AddError::Full { pending_adds, pending_bytes }) } // I6
    }

    /// One bookie's answer to an add. Any other answer is ignored.
    pub fn handle_add_response(&mut self, now: Now, from: NodeId, response: &BookieResponse, fx: &mut WriterEffects) {
        match self.phase {
            Phase::Closed | Phase::Fenced => return, // I4: late answers are expected.
            Phase::Open | Phase::Draining | Phase::Closing(_) => (),
        }
        let BookieResponse::Added { ledger, entry, outcome, .. } = response else { return };
        if *ledger != self.ledger {
            return;
        }
        let slot = self.slot_of(from); // None: a bookie that was replaced meanwhile.
        match (outcome, slot) {
            (AddOutcome::Stored, Some(slot)) => self.record_stored(now, slot, *entry, fx),
            (AddOutcome::Fenced, Some(slot)) if self.options.seeded.has(SeededBug::AnyAnswerCountsAsAck) => {
                self.record_stored(now, slot, *entry, fx);
            }
            (AddOutcome::Fenced, _) => self.become_fenced(fx),
            (AddOutcome::ReadOnly, Some(slot)) => {
                self.slots.suspect(SlotSet::from_iter([slot]));
                self.start_change(now, fx);
            }
            // Unknown: the deadline sends the entry again or replaces the bookie.
            (AddOutcome::Unknown, _) | (AddOutcome::Stored | AddOutcome::ReadOnly, None) => (),
        }
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, now: Now, id: RequestId, outcome: MetadataOutcome, fx: &mut WriterEffects) {
        match &mut self.phase {
            Phase::Closing(cas) => match cas.handle(&mut self.ids, now, id, outcome, fx) {
                CasVerdict::Pending => (),
                CasVerdict::Won { version } => {
                    let metadata = cas.proposed().clone();
                    self.become_closed(VersionedMetadata { metadata, version }, fx);
                }
                CasVerdict::Lost(actual) => self.handle_close_lost(now, actual, fx),
            },
            Phase::Open | Phase::Draining => self.handle_change_metadata(now, id, outcome, fx),
            Phase::Closed | Phase::Fenced => (), // I4
        }
    }

    /// Where the bookies stand, for the replacements that are chosen from now on.
    pub fn set_zones(&mut self, zones: Zones) {
        self.placement.set_zones(zones);
    }

    /// The bookies that may be chosen as replacements from now on.
    pub fn set_available(&mut self, now: Now, bookies: Vec<NodeId>, fx: &mut WriterEffects) {
        self.placement.set_available(bookies);
        if self.check_seats(now) {
            self.start_change(now, fx);
        }
    }

    /// Takes no more adds, waits until all are confirmed, then closes the ledger. Ends in `Closed` or `Fenced`.
    pub fn close(&mut self, now: Now, fx: &mut WriterEffects) {
        match self.phase {
            Phase::Open => self.phase = Phase::Draining,
            Phase::Draining | Phase::Closing(_) | Phase::Closed | Phase::Fenced => return,
        }
        self.close_when_drained(now, fx);
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Closing(cas) => Some(cas.next_deadline()),
            Phase::Open | Phase::Draining => {
                let change = self.change.as_ref().map(|change| change.next_deadline());
                // While something else is in the way of the close, its own time is no reason to wake up.
                let close = self.close_by.filter(|_| self.change.is_none() && self.pending.is_empty());
                let change = earliest(change, earliest(self.leave_at, close));
                earliest(change, earliest(self.pending.next_deadline(), self.slots.next_deadline()))
            }
            Phase::Closed | Phase::Fenced => None,
        }
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut WriterEffects) {
        match &mut self.phase {
            Phase::Closing(cas) => return cas.on_deadline(&mut self.ids, now, fx),
            Phase::Closed | Phase::Fenced => return,
            Phase::Open | Phase::Draining => (),
        }
        if let Some(change) = &mut self.change {
            change.on_deadline(&mut self.ids, now, fx);
        }
        let overdue = self.pending.overdue_slots(now.mono);
        self.slots.suspect(overdue.without(self.masked()));
        self.slots.check_silent(now.mono);
        self.leave_at = self.leave_at.filter(|at| now.mono < *at);
        self.start_change(now, fx);
        let count = self.pending.postpone_overdue(now.mono, now.mono + self.options.add_timeout);
        self.resend(now, count, SlotSet::first(self.metadata.replication.ensemble()), fx);
        self.close_when_drained(now, fx);
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, id: RequestId) -> bool {
        self.ids.owns(id)
    }

    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The highest confirmed entry (LAC).
    pub fn last_confirmed(&self) -> EntryId {
        self.pending.first().previous()
    }

    /// The highest entry id given out.
    pub fn last_added(&self) -> EntryId {
        self.pending.end().previous()
    }

    /// Bytes of all confirmed entries.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Unconfirmed entries.
    pub fn pending_adds(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of the unconfirmed entries.
    pub fn pending_bytes(&self) -> usize {
        self.pending.bytes()
    }

    pub fn is_fenced(&self) -> bool {
        matches!(self.phase, Phase::Fenced)
    }

    /// The metadata as last committed by or read by this writer.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// The version of [`LedgerWriter::metadata`].
    pub fn version(&self) -> u64 {
        self.version
    }

    fn slot_of(&self, node: NodeId) -> Option<u32> {
        let index = self.metadata.last_fragment().bookies.iter().position(|bookie| *bookie == node)?;
        u32::try_from(index).ok()
    }

    /// Slots whose bookies are being replaced: nothing is sent to them and nothing counts from them (I7).
    fn masked(&self) -> SlotSet {
        self.change.as_ref().map_or(SlotSet::EMPTY, |change| change.replaced())
    }

    fn record_stored(&mut self, now: Now, slot: u32, entry: EntryId, fx: &mut WriterEffects) {
        if self.masked().contains(slot) {
            return; // I7
        }
        self.slots.record_acked(now.mono, slot, entry);
        self.pending.record_ack(entry, slot);
        self.advance_lac(now, fx);
    }

    fn advance_lac(&mut self, now: Now, fx: &mut WriterEffects) {
        let before = self.last_confirmed();
        while let Some((entry, add)) = self.pending.take_confirmed() {
            self.length += u64::try_from(add.data.len()).unwrap_or(u64::MAX);
            let missing = self.metadata.replication.write_set(entry).without(add.acked());
            self.slots.record_confirmed(entry, missing.without(self.metadata.last_fragment().vacant()));
            if let Some(change) = &mut self.change {
                change.keep(entry, add.data);
            }
            fx.push(LedgerEffect::Event(WriterEvent::Confirmed { ctx: add.ctx, entry }));
        }
        assert!(self.last_confirmed() >= before, "LedgerWriter I3: the LAC only grows from {before}");
        self.close_when_drained(now, fx);
    }

    fn close_when_drained(&mut self, now: Now, fx: &mut WriterEffects) {
        if !matches!(self.phase, Phase::Draining) || !self.pending.is_empty() || self.change.is_some() {
            return;
        }
        if self.waits_for_copies(now) {
            return;
        }
        assert!(self.last_confirmed() == self.last_added(), "LedgerWriter I8: nothing pending at the close");
        let whole = self.without_owed(SlotSet::first(self.metadata.replication.ensemble()));
        let closed = whole.closed_at(self.last_confirmed(), self.length);
        let cas = MetadataCas::start(&mut self.ids, self.ledger, self.version, closed, now, fx);
        self.phase = Phase::Closing(Box::new(cas));
    }

    /// Whether a bookie that is there owes copies and has a little time left for them.
    fn waits_for_copies(&mut self, now: Now) -> bool {
        let seats = self.metadata.last_fragment().bookies.iter().zip(0..);
        let mut there = seats.filter(|(node, _)| self.placement.available().contains(node));
        if !there.any(|(_, slot)| self.slots.owed(slot).next().is_some()) {
            return false;
        }
        let until = *self.close_by.get_or_insert(now.mono + CLOSE_WAIT);
        now.mono < until
    }

    fn handle_close_lost(&mut self, now: Now, actual: Option<VersionedMetadata>, fx: &mut WriterEffects) {
        let Some(actual) = actual else { return self.become_fenced(fx) };
        match actual.metadata.state {
            // A recovery closed it at the very same end.
            LedgerState::Closed { last_entry, .. } if last_entry == self.last_confirmed() => {
                self.become_closed(actual, fx);
            }
            LedgerState::Open if actual.metadata.last_fragment() == self.metadata.last_fragment() => {
                self.adopt(actual);
                self.phase = Phase::Draining;
                self.close_when_drained(now, fx);
            }
            LedgerState::Open | LedgerState::InRecovery | LedgerState::Closed { .. } => self.become_fenced(fx),
        }
    }

    fn adopt(&mut self, actual: VersionedMetadata) {
        self.metadata = actual.metadata;
        self.version = actual.version;
    }

    fn become_closed(&mut self, closed: VersionedMetadata, fx: &mut WriterEffects) {
        let (last_entry, length) = (self.last_confirmed(), self.length);
        self.adopt(closed);
        self.phase = Phase::Closed;
        fx.push(LedgerEffect::Event(WriterEvent::Closed { last_entry, length }));
    }

    fn become_fenced(&mut self, fx: &mut WriterEffects) {
        self.phase = Phase::Fenced;
        self.change = None;
        let unknown = self.pending.abandon();
        assert!(self.pending.is_empty(), "LedgerWriter I4: nothing is pending after a fence");
        fx.push(LedgerEffect::Event(WriterEvent::Fenced { unknown }));
    }

    /// Sends the first `count` pending entries again to those of `slots` that have not acknowledged them.
    fn resend(&mut self, now: Now, count: usize, slots: SlotSet, fx: &mut WriterEffects) {
        let slots = slots.without(self.masked());
        let missing = self
            .pending
            .iter()
            .take(count)
            .map(|(entry, add, missing)| (entry, add.data.clone(), missing.intersection(slots)));
        let missing: Vec<_> = missing.filter(|(_, _, slots)| !slots.is_empty()).collect();
        for (entry, data, slots) in missing {
            self.send_copies(now, entry, &data, slots, fx);
        }
    }

    fn send_copies(&mut self, now: Now, entry: EntryId, data: &EntryData, slots: SlotSet, fx: &mut WriterEffects) {
        let (ledger, lac) = (self.ledger, self.last_confirmed());
        assert!(slots.intersection(self.masked()).is_empty(), "LedgerWriter I7: nothing for a bookie on its way out");
        for (&to, slot) in self.metadata.last_fragment().bookies.iter().zip(0..) {
            if to != VACANT && slots.contains(slot) {
                self.slots.record_sent(now.mono, slot, entry);
                let (id, data) = (self.ids.allocate(), data.clone());
                let request = BookieRequest::Add { id, ledger, entry, lac, recovery: false, data };
                fx.push(LedgerEffect::Bookie { to, request });
            }
        }
    }
}
