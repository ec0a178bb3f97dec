//! Cursor operations between two records: collected while the record before is being written.
//!
//! **Invariants**
//! - I1  operations of one cursor keep their order; of mark-deletes and properties that follow each other only the last
//!   is kept, so that a link that moves with every entry costs one operation per record.
//!
//! **Not here**  When a record is written (`cursor_log`), its bytes (`cursor_record`).

use crate::cursor_record::{CursorOp, RecordWriter};
use crate::cursor_set::CursorSet;
use crate::{Checkpoint, CursorId};
use base::Position;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Who waits for an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiter {
    Cursor(u64),
    Checkpoint(u64),
}

/// What one durable record answers.
#[derive(Debug, Default)]
pub(crate) struct Group {
    pub(crate) waiters: Vec<Waiter>,
    /// Mark-deletes as of the record; `None`: the cursor is gone.
    pub(crate) marks: Vec<(CursorId, Option<Position>)>,
    pub(crate) checkpoint: Option<Position>,
}

/// What the next record will hold.
#[derive(Debug, Default)]
pub(crate) struct PendingOps {
    record: RecordWriter,
    /// What a later operation of the same cursor may still replace (I1); it goes into the record last.
    latest: BTreeMap<CursorId, Latest>,
    waiters: Vec<Waiter>,
    touched: Vec<CursorId>,
    checkpoint: Option<Position>,
}

/// The newest operation of each kind that wholly replaces the one before.
#[derive(Debug, Default)]
struct Latest {
    mark: Option<CursorOp>,
    properties: Option<CursorOp>,
}

impl PendingOps {
    /// Adds operations on one cursor.
    pub(crate) fn push(&mut self, cursor: CursorId, ops: &[CursorOp], waiter: Waiter) {
        for op in ops {
            match op {
                CursorOp::MarkDelete { .. } => self.latest.entry(cursor).or_default().mark = Some(op.clone()),
                CursorOp::Properties { .. } => self.latest.entry(cursor).or_default().properties = Some(op.clone()),
                other => {
                    self.write_latest(cursor);
                    self.record.push(other);
                }
            }
        }
        if self.touched.last() != Some(&cursor) {
            self.touched.push(cursor);
        }
        self.waiters.push(waiter);
    }

    /// Puts what could still be replaced into the record: something that must stay behind it follows.
    fn write_latest(&mut self, cursor: CursorId) {
        let Some(Latest { mark, properties }) = self.latest.remove(&cursor) else { return };
        for op in mark.into_iter().chain(properties) {
            self.record.push(&op);
        }
    }

    /// Bytes that wait in the record; what can still be replaced is not counted, it is bounded by the cursors.
    pub(crate) fn bytes(&self) -> usize {
        self.record.len()
    }

    /// The record will hold the newest checkpoint there is when it is written; it will be at least this one.
    pub(crate) fn push_checkpoint(&mut self, position: Position, waiter: Waiter) {
        self.checkpoint = Some(position);
        self.waiters.push(waiter);
    }

    /// Somebody waits for what was added so far.
    pub(crate) fn attach(&mut self, waiter: Waiter) {
        self.waiters.push(waiter);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn waiters(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn checkpoint(&self) -> Option<Position> {
        self.checkpoint
    }

    /// Finishes the record and says whom it will answer.
    pub(crate) fn take_record(&mut self, checkpoint: Option<&Checkpoint>, cursors: &mut CursorSet) -> (Bytes, Group) {
        while let Some((cursor, _)) = self.latest.first_key_value() {
            self.write_latest(*cursor);
        }
        if let (Some(_), Some(checkpoint)) = (self.checkpoint, checkpoint) {
            self.record.push(&CursorOp::Checkpoint(checkpoint.clone()));
        }
        self.touched.sort_unstable();
        self.touched.dedup();
        let Self { mut record, waiters, touched, checkpoint, .. } = std::mem::take(self);
        (record.finish(), Group { waiters, marks: cursors.seal(&touched), checkpoint })
    }

    /// Everything added so far is in a snapshot, or given up.
    pub(crate) fn take_waiters(&mut self) -> Vec<Waiter> {
        std::mem::take(self).waiters
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor_record::decode;
    use base::LedgerId;

    fn mark(id: u64, entry: i64) -> CursorOp {
        CursorOp::MarkDelete { id, position: Position::new(LedgerId(1), entry) }
    }

    fn properties(id: u64, value: &str) -> CursorOp {
        CursorOp::Properties { id, properties: BTreeMap::from([("at".to_owned(), value.to_owned())]) }
    }

    fn ack(id: u64, entry: i64) -> CursorOp {
        CursorOp::Ack { id, ledger: LedgerId(1), start: entry, end: entry }
    }

    fn written(ops: &[(u64, CursorOp)]) -> (Vec<CursorOp>, Group) {
        let mut pending = PendingOps::default();
        for (id, op) in ops {
            pending.push(CursorId(*id), std::slice::from_ref(op), Waiter::Cursor(7));
        }
        let (record, group) = pending.take_record(None, &mut CursorSet::new());
        assert!(pending.is_empty());
        (decode(&record).unwrap(), group)
    }

    #[test]
    fn of_moves_that_follow_each_other_only_the_last_is_written() {
        let ops = [(1, mark(1, 1)), (1, properties(1, "a")), (2, mark(2, 3)), (1, mark(1, 4)), (1, properties(1, "b"))];
        let (record, group) = written(&ops);
        assert_eq!(record, [mark(1, 4), properties(1, "b"), mark(2, 3)]);
        assert_eq!(group.waiters.len(), 5);
        assert_eq!(group.marks, [(CursorId(1), None), (CursorId(2), None)]);
    }

    #[test]
    fn an_acknowledgement_stays_behind_the_move_before_it_and_in_front_of_the_one_after_it() {
        let (record, _) = written(&[(1, mark(1, 1)), (1, ack(1, 5)), (1, mark(1, 2)), (1, mark(1, 3))]);
        assert_eq!(record, [mark(1, 1), ack(1, 5), mark(1, 3)]);
    }
}
