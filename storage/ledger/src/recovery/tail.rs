//! Finds the entries above the known LAC by fencing reads, one after the other, until one cannot have been confirmed.
//!
//! **What**  Every slot of an entry's write set is asked; one answer may carry many entries. An entry with an ack quorum
//! of copies is recoverable. So is one with a single copy when every other slot of its write set stays silent: it may
//! have been confirmed, and writing it back before the close makes it true either way (B6). An entry without any copy is
//! waited for until enough slots deny it.
//!
//! **Invariants**
//! - I1  the ledger ends only at an entry that `write_quorum − ack_quorum + 1` slots of its write set explicitly deny.
//! - I2  silence, damage, overload and limbo are neither yes nor no (B5, B8).
//! - I3  reads go to the ensemble that the writer wrote to, and they fence (B3).
//! - I4  answers kept in memory ≤ `window_entries` per slot, all at or above `next`.
//! - I5  a vacant seat denies every entry: the writer counted nobody there.
//!
//! **Tests**  the table below; the simulator in `tests/`.

use super::{RecoveryEffects, RecoveryOptions};
use crate::answer::follows;
use crate::{LedgerEffect, ReadTally, ReadVerdict, ReplicationConfig, RequestIds, Seeded, SeededBug, SlotSet, VACANT};
use base::{EntryData, EntryId, LedgerId, NodeId, RequestId};
use std::collections::BTreeMap;
use wire::bookie::{BookieRequest, ReadOutcome, StoredEntry};

/// What is known of the next entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TailStep {
    /// It has to survive.
    Entry(EntryData),
    /// It cannot have been confirmed: the ledger ends before it.
    End,
    /// Not known yet.
    Wait,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Asked {
    id: RequestId,
    from: EntryId,
}

#[derive(Clone, Debug, Hash)]
struct Answers {
    tally: ReadTally,
    data: Option<EntryData>,
}

/// The fencing reads of one recovery.
#[derive(Clone, Debug, Hash)]
pub(super) struct TailReads {
    ledger: LedgerId,
    replication: ReplicationConfig,
    options: RecoveryOptions,
    bookies: Vec<NodeId>,
    next: EntryId,
    answers: BTreeMap<EntryId, Answers>,
    /// Per slot, the read under way.
    asked: Vec<Option<Asked>>,
    /// Slots whose last read brought no clear answer.
    silent: SlotSet,
    /// Slots where nobody sits.
    vacant: SlotSet,
}

impl TailReads {
    pub(super) fn new(
        ledger: LedgerId,
        replication: ReplicationConfig,
        options: RecoveryOptions,
        bookies: Vec<NodeId>,
        next: EntryId,
    ) -> Self {
        let asked = vec![None; bookies.len()];
        let (answers, silent) = (BTreeMap::new(), SlotSet::EMPTY);
        let vacant = (0..).zip(&bookies).filter(|(_, node)| **node == VACANT).map(|(slot, _)| slot).collect();
        Self { ledger, replication, options, bookies, next, answers, asked, silent, vacant }
    }

    /// Asks the slots that may know the next entry and have not been asked; silent ones only when told to.
    pub(super) fn ask(&mut self, include_silent: IncludeSilent, ids: &mut RequestIds, fx: &mut RecoveryEffects) {
        let from = self.next;
        let mut slots = self.answers_of(from).tally.unanswered();
        match include_silent {
            IncludeSilent::No => slots = slots.without(self.silent),
            IncludeSilent::Yes => (),
        }
        for slot in slots.iter() {
            let Ok(index) = usize::try_from(slot) else { continue };
            if self.asked[index].is_some() {
                continue;
            }
            let entries_max =
                self.options.window_entries.min(self.replication.run_length(from, slot).unwrap_or(u32::MAX));
            let (id, fence) = (ids.allocate(), !self.options.seeded.has(SeededBug::RecoveryReadWithoutFence));
            let (ledger, bytes_max) = (self.ledger, self.options.read_bytes_max);
            assert!(fence || self.options.seeded != Seeded::NONE, "TailReads I3: recovery reads fence");
            let request = BookieRequest::Read { id, ledger, from, entries_max, bytes_max, fence };
            fx.push(LedgerEffect::Bookie { to: self.bookies[index], request });
            self.asked[index] = Some(Asked { id, from });
        }
    }

