//! What a repair is asked for, its bounds, and how it ends.

use super::RepairError;
use crate::{Placement, Seeded, VACANT};
use base::{EntryId, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::EntryRange;

/// What is to be repaired.
#[derive(Clone, Debug)]
pub enum RepairWork {
    /// These bookies are lost: others, which the placement chooses, take their places and the vacant ones.
    Replace { lost: BTreeSet<NodeId>, placement: Placement },
    /// This bookie is back but lacks these entries (in order): it gets those again that it should have, and is told that
    /// the loss is made good. Only for closed ledgers.
    Refill { bookie: NodeId, loss: u32, missing: Vec<EntryRange> },
}

impl RepairWork {
    pub(super) fn concerns(&self, node: NodeId) -> bool {
        match self {
            Self::Replace { lost, .. } => node == VACANT || lost.contains(&node),
            Self::Refill { bookie, .. } => *bookie == node,
        }
    }

    /// Of the entries `first..end`: whether a repair has any to copy.
    pub(super) fn lacks_within(&self, first: EntryId, end: EntryId) -> bool {
        match self {
            Self::Replace { .. } => true,
            Self::Refill { missing, .. } => missing.iter().any(|range| range.first < end && range.end > first),
        }
    }
}

/// Bounds and times of one repair.
#[derive(Clone, Copy, Debug)]
pub struct RepairOptions {
    /// A request that is not answered for so long is sent again.
    pub request_timeout: Duration,
    /// As in [`ReaderOptions`].
    pub speculate_after: Duration,
    /// So many timeouts in a row without any progress end the repair as failed. An entry that could not be read so often is
    /// passed over, and so is from then on every other one at once.
    pub attempts_max: u32,
    /// Bytes of entries read at once (at least one entry); as much is held in memory.
    pub batch_bytes: u32,
    /// How fast entries are copied, bytes per second; at least 1.
    pub bytes_per_s: u64,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

impl RepairOptions {
    /// What a server uses: 5 s per request, batches of 1 MiB, 16 MiB/s.
    pub fn standard() -> Self {
        Self {
            request_timeout: Duration::from_secs(5),
            speculate_after: Duration::from_millis(200),
            attempts_max: 6,
            batch_bytes: 1 << 20,
            bytes_per_s: 16 << 20,
            seeded: Seeded::NONE,
        }
    }
}

/// How a repair ends; the last event of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairEvent {
    /// No settled fragment names a lost bookie any more, or the refilled bookie has what it should have; so many copies were
    /// made. `unsettled`: the last fragment still does; its writer, or a recovery, has to replace it.
    Done {
        entries: u64,
        bytes: u64,
        unsettled: bool,
    },
    /// The ledger was deleted meanwhile. What was copied is an orphan on the bookies that got it.
    Deleted,
    Failed(RepairError),
}
