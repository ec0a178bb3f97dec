//! Gives the entries of a ledger back the copies that a lost bookie took away.
//!
//! **What**  [`RepairWork::Replace`]: in every settled fragment that names a lost bookie, each entry of that bookie is read from
//! the other copies and written to a replacement, then the replacement takes its place in the metadata. Vacant seats get
//! bookies in the same way.
//! [`RepairWork::Refill`]: a bookie that may have lost data gets its entries again and is then told that it is repaired.
//! A fragment is settled when no writer or recovery adds to it any more: all but the last one of a ledger that is not closed.
//!
//! **States**  Pausing (pace, back-off) → Reading → Writing → Pausing → … → Swapping (compare-and-put) → the next fragment → … →
//! Telling (refill only) → Ended.
//!
//! **Invariants**
//! - I1  the last fragment of a ledger that is not closed is never touched: its writer may still confirm entries there.
//! - I2  a bookie takes a place in the metadata only when every entry of that place is durable on it.
//! - I3  a swap changes nothing but lost bookies of one settled fragment, by compare-and-put on the version that it was planned
//!   with. Whatever else happened meanwhile (a recovery, another repair, a close) the plan is made anew.
//! - I4  nothing but copies of confirmed entries is ever written, so stopping anywhere, starting over and a second repair at
//!   the same time are harmless.
//! - I5  over any time, entries are read at no more than `bytes_per_s` and one batch; one batch is in memory.
//! - I6  after Ended nothing is sent.
//!
//! **Not here**  Finding out what is lost ([`crate::UnderReplication`]), deciding when to repair and in which order (the owner),
//! closing ledgers whose writer is gone (`recovery`).
//!
//! **Tests**  `repair/tests.rs`; the simulator in `tests/` kills repairs and runs two at once.

mod copying;
mod error;
#[cfg(test)]
mod tests;

use crate::cas::{CasVerdict, MetadataCas};
use crate::{
    LedgerEffect, LedgerMetadata, LedgerReader, LedgerState, MetadataOutcome, Placement, ReaderEvent, ReaderOptions,
    RequestIds, Seeded, SeededBug, VACANT, VersionedMetadata,
};
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use copying::{Copying, Step};
pub use error::RepairError;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse, EntryRange};

/// What a repair asks for.
pub type RepairEffects = Effects<LedgerEffect<RepairEvent>>;

/// What is to be repaired.
#[derive(Clone, Debug)]
pub enum RepairWork {
    /// These bookies are lost: others, which the placement chooses, take their places and the vacant ones.
    Replace { lost: BTreeSet<NodeId>, placement: Placement },
    /// This bookie is back but lacks these entries (in order): it gets those again that it should have, and is told that
    /// the loss is made good. Only for closed ledgers.
    Refill { bookie: NodeId, loss: u32, missing: Vec<EntryRange> },
}

impl RepairWork {
    fn concerns(&self, node: NodeId) -> bool {
        match self {
            Self::Replace { lost, .. } => node == VACANT || lost.contains(&node),
            Self::Refill { bookie, .. } => *bookie == node,
        }
    }

    /// Of the entries `first..end`: whether a repair has any to copy.
    fn lacks_within(&self, first: EntryId, end: EntryId) -> bool {
        match self {
            Self::Replace { .. } => true,
            Self::Refill { missing, .. } => missing.iter().any(|range| range.first < end && range.end > first),
        }
    }
}

/// Bounds and times of one repair.
#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// A request that is not answered for so long is sent again.
    pub request_timeout: Duration,
    /// As in [`ReaderOptions`].
    pub speculate_after: Duration,
    /// So many timeouts or failed reads in a row without any progress end the repair as failed.
    pub attempts_max: u32,
    /// Bytes of entries read at once (at least one entry); as much is held in memory.
    pub batch_bytes: u32,
    /// How fast entries are copied, bytes per second; at least 1.
    pub bytes_per_s: u64,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

impl RepairOptions {
    /// What a server uses: 5 s per request, batches of 1 MiB, 16 MiB/s.
    pub fn standard() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            speculate_after: Duration::from_millis(200),
            attempts_max: 6,
            batch_bytes: 1 << 20,
            bytes_per_s: 16 << 20,
            seeded: Seeded::NONE,
        }
    }
}

/// How a repair ends; the last event of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairEvent {
    /// No settled fragment names a lost bookie any more, or the refilled bookie has what it should have.
    /// `unsettled`: the last fragment still does; its writer, or a recovery, has to replace it.
    Done {
        entries: u64,
        bytes: u64,
        unsettled: bool,
    },
    /// The ledger was deleted meanwhile. What was copied is an orphan on the bookies that got it.
    Deleted,
    Failed(RepairError),
}

