//! Reads confirmed entries of one ledger, from whichever copy answers.
//!
//! **What**  A read is cut into parts, each a run of entries that one bookie holds: one part where every bookie of the
//! ensemble holds everything, several where entries are striped over it or the range crosses fragments. The first part
//! goes out alone; once the size of its entries is known, as many more go out at once as `bytes_max` has room for. A part
//! goes to one bookie with a copy; on a negative or an unclear answer it goes on to the next copy at once. A bookie that
//! does not answer within `speculate_after` is not given up: the next copy is asked as well, and the first good answer
//! wins. So one slow bookie costs a read that pause, not its timeout.
//!
//! **States** (of each part)  Asked → Asked (one more copy, next copy) → over: complete, short or without an answer. A
//! read is done when its first part that is not complete is over.
//!
//! **Invariants**
//! - I1  a read gives consecutive entries, the first being the one asked for, and at least one of them or an error.
//! - I2  no answer is given above a closed ledger's last entry.
//! - I3  an entry is called lost only when every slot of its write set explicitly denied it (B5, B8) or is vacant.
//! - I4  reads under way ≤ `options.reads_max`, each in at most [`PARTS_MAX`] parts; a part asks every copy at most once.
//! - I5  a part is asked of one more bookie only when one asked said no, gave nothing usable, or was silent for
//!   `speculate_after`; only the first good answer counts.
//!
//! **Not here**  Caching, reading ahead, retrying a read that failed on every copy (`managed`).
//!
//! **Tests**  `reader/tests.rs`; the simulator in `tests/` reads everything back.

mod parts;
#[cfg(test)]
mod tests;

use crate::answer::follows;
use crate::{LedgerEffect, LedgerMetadata, LedgerState, RequestIds, SlotSet};
use base::{Effects, EntryData, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use parts::{Asked, Part, Read};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse, ReadOutcome};

/// Parts of one read that are asked for at the same time.
const PARTS_MAX: usize = 16;

/// What a reader asks for.
pub type ReaderEffects = Effects<LedgerEffect<ReaderEvent>>;

/// Bounds and times of one reader.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    /// A copy that does not answer for so long is given up.
    pub read_timeout: Duration,
    /// When the copy asked last has not answered for so long, the next one is asked as well. At or above `read_timeout`
    /// copies are asked one after the other.
    pub speculate_after: Duration,
    /// Reads under way at the same time.
    pub reads_max: usize,
    /// The bookie to ask first where it has a copy, such as the one on this node.
    pub prefer: Option<NodeId>,
}

/// Names one read of one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What a reader tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderEvent {
    /// Consecutive entries, the first is the one asked for; at least one, possibly fewer than asked for.
    ReadDone { id: ReadId, result: Result<Vec<(EntryId, EntryData)>, ReadError> },
}

/// Why a read gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("entry {entry} of ledger {ledger} is beyond its end; read at or below the last confirmed entry")]
    BeyondEnd { ledger: LedgerId, entry: EntryId },
    #[error("the reader of ledger {ledger} has all its reads under way; wait for one to end")]
    Busy { ledger: LedgerId },
    #[error("no bookie with a copy of entry {entry} of ledger {ledger} answers; try again")]
    Unavailable { ledger: LedgerId, entry: EntryId },
    #[error("entry {entry} of ledger {ledger} is lost: no bookie of its write set has it")]
    Lost { ledger: LedgerId, entry: EntryId },
}

impl ReadError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Busy { .. } => ErrorClass::Retry { after: Duration::from_millis(10) },
            Self::Unavailable { .. } => ErrorClass::Retry { after: Duration::from_millis(200) },
            Self::BeyondEnd { .. } | Self::Lost { .. } => ErrorClass::Fatal,
        }
    }
}

/// The reader of one ledger, open or closed.
#[derive(Debug)]
pub struct LedgerReader {
    ids: RequestIds,
    ledger: LedgerId,
    metadata: LedgerMetadata,
    options: ReaderOptions,
    /// Bookies that are asked only when no other copy is left.
    avoided: BTreeSet<NodeId>,
    next_read: u64,
    reads: Vec<Read>,
}

