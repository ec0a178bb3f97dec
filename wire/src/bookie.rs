//! What a ledger client asks a bookie, and what it answers. Node-to-node frames carry these; inside one node they are
//! passed as values.
//!
//! **What**  Every answer repeats the [`RequestId`] of its question. Answers may be lost, late or doubled.

mod codec;

pub use codec::{BookieFrameSplitter, decode_request, decode_response, encode_request, encode_response};

use base::{EntryData, EntryId, LedgerId, RequestId};

/// A question to one bookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BookieRequest {
    /// Store one entry durably. `lac` is the writer's last confirmed entry at this moment.
    /// `recovery` adds pass a fence: only the node that fenced the ledger may send them.
    Add { id: RequestId, ledger: LedgerId, entry: EntryId, lac: EntryId, recovery: bool, data: EntryData },
    /// Read consecutive entries from `from`, at most `entries_max` and about `bytes_max` (at least one entry when it
    /// exists). With `fence` the ledger is fenced durably before the answer.
    Read { id: RequestId, ledger: LedgerId, from: EntryId, entries_max: u32, bytes_max: u32, fence: bool },
    /// The highest LAC that any stored entry carries, and the last entry stored. With `fence` as above.
    ReadLac { id: RequestId, ledger: LedgerId, fence: bool },
    /// The ledger is gone from the metadata: forget it. Idempotent.
    Delete { id: RequestId, ledger: LedgerId },
    /// The bookie has again every entry of the ledger that its metadata says it has: what it may have lost up to this loss is
    /// made good, and it may deny what it does not have. Idempotent.
    Repaired { id: RequestId, ledger: LedgerId, loss: u32 },
    /// Which ledgers above `after` may lack entries that were once here.
    Limbo { id: RequestId, after: LedgerId },
    /// Which entries of `range` are not here, or cannot be read.
    Missing { id: RequestId, ledger: LedgerId, range: EntryRange },
}

impl BookieRequest {
    pub fn id(&self) -> RequestId {
        match self {
            Self::Add { id, .. }
            | Self::Read { id, .. }
            | Self::ReadLac { id, .. }
            | Self::Delete { id, .. }
            | Self::Repaired { id, .. }
            | Self::Limbo { id, .. }
            | Self::Missing { id, .. } => *id,
        }
    }

    /// The same request under another name.
    pub fn set_id(&mut self, new: RequestId) {
        match self {
            Self::Add { id, .. }
            | Self::Read { id, .. }
            | Self::ReadLac { id, .. }
            | Self::Delete { id, .. }
            | Self::Repaired { id, .. }
            | Self::Limbo { id, .. }
            | Self::Missing { id, .. } => *id = new,
        }
    }
}

/// A bookie's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BookieResponse {
    Added {
        id: RequestId,
        ledger: LedgerId,
        entry: EntryId,
        outcome: AddOutcome,
    },
    Read {
        id: RequestId,
        ledger: LedgerId,
        outcome: ReadOutcome,
    },
    Lac {
        id: RequestId,
        ledger: LedgerId,
        outcome: LacOutcome,
    },
    Deleted {
        id: RequestId,
        ledger: LedgerId,
    },
    /// `lifted`: durable; otherwise the bookie does not know yet what it lost, has lost something since, or has too much to
    /// do: ask again.
    Repaired {
        id: RequestId,
        ledger: LedgerId,
        lifted: bool,
    },
    Limbo {
        id: RequestId,
        found: LimboFound,
    },
    /// What is missing of the range that was asked for, in order. Nothing is said of entries from `until` on.
    Missing {
        id: RequestId,
        ledger: LedgerId,
        until: EntryId,
        ranges: Vec<EntryRange>,
    },
}

impl BookieResponse {
    pub fn id(&self) -> RequestId {
        match self {
            Self::Added { id, .. }
            | Self::Read { id, .. }
            | Self::Lac { id, .. }
            | Self::Deleted { id, .. }
            | Self::Repaired { id, .. }
            | Self::Limbo { id, .. }
            | Self::Missing { id, .. } => *id,
        }
    }

    /// The same answer to a request of another name.
    pub fn set_id(&mut self, new: RequestId) {
        match self {
            Self::Added { id, .. }
            | Self::Read { id, .. }
            | Self::Lac { id, .. }
            | Self::Deleted { id, .. }
            | Self::Repaired { id, .. }
            | Self::Limbo { id, .. }
            | Self::Missing { id, .. } => *id = new,
        }
    }
}

/// Entries `first..end` of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryRange {
    pub first: EntryId,
    /// One above the last.
    pub end: EntryId,
}

/// What a bookie may have lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LimboFound {
    /// It cannot say yet: any ledger may lack entries.
    Unmeasured,
    /// Ledgers in the order of their ids; `more`: there are others above the last one.
    Ledgers { ledgers: Vec<InLimbo>, more: bool },
}

/// A ledger that may lack entries on one bookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InLimbo {
    pub ledger: LedgerId,
    /// The newest loss, for [`BookieRequest::Repaired`]; 0 when only entries lack that the bookie can name.
    pub loss: u32,
}

/// What became of an add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddOutcome {
    /// On disk (fdatasync returned) before this answer left.
    Stored,
    /// Another node has fenced the ledger; whether the entry is stored is unknown to the writer.
    Fenced,
    /// The bookie takes no writes now (disk full).
    ReadOnly,
    /// The bookie could not do it in time or is overloaded: outcome unknown.
    Unknown,
}

/// What a read found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadOutcome {
    /// Consecutive entries; the first is the one asked for.
    Entries(Vec<StoredEntry>),
    /// Explicit negative: the bookie knows the ledger and does not have the entry.
    NoSuchEntry,
    /// Explicit negative: the bookie never saw the ledger.
    NoSuchLedger,
    /// Damage, overload, limbo: neither yes nor no.
    Unknown,
}

/// One entry as a bookie gives it back.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredEntry {
    pub entry: EntryId,
    /// The LAC that was written with it.
    pub lac: EntryId,
    pub data: EntryData,
}

/// What a LAC read found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LacOutcome {
    /// `last` is the highest entry stored ([`EntryId::NONE`] when there is none).
    Lac {
        lac: EntryId,
        last: EntryId,
    },
    NoSuchLedger,
    Unknown,
}
