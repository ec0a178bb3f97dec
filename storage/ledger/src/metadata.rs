//! What the metadata store knows of one ledger.
//!
//! **States**  Open → InRecovery → Closed;  Open → Closed when its own writer closes it. Closed is final.
//!
//! **Invariants**
//! - I1  there is at least one fragment; the first starts at entry 0; first entries strictly ascend.
//! - I2  every fragment has exactly `ensemble` seats; no bookie sits on two of them, and at most `write_quorum − ack_quorum`
//!   are [`VACANT`], so that every entry can have its ack quorum.
//! - I3  in a closed ledger no fragment but the first starts above `last_entry`.

#[cfg(test)]
mod tests;

use crate::{ENSEMBLE_MAX, ReplicationConfig, SlotSet};
use base::{EntryId, NodeId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use wire::bookie::EntryRange;

/// Nobody: the seat of a bookie that is away and for which there is no other. The entries of such a fragment lack that copy,
/// as the metadata itself says, until a repair gives it to a bookie. The region numbers its nodes from 1 on.
pub const VACANT: NodeId = NodeId(0);

/// Where a ledger stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LedgerState {
    /// One writer may append.
    Open,
    /// Somebody is taking it over: its writer may change nothing any more.
    InRecovery,
    /// Final. `last_entry` is [`EntryId::NONE`] when it is empty. `length` is the sum of the entries' bytes (head and
    /// body): exact when the writer closed it, an estimate for what a recovery had no need to read.
    Closed { last_entry: EntryId, length: u64 },
}

/// The bookies that hold the entries from `first_entry` to the next fragment's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fragment {
    pub first_entry: EntryId,
    /// The ensemble; the index is an entry's slot. [`VACANT`] holds nothing.
    pub bookies: Vec<NodeId>,
}

/// The metadata record of one ledger. Changed only by compare-and-put.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LedgerMetadata {
    pub state: LedgerState,
    pub replication: ReplicationConfig,
    pub fragments: Vec<Fragment>,
    /// Unix milliseconds, for people.
    pub created_ms: u64,
    /// A recovery closed it: what its writer knew of copies that were still on their way is lost, so that bookies may lack
    /// entries that their seats name. Until each of them was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unchecked: bool,
}

/// A metadata record that breaks an invariant: damaged or written by something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("ledger metadata has no fragment that starts at entry 0")]
    NoFirstFragment,
    #[error("ledger metadata has a fragment at entry {0} that does not start above the one before")]
    FragmentOrder(EntryId),
    #[error(
        "ledger metadata has a fragment at entry {first_entry} with {bookies} different bookies instead of {ensemble}"
    )]
    FragmentBookies { first_entry: EntryId, bookies: usize, ensemble: u32 },
    #[error("ledger metadata is closed at entry {last_entry} but has a fragment that starts at {first_entry}")]
    FragmentAboveEnd { first_entry: EntryId, last_entry: EntryId },
}

impl Fragment {
    /// The seats on which nobody sits.
    pub fn vacant(&self) -> SlotSet {
        self.bookies.iter().zip(0..ENSEMBLE_MAX).filter(|(node, _)| **node == VACANT).map(|(_, slot)| slot).collect()
    }
}

impl LedgerMetadata {
    /// A new, open ledger on these bookies.
    ///
    /// # Errors
    /// [`MetadataError::FragmentBookies`] unless there are exactly `ensemble` different bookies.
    pub fn new(replication: ReplicationConfig, bookies: Vec<NodeId>, created_ms: u64) -> Result<Self, MetadataError> {
        let fragments = vec![Fragment { first_entry: EntryId(0), bookies }];
        let metadata = Self { state: LedgerState::Open, replication, fragments, created_ms, unchecked: false };
        metadata.check()?;
        Ok(metadata)
    }

