//! All cursors of one managed ledger, and the one place that changes them: live and when replaying the cursor ledger.
//!
//! **Invariants**
//! - I1  ids ascend and are never given twice by one owner; durable names are unique.
//! - I2  the same operations in the same order make the same acknowledgements, live and in a replay.
//! - I3  a cursor that is being deleted holds back trimming until its deletion is durable.
//!
//! **Not here**  Checks of what clients send (`cursor_ops`), durability (`cursor_log`).

use crate::chain::Chain;
use crate::cursor_record::CursorOp;
use crate::{Cursor, CursorId, CursorKind};
use base::Position;

/// The cursors.
#[derive(Debug)]
pub(crate) struct CursorSet {
    /// By ascending id.
    cursors: Vec<(CursorId, Box<Cursor>)>,
    next_id: u64,
    /// Deleted, but not durably: id and the position that each still needs.
    leaving: Vec<(CursorId, Position)>,
}

impl CursorSet {
    pub(crate) fn new() -> Self {
        Self { cursors: Vec::new(), next_id: 1, leaving: Vec::new() }
    }

    /// A fresh id.
    pub(crate) fn allocate(&mut self) -> CursorId {
        self.next_id += 1;
        CursorId(self.next_id - 1)
    }

    fn index(&self, id: CursorId) -> Option<usize> {
        self.cursors.binary_search_by_key(&id, |(id, _)| *id).ok()
    }

    pub(crate) fn get(&self, id: CursorId) -> Option<&Cursor> {
        self.index(id).map(|index| &*self.cursors[index].1)
    }

    fn get_mut(&mut self, id: CursorId) -> Option<&mut Cursor> {
        self.index(id).map(|index| &mut *self.cursors[index].1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (CursorId, &Cursor)> + '_ {
        self.cursors.iter().map(|(id, cursor)| (*id, &**cursor))
    }

    pub(crate) fn durable(&self) -> impl Iterator<Item = (CursorId, &Cursor)> + '_ {
        self.iter().filter(|(_, cursor)| cursor.kind() == CursorKind::Durable)
    }

    pub(crate) fn len(&self) -> usize {
        self.cursors.len()
    }

    /// Whether this id was never given.
    pub(crate) fn is_fresh(&self, id: CursorId) -> bool {
        id.0 >= self.next_id
    }

    pub(crate) fn insert(&mut self, id: CursorId, cursor: Cursor) {
        assert!(self.cursors.last().is_none_or(|(last, _)| *last < id), "CursorSet I1: ids ascend");
        self.next_id = self.next_id.max(id.0.saturating_add(1));
        self.cursors.push((id, Box::new(cursor)));
    }

    /// Applies one operation (I2). An operation on a cursor that is gone, or on entries that were trimmed, does nothing.
    pub(crate) fn apply(&mut self, chain: &Chain, op: &CursorOp) {
        match op {
            CursorOp::Create { id, name, mark_delete, properties } => {
                let mark_delete = chain.clamp(*mark_delete);
                let cursor = Cursor::new(name.clone(), CursorKind::Durable, mark_delete, properties.clone());
                self.insert(CursorId(*id), cursor);
            }
            CursorOp::MarkDelete { id, position } => {
                self.change(*id, |cursor| cursor.ack_up_to(chain, chain.clamp(*position)));
            }
            CursorOp::Ack { id, ledger, start, end } => self.change(*id, |c| c.ack(chain, *ledger, *start, *end)),
            CursorOp::Partial { id, position, left } => self.change(*id, |c| c.ack_partly(chain, *position, left)),
            CursorOp::Reset { id, to } => self.change(*id, |cursor| cursor.reset(chain.clamp(*to))),
            CursorOp::Properties { id, properties } => self.change(*id, |c| c.set_properties(properties.clone())),
            CursorOp::Delete { id } => self.remove(CursorId(*id)),
            CursorOp::Checkpoint(_) => (),
        }
    }

    fn change(&mut self, id: u64, change: impl FnOnce(&mut Cursor)) {
        if let Some(cursor) = self.get_mut(CursorId(id)) {
            change(cursor);
        }
    }

    fn remove(&mut self, id: CursorId) {
        if let Some(index) = self.index(id) {
            let (_, cursor) = self.cursors.remove(index);
            if cursor.kind() == CursorKind::Durable {
                self.leaving.push((id, cursor.floor()));
            }
        }
    }

    /// The log lost its oldest ledgers.
    pub(crate) fn skip_trimmed(&mut self, chain: &Chain) {
        self.cursors.iter_mut().for_each(|(_, cursor)| cursor.skip_trimmed(chain));
    }

    /// These mark-deletes are on disk now; a cursor that is gone is durably gone.
    pub(crate) fn set_durable(&mut self, marks: &[(CursorId, Option<Position>)]) {
        for (id, mark) in marks {
            match mark {
                Some(mark) => self.change(id.0, |cursor| cursor.set_durable(*mark)),
                None => self.leaving.retain(|(leaving, _)| leaving != id),
            }
        }
    }

    /// A record with all operations so far on these cursors is under way: their mark-deletes as of it, in the form of
    /// [`CursorSet::set_durable`].
    pub(crate) fn seal(&mut self, ids: &[CursorId]) -> Vec<(CursorId, Option<Position>)> {
        ids.iter().map(|id| (*id, self.get_mut(*id).map(Cursor::seal))).collect()
    }

    /// The same for a snapshot, which is of all cursors.
    pub(crate) fn seal_all(&mut self) -> Vec<(CursorId, Option<Position>)> {
        let gone = self.leaving.iter().map(|(id, _)| *id);
        let ids: Vec<CursorId> = self.durable().map(|(id, _)| id).chain(gone).collect();
        self.seal(&ids)
    }

    /// After a replay everything is on disk.
    pub(crate) fn set_all_durable(&mut self) {
        self.leaving.clear();
        for (_, cursor) in &mut self.cursors {
            let mark = cursor.seal();
            cursor.set_durable(mark);
        }
    }

    /// The lowest position that a durable cursor needs to keep as its mark-delete; `None` when there is no such cursor.
    pub(crate) fn floor(&self) -> Option<Position> {
        let leaving = self.leaving.iter().map(|(_, floor)| *floor);
        self.durable().map(|(_, cursor)| cursor.floor()).chain(leaving).min()
    }
}
