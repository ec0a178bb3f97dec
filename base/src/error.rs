//! The three classes of errors.

use std::time::Duration;

/// What the one who meets an error may do about it; decided where the error is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The caller's fault: the same request will fail again. Maps to a protocol error of the caller's protocol.
    Reject,
    /// Transient: the same request may succeed later.
    Retry { after: Duration },
    /// This process or this topic must stop (failed fsync, corrupt own metadata, broken invariant).
    Fatal,
}
