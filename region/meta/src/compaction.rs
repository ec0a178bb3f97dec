//! When to take a snapshot: by the bytes of the log, for openraft would count entries of any size.
//!
//! **What**  The write queue asks after each of its batches, and every node now and then, for what fills the log of a
//! node that does not lead comes from the leader.

use crate::applied::SharedApplied;
use crate::raft_types::Raft;
use crate::wal::WalCounters;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot is due when the log has grown by this, and by as much as the state itself takes.
const SNAPSHOT_LOG_BYTES: u64 = 16 << 20;

/// Bounds the log, and with it the time that a start takes, in proportion to the state.
pub(crate) struct Compaction {
    raft: Raft,
    wal: Arc<WalCounters>,
    applied: SharedApplied,
    /// Where the log ended when the last snapshot was asked for.
    asked_at: AtomicU64,
}

impl Compaction {
    pub(crate) fn new(raft: Raft, wal: Arc<WalCounters>, applied: SharedApplied) -> Self {
        Self { raft, wal, applied, asked_at: AtomicU64::new(0) }
    }

    pub(crate) async fn ask_when_due(&self) {
        let used = self.wal.used_bytes.load(Ordering::Relaxed);
        let mut asked_at = self.asked_at.load(Ordering::Relaxed);
        if used < asked_at {
            // The log was rewritten.
            asked_at = 0;
            self.asked_at.store(0, Ordering::Relaxed);
        }
        let due = SNAPSHOT_LOG_BYTES.max(self.applied.read().state.bytes());
        if used - asked_at < due {
            return;
        }
        self.asked_at.store(used, Ordering::Relaxed);
        // An error means that raft has stopped; the next write meets it.
        let _ = self.raft.trigger().snapshot().await;
    }
}
