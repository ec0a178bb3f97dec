//! What an owner decides about one managed ledger: replication, sizes, retention, bounds.

use crate::Seeded;
use base::{NodeId, RegionId};
use ledger::ReplicationConfig;
use meta_api::Compare;
use std::time::Duration;

/// How much of the log is kept after every durable cursor has passed it. A closed ledger goes when it is outside either
/// limit; `None` means no limit of that kind. Both `None`: kept for ever. Both zero: gone as soon as it is consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Bytes of the whole log to keep, consumed or not: the oldest consumed ledger goes when at least so many stay.
    pub bytes: Option<u64>,
    /// Time to keep a ledger after it was closed.
    pub time: Option<Duration>,
}

impl Retention {
    /// Nothing is kept beyond what cursors need.
    pub const NONE: Self = Self { bytes: Some(0), time: Some(Duration::ZERO) };
    /// Everything is kept for ever.
    pub const FOREVER: Self = Self { bytes: None, time: None };
}

/// Whether trimming waits for the owner's checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointRule {
    /// The owner derives no state from the log: checkpoints do not hold trimming back.
    Unused,
    /// The owner rebuilds state from the log: nothing after the last durable checkpoint is trimmed, and nothing at all
    /// before there is one.
    Required,
}

/// What `open` does when the metadata knows no such managed ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Create it, empty.
    CreateIfAbsent,
    /// Fail with [`crate::OpenError::NotFound`].
    MustExist,
}

/// The owner's decisions about one managed ledger. Every bound is named; exceeding one gives a typed refusal.
#[derive(Clone, Debug)]
pub struct ManagedOptions {
    /// Copies and acknowledgements of the message ledgers and of the cursor ledger.
    pub replication: ReplicationConfig,
    /// The region in whose name ledger ids are drawn.
    pub region: RegionId,
    /// A ledger rolls over at this many entries …
    pub ledger_entries_max: u64,
    /// … or this many bytes …
    pub ledger_bytes_max: u64,
    /// … or this age, when it holds at least one entry.
    pub ledger_age_max: Duration,
    /// The current ledger is rolled early when all of it is consumed and it holds at least this many bytes, so that its
    /// space comes back.
    pub consumed_bytes_min: u64,
    /// … or when all of it is consumed and it is at least this old.
    pub consumed_age_min: Duration,
    pub retention: Retention,
    /// What is kept while there is no durable cursor at all, when that is more than `retention` keeps: so that the first
    /// subscription of a topic may come after its first messages, and after a restart.
    pub unsubscribed: Retention,
    pub checkpoint: CheckpointRule,
    /// Bytes of recent and read-ahead entries this topic may hold in memory.
    pub cache_bytes_max: u64,
    /// Target size of one catch-up read from the bookies, in bytes.
    pub read_block_bytes: u32,
    /// The cursor ledger is replaced by a snapshot beyond this many bytes.
    pub cursor_log_bytes_max: u64,
    /// Individually acknowledged ranges one cursor may hold; more are refused until the mark-delete moves.
    pub cursor_ranges_max: usize,
    /// Cursors (durable and volatile) of one managed ledger.
    pub cursors_max: usize,
    /// Adds accepted but not yet persisted.
    pub pending_adds_max: usize,
    /// Bytes of those adds.
    pub pending_bytes_max: u64,
    /// Reads and cursor operations that may be unanswered at once, each.
    pub pending_requests_max: usize,
    /// How long a bookie may take before another is tried.
    pub bookie_timeout: Duration,
    /// The bookie to read from first where it has a copy, such as the one on this node.
    pub local_bookie: Option<NodeId>,
    /// What must hold besides for every change of the record: that the owner still owns the log. When it does not, the
    /// log was taken over.
    pub guard: Option<Compare>,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

impl ManagedOptions {
    /// Sensible values for a region with this replication; sizes as in docs/operating.md.
    pub fn new(region: RegionId, replication: ReplicationConfig) -> Self {
        Self {
            replication,
            region,
            ledger_entries_max: 50_000,
            ledger_bytes_max: 256 << 20,
            ledger_age_max: Duration::from_secs(4 * 3600),
            consumed_bytes_min: 32 << 20,
            consumed_age_min: Duration::from_secs(600),
            retention: Retention::NONE,
            unsubscribed: Retention { bytes: Some(4 << 30), time: Some(Duration::from_secs(600)) },
            checkpoint: CheckpointRule::Unused,
            cache_bytes_max: 4 << 20,
            read_block_bytes: 1 << 20,
            cursor_log_bytes_max: 4 << 20,
            cursor_ranges_max: 100_000,
            cursors_max: 10_000,
            pending_adds_max: 10_000,
            pending_bytes_max: 64 << 20,
            pending_requests_max: 10_000,
            bookie_timeout: Duration::from_secs(5),
            local_bookie: None,
            guard: None,
            seeded: Seeded::NONE,
        }
    }
}
