//! The chain of ledgers as one sequence of entries.
//!
//! **What**  Every entry has a *rank*: its number in the sequence since this owner opened the log. Ranks are never
//! renumbered by trimming, so they name entries in caches; all questions about positions are answered by ranks.
//!
//! **Invariants**
//! - I1  ledger ids strictly ascend; ranks are dense: a ledger starts where the one before ends.
//! - I2  only the last ledger grows.
//! - I3  `last` never moves back.
//!
//! **Not here**  Who writes the ledgers (`append`), what stands in the metadata (`record`).

use crate::record::ManagedRecord;
use base::{EntryId, LedgerId, Position};
use std::collections::VecDeque;

/// One ledger of the chain, for internal stats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerInfo {
    pub ledger: LedgerId,
    pub entries: u64,
    pub bytes: u64,
    /// Unix milliseconds; `None`: not closed yet.
    pub closed_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    info: LedgerInfo,
    start_rank: u64,
    start_bytes: u64,
}

impl Link {
    fn end_rank(&self) -> u64 {
        self.start_rank + self.info.entries
    }

    fn end_bytes(&self) -> u64 {
        self.start_bytes + self.info.bytes
    }

    fn last(&self) -> Position {
        position(self.info.ledger, self.info.entries) // one too far …
            .previous() // … and back.
    }
}

fn position(ledger: LedgerId, entry: u64) -> Position {
    Position { ledger, entry: EntryId(i64::try_from(entry).unwrap_or(i64::MAX)) }
}

/// How many entries of a ledger stand at or below `entry`. Any value may come from outside, the largest too.
fn count(entry: EntryId) -> u64 {
    u64::try_from(entry.0).map_or(0, |entry| entry + 1)
}

/// The readable log.
#[derive(Debug)]
pub(crate) struct Chain {
    links: VecDeque<Link>,
    last: Position,
    /// Ranks and bytes of everything that was trimmed.
    trimmed_ranks: u64,
    trimmed_bytes: u64,
}

impl Chain {
    /// The log as the metadata knows it, after all its ledgers were closed.
    pub(crate) fn new(record: &ManagedRecord) -> Self {
        let mut chain = Self { links: VecDeque::new(), last: record.trimmed, trimmed_ranks: 0, trimmed_bytes: 0 };
        for ledger in &record.ledgers {
            chain.push(LedgerInfo {
                ledger: ledger.id,
                entries: ledger.entries,
                bytes: ledger.bytes,
                closed_ms: ledger.closed_ms,
            });
        }
        chain
    }

    fn push(&mut self, info: LedgerInfo) {
        let (start_rank, start_bytes) = (self.end_rank(), self.end_bytes());
        assert!(self.links.back().is_none_or(|link| link.info.ledger < info.ledger), "Chain I1: ledger ids ascend");
        let link = Link { info, start_rank, start_bytes };
        if info.entries > 0 {
            assert!(link.last() > self.last, "Chain I3: the end of the log moves forward");
            self.last = link.last();
        }
        self.links.push_back(link);
    }

    /// A new ledger to write to.
    pub(crate) fn start(&mut self, ledger: LedgerId) {
        self.push(LedgerInfo { ledger, entries: 0, bytes: 0, closed_ms: None });
    }

    /// One more entry is durable; answers its position and rank.
    pub(crate) fn confirm(&mut self, ledger: LedgerId, entry: EntryId, bytes: u64) -> (Position, u64) {
        let last = self.links.back_mut().filter(|link| link.info.ledger == ledger);
        let Some(link) = last else { panic!("Chain I2: only the last ledger grows, {ledger} is not the last") };
        assert!(count(entry) == link.info.entries + 1, "Chain I2: entry {entry} follows {}", link.info.entries);
        let rank = link.end_rank();
        link.info.entries += 1;
        link.info.bytes += bytes;
        self.last = Position { ledger, entry };
        (self.last, rank)
    }

    /// The ledger is closed with what was confirmed; an empty one disappears.
    pub(crate) fn end(&mut self, ledger: LedgerId, closed_ms: u64) {
        self.links.retain(|link| link.info.ledger != ledger || link.info.entries > 0);
        if let Some(link) = self.links.iter_mut().find(|link| link.info.ledger == ledger) {
            link.info.closed_ms = Some(closed_ms);
        }
    }

    /// Forgets the oldest ledgers up to and including `ledger`.
    pub(crate) fn trim(&mut self, ledger: LedgerId) {
        while let Some(link) = self.links.front().filter(|link| link.info.ledger <= ledger) {
            (self.trimmed_ranks, self.trimmed_bytes) = (link.end_rank(), link.end_bytes());
            self.links.pop_front();
        }
    }

    // ---- the whole ----

    /// The last durable entry ever, also when it was trimmed.
    pub(crate) fn last(&self) -> Position {
        self.last
    }

