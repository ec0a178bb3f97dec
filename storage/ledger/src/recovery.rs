//! Takes a ledger over from a writer that may be dead or merely slow, and closes it.

use crate::{LedgerEffect, LedgerMetadata, MetadataOutcome, Placement, RequestIds, Seeded, VersionedMetadata};
use base::{Effects, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId};
use std::time::Duration;
use wire::bookie::BookieResponse;

/// What a recovery asks for.
pub type RecoveryEffects = Effects<LedgerEffect<RecoveryEvent>>;

/// Bounds and times of one recovery.
#[derive(Clone, Copy, Debug)]
pub struct RecoveryOptions {
    /// A request that is not answered for so long is sent again.
    pub request_timeout: Duration,
    /// So many timeouts in a row without any progress end the recovery as failed; the owner may start another.
    pub attempts_max: u32,
    /// Entries held in memory between reading and writing back.
    pub window_entries: u32,
    /// Bytes asked for in one read.
    pub read_bytes_max: u32,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

/// How a recovery ends; the last event of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryEvent {
    /// The ledger is closed (by this or by a concurrent recovery); [`LedgerRecovery::metadata`] is final.
    /// `length` as in [`crate::LedgerState::Closed`].
    Recovered {
        last_entry: EntryId,
        length: u64,
    },
    Failed(RecoveryError),
}

/// Why a recovery gave up. The ledger is still fenced where it was fenced; another recovery may continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    #[error("too few bookies of ledger {ledger} answer to recover it; bring them back, then try again")]
    BookiesUnavailable { ledger: LedgerId },
    #[error("the metadata store does not answer for ledger {ledger}; try again")]
    MetadataUnavailable { ledger: LedgerId },
    #[error("ledger {ledger} was deleted")]
    Deleted { ledger: LedgerId },
}

impl RecoveryError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BookiesUnavailable { .. } | Self::MetadataUnavailable { .. } => {
                ErrorClass::Retry { after: Duration::from_millis(500) }
            }
            Self::Deleted { .. } => ErrorClass::Fatal,
        }
    }
}

/// The recovery of one ledger.
#[derive(Debug)]
pub struct LedgerRecovery {
    metadata: LedgerMetadata,
    version: u64,
}

impl LedgerRecovery {
    /// Starts at once. A ledger that is already closed is recovered immediately.
    pub fn start(
        _ids: RequestIds,
        _ledger: LedgerId,
        _metadata: VersionedMetadata,
        _options: RecoveryOptions,
        _placement: Placement,
        _now: Now,
        _fx: &mut RecoveryEffects,
    ) -> Self {
        unimplemented!()
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, _now: Now, _from: NodeId, _response: BookieResponse, _fx: &mut RecoveryEffects) {
        unimplemented!()
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, _now: Now, _id: RequestId, _outcome: MetadataOutcome, _fx: &mut RecoveryEffects) {
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    pub fn on_deadline(&mut self, _now: Now, _fx: &mut RecoveryEffects) {
        unimplemented!()
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, _id: RequestId) -> bool {
        unimplemented!()
    }

    pub fn ledger(&self) -> LedgerId {
        unimplemented!()
    }

    /// After `Recovered`: the closed metadata.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// The version of [`LedgerRecovery::metadata`].
    pub fn version(&self) -> u64 {
        self.version
    }
}
