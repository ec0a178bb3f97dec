//! The quorum protocol of one ledger: writer, recovery with fencing, reader, repair.
//!
//! **What**  A ledger is a sequence of entries with one writer, stored on an ensemble of bookies: every entry goes to
//! `write_quorum` of them and is confirmed once `ack_quorum` of those hold it durably. [`LedgerWriter`] appends,
//! [`LedgerRecovery`] takes a ledger over from a writer that may be dead or merely slow, [`LedgerReader`] reads,
//! [`LedgerRepair`] gives entries back the copies that a lost bookie took away. The ledger's metadata changes only by compare-and-put.
//!
//! **Invariants** of the protocol (BookKeeper's, with its two known defects repaired); each machine's own `I…` list
//! says where it holds them:
//! - B1  an entry is confirmed only when `ack_quorum` nodes of its write set hold it and all before it are confirmed.
//! - B2  a fence is complete at `ensemble − ack_quorum + 1` positive answers.
//! - B3  recovery reads fence too: a lost fence request must not leave the old writer a quorum.
//! - B4  recovery starts at the current fragment's first entry at the earliest, never at −1.
//! - B5  only explicit negatives end a ledger: `write_quorum − ack_quorum + 1` of them; silence is no negative.
//! - B6  what recovery found is written back to `ack_quorum` nodes before the close; the close is a compare-and-put.
//! - B7  an ensemble changes only by compare-and-put while the ledger is open, from LAC + 1 on; meeting a recovery ends
//!   the writer.
//! - B8  (client side) the "unknown" of a node that may have lost data is never turned into a negative.
//!
//! **Not here**  Chains of ledgers, epochs and trimming (`managed`); fence tables, identity of disks, limbo and deletion
//! (`bookie`); deciding when to repair what.
//!
//! **Tests**  A test named `b1_…` to `b8_…` for each rule; `tests/sim` plays writer, recoveries and bookies against every
//! fault that the rules are there for, and proves with seeded bugs that it would notice.

mod answer;
mod cas;
mod effects;
mod metadata;
mod pending;
mod placement;
mod quorum;
mod reader;
mod recovery;
mod repair;
mod replication;
mod seeded;
mod under_replication;
mod writer;

pub use effects::{LedgerEffect, MetadataOutcome, RequestIds, VersionedMetadata};
pub use metadata::{Fragment, LedgerMetadata, LedgerState, MetadataError, VACANT};
pub use placement::{Placement, Zones};
pub use quorum::{FenceCoverage, ReadTally, ReadVerdict, SlotSet};
pub use reader::{LedgerReader, ReadError, ReadId, ReaderEffects, ReaderEvent, ReaderOptions};
pub use recovery::{LedgerRecovery, RecoveryEffects, RecoveryError, RecoveryEvent, RecoveryOptions};
pub use repair::{LedgerRepair, RepairEffects, RepairError, RepairEvent, RepairOptions, RepairWork};
pub use replication::{ENSEMBLE_MAX, ReplicationConfig, ReplicationError};
pub use seeded::{Seeded, SeededBug};
pub use under_replication::{LackingFragment, UnderReplication};
pub use writer::{AddError, LedgerWriter, WriterEffects, WriterEvent, WriterOptions};
