//! Who gets an entry of a Shared or Key_Shared subscription.
//!
//! **What**  Shared: whoever's turn it is. Key_Shared: the owner of the entry's slot, once nothing of the slot waits before
//! it or lies with somebody else.
//!
//! **Invariants**
//! - I1  (order kept) an entry of a slot is chosen for a consumer only while nobody else holds entries of the slot and no
//!   earlier entry of the slot waits in the replay queue.
//! - I2  `ready` holds exactly the slots that something waits for in the replay queue, that have an owner, and whose
//!   entries may go to this owner.

use super::consumer::{ConsumerKey, ConsumerSpec, KeyOrder, KeySharedMode, SubType};
use super::draining::SlotHolders;
use super::key_shared::{KeyRanges, RangeError, SlotRange};
use super::replay::Replay;
use super::roster::Roster;
use base::Position;
use std::collections::{BTreeMap, BTreeSet};

/// The rule by which consumers are chosen.
#[derive(Debug)]
pub(super) enum Route {
    RoundRobin(Roster),
    ByKey(ByKey),
}

/// Whether an entry was read from the log just now or waits in the replay queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Log,
    Replay(Position),
}

/// Key_Shared.
#[derive(Debug)]
pub(super) struct ByKey {
    ranges: KeyRanges,
    split: Split,
    order: KeyOrder,
    holders: SlotHolders,
    ready: BTreeSet<u16>,
    /// Slots whose former owner gave back its last entry.
    drained_total: u64,
}

/// Who divides the slots; fixed by the first consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    Auto,
    Sticky,
}

impl Split {
    pub(super) fn of(mode: &KeySharedMode) -> Self {
        match mode {
            KeySharedMode::AutoSplit => Self::Auto,
            KeySharedMode::Sticky(_) => Self::Sticky,
        }
    }
}

impl Route {
    /// The rule that the first consumer of a subscription brings.
    pub(super) fn for_first(spec: &ConsumerSpec) -> Self {
        if spec.sub_type != SubType::KeyShared {
            return Self::RoundRobin(Roster::default());
        }
        let key_shared = spec.key_shared.clone().unwrap_or_default();
        Self::ByKey(ByKey {
            ranges: KeyRanges::new(),
            split: Split::of(&key_shared.mode),
            order: key_shared.order,
            holders: SlotHolders::default(),
            ready: BTreeSet::new(),
            drained_total: 0,
        })
    }

    /// Takes a consumer in. The caller refused those of another mode before.
    ///
    /// # Errors
    /// [`RangeError`] when it gets no range; nothing changed then.
    pub(super) fn add(&mut self, spec: &ConsumerSpec, replay: &Replay) -> Result<(), RangeError> {
        match self {
            Self::RoundRobin(roster) => roster.add(spec.key, spec.priority_level),
            Self::ByKey(by_key) => {
                match spec.key_shared.as_ref().map(|key_shared| &key_shared.mode) {
                    None | Some(KeySharedMode::AutoSplit) => by_key.ranges.split_for(spec.key)?,
                    Some(KeySharedMode::Sticky(named)) => by_key.ranges.stick(spec.key, named)?,
                }
                by_key.refresh_all(replay);
            }
        }
        Ok(())
    }

    /// A consumer left. What it held is released entry by entry before.
    pub(super) fn remove(&mut self, key: ConsumerKey, replay: &Replay) {
        match self {
            Self::RoundRobin(roster) => roster.remove(key),
            Self::ByKey(by_key) => {
                match by_key.split {
                    Split::Auto => by_key.ranges.merge_away(key),
                    Split::Sticky => by_key.ranges.unstick(key),
                }
                by_key.refresh_all(replay);
            }
        }
    }

    pub(super) fn by_key(&self) -> Option<&ByKey> {
        match self {
            Self::RoundRobin(_) => None,
            Self::ByKey(by_key) => Some(by_key),
        }
    }

    /// Who gets an entry of `slot` now.
    pub(super) fn choose(
        &mut self,
        slot: u16,
        source: Source,
        replay: &Replay,
        can_take: impl Fn(ConsumerKey) -> bool,
    ) -> Option<ConsumerKey> {
        match self {
            Self::RoundRobin(roster) => roster.pick(can_take),
            Self::ByKey(by_key) => by_key.choose(slot, source, replay).filter(|owner| can_take(*owner)),
        }
    }

