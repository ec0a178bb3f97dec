//! Reads confirmed entries of one ledger, from whichever copy answers.

use crate::{LedgerEffect, LedgerMetadata, RequestIds};
use base::{Effects, EntryData, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId};
use std::time::Duration;
use wire::bookie::BookieResponse;

/// What a reader asks for.
pub type ReaderEffects = Effects<LedgerEffect<ReaderEvent>>;

/// Bounds and times of one reader.
#[derive(Clone, Copy, Debug)]
pub struct ReaderOptions {
    /// A copy that does not answer for so long is given up for the next one.
    pub read_timeout: Duration,
    /// Reads under way at the same time.
    pub reads_max: usize,
    /// The bookie to ask first where it has a copy, such as the one on this node.
    pub prefer: Option<NodeId>,
}

/// Names one read of one reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What a reader tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaderEvent {
    /// Consecutive entries, the first is the one asked for; at least one, possibly fewer than asked for.
    ReadDone { id: ReadId, result: Result<Vec<(EntryId, EntryData)>, ReadError> },
}

/// Why a read gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("entry {entry} of ledger {ledger} is beyond its end; read at or below the last confirmed entry")]
    BeyondEnd { ledger: LedgerId, entry: EntryId },
    #[error("the reader of ledger {ledger} has all its reads under way; wait for one to end")]
    Busy { ledger: LedgerId },
    #[error("no bookie with a copy of entry {entry} of ledger {ledger} answers; try again")]
    Unavailable { ledger: LedgerId, entry: EntryId },
    #[error("entry {entry} of ledger {ledger} is lost: no bookie of its write set has it")]
    Lost { ledger: LedgerId, entry: EntryId },
}

impl ReadError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Busy { .. } => ErrorClass::Retry { after: Duration::from_millis(10) },
            Self::Unavailable { .. } => ErrorClass::Retry { after: Duration::from_millis(200) },
            Self::BeyondEnd { .. } | Self::Lost { .. } => ErrorClass::Fatal,
        }
    }
}

/// The reader of one ledger, open or closed.
#[derive(Debug)]
pub struct LedgerReader {
    metadata: LedgerMetadata,
}

impl LedgerReader {
    pub fn new(_ids: RequestIds, _ledger: LedgerId, _metadata: LedgerMetadata, _options: ReaderOptions) -> Self {
        unimplemented!()
    }

    /// Reads up to `entries_max` entries and about `bytes_max` bytes (at least one entry) from `from` on. In a ledger
    /// that is not closed the caller asks only for confirmed entries: `from + entries_max − 1` ≤ LAC.
    ///
    /// # Errors
    /// [`ReadError::BeyondEnd`] and [`ReadError::Busy`] at once; the others come with the event.
    pub fn read(
        &mut self,
        _now: Now,
        _from: EntryId,
        _entries_max: u32,
        _bytes_max: u32,
        _fx: &mut ReaderEffects,
    ) -> Result<ReadId, ReadError> {
        unimplemented!()
    }

    /// A bookie's answer; one that this machine does not wait for is ignored.
    pub fn handle_bookie(&mut self, _now: Now, _from: NodeId, _response: BookieResponse, _fx: &mut ReaderEffects) {
        unimplemented!()
    }

    /// New metadata of the same ledger: another ensemble, or its end.
    pub fn set_metadata(&mut self, _metadata: LedgerMetadata) {
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    pub fn on_deadline(&mut self, _now: Now, _fx: &mut ReaderEffects) {
        unimplemented!()
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, _id: RequestId) -> bool {
        unimplemented!()
    }

    pub fn ledger(&self) -> LedgerId {
        unimplemented!()
    }

    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// Reads under way.
    pub fn reads(&self) -> usize {
        unimplemented!()
    }
}
