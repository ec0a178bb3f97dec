//! Where an entry stands: ledger and entry number.

use crate::LedgerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// An entry's number within its ledger, from 0. [`EntryId::NONE`] (−1) means "before the first".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId(pub i64);

impl EntryId {
    /// Before the first entry: an empty ledger's LAC, a mark-delete that covers nothing.
    pub const NONE: Self = Self(-1);

    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The entry before; of entry 0 that is [`EntryId::NONE`], of NONE it is NONE.
    pub fn previous(self) -> Self {
        Self((self.0 - 1).max(-1))
    }

    /// How many entries stand at or below this one.
    pub fn count(self) -> u64 {
        u64::try_from(self.0 + 1).unwrap_or(0)
    }
}

/// Ledger and entry. Ordered by ledger, then entry; ledger ids grow over a topic's life (facts/pulsar-wire.md §18).
/// As a mark-delete position it covers itself and everything before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub ledger: LedgerId,
    pub entry: EntryId,
}

impl Position {
    /// Before every entry of every topic.
    pub const EARLIEST: Self = Self { ledger: LedgerId(0), entry: EntryId::NONE };
    /// After every entry of every topic.
    pub const LATEST: Self = Self { ledger: LedgerId(u64::MAX >> 1), entry: EntryId(i64::MAX) };

    pub fn new(ledger: LedgerId, entry: i64) -> Self {
        Self { ledger, entry: EntryId(entry) }
    }

    /// The next entry number in the same ledger (which may not exist).
    pub fn next(self) -> Self {
        Self { ledger: self.ledger, entry: self.entry.next() }
    }

    /// The entry number before in the same ledger; NONE before the first.
    pub fn previous(self) -> Self {
        Self { ledger: self.ledger, entry: self.entry.previous() }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.ledger, self.entry)
    }
}
