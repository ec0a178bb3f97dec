//! One reader's place in the log: mark-delete, entries acknowledged beyond it, partly acknowledged batches.
//!
//! **Invariants**
//! - I1  nothing at or below the mark-delete is kept as a range or a partial batch.
//! - I2  the entry after the mark-delete is not wholly acknowledged: else the mark-delete would stand there.
//! - I3  no entry is both wholly and partly acknowledged; a partial batch has something left.
//! - I4  `acked_entries` counts the entries of all ranges, `ranges` the ranges.
//!
//! **Not here**  Whether an entry exists (`cursor_ops` checks), durability (`cursor_log`), read positions (the owner).
//!
//! **Tests**  `cursor/tests.rs`: against a plain set of acknowledged messages.

use crate::chain::Chain;
use crate::cursor_record::CursorOp;
use crate::durable_mark::DurableMark;
use crate::{AckSet, ManagedLedger};
use base::{IntervalSet, LedgerId, Position};
use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

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
    durable: DurableMark,
    acked: BTreeMap<LedgerId, IntervalSet>,
    acked_entries: u64,
    ranges: usize,
    partial: BTreeMap<Position, AckSet>,
    properties: BTreeMap<String, String>,
}

impl Cursor {
    pub(crate) fn new(
        name: String,
        kind: CursorKind,
        mark_delete: Position,
        properties: BTreeMap<String, String>,
    ) -> Self {
        Self {
            name,
            kind,
            mark_delete,
            durable: DurableMark::new(mark_delete),
            acked: BTreeMap::new(),
            acked_entries: 0,
            ranges: 0,
            partial: BTreeMap::new(),
            properties,
        }
    }

