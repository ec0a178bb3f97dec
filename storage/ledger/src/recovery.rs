//! Takes a ledger over from a writer that may be dead or merely slow, and closes it.
//!
//! **States**  Marking (metadata to InRecovery) → Fencing (fence + LAC of the current ensemble) → Copying (fencing reads
//! from LAC + 1, written back as they come) → Closing (metadata to Closed) → Ended. A lost compare-and-put starts over
//! from what stands there; a ledger found closed ends at once.
//!
//! **Invariants**
//! - I1  nothing is read before `ensemble − ack_quorum + 1` bookies of the current ensemble are durably fenced, and the
//!   ensemble is final before the first fence: the metadata says InRecovery.
//! - I2  reading starts above the highest LAC heard and never below the current fragment's first entry.
//! - I3  the close is proposed only when every recovered entry is on its ack quorum.
//! - I4  the close is a compare-and-put on the version under which the recovery worked: of two recoveries one wins, the
//!   other takes over its result.
//! - I5  after Ended nothing is sent.
//!
//! **Not here**  Deciding who may take over (`managed`, by epoch), the last-but-one ledger of a topic (`managed`).
//!
//! **Tests**  `recovery/tests.rs`; the simulator in `tests/`.

mod tail;
#[cfg(test)]
mod tests;
mod write_back;

use crate::cas::{CasVerdict, MetadataCas};
use crate::{
    FenceCoverage, LedgerEffect, LedgerMetadata, LedgerState, MetadataOutcome, Placement, RequestIds, Seeded,
    SeededBug, VACANT, VersionedMetadata,
};
use base::{Effects, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId};
use std::time::Duration;
use tail::{IncludeSilent, TailReads, TailStep};
use wire::bookie::{BookieRequest, BookieResponse, LacOutcome};
use write_back::WriteBack;

/// What a recovery asks for.
pub type RecoveryEffects = Effects<LedgerEffect<RecoveryEvent>>;

/// Bounds and times of one recovery.
#[derive(Clone, Copy, Debug, Hash)]
pub struct RecoveryOptions {
    /// A request that is not answered for so long is sent again.
    pub request_timeout: Duration,
    /// So many timeouts in a row without any progress end the recovery as failed; the owner may start another.
    pub attempts_max: u32,
    /// Entries held in memory between reading and writing back; at least 1.
    pub window_entries: u32,
    /// Bytes asked for in one read.
    pub read_bytes_max: u32,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

/// How a recovery ends; the last event of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryEvent {
    /// The ledger is closed (by this or by a concurrent recovery); [`LedgerRecovery::metadata`] is final.
    /// `length` as in [`crate::LedgerState::Closed`].
    Recovered {
        last_entry: EntryId,
        length: u64,
    },
    Failed(RecoveryError),
}

/// Why a recovery gave up. The ledger is still fenced where it was fenced; another recovery may continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error("too few bookies of ledger {ledger} answer to recover it; bring them back, then try again")]
    BookiesUnavailable { ledger: LedgerId },
    #[error("the metadata store does not answer for ledger {ledger}; try again")]
    MetadataUnavailable { ledger: LedgerId },
    #[error("ledger {ledger} was deleted")]
    Deleted { ledger: LedgerId },
}

impl RecoveryError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BookiesUnavailable { .. } | Self::MetadataUnavailable { .. } => {
                ErrorClass::Retry { after: Duration::from_millis(500) }
            }
            Self::Deleted { .. } => ErrorClass::Fatal,
        }
    }
}

#[derive(Clone, Debug, Hash)]
enum Phase {
    Marking(Box<MetadataCas>),
    Fencing { coverage: FenceCoverage, lac: EntryId },
    Copying(Box<Copying>),
    Closing(Box<MetadataCas>),
    Ended,
}

#[derive(Clone, Debug, Hash)]
struct Copying {
    reads: TailReads,
    write_back: WriteBack,
    /// The first entry that was read.
    start: EntryId,
    /// No more entries to read.
    end_found: bool,
}

/// The recovery of one ledger.
#[derive(Clone, Debug, Hash)]
pub struct LedgerRecovery {
    ids: RequestIds,
    ledger: LedgerId,
    metadata: LedgerMetadata,
    version: u64,
    options: RecoveryOptions,
    placement: Placement,
    phase: Phase,
    /// When the bookies asked have had their time.
    deadline: Mono,
    /// Deadlines in a row without progress.
    attempts: u32,
    progressed: bool,
}

