//! What the machines of this crate ask their owner to do, and how the answers find their way back.
//!
//! **What**  Every machine gets a [`RequestIds`] with a machine number of its own, so that an owner with several
//! machines routes an answer by asking each machine's `owns(id)`. Metadata requests carry an id too; the answer comes
//! back through the machine's `handle_metadata`.

use crate::LedgerMetadata;
use base::{LedgerId, NodeId, OwnerId, RequestId};
use std::hash::{Hash, Hasher};
use wire::bookie::BookieRequest;

/// One thing to do. `E` is the machine's own event type.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LedgerEffect<E> {
    /// Ask a bookie. The answer may be late, doubled or missing: every machine has its own deadlines.
    Bookie { to: NodeId, request: BookieRequest },
    /// Read the ledger's metadata; answer with [`MetadataOutcome::Current`] or [`MetadataOutcome::Unavailable`].
    ReadMetadata { id: RequestId, ledger: LedgerId },
    /// Put the ledger's metadata if its version still is `version`; answer with [`MetadataOutcome::Committed`],
    /// [`MetadataOutcome::Conflict`] or [`MetadataOutcome::Unavailable`].
    CasMetadata { id: RequestId, ledger: LedgerId, version: u64, metadata: LedgerMetadata },
    /// Something for the owner itself.
    Event(E),
}

/// Metadata and the version under which it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VersionedMetadata {
    pub metadata: LedgerMetadata,
    pub version: u64,
}

/// The answer to a metadata request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MetadataOutcome {
    /// What stands there now; `None` when the ledger was deleted.
    Current(Option<VersionedMetadata>),
    /// The put is durable under this version.
    Committed { version: u64 },
    /// The put did not happen; `actual` is what stands there, `None` when the ledger was deleted.
    Conflict { actual: Option<VersionedMetadata> },
    /// No answer could be had; a put may or may not have happened.
    Unavailable,
}

/// Bits of a request's `seq` that count the requests of one machine; the machine's number stands above them.
const COUNTER_BITS: u32 = 40;
const COUNTER_MASK: u64 = (1 << COUNTER_BITS) - 1;

/// Gives out the request ids of one machine: `seq` is the machine number (24 bits) above a counter (40 bits).
/// The counter wraps; an id is unique among the last 2^40 of its machine.
#[derive(Clone, Debug)]
pub struct RequestIds {
    owner: OwnerId,
    machine: u64,
    counter: u64,
}

/// As the id that comes next, so that whoever compares states of machines can leave ids out by their machine number.
impl Hash for RequestIds {
    fn hash<H: Hasher>(&self, state: &mut H) {
        RequestId::new(self.owner, self.machine | self.counter).hash(state);
    }
}

impl RequestIds {
    /// Ids for machine number `machine` of `owner`. The owner gives every machine that it creates another number
    /// (of which the low 24 bits count).
    pub fn new(owner: OwnerId, machine: u32) -> Self {
        Self { owner, machine: u64::from(machine & 0x00ff_ffff) << COUNTER_BITS, counter: 0 }
    }

    /// The next id.
    pub fn allocate(&mut self) -> RequestId {
        let id = RequestId::new(self.owner, self.machine | self.counter);
        self.counter = (self.counter + 1) & COUNTER_MASK;
        id
    }

    /// Whether this machine gave out `id`.
    pub fn owns(&self, id: RequestId) -> bool {
        id.owner == self.owner && id.seq & !COUNTER_MASK == self.machine
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_of_one_owner_never_share_an_id() {
        let (mut one, mut two) = (RequestIds::new(OwnerId(7), 1), RequestIds::new(OwnerId(7), 2));
        let other_owner = RequestIds::new(OwnerId(8), 1);
        let (a, b) = (one.allocate(), two.allocate());
        assert_ne!(a, b);
        assert_ne!(a, one.allocate());
        assert!(one.owns(a) && !one.owns(b) && !two.owns(a) && !other_owner.owns(a));
    }
}
