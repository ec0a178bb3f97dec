//! How much a dispatcher reads at once, and when it goes on after it had to stop.
//!
//! **Invariants**
//! - I1  one read asks for 1 to [`READ_ENTRIES_MAX`] entries and at most [`READ_BYTES_MAX`] bytes (and one entry in any
//!   case); nothing read is kept beyond the call that handles it, so a subscription buffers no data.
//! - I2  one call sends at most about [`CALL_ENTRIES_MAX`] entries, then lets others run and goes on at once.

use crate::env::Env;
use crate::io::ConnId;
use crate::outbox::WINDOW_BYTES;
use base::{ErrorClass, Mono, earliest};
use managed::ReadError;
use std::time::Duration;

/// Entries of one read.
pub(super) const READ_ENTRIES_MAX: u32 = 128;
/// Bytes of one read.
pub(super) const READ_BYTES_MAX: u64 = 1 << 20;
/// Bytes that a read may ask for when a connection's window is nearly full.
const READ_BYTES_MIN: u64 = 16 << 10;
/// Entries that one call may send.
pub(super) const CALL_ENTRIES_MAX: u32 = 1024;
/// How long to wait when the log is too busy to read.
const BUSY_WAIT: Duration = Duration::from_millis(20);

/// Adaptive read size and the reasons to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Entries of the next read.
    entries: u32,
    /// The log could not be read; not before this instant again.
    retry_at: Option<Mono>,
    /// A dispatch limit is used up or others shall run first.
    resume_at: Option<Mono>,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { entries: READ_ENTRIES_MAX, retry_at: None, resume_at: None }
    }

    /// When to dispatch again without any other cause.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        earliest(self.retry_at, self.resume_at)
    }

    /// A call begins: deadlines that have passed are spent, so that none of them can fire for ever.
    pub(super) fn begin(&mut self, now: Mono) {
        self.resume_at = None;
        self.retry_at = self.retry_at.filter(|at| *at > now);
    }

    /// Whether dispatch may go on now; notes when it may if not.
    pub(super) fn may_go_on(&mut self, env: &Env<'_>) -> bool {
        self.resume_at = env.limit.blocked_until(env.now.mono);
        self.resume_at.is_none() && self.retry_at.is_none()
    }

    /// Entries to ask for when `permits` messages may be sent.
    pub(super) fn entries(&self, permits: i64) -> u32 {
        let permits = u32::try_from(permits.max(1)).unwrap_or(READ_ENTRIES_MAX);
        self.entries.min(permits).clamp(1, READ_ENTRIES_MAX)
    }

    /// `sent` of `read` entries could be used; adapts the size of the next read.
    pub(super) fn learn(&mut self, read: usize, sent: usize) {
        let sent = u32::try_from(sent).unwrap_or(READ_ENTRIES_MAX);
        if (sent as usize) < read {
            self.entries = sent.clamp(1, READ_ENTRIES_MAX);
        } else {
            self.entries = (self.entries * 2).min(READ_ENTRIES_MAX);
        }
    }

    /// The log asked for patience.
    pub(super) fn wait_for_log(&mut self, now: Mono) {
        self.retry_at = Some(now + BUSY_WAIT);
    }

    /// A read failed.
    pub(super) fn wait_after(&mut self, error: &ReadError, now: Mono) {
        let after = match error.class() {
            ErrorClass::Retry { after } => after,
            ErrorClass::Reject | ErrorClass::Fatal => BUSY_WAIT,
        };
        self.retry_at = Some(now + after);
    }

    /// This call did its share (I2).
    pub(super) fn let_others_run(&mut self, now: Mono) {
        self.resume_at = Some(now);
    }
}

/// Bytes that fit into the window of a connection, for the size of a read.
pub(super) fn window(env: &Env<'_>, conn: ConnId) -> u64 {
    WINDOW_BYTES.saturating_sub(env.out.outstanding(conn)).clamp(READ_BYTES_MIN, READ_BYTES_MAX)
}
