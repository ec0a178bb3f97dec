//! What a managed ledger asks for and what it tells its owner.

use crate::{CursorError, DeleteError, OpenError, ReadError};
use base::{EntryData, NodeId, Position, RequestId};
use bytes::Bytes;
use meta_api::MetaRequest;
use wire::bookie::BookieRequest;

/// One thing to do. The owner executes them in order and brings every answer back by its [`RequestId`].
#[derive(Clone, Debug, PartialEq)]
pub enum ManagedEffect {
    /// Answer with [`crate::ManagedLedger::handle_bookie`].
    Bookie {
        to: NodeId,
        request: BookieRequest,
    },
    /// Answer with [`crate::ManagedLedger::handle_meta`].
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
    /// Draw a fresh ledger id of this region, larger than every one drawn before; answer with
    /// [`crate::ManagedLedger::handle_ledger_id`].
    NeedLedgerId {
        id: RequestId,
    },
    Event(ManagedEvent),
}

/// News for the owner.
#[derive(Clone, Debug, PartialEq)]
pub enum ManagedEvent {
    /// Ready: cursors are listed, reads and adds work. What the owner last saved comes with it; the owner rebuilds its
    /// state from the checkpoint and the log after `checkpoint.position`.
    Opened {
        checkpoint: Option<Checkpoint>,
    },
    /// It never became ready; drop it.
    OpenFailed {
        error: OpenError,
    },
    /// The add with this `ctx` is durable at `position`. Strictly in the order of the adds.
    Persisted {
        ctx: u64,
        position: Position,
    },
    /// Whether these adds (oldest first) are stored is unknown. [`ManagedEvent::Fenced`] follows.
    AddsUnknown {
        ctxs: Vec<u64>,
    },
    /// Another owner has taken over, or the storage can no longer be trusted to be ours: drop this and open again.
    /// Terminal; `reason` is for the log.
    Fenced {
        reason: String,
    },
    ReadDone {
        read: ReadId,
        result: Result<Vec<Entry>, ReadError>,
    },
    /// The outcome of a cursor operation; `Ok` is durable.
    CursorDone {
        ctx: u64,
        result: Result<(), CursorError>,
    },
    /// The checkpoint with this `ctx` is durable.
    Checkpointed {
        ctx: u64,
    },
    /// Everything before `first` was given up: it can no longer be read.
    Trimmed {
        first: Position,
    },
    /// The answer to `delete`: metadata and copies are gone. Terminal when `Ok`.
    Deleted {
        result: Result<(), DeleteError>,
    },
    /// The answer to `close`: every pending add and cursor operation has been answered. Terminal.
    Closed,
}

/// One readable entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub position: Position,
    pub data: EntryData,
}

/// Opaque state of the owner that covers the log up to and including `position`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub position: Position,
    /// At most [`CHECKPOINT_BYTES_MAX`].
    pub bytes: Bytes,
}

/// Largest accepted checkpoint, in bytes: with everything else that a record may hold it fits one entry.
pub const CHECKPOINT_BYTES_MAX: usize = 12 << 20;

/// Names one pending read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// Names one cursor of one opened managed ledger; never reused, meaningless after the next open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CursorId(pub u64);

/// What `read` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// At least one entry, consecutive in the log.
    Ready(Vec<Entry>),
    /// [`ManagedEvent::ReadDone`] with this id will follow.
    Pending(ReadId),
    /// Nothing readable at or after the position now.
    AtTail,
    /// Too many reads are pending, or the managed ledger is not open: ask again after an event.
    Busy,
}

/// How reads were served, in entries and bytes of their data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// From memory …
    pub hit_entries: u64,
    pub hit_bytes: u64,
    /// … and from bookies.
    pub miss_entries: u64,
    pub miss_bytes: u64,
    pub evicted_entries: u64,
}
