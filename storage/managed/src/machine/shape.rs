//! Questions about the log's shape. All are O(log ledgers).

use super::{ManagedLedger, Phase};
use crate::{LedgerInfo, ManagedOptions};
use base::{Epoch, LedgerId, Position};

impl ManagedLedger {
    /// Whether `Opened` was reported and no end began since.
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    pub fn options(&self) -> &ManagedOptions {
        &self.site.options
    }

    /// The epoch under which this owner holds the log.
    pub fn epoch(&self) -> Epoch {
        self.store.record().epoch
    }

    /// The last durable entry ever confirmed, also when it was trimmed since. Before the first entry of all:
    /// [`Position::EARLIEST`].
    pub fn last_confirmed(&self) -> Position {
        self.chain.last()
    }

    /// The first readable entry, or the position after the last when there is none.
    pub fn first_position(&self) -> Position {
        self.chain.first()
    }

    /// The last entry that was ever trimmed; [`Position::EARLIEST`] while every entry is still there.
    pub fn trimmed_up_to(&self) -> Position {
        self.store.record().trimmed
    }

    /// Whether this entry is durable and not trimmed.
    pub fn contains(&self, position: Position) -> bool {
        self.chain.contains(position)
    }

    /// Readable entries after `position`.
    pub fn entries_after(&self, position: Position) -> u64 {
        self.chain.entries_after(position)
    }

    /// Their bytes, estimated within one ledger by its mean entry size.
    pub fn bytes_after(&self, position: Position) -> u64 {
        self.chain.bytes_after(position)
    }

    /// The first readable entry after `position`; when there is none, the position after the last confirmed entry.
    pub fn next_position(&self, position: Position) -> Position {
        self.chain.next(position)
    }

    /// The last readable entry before `position`; when there is none, a mark-delete just before the first readable one.
    pub fn previous_position(&self, position: Position) -> Position {
        self.chain.previous(position)
    }

    /// The mark-delete nearest to `position`: the last readable entry at or before it, or just before the first one.
    pub fn clamp_mark_delete(&self, position: Position) -> Position {
        self.chain.clamp(position)
    }

    /// The `n`-th readable entry counted from the first one at or after `first` (0 is that one); `None` beyond the end.
    /// For binary searches.
    pub fn position_at(&self, first: Position, n: u64) -> Option<Position> {
        self.chain.at(self.chain.rank_from(first).saturating_add(n))
    }

    /// Readable entries.
    pub fn total_entries(&self) -> u64 {
        self.chain.entries()
    }

    /// Their bytes.
    pub fn total_bytes(&self) -> u64 {
        self.chain.bytes()
    }

    /// Adds accepted and not yet persisted.
    pub fn pending_adds(&self) -> usize {
        self.appender.pending()
    }

    /// The chain, oldest first.
    pub fn ledgers(&self) -> Vec<LedgerInfo> {
        self.chain.ledgers().collect()
    }

    /// The cursor ledger, when there is one.
    pub fn cursor_ledger(&self) -> Option<LedgerId> {
        self.store.record().cursor_ledger
    }
}
