//! The disk side of storage: fences, log layout, sparse index, cleaner.
//!
//! **What**  [`Bookie`] is the machine that answers a ledger client's requests; [`layout`] turns records into bytes on disk
//! and bytes back into an index; [`disk`] is the language between the bookie and whatever device executes it.
//!
//! **Not here**  Files and threads (`disk`, level 7), quorums (`ledger`), ledger metadata: fencing is all a bookie knows of
//! writers.

pub mod disk;
pub mod layout;
mod machine;
mod options;

pub use layout::{DamageReport, RecoveredLog};
pub use machine::{Bookie, LedgerProof};
pub use options::{BookieEffect, BookieOptions, BookieStart, BookieStats, Damage, LedgerListing};

#[cfg(test)]
mod memory_disk;
