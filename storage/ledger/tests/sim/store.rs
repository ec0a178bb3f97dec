//! The model metadata store: one linearizable register with compare-and-put.

use crate::check::Violation;
use base::EntryId;
use ledger::{Fragment, LedgerMetadata, LedgerState, MetadataOutcome, VACANT, VersionedMetadata};

#[derive(Debug)]
pub(crate) struct ModelStore {
    pub(crate) current: VersionedMetadata,
}

impl ModelStore {
    pub(crate) fn read(&self) -> MetadataOutcome {
        MetadataOutcome::Current(Some(self.current.clone()))
    }

    /// Applies a compare-and-put and judges the step that it makes.
    pub(crate) fn cas(&mut self, version: u64, metadata: LedgerMetadata) -> Result<MetadataOutcome, Violation> {
        if version != self.current.version {
            return Ok(MetadataOutcome::Conflict { actual: Some(self.current.clone()) });
        }
        check_step(&self.current.metadata, &metadata)?;
        self.current = VersionedMetadata { metadata, version: version + 1 };
        Ok(MetadataOutcome::Committed { version: version + 1 })
    }

    pub(crate) fn closed_at(&self) -> Option<EntryId> {
        self.current.metadata.closed().map(|(last_entry, _)| last_entry)
    }
}

/// The fragment of before that a repair changed, and what stands in its place: the same one with other bookies, or parts of it.
pub(crate) fn repaired<'a>(
    before: &'a LedgerMetadata,
    after: &'a LedgerMetadata,
) -> Option<(&'a Fragment, &'a [Fragment])> {
    let (old, new) = (&before.fragments, &after.fragments);
    let same = before.state == after.state && before.replication == after.replication;
    let mut found = old.iter().enumerate().filter_map(|(index, fragment)| {
        let end = (new.len() + index + 1).checked_sub(old.len())?;
        let parts =
            new.get(index..end).filter(|parts| parts.first().map(|p| p.first_entry) == Some(fragment.first_entry))?;
        (new[..index] == old[..index] && new[end..] == old[index + 1..]).then_some((fragment, parts))
    });
    found.next().filter(|_| same && old != new)
}

/// R2: other bookies in one settled fragment or parts of it, nothing else.
fn is_repair(before: &LedgerMetadata, after: &LedgerMetadata) -> bool {
    repaired(before, after).is_some_and(|(fragment, _)| before.settled_end(fragment.first_entry).is_some())
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

/// A ledger's metadata goes only forward.
fn check_step(before: &LedgerMetadata, after: &LedgerMetadata) -> Result<(), Violation> {
    after.check().map_err(|error| format!("B7: invalid metadata: {error}"))?;
    let legal = match (before.state, after.state) {
        (LedgerState::Open, _) => true,
        (LedgerState::InRecovery, LedgerState::Closed { .. }) => true,
        (LedgerState::InRecovery, LedgerState::Open | LedgerState::InRecovery) | (LedgerState::Closed { .. }, _) => {
            false
        }
    };
    if is_repair(before, after) {
        return Ok(());
    }
    if legal && keeps_its_past(before, after) && before.replication == after.replication {
        return Ok(());
    }
    Err(format!("B7: metadata went from {before:?} to {after:?}"))
}