    /// Takes one answer; false when it is not waited for or says neither yes nor no.
    pub(super) fn handle_read(&mut self, from: NodeId, id: RequestId, outcome: ReadOutcome) -> bool {
        let Some(index) = self.bookies.iter().position(|bookie| *bookie == from) else { return false };
        let (Some(asked), Ok(slot)) = (self.asked[index], u32::try_from(index)) else { return false };
        if asked.id != id {
            return false; // Late: the same slot was asked again.
        }
        self.asked[index] = None;
        self.silent.remove(slot);
        match outcome {
            ReadOutcome::Entries(entries) if follows(&entries, asked.from) => {
                self.record_entries(slot, entries);
                true
            }
            ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger if asked.from >= self.next => {
                self.answers_of(asked.from).tally.record_negative(slot);
                true
            }
            ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger => true, // Decided meanwhile.
            ReadOutcome::Entries(_) | ReadOutcome::Unknown => {
                self.mark_silent(slot, asked.from); // I2
                false
            }
        }
    }

    /// The reads under way have taken too long: their slots count as silent.
    pub(super) fn give_up_waiting(&mut self) {
        for slot in SlotSet::first(self.replication.ensemble()).iter() {
            let asked = usize::try_from(slot).ok().and_then(|index| self.asked[index].take());
            if let Some(asked) = asked {
                self.mark_silent(slot, asked.from);
            }
        }
    }

    /// Decides the next entry if its answers allow it.
    pub(super) fn take_next(&mut self) -> TailStep {
        let silent = self.silent;
        let answers = self.answers_of(self.next);
        let tally = answers.tally;
        let alone = tally.has_positive() && tally.unanswered().without(silent).is_empty();
        match tally.verdict() {
            ReadVerdict::Unrecoverable => TailStep::End, // I1
            ReadVerdict::Unknown if !alone => TailStep::Wait,
            ReadVerdict::Recoverable | ReadVerdict::Unknown => {
                let data = answers.data.take();
                assert!(data.is_some(), "TailReads I1: entry {} was read from a copy", self.next);
                self.answers.remove(&self.next);
                self.next = self.next.next();
                TailStep::Entry(data.unwrap_or_default())
            }
        }
    }

    /// Reads from other bookies from now on; only a seeded bug does so.
    pub(super) fn read_from(&mut self, bookies: Vec<NodeId>) {
        self.bookies = bookies;
    }

    fn record_entries(&mut self, slot: u32, entries: Vec<StoredEntry>) {
        let window = usize::try_from(self.options.window_entries).unwrap_or(usize::MAX);
        for stored in entries.into_iter().take(window) {
            if stored.entry >= self.next {
                let answers = self.answers_of(stored.entry);
                answers.tally.record_positive(slot);
                answers.data.get_or_insert(stored.data);
            }
        }
    }

    fn mark_silent(&mut self, slot: u32, from: EntryId) {
        self.silent.insert(slot);
        if self.options.seeded.has(SeededBug::UnknownCountedNegative) && from >= self.next {
            self.answers_of(from).tally.record_negative(slot);
        }
    }

    fn answers_of(&mut self, entry: EntryId) -> &mut Answers {
        assert!(entry >= self.next, "TailReads I4: {entry} is not decided yet, {} is next", self.next);
        let (replication, vacant) = (self.replication, self.vacant);
        self.answers.entry(entry).or_insert_with(|| {
            let mut tally = ReadTally::new(replication, replication.write_set(entry));
            vacant.iter().for_each(|slot| tally.record_negative(slot)); // I5
            Answers { tally, data: None }
        })
    }
}

/// Whether slots that gave no clear answer are asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IncludeSilent {
    Yes,
    No,
}
