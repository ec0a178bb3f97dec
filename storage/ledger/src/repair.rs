//! Gives the entries of a ledger back the copies that a lost bookie took away.
//!
//! **What**  [`RepairWork::Replace`]: in every settled fragment that names a lost bookie, each entry of that bookie is read from
//! the other copies and written to a replacement, then the replacement takes its place in the metadata. Vacant seats get
//! bookies in the same way.
//! [`RepairWork::Refill`]: a bookie that may have lost data gets its entries again and is then told that it is repaired.
//! A fragment is settled when no writer or recovery adds to it any more: all but the last one of a ledger that is not closed.
//!
//! A replacement is asked first what it lacks: it may have much of the fragment from a repair that did not come to its end.
//! An entry that no copy gives keeps nothing else waiting: it is passed over, and in the end the repair fails and names what
//! is missing. The replacement then takes its place before and behind such entries, which become a fragment of their own.
//!
//! **States**  Copying (`copying`) → Swapping (compare-and-put) → the next fragment → … → Telling (refill only) → Ended.
//!
//! **Invariants**
//! - I1  the last fragment of a ledger that is not closed is never touched: its writer may still confirm entries there.
//! - I2  a bookie takes a place in the metadata only when every entry of that place is durable on it; it is told that it is
//!   repaired only when nothing was passed over.
//! - I3  a swap changes nothing but lost bookies of one settled fragment, or of parts of it, by compare-and-put on the version
//!   that it was planned with. Whatever else happened meanwhile (a recovery, another repair, a close) the plan is made anew.
//! - I4  nothing but copies of confirmed entries is ever written, so stopping anywhere, starting over and a second repair at
//!   the same time are harmless.
//! - I5  over any time, entries are read at no more than `bytes_per_s` and one batch; one batch is in memory.
//! - I6  after Ended nothing is sent.
//! - I7  a repair divides a fragment into at most [`PARTS_MAX`] parts, and no ledger beyond [`FRAGMENTS_MAX`] fragments.
//!
//! **Not here**  Finding out what is lost ([`crate::UnderReplication`]), deciding when to repair and in which order (the owner),
//! closing ledgers whose writer is gone (`recovery`).
//!
//! **Tests**  `repair/tests.rs`; the simulator in `tests/` kills repairs and runs two at once.

mod copying;
mod error;
mod search;
mod targets;
#[cfg(test)]
mod tests;
mod work;

use crate::cas::{CasVerdict, MetadataCas};
use crate::{
    LedgerEffect, LedgerMetadata, LedgerReader, LedgerState, MetadataOutcome, ReaderEvent, ReaderOptions, RequestIds,
    Seeded, SeededBug, VACANT, VersionedMetadata,
};
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use copying::{Copying, Step};
pub use error::RepairError;
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse, EntryRange};
pub use work::{RepairEvent, RepairOptions, RepairWork};

/// Parts that a fragment is divided into where some of its entries cannot be read. With more, all of it waits for them.
const PARTS_MAX: usize = 33;
/// Fragments of a ledger that a repair divides no further.
const FRAGMENTS_MAX: usize = 500;

