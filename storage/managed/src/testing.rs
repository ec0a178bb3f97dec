//! In-memory bookies and metadata for tests: enough to drive a managed ledger to rest without a clock or a disk.

use crate::{ManagedEffect, ManagedEvent, ManagedLedger};
use base::{Effects, NodeId, Now};

/// A set of bookies, a metadata store and a ledger id counter, all in memory and always healthy.
#[derive(Debug, Default)]
pub struct Storage {}

impl Storage {
    /// `bookies` nodes, numbered from 1.
    pub fn new(_bookies: u32) -> Self {
        unimplemented!()
    }

    /// The bookies, to pass to [`ManagedLedger::open`].
    pub fn nodes(&self) -> Vec<NodeId> {
        unimplemented!()
    }

    /// Executes everything in `fx` and feeds the answers back until nothing is left to do. Returns the events in order.
    pub fn drive(
        &mut self,
        _now: Now,
        _log: &mut ManagedLedger,
        _fx: &mut Effects<ManagedEffect>,
    ) -> Vec<ManagedEvent> {
        unimplemented!()
    }
}
