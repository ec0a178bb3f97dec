//! What must hold after every event, after every step and at rest.

use super::model::{State, positions};
use super::world::{Check, World};
use crate::{CheckpointRule, Entry};
use base::{EntryData, Position};
use std::collections::BTreeSet;

impl World {
    pub(super) fn see(&mut self, position: Position, number: u64) -> Check {
        if let Some(before) = self.content.insert(position, number).filter(|before| *before != number) {
            return Err(format!("{position} held {before} and now {number}"));
        }
        let twice = self.content.iter().find(|(other, n)| **n == number && **other != position);
        twice.map_or(Ok(()), |(other, _)| Err(format!("{number} is at {other} and at {position}")))
    }

    pub(super) fn see_all(&mut self, entries: &[Entry]) -> Check {
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].position >= pair[1].position) {
            return Err(format!("{} read before {}", pair[0].position, pair[1].position));
        }
        entries.iter().try_for_each(|entry| self.see(entry.position, number_of(&entry.data)))
    }

    pub(super) fn check_gone(&mut self, id: u64) -> Check {
        let owner = &self.owners[&id];
        let Some(history) = owner.history.clone() else { return Ok(()) };
        if history.frozen.is_some() {
            // It gives ledgers up in memory; the commit will not succeed.
            return Ok(());
        }
        let positions = positions(&owner.log).into_iter().collect();
        self.check_missing(&positions, history.possible())
    }

    /// What was durable once and is not there now.
    pub(super) fn missing(&self, present: &BTreeSet<Position>) -> Vec<Position> {
        self.durable.iter().filter(|p| !present.contains(p) && !self.gone.contains(p)).copied().collect()
    }

    /// Everything durable is there, or nobody needs it in any state that may be on disk.
    pub(super) fn check_missing(&mut self, present: &BTreeSet<Position>, states: &[State]) -> Check {
        let required = self.options.checkpoint == CheckpointRule::Required;
        for position in self.missing(present) {
            if let Some(state) = states.iter().find(|state| !state.may_lose(position, required)) {
                return Err(format!("{position} is gone, but needed by {state:?}"));
            }
            self.gone.insert(position);
        }
        Ok(())
    }

    pub(super) fn check_cursors(&self) -> Check {
        let owners = self.owners.values().filter(|owner| owner.opened && !owner.stopped);
        for owner in owners {
            let Some(history) = &owner.history else { continue };
            let state = history.last();
            if let Some(difference) = state.difference(&owner.log, state.checkpoint.as_ref()) {
                return Err(format!("in memory: {difference}"));
            }
        }
        Ok(())
    }

    /// Numbers ascend with positions, for every owner by itself.
    pub(super) fn check_order(&self) -> Check {
        for owner in self.owners.values() {
            let own = self.content.values().filter(|number| owner.numbers.contains(number));
            if !own.clone().is_sorted() {
                return Err(format!("out of order: {:?}", own.collect::<Vec<_>>()));
            }
        }
        Ok(())
    }
}

/// The number that an entry holds.
pub(super) fn number_of(data: &EntryData) -> u64 {
    u64::from_le_bytes(data.body.as_ref().try_into().unwrap())
}