impl LedgerRecovery {
    /// Starts at once. A ledger that is already closed is recovered immediately.
    pub fn start(
        ids: RequestIds,
        ledger: LedgerId,
        metadata: VersionedMetadata,
        options: RecoveryOptions,
        placement: Placement,
        now: Now,
        fx: &mut RecoveryEffects,
    ) -> Self {
        let VersionedMetadata { metadata, version } = metadata;
        let (phase, deadline) = (Phase::Ended, now.mono);
        let (attempts, progressed) = (0, false);
        let mut recovery =
            Self { ids, ledger, metadata, version, options, placement, phase, deadline, attempts, progressed };
        recovery.begin(now, fx);
        recovery
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut RecoveryEffects) {
        if !self.ids.owns(response.id()) {
            return;
        }
        match (&mut self.phase, response) {
            (Phase::Fencing { .. }, BookieResponse::Lac { outcome: LacOutcome::Lac { lac, .. }, .. }) => {
                self.handle_fenced(now, from, lac, fx);
            }
            (Phase::Copying(copying), BookieResponse::Read { id, outcome, .. }) => {
                self.progressed |= copying.reads.handle_read(from, id, outcome);
                self.advance(now, fx);
            }
            (Phase::Copying(copying), BookieResponse::Added { entry, outcome, .. }) => {
                self.progressed |= copying.write_back.handle_added(from, entry, outcome);
                self.advance(now, fx);
            }
            // Late answers; also a bookie that cannot say whether it is fenced: the deadline asks again.
            (
                Phase::Marking(_) | Phase::Fencing { .. } | Phase::Copying(_) | Phase::Closing(_) | Phase::Ended,
                BookieResponse::Lac { .. }
                | BookieResponse::Read { .. }
                | BookieResponse::Added { .. }
                | BookieResponse::Deleted { .. }
                | BookieResponse::Repaired { .. }
                | BookieResponse::Limbo { .. }
                | BookieResponse::Missing { .. },
            ) => (),
        }
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, now: Now, id: RequestId, outcome: MetadataOutcome, fx: &mut RecoveryEffects) {
        let (Phase::Marking(cas) | Phase::Closing(cas)) = &mut self.phase else { return };
        match cas.handle(&mut self.ids, now, id, outcome, fx) {
            CasVerdict::Pending => (),
            CasVerdict::Won { version } => {
                self.metadata = cas.proposed().clone();
                self.version = version;
                self.begin(now, fx);
            }
            CasVerdict::Lost(Some(actual)) => {
                self.metadata = actual.metadata;
                self.version = actual.version;
                self.begin(now, fx); // I4
            }
            CasVerdict::Lost(None) => self.fail(RecoveryError::Deleted { ledger: self.ledger }, fx),
        }
    }

