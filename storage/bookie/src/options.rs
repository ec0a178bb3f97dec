//! What a bookie is told at birth, what it wants done, and what it counts.

use crate::disk::DiskOp;
use crate::layout::DamageReport;
use base::{EntryId, LedgerId, NodeId};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use wire::bookie::BookieResponse;

/// What is known of the disk when a bookie starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookieStart {
    /// The disk holds all that this bookie ever answered for, but for damage that the log itself shows.
    Clean,
    /// Anything may be missing without a trace: an empty, restored or cloned disk under a known identity. To be said at every
    /// start until [`crate::Bookie::start_is_recorded`]; from then on the disk itself says so.
    MayHaveLost,
}

/// What the metadata says of ledgers, as a proof for deleting others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerListing {
    /// Every ledger that the metadata has, from a linearizable read that was begun after the process started and after
    /// `below` was read.
    pub known: BTreeSet<LedgerId>,
    /// An id that the counter of ledgers had given to nobody before the listing: ledgers of this region at or above it
    /// may be newer than the listing. (Ids are handed out in blocks, so one below it may be newer too; such a ledger was
    /// not on this disk at boot.)
    pub below: LedgerId,
}

impl LedgerListing {
    /// Whether a ledger that was here before the listing is proven to be deleted.
    pub fn is_gone(&self, ledger: LedgerId) -> bool {
        ledger.region() == self.below.region() && ledger < self.below && !self.known.contains(&ledger)
    }
}

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
    /// How long a check of everything that is stored takes; `None` for never.
    pub scrub_pass: Option<Duration>,
    /// What is known of the disk.
    pub start: BookieStart,
    /// How long an orphan stays after the listing that does not have it. Zero where the listing's node is the only one that
    /// creates and deletes ledgers; an hour or more where others do.
    pub orphan_grace: Duration,
}

impl BookieOptions {
    /// What a server uses: 64 MiB of pending adds and of reads, entries up to 16 MiB, 128 MiB reserve, files
    /// below half are cleaned at 64 MiB/s, everything is checked once in 14 days,
    /// a clean start, no grace for orphans.
    pub fn standard() -> Self {
        Self {
            pending_bytes_max: 64 << 20,
            pending_read_bytes_max: 64 << 20,
            entry_bytes_max: 16 << 20,
            reserve_bytes: 128 << 20,
            clean_below_percent: 50,
            clean_bytes_per_s: 64 << 20,
            scrub_pass: Some(Duration::from_secs(14 * 24 * 3600)),
            start: BookieStart::Clean,
            orphan_grace: Duration::ZERO,
        }
    }
}

/// What a bookie wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BookieEffect {
    Respond {
        to: NodeId,
        response: BookieResponse,
    },
    Disk(DiskOp),
    /// A linearizable read of this ledger's metadata, answered by [`crate::Bookie::handle_proof`].
    Prove {
        ledger: LedgerId,
    },
    /// The medium has lost something; an operator must hear this.
    Damaged(Damage),
}

/// Damage that a check of the stored groups found. What stands there is answered `Unknown`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    pub report: DamageReport,
    /// What is damaged, where that is known.
    pub entry: Option<(LedgerId, EntryId)>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some((ledger, entry)) => write!(f, "{} (ledger {ledger}, entry {entry})", self.report),
            None => write!(f, "{}", self.report),
        }
    }
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
    /// Ledgers that may have lost entries and are not repaired.
    pub limbo_ledgers: u64,
    /// Every ledger may have lost entries; lasts until [`crate::Bookie::retain_ledgers`].
    pub limbo: bool,
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
    /// Damaged places found by the checks of stored groups, and how much was checked.
    pub scrub_damage_total: u64,
    pub scrubbed_bytes_total: u64,
    pub scrub_passes_total: u64,
    /// Damaged places found when the log was opened.
    pub damaged_at_open: u64,
    /// Records the cleaner has copied to newer files.
    pub relocated_records_total: u64,
    pub relocated_bytes_total: u64,
    /// Files given back to the device.
    pub files_freed_total: u64,
}
