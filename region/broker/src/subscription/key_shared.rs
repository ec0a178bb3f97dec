//! Which Key_Shared consumer serves which key: the 65,536 slots of the key hash, divided into ranges.
//!
//! **What**  In auto-split mode the broker divides all slots: a newcomer gets half of the largest range, the range of one
//! who leaves goes to its smaller neighbour. In sticky mode every consumer names its own ranges.
//!
//! **Invariants**
//! - I1  no slot has two owners.
//! - I2  auto-split: while anybody is there, every slot has an owner and every consumer has exactly one range.
//! - I3  sticky: a consumer owns exactly the slots that it named.
//!
//! **Not here**  Whether a slot's messages may go to its owner yet (`draining`), who has permits (`shared`).

use super::consumer::ConsumerKey;
use std::collections::BTreeMap;

/// Slots from `start` to `end`, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotRange {
    pub start: u16,
    pub end: u16,
}

impl SlotRange {
    /// Every slot.
    pub const ALL: Self = Self { start: 0, end: u16::MAX };

    /// Number of slots.
    fn width(self) -> u32 {
        u32::from(self.end) - u32::from(self.start) + 1
    }
}

/// Why a consumer gets no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("no range is left to split: {consumers} consumers share 65536 hash slots")]
    NothingToSplit { consumers: usize },
    #[error("a sticky Key_Shared consumer must name at least one hash range")]
    NoRange,
    #[error("hash range [{start}, {end}] is not within 0 to 65535 or ends before it starts")]
    Malformed { start: i32, end: i32 },
    #[error("hash range [{start}, {end}] overlaps [{with_start}, {with_end}] of the same or another consumer")]
    Overlap { start: u16, end: u16, with_start: u16, with_end: u16 },
}

/// The division of the slots among consumers.
#[derive(Clone, Debug, Default)]
pub struct KeyRanges {
    /// By first slot.
    ranges: BTreeMap<u16, (SlotRange, ConsumerKey)>,
}

impl KeyRanges {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `consumer` half of the largest range.
    ///
    /// # Errors
    /// [`RangeError::NothingToSplit`] when every range is one slot.
    pub fn split_for(&mut self, consumer: ConsumerKey) -> Result<(), RangeError> {
        assert!(self.ranges_of(consumer).is_empty(), "KeyRanges I2: a newcomer has no range yet");
        let widest = self.ranges.values().copied().max_by_key(|(range, _)| (range.width(), u16::MAX - range.start));
        let Some((range, owner)) = widest else {
            self.ranges.insert(0, (SlotRange::ALL, consumer));
            return Ok(());
        };
        if range.width() < 2 {
            return Err(RangeError::NothingToSplit { consumers: self.ranges.len() });
        }
        let middle = range.start + (range.end - range.start) / 2;
        let (kept, given) = (SlotRange { end: middle, ..range }, SlotRange { start: middle + 1, ..range });
        self.ranges.insert(kept.start, (kept, owner));
        self.ranges.insert(given.start, (given, consumer));
        Ok(())
    }

    /// Takes the range of a consumer that left and gives it to the smaller neighbour (I2). Unknown consumers own nothing.
    pub fn merge_away(&mut self, consumer: ConsumerKey) {
        let Some(range) = self.ranges_of(consumer).first().copied() else { return };
        self.ranges.remove(&range.start);
        let below = self.ranges.range(..range.start).next_back().map(|(_, neighbour)| *neighbour);
        let above = self.ranges.range(range.start..).next().map(|(_, neighbour)| *neighbour);
        let (heir, owner) = match (below, above) {
            (None, None) => return,
            (Some(only), None) | (None, Some(only)) => only,
            (Some(low), Some(high)) => {
                if high.0.width() < low.0.width() {
                    high
                } else {
                    low
                }
            }
        };
        self.ranges.remove(&heir.start);
        let whole = SlotRange { start: heir.start.min(range.start), end: heir.end.max(range.end) };
        self.ranges.insert(whole.start, (whole, owner));
    }

    /// Gives `consumer` exactly the named ranges, `(start, end)` inclusive.
    ///
    /// # Errors
    /// [`RangeError`] when there is none, one is malformed, or two overlap; nothing changed then.
    pub fn stick(&mut self, consumer: ConsumerKey, named: &[(i32, i32)]) -> Result<(), RangeError> {
        if named.is_empty() {
            return Err(RangeError::NoRange);
        }
        let mut after = self.ranges.clone();
        for &(start, end) in named {
            let range = match (u16::try_from(start), u16::try_from(end)) {
                (Ok(start), Ok(end)) if start <= end => SlotRange { start, end },
                _ => return Err(RangeError::Malformed { start, end }),
            };
            let below = after.range(..=range.end).next_back().map(|(_, (with, _))| *with);
            if let Some(with) = below.filter(|with| with.end >= range.start) {
                let SlotRange { start, end } = range;
                return Err(RangeError::Overlap { start, end, with_start: with.start, with_end: with.end });
            }
            after.insert(range.start, (range, consumer));
        }
        self.ranges = after;
        Ok(())
    }

    /// Takes every range of a sticky consumer that left; nobody inherits them (I3).
    pub fn unstick(&mut self, consumer: ConsumerKey) {
        self.ranges.retain(|_, (_, owner)| *owner != consumer);
    }

    /// Who serves `slot`.
    pub fn owner(&self, slot: u16) -> Option<ConsumerKey> {
        let (range, owner) = self.ranges.range(..=slot).next_back()?.1;
        (slot <= range.end).then_some(*owner)
    }

    /// The ranges of one consumer, ascending.
    pub fn ranges_of(&self, consumer: ConsumerKey) -> Vec<SlotRange> {
        self.ranges.values().filter(|(_, owner)| *owner == consumer).map(|(range, _)| *range).collect()
    }

    /// All ranges, ascending, with their owners.
    pub fn iter(&self) -> impl Iterator<Item = (SlotRange, ConsumerKey)> + '_ {
        self.ranges.values().copied()
    }
}
