//! Cursor operations between two records: collected while the record before is being written.
//!
//! **Invariants**
//! - I1  operations of one cursor keep their order; of mark-deletes that follow each other only the last is kept.
//!
//! **Not here**  When a record is written (`cursor_log`), its bytes (`cursor_record`).

use crate::cursor_record::{CursorOp, RecordWriter};
use crate::cursor_set::CursorSet;
use crate::{Checkpoint, CursorId};
use base::Position;
use bytes::Bytes;

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
    waiters: Vec<Waiter>,
    touched: Vec<CursorId>,
    /// The last operation, when it is a mark-delete: whose, and where it starts.
    last_mark: Option<(CursorId, usize)>,
    checkpoint: Option<Position>,
}

impl PendingOps {
    /// Adds operations on one cursor.
    pub(crate) fn push(&mut self, cursor: CursorId, ops: &[CursorOp], waiter: Waiter) {
        for op in ops {
            let is_mark = matches!(op, CursorOp::MarkDelete { .. });
            if let Some((last, start)) = self.last_mark
                && is_mark
                && last == cursor
            {
                self.record.cut(start);
            }
            let start = self.record.push(op);
            self.last_mark = is_mark.then_some((cursor, start));
        }
        if self.touched.last() != Some(&cursor) {
            self.touched.push(cursor);
        }
        self.waiters.push(waiter);
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

    #[test]
    fn a_mark_delete_replaces_only_the_mark_delete_right_before_it() {
        let mark = |id, entry| CursorOp::MarkDelete { id, position: Position::new(LedgerId(1), entry) };
        let (a, b) = (CursorId(1), CursorId(2));
        let mut pending = PendingOps::default();
        for op in [mark(1, 1), mark(1, 2), mark(2, 3), mark(1, 4)] {
            let id = if op == mark(2, 3) { b } else { a };
            pending.push(id, &[op], Waiter::Cursor(7));
        }
        let (record, group) = pending.take_record(None, &mut CursorSet::new());
        assert_eq!(decode(&record).unwrap(), [mark(1, 2), mark(2, 3), mark(1, 4)]);
        assert_eq!(group.waiters.len(), 4);
        assert_eq!(group.marks, [(a, None), (b, None)]);
        assert!(pending.is_empty());
    }
}
