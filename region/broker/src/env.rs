//! What a subscription may use while it handles one input: its topic's log, the outbox, limits and fresh numbers.

use crate::outbox::Outbox;
use base::{Effects, FixedMap, Mono, Now, Position, RegionId, RegionName};
use managed::{ManagedEffect, ManagedLedger, Read, ReadId};
use std::collections::BTreeMap;

/// A subscription's number within its topic, from 1; 0 is the topic itself. Never reused while the topic is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubId(pub u32);

/// Fresh context numbers for storage calls, and who waits for which read.
///
/// A context carries the [`SubId`] in its upper 24 bits, so that the topic can route the completion.
#[derive(Debug, Default)]
pub struct Requests {
    next: u64,
    reads: FixedMap<ReadId, SubId>,
}

const SEQ_BITS: u32 = 40;

impl Requests {
    /// A fresh context for `sub`.
    pub fn context(&mut self, sub: SubId) -> u64 {
        self.next += 1;
        u64::from(sub.0) << SEQ_BITS | self.next
    }

    /// Whose context this is.
    pub fn owner(ctx: u64) -> SubId {
        SubId(u32::try_from(ctx >> SEQ_BITS).unwrap_or(0))
    }

    pub fn expect_read(&mut self, read: ReadId, sub: SubId) {
        self.reads.insert(read, sub);
    }

    /// Who asked for this read; forgets it.
    pub fn take_read(&mut self, read: ReadId) -> Option<SubId> {
        self.reads.remove(&read)
    }
}

/// How many messages and bytes a topic may dispatch; the topic's, namespace's and tenant's limits composed.
pub trait DispatchLimit {
    /// When dispatch may go on: `None` now, else not before this instant.
    fn blocked_until(&self, now: Mono) -> Option<Mono>;
    /// Records what was sent.
    fn charge(&mut self, now: Mono, messages: u32, bytes: u64);
}

/// The surroundings of a subscription during one call.
pub struct Env<'a> {
    pub now: Now,
    pub ledger: &'a mut ManagedLedger,
    pub ledger_fx: &'a mut Effects<ManagedEffect>,
    pub out: &'a mut Outbox,
    pub requests: &'a mut Requests,
    pub limit: &'a mut dyn DispatchLimit,
    /// Regions that may have published entries here; consumers are told their names.
    pub regions: &'a BTreeMap<RegionId, RegionName>,
    /// `-1` for a topic that is no partition; goes into every message id.
    pub partition: i32,
}

impl Env<'_> {
    /// Reads from the topic's log; a pending read is routed back to `sub`.
    pub fn read(&mut self, sub: SubId, from: Position, entries_max: u32, bytes_max: u64) -> Read {
        let read = self.ledger.read(self.now, from, entries_max, bytes_max, self.ledger_fx);
        if let Read::Pending(id) = &read {
            self.requests.expect_read(*id, sub);
        }
        read
    }
}
