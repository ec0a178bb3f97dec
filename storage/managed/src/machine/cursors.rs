//! Cursor operations: checked, applied in memory, made durable, answered.

use super::{ManagedLedger, Phase};
use crate::cursor_record::CursorOp;
use crate::pending_ops::Waiter;
use crate::site::Fx;
use crate::{
    ACK_SET_WORDS_MAX, AckSet, CHECKPOINT_BYTES_MAX, Checkpoint, Cursor, CursorError, CursorId, CursorKind,
    ManagedEffect, ManagedEvent,
};
use base::{EntryId, Now, Position};
use std::collections::BTreeMap;

/// Longest cursor name, in bytes.
const NAME_BYTES_MAX: usize = 4 << 10;
/// Bytes that wait for the next record: beyond, operations are refused, so that the record fits an entry.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// All properties of one cursor, in bytes.
const PROPERTIES_BYTES_MAX: usize = 64 << 10;

impl ManagedLedger {
    // ---- looking ----

    /// All cursors, oldest first.
    pub fn cursors(&self) -> impl Iterator<Item = (CursorId, &Cursor)> + '_ {
        self.cursors.iter()
    }

    pub fn cursor(&self, id: CursorId) -> Option<&Cursor> {
        self.cursors.get(id)
    }

    // ---- operations ----

    /// Creates a durable cursor with the mark-delete nearest to `mark_delete`; it is listed at once and durable with
    /// `CursorDone { ctx }`. A refusal is reported the same way, and the id then names nothing.
    pub fn create_cursor(
        &mut self,
        now: Now,
        name: &str,
        mark_delete: Position,
        properties: BTreeMap<String, String>,
        ctx: u64,
        fx: &mut Fx,
    ) -> CursorId {
        let id = self.cursors.allocate();
        let checked = self.check_open().and_then(|()| self.check_new(name, &properties));
        let result = checked.map(|()| {
            let mark_delete = self.chain.clamp(mark_delete);
            vec![CursorOp::Create { id: id.0, name: name.to_owned(), mark_delete, properties }]
        });
        self.finish_op(now, id, result, ctx, fx);
        id
    }

    /// Creates a cursor that lives in memory only; its operations are answered at once and hold back no trimming.
    pub fn create_volatile_cursor(&mut self, name: &str, mark_delete: Position) -> CursorId {
        let id = self.cursors.allocate();
        let mark_delete = self.chain.clamp(mark_delete);
        self.cursors.insert(id, Cursor::new(name.to_owned(), CursorKind::Volatile, mark_delete, BTreeMap::new()));
        id
    }

    /// Acknowledges everything up to `position`; with `partial`, `position` itself only so far that `partial` remains.
    /// A position at or below the mark-delete changes nothing and succeeds.
    pub fn ack_up_to(
        &mut self,
        now: Now,
        id: CursorId,
        position: Position,
        partial: Option<AckSet>,
        ctx: u64,
        fx: &mut Fx,
    ) {
        let result = self.ops_up_to(id, position, partial);
        self.finish_op(now, id, result, ctx, fx);
    }

    fn ops_up_to(
        &self,
        id: CursorId,
        position: Position,
        partial: Option<AckSet>,
    ) -> Result<Vec<CursorOp>, CursorError> {
        let cursor = self.check_cursor(id)?;
        if position <= cursor.mark_delete() {
            return Ok(Vec::new());
        }
        self.check_entry(cursor, position, partial.as_ref())?;
        Ok(match partial.filter(|left| !left.is_empty()) {
            None => vec![CursorOp::MarkDelete { id: id.0, position }],
            Some(left) => {
                let before = self.chain.previous(position);
                let mut ops = vec![CursorOp::Partial { id: id.0, position, left }];
                if before > cursor.mark_delete() {
                    ops.insert(0, CursorOp::MarkDelete { id: id.0, position: before });
                }
                ops
            }
        })
    }

    /// Acknowledges single entries, each wholly or so far that its set remains (met with what is stored). All or
    /// nothing: one entry that does not exist refuses the whole list.
    pub fn ack_each(&mut self, now: Now, id: CursorId, acks: &[(Position, Option<AckSet>)], ctx: u64, fx: &mut Fx) {
        let result = self.ops_each(id, acks);
        self.finish_op(now, id, result, ctx, fx);
    }

    fn ops_each(&self, id: CursorId, acks: &[(Position, Option<AckSet>)]) -> Result<Vec<CursorOp>, CursorError> {
        let cursor = self.check_cursor(id)?;
        let mut ops: Vec<CursorOp> = Vec::new();
        for (position, partial) in acks.iter().filter(|(position, _)| !cursor.is_acked(*position)) {
            self.check_entry(cursor, *position, partial.as_ref())?;
            let (position, id) = (*position, id.0);
            let Position { ledger, entry: EntryId(entry) } = position;
            match (ops.last_mut(), partial.as_ref().filter(|left| !left.is_empty())) {
                (_, Some(left)) => ops.push(CursorOp::Partial { id, position, left: left.clone() }),
                (Some(CursorOp::Ack { ledger: last, end, .. }), None) if *last == ledger && *end + 1 == entry => {
                    *end = entry;
                }
                (_, None) => ops.push(CursorOp::Ack { id, ledger, start: entry, end: entry }),
            }
        }
        self.check_pieces(cursor, acks)?;
        Ok(ops)
    }

    /// Moves the mark-delete to the place nearest to `to`, in either direction, and forgets all acknowledgements beyond
    /// it. The lowest place is before the first readable entry, the highest the last confirmed one.
    pub fn reset_cursor(&mut self, now: Now, id: CursorId, to: Position, ctx: u64, fx: &mut Fx) {
        let to = self.chain.clamp(to);
        let result = self.check_cursor(id).map(|_| vec![CursorOp::Reset { id: id.0, to }]);
        self.finish_op(now, id, result, ctx, fx);
    }

    /// Deletes the cursor; it is no longer listed.
    pub fn delete_cursor(&mut self, now: Now, id: CursorId, ctx: u64, fx: &mut Fx) {
        let result = self.check_cursor(id).map(|_| vec![CursorOp::Delete { id: id.0 }]);
        self.finish_op(now, id, result, ctx, fx);
        self.trimming.look();
    }

    /// Replaces the cursor's properties.
    pub fn set_cursor_properties(
        &mut self,
        now: Now,
        id: CursorId,
        properties: BTreeMap<String, String>,
        ctx: u64,
        fx: &mut Fx,
    ) {
        let checked = self.check_cursor(id).and_then(|_| check_properties(&properties));
        self.finish_op(now, id, checked.map(|()| vec![CursorOp::Properties { id: id.0, properties }]), ctx, fx);
    }

    /// Saves opaque state of the owner; `Checkpointed { ctx }` when durable. When a newer checkpoint comes before an
    /// older one was written, both are reported together and the newer one is kept.
    ///
    /// # Panics
    /// When the bytes exceed [`CHECKPOINT_BYTES_MAX`] or the position was never confirmed: the owner bounds its state
    /// and knows what it has seen.
    pub fn checkpoint(&mut self, now: Now, checkpoint: Checkpoint, ctx: u64, fx: &mut Fx) {
        assert!(checkpoint.bytes.len() <= CHECKPOINT_BYTES_MAX, "a checkpoint of {} bytes", checkpoint.bytes.len());
        assert!(checkpoint.position <= self.chain.last(), "a checkpoint at {}", checkpoint.position);
        if self.is_open() {
            self.cursor_log.save_checkpoint(checkpoint, Waiter::Checkpoint(ctx));
            self.settle(now, fx);
        }
    }

    // ---- checks ----

    fn check_open(&self) -> Result<(), CursorError> {
        let Phase::Open = self.phase else { return Err(CursorError::NotOpen { state: self.state() }) };
        let (pending, pending_max) = (self.cursor_log.unanswered(), self.site.options.pending_requests_max);
        let full = pending >= pending_max || self.cursor_log.pending_bytes() >= RECORD_BYTES_MAX;
        if full { Err(CursorError::Busy { pending, pending_max }) } else { Ok(()) }
    }

    fn check_cursor(&self, id: CursorId) -> Result<&Cursor, CursorError> {
        self.check_open()?;
        self.cursors.get(id).ok_or(CursorError::NoSuchCursor { id: id.0 })
    }

    fn check_new(&self, name: &str, properties: &BTreeMap<String, String>) -> Result<(), CursorError> {
        let cursors_max = self.site.options.cursors_max;
        if self.cursors.len() >= cursors_max {
            return Err(CursorError::TooManyCursors { cursors_max });
        }
        check_size("a cursor name", name.len(), NAME_BYTES_MAX)?;
        check_properties(properties)?;
        if self.cursors.durable().any(|(_, cursor)| cursor.name() == name) {
            return Err(CursorError::NameTaken { name: name.to_owned() });
        }
        Ok(())
    }

    fn check_entry(&self, cursor: &Cursor, position: Position, partial: Option<&AckSet>) -> Result<(), CursorError> {
        check_size("an ack set in words", partial.map_or(0, |left| left.words().len()), ACK_SET_WORDS_MAX)?;
        if self.chain.contains(position) {
            return Ok(());
        }
        let (name, first, last) = (cursor.name().to_owned(), self.chain.first(), self.chain.last());
        Err(CursorError::NoSuchEntry { name, position, first, last })
    }

    /// Refuses a list that would make the cursor hold too many separate pieces; filling gaps is always allowed.
    fn check_pieces(&self, cursor: &Cursor, acks: &[(Position, Option<AckSet>)]) -> Result<(), CursorError> {
        let ranges_max = self.site.options.cursor_ranges_max;
        if cursor.pieces() + acks.len() <= ranges_max {
            return Ok(());
        }
        let grows = |(position, partial): &&(Position, Option<AckSet>)| match partial {
            Some(_) => cursor.batch_ack(*position).is_none() && !cursor.is_acked(*position),
            None => cursor.grows_by(&self.chain, *position),
        };
        if cursor.pieces() + acks.iter().filter(grows).count() <= ranges_max {
            return Ok(());
        }
        Err(CursorError::TooManyRanges { name: cursor.name().to_owned(), ranges_max })
    }

    // ---- the common end ----

    /// Applies the operations, and answers now or when they are durable.
    fn finish_op(&mut self, now: Now, id: CursorId, ops: Result<Vec<CursorOp>, CursorError>, ctx: u64, fx: &mut Fx) {
        let done = |result| ManagedEffect::Event(ManagedEvent::CursorDone { ctx, result });
        let ops = match ops {
            Ok(ops) => ops,
            Err(error) => return fx.push(done(Err(error))),
        };
        let volatile = self.cursors.get(id).is_some_and(|cursor| cursor.kind() == CursorKind::Volatile);
        ops.iter().for_each(|op| self.cursors.apply(&self.chain, op));
        if volatile {
            return fx.push(done(Ok(())));
        }
        if !ops.is_empty() {
            self.cursor_log.submit(id, &ops, Waiter::Cursor(ctx));
        } else if !self.cursor_log.attach(Waiter::Cursor(ctx)) {
            // Nothing changed and everything before is durable.
            return fx.push(done(Ok(())));
        }
        self.settle(now, fx);
    }
}

fn check_size(what: &'static str, size: usize, size_max: usize) -> Result<(), CursorError> {
    if size > size_max { Err(CursorError::TooLarge { what, size, size_max }) } else { Ok(()) }
}

fn check_properties(properties: &BTreeMap<String, String>) -> Result<(), CursorError> {
    let size = properties.iter().map(|(key, value)| key.len() + value.len() + 8).sum();
    check_size("cursor properties", size, PROPERTIES_BYTES_MAX)
}
