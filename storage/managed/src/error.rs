//! Typed refusals and failures, one small enum per operation.

use base::{ErrorClass, LedgerId, Position};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(500);

/// Why a managed ledger could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("managed ledger '{name}' does not exist")]
    NotFound { name: String },
    #[error("metadata of managed ledger '{name}' is unavailable: {reason}")]
    Metadata { name: String, reason: String },
    #[error("ledger {ledger} of '{name}' cannot be recovered now: {reason}")]
    Recovery { name: String, ledger: LedgerId, reason: String },
    #[error("another node opened managed ledger '{name}' at the same time")]
    Superseded { name: String },
    #[error("metadata record of managed ledger '{name}' is damaged: {reason}; restore it from a backup")]
    Damaged { name: String, reason: String },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotFound { .. } => ErrorClass::Reject,
            Self::Metadata { .. } | Self::Recovery { .. } | Self::Superseded { .. } => {
                ErrorClass::Retry { after: SOON }
            }
            Self::Damaged { .. } => ErrorClass::Fatal,
        }
    }
}

/// Why an add was not taken; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddRefused {
    #[error("the managed ledger is not open for writing ({state}); open it again")]
    NotOpen { state: &'static str },
    #[error(
        "{pending} adds of {bytes} bytes are still unconfirmed, the bounds are {pending_max} and {bytes_max}; slow down"
    )]
    Busy { pending: usize, bytes: u64, pending_max: usize, bytes_max: u64 },
}

impl AddRefused {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotOpen { .. } | Self::Busy { .. } => ErrorClass::Retry { after: SOON },
        }
    }
}

/// Why a read gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("no copy of entry {position} could be read now: {reason}")]
    Unavailable { position: Position, reason: String },
    #[error("the managed ledger was closed or fenced while reading {position}")]
    Stopped { position: Position },
}

impl ReadError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable { .. } | Self::Stopped { .. } => ErrorClass::Retry { after: SOON },
        }
    }
}

/// Why a cursor operation failed. Unless it says otherwise nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    #[error("cursor {id} does not exist")]
    NoSuchCursor { id: u64 },
    #[error("cursor '{name}': entry {position} does not exist; the log holds {first} to {last}")]
    NoSuchEntry { name: String, position: Position, first: Position, last: Position },
    #[error("cursor '{name}' exists already")]
    NameTaken { name: String },
    #[error(
        "cursor '{name}' would hold more than {ranges_max} separately acknowledged ranges; acknowledge the oldest messages first"
    )]
    TooManyRanges { name: String, ranges_max: usize },
    #[error("{pending} cursor operations are unanswered, the bound is {pending_max} or 1 MiB; wait for their answers")]
    Busy { pending: usize, pending_max: usize },
    #[error("the managed ledger has {cursors_max} cursors, which is its bound; delete one first")]
    TooManyCursors { cursors_max: usize },
    #[error("{what} of {size} exceeds the bound of {size_max}")]
    TooLarge { what: &'static str, size: usize, size_max: usize },
    #[error("the managed ledger is {state}; nothing was changed, open it again")]
    NotOpen { state: &'static str },
    #[error("the managed ledger was {state} meanwhile; whether the operation is durable is unknown")]
    Unknown { state: &'static str },
}

impl CursorError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NoSuchCursor { .. }
            | Self::NoSuchEntry { .. }
            | Self::NameTaken { .. }
            | Self::TooLarge { .. }
            | Self::TooManyCursors { .. } => ErrorClass::Reject,
            Self::TooManyRanges { .. } | Self::Busy { .. } | Self::NotOpen { .. } | Self::Unknown { .. } => {
                ErrorClass::Retry { after: SOON }
            }
        }
    }
}

/// Why a managed ledger could not be deleted; it is unchanged unless another owner changed it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    #[error("metadata is unavailable: {reason}")]
    Metadata { reason: String },
    #[error("another node owns the managed ledger now; ask it")]
    Superseded,
    #[error("the managed ledger is {state}; open it again")]
    NotOpen { state: &'static str },
}

impl DeleteError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Metadata { .. } | Self::Superseded | Self::NotOpen { .. } => ErrorClass::Retry { after: SOON },
        }
    }
}
