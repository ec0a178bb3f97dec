//! The model metadata store: one linearizable register with compare-and-put.

use crate::check::Violation;
use base::EntryId;
use ledger::{LedgerMetadata, LedgerState, MetadataOutcome, VersionedMetadata};

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

/// R2: other bookies in one settled fragment, nothing else.
fn is_repair(before: &LedgerMetadata, after: &LedgerMetadata) -> bool {
    let borders = |metadata: &LedgerMetadata| metadata.fragments.iter().map(|f| f.first_entry).collect::<Vec<_>>();
    let changed: Vec<_> = before.fragments.iter().zip(&after.fragments).filter(|(old, new)| old != new).collect();
    let settled = changed.iter().all(|(old, _)| before.settled_end(old.first_entry).is_some());
    let same = before.state == after.state && before.replication == after.replication;
    same && borders(before) == borders(after) && changed.len() == 1 && settled
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
    let older = before.fragments.len() - 1;
    let same_past =
        after.fragments.len() < before.fragments.len() || after.fragments[..older] == before.fragments[..older];
    if legal && same_past && before.replication == after.replication {
        return Ok(());
    }
    Err(format!("B7: metadata went from {before:?} to {after:?}"))
}
