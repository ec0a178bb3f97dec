//! Judges a ledger run from outside: what was promised to owners against what bookies said and readers got.
//!
//! **Invariants** checked
//! - L1  entries are confirmed in order, each once, with the context they were added under, never after a fence or an end.
//! - L2  a confirmed entry was answered as stored by an ack quorum of its write set.
//! - L3  nothing above a closed ledger's last entry was or will be confirmed, and nothing confirmed is above it.
//! - L4  when a ledger is closed, an ack quorum of its write set stored each of its entries; every reader gets what was written.
//! - L5  every recovery reports the end that the store has.
//! - L6  every add ends confirmed or unknown, never both.
//! - L7  a recovery reads only when so many bookies answered a fence that no ack quorum is left.
//! - L8  the LAC that travels with an add is no higher than what the metadata's bookies have stored on an ack quorum.
//! - L9  metadata only goes forward.

use base::{EntryData, EntryId, NodeId};
use ledger::{LedgerMetadata, LedgerState, VACANT};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What was broken, with the number of the invariant.
pub(super) type Finding = String;

#[derive(Debug, Default)]
pub(super) struct Checker {
    /// Context and content of every entry that was added.
    added: Vec<(u64, EntryData)>,
    pub(super) confirmed: usize,
    unknown: bool,
    closed_at: Option<EntryId>,
    /// Entry → bookies that said that they stored it.
    stored: BTreeMap<EntryId, BTreeSet<NodeId>>,
    /// Bookies that answered a fence.
    pub(super) fenced: BTreeSet<NodeId>,
}

fn index(entry: EntryId) -> Option<usize> {
    usize::try_from(entry.0).ok()
}

impl Checker {
    pub(super) fn add(&mut self, entry: EntryId, ctx: u64, data: EntryData) -> Result<(), Finding> {
        if index(entry) != Some(self.added.len()) {
            return Err(format!("L1: entry {entry} was given out after {} entries", self.added.len()));
        }
        self.added.push((ctx, data));
        Ok(())
    }

    pub(super) fn store(&mut self, entry: EntryId, node: NodeId) {
        self.stored.entry(entry).or_default().insert(node);
    }

    pub(super) fn confirm(&mut self, entry: EntryId, ctx: u64) -> Result<(), Finding> {
        let expected = self.added.get(self.confirmed).map(|(ctx, _)| *ctx);
        if index(entry) != Some(self.confirmed) || expected != Some(ctx) || self.unknown {
            return Err(format!("L1: entry {entry} confirmed with context {ctx} after {} entries", self.confirmed));
        }
        self.confirmed += 1;
        match self.closed_at {
            Some(end) if entry > end => Err(format!("L3: {entry} confirmed after the ledger was closed at {end}")),
            _ => Ok(()),
        }
    }

    pub(super) fn fence_writer(&mut self, unknown: &[u64]) -> Result<(), Finding> {
        let pending: Vec<u64> = self.added[self.confirmed..].iter().map(|(ctx, _)| *ctx).collect();
        if pending != unknown || std::mem::replace(&mut self.unknown, true) {
            return Err(format!("L6: fenced with unknown {unknown:?} while {pending:?} were pending"));
        }
        Ok(())
    }

    /// L2, L4, L8.
    pub(super) fn copies(&self, metadata: &LedgerMetadata, entries: RangeInclusive<i64>) -> Result<(), Finding> {
        let replication = metadata.replication;
        for entry in entries.map(EntryId) {
            let bookies = &metadata.fragment_of(entry).bookies;
            let nobody = BTreeSet::new();
            let stored = self.stored.get(&entry).unwrap_or(&nobody);
            let has = |slot: &u32| bookies.get(*slot as usize).is_some_and(|node| stored.contains(node));
            let copies = replication.write_set(entry).iter().filter(has).count();
            if copies < replication.ack_quorum() as usize {
                return Err(format!("L2/L4/L8: entry {entry} has {copies} copies on {bookies:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn close(&mut self, end: EntryId) -> Result<(), Finding> {
        self.closed_at = Some(end);
        if end.count() < self.confirmed as u64 {
            return Err(format!("L3: closed at {end} although {} entries were confirmed", self.confirmed));
        }
        Ok(())
    }

    pub(super) fn recovered(&self, last_entry: EntryId) -> Result<(), Finding> {
        if self.closed_at != Some(last_entry) {
            return Err(format!("L5: recovered up to {last_entry}, but the ledger ends at {:?}", self.closed_at));
        }
        Ok(())
    }

    pub(super) fn may_read(&self, metadata: &LedgerMetadata) -> Result<(), Finding> {
        let ensemble = &metadata.last_fragment().bookies;
        let fenced = ensemble.iter().filter(|node| **node == VACANT || self.fenced.contains(node)).count();
        if fenced < metadata.replication.fence_coverage() as usize {
            return Err(format!("L7: a recovery reads while only {fenced} of {ensemble:?} are fenced"));
        }
        Ok(())
    }

    pub(super) fn read(&self, entry: EntryId, data: &EntryData) -> Result<(), Finding> {
        let written = index(entry).and_then(|index| self.added.get(index));
        if written.map(|(_, data)| data) != Some(data) {
            return Err(format!("L4: entry {entry} reads as something else than was written"));
        }
        Ok(())
    }
}

/// Below the last fragment seats may only become vacant. A recovery's close may drop fragments at the end.
fn keeps_its_past(before: &LedgerMetadata, after: &LedgerMetadata) -> bool {
    let end = before.last_fragment().first_entry;
    let firsts = before.fragments.iter().chain(&after.fragments).map(|fragment| fragment.first_entry);
    let fewer = after.fragments.len() < before.fragments.len();
    firsts.filter(|entry| *entry < end).all(|entry| {
        let (old, new) = (&before.fragment_of(entry).bookies, &after.fragment_of(entry).bookies);
        fewer || old.iter().zip(new).all(|(old, new)| new == old || *new == VACANT)
    })
}

/// L9.
pub(super) fn check_step(before: &LedgerMetadata, after: &LedgerMetadata) -> Result<(), Finding> {
    after.check().map_err(|error| format!("L9: invalid metadata: {error}"))?;
    let legal = match (before.state, after.state) {
        (LedgerState::Open, _) | (LedgerState::InRecovery, LedgerState::Closed { .. }) => true,
        (LedgerState::InRecovery, LedgerState::Open | LedgerState::InRecovery) | (LedgerState::Closed { .. }, _) => {
            false
        }
    };
    if legal && keeps_its_past(before, after) && before.replication == after.replication {
        return Ok(());
    }
    Err(format!("L9: metadata went from {before:?} to {after:?}"))
}
