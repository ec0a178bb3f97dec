//! The managed ledger machine.

use crate::{
    AckSet, AddRefused, Checkpoint, Cursor, CursorId, ManagedEffect, ManagedOptions, OpenMode, Read, Retention,
};
use base::{Effects, EntryData, LedgerId, Mono, NodeId, Now, OwnerId, Position, RequestId};
use meta_api::MetaResponse;
use std::collections::BTreeMap;
use wire::bookie::BookieResponse;

type Fx<'a> = &'a mut Effects<ManagedEffect>;

/// One ledger of the chain, for internal stats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerInfo {
    pub ledger: LedgerId,
    pub entries: u64,
    pub bytes: u64,
    /// Unix milliseconds; `None`: still written.
    pub closed_ms: Option<u64>,
}

/// A topic's log: a chain of ledgers with cursors.
#[derive(Debug)]
pub struct ManagedLedger {
    options: ManagedOptions,
}

impl ManagedLedger {
    /// Starts opening. `key` is the metadata key of the record (`/ml/…`), `bookies` the nodes that may take new
    /// ledgers. [`crate::ManagedEvent::Opened`] or [`crate::ManagedEvent::OpenFailed`] follows.
    pub fn open(
        owner: OwnerId,
        key: String,
        mode: OpenMode,
        options: ManagedOptions,
        bookies: Vec<NodeId>,
        now: Now,
        fx: Fx<'_>,
    ) -> Self {
        let _ = (owner, key, mode, bookies, now, fx);
        Self { options }
    }

    pub fn handle_meta(&mut self, _now: Now, _id: RequestId, _response: MetaResponse, _fx: Fx<'_>) {
        unimplemented!()
    }

    pub fn handle_bookie(&mut self, _now: Now, _from: NodeId, _response: BookieResponse, _fx: Fx<'_>) {
        unimplemented!()
    }

    pub fn handle_ledger_id(&mut self, _now: Now, _id: RequestId, _ledger: LedgerId, _fx: Fx<'_>) {
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    pub fn on_deadline(&mut self, _now: Now, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// Appends one entry. [`crate::ManagedEvent::Persisted`] with `ctx` follows, in the order of the adds; or
    /// `AddsUnknown`.
    ///
    /// # Errors
    /// [`AddRefused`]: nothing was written and no event follows.
    pub fn add(&mut self, _now: Now, _ctx: u64, _data: EntryData, _fx: Fx<'_>) -> Result<(), AddRefused> {
        unimplemented!()
    }

    /// Readable entries at or after `from`: from memory when they are there, else by a read from the bookies. At least
    /// one entry, at most `entries_max`, and about `bytes_max` bytes (the first entry always).
    pub fn read(&mut self, _now: Now, _from: Position, _entries_max: u32, _bytes_max: u64, _fx: Fx<'_>) -> Read {
        unimplemented!()
    }

    // ---- the log's shape ----

    /// Whether `Opened` was reported and nothing terminal since.
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }

    /// The last durable entry ever confirmed, also when it was trimmed since. Before the first entry of all:
    /// [`Position::EARLIEST`].
    pub fn last_confirmed(&self) -> Position {
        unimplemented!()
    }

    /// The first readable entry, or the position after the last when there is none.
    pub fn first_position(&self) -> Position {
        unimplemented!()
    }

    /// Whether this entry is durable and not trimmed.
    pub fn contains(&self, _position: Position) -> bool {
        unimplemented!()
    }

    /// Readable entries after `position`. O(log ledgers).
    pub fn entries_after(&self, _position: Position) -> u64 {
        unimplemented!()
    }

    /// Their bytes, estimated within one ledger by its mean entry size. O(log ledgers).
    pub fn bytes_after(&self, _position: Position) -> u64 {
        unimplemented!()
    }

    /// The first readable entry after `position`; when there is none, the position after the last confirmed entry.
    pub fn next_position(&self, _position: Position) -> Position {
        unimplemented!()
    }

    /// The last readable entry before `position`; when there is none, a mark-delete just before the first readable one.
    pub fn previous_position(&self, _position: Position) -> Position {
        unimplemented!()
    }

    /// The `n`-th readable entry counted from the first one at or after `first` (0 is that one); `None` beyond the end.
    /// For binary searches. O(log ledgers).
    pub fn position_at(&self, _first: Position, _n: u64) -> Option<Position> {
        unimplemented!()
    }

    /// Readable entries.
    pub fn total_entries(&self) -> u64 {
        unimplemented!()
    }

    /// Their bytes.
    pub fn total_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Adds accepted and not yet persisted.
    pub fn pending_adds(&self) -> usize {
        unimplemented!()
    }

    /// The chain, oldest first.
    pub fn ledgers(&self) -> Vec<LedgerInfo> {
        unimplemented!()
    }

    /// The cursor ledger, when there is one.
    pub fn cursor_ledger(&self) -> Option<LedgerId> {
        unimplemented!()
    }

    // ---- cursors ----

    /// Creates a durable cursor; it is listed at once and durable with `CursorDone { ctx }`. A refusal is reported the
    /// same way, and the id then names nothing.
    pub fn create_cursor(
        &mut self,
        _now: Now,
        _name: &str,
        _mark_delete: Position,
        _properties: BTreeMap<String, String>,
        _ctx: u64,
        _fx: Fx<'_>,
    ) -> CursorId {
        unimplemented!()
    }

    /// Creates a cursor that lives in memory only.
    pub fn create_volatile_cursor(&mut self, _name: &str, _mark_delete: Position) -> CursorId {
        unimplemented!()
    }

    /// All cursors in name order (durable ones; then volatile ones).
    pub fn cursors(&self) -> impl Iterator<Item = (CursorId, &Cursor)> + '_ {
        std::iter::empty()
    }

