//! One page of the list of ledgers: which of them lack copies.

use super::Lost;
use base::{LedgerId, NodeId};
use bytes::Bytes;
use ledger::{LackingFragment, LedgerMetadata, MetadataOutcome, UnderReplication, VACANT, VersionedMetadata};
use meta_api::{MetaResponse, Versioned};
use std::collections::{BTreeMap, BTreeSet};
use tenancy::keys::Key;

/// A ledger that lacks copies.
#[derive(Debug)]
pub(super) struct Lacking {
    pub(super) key: String,
    pub(super) ledger: LedgerId,
    pub(super) metadata: VersionedMetadata,
    /// Whose copies lack; [`VACANT`] for seats without a bookie.
    pub(super) bookies: BTreeSet<NodeId>,
    pub(super) copies_left: u32,
    /// It is to be ended first.
    pub(super) ends: bool,
    fragments: Vec<LackingFragment>,
}

impl Lacking {
    /// Whether a repair finds something to do: a settled fragment with a vacant seat, or with a bookie that is lost, and one
    /// of the `open` bookies to take it.
    pub(super) fn is_repairable(&self, lost: &Lost, open: &[NodeId]) -> bool {
        self.fragments.iter().any(|fragment| fragment.settled && self.has_spare(fragment, lost, open))
    }

    /// Whether the same holds for the fragment that is still written.
    pub(super) fn is_unsettled(&self, lost: &Lost, open: &[NodeId]) -> bool {
        self.fragments.iter().any(|fragment| !fragment.settled && self.has_spare(fragment, lost, open))
    }

    fn has_spare(&self, fragment: &LackingFragment, lost: &Lost, open: &[NodeId]) -> bool {
        let taken = &self.metadata.metadata.fragment_of(fragment.first_entry).bookies;
        let concerned = fragment.lost.iter().any(|node| *node == VACANT || lost.is_lost(*node));
        concerned && open.iter().any(|node| !taken.contains(node))
    }
}

/// What a look has found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The last key seen.
    pub(super) after: Option<String>,
    pub(super) lacking: Vec<Lacking>,
    pub(super) ledgers: u64,
    pub(super) entries: u64,
    pub(super) entries_below_ack_quorum: u64,
    /// Ledgers that a recovery closed, and their bookies.
    pub(super) unchecked: BTreeMap<LedgerId, BTreeSet<NodeId>>,
}

/// Takes a page over. At most `ledgers_max` ledgers are kept; all are counted.
pub(super) fn read_page(
    items: &[(String, Versioned)],
    alive: &BTreeSet<NodeId>,
    ledgers_max: usize,
    found: &mut Found,
) {
    for (key, value) in items {
        let Some(Key::Ledger(ledger)) = Key::parse(key) else { continue };
        let Some(metadata) = decode(value) else { continue };
        if metadata.metadata.unchecked && found.unchecked.len() < ledgers_max {
            found.unchecked.insert(ledger, metadata.metadata.bookies());
        }
        let lacks = UnderReplication::find([(ledger, &metadata.metadata)], alive);
        let Some(worst) = lacks.fragments.first() else { continue };
        let copies_left = worst.copies_left;
        found.ledgers += 1;
        found.entries += lacks.entries;
        found.entries_below_ack_quorum += lacks.entries_below_ack_quorum;
        if found.lacking.len() < ledgers_max {
            let bookies = lacks.fragments.iter().flat_map(|fragment| fragment.lost.iter().copied()).collect();
            let (key, fragments) = (key.clone(), lacks.fragments);
            found.lacking.push(Lacking { key, ledger, metadata, bookies, copies_left, ends: false, fragments });
        }
    }
}

fn decode(value: &Versioned) -> Option<VersionedMetadata> {
    let metadata: LedgerMetadata = serde_json::from_slice(&value.value).ok()?;
    metadata.check().ok()?;
    Some(VersionedMetadata { metadata, version: value.version })
}

/// A ledger's metadata as stored.
pub(super) fn encode(metadata: &LedgerMetadata) -> Bytes {
    // Numbers and lists always serialise.
    Bytes::from(serde_json::to_vec(metadata).unwrap_or_default())
}

/// A metadata answer in the words of the ledger machines. Damaged metadata counts as unavailable: it proves nothing.
pub(super) fn outcome(response: MetaResponse) -> MetadataOutcome {
    let known = |value: Option<Versioned>| match value {
        None => Some(None),
        Some(value) => decode(&value).map(Some),
    };
    match response {
        MetaResponse::Value(value) => known(value).map_or(MetadataOutcome::Unavailable, MetadataOutcome::Current),
        MetaResponse::Committed { revision } => MetadataOutcome::Committed { version: revision },
        MetaResponse::Conflict { actual, .. } => {
            known(actual).map_or(MetadataOutcome::Unavailable, |actual| MetadataOutcome::Conflict { actual })
        }
        MetaResponse::Range { .. }
        | MetaResponse::Reserved { .. }
        | MetaResponse::Refused { .. }
        | MetaResponse::Unavailable { .. } => MetadataOutcome::Unavailable,
    }
}
