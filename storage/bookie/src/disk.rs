//! What a bookie asks of its log device, and what the device answers.
//!
//! **What**  Plain data. The real device (`disk`) and the simulated one (`sim`) both take [`DiskOp`]s in the order given and
//! answer with [`DiskEvent`]s. Appends keep their order: when one is answered, every append submitted before it is durable.
//!
//! **Not here**  How records become groups on disk (`layout`), who asks for them (`Bookie`).

use crate::layout::RecordHeader;
use bytes::Bytes;

/// Names one append; chosen by the bookie, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// Names one read; chosen by the bookie, unique while the process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// One log file. Ids only grow and are never used twice, so the id is also the generation that every group header of the
/// file repeats: old content of a recycled file is never mistaken for new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u64);

/// Where a record stands on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub file: FileId,
    /// Bytes from the start of the file to the record's header.
    pub offset: u64,
    /// Bytes of the whole record, header included.
    pub len: u32,
}

/// One record on its way to disk; built by [`crate::layout`], opaque to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub header: RecordHeader,
    pub head: Bytes,
    pub body: Bytes,
}

impl Record {
    /// Bytes on disk, header included.
    pub fn len(&self) -> usize {
        self.header.len() + self.head.len() + self.body.len()
    }

    /// Never: a record has at least its header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskOp {
    /// Make the record durable, after every append submitted before it.
    Append { id: AppendId, record: Record },
    /// Read `len` bytes of a file; fewer come back at the end of what is written.
    Read { id: ReadId, file: FileId, offset: u64, len: u32 },
    /// The bookie needs nothing of this file any more, whatever becomes of appends on their way: give its space back. It may
    /// overtake appends.
    Free { file: FileId },
}

/// An answer of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskEvent {
    /// These records are durable (fdatasync returned); in the order in which they were submitted.
    Appended {
        done: Vec<(AppendId, Placement)>,
    },
    Read {
        id: ReadId,
        outcome: Result<Bytes, DiskReadError>,
    },
    /// How much more can be appended, and the size of the whole volume. Sent at open and whenever it changes by much.
    Space {
        free_bytes: u64,
        total_bytes: u64,
    },
}

/// Why a read gave no bytes. None of these says that an entry does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskReadError {
    /// The file was freed, or never was.
    #[error("the log file is gone")]
    NoSuchFile,
    /// The medium did not give the bytes back.
    #[error("the medium could not be read")]
    Unreadable,
}