    pub(crate) fn ledgers(&self) -> impl DoubleEndedIterator<Item = LedgerInfo> + '_ {
        self.links.iter().map(|link| link.info)
    }

    /// The ledger with the highest id.
    pub(crate) fn newest(&self) -> Option<LedgerInfo> {
        self.links.back().map(|link| link.info)
    }

    /// The first rank that is still there.
    pub(crate) fn start_rank(&self) -> u64 {
        self.links.front().map_or(self.trimmed_ranks, |link| link.start_rank)
    }

    /// The first rank that is not yet given.
    pub(crate) fn end_rank(&self) -> u64 {
        self.links.back().map_or(self.trimmed_ranks, Link::end_rank)
    }

    fn start_bytes(&self) -> u64 {
        self.links.front().map_or(self.trimmed_bytes, |link| link.start_bytes)
    }

    fn end_bytes(&self) -> u64 {
        self.links.back().map_or(self.trimmed_bytes, Link::end_bytes)
    }

    pub(crate) fn entries(&self) -> u64 {
        self.end_rank() - self.start_rank()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.end_bytes() - self.start_bytes()
    }

    // ---- positions and ranks ----

    fn link_at_or_before(&self, ledger: LedgerId) -> Option<&Link> {
        let index = self.links.partition_point(|link| link.info.ledger <= ledger);
        self.links.get(index.checked_sub(1)?)
    }

    /// The rank of the first entry after `position`.
    pub(crate) fn rank_after(&self, position: Position) -> u64 {
        match self.link_at_or_before(position.ledger) {
            None => self.start_rank(),
            Some(link) if link.info.ledger < position.ledger => link.end_rank(),
            Some(link) => link.start_rank + count(position.entry).min(link.info.entries),
        }
    }

    /// The rank of the first entry at or after `position`.
    pub(crate) fn rank_from(&self, position: Position) -> u64 {
        // One entry earlier, but −1 itself stands before the first entry of its ledger already.
        self.rank_after(Position { ledger: position.ledger, entry: position.entry.previous() })
    }

    /// The entry with this rank.
    pub(crate) fn at(&self, rank: u64) -> Option<Position> {
        let index = self.links.partition_point(|link| link.start_rank <= rank);
        let link = self.links.get(index.checked_sub(1)?)?;
        (rank < link.end_rank()).then(|| position(link.info.ledger, rank - link.start_rank))
    }

    /// Ranks of the ledger that holds `rank`: first, and first beyond.
    pub(crate) fn ledger_ranks(&self, rank: u64) -> Option<(LedgerId, u64, u64)> {
        let link = self.link_at_or_before(self.at(rank)?.ledger)?;
        Some((link.info.ledger, link.start_rank, link.end_rank()))
    }

    pub(crate) fn contains(&self, position: Position) -> bool {
        self.link_at_or_before(position.ledger)
            .filter(|link| link.info.ledger == position.ledger && position.entry >= EntryId(0))
            .is_some_and(|link| count(position.entry) <= link.info.entries)
    }

    /// The last entry of this ledger; `None` when it is unknown or empty.
    pub(crate) fn last_of(&self, ledger: LedgerId) -> Option<Position> {
        let link = self.link_at_or_before(ledger).filter(|link| link.info.ledger == ledger)?;
        (link.info.entries > 0).then(|| link.last())
    }

    pub(crate) fn first(&self) -> Position {
        self.at(self.start_rank()).unwrap_or_else(|| self.last.next())
    }

    pub(crate) fn next(&self, position: Position) -> Position {
        self.at(self.rank_after(position)).unwrap_or_else(|| self.last.next())
    }

    pub(crate) fn previous(&self, position: Position) -> Position {
        self.mark_before(self.rank_from(position))
    }

    /// The mark-delete that covers everything below `rank` and nothing else.
    fn mark_before(&self, rank: u64) -> Position {
        if rank > self.start_rank() {
            return self.at(rank - 1).unwrap_or(self.last);
        }
        match self.at(rank) {
            Some(first) => Position { ledger: first.ledger, entry: EntryId::NONE },
            None => self.last,
        }
    }

    /// The mark-delete nearest to `position` that this log knows.
    pub(crate) fn clamp(&self, position: Position) -> Position {
        self.mark_before(self.rank_after(position))
    }

    pub(crate) fn entries_after(&self, position: Position) -> u64 {
        self.end_rank() - self.rank_after(position)
    }

    /// Bytes after `position`; within a ledger by its mean entry size.
    pub(crate) fn bytes_after(&self, position: Position) -> u64 {
        let before = match self.link_at_or_before(position.ledger) {
            None => self.start_bytes(),
            Some(link) if link.info.ledger < position.ledger => link.end_bytes(),
            Some(link) => {
                let passed = count(position.entry).min(link.info.entries);
                let share = u128::from(link.info.bytes) * u128::from(passed) / u128::from(link.info.entries.max(1));
                link.start_bytes + u64::try_from(share).unwrap_or(link.info.bytes)
            }
        };
        self.end_bytes() - before
    }
}