    /// The bookies that take entries from now on; the places of others are taken at once.
    pub fn set_available(&mut self, now: Now, bookies: Vec<NodeId>, fx: &mut RecoveryEffects) {
        self.placement.set_available(bookies);
        let Phase::Copying(copying) = &mut self.phase else { return };
        if copying.write_back.leave_unavailable(&mut self.placement) {
            copying.write_back.resend(&mut self.ids, fx);
        }
        self.advance(now, fx);
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Marking(cas) | Phase::Closing(cas) => Some(cas.next_deadline()),
            Phase::Fencing { .. } | Phase::Copying(_) => Some(self.deadline),
            Phase::Ended => None,
        }
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut RecoveryEffects) {
        match &mut self.phase {
            Phase::Ended => (),
            Phase::Marking(cas) | Phase::Closing(cas) => {
                cas.on_deadline(&mut self.ids, now, fx);
                if cas.failures() > self.options.attempts_max {
                    self.fail(RecoveryError::MetadataUnavailable { ledger: self.ledger }, fx);
                }
            }
            Phase::Fencing { .. } | Phase::Copying(_) if now.mono < self.deadline => (),
            Phase::Fencing { .. } | Phase::Copying(_) => self.retry(now, fx),
        }
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, id: RequestId) -> bool {
        self.ids.owns(id)
    }

    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// After `Recovered`: the closed metadata.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// The version of [`LedgerRecovery::metadata`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Goes on from what the metadata says.
    fn begin(&mut self, now: Now, fx: &mut RecoveryEffects) {
        self.attempts = 0;
        match self.metadata.state {
            LedgerState::Open => {
                let marked = self.metadata.in_recovery();
                let cas = MetadataCas::start(&mut self.ids, self.ledger, self.version, marked, now, fx);
                self.phase = Phase::Marking(Box::new(cas));
            }
            LedgerState::InRecovery => {
                let replication = self.metadata.replication;
                let mut coverage = if self.options.seeded.has(SeededBug::FenceCoverageShort) {
                    FenceCoverage::needing(replication.fence_coverage() - 1)
                } else {
                    FenceCoverage::new(replication)
                };
                // Its writer counts nobody there, and the mark lets nobody sit down any more.
                self.metadata.last_fragment().vacant().iter().for_each(|slot| coverage.record_fenced(slot));
                self.phase = Phase::Fencing { coverage, lac: EntryId::NONE };
                self.wait_for_bookies(now);
                self.send_fences(fx);
            }
            LedgerState::Closed { last_entry, length } => {
                self.phase = Phase::Ended;
                fx.push(LedgerEffect::Event(RecoveryEvent::Recovered { last_entry, length }));
            }
        }
    }

    fn send_fences(&mut self, fx: &mut RecoveryEffects) {
        let Phase::Fencing { coverage, .. } = &self.phase else { return };
        assert!(self.metadata.state == LedgerState::InRecovery, "LedgerRecovery I1: no fence before the mark");
        for (&to, slot) in self.metadata.last_fragment().bookies.iter().zip(0..) {
            if to != VACANT && !coverage.fenced().contains(slot) {
                let id = self.ids.allocate();
                let request = BookieRequest::ReadLac { id, ledger: self.ledger, fence: true };
                fx.push(LedgerEffect::Bookie { to, request });
            }
        }
    }

    fn handle_fenced(&mut self, now: Now, from: NodeId, answered: EntryId, fx: &mut RecoveryEffects) {
        let Phase::Fencing { coverage, lac } = &mut self.phase else { return };
        let position = self.metadata.last_fragment().bookies.iter().position(|bookie| *bookie == from);
        let Some(slot) = position.and_then(|index| u32::try_from(index).ok()) else { return };
        coverage.record_fenced(slot);
        *lac = answered.max(*lac);
        self.progressed = true;
        if coverage.is_complete() {
            let lac = *lac;
            self.start_copying(now, lac, fx);
        }
    }

    fn start_copying(&mut self, now: Now, lac: EntryId, fx: &mut RecoveryEffects) {
        let fragment = self.metadata.last_fragment();
        let from_start = self.options.seeded.has(SeededBug::RecoveryFromMinusOne);
        let first_entry = if from_start { EntryId(0) } else { fragment.first_entry };
        let start = lac.next().max(first_entry);
        assert!(start >= fragment.first_entry || from_start, "LedgerRecovery I2: start {start} in the last fragment");
        let (ledger, options, bookies) = (self.ledger, self.options, fragment.bookies.clone());
        let reads = TailReads::new(ledger, self.metadata.replication, options, bookies, start);
        let mut write_back = WriteBack::new(ledger, options, self.metadata.clone(), start);
        write_back.leave_unavailable(&mut self.placement);
        self.phase = Phase::Copying(Box::new(Copying { reads, write_back, start, end_found: false }));
        self.wait_for_bookies(now);
        self.advance(now, fx);
    }

    /// Decides what can be decided, asks for what is missing, closes when all is done.
    fn advance(&mut self, now: Now, fx: &mut RecoveryEffects) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        let window = usize::try_from(self.options.window_entries.max(1)).unwrap_or(usize::MAX);
        while !copying.end_found && copying.write_back.len() < window {
            match copying.reads.take_next() {
                TailStep::Entry(data) => copying.write_back.push(now, data, &mut self.ids, fx),
                TailStep::End => copying.end_found = true,
                TailStep::Wait => {
                    copying.reads.ask(IncludeSilent::No, &mut self.ids, fx);
                    break;
                }
            }
        }
        let early = self.options.seeded.has(SeededBug::CloseBeforeWriteBack);
        if copying.end_found && (copying.write_back.len() == 0 || early) {
            assert!(copying.write_back.len() == 0 || early, "LedgerRecovery I3: everything is written back");
            let closed = copying.closed_metadata();
            let cas = MetadataCas::start(&mut self.ids, self.ledger, self.version, closed, now, fx);
            self.phase = Phase::Closing(Box::new(cas));
        }
    }

    /// The bookies asked have had their time.
    fn retry(&mut self, now: Now, fx: &mut RecoveryEffects) {
        self.attempts = if self.progressed { 0 } else { self.attempts + 1 };
        if self.attempts > self.options.attempts_max {
            return self.fail(RecoveryError::BookiesUnavailable { ledger: self.ledger }, fx);
        }
        self.wait_for_bookies(now);
        self.send_fences(fx);
        let Phase::Copying(copying) = &mut self.phase else { return };
        let changed = copying.write_back.on_deadline(now, &mut self.placement, &mut self.ids, fx);
        if changed && self.options.seeded.has(SeededBug::RecoveryReadsItsOwnEnsemble) {
            copying.reads.read_from(copying.write_back.metadata().last_fragment().bookies.clone());
        }
        copying.reads.give_up_waiting();
        if !copying.end_found {
            copying.reads.ask(IncludeSilent::Yes, &mut self.ids, fx);
        }
        self.advance(now, fx);
    }

    fn wait_for_bookies(&mut self, now: Now) {
        self.progressed = false;
        self.deadline = now.mono + self.options.request_timeout;
    }

    fn fail(&mut self, error: RecoveryError, fx: &mut RecoveryEffects) {
        self.phase = Phase::Ended; // I5
        fx.push(LedgerEffect::Event(RecoveryEvent::Failed(error)));
    }
}

impl Copying {
    /// Entries below `start` were not read: their length is estimated from those that were.
    fn closed_metadata(&self) -> LedgerMetadata {
        let last_entry = self.write_back.last_entry();
        let unread = self.start.previous().count();
        let read = last_entry.count().saturating_sub(unread);
        let bytes = self.write_back.bytes();
        let length = bytes + bytes.checked_div(read).unwrap_or(0).saturating_mul(unread);
        let closed = self.write_back.metadata().closed_at(last_entry, length);
        // Where every copy is needed for the ack quorum, none can lack.
        let unchecked = last_entry >= EntryId(0) && closed.replication.vacancies_max() > 0;
        LedgerMetadata { unchecked, ..closed }
    }
}
