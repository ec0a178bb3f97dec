//! What users of the log do, each operation remembered in the model.

use super::model::{CursorModel, State, positions, positions_up_to};
use super::world::{Check, World};
use crate::{AckSet, Checkpoint, CursorId, ManagedEffect, ManagedEvent, Read};
use base::{EntryData, Position};
use bytes::Bytes;
use std::collections::BTreeMap;

impl World {
    pub(super) fn act(&mut self) -> Check {
        let live: Vec<u64> = self.owners.iter().filter(|(_, o)| o.opened && !o.stopped).map(|(id, _)| *id).collect();
        let Some(id) = self.rng.pick(&live).copied() else { return Ok(()) };
        match self.rng.below(12) {
            0..4 => self.add(id),
            4 => self.read(id)?,
            5 => self.checkpoint(id),
            6 => self.create(id),
            7 if self.rng.one_in(4) => self.cursor_op(id, Self::delete),
            7 => self.cursor_op(id, Self::reset),
            8 => self.cursor_op(id, Self::label),
            9 => self.cursor_op(id, Self::ack_up_to),
            _ => self.cursor_op(id, Self::ack_each),
        }
        self.collect(id)
    }

    pub(super) fn add(&mut self, id: u64) {
        for _ in 0..self.rng.range(1, 4) {
            let number = self.next_number;
            self.next_number += 1;
            let Some(owner) = self.owners.get_mut(&id) else { return };
            let data = EntryData::new(Bytes::from_static(b"h"), Bytes::from(number.to_le_bytes().to_vec()));
            if owner.log.add(self.now, number, data, &mut owner.fx).is_ok() {
                owner.adds.push_back(number);
                owner.numbers.insert(number);
            }
        }
    }

    pub(super) fn read(&mut self, id: u64) -> Check {
        let n = self.rng.below(20);
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        let from = owner.log.position_at(Position::EARLIEST, n).unwrap_or(Position::EARLIEST);
        let (entries_max, bytes_max) = (self.rng.range(1, 9) as u32, self.rng.range(1, 200));
        match owner.log.read(self.now, from, entries_max, bytes_max, &mut owner.fx) {
            Read::Ready(entries) if entries.is_empty() => Err("an empty answer".to_owned()),
            Read::Ready(entries) => self.see_all(&entries),
            Read::Pending(read) => {
                owner.reads.insert(read);
                Ok(())
            }
            Read::AtTail if owner.log.total_entries() > 0 => Err("no tail there".to_owned()),
            Read::AtTail | Read::Busy => Ok(()),
        }
    }

    pub(super) fn ctx(&mut self) -> u64 {
        self.next_ctx += 1;
        self.next_ctx
    }

    pub(super) fn checkpoint(&mut self, id: u64) {
        let ctx = self.ctx();
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let Some(position) = self.rng.pick(&all).copied() else { return };
        let checkpoint = Checkpoint { position, bytes: Bytes::from(ctx.to_le_bytes().to_vec()) };
        owner.log.checkpoint(self.now, checkpoint.clone(), ctx, &mut owner.fx);
        if let (true, Some(history)) = (owner.log.is_open(), &mut owner.history) {
            let state = State { checkpoint: Some(checkpoint), ..history.last().clone() };
            history.push(ctx, state);
        }
    }

    pub(super) fn create(&mut self, id: u64) {
        let (ctx, name) = (self.ctx(), (*self.rng.pick(&["a", "b", "c"]).unwrap()).to_owned());
        let mark = if self.rng.one_in(2) { Position::EARLIEST } else { Position::LATEST };
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let label = format!("l{ctx}");
        let properties = BTreeMap::from([("label".to_owned(), label.clone())]);
        owner.log.create_cursor(self.now, &name, mark, properties, ctx, &mut owner.fx);
        let acked = positions_up_to(&owner.log, mark).into_iter().collect();
        self.log_op(id, ctx, |state| {
            state.cursors.insert(name, CursorModel { acked, partial: BTreeMap::new(), label });
        });
    }

    /// Remembers an operation unless it was refused.
    pub(super) fn log_op(&mut self, id: u64, ctx: u64, change: impl FnOnce(&mut State)) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let refused = |effect: &ManagedEffect| match effect {
            ManagedEffect::Event(ManagedEvent::CursorDone { ctx: done, result: Err(_) }) => *done == ctx,
            _ => false,
        };
        if let (false, Some(history)) = (owner.fx.iter().any(refused), &mut owner.history) {
            let mut state = history.last().clone();
            change(&mut state);
            history.push(ctx, state);
        }
    }

    /// An operation on one of the cursors.
    pub(super) fn cursor_op(&mut self, id: u64, op: impl FnOnce(&mut Self, u64, u64, CursorId, String)) {
        let cursors: Vec<(CursorId, String)> =
            self.owners[&id].log.cursors().map(|(id, cursor)| (id, cursor.name().to_owned())).collect();
        if let Some((cursor, name)) = self.rng.pick(&cursors).cloned() {
            let ctx = self.ctx();
            op(self, id, ctx, cursor, name);
        }
    }

    pub(super) fn delete(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        owner.log.delete_cursor(self.now, cursor, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| drop(state.cursors.remove(&name)));
    }

    pub(super) fn label(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let label = format!("l{ctx}");
        let properties = BTreeMap::from([("label".to_owned(), label.clone())]);
        owner.log.set_cursor_properties(self.now, cursor, properties, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| state.cursors.get_mut(&name).unwrap().label = label);
    }

    pub(super) fn reset(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let to = self.rng.pick(&all).copied().unwrap_or(Position::EARLIEST);
        owner.log.reset_cursor(self.now, cursor, to, ctx, &mut owner.fx);
        let acked = positions_up_to(&owner.log, to).into_iter().collect();
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            (model.acked, model.partial) = (acked, BTreeMap::new());
        });
    }

    pub(super) fn ack_up_to(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let Some(position) = self.rng.pick(&all).copied() else { return };
        let left = self.rng.below(3) * 5;
        let partial = self.rng.one_in(3).then(|| AckSet::from_words(vec![left]));
        let moves = position > owner.log.cursor(cursor).unwrap().mark_delete();
        owner.log.ack_up_to(self.now, cursor, position, partial.clone(), ctx, &mut owner.fx);
        let covered = positions_up_to(&owner.log, position);
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            for covered in covered.into_iter().filter(|_| moves) {
                match partial {
                    Some(_) if covered == position => model.ack_partly(position, left),
                    _ => model.ack(covered),
                }
            }
        });
    }

    pub(super) fn ack_each(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let mut acks = Vec::new();
        for _ in 0..self.rng.range(1, 4) {
            let Some(position) = self.rng.pick(&all).copied() else { return };
            acks.push((position, if self.rng.one_in(3) { Some(self.rng.below(8)) } else { None }));
        }
        let sets: Vec<_> = acks.iter().map(|(p, left)| (*p, left.map(|left| AckSet::from_words(vec![left])))).collect();
        owner.log.ack_each(self.now, cursor, &sets, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            acks.iter().for_each(|(position, left)| match left {
                Some(left) => model.ack_partly(*position, *left),
                None => model.ack(*position),
            });
        });
    }
}