#[derive(Debug)]
enum Phase {
    Copying(Box<Copying>),
    Swapping {
        copied: Box<Copying>,
        cas: Box<MetadataCas>,
    },
    /// The refilled bookie is told.
    Telling {
        id: RequestId,
        deadline: Mono,
    },
    Ended,
}

/// The repair of one ledger.
#[derive(Debug)]
pub struct LedgerRepair {
    ledger: LedgerId,
    metadata: LedgerMetadata,
    version: u64,
    work: RepairWork,
    options: RepairOptions,
    /// Reads the copies, and owns the ids of this machine.
    reader: LedgerReader,
    phase: Phase,
    /// Fragments that begin below this are done.
    done_below: EntryId,
    /// For some fragment there was no bookie.
    short: bool,
    /// Timeouts and failed reads in a row.
    attempts: u32,
    /// No read before this (I5).
    paced_until: Mono,
    entries: u64,
    bytes: u64,
}

impl LedgerRepair {
    /// Starts at once.
    pub fn start(
        ids: RequestIds,
        ledger: LedgerId,
        metadata: VersionedMetadata,
        work: RepairWork,
        options: RepairOptions,
        now: Now,
        fx: &mut RepairEffects,
    ) -> Self {
        let VersionedMetadata { metadata, version } = metadata;
        let RepairOptions { request_timeout: read_timeout, speculate_after, .. } = options;
        let reading = ReaderOptions { read_timeout, speculate_after, reads_max: 1, prefer: None };
        let mut reader = LedgerReader::new(ids, ledger, metadata.clone(), reading);
        reader.avoid(match &work {
            RepairWork::Replace { lost, .. } => lost.clone(),
            RepairWork::Refill { bookie, .. } => BTreeSet::from([*bookie]),
        });
        let (phase, done_below, paced_until) = (Phase::Ended, EntryId(0), now.mono);
        let (attempts, entries, bytes) = (0, 0, 0);
        let mut repair = Self {
            ledger,
            metadata,
            version,
            work,
            options,
            reader,
            phase,
            done_below,
            short: false,
            attempts,
            paced_until,
            entries,
            bytes,
        };
        repair.next_fragment(now, fx);
        repair
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut RepairEffects) {
        match (&mut self.phase, response) {
            (Phase::Copying(copying), BookieResponse::Added { id, entry, outcome, .. }) if self.reader.owns(id) => {
                match copying.handle_added(from, entry, outcome) {
                    Ok(progressed) => self.attempts = if progressed { 0 } else { self.attempts },
                    Err(bookie) => {
                        return self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie }, fx);
                    }
                }
                self.advance(now, fx);
            }
            (Phase::Copying(_), response @ BookieResponse::Read { .. }) => {
                let mut inner = Effects::new();
                self.reader.handle_bookie(now, from, response, &mut inner);
                self.pass_on(now, inner, fx);
            }
            (Phase::Telling { id: told, .. }, BookieResponse::Repaired { id, lifted: true, .. }) if *told == id => {
                self.done(fx);
            }
            // Late answers. A bookie that cannot lift its limbo yet is asked again at the deadline.
            (Phase::Copying(_) | Phase::Swapping { .. } | Phase::Telling { .. } | Phase::Ended, _) => (),
        }
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, now: Now, id: RequestId, outcome: MetadataOutcome, fx: &mut RepairEffects) {
        let Phase::Swapping { cas, .. } = &mut self.phase else { return };
        match cas.handle(self.reader.ids(), now, id, outcome, fx) {
            CasVerdict::Pending => (),
            CasVerdict::Won { version } => {
                let metadata = cas.proposed().clone();
                self.adopt(VersionedMetadata { metadata, version });
                self.next_fragment(now, fx);
            }
            CasVerdict::Lost(Some(actual)) => self.handle_lost(now, actual, fx),
            CasVerdict::Lost(None) => self.end(RepairEvent::Deleted, fx),
        }
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Copying(copying) => earliest(copying.next_deadline(), self.reader.next_deadline()),
            Phase::Swapping { cas, .. } => Some(cas.next_deadline()),
            Phase::Telling { deadline, .. } => Some(*deadline),
            Phase::Ended => None,
        }
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut RepairEffects) {
        match &mut self.phase {
            Phase::Ended => (),
            Phase::Copying(_) => {
                let mut inner = Effects::new();
                self.reader.on_deadline(now, &mut inner);
                self.pass_on(now, inner, fx);
                self.retry_writes(now, fx);
                self.advance(now, fx);
            }
            Phase::Swapping { cas, .. } => {
                cas.on_deadline(self.reader.ids(), now, fx);
                if cas.failures() > self.options.attempts_max {
                    self.fail(RepairError::MetadataUnavailable { ledger: self.ledger }, fx);
                }
            }
            Phase::Telling { deadline, .. } if now.mono < *deadline => (),
            Phase::Telling { .. } => {
                self.attempts += 1;
                self.tell(now, fx);
            }
        }
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, id: RequestId) -> bool {
        self.reader.owns(id)
    }

    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The metadata as last committed by or read by this repair.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// Entries and bytes copied so far.
    pub fn copied(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    fn adopt(&mut self, current: VersionedMetadata) {
        self.metadata = current.metadata;
        self.version = current.version;
        self.reader.set_metadata(self.metadata.clone());
    }

    /// Plans the next settled fragment that names a bookie to be repaired.
    fn next_fragment(&mut self, now: Now, fx: &mut RepairEffects) {
        let closed = self.metadata.closed().is_some();
        if matches!(self.work, RepairWork::Refill { .. }) && !closed {
            return self.fail(RepairError::NotClosed { ledger: self.ledger }, fx);
        }
        loop {
            let fragments = self.metadata.fragments.iter().filter(|fragment| fragment.first_entry >= self.done_below);
            let concerned = fragments.filter(|fragment| fragment.bookies.iter().any(|n| self.work.concerns(*n)));
            let mut ends = concerned.map(|fragment| (fragment.first_entry, self.settled_end(fragment.first_entry)));
            let next = ends.find(|(first, end)| end.is_none_or(|end| self.work.lacks_within(*first, end)));
            match (next, &self.work) {
                (Some((first, Some(end))), _) => {
                    let targets = self.pick_targets(first);
                    if targets.is_empty() {
                        (self.done_below, self.short) = (first.next(), true);
                        continue;
                    }
                    let (ledger, replication) = (self.ledger, self.metadata.replication);
                    let only = match &self.work {
                        RepairWork::Replace { .. } => None,
                        RepairWork::Refill { missing, .. } => Some(missing.clone()),
                    };
                    let copying = Copying::new(ledger, replication, self.options, (first, end), targets, only);
                    self.phase = Phase::Copying(Box::new(copying));
                    return self.advance(now, fx);
                }
                (None, RepairWork::Refill { .. }) => return self.tell(now, fx),
                (Some((_, None)) | None, _) => return self.done(fx),
            }
        }
    }

    /// One above the last entry of the fragment that begins at `first`; `None` while it may still grow (I1).
    fn settled_end(&self, first: EntryId) -> Option<EntryId> {
        let end = self.metadata.settled_end(first);
        let open = self.options.seeded.has(SeededBug::RepairOfOpenFragment);
        if open { end.or(Some(EntryId(i64::MAX - 1))) } else { end }
    }

    /// Who takes which seats of the fragment that begins at `first`; nobody when there is no bookie for any of them.
    fn pick_targets(&mut self, first: EntryId) -> Vec<(u32, NodeId)> {
        let mut bookies = self.metadata.fragment_of(first).bookies.clone();
        let concerned: Vec<NodeId> = bookies.iter().filter(|node| self.work.concerns(**node)).copied().collect();
        let mut targets = Vec::new();
        for (index, slot) in (0..bookies.len()).zip(0..) {
            if !concerned.contains(&bookies[index]) {
                continue;
            }
            let target = match &mut self.work {
                RepairWork::Refill { bookie, .. } => Some(*bookie),
                RepairWork::Replace { lost, placement } => {
                    let leaving: Vec<NodeId> = lost.iter().copied().collect();
                    placement.pick_replacement(&bookies, &leaving)
                }
            };
            if let Some(target) = target {
                bookies[index] = target;
                targets.push((slot, target));
            }
        }
        targets
    }

    /// Does the next thing that can be done now.
    fn advance(&mut self, now: Now, fx: &mut RepairEffects) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        match copying.next_step(now, self.paced_until) {
            Step::Wait => (),
            Step::Read { from, entries_max } => {
                let mut inner = Effects::new();
                let bytes = self.options.batch_bytes;
                let read = self.reader.read(now, from, entries_max, bytes, &mut inner);
                assert!(read.is_ok(), "LedgerRepair I5: one read at a time, within the ledger: {read:?}");
                self.pass_on(now, inner, fx);
            }
            Step::Copied => self.swap(now, fx),
        }
    }

    /// Passes the reader's requests on and takes what it has read.
    fn pass_on(&mut self, now: Now, mut inner: crate::ReaderEffects, fx: &mut RepairEffects) {
        for effect in inner.drain() {
            let result = match effect {
                LedgerEffect::Bookie { to, request } => {
                    fx.push(LedgerEffect::Bookie { to, request });
                    continue;
                }
                LedgerEffect::Event(ReaderEvent::ReadDone { result, .. }) => result,
                LedgerEffect::ReadMetadata { .. } | LedgerEffect::CasMetadata { .. } => {
                    unreachable!("LedgerRepair: a reader asks only bookies")
                }
            };
            let Phase::Copying(copying) = &mut self.phase else { return };
            match result {
                Ok(entries) => {
                    let bytes: u64 = entries.iter().map(|(_, data)| data.len() as u64).sum();
                    self.paced_until = self.paced_until.max(now.mono) + pause(bytes, self.options.bytes_per_s);
                    let copied = copying.write(now, entries, self.reader.ids(), fx);
                    (self.entries, self.bytes) = (self.entries + copied.0, self.bytes + copied.1);
                    self.attempts = 0;
                }
                Err(_) if copying.is_unbounded() => copying.end_here(),
                Err(_) => {
                    let entry = copying.read_failed(now);
                    self.attempts += 1;
                    if self.attempts > self.options.attempts_max {
                        return self.fail(RepairError::Unreadable { ledger: self.ledger, entry }, fx);
                    }
                }
            }
            return self.advance(now, fx);
        }
    }

    fn retry_writes(&mut self, now: Now, fx: &mut RepairEffects) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        let Some(bookie) = copying.resend_overdue(now, self.reader.ids(), fx) else { return };
        self.attempts += 1;
        if self.attempts > self.options.attempts_max {
            self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie }, fx);
        }
    }

    /// Every entry of the fragment is where it should be: the metadata says so from now on.
    fn swap(&mut self, now: Now, fx: &mut RepairEffects) {
        let Phase::Copying(copied) = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        assert!(copied.is_complete() || self.options.seeded != Seeded::NONE, "LedgerRepair I2: every entry is written");
        self.done_below = copied.first().next();
        if matches!(self.work, RepairWork::Refill { .. }) {
            return self.next_fragment(now, fx);
        }
        let proposed = self.metadata.with_replaced(copied.first(), copied.targets());
        let settled = self.metadata.settled_end(copied.first()).is_some();
        assert!(settled || self.options.seeded != Seeded::NONE, "LedgerRepair I1: {} is settled", copied.first());
        let cas = MetadataCas::start(self.reader.ids(), self.ledger, self.version, proposed, now, fx);
        self.phase = Phase::Swapping { copied, cas: Box::new(cas) };
    }

    /// Something else was committed meanwhile. The copies still count when this fragment is as it was (I3).
    fn handle_lost(&mut self, now: Now, actual: VersionedMetadata, fx: &mut RepairEffects) {
        let Phase::Swapping { copied, .. } = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        let first = copied.first();
        let (before, after) = (self.metadata.fragment_of(first), actual.metadata.fragment_of(first));
        let same = before == after && actual.metadata.settled_end(first) == Some(copied.end());
        self.adopt(actual);
        if same {
            self.phase = Phase::Copying(copied);
            return self.swap(now, fx);
        }
        self.done_below = first;
        self.next_fragment(now, fx);
    }

    /// The refilled bookie has everything.
    fn tell(&mut self, now: Now, fx: &mut RepairEffects) {
        let RepairWork::Refill { bookie: to, loss, .. } = self.work else { return };
        if self.attempts > self.options.attempts_max {
            return self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie: to }, fx);
        }
        let id = self.reader.ids().allocate();
        fx.push(LedgerEffect::Bookie { to, request: BookieRequest::Repaired { id, ledger: self.ledger, loss } });
        self.phase = Phase::Telling { id, deadline: now.mono + self.options.request_timeout };
    }

    fn done(&mut self, fx: &mut RepairEffects) {
        if self.short {
            return self.fail(RepairError::NoReplacement { ledger: self.ledger }, fx);
        }
        let last = self.metadata.last_fragment();
        let open = !matches!(self.metadata.state, LedgerState::Closed { .. });
        let unsettled = open && last.bookies.iter().any(|node| self.work.concerns(*node));
        self.end(RepairEvent::Done { entries: self.entries, bytes: self.bytes, unsettled }, fx);
    }

    fn fail(&mut self, error: RepairError, fx: &mut RepairEffects) {
        self.end(RepairEvent::Failed(error), fx);
    }

    fn end(&mut self, event: RepairEvent, fx: &mut RepairEffects) {
        self.phase = Phase::Ended; // I6
        fx.push(LedgerEffect::Event(event));
    }
}

/// How long copying `bytes` takes at this rate.
fn pause(bytes: u64, bytes_per_s: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / bytes_per_s.max(1))
}
