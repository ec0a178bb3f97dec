//! What a log must hold and its cursors must remember, kept without ledgers, records or crashes.

use crate::{AckSet, Checkpoint, ManagedLedger};
use base::Position;
use std::collections::{BTreeMap, BTreeSet};

/// One cursor as its user sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CursorModel {
    pub(super) acked: BTreeSet<Position>,
    /// Messages still unacknowledged, as bits.
    pub(super) partial: BTreeMap<Position, u64>,
    pub(super) label: String,
}

impl CursorModel {
    pub(super) fn ack(&mut self, position: Position) {
        self.acked.insert(position);
        self.partial.remove(&position);
    }

    pub(super) fn ack_partly(&mut self, position: Position, left: u64) {
        if self.acked.contains(&position) {
            return;
        }
        let left = left & self.partial.get(&position).unwrap_or(&u64::MAX);
        if left == 0 {
            self.ack(position);
        } else {
            self.partial.insert(position, left);
        }
    }
}

/// Everything durable beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) cursors: BTreeMap<String, CursorModel>,
    pub(super) checkpoint: Option<Checkpoint>,
}

impl State {
    /// Where the log differs from this state, if it does.
    pub(super) fn difference(&self, log: &ManagedLedger, checkpoint: Option<&Checkpoint>) -> Option<String> {
        let names: Vec<&str> = log.cursors().map(|(_, cursor)| cursor.name()).collect();
        if names.iter().collect::<BTreeSet<_>>()
            != self.cursors.keys().map(|k| k as &str).collect::<Vec<_>>().iter().collect()
        {
            return Some(format!("cursors {names:?} instead of {:?}", self.cursors.keys()));
        }
        if checkpoint != self.checkpoint.as_ref() {
            return Some(format!("checkpoint {checkpoint:?} instead of {:?}", self.checkpoint));
        }
        for (_, cursor) in log.cursors() {
            let model = &self.cursors[cursor.name()];
            if cursor.properties().get("label") != Some(&model.label) {
                return Some(format!("{}: label {:?} instead of {}", cursor.name(), cursor.properties(), model.label));
            }
            let positions = positions(log);
            for position in &positions {
                let (is, should) = (cursor.is_acked(*position), model.acked.contains(position));
                let (left, should_left) = (cursor.batch_ack(*position), model.partial.get(position));
                if is != should || left != should_left.map(|bits| AckSet::from_words(vec![*bits])).as_ref() {
                    let name = cursor.name();
                    return Some(format!("{name} at {position}: {is} {left:?} instead of {should} {should_left:?}"));
                }
            }
            let backlog = positions.iter().filter(|position| !cursor.is_acked(**position)).count() as u64;
            if cursor.backlog_entries(log) != backlog {
                return Some(format!("{}: backlog {} is {backlog}", cursor.name(), cursor.backlog_entries(log)));
            }
        }
        None
    }

    /// Whether everybody can do without this entry.
    pub(super) fn may_lose(&self, position: Position, checkpoint_required: bool) -> bool {
        let covered = self.checkpoint.as_ref().is_some_and(|checkpoint| position <= checkpoint.position);
        self.cursors.values().all(|cursor| cursor.acked.contains(&position)) && (covered || !checkpoint_required)
    }
}

/// All readable positions.
pub(super) fn positions(log: &ManagedLedger) -> Vec<Position> {
    (0..).map_while(|n| log.position_at(Position::EARLIEST, n)).collect()
}

/// The readable positions up to this one.
pub(super) fn positions_up_to(log: &ManagedLedger, last: Position) -> Vec<Position> {
    positions(log).into_iter().filter(|position| *position <= last).collect()
}

/// The operations of one owner: `states[i]` is after `i` of them.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) states: Vec<State>,
    /// Operation → its state.
    pub(super) by_ctx: BTreeMap<u64, usize>,
    /// Answered as durable.
    pub(super) done: usize,
    /// What the next owner found: nothing beyond may be answered as durable.
    pub(super) frozen: Option<usize>,
}

impl History {
    pub(super) fn new(state: State) -> Self {
        Self { states: vec![state], by_ctx: BTreeMap::new(), done: 0, frozen: None }
    }

    pub(super) fn last(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    pub(super) fn push(&mut self, ctx: u64, state: State) {
        self.by_ctx.insert(ctx, self.states.len());
        self.states.push(state);
    }

    /// The states that may be what is on disk.
    pub(super) fn possible(&self) -> &[State] {
        &self.states[self.done..]
    }

    /// Records an answer; a complaint when it must not have come.
    pub(super) fn answered(&mut self, ctx: u64) -> Result<(), String> {
        let index = self.by_ctx[&ctx];
        self.done = self.done.max(index);
        match self.frozen {
            // What changed nothing needs no writing: an owner may answer it without noticing that it was replaced.
            Some(frozen) if index > frozen && self.states[index] != self.states[frozen] => {
                Err(format!("operation {index} answered, the next owner found {frozen}"))
            }
            _ => Ok(()),
        }
    }
}
