//! Why a store does not open, and why one must stop.

use base::ErrorClass;
use std::io;
use std::path::PathBuf;

/// A file operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {source}", path = path.display())]
pub struct IoFailure {
    pub what: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl IoFailure {
    /// Whether the disk, or this user's part of it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// The store did not open; nothing on disk was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Io(#[from] IoFailure),
    /// Bytes that were once durable are not what was written.
    #[error(
        "the metadata file {path} is damaged at byte {offset}: {what}. Nothing was changed. With a majority of the \
         other voters alive, wipe its directory, remove the node from the region and let it join again as a new node, \
         under a new id; a single voter needs its backup of that directory",
        path = path.display()
    )]
    Damaged { path: PathBuf, offset: u64, what: String },
    /// The directory belongs to another node, or its files do not belong together.
    #[error("the metadata directory {path} does not fit this node: {what}. Point the node at its own directory",
        path = path.display())]
    Foreign { path: PathBuf, what: String },
    #[error("this metadata node shares its region with others and has no transport to them: configure one")]
    NoTransport,
    #[error("the raft node of the metadata store did not start: {reason}")]
    Raft { reason: String },
}

impl OpenError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io(_) | Self::Damaged { .. } | Self::Foreign { .. } | Self::Raft { .. } => ErrorClass::Fatal,
            Self::NoTransport => ErrorClass::Reject,
        }
    }
}

/// The process must end: what the metadata store answered so far is durable, and it answers nothing more.
#[derive(Debug, thiserror::Error)]
pub enum MetaFatal {
    #[error("{0}; what the disk holds is uncertain now, so the process ends: check the disk and start again")]
    Io(#[from] IoFailure),
    #[error("the raft node of the metadata store stopped: {reason}")]
    Raft { reason: String },
}

impl MetaFatal {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Io(_) | Self::Raft { .. } => ErrorClass::Fatal,
        }
    }
}
