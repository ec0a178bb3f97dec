//! Entries that stand in the index and cannot be read: what became of them, and what else is missing of a ledger.
//!
//! **What**  A read, the scrubber, the cleaner or the scan at the start meets damage. The index still knows what stood there, so it
//! denies nothing; what is lost is a copy. Such entries are named to whoever asks which ledgers lack something
//! ([`BookieRequest::Limbo`](wire::bookie::BookieRequest::Limbo)) and what
//! ([`BookieRequest::Missing`](wire::bookie::BookieRequest::Missing)), until a recovery add has written them again.
//!
//! **States**  of an entry: sound → damaged → written again; or deleted with its ledger.
//!
//! **Invariants**
//! - I1  at most [`ENTRIES_MAX`] entries are remembered; others are met again by the next read or pass. A restart forgets all.
//! - I2  a damaged entry is never said to be stored: a recovery add writes it again.
//! - I3  of a range that was asked for, whatever is not named as missing is indexed and not known to be damaged.
//!
//! **Not here**  Losses that nobody can name (`limbo`), copying (`ledger`), deciding when (`cluster::Auditor`).

use super::files::FileNo;
use super::{Bookie, Fx, respond};
use base::{EntryId, LedgerId, NodeId, RequestId};
use std::collections::BTreeSet;
use wire::bookie::{BookieResponse, EntryRange, InLimbo, LimboFound};

/// Damaged entries remembered.
const ENTRIES_MAX: usize = 100_000;
/// Ledgers in one answer.
const LEDGERS_PER_ANSWER: usize = 1_000;
/// Missing ranges in one answer.
const RANGES_PER_ANSWER: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Damaged {
    entries: BTreeSet<(LedgerId, EntryId)>,
}

impl Damaged {
    /// Whether the entry is newly known to be damaged.
    pub(super) fn note(&mut self, ledger: LedgerId, entry: EntryId) -> bool {
        self.entries.len() < ENTRIES_MAX && self.entries.insert((ledger, entry)) // I1
    }

    pub(super) fn contains(&self, ledger: LedgerId, entry: EntryId) -> bool {
        self.entries.contains(&(ledger, entry))
    }

    pub(super) fn touches(&self, ledger: LedgerId) -> bool {
        self.of(ledger, EntryId(0)).next().is_some()
    }

    pub(super) fn ledgers(&self) -> BTreeSet<LedgerId> {
        self.entries.iter().map(|(ledger, _)| *ledger).collect()
    }

    fn of(&self, ledger: LedgerId, from: EntryId) -> impl Iterator<Item = EntryId> {
        self.entries.range((ledger, from)..=(ledger, EntryId(i64::MAX))).map(|(_, entry)| *entry)
    }

    /// The entry was written again; whether it was damaged.
    fn heal(&mut self, ledger: LedgerId, entry: EntryId) -> bool {
        self.entries.remove(&(ledger, entry))
    }

    fn forget(&mut self, ledger: LedgerId) {
        let gone: Vec<EntryId> = self.of(ledger, EntryId(i64::MIN)).collect();
        for entry in gone {
            self.entries.remove(&(ledger, entry));
        }
    }
}

impl Bookie {
    /// Whatever the index has in these bytes of a file counts as damaged. Answers how many entries that are.
    pub(super) fn note_damage(&mut self, file: FileNo, from: u64, end: u64) -> usize {
        let mut noted = 0;
        for (ledger, range) in self.index.standing_in(file, from, end) {
            noted += (range.first.0..range.end.0).filter(|at| self.damaged.note(ledger, EntryId(*at))).count();
        }
        noted
    }

    /// An entry is durable at a new place.
    pub(super) fn healed(&mut self, ledger: LedgerId, entry: EntryId) {
        if self.damaged.heal(ledger, entry) && !self.damaged.touches(ledger) {
            self.index.files.unstick(); // What could not be copied out of a file may be wanted there no more.
        }
    }

    pub(super) fn forget_damage(&mut self, ledger: LedgerId) {
        self.damaged.forget(ledger);
    }

    /// Ledgers that may lack something here.
    pub(super) fn lacking(&self) -> BTreeSet<LedgerId> {
        let mut lacking = self.damaged.ledgers();
        lacking.extend(self.index.suspects().map(|(ledger, _)| ledger));
        lacking
    }

    pub(super) fn answer_limbo(&self, to: NodeId, id: RequestId, after: LedgerId, fx: &mut Fx) {
        let found = if self.limbo.is_whole() {
            LimboFound::Unmeasured
        } else {
            let mut above = self.lacking().into_iter().filter(|ledger| *ledger > after);
            let loss = |ledger| self.index.mark(ledger).filter(|mark| !mark.repaired).map_or(0, |mark| mark.loss);
            let page = above.by_ref().take(LEDGERS_PER_ANSWER);
            let ledgers = page.map(|ledger| InLimbo { ledger, loss: loss(ledger) }).collect();
            LimboFound::Ledgers { ledgers, more: above.next().is_some() }
        };
        respond(to, BookieResponse::Limbo { id, found }, fx);
    }

    pub(super) fn answer_missing(&self, to: NodeId, id: RequestId, ledger: LedgerId, asked: EntryRange, fx: &mut Fx) {
        let (ranges, until) = self.missing(ledger, asked);
        respond(to, BookieResponse::Missing { id, ledger, until, ranges }, fx);
    }

    /// Which entries of the range are not here, or cannot be read, as far as the entry that comes with them: the end of the range
    /// or where an answer is full; its beginning while nobody knows what was lost.
    pub fn missing(&self, ledger: LedgerId, asked: EntryRange) -> (Vec<EntryRange>, EntryId) {
        let (mut ranges, mut until) = (Vec::new(), asked.first);
        if !self.limbo.is_whole() {
            until = asked.end.max(asked.first);
            let mut damaged = self.damaged.of(ledger, asked.first).take_while(|entry| *entry < asked.end).peekable();
            let held = self.index.get(ledger).map(|known| known.runs.held(asked)).unwrap_or_default();
            let mut next = asked.first;
            for held in held.into_iter().chain([EntryRange { first: until, end: until }]) {
                if held.first > next {
                    push_range(&mut ranges, next, held.first);
                }
                while let Some(entry) = damaged.next_if(|entry| *entry < held.end) {
                    push_range(&mut ranges, entry, entry.next()); // I3
                }
                next = held.end;
                if ranges.len() >= RANGES_PER_ANSWER {
                    until = next;
                    break;
                }
            }
        }
        (ranges, until)
    }
}

/// Ranges that touch become one.
fn push_range(ranges: &mut Vec<EntryRange>, first: EntryId, end: EntryId) {
    match ranges.last_mut() {
        Some(last) if last.end >= first => last.end = last.end.max(end),
        _ => ranges.push(EntryRange { first, end }),
    }
}