    // ---- what owners ask ----

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
        self.partial.iter().map(|(position, set)| (*position, set))
    }

    /// Acknowledged ranges beyond the mark-delete, in order: ledger, first and last entry (inclusive).
    pub fn individually_acked(&self) -> impl Iterator<Item = (LedgerId, i64, i64)> + '_ {
        self.acked.iter().flat_map(|(ledger, set)| set.iter().map(|(start, end)| (*ledger, start, end)))
    }

    /// The last acknowledged entry of the range that holds `position`: a reader goes on behind it.
    pub fn acked_through(&self, position: Position) -> Option<Position> {
        let (_, end) = self.acked.get(&position.ledger)?.range_of(position.entry.0)?;
        Some(Position::new(position.ledger, end))
    }

    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// Entries not wholly acknowledged. O(log ledgers).
    pub fn backlog_entries(&self, log: &ManagedLedger) -> u64 {
        log.entries_after(self.mark_delete).saturating_sub(self.acked_entries)
    }

    /// Stored bytes after the mark-delete: an upper bound of the backlog's bytes, estimated within one ledger by its
    /// mean entry size. O(log ledgers).
    pub fn backlog_bytes(&self, log: &ManagedLedger) -> u64 {
        log.bytes_after(self.mark_delete)
    }

    // ---- changes ----

    /// Acknowledges `start..=end` of one ledger, as far as they are in the log.
    pub(crate) fn ack(&mut self, chain: &Chain, ledger: LedgerId, start: i64, end: i64) {
        let Some(last) = chain.last_of(ledger) else { return };
        let floor = if ledger == self.mark_delete.ledger { self.mark_delete.entry.0 + 1 } else { 0 };
        let (start, end) = (start.max(floor), end.min(last.entry.0));
        if ledger < self.mark_delete.ledger || start > end {
            return;
        }
        let set = self.acked.entry(ledger).or_default();
        let (entries, ranges) = (set.count_within(start, end), set.range_count());
        set.insert(start, end);
        self.acked_entries += end.abs_diff(start) + 1 - entries;
        self.ranges = self.ranges + set.range_count() - ranges;
        let (from, to) = (Position::new(ledger, start), Position::new(ledger, end));
        let whole: Vec<Position> = self.partial.range(from..=to).map(|(position, _)| *position).collect();
        whole.iter().for_each(|position| {
            self.partial.remove(position);
        });
        self.advance(chain);
    }

    /// Acknowledges everything up to `position`.
    pub(crate) fn ack_up_to(&mut self, chain: &Chain, position: Position) {
        if position > self.mark_delete {
            self.move_mark(position);
            self.advance(chain);
        }
    }

    /// Acknowledges a part of one entry: what is left is at most `left`.
    pub(crate) fn ack_partly(&mut self, chain: &Chain, position: Position, left: &AckSet) {
        if self.is_acked(position) || !chain.contains(position) {
            return;
        }
        let left = self.partial.get(&position).map_or_else(|| left.clone(), |before| before.intersect(left));
        if left.is_empty() {
            return self.ack(chain, position.ledger, position.entry.0, position.entry.0);
        }
        self.partial.insert(position, left);
    }

    /// Moves the mark-delete to `to`, wherever it stood, and forgets what was acknowledged beyond it.
    pub(crate) fn reset(&mut self, to: Position) {
        self.acked.clear();
        self.partial.clear();
        (self.acked_entries, self.ranges, self.mark_delete) = (0, 0, to);
        self.durable.lower(to);
    }

    pub(crate) fn set_properties(&mut self, properties: BTreeMap<String, String>) {
        self.properties = properties;
    }

    /// Leaves behind what the log no longer holds.
    pub(crate) fn skip_trimmed(&mut self, chain: &Chain) {
        let floor = chain.clamp(self.mark_delete);
        if floor > self.mark_delete {
            self.move_mark(floor);
        }
        self.advance(chain);
    }

    /// Moves the mark-delete over the entries behind it that are acknowledged already (I2).
    fn advance(&mut self, chain: &Chain) {
        while !self.acked.is_empty() {
            let next = chain.next(self.mark_delete);
            match self.acked_through(next) {
                Some(end) => self.move_mark(end),
                None => return,
            }
        }
    }

    /// Raises the mark-delete and drops what it covers (I1).
    fn move_mark(&mut self, to: Position) {
        assert!(to > self.mark_delete, "Cursor I1: the mark-delete moves forward");
        self.mark_delete = to;
        while let Some(mut first) = self.acked.first_entry().filter(|first| *first.key() <= to.ledger) {
            let covered = if *first.key() < to.ledger { i64::MAX } else { to.entry.0 };
            let set = first.get_mut();
            let ranges = set.range_count();
            self.acked_entries -= set.count_within(0, covered);
            set.remove_up_to(covered);
            self.ranges -= ranges - set.range_count();
            if !set.is_empty() {
                break;
            }
            first.remove();
        }
        while self.partial.first_key_value().is_some_and(|(position, _)| *position <= to) {
            self.partial.pop_first();
        }
    }

    // ---- bookkeeping for the log ----

    /// What would have to be kept separately beyond the mark-delete: ranges and partial batches.
    pub(crate) fn pieces(&self) -> usize {
        self.ranges + self.partial.len()
    }

    /// Whether acknowledging this entry may add a range.
    pub(crate) fn grows_by(&self, chain: &Chain, position: Position) -> bool {
        let neighbour = |entry: i64| self.is_acked(Position::new(position.ledger, entry));
        let joins = neighbour(position.entry.0) || neighbour(position.entry.0 - 1) || neighbour(position.entry.0 + 1);
        !joins && chain.next(self.mark_delete) != position
    }

    /// Nothing up to here is needed by the cursor, also after a crash.
    pub(crate) fn floor(&self) -> Position {
        self.durable.lowest()
    }

    /// All operations so far are in a record under way; answers the mark-delete as of it.
    pub(crate) fn seal(&mut self) -> Position {
        self.durable.seal(self.mark_delete);
        self.mark_delete
    }

    /// The record under way is durable.
    pub(crate) fn set_durable(&mut self, mark_delete: Position) {
        self.durable.confirm(mark_delete);
    }

    /// The operations that make this cursor from nothing.
    pub(crate) fn snapshot(&self, id: u64) -> impl Iterator<Item = CursorOp> + '_ {
        let (name, properties) = (self.name.clone(), self.properties.clone());
        let create = CursorOp::Create { id, name, mark_delete: self.mark_delete, properties };
        let acks = self.individually_acked().map(move |(ledger, start, end)| CursorOp::Ack { id, ledger, start, end });
        let partly = self.batch_acks();
        let partly = partly.map(move |(position, left)| CursorOp::Partial { id, position, left: left.clone() });
        std::iter::once(create).chain(acks).chain(partly)
    }
}
