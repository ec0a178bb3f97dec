//! How records stand on disk, and how bytes become an index again. Pure: the real device and the simulated one share it.
//!
//! **What**  The log is a row of files of fixed size. A file is a row of groups ([`group`]: one write, one fdatasync), a group
//! a row of records ([`record`]). A file begins with the list of the files in use and ends, when full, with its own index
//! ([`FileIndex`]) as a footer. [`GroupWriter`] plans what to write where; [`recover`] opens a log; [`walk`] takes entries out
//! of a block that was read.
//!
//! **Torn or corrupt**  A group is written only after the one before is durable. So a bad group at the very end is a torn
//! write that nobody was told about: it is cut. A bad group with a later one of the same file life behind it once was
//! complete: that is damage. When the checksum over its record headers holds, the damage is confined to known entries (they
//! answer *unknown*); otherwise records are lost that nobody can name, and the bookie goes into limbo: it serves what it has
//! and denies nothing.
//!
//! **Not here**  Damage in the very last group: it looks like a torn write. Other copies repair that.
//!
//! **Tests**  `layout/tests` (random records, truncation and bit flips at every grain).

mod check;
mod collect;
mod group;
mod index;
mod record;
mod recover;
mod scan;
mod window;
mod writer;

pub(crate) use check::{GroupCheck, check_group};
pub(crate) use collect::entry_data;
pub use collect::{Collected, Step, Walk, collect};
pub use group::{GROUP_ALIGN, GROUP_HEADER_BYTES};
pub use index::{CHUNK_BYTES, FileIndex, FileRun, LedgerInFile};
pub use record::{
    Loss, Mark, RECORD_HEADER_BYTES, RecordHeader, RecordKind, RecordView, delete_record, entry_record, fence_record,
    loss_record, mark_record, relocated_record,
};
pub use recover::{LostRange, RecoverError, RecoveredFile, RecoveredLog, Recovery, recover};
pub use scan::{DamageReport, ScanOutcome, TornTail, scan};
pub use window::LogBytes;
pub use writer::{GroupWriter, NextWrite, WritePlan};

/// Sizes that the layout is planned with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayoutOptions {
    /// Size of a new log file, bytes: a multiple of 4 KiB from 64 KiB to below 4 GiB. Files of another size stay readable.
    pub file_bytes: u64,
    /// Most bytes of records that one group takes (a larger record gets a group of its own).
    pub group_bytes_max: u64,
}

impl LayoutOptions {
    /// Largest record that every file has room for, bytes.
    pub fn record_bytes_max(&self) -> u64 {
        self.file_bytes / 2
    }

    /// Largest entry (head and body) that every file has room for, bytes.
    pub fn entry_bytes_max(&self) -> u64 {
        self.record_bytes_max() - RECORD_HEADER_BYTES as u64
    }
}

/// Where a sealed file's footer group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterRef {
    pub offset: u64,
    /// Bytes of the whole group.
    pub len: u64,
}

#[cfg(test)]
mod tests;
