//! Reads of entries that are not in the tail ring: from read-ahead blocks, or from the bookies.
//!
//! **What**  A read that memory cannot serve starts a fetch of one block (about `read_block_bytes`); every read that
//! waits for an entry of the block is answered by it. When a reader is past the middle of a block the next one is
//! fetched ahead.
//!
//! **Invariants**
//! - I1  every waiting read is covered by a fetch, or waits for one of the fetches to end.
//! - I2  fetches ≤ [`FETCHES_MAX`]; waiting reads ≤ `pending_requests_max`.
//! - I3  only confirmed entries are fetched.
//!
//! **Not here**  Which copy is read (`ledger`), the tail (`cache`), block eviction by budget (the managed ledger).

use crate::append::Appender;
use crate::blocks::Blocks;
use crate::cache::{EntryCache, take_within};
use crate::chain::Chain;
use crate::readers::{ReaderState, Readers};
use crate::site::{Fx, Site};
use crate::{Entry, ManagedEffect, ManagedEvent, Read, ReadError, ReadId};
use base::{EntryData, EntryId, LedgerId, Mono, NodeId, Now, Position, RequestId};
use ledger::ReaderEvent;
use meta_api::MetaResponse;
use wire::bookie::BookieResponse;

/// Blocks being fetched at once.
const FETCHES_MAX: usize = 8;
/// A fetch asks for at most one entry per this many bytes, so that a block of tiny entries stays small too.
const ENTRY_BYTES_MIN: u64 = 160;
/// How often a failed fetch is tried again with fresh metadata.
const ATTEMPTS_MAX: u32 = 3;

#[derive(Debug)]
struct Wait {
    id: ReadId,
    rank: u64,
    entries_max: u32,
    bytes_max: u64,
}

#[derive(Debug)]
struct Fetch {
    ledger: LedgerId,
    /// Ranks asked for; the answer may end earlier.
    first_rank: u64,
    end_rank: u64,
    bytes_max: u64,
    /// `None`: not sent yet, the reader is being made.
    sent: Option<ledger::ReadId>,
    attempts: u32,
}

/// What a step of the reads needs of its surroundings.
pub(crate) struct ReadScope<'a> {
    pub(crate) now: Now,
    pub(crate) site: &'a mut Site,
    pub(crate) chain: &'a Chain,
    pub(crate) appender: &'a Appender,
    pub(crate) cache: &'a EntryCache,
    pub(crate) fx: &'a mut Fx,
}

/// Reads beyond the tail ring.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    readers: Readers,
    fetches: Vec<Fetch>,
    waits: Vec<Wait>,
    blocks: Blocks,
    next_id: u64,
    /// Entries and bytes fetched since they were last asked for.
    fetched: (u64, u64),
}

impl Reads {
    /// Reads from this rank on; it is in the log and not in the tail ring.
    pub(crate) fn read(&mut self, rank: u64, entries_max: u32, bytes_max: u64, scope: &mut ReadScope<'_>) -> Read {
        if let Some(read) = self.blocks.get(rank, entries_max, bytes_max) {
            if read.past_middle {
                self.read_ahead(read.block_end, scope);
            }
            return Read::Ready(read.entries);
        }
        if self.waits.len() >= scope.site.options.pending_requests_max {
            return Read::Busy;
        }
        let id = ReadId(self.next_id);
        self.next_id += 1;
        self.waits.push(Wait { id, rank, entries_max, bytes_max });
        self.fetch(rank, entries_max, bytes_max, scope);
        self.advance(scope);
        Read::Pending(id)
    }

    /// Fetches the next block unless it is in memory, under way, beyond the log, or the budget is too small for two.
    fn read_ahead(&mut self, rank: u64, scope: &mut ReadScope<'_>) {
        let budget = scope.site.options.cache_bytes_max;
        let small = budget < u64::from(scope.site.options.read_block_bytes) * 2;
        if small || scope.cache.holds(rank) || self.blocks.holds(rank) {
            return;
        }
        self.fetch(rank, 0, 0, scope);
        self.advance(scope);
    }

