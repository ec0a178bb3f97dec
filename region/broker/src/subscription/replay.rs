//! Entries that were read before and wait to be sent (again): redeliveries, messages held back for a key's owner, and
//! delayed messages.
//!
//! **What**  Positions only: the data is read again when its turn comes, mostly from the cache. [`Replay`] is ordered by
//! position and, for Key_Shared, by slot; [`Delayed`] by the time of delivery.
//!
//! **Invariants**
//! - I1  both orders of [`Replay`] hold the same positions.
//! - I2  an entry is in at most one of `Pending`, [`Replay`], [`Delayed`] (the dispatcher asserts it when it inserts).

use base::Position;
use std::collections::{BTreeMap, BTreeSet};

/// Read before, to be sent again.
#[derive(Debug, Default)]
pub(super) struct Replay {
    slots: BTreeMap<Position, u16>,
    by_slot: BTreeSet<(u16, Position)>,
}

const BEFORE_ALL: Position = Position::EARLIEST;
const AFTER_ALL: Position = Position::LATEST;

impl Replay {
    pub(super) fn insert(&mut self, position: Position, slot: u16) {
        if let Some(before) = self.slots.insert(position, slot) {
            self.by_slot.remove(&(before, position));
        }
        self.by_slot.insert((slot, position));
        debug_assert_eq!(self.slots.len(), self.by_slot.len(), "Replay I1: both orders hold the same positions");
    }

    /// Answers the slot of the entry when it was waiting.
    pub(super) fn remove(&mut self, position: Position) -> Option<u16> {
        let slot = self.slots.remove(&position)?;
        self.by_slot.remove(&(slot, position));
        Some(slot)
    }

    pub(super) fn slot(&self, position: Position) -> Option<u16> {
        self.slots.get(&position).copied()
    }

    /// The oldest `count` positions.
    pub(super) fn first(&self, count: usize) -> Vec<Position> {
        self.slots.keys().take(count).copied().collect()
    }

    /// The oldest position of a slot.
    pub(super) fn first_of(&self, slot: u16) -> Option<Position> {
        self.of(slot).next()
    }

    /// The positions of a slot, ascending.
    pub(super) fn of(&self, slot: u16) -> impl Iterator<Item = Position> + '_ {
        self.by_slot.range((slot, BEFORE_ALL)..=(slot, AFTER_ALL)).map(|(_, position)| *position)
    }

    /// Every slot that something waits for, ascending.
    pub(super) fn occupied_slots(&self) -> Vec<u16> {
        let mut slots = Vec::new();
        let mut next = self.by_slot.first().copied();
        while let Some((slot, _)) = next {
            slots.push(slot);
            next = slot.checked_add(1).and_then(|above| self.by_slot.range((above, BEFORE_ALL)..).next().copied());
        }
        slots
    }

    /// Positions at or below `position`.
    pub(super) fn up_to(&self, position: Position) -> Vec<Position> {
        self.slots.range(..=position).map(|(p, _)| *p).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Messages whose time has not come.
#[derive(Debug, Default)]
pub(super) struct Delayed {
    /// Due time in Unix milliseconds, position → slot.
    waiting: BTreeMap<(u64, Position), u16>,
}

/// Delayed entries that one subscription keeps track of. Beyond them it stops reading ahead until the earliest is due.
pub(super) const DELAYED_MAX: usize = 50_000;
/// Memory of one delayed entry, for stats.
pub(super) const DELAYED_BYTES: u64 = 32;

impl Delayed {
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= DELAYED_MAX
    }

    pub(super) fn insert(&mut self, due_ms: u64, position: Position, slot: u16) {
        assert!(!self.is_full(), "Delayed: at most {DELAYED_MAX} entries");
        self.waiting.insert((due_ms, position), slot);
    }

    /// Takes one entry whose time has come.
    pub(super) fn take_due(&mut self, wall_ms: u64) -> Option<(Position, u16)> {
        let due = self.waiting.first_entry().filter(|first| first.key().0 <= wall_ms)?;
        let ((_, position), slot) = due.remove_entry();
        Some((position, slot))
    }

    /// When the next entry is due, Unix milliseconds.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|((due_ms, _), _)| *due_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps only entries after `position`.
    pub(super) fn forget_up_to(&mut self, position: Position) {
        self.waiting.retain(|(_, waiting), _| *waiting > position);
    }
}
