//! Ends of the process that cannot wait.

use std::process::exit;

/// Storage failed: whoever goes on would lie about what is durable.
pub(crate) const EXIT_IO: i32 = 70;

/// Says why and ends the process at once; a restart recovers from what is on disk.
pub(crate) fn storage_failed(what: &str, error: &dyn std::fmt::Display) -> ! {
    tracing::error!(
        "{what}: {error}; stopping, because what is on disk is unknown now: check the disk and start again"
    );
    exit(EXIT_IO)
}

/// Another process holds what this one was started with (interface.md §3).
const EXIT_BUSY: i32 = 75;

/// This process may not speak as its node any more; storage already refuses what it writes.
pub(crate) fn not_this_node(reason: &str) -> ! {
    tracing::error!("{reason}; stopping. To run another node, start it with an empty data folder");
    exit(EXIT_BUSY)
}