    /// Adds a fetch for this rank unless one covers it: of a whole block when memory keeps it, otherwise of what is asked
    /// for.
    fn fetch(&mut self, rank: u64, entries_max: u32, bytes_max: u64, scope: &ReadScope<'_>) {
        let covered = self.fetches.iter().any(|fetch| (fetch.first_rank..fetch.end_rank).contains(&rank));
        if covered || self.fetches.len() >= FETCHES_MAX {
            return;
        }
        let Some((ledger, _, ledger_end)) = scope.chain.ledger_ranks(rank) else { return };
        let block = u64::from(scope.site.options.read_block_bytes);
        let (wanted, kept) = (block.min(bytes_max), block.min(scope.site.options.cache_bytes_max / 4));
        let (bytes_max, entries_max) =
            if wanted <= kept { (kept.max(1), u64::MAX) } else { (wanted, u64::from(entries_max.max(1))) };
        let end_rank = ledger_end.min(rank.saturating_add((bytes_max / ENTRY_BYTES_MIN).max(1).min(entries_max)));
        self.fetches.push(Fetch { ledger, first_rank: rank, end_rank, bytes_max, sent: None, attempts: 0 });
    }

    /// Sends what can be sent.
    fn advance(&mut self, scope: &mut ReadScope<'_>) {
        for index in 0..self.fetches.len() {
            let fetch = &mut self.fetches[index];
            if fetch.sent.is_some() {
                continue;
            }
            let Some(Position { ledger, entry }) = scope.chain.at(fetch.first_rank) else { continue };
            let ReaderState::Ready(reader) = self.readers.prepare(ledger, scope) else { continue };
            let entries_max = u32::try_from(fetch.end_rank - fetch.first_rank).unwrap_or(u32::MAX);
            let bytes_max = u32::try_from(fetch.bytes_max).unwrap_or(u32::MAX);
            fetch.sent = reader.read(scope.now, entry, entries_max, bytes_max, scope.fx);
        }
    }

    fn handle_events(&mut self, ledger: LedgerId, events: Vec<ReaderEvent>, scope: &mut ReadScope<'_>) {
        for ReaderEvent::ReadDone { id, result } in events {
            let found = self.fetches.iter().position(|fetch| fetch.ledger == ledger && fetch.sent == Some(id));
            let Some(index) = found else { continue };
            let fetch = self.fetches.swap_remove(index);
            match result {
                Ok(entries) => self.take_block(&fetch, entries, scope),
                Err(error) => self.retry(fetch, &error, scope),
            }
        }
        self.refetch(scope);
    }

    /// Answers everyone who waits for an entry of the block, and keeps it.
    fn take_block(&mut self, fetch: &Fetch, entries: Vec<(EntryId, EntryData)>, scope: &mut ReadScope<'_>) {
        let ledger = fetch.ledger;
        let entry = |(entry, data)| Entry { position: Position { ledger, entry }, data };
        let entries: Vec<Entry> = entries.into_iter().map(entry).collect();
        self.fetched.0 += entries.len() as u64;
        self.fetched.1 += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        let (first, end) = (fetch.first_rank, fetch.first_rank + entries.len() as u64);
        let mut past_middle = false;
        self.waits.retain(|wait| {
            if !(first..end).contains(&wait.rank) {
                return true;
            }
            let start = usize::try_from(wait.rank - first).unwrap_or(0);
            let answer = take_within(entries[start..].iter(), wait.entries_max, wait.bytes_max);
            past_middle |= (start + answer.len()) * 2 >= entries.len();
            scope.fx.push(read_done(wait.id, Ok(answer)));
            false
        });
        self.blocks.insert(first, entries);
        if past_middle {
            self.read_ahead(end, scope);
        }
    }

