//! openraft's state machine: the applied state in memory, snapshots of it on disk.
//!
//! **What**  Applying touches no file: the log is durable already. A start loads the snapshot and applies the rest of
//! the log again.
//!
//! **Not here**  What a request does (`meta-api`), the snapshot file (`snapshots`).
//!
//! **Tests**  `log_store/tests.rs` runs openraft's suite on it.

use crate::applied::SharedApplied;
use crate::error::{MetaFatal, OpenError};
use crate::fatal::FatalSwitch;
use crate::raft_types::{Entry, LogId, RaftTypes, SnapshotMeta, StorageError, StoredMembership, WriteAnswers};
use crate::snapshots::Snapshots;
use bytes::Bytes;
use meta_api::MetaState;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{AnyError, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use std::io::Cursor;
use std::sync::Arc;

/// The state machine that openraft drives.
#[derive(Debug, Clone)]
pub(crate) struct StateMachine {
    applied: SharedApplied,
    snapshots: Arc<Snapshots>,
    fatal: FatalSwitch,
}

/// A view of the state at one entry, on its way to disk.
pub(crate) struct SnapshotBuilder {
    meta: SnapshotMeta,
    state: Bytes,
    machine: StateMachine,
}

impl StateMachine {
    /// Starts from the snapshot, when there is one.
    pub(crate) fn new(snapshots: Snapshots, found: Option<(SnapshotMeta, MetaState)>, fatal: FatalSwitch) -> Self {
        let applied = SharedApplied::default();
        if let Some((meta, state)) = found {
            applied.write().replace(state, meta.last_log_id, meta.last_membership);
        }
        Self { applied, snapshots: Arc::new(snapshots), fatal }
    }

    pub(crate) fn applied(&self) -> SharedApplied {
        self.applied.clone()
    }

    /// What the snapshot on disk covers.
    #[cfg(test)]
    pub(crate) fn snapshot_meta(&self) -> Option<SnapshotMeta> {
        self.snapshots.current()
    }

    /// The state machine that a restart would find.
    #[cfg(test)]
    pub(crate) fn reopened(&self) -> Self {
        let (snapshots, found) = Snapshots::open(self.snapshots.path()).expect("the snapshot reads back");
        Self::new(snapshots, found, self.fatal.clone())
    }

    /// Writes a snapshot file on a thread that may block.
    async fn save(&self, meta: SnapshotMeta, state: Bytes) -> Result<Saved, StorageError> {
        let snapshots = Arc::clone(&self.snapshots);
        let saved = tokio::task::spawn_blocking(move || snapshots.save(&meta, &state)).await;
        let saved = saved.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)))?;
        match saved {
            Ok(()) => Ok(Saved::Durably),
            Err(failure) if failure.is_full() => Ok(Saved::NotForLackOfSpace),
            Err(failure) => {
                let error = StorageIOError::write_snapshot(None, AnyError::new(&failure));
                self.fatal.trip(failure.into());
                Err(error.into())
            }
        }
    }

    async fn read(&self) -> Result<Option<Snapshot<RaftTypes>>, StorageError> {
        let snapshots = Arc::clone(&self.snapshots);
        let stored = tokio::task::spawn_blocking(move || snapshots.read()).await;
        let stored = stored.map_err(|error| StorageIOError::read_snapshot(None, AnyError::new(&error)))?;
        let stored = stored.map_err(|error: OpenError| {
            let cause = StorageIOError::read_snapshot(None, AnyError::new(&error));
            self.fatal.trip(MetaFatal::Raft { reason: error.to_string() });
            cause
        })?;
        Ok(stored.map(|stored| Snapshot { meta: stored.meta, snapshot: Box::new(Cursor::new(stored.state)) }))
    }
}

enum Saved {
    Durably,
    NotForLackOfSpace,
}

impl RaftStateMachine<RaftTypes> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<WriteAnswers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.applied.write();
        Ok(entries.into_iter().map(|entry| applied.apply(&entry)).collect())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        let applied = self.applied.read();
        let snapshot_id = applied.last.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta { last_log_id: applied.last, last_membership: applied.membership.clone(), snapshot_id };
        SnapshotBuilder { meta, state: applied.state.to_snapshot(), machine: self.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = Bytes::from(snapshot.into_inner());
        let state = MetaState::from_snapshot(&bytes);
        let state = state.map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), AnyError::new(&error)));
        let state = state?;
        // On disk before it is in use: a start must not find less than what was answered from it.
        match self.save(meta.clone(), bytes).await? {
            Saved::Durably => (),
            Saved::NotForLackOfSpace => {
                let error = AnyError::error("no space for the snapshot of another voter");
                return Err(StorageIOError::write_snapshot(Some(meta.signature()), error).into());
            }
        }
        self.applied.write().replace(state, meta.last_log_id, meta.last_membership.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<RaftTypes>>, StorageError> {
        self.read().await
    }
}

impl RaftSnapshotBuilder<RaftTypes> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<RaftTypes>, StorageError> {
        match self.machine.save(self.meta.clone(), self.state.clone()).await? {
            Saved::Durably => {
                // The last owner of the bytes: they move, they are not copied.
                let snapshot = Box::new(Cursor::new(Vec::from(std::mem::take(&mut self.state))));
                Ok(Snapshot { meta: self.meta.clone(), snapshot })
            }
            Saved::NotForLackOfSpace => {
                tracing::warn!("no space for a metadata snapshot, the log is kept instead until there is");
                // Openraft ignores a snapshot that is no newer than the one it knows, and then purges nothing.
                let meta = self.machine.snapshots.current().unwrap_or_default();
                Ok(Snapshot { meta, snapshot: Box::default() })
            }
        }
    }
}
