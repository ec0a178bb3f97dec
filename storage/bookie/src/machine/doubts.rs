//! Ledgers of which nobody here can say whether they were deleted while this bookie was away.
//!
//! **What**  A fence goes with its ledger, and what a bookie remembers of deleted ledgers ends with its process. A writer that was
//! frozen when its ledger was recovered and deleted may come back after that: bookies that started again would take
//! its entries, and a quorum of them would confirm what nobody will ever read. So an add to a ledger that the listing at the
//! start did not have, and that is not newer, waits until the metadata was asked for that ledger.
//!
//! **States**  in doubt → asked, its adds wait → known: as any other; or gone: deleted for good.
//!
//! **Invariants**
//! - I1  adds that wait hold at most [`BYTES_MAX`] in all, or one single add; further ones are answered `Unknown`.
//! - I2  one question per ledger is under way.
//!
//! **Not here**  Ledgers that are deleted while the process runs (`index`).

use super::id_ranges::IdRanges;
use super::{Add, Bookie, Fx, respond};
use crate::options::{BookieEffect, LedgerListing};
use base::{LedgerId, NodeId};
use std::collections::BTreeMap;
use wire::bookie::{AddOutcome, BookieResponse};

/// Bytes of adds that wait for the metadata …
const BYTES_MAX: usize = 16 << 20;
/// … of which each takes this beside its entry.
const ADD_BYTES: usize = 128;

/// What a linearizable read of the metadata says of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerProof {
    /// It is there.
    Exists,
    /// It was deleted, or will never be: a ledger is in the metadata before its first entry is sent.
    Gone,
    /// No answer: asked again with the next add.
    Unknown,
}

#[derive(Debug, Default)]
pub(super) struct Doubts {
    ids: IdRanges,
    waiting: BTreeMap<LedgerId, Vec<(NodeId, Add)>>,
    bytes: usize,
}

impl Doubts {
    pub(super) fn of(listing: &LedgerListing) -> Self {
        let first = LedgerId::compose(listing.below.region(), 0);
        let known = listing.known.iter().copied();
        Self { ids: IdRanges::between(first, listing.below, known), ..Self::default() }
    }

    pub(super) fn contains(&self, ledger: LedgerId) -> bool {
        self.ids.contains(ledger)
    }

    /// Whether the metadata was asked and has not answered.
    pub(super) fn is_asked(&self, ledger: LedgerId) -> bool {
        self.waiting.contains_key(&ledger)
    }
}

impl Bookie {
    /// Holds an add back until the metadata was asked.
    pub(super) fn doubt(&mut self, from: NodeId, add: Add, fx: &mut Fx) {
        let (id, ledger, entry, bytes) = (add.id, add.ledger, add.entry, ADD_BYTES + add.data.len());
        let doubts = &mut self.doubts;
        if doubts.bytes > 0 && doubts.bytes + bytes > BYTES_MAX {
            self.stats.overloaded_total += 1;
            return respond(from, BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Unknown }, fx); // I1
        }
        doubts.bytes += bytes;
        let waiting = doubts.waiting.entry(ledger).or_default();
        if waiting.is_empty() {
            fx.push(BookieEffect::Prove { ledger }); // I2
        }
        waiting.push((from, add));
    }

    /// The metadata was asked whether a ledger exists ([`BookieEffect::Prove`]).
    pub fn handle_proof(&mut self, ledger: LedgerId, proof: LedgerProof, fx: &mut Fx) {
        match proof {
            LedgerProof::Exists => self.doubts.ids.remove(ledger),
            LedgerProof::Gone => {
                self.doubts.ids.remove(ledger);
                self.delete(ledger, None, fx); // Bookie I7
            }
            LedgerProof::Unknown => (),
        }
        for (from, add) in self.doubts.waiting.remove(&ledger).unwrap_or_default() {
            self.doubts.bytes -= ADD_BYTES + add.data.len();
            if proof == LedgerProof::Unknown {
                let (id, ledger, entry) = (add.id, add.ledger, add.entry);
                respond(from, BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Unknown }, fx);
            } else {
                self.add(from, add, fx);
            }
        }
        self.release_files(fx);
    }
}