impl LedgerReader {
    pub fn new(ids: RequestIds, ledger: LedgerId, metadata: LedgerMetadata, options: ReaderOptions) -> Self {
        Self { ids, ledger, metadata, options, avoided: BTreeSet::new(), next_read: 0, reads: Vec::new() }
    }

    /// Reads up to `entries_max` entries and about `bytes_max` bytes (at least one entry) from `from` on. In a ledger
    /// that is not closed the caller asks only for confirmed entries: `from + entries_max − 1` ≤ LAC.
    ///
    /// # Errors
    /// [`ReadError::BeyondEnd`] and [`ReadError::Busy`] at once; the others come with the event.
    pub fn read(
        &mut self,
        now: Now,
        from: EntryId,
        entries_max: u32,
        bytes_max: u32,
        fx: &mut ReaderEffects,
    ) -> Result<ReadId, ReadError> {
        let end = match self.metadata.state {
            LedgerState::Closed { last_entry, .. } => last_entry, // I2
            LedgerState::Open | LedgerState::InRecovery => EntryId(i64::MAX - 1),
        };
        if from < EntryId(0) || from > end {
            return Err(ReadError::BeyondEnd { ledger: self.ledger, entry: from });
        }
        if self.reads.len() >= self.options.reads_max {
            return Err(ReadError::Busy { ledger: self.ledger }); // I4
        }
        let id = ReadId(self.next_read);
        self.next_read += 1;
        let last = EntryId(from.0.saturating_add(i64::from(entries_max.max(1)) - 1)).min(end);
        self.go_on(now, Read::new(id, from, last, bytes_max), fx);
        Ok(id)
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut ReaderEffects) {
        let BookieResponse::Read { id, outcome, .. } = response else { return };
        let Some(index) = self.reads.iter().position(|read| read.part_that_asked(id, from).is_some()) else { return };
        let mut read = self.reads.swap_remove(index);
        let Some((part, asked)) = read.part_that_asked(id, from) else { return };
        let part = &mut read.parts[part];
        let asked = part.asked.swap_remove(asked);
        match outcome {
            ReadOutcome::Entries(entries) if follows(&entries, part.next) => part.take_entries(entries, asked.count),
            ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger => drop(part.denied.insert(asked.slot)),
            ReadOutcome::Entries(_) | ReadOutcome::Unknown => {}
        }
        if part.may_get_more() {
            self.ask(now, part, fx);
        }
        self.go_on(now, read, fx);
    }

    /// New metadata of the same ledger: another ensemble, or its end.
    pub fn set_metadata(&mut self, metadata: LedgerMetadata) {
        self.metadata = metadata;
    }

    /// These bookies are asked only when no other copy is left: they are down or in doubt.
    pub fn avoid(&mut self, bookies: BTreeSet<NodeId>) {
        self.avoided = bookies;
    }

    /// For an owner in this crate that asks more than reads.
    pub(crate) fn ids(&mut self) -> &mut RequestIds {
        &mut self.ids
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        let asked = self.reads.iter().flat_map(|read| &read.parts).flat_map(|part| &part.asked);
        asked.fold(None, |first, asked| earliest(first, Some(asked.next_deadline())))
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut ReaderEffects) {
        let is_overdue = |part: &Part| part.asked.iter().any(|asked| asked.next_deadline() <= now.mono);
        while let Some(index) = self.reads.iter().position(|read| read.parts.iter().any(is_overdue)) {
            let mut read = self.reads.swap_remove(index);
            for part in read.parts.iter_mut().filter(|part| is_overdue(part)) {
                part.asked.retain(|asked| asked.deadline > now.mono);
                for asked in &mut part.asked {
                    asked.speculate_at = asked.speculate_at.filter(|at| *at > now.mono); // I5
                }
                self.ask(now, part, fx);
            }
            self.go_on(now, read, fx);
        }
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, id: RequestId) -> bool {
        self.ids.owns(id)
    }

    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// Reads under way.
    pub fn reads(&self) -> usize {
        self.reads.len()
    }

    fn bookie_of(&self, entry: EntryId, slot: u32) -> Option<NodeId> {
        self.metadata.fragment_of(entry).bookies.get(usize::try_from(slot).ok()?).copied()
    }