    /// An entry of `slot` went to `key`.
    pub(super) fn take(&mut self, slot: u16, key: ConsumerKey, replay: &Replay) {
        if let Self::ByKey(by_key) = self
            && by_key.order == KeyOrder::Kept
        {
            by_key.holders.take(slot, key);
            by_key.refresh(slot, replay);
        }
    }

    /// An entry of `slot` no longer lies with `key`.
    pub(super) fn release(&mut self, slot: u16, key: ConsumerKey, replay: &Replay) {
        if let Self::ByKey(by_key) = self
            && by_key.order == KeyOrder::Kept
        {
            by_key.holders.release(slot);
            if by_key.holders.is_free(slot) && by_key.ranges.owner(slot) != Some(key) {
                by_key.drained_total += 1;
            }
            by_key.refresh(slot, replay);
        }
    }

    /// Something of `slot` began or ceased to wait.
    pub(super) fn refresh(&mut self, slot: u16, replay: &Replay) {
        if let Self::ByKey(by_key) = self {
            by_key.refresh(slot, replay);
        }
    }

    /// What sending ends: the next entry of a Shared subscription goes to the next consumer.
    pub(super) fn end_turn(&mut self) {
        if let Self::RoundRobin(roster) = self {
            roster.end_turn();
        }
    }

    /// Up to `count` waiting entries that could go out now, ascending. `permits` says how many messages a consumer can
    /// take, 0 for none.
    pub(super) fn candidates(
        &self,
        replay: &Replay,
        count: usize,
        permits: impl Fn(ConsumerKey) -> usize,
    ) -> Vec<Position> {
        match self {
            Self::RoundRobin(roster) => {
                let mut room = 0;
                for key in roster.iter() {
                    room = count.min(room + permits(key));
                    if room == count {
                        break;
                    }
                }
                replay.first(room)
            }
            Self::ByKey(by_key) => by_key.candidates(replay, count, permits),
        }
    }
}

impl ByKey {
    pub(super) fn split(&self) -> Split {
        self.split
    }

    pub(super) fn order(&self) -> KeyOrder {
        self.order
    }

    pub(super) fn ranges_of(&self, key: ConsumerKey) -> Vec<SlotRange> {
        self.ranges.ranges_of(key)
    }

    pub(super) fn drained_total(&self) -> u64 {
        self.drained_total
    }

    /// Slots that wait for a former owner, with that owner.
    pub(super) fn draining(&self) -> impl Iterator<Item = (u16, ConsumerKey)> + '_ {
        self.holders.iter().filter(|(slot, holder)| self.ranges.owner(*slot) != Some(*holder))
    }

    /// The owner of `slot` when the entry may go to it (I1).
    fn choose(&self, slot: u16, source: Source, replay: &Replay) -> Option<ConsumerKey> {
        let owner = self.ranges.owner(slot)?;
        if self.order == KeyOrder::Waived {
            return Some(owner);
        }
        let is_next = match source {
            Source::Log => replay.first_of(slot).is_none(),
            Source::Replay(position) => replay.first_of(slot) == Some(position),
        };
        (is_next && self.holders.allows(slot, owner)).then_some(owner)
    }

    fn refresh(&mut self, slot: u16, replay: &Replay) {
        let owner = self.ranges.owner(slot);
        let allowed = owner.is_some_and(|owner| self.order == KeyOrder::Waived || self.holders.allows(slot, owner));
        if allowed && replay.first_of(slot).is_some() {
            self.ready.insert(slot);
        } else {
            self.ready.remove(&slot);
        }
    }

    /// The ranges changed.
    fn refresh_all(&mut self, replay: &Replay) {
        self.ready.clear();
        for slot in replay.occupied_slots() {
            self.refresh(slot, replay);
        }
    }

    fn candidates(&self, replay: &Replay, count: usize, permits: impl Fn(ConsumerKey) -> usize) -> Vec<Position> {
        let mut room: BTreeMap<ConsumerKey, usize> = BTreeMap::new();
        for (_, owner) in self.ranges.iter() {
            if permits(owner) > 0 {
                room.insert(owner, permits(owner));
            }
        }
        let share = (count / room.len().max(1)).max(1);
        let mut found = Vec::new();
        for (range, owner) in self.ranges.iter() {
            let Some(room) = room.get_mut(&owner) else { continue };
            *room = (*room).min(share);
            for slot in self.ready.range(range.start..=range.end) {
                if *room == 0 {
                    break;
                }
                let before = found.len();
                found.extend(replay.of(*slot).take(*room));
                *room -= found.len() - before;
            }
        }
        found.sort_unstable();
        found
    }
}
