//! Appends entries to one open ledger and confirms them in order.

use crate::{LedgerEffect, LedgerMetadata, MetadataOutcome, Placement, RequestIds, Seeded, VersionedMetadata};
use base::{Effects, EntryData, EntryId, ErrorClass, LedgerId, Mono, NodeId, Now, RequestId};
use std::time::Duration;
use wire::bookie::BookieResponse;

/// What a writer asks for.
pub type WriterEffects = Effects<LedgerEffect<WriterEvent>>;

/// Bounds and times of one writer.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Unconfirmed entries.
    pub pending_adds_max: usize,
    /// Their bytes. One entry is always admitted when nothing is pending.
    pub pending_bytes_max: usize,
    /// A bookie that has not answered an add for so long is replaced; without a spare one the add is sent again.
    pub add_timeout: Duration,
    /// [`Seeded::NONE`].
    pub seeded: Seeded,
}

/// What a writer tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterEvent {
    /// The entry is durable on its ack quorum, and so are all before it. Strictly in entry order.
    Confirmed { ctx: u64, entry: EntryId },
    /// Somebody else has taken the ledger over: nothing will be confirmed any more. Whether the pending adds are in the
    /// ledger is unknown until the recovery's result is read; `unknown` lists their `ctx` in entry order.
    Fenced { unknown: Vec<u64> },
    /// [`LedgerWriter::metadata`] has a new ensemble; readers of the open ledger need it.
    EnsembleChanged,
    /// Closed with everything that was added before. The end of this machine.
    Closed { last_entry: EntryId, length: u64 },
}

/// Why an add was not taken; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    #[error(
        "the ledger writer has {pending_adds} unconfirmed entries of {pending_bytes} bytes, which is its bound; wait for confirmations"
    )]
    Full { pending_adds: usize, pending_bytes: usize },
    #[error("the ledger is closed or being closed; open another one")]
    Closed,
    #[error("the ledger was taken over by another owner; reopen it")]
    Fenced,
}

impl AddError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Full { .. } => ErrorClass::Retry { after: Duration::from_millis(10) },
            Self::Closed | Self::Fenced => ErrorClass::Fatal,
        }
    }
}

/// The writer of one open ledger.
#[derive(Debug)]
pub struct LedgerWriter {
    metadata: LedgerMetadata,
    version: u64,
}

impl LedgerWriter {
    /// A writer for a ledger that was just created: open, empty, one fragment.
    pub fn new(
        _ids: RequestIds,
        _ledger: LedgerId,
        _metadata: VersionedMetadata,
        _options: WriterOptions,
        _placement: Placement,
    ) -> Self {
        unimplemented!()
    }

    /// Appends one entry and sends it to its write set. `ctx` comes back in the event.
    ///
    /// # Errors
    /// [`AddError`]; then nothing was sent.
    pub fn add_entry(
        &mut self,
        _now: Now,
        _ctx: u64,
        _data: EntryData,
        _fx: &mut WriterEffects,
    ) -> Result<EntryId, AddError> {
        unimplemented!()
    }

    /// Whether an entry of `bytes` would be taken now.
    ///
    /// # Errors
    /// What [`LedgerWriter::add_entry`] would answer.
    pub fn check_add(&self, _bytes: usize) -> Result<(), AddError> {
        unimplemented!()
    }

    /// One bookie's answer to an add. Any other answer is ignored.
    pub fn handle_add_response(
        &mut self,
        _now: Now,
        _from: NodeId,
        _response: &BookieResponse,
        _fx: &mut WriterEffects,
    ) {
        unimplemented!()
    }

    /// The answer to a metadata request of this machine; others are ignored.
    pub fn handle_metadata(&mut self, _now: Now, _id: RequestId, _outcome: MetadataOutcome, _fx: &mut WriterEffects) {
        unimplemented!()
    }

    /// The bookies that may be chosen as replacements from now on.
    pub fn set_available(&mut self, _now: Now, _bookies: Vec<NodeId>, _fx: &mut WriterEffects) {
        unimplemented!()
    }

    /// Takes no more adds, waits until all are confirmed, then closes the ledger. Ends in `Closed` or `Fenced`.
    pub fn close(&mut self, _now: Now, _fx: &mut WriterEffects) {
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    pub fn on_deadline(&mut self, _now: Now, _fx: &mut WriterEffects) {
        unimplemented!()
    }

    /// Whether `id` is a request of this machine.
    pub fn owns(&self, _id: RequestId) -> bool {
        unimplemented!()
    }

    pub fn ledger(&self) -> LedgerId {
        unimplemented!()
    }

    /// The highest confirmed entry (LAC).
    pub fn last_confirmed(&self) -> EntryId {
        unimplemented!()
    }

    /// The highest entry id given out.
    pub fn last_added(&self) -> EntryId {
        unimplemented!()
    }

    /// Bytes of all confirmed entries.
    pub fn length(&self) -> u64 {
        unimplemented!()
    }

    /// Unconfirmed entries.
    pub fn pending_adds(&self) -> usize {
        unimplemented!()
    }

    /// Bytes of the unconfirmed entries.
    pub fn pending_bytes(&self) -> usize {
        unimplemented!()
    }

    pub fn is_fenced(&self) -> bool {
        unimplemented!()
    }

    /// The metadata as last committed by or read by this writer.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.metadata
    }

    /// The version of [`LedgerWriter::metadata`].
    pub fn version(&self) -> u64 {
        self.version
    }
}