    /// Takes what came, asks for more parts, and ends the read when it waits for nothing more.
    fn go_on(&mut self, now: Now, mut read: Read, fx: &mut ReaderEffects) {
        let mut goes_on = read.take_found();
        while goes_on && let Some(mut part) = read.next_part() {
            self.ask(now, &mut part, fx);
            goes_on = !(read.parts.is_empty() && part.is_silent());
            read.push(part);
        }
        if !goes_on || read.parts.is_empty() {
            return self.finish(read, fx);
        }
        assert!(self.reads.len() < self.options.reads_max, "LedgerReader I4: room for the read under way");
        self.reads.push(read);
    }

    /// Asks the next copy of a part, if there is one.
    fn ask(&mut self, now: Now, part: &mut Part, fx: &mut ReaderEffects) {
        let replication = self.metadata.replication;
        let vacant = self.metadata.fragment_of(part.next).vacant();
        let untried = replication.write_set(part.next).without(part.tried).without(vacant);
        let chosen = self.choose(part.next, untried).and_then(|slot| Some((slot, self.bookie_of(part.next, slot)?)));
        let Some((slot, to)) = chosen else { return };
        let run = replication.run_length(part.next, slot).unwrap_or(u32::MAX);
        let end = self.metadata.fragment_end(part.next).unwrap_or(EntryId(i64::MAX)).min(part.end);
        let count = u32::try_from(end.0 - part.next.0).unwrap_or(u32::MAX).min(run);
        assert!(count >= 1, "LedgerReader I1: something is left to read");
        let (id, ledger, bytes_max) = (self.ids.allocate(), self.ledger, part.bytes_max);
        let request = BookieRequest::Read { id, ledger, from: part.next, entries_max: count, bytes_max, fence: false };
        fx.push(LedgerEffect::Bookie { to, request });
        assert!(!part.tried.contains(slot), "LedgerReader I4: slot {slot} is asked once for {}", part.next);
        part.tried.insert(slot);
        let deadline = now.mono + self.options.read_timeout;
        // One who was silent has had its time: from now on the newest is watched (I5).
        part.asked.iter_mut().for_each(|asked| asked.speculate_at = None);
        let more = !untried.without(SlotSet::from_iter([slot])).is_empty();
        let speculate_at = Some(now.mono + self.options.speculate_after).filter(|at| more && *at < deadline);
        part.asked.push(Asked { id, to, slot, count, deadline, speculate_at });
    }

    /// Of those not avoided: the preferred bookie if it has a copy, else the slot that holds the longest run; entries held by all are spread.
    fn choose(&self, entry: EntryId, candidates: SlotSet) -> Option<u32> {
        let replication = self.metadata.replication;
        let avoided = |slot: &u32| self.bookie_of(entry, *slot).is_some_and(|node| self.avoided.contains(&node));
        let good: SlotSet = candidates.iter().filter(|slot| !avoided(slot)).collect();
        let candidates = if good.is_empty() { candidates } else { good };
        let preferred =
            |slot: &u32| self.options.prefer.is_some() && self.bookie_of(entry, *slot) == self.options.prefer;
        let by_run = || (0..replication.write_quorum()).rev().map(|copy| replication.slot(entry, copy));
        candidates.iter().find(preferred).or_else(|| by_run().find(|slot| candidates.contains(*slot)))
    }

    fn finish(&mut self, read: Read, fx: &mut ReaderEffects) {
        let ledger = self.ledger;
        let result = match read.parts.front() {
            Some(part) if read.found.is_empty() => {
                let (entry, vacant) = (part.next, self.metadata.fragment_of(part.next).vacant());
                let may_exist = self.metadata.replication.write_set(entry).without(vacant).without(part.denied);
                let lost = may_exist.is_empty(); // I3
                Err(if lost { ReadError::Lost { ledger, entry } } else { ReadError::Unavailable { ledger, entry } })
            }
            Some(_) | None => Ok(read.found), // I1
        };
        fx.push(LedgerEffect::Event(ReaderEvent::ReadDone { id: read.id, result }));
    }
}