    /// Checks I1–I3; call it on everything that was decoded.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self) -> Result<(), MetadataError> {
        let mut before: Option<EntryId> = None;
        for fragment in &self.fragments {
            let first_entry = fragment.first_entry;
            match before {
                None if first_entry != EntryId(0) => return Err(MetadataError::NoFirstFragment),
                Some(before) if first_entry <= before => return Err(MetadataError::FragmentOrder(first_entry)),
                None | Some(_) => before = Some(first_entry),
            }
            let taken = fragment.bookies.iter().filter(|node| **node != VACANT).collect::<BTreeSet<_>>().len();
            let vacant = fragment.vacant().count();
            let bookies = taken + usize::try_from(vacant).unwrap_or(usize::MAX).min(fragment.bookies.len());
            let ensemble = self.replication.ensemble();
            let enough = vacant <= self.replication.vacancies_max();
            if u32::try_from(bookies) != Ok(ensemble) || bookies != fragment.bookies.len() || !enough {
                return Err(MetadataError::FragmentBookies { first_entry, bookies, ensemble });
            }
        }
        match (before, self.state) {
            (None, _) => Err(MetadataError::NoFirstFragment),
            (Some(first_entry), LedgerState::Closed { last_entry, .. })
                if first_entry > last_entry && self.fragments.len() > 1 =>
            {
                Err(MetadataError::FragmentAboveEnd { first_entry, last_entry })
            }
            (Some(_), LedgerState::Open | LedgerState::InRecovery | LedgerState::Closed { .. }) => Ok(()),
        }
    }

    /// The fragment that holds (or would hold) `entry`.
    pub fn fragment_of(&self, entry: EntryId) -> &Fragment {
        let index = self.fragments.partition_point(|fragment| fragment.first_entry <= entry);
        &self.fragments[index.saturating_sub(1)]
    }

    /// The first entry that is no longer in the fragment of `entry`; `None` when that is the last fragment.
    pub fn fragment_end(&self, entry: EntryId) -> Option<EntryId> {
        let index = self.fragments.partition_point(|fragment| fragment.first_entry <= entry);
        self.fragments.get(index.max(1)).map(|fragment| fragment.first_entry)
    }

    /// The first entry above the fragment that begins at `first_entry`, when no writer and no recovery adds to it any more;
    /// `None` for the last fragment of a ledger that is not closed.
    pub fn settled_end(&self, first_entry: EntryId) -> Option<EntryId> {
        self.fragment_end(first_entry).or_else(|| self.closed().map(|(last_entry, _)| last_entry.next()))
    }

    /// The fragment that takes new entries.
    pub fn last_fragment(&self) -> &Fragment {
        assert!(!self.fragments.is_empty(), "LedgerMetadata I1: at least one fragment");
        &self.fragments[self.fragments.len() - 1]
    }

    /// Every bookie that holds a part of the ledger.
    pub fn bookies(&self) -> BTreeSet<NodeId> {
        let seats = self.fragments.iter().flat_map(|fragment| fragment.bookies.iter().copied());
        seats.filter(|node| *node != VACANT).collect()
    }

    /// Whether a bookie is to have a copy of any entry of the range, which is below the end of the ledger.
    pub fn is_wanted(&self, node: NodeId, range: EntryRange) -> bool {
        self.fragments.iter().any(|fragment| {
            let end = self.fragment_end(fragment.first_entry).unwrap_or(range.end);
            let (first, end) = (range.first.max(fragment.first_entry), range.end.min(end));
            // In so many entries in a row every slot has its turn.
            let end = end.0.min(first.0 + i64::from(self.replication.ensemble()));
            let mut seats = fragment.bookies.iter().zip(0..).filter(|(seated, _)| **seated == node);
            seats.any(|(_, slot)| (first.0..end).any(|at| self.replication.write_set(EntryId(at)).contains(slot)))
        })
    }

    /// The last entry and the length of a closed ledger.
    pub fn closed(&self) -> Option<(EntryId, u64)> {
        match self.state {
            LedgerState::Closed { last_entry, length } => Some((last_entry, length)),
            LedgerState::Open | LedgerState::InRecovery => None,
        }
    }

    /// The same ledger with `bookies` from `first_entry` on. Fragments at or above it are replaced.
    #[must_use]
    pub fn with_ensemble(&self, first_entry: EntryId, bookies: Vec<NodeId>) -> Self {
        let mut changed = self.clone();
        changed.fragments.retain(|fragment| fragment.first_entry < first_entry);
        changed.fragments.push(Fragment { first_entry, bookies });
        changed
    }

    /// The same ledger with the seat of `node` vacant for the entries `from..below`, where a fragment has room for one more
    /// vacancy: they are confirmed without it.
    #[must_use]
    pub fn with_vacated(&self, node: NodeId, from: EntryId, below: EntryId) -> Self {
        let mut fragments: Vec<Fragment> = Vec::with_capacity(self.fragments.len() + 2);
        for fragment in &self.fragments {
            let end = self.fragment_end(fragment.first_entry).unwrap_or(EntryId(i64::MAX));
            let (from, below) = (from.max(fragment.first_entry), below.min(end));
            let may = from < below && fragment.vacant().count() < self.replication.vacancies_max();
            let seat = fragment.bookies.iter().position(|bookie| *bookie == node).filter(|_| may);
            let Some(seat) = seat else {
                fragments.push(fragment.clone());
                continue;
            };
            if fragment.first_entry < from {
                fragments.push(fragment.clone());
            }
            let mut bookies = fragment.bookies.clone();
            bookies[seat] = VACANT;
            fragments.push(Fragment { first_entry: from, bookies });
            if below < end {
                fragments.push(Fragment { first_entry: below, bookies: fragment.bookies.clone() });
            }
        }
        Self { fragments, ..self.clone() }
    }

    /// The same ledger with other bookies in these slots of the fragment that begins at `first_entry`, but for the entries
    /// `except` (ascending, apart from each other), which become fragments of their own with the bookies of before.
    #[must_use]
    pub fn with_replaced(&self, first_entry: EntryId, slots: &[(u32, NodeId)], except: &[EntryRange]) -> Self {
        let mut fragments = Vec::with_capacity(self.fragments.len() + 2 * except.len());
        for fragment in &self.fragments {
            if fragment.first_entry != first_entry {
                fragments.push(fragment.clone());
                continue;
            }
            // That of a ledger that was closed empty holds nothing, and stays.
            let end = self.settled_end(first_entry).unwrap_or(EntryId(i64::MAX)).max(first_entry.next());
            let mut next = first_entry;
            for range in except.iter().chain([&EntryRange { first: end, end }]) {
                if next < range.first {
                    fragments.push(Fragment { first_entry: next, bookies: seated(&fragment.bookies, slots) });
                }
                if range.first < range.end {
                    fragments.push(Fragment { first_entry: range.first, bookies: fragment.bookies.clone() });
                }
                next = range.end;
            }
        }
        Self { fragments, ..self.clone() }
    }

    /// The same ledger in recovery.
    #[must_use]
    pub fn in_recovery(&self) -> Self {
        Self { state: LedgerState::InRecovery, ..self.clone() }
    }

    /// The same ledger, whose bookies have all been asked what they lack.
    #[must_use]
    pub fn checked(&self) -> Self {
        Self { unchecked: false, ..self.clone() }
    }

    /// The same ledger closed. Fragments that hold nothing go, but for the first.
    #[must_use]
    pub fn closed_at(&self, last_entry: EntryId, length: u64) -> Self {
        let mut closed = Self { state: LedgerState::Closed { last_entry, length }, ..self.clone() };
        closed.fragments.retain(|fragment| fragment.first_entry <= last_entry || fragment.first_entry == EntryId(0));
        closed
    }
}

/// These bookies with others in some slots.
fn seated(bookies: &[NodeId], slots: &[(u32, NodeId)]) -> Vec<NodeId> {
    let other = |index: u32| slots.iter().find(|(slot, _)| *slot == index).map(|(_, node)| *node);
    bookies.iter().zip(0..).map(|(node, index)| other(index).unwrap_or(*node)).collect()
}
