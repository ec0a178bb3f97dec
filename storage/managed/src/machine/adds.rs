//! Adding and reading entries.

use super::ManagedLedger;
use super::Phase;
use crate::site::Fx;
use crate::store::Change;
use crate::{AddRefused, Entry, ManagedEffect, ManagedEvent, Read, ReadCounts};
use base::{EntryData, Now, Position};
use ledger::WriterEvent;

impl ManagedLedger {
    /// Appends one entry. [`ManagedEvent::Persisted`] with `ctx` follows, in the order of the adds; or
    /// [`ManagedEvent::AddsUnknown`]. While no ledger is open the entry waits, within the bounds of the options.
    ///
    /// # Errors
    /// [`AddRefused`]: nothing was written and no event follows.
    pub fn add(&mut self, now: Now, ctx: u64, data: EntryData, fx: &mut Fx) -> Result<(), AddRefused> {
        let Phase::Open = self.phase else { return Err(AddRefused::NotOpen { state: self.state() }) };
        self.appender.add(ctx, data, &self.site)?;
        let events = self.appender.flush(now, &mut self.site, &mut self.store, fx);
        self.handle_writer(now, events, fx);
        self.store.pump(now, &mut self.site, fx);
        Ok(())
    }

    pub(super) fn handle_writer(&mut self, now: Now, events: Vec<WriterEvent>, fx: &mut Fx) {
        for event in events {
            match event {
                WriterEvent::Confirmed { ctx, entry } => {
                    let (ledger, add) = self.appender.take_confirmed(ctx);
                    let (position, rank) = self.chain.confirm(ledger, entry, add.data.len() as u64);
                    let ring_bytes = self.ring_bytes_max();
                    self.cache.push(rank, Entry { position, data: add.data }, ring_bytes);
                    fx.push(ManagedEffect::Event(ManagedEvent::Persisted { ctx, position }));
                }
                WriterEvent::Fenced { .. } => {
                    return self.fence("another owner has fenced the ledger being written".to_owned(), fx);
                }
                WriterEvent::EnsembleChanged => (),
                WriterEvent::Closed { .. } => {
                    let record = self.appender.take_closed(now);
                    self.store.change(Change::EndLedger { record });
                }
            }
        }
    }

    /// Readable entries at or after `from`: from memory when they are there, else by a read from the bookies. At least
    /// one entry, at most `entries_max`, and about `bytes_max` bytes (the first entry always). A `from` that was trimmed
    /// or lies behind the end of its ledger stands for the next entry.
    pub fn read(&mut self, now: Now, from: Position, entries_max: u32, bytes_max: u64, fx: &mut Fx) -> Read {
        if !self.is_open() {
            return Read::Busy;
        }
        let rank = self.chain.rank_from(from);
        if rank >= self.chain.end_rank() {
            return Read::AtTail;
        }
        if let Some(entries) = self.cache.get(rank, entries_max, bytes_max) {
            self.count_hits(&entries);
            return Read::Ready(entries);
        }
        let (reads, mut scope) = self.reading(now, fx);
        let read = reads.read(rank, entries_max, bytes_max, &mut scope);
        if let Read::Ready(entries) = &read {
            self.count_hits(entries);
        }
        read
    }

    fn count_hits(&mut self, entries: &[Entry]) {
        self.hits.0 += entries.len() as u64;
        self.hits.1 += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
    }

    /// How reads were served since this was last asked.
    pub fn take_read_counts(&mut self) -> ReadCounts {
        let (hit_entries, hit_bytes) = std::mem::take(&mut self.hits);
        let (miss_entries, miss_bytes) = self.reads.take_fetched();
        let evicted_entries = self.cache.take_evicted() + self.reads.blocks_mut().take_evicted();
        ReadCounts { hit_entries, hit_bytes, miss_entries, miss_bytes, evicted_entries }
    }

    // ---- memory ----

    /// What the tail ring may hold: the budget, of which blocks may take up to half.
    fn ring_bytes_max(&self) -> u64 {
        let budget = self.site.options.cache_bytes_max;
        budget - self.reads.blocks().bytes().min(budget / 2)
    }

    /// Evicts until ring and blocks fit the budget.
    pub(super) fn fit_cache(&mut self) {
        let budget = self.site.options.cache_bytes_max;
        let ring = self.ring_bytes_max();
        self.cache.evict_to(ring);
        let blocks = budget - self.cache.bytes();
        self.reads.blocks_mut().evict_to(blocks);
    }

    /// New bound of the memory for cached entries; evicts at once.
    pub fn set_cache_budget(&mut self, bytes: u64) {
        self.site.options.cache_bytes_max = bytes;
        self.fit_cache();
    }

    /// Bytes of entries held in memory.
    pub fn cache_bytes(&self) -> u64 {
        self.cache.bytes() + self.reads.blocks().bytes()
    }

    /// Evicts until at most `bytes` are held: read-ahead blocks first, then the oldest entries.
    pub fn evict_to(&mut self, bytes: u64) {
        let blocks = bytes.saturating_sub(self.cache.bytes());
        self.reads.blocks_mut().evict_to(blocks);
        self.cache.evict_to(bytes);
    }

    /// Evicts cached entries before `slowest`, the position of the slowest active reader.
    pub fn evict_passed(&mut self, slowest: Position) {
        let rank = self.chain.rank_from(slowest);
        self.cache.evict_before(rank);
        self.reads.blocks_mut().evict_before(rank);
    }
}
