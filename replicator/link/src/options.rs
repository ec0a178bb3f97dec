//! The limits of a link.

use base::EntryData;
use std::time::Duration;

/// What an entry costs beside its bytes: frame header, list nodes. Bounds the number of empty entries under way.
const ENTRY_OVERHEAD_BYTES: u64 = 64;

/// What one entry takes from the credit window, in bytes. Both sides count alike.
pub fn entry_cost(data: &EntryData) -> u64 {
    data.len() as u64 + ENTRY_OVERHEAD_BYTES
}

/// Limits and times of a [`crate::LinkSender`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkOptions {
    /// At most this much is under way unacknowledged, in bytes of [`entry_cost`]; the receiver's credit may lower it.
    pub window_bytes_max: u64,
    /// Entries asked for in one read.
    pub read_entries_max: u32,
    /// Bytes asked for in one read.
    pub read_bytes_max: u64,
    /// An `Open` unanswered for this long is tried again.
    pub open_timeout: Duration,
    /// With work to do and no progress for this long the link raises an alarm and opens anew.
    pub stall_timeout: Duration,
    /// First pause before opening again; it doubles up to `backoff_max`, each time with ± 50 % jitter.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Pause after a refusal that says not to retry, and after the link halted: the cause may be gone by then.
    pub halted_retry: Duration,
    /// While entries stream the owner is told of the cursor at most this often; what was acknowledged since is sent again
    /// after a crash, and the remote knows it for duplicates.
    pub report_every: Duration,
}

impl LinkOptions {
    /// What production uses.
    pub fn standard() -> Self {
        Self {
            window_bytes_max: 16 << 20,
            read_entries_max: 256,
            read_bytes_max: 2 << 20,
            open_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            halted_retry: Duration::from_secs(30),
            report_every: Duration::from_millis(100),
        }
    }
}

/// Limits of a [`crate::LinkReceiver`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Credit given to the sender, in bytes of [`entry_cost`]: what may be under way unacknowledged.
    pub credit_bytes: u64,
    /// How long after the topic refused an entry the sender is asked for it again.
    pub refused_retry: Duration,
}

impl ReceiverOptions {
    /// What production uses.
    pub fn standard() -> Self {
        Self { credit_bytes: 16 << 20, refused_retry: Duration::from_millis(50) }
    }
}
