//! Reads confirmed entries of one ledger, from whichever copy answers.
//!
//! **What**  A read goes to one bookie with a copy; on a negative or an unclear answer it goes on to the next copy at once.
//! A bookie that does not answer within `speculate_after` is not given up: the next copy is asked as well, and the first
//! good answer wins. So one slow bookie costs a read that pause, not its timeout. Where entries are striped over the ensemble or the range crosses fragments, the parts are asked for one after
//! the other and merged.
//!
//! **States** (of each read)  Asked → Asked (one more copy, next copy, next part) → done.
//!
//! **Invariants**
//! - I1  a read gives consecutive entries, the first being the one asked for, and at least one of them or an error.
//! - I2  no answer is given above a closed ledger's last entry.
//! - I3  an entry is called lost only when every slot of its write set explicitly denied it (B5, B8) or is vacant.
//! - I4  reads under way ≤ `options.reads_max`; each asks every copy of a part at most once.
//! - I5  a part is asked of one more bookie only when one asked said no, gave nothing usable, or was silent for
//!   `speculate_after`; only the first good answer counts.
//!
//! **Not here**  Caching, reading ahead, retrying a read that failed on every copy (`managed`).
//!
//! **Tests**  `reader/tests.rs`; the simulator in `tests/` reads everything back.

#[cfg(test)]
mod tests;

use crate::answer::follows;
use crate::{LedgerEffect, LedgerMetadata, LedgerState, RequestIds, SlotSet};
use base::{Effects, EntryData, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse, ReadOutcome, StoredEntry};

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

/// A request under way for one part of a read.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    to: NodeId,
    slot: u32,
    /// Entries asked for, from `next` on.
    count: u32,
    /// When it is given up.
    deadline: Mono,
    /// When the next copy is asked as well; `None` once that happened.
    speculate_at: Option<Mono>,
}

