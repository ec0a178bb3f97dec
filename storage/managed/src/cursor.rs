//! One reader's place in the log: mark-delete, entries acknowledged beyond it, partly acknowledged batches.

use crate::{AckSet, ManagedLedger};
use base::{IntervalSet, LedgerId, Position};
use std::collections::BTreeMap;

/// Whether a cursor survives the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorKind {
    /// Kept in the cursor ledger; holds back trimming.
    Durable,
    /// Memory only; holds back nothing.
    Volatile,
}

/// One cursor.
#[derive(Clone, Debug)]
pub struct Cursor {
    name: String,
    kind: CursorKind,
    mark_delete: Position,
    acked: BTreeMap<LedgerId, IntervalSet>,
    partial: BTreeMap<Position, AckSet>,
    properties: BTreeMap<String, String>,
}

impl Cursor {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn kind(&self) -> CursorKind {
        self.kind
    }

    /// Everything up to and including this position is acknowledged.
    pub fn mark_delete(&self) -> Position {
        self.mark_delete
    }

    /// Whether the whole entry is acknowledged.
    pub fn is_acked(&self, position: Position) -> bool {
        position <= self.mark_delete
            || self.acked.get(&position.ledger).is_some_and(|set| set.contains(position.entry.0))
    }

    /// What is left of a partly acknowledged batch; `None` when none or all of it is acknowledged.
    pub fn batch_ack(&self, position: Position) -> Option<&AckSet> {
        self.partial.get(&position)
    }

    /// Partly acknowledged batches in position order.
    pub fn batch_acks(&self) -> impl Iterator<Item = (Position, &AckSet)> + '_ {
        self.partial.iter().map(|(p, set)| (*p, set))
    }

    /// Acknowledged ranges beyond the mark-delete, in order: ledger, first and last entry (inclusive).
    pub fn individually_acked(&self) -> impl Iterator<Item = (LedgerId, i64, i64)> + '_ {
        self.acked.iter().flat_map(|(ledger, set)| set.iter().map(|(s, e)| (*ledger, s, e)))
    }

    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Entries not wholly acknowledged, O(log ledgers).
    pub fn backlog_entries(&self, _log: &ManagedLedger) -> u64 {
        unimplemented!()
    }

    /// Stored bytes after the mark-delete: an upper bound of the backlog's bytes, estimated within one ledger by its
    /// mean entry size.
    pub fn backlog_bytes(&self, _log: &ManagedLedger) -> u64 {
        unimplemented!()
    }
}