    pub fn cursor(&self, _id: CursorId) -> Option<&Cursor> {
        unimplemented!()
    }

    /// Acknowledges everything up to `position`; with `partial`, `position` itself only so far that `partial` remains.
    /// A position at or below the mark-delete changes nothing and succeeds.
    pub fn ack_up_to(
        &mut self,
        _now: Now,
        _id: CursorId,
        _position: Position,
        _partial: Option<AckSet>,
        _ctx: u64,
        _fx: Fx<'_>,
    ) {
        unimplemented!()
    }

    /// Acknowledges single entries, each wholly or so far that its set remains (met with what is stored). All or
    /// nothing: one entry that does not exist refuses the whole list.
    pub fn ack_each(&mut self, _now: Now, _id: CursorId, _acks: &[(Position, Option<AckSet>)], _ctx: u64, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// Moves the mark-delete to `to` in either direction and forgets all acknowledgements beyond it. `to` is moved to
    /// the nearest place in the log: before the first readable entry at the lowest, the last confirmed at the highest.
    pub fn reset_cursor(&mut self, _now: Now, _id: CursorId, _to: Position, _ctx: u64, _fx: Fx<'_>) {
        unimplemented!()
    }

    pub fn delete_cursor(&mut self, _now: Now, _id: CursorId, _ctx: u64, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// Replaces the cursor's properties.
    pub fn set_cursor_properties(
        &mut self,
        _now: Now,
        _id: CursorId,
        _properties: BTreeMap<String, String>,
        _ctx: u64,
        _fx: Fx<'_>,
    ) {
        unimplemented!()
    }

    /// Saves opaque state of the owner; `Checkpointed { ctx }` when durable. A checkpoint replaced by a newer one before
    /// it was written is reported together with the newer one.
    ///
    /// # Panics
    /// When the bytes exceed [`crate::CHECKPOINT_BYTES_MAX`]: the owner bounds its state.
    pub fn checkpoint(&mut self, _now: Now, _checkpoint: Checkpoint, _ctx: u64, _fx: Fx<'_>) {
        unimplemented!()
    }

    // ---- care ----

    pub fn options(&self) -> &ManagedOptions {
        &self.options
    }

    /// New retention; trims at once what it no longer covers.
    pub fn set_retention(&mut self, _now: Now, _retention: Retention, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// The nodes that may take new ledgers.
    pub fn set_bookies(&mut self, _bookies: Vec<NodeId>) {
        unimplemented!()
    }

    /// Rolls the current ledger over when it holds anything, so that trimming can reach all of it.
    pub fn roll_over(&mut self, _now: Now, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// New bound of the memory for cached entries; evicts at once.
    pub fn set_cache_budget(&mut self, _bytes: u64) {
        unimplemented!()
    }

    /// Bytes of entries held in memory.
    pub fn cache_bytes(&self) -> u64 {
        unimplemented!()
    }

    /// Evicts the oldest cached entries until at most `bytes` are held.
    pub fn evict_to(&mut self, _bytes: u64) {
        unimplemented!()
    }

    /// Evicts cached entries before `slowest`, the position of the slowest active reader.
    pub fn evict_passed(&mut self, _slowest: Position) {
        unimplemented!()
    }

    /// Finishes pending work and stops; [`crate::ManagedEvent::Closed`] follows.
    pub fn close(&mut self, _now: Now, _fx: Fx<'_>) {
        unimplemented!()
    }

    /// Removes the managed ledger: metadata first, then the copies. [`crate::ManagedEvent::Deleted`] follows; adds and
    /// cursor operations pending now end as unknown.
    pub fn delete(&mut self, _now: Now, _fx: Fx<'_>) {
        unimplemented!()
    }
}
