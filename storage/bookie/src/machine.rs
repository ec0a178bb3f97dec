//! The machine that answers a ledger client's requests.

use crate::disk::DiskEvent;
use crate::layout::RecoveredLog;
use crate::options::{BookieEffect, BookieOptions, BookieStats};
use base::{Effects, LedgerId, Mono, NodeId, Now};
use std::collections::BTreeSet;
use wire::bookie::BookieRequest;

/// One bookie.
#[derive(Debug)]
pub struct Bookie {
    node: NodeId,
}

impl Bookie {
    /// A bookie over a log that the device has just opened.
    pub fn new(node: NodeId, _options: BookieOptions, _log: RecoveredLog) -> Self {
        Self { node }
    }

    /// Takes one request of `from`; the answer comes as an effect now or after the disk has answered.
    pub fn handle_request(
        &mut self,
        _now: Now,
        _from: NodeId,
        _request: BookieRequest,
        _fx: &mut Effects<BookieEffect>,
    ) {
    }

    /// Takes one answer of the device.
    pub fn handle_disk(&mut self, _now: Now, _event: DiskEvent, _fx: &mut Effects<BookieEffect>) {}

    /// Deletes every ledger that was found on disk at boot, has not been written to since and is not in `known`.
    /// `known` must come from a linearizable read of the metadata, made after this process started.
    pub fn retain_ledgers(&mut self, _now: Now, _known: &BTreeSet<LedgerId>, _fx: &mut Effects<BookieEffect>) {}

    /// When [`Bookie::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// Lets the cleaner take its next step.
    pub fn on_deadline(&mut self, _now: Now, _fx: &mut Effects<BookieEffect>) {}

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Counters and sizes at this moment.
    pub fn stats(&self) -> BookieStats {
        BookieStats::default()
    }
}
