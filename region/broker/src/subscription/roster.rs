//! Whose turn it is among Shared consumers: round robin within the highest priority that can take messages.
//!
//! **Invariants**
//! - I1  every consumer is in exactly one level.
//! - I2  a consumer gets at most [`TURN_ENTRIES_MAX`] entries in a row while another of its level can take some.

use super::consumer::ConsumerKey;
use std::collections::BTreeMap;

/// Entries that one consumer gets before it is the next one's turn.
pub(super) const TURN_ENTRIES_MAX: u32 = 20;

/// All consumers by priority.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// Lowest number first: it is served first.
    levels: BTreeMap<i32, Level>,
}

#[derive(Debug, Default)]
struct Level {
    members: Vec<ConsumerKey>,
    /// Index of whose turn it is.
    turn: usize,
    /// Entries that it got in this turn.
    given: u32,
}

impl Roster {
    pub(super) fn add(&mut self, consumer: ConsumerKey, priority: i32) {
        self.levels.entry(priority).or_default().members.push(consumer);
    }

    pub(super) fn remove(&mut self, consumer: ConsumerKey) {
        for level in self.levels.values_mut() {
            if let Some(index) = level.members.iter().position(|member| *member == consumer) {
                level.members.remove(index);
                if index < level.turn {
                    level.turn -= 1;
                } else if index == level.turn {
                    level.given = 0;
                    level.turn %= level.members.len().max(1);
                }
            }
        }
        self.levels.retain(|_, level| !level.members.is_empty());
    }

    /// Who gets the next entry, and counts it.
    pub(super) fn pick(&mut self, can_take: impl Fn(ConsumerKey) -> bool) -> Option<ConsumerKey> {
        self.levels.values_mut().find_map(|level| level.pick(&can_take))
    }

    /// All consumers, those served first in front.
    pub(super) fn iter(&self) -> impl Iterator<Item = ConsumerKey> + '_ {
        self.levels.values().flat_map(|level| level.members.iter().copied())
    }

    /// What is being sent now ends: the next entry goes to the next consumer.
    pub(super) fn end_turn(&mut self) {
        for level in self.levels.values_mut().filter(|level| level.given > 0) {
            level.pass_on();
        }
    }
}

impl Level {
    fn pick(&mut self, can_take: impl Fn(ConsumerKey) -> bool) -> Option<ConsumerKey> {
        if self.given >= TURN_ENTRIES_MAX {
            self.pass_on();
        }
        for _ in 0..self.members.len() {
            let member = self.members.get(self.turn % self.members.len()).copied()?;
            if can_take(member) {
                self.given += 1;
                return Some(member);
            }
            self.pass_on();
        }
        None
    }

    fn pass_on(&mut self) {
        self.turn = (self.turn + 1) % self.members.len().max(1);
        self.given = 0;
    }
}