/// What a repair asks for.
pub type RepairEffects = Effects<LedgerEffect<RepairEvent>>;

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
    /// Timeouts in a row.
    attempts: u32,
    /// Failed reads in a row; above the bound for good once something was passed over.
    unread: u32,
    /// The question whether the ledger is still there: bookies that deny an entry may have been told that it is not.
    looked: Option<RequestId>,
    /// What was passed over in the fragments that are done.
    unreadable: Vec<EntryRange>,
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
            attempts: 0,
            unread: 0,
            looked: None,
            unreadable: Vec::new(),
            paced_until,
            entries: 0,
            bytes: 0,
        };
        repair.next_fragment(now, fx);
        repair
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut RepairEffects) {
        match (&mut self.phase, response) {
            (Phase::Copying(copying), BookieResponse::Added { id, entry, outcome, .. }) if self.reader.owns(id) => {
                match copying.handle_added(from, entry, outcome) {
                    Ok(None) => (),
                    Ok(Some(bytes)) => {
                        (self.entries, self.bytes) = (self.entries + 1, self.bytes + bytes as u64);
                        self.attempts = 0;
                    }
                    Err(bookie) => {
                        return self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie }, fx);
                    }
                }
                self.advance(now, fx);
            }
            (Phase::Copying(copying), BookieResponse::Missing { id, until, ranges, .. }) if self.reader.owns(id) => {
                copying.handle_missing(now, id, until, ranges);
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
            // It has lost or met something since, cannot say, or has too much to do: others need not wait for it.
            (Phase::Telling { id: told, .. }, BookieResponse::Repaired { id, .. }) if *told == id => {
                if let RepairWork::Refill { bookie, .. } = self.work {
                    self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie }, fx);
                }
            }
            // Late answers.
            (Phase::Copying(_) | Phase::Swapping { .. } | Phase::Telling { .. } | Phase::Ended, _) => (),
        }
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, now: Now, id: RequestId, outcome: MetadataOutcome, fx: &mut RepairEffects) {
        if self.looked == Some(id) && !matches!(self.phase, Phase::Ended) {
            self.looked = None;
            // Any other change is met by the next swap (I3).
            if outcome == MetadataOutcome::Current(None) {
                self.end(RepairEvent::Deleted, fx);
            }
            return;
        }
        let Phase::Swapping { cas, .. } = &mut self.phase else { return };
        match cas.handle(self.reader.ids(), now, id, outcome, fx) {
            CasVerdict::Pending => (),
            CasVerdict::Won { version } => {
                let metadata = cas.proposed().clone();
                self.adopt(VersionedMetadata { metadata, version });
                if let Phase::Swapping { copied, .. } = std::mem::replace(&mut self.phase, Phase::Ended) {
                    self.fragment_done(now, &copied, fx);
                }
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
                self.retry(now, fx);
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

    /// Copies that are durable so far, and their bytes.
    pub fn copied(&self) -> (u64, u64) {
        (self.entries, self.bytes)
    }

    /// When what was read so far is paid for (I5).
    pub fn paid_at(&self) -> Mono {
        self.paced_until
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
                    let lacks = match &self.work {
                        RepairWork::Replace { .. } => None,
                        RepairWork::Refill { missing, .. } => Some(&missing[..]),
                    };
                    let copying = Copying::new(ledger, replication, self.options, (first, end), targets, lacks);
                    self.phase = Phase::Copying(Box::new(copying));
                    return self.advance(now, fx);
                }
                (None, RepairWork::Refill { .. }) if self.unreadable.is_empty() => return self.tell(now, fx),
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
            Step::Ask => drop(copying.ask(now, self.reader.ids(), fx)),
            Step::Read { from, entries_max } => {
                let mut inner = Effects::new();
                let bytes = self.options.batch_bytes;
                let read = self.reader.read(now, from, entries_max, bytes, &mut inner);
                assert!(read.is_ok(), "LedgerRepair I5: one read at a time, within the ledger: {read:?}");
                self.pass_on(now, inner, fx);
            }
            Step::Copied => self.copied_fragment(now, fx),
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
                    copying.write(now, entries, self.reader.ids(), fx);
                    self.unread = if self.unread > self.options.attempts_max { self.unread } else { 0 };
                }
                Err(_) if copying.is_unbounded() => copying.end_here(),
                Err(_) => {
                    if self.unread == 0 {
                        let id = self.reader.ids().allocate();
                        self.looked = Some(id);
                        fx.push(LedgerEffect::ReadMetadata { id, ledger: self.ledger });
                    }
                    self.unread = self.unread.saturating_add(1);
                    if self.unread > self.options.attempts_max {
                        let bookies = sources(&self.metadata, copying);
                        copying.pass_over(now, &bookies, self.reader.ids(), fx);
                    } else {
                        copying.pause(now);
                    }
                }
            }
            return self.advance(now, fx);
        }
    }

    fn retry(&mut self, now: Now, fx: &mut RepairEffects) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        let Some(bookie) = copying.on_deadline(now, self.reader.ids(), fx) else { return };
        self.attempts += 1;
        if self.attempts > self.options.attempts_max {
            self.fail(RepairError::BookieUnavailable { ledger: self.ledger, bookie }, fx);
        }
    }

    /// Every entry of the fragment is where it should be, but for what was passed over.
    fn copied_fragment(&mut self, now: Now, fx: &mut RepairEffects) {
        let Phase::Copying(copied) = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        assert!(copied.is_complete() || self.options.seeded != Seeded::NONE, "LedgerRepair I2: every entry is written");
        match self.work {
            RepairWork::Refill { .. } => self.fragment_done(now, &copied, fx),
            RepairWork::Replace { .. } => self.swap(now, copied, fx),
        }
    }

    /// The metadata says from now on where the copies of the fragment are.
    fn swap(&mut self, now: Now, copied: Box<Copying>, fx: &mut RepairEffects) {
        let (first, seats, except) = (copied.first(), copied.seats(), copied.unreadable());
        let proposed = self.metadata.with_replaced(first, &seats, except);
        let parts = proposed.fragments.len() + 1 - self.metadata.fragments.len();
        if proposed == self.metadata || parts > PARTS_MAX || (parts > 1 && proposed.fragments.len() > FRAGMENTS_MAX) {
            return self.fragment_done(now, &copied, fx); // I7: the copies stay, and spare the next repair the work.
        }
        let settled = self.metadata.settled_end(first).is_some();
        assert!(settled || self.options.seeded != Seeded::NONE, "LedgerRepair I1: {first} is settled");
        let cas = MetadataCas::start(self.reader.ids(), self.ledger, self.version, proposed, now, fx);
        self.phase = Phase::Swapping { copied, cas: Box::new(cas) };
    }

    fn fragment_done(&mut self, now: Now, copied: &Copying, fx: &mut RepairEffects) {
        self.done_below = copied.end().max(copied.first().next());
        self.unreadable.extend(copied.unreadable());
        self.next_fragment(now, fx);
    }

    /// Something else was committed meanwhile. The copies still count when this fragment is as it was (I3).
    fn handle_lost(&mut self, now: Now, actual: VersionedMetadata, fx: &mut RepairEffects) {
        let Phase::Swapping { copied, .. } = std::mem::replace(&mut self.phase, Phase::Ended) else { return };
        let first = copied.first();
        let (before, after) = (self.metadata.fragment_of(first), actual.metadata.fragment_of(first));
        let same = before == after && actual.metadata.settled_end(first) == Some(copied.end());
        self.adopt(actual);
        if same {
            return self.swap(now, copied, fx);
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
        if let (Some(first), Some(last)) = (self.unreadable.first(), self.unreadable.last()) {
            let entries = self.unreadable.iter().map(|range| range.end.0.abs_diff(range.first.0)).sum();
            let (ledger, first, last) = (self.ledger, first.first, last.end.previous());
            return self.fail(RepairError::Unreadable { ledger, first, last, entries }, fx);
        }
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

/// Who may have copies for a fragment.
fn sources(metadata: &LedgerMetadata, copying: &Copying) -> BTreeSet<NodeId> {
    let seats = copying.seats();
    let bookies = metadata.fragment_of(copying.first()).bookies.iter().copied();
    bookies.filter(|node| *node != VACANT && !seats.iter().any(|(_, target)| target == node)).collect()
}

/// How long copying `bytes` takes at this rate.
fn pause(bytes: u64, bytes_per_s: u64) -> Duration {
    Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / bytes_per_s.max(1))
}
