//! The metadata record of one managed ledger: its chain of ledgers, its cursor ledger, the epoch of its owner.
//!
//! **Invariants**
//! - I1  ledger ids in the chain strictly ascend, above everything trimmed.
//! - I2  a ledger without `closed_ms` may have a writer; the next owner recovers it before anything else.

use base::{Epoch, LedgerId, NodeId, Position};
use meta_api::{Compare, Write};
use serde::{Deserialize, Serialize};

/// One ledger of the chain as the metadata knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerRecord {
    pub id: LedgerId,
    /// Entries and their bytes; 0 while the ledger is written.
    pub entries: u64,
    pub bytes: u64,
    /// Unix milliseconds; `None` while the ledger is written.
    pub closed_ms: Option<u64>,
    /// Every node that holds a part of it, so that its copies can be deleted; empty while the ledger is written.
    pub bookies: Vec<NodeId>,
}

/// What stands under the managed ledger's key. Changed only by compare-and-put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManagedRecord {
    /// Raised by every open: a record with a larger one ends the owner of a smaller one.
    pub epoch: Epoch,
    /// Raised by every write of one owner: with the epoch it names one write.
    pub serial: u64,
    pub ledgers: Vec<LedgerRecord>,
    /// The ledger from which the cursors are rebuilt.
    pub cursor_ledger: Option<LedgerId>,
    /// A cursor ledger that is being filled with a snapshot; rubbish for the next owner.
    pub cursor_ledger_next: Option<LedgerId>,
    /// The last entry that was ever trimmed: positions never start anew.
    pub trimmed: Position,
}

/// What creates a managed ledger as part of a larger transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// First that there is none of that name, then the owner's guard if it has one.
    pub compare: Vec<Compare>,
    pub write: Write,
}

/// A record that breaks an invariant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("{0}")]
    Json(String),
    #[error("ledger {0} does not stand above the one before, or above what was trimmed")]
    Order(LedgerId),
}

impl ManagedRecord {
    /// A managed ledger that nobody has opened yet.
    pub(crate) fn empty() -> Self {
        Self {
            epoch: Epoch(0),
            serial: 0,
            ledgers: Vec::new(),
            cursor_ledger: None,
            cursor_ledger_next: None,
            trimmed: Position::EARLIEST,
        }
    }

    /// One that its first owner has opened.
    pub(crate) fn born() -> Self {
        Self { epoch: Epoch(1), ..Self::empty() }
    }

    /// Decodes and checks a record.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|error| RecordError::Json(error.to_string()))?;
        let mut before = record.trimmed.ledger;
        for ledger in &record.ledgers {
            if ledger.id <= before {
                return Err(RecordError::Order(ledger.id));
            }
            before = ledger.id;
        }
        Ok(record)
    }

    /// Whether both are the same write of the same owner.
    pub(crate) fn is_same_write(&self, other: &Self) -> bool {
        (self.epoch, self.serial) == (other.epoch, other.serial)
    }
}