    /// Tries a failed fetch again with fresh metadata, or gives its readers the reason.
    fn retry(&mut self, mut fetch: Fetch, error: &ledger::ReadError, scope: &mut ReadScope<'_>) {
        self.forget_reader(fetch.ledger);
        fetch.attempts += 1;
        let gone = scope.chain.at(fetch.first_rank).is_none_or(|at| at.ledger != fetch.ledger);
        if fetch.attempts < ATTEMPTS_MAX && !gone {
            fetch.sent = None;
            return self.fetches.push(fetch);
        }
        self.waits.retain(|wait| {
            let position = scope.chain.at(wait.rank);
            let hit = (fetch.first_rank..fetch.end_rank).contains(&wait.rank);
            let (true, Some(position)) = (hit, position) else { return true };
            let failed = ReadError::Unavailable { position, reason: error.to_string() };
            scope.fx.push(read_done(wait.id, Err(failed)));
            false
        });
    }

    fn forget_reader(&mut self, ledger: LedgerId) {
        self.readers.forget(ledger);
        self.fetches.iter_mut().filter(|fetch| fetch.ledger == ledger).for_each(|fetch| fetch.sent = None);
    }

    /// Holds I1 after fetches ended: moves reads over what was trimmed, fetches for those that are not covered.
    fn refetch(&mut self, scope: &mut ReadScope<'_>) {
        let (start, end) = (scope.chain.start_rank(), scope.chain.end_rank());
        self.waits.retain_mut(|wait| {
            wait.rank = wait.rank.max(start);
            let ended = wait.rank >= end;
            if ended {
                let (position, reason) = (scope.chain.last(), "the log was trimmed up to its end".to_owned());
                scope.fx.push(read_done(wait.id, Err(ReadError::Unavailable { position, reason })));
            }
            !ended
        });
        self.fetches.retain(|fetch| fetch.sent.is_some() || scope.chain.at(fetch.first_rank).is_some());
        for index in 0..self.waits.len() {
            let Wait { rank, entries_max, bytes_max, .. } = self.waits[index];
            self.fetch(rank, entries_max, bytes_max, scope);
        }
        self.advance(scope);
        if self.fetches.is_empty() {
            self.readers.keep_newest();
        }
    }

    // ---- inputs ----

    /// The log lost its oldest ledgers.
    pub(crate) fn handle_trimmed(&mut self, scope: &mut ReadScope<'_>) {
        self.blocks.evict_before(scope.chain.start_rank());
        self.refetch(scope);
    }

    pub(crate) fn handle_bookie(&mut self, from: NodeId, response: BookieResponse, scope: &mut ReadScope<'_>) {
        if let Some((ledger, events)) = self.readers.handle_bookie(from, response, scope) {
            self.handle_events(ledger, events, scope);
        }
    }

    /// An answer to a read of ledger metadata; others are ignored.
    pub(crate) fn handle_meta(&mut self, id: RequestId, response: &MetaResponse, scope: &mut ReadScope<'_>) {
        if self.readers.handle_meta(id, response, scope) {
            self.refetch(scope);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.readers.next_deadline()
    }

    pub(crate) fn on_deadline(&mut self, scope: &mut ReadScope<'_>) {
        for (ledger, events) in self.readers.on_deadline(scope) {
            self.handle_events(ledger, events, scope);
        }
        self.refetch(scope);
    }

    /// Ends every waiting read.
    pub(crate) fn stop(&mut self, chain: &Chain, fx: &mut Fx) {
        for wait in std::mem::take(self).waits {
            let position = chain.at(wait.rank).unwrap_or_else(|| chain.last());
            fx.push(read_done(wait.id, Err(ReadError::Stopped { position })));
        }
    }

    // ---- memory ----

    /// Entries and bytes that came from bookies since this was last asked.
    pub(crate) fn take_fetched(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.fetched)
    }

    pub(crate) fn blocks(&self) -> &Blocks {
        &self.blocks
    }

    pub(crate) fn blocks_mut(&mut self) -> &mut Blocks {
        &mut self.blocks
    }
}

fn read_done(read: ReadId, result: Result<Vec<Entry>, ReadError>) -> ManagedEffect {
    ManagedEffect::Event(ManagedEvent::ReadDone { read, result })
}
