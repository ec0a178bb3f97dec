//! What a bookie is told at birth, what it wants done, and what it counts.

use crate::disk::DiskOp;
use base::NodeId;
use wire::bookie::BookieResponse;

/// Limits of one bookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookieOptions {
    /// Bytes of adds that may wait for the disk; above it an add is answered `Unknown` (overload).
    pub pending_bytes_max: u64,
    /// Bytes that reads on their way may bring; above it a read is answered `Unknown` (overload). One always may.
    pub pending_read_bytes_max: u64,
    /// Largest entry (head and body) taken, bytes; at most [`crate::layout::LayoutOptions::entry_bytes_max`] of the device.
    pub entry_bytes_max: u32,
    /// Below this much appendable space adds are answered `ReadOnly`; fences, deletes and the cleaner live from the rest.
    pub reserve_bytes: u64,
    /// A sealed file whose live part is below this many percent of its size is emptied by the cleaner.
    pub clean_below_percent: u32,
    /// How fast the cleaner copies live records out of mostly dead files, bytes per second.
    pub clean_bytes_per_s: u64,
}

impl BookieOptions {
    /// What a server uses: 64 MiB of pending adds and of reads, entries up to 16 MiB, 128 MiB reserve, files
    /// below half are cleaned at 64 MiB/s.
    pub fn standard() -> Self {
        Self {
            pending_bytes_max: 64 << 20,
            pending_read_bytes_max: 64 << 20,
            entry_bytes_max: 16 << 20,
            reserve_bytes: 128 << 20,
            clean_below_percent: 50,
            clean_bytes_per_s: 64 << 20,
        }
    }
}

/// What a bookie wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookieEffect {
    Respond { to: NodeId, response: BookieResponse },
    Disk(DiskOp),
}

/// Numbers for metrics and people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BookieStats {
    /// Bytes written to log files in use, padding included.
    pub log_bytes: u64,
    /// Bytes of records that are still wanted.
    pub live_bytes: u64,
    /// Log files in use.
    pub files: u64,
    pub ledgers: u64,
    /// Points of the sparse index in memory.
    pub index_points: u64,
    /// Adds are refused because the disk is nearly full.
    pub read_only: bool,
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Adds and fences on their way to disk.
    pub pending_appends: u64,
    pub pending_bytes: u64,
    pub pending_reads: u64,
    pub entries_added_total: u64,
    pub bytes_added_total: u64,
    pub entries_read_total: u64,
    pub bytes_read_total: u64,
    /// Adds refused because the ledger was fenced.
    pub adds_fenced_total: u64,
    /// Requests answered `Unknown` because a bound was reached.
    pub overloaded_total: u64,
    /// Reads that met damage: a wrong checksum, a foreign record, an unreadable block.
    pub damaged_reads_total: u64,
    /// Damaged places found when the log was opened.
    pub damaged_at_open: u64,
    /// Records the cleaner has copied to newer files.
    pub relocated_records_total: u64,
    pub relocated_bytes_total: u64,
    /// Files given back to the device.
    pub files_freed_total: u64,
}
