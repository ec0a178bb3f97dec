//! Judges a run from outside: what was promised to the writer's owner against what the bookies and the store hold.
//!
//! **Invariants**
//! - C1  entries are confirmed in order, each once, with the context they were added under.
//! - C2  a confirmed entry is durable on an ack quorum of its write set.
//! - C3  nothing above a closed ledger's last entry was or will ever be confirmed.
//! - C4  when a ledger is closed, each of its entries is durable on an ack quorum of its write set, with the content
//!   that was written.
//! - C5  every recovery reports the end that the store has.
//! - C6  every add ends confirmed or unknown, never both, never neither.
//! - C7  when a recovery reads, so many bookies of the current ensemble are fenced that no ack quorum is left.
//! - C8  when a recovery (the only one) closes a ledger, so many bookies are fenced without the next entry that it can
//!   never be confirmed.
//! - C9  the LAC that travels with an add is durable on an ack quorum of its write set, as the store knows it.

use crate::bookie::ModelBookie;
use base::{EntryData, EntryId, NodeId};
use ledger::{LedgerMetadata, LedgerState, VACANT};
use std::collections::BTreeMap;

/// What was broken, with the number of the invariant.
pub(crate) type Violation = String;

#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// Context and content of every entry that was added, by entry id.
    added: Vec<(u64, EntryData)>,
    confirmed: usize,
    unknown: Option<usize>,
    closed_at: Option<EntryId>,
}

pub(crate) type Bookies = BTreeMap<NodeId, ModelBookie>;

impl Checker {
    pub(crate) fn record_added(&mut self, entry: EntryId, ctx: u64, data: EntryData) -> Result<(), Violation> {
        if usize::try_from(entry.0) != Ok(self.added.len()) {
            return Err(format!("C1: entry {entry} was given out after {} entries", self.added.len()));
        }
        self.added.push((ctx, data));
        Ok(())
    }

    pub(crate) fn check_confirmed(&mut self, entry: EntryId, ctx: u64) -> Result<(), Violation> {
        let expected = self.added.get(self.confirmed).map(|(ctx, _)| *ctx);
        if usize::try_from(entry.0) != Ok(self.confirmed) || expected != Some(ctx) || self.unknown.is_some() {
            return Err(format!("C1: entry {entry} confirmed with context {ctx} after {} entries", self.confirmed));
        }
        self.confirmed += 1;
        match self.closed_at {
            Some(end) if entry > end => {
                Err(format!("C3: entry {entry} confirmed after the ledger was closed at {end}"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check_fenced(&mut self, unknown: &[u64]) -> Result<(), Violation> {
        let pending: Vec<u64> = self.added[self.confirmed..].iter().map(|(ctx, _)| *ctx).collect();
        if pending != unknown || self.unknown.replace(unknown.len()).is_some() {
            return Err(format!("C6: fenced with unknown {unknown:?} while {pending:?} were pending"));
        }
        Ok(())
    }

    /// The entries up to `last` are where `metadata` says they are (C2, C4, C9).
    pub(crate) fn check_copies(
        &self,
        metadata: &LedgerMetadata,
        range: std::ops::RangeInclusive<i64>,
        bookies: &Bookies,
    ) -> Result<(), Violation> {
        let replication = metadata.replication;
        for entry in range.map(EntryId) {
            let fragment = metadata.fragment_of(entry);
            let content = usize::try_from(entry.0).ok().and_then(|index| self.added.get(index)).map(|(_, data)| data);
            let node = |slot: u32| bookies.get(&fragment.bookies[usize::try_from(slot).unwrap()]);
            let has = |slot: &u32| node(*slot).is_some_and(|bookie| bookie.holds(entry) == content);
            let copies = replication.write_set(entry).iter().filter(has).count();
            if content.is_none() || copies < usize::try_from(replication.ack_quorum()).unwrap() {
                return Err(format!("C2/C4/C9: entry {entry} has {copies} copies on {:?}", fragment.bookies));
            }
        }
        Ok(())
    }

    pub(crate) fn check_closed(&mut self, end: EntryId) -> Result<(), Violation> {
        self.closed_at = Some(end);
        if end.count() < u64::try_from(self.confirmed).unwrap() {
            return Err(format!("C3: closed at {end} although {} entries were confirmed", self.confirmed));
        }
        Ok(())
    }

    pub(crate) fn check_recovered(&self, last_entry: EntryId) -> Result<(), Violation> {
        if self.closed_at != Some(last_entry) {
            return Err(format!("C5: recovered up to {last_entry}, but the ledger ends at {:?}", self.closed_at));
        }
        Ok(())
    }

    pub(crate) fn check_read(&self, entry: EntryId, data: &EntryData) -> Result<(), Violation> {
        let written = usize::try_from(entry.0).ok().and_then(|index| self.added.get(index));
        if written.map(|(_, data)| data) != Some(data) {
            return Err(format!("C4: entry {entry} reads as something else than was written"));
        }
        Ok(())
    }

    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed
    }
}

/// C7: at the moment of a recovery's read.
pub(crate) fn check_fenced(metadata: &LedgerMetadata, bookies: &Bookies) -> Result<(), Violation> {
    let ensemble = &metadata.last_fragment().bookies;
    // On a vacant seat nobody can take an entry.
    let fenced = ensemble.iter().filter(|node| **node == VACANT || bookies[node].is_fenced()).count();
    if u32::try_from(fenced).unwrap() < metadata.replication.fence_coverage() {
        return Err(format!("C7: a recovery reads while only {fenced} of {ensemble:?} are fenced"));
    }
    Ok(())
}

/// C8: at the moment of a recovery's close. `before` is the metadata that the close replaced.
pub(crate) fn check_end(before: &LedgerMetadata, end: EntryId, bookies: &Bookies) -> Result<(), Violation> {
    if before.state != LedgerState::InRecovery {
        return Ok(()); // Its own writer closed it.
    }
    let ensemble = &before.last_fragment().bookies;
    let denies = |slot: &u32| {
        let bookie = bookies.get(&ensemble[usize::try_from(*slot).unwrap()]);
        bookie.is_none_or(|bookie| bookie.is_fenced() && bookie.holds(end.next()).is_none())
    };
    let denying = before.replication.write_set(end.next()).iter().filter(denies).count();
    if u32::try_from(denying).unwrap() < before.replication.negative_coverage() {
        return Err(format!("C8: closed at {end} while only {denying} of {ensemble:?} exclude the next entry"));
    }
    Ok(())
}
