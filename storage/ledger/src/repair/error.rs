//! Why a repair ends without having repaired.

use base::{EntryId, ErrorClass, LedgerId, NodeId};
use std::time::Duration;

/// Why a repair gave up. What was copied stays; another repair may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    #[error(
        "{entries} of the entries {first} to {last} of ledger {ledger} cannot be read from any copy now; bring its bookies \
         back, then try again"
    )]
    Unreadable { ledger: LedgerId, first: EntryId, last: EntryId, entries: u64 },
    #[error("no bookie is available to take the place of a lost one of ledger {ledger}; add one")]
    NoReplacement { ledger: LedgerId },
    #[error("bookie {bookie} does not take the copies of ledger {ledger}; try again with another one")]
    BookieUnavailable { ledger: LedgerId, bookie: NodeId },
    #[error("the metadata store does not answer for ledger {ledger}; try again")]
    MetadataUnavailable { ledger: LedgerId },
    #[error("ledger {ledger} is not closed; recover it before a bookie is refilled")]
    NotClosed { ledger: LedgerId },
}

impl RepairError {
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Retry { after: Duration::from_secs(10) }
    }
}