#[derive(Debug)]
struct Read {
    id: ReadId,
    next: EntryId,
    /// The last entry wanted.
    last: EntryId,
    bytes_left: u32,
    found: Vec<(EntryId, EntryData)>,
    /// The bookies that may still answer for `next`.
    asked: Vec<Asked>,
    /// Slots asked for `next` so far, and those of them that denied it.
    tried: SlotSet,
    denied: SlotSet,
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
        let (tried, denied) = (SlotSet::EMPTY, SlotSet::EMPTY);
        let read =
            Read { id, next: from, last, bytes_left: bytes_max, found: Vec::new(), asked: Vec::new(), tried, denied };
        self.go_on(now, read, fx);
        Ok(id)
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut ReaderEffects) {
        let BookieResponse::Read { id, outcome, .. } = response else { return };
        let waits = |asked: &Asked| asked.id == id && asked.to == from;
        let Some(index) = self.reads.iter().position(|read| read.asked.iter().any(waits)) else { return };
        let mut read = self.reads.swap_remove(index);
        let Some(asked) = read.asked.iter().position(waits).map(|index| read.asked.swap_remove(index)) else { return };
        match outcome {
            ReadOutcome::Entries(entries) if follows(&entries, read.next) => {
                if read.take_entries(entries, asked.count) { self.finish(read, fx) } else { self.go_on(now, read, fx) }
            }
            ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger => {
                read.denied.insert(asked.slot);
                self.go_on(now, read, fx);
            }
            ReadOutcome::Entries(_) | ReadOutcome::Unknown => self.go_on(now, read, fx),
        }
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
        let asked = self.reads.iter().flat_map(|read| &read.asked);
        asked.fold(None, |first, asked| earliest(first, Some(asked.next_deadline())))
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut ReaderEffects) {
        let overdue = |read: &Read| read.asked.iter().any(|asked| asked.next_deadline() <= now.mono);
        while let Some(index) = self.reads.iter().position(overdue) {
            let mut read = self.reads.swap_remove(index);
            read.asked.retain(|asked| asked.deadline > now.mono);
            for asked in &mut read.asked {
                asked.speculate_at = asked.speculate_at.filter(|at| *at > now.mono); // I5
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

    fn bookie_of(&self, read: &Read, slot: u32) -> Option<NodeId> {
        self.metadata.fragment_of(read.next).bookies.get(usize::try_from(slot).ok()?).copied()
    }

    /// Asks the next copy of the next part; without one it waits for those asked, or ends the read.
    fn go_on(&mut self, now: Now, mut read: Read, fx: &mut ReaderEffects) {
        let replication = self.metadata.replication;
        let vacant = self.metadata.fragment_of(read.next).vacant();
        let untried = replication.write_set(read.next).without(read.tried).without(vacant);
        let next = self.choose(&read, untried).and_then(|slot| Some((slot, self.bookie_of(&read, slot)?)));
        let Some((slot, to)) = next else {
            return if read.asked.is_empty() { self.finish(read, fx) } else { self.reads.push(read) };
        };
        let run = replication.run_length(read.next, slot).unwrap_or(u32::MAX);
        let end = self.metadata.fragment_end(read.next).unwrap_or(EntryId(i64::MAX)).min(read.last.next());
        let count = u32::try_from(end.0 - read.next.0).unwrap_or(u32::MAX).min(run);
        assert!(count >= 1 && read.next <= read.last, "LedgerReader I1: something is left to read");
        let (id, ledger, bytes_max) = (self.ids.allocate(), self.ledger, read.bytes_left);
        let request = BookieRequest::Read { id, ledger, from: read.next, entries_max: count, bytes_max, fence: false };
        fx.push(LedgerEffect::Bookie { to, request });
        assert!(!read.tried.contains(slot), "LedgerReader I4: slot {slot} is asked once for {}", read.next);
        read.tried.insert(slot);
        let deadline = now.mono + self.options.read_timeout;
        // One who was silent has had its time: from now on the newest is watched (I5).
        read.asked.iter_mut().for_each(|asked| asked.speculate_at = None);
        let more = !untried.without(SlotSet::from_iter([slot])).is_empty();
        let speculate_at = Some(now.mono + self.options.speculate_after).filter(|at| more && *at < deadline);
        read.asked.push(Asked { id, to, slot, count, deadline, speculate_at });
        assert!(self.reads.len() < self.options.reads_max, "LedgerReader I4: room for the read under way");
        self.reads.push(read);
    }

    /// Of those not avoided: the preferred bookie if it has a copy, else the slot that holds the longest run; entries held by all are spread.
    fn choose(&self, read: &Read, candidates: SlotSet) -> Option<u32> {
        let replication = self.metadata.replication;
        let avoided = |slot: &u32| self.bookie_of(read, *slot).is_some_and(|node| self.avoided.contains(&node));
        let good: SlotSet = candidates.iter().filter(|slot| !avoided(slot)).collect();
        let candidates = if good.is_empty() { candidates } else { good };
        let preferred =
            |slot: &u32| self.options.prefer.is_some() && self.bookie_of(read, *slot) == self.options.prefer;
        let by_run = || (0..replication.write_quorum()).rev().map(|copy| replication.slot(read.next, copy));
        candidates.iter().find(preferred).or_else(|| by_run().find(|slot| candidates.contains(*slot)))
    }

    fn finish(&mut self, read: Read, fx: &mut ReaderEffects) {
        let (ledger, entry) = (self.ledger, read.next);
        let vacant = self.metadata.fragment_of(entry).vacant();
        let lost = self.metadata.replication.write_set(entry).without(vacant).without(read.denied).is_empty(); // I3
        let result = match read.found.is_empty() {
            false => Ok(read.found), // I1
            true if lost => Err(ReadError::Lost { ledger, entry }),
            true => Err(ReadError::Unavailable { ledger, entry }),
        };
        fx.push(LedgerEffect::Event(ReaderEvent::ReadDone { id: read.id, result }));
    }
}

impl Asked {
    fn next_deadline(&self) -> Mono {
        self.speculate_at.unwrap_or(self.deadline).min(self.deadline)
    }
}

impl Read {
    /// Takes an answer to a request for `count` entries; true when the read is done with it.
    fn take_entries(&mut self, entries: Vec<StoredEntry>, count: u32) -> bool {
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let short = entries.len() < wanted;
        for stored in entries.into_iter().take(wanted) {
            assert!(stored.entry == self.next && self.next <= self.last, "LedgerReader I1: {} follows", stored.entry);
            self.bytes_left = self.bytes_left.saturating_sub(u32::try_from(stored.data.len()).unwrap_or(u32::MAX));
            self.found.push((stored.entry, stored.data));
            self.next = self.next.next();
        }
        (self.tried, self.denied) = (SlotSet::EMPTY, SlotSet::EMPTY);
        self.asked.clear(); // I5: late answers of the others find nobody.
        // A short answer is full of bytes, or the next entry is on other copies only: the caller asks again from there.
        short || self.bytes_left == 0 || self.next > self.last
    }
}
