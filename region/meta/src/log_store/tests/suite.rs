//! openraft's storage suite: once on the plain store, once on a store that is closed and read back around each call.

use super::*;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{EmptyNode, SnapshotMeta, StoredMembership};
use std::io::Cursor;

struct PlainStores;

impl StoreBuilder<RaftTypes, LogStore, StateMachine, TempDir> for PlainStores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = open(dir.path(), SMALL);
        Ok((dir, log, machine))
    }
}

#[test]
fn the_store_passes_openrafts_suite() {
    Suite::test_all(PlainStores).unwrap();
}

struct ReopeningStores;

impl StoreBuilder<RaftTypes, ReopeningLog, ReopeningMachine, TempDir> for ReopeningStores {
    async fn build(&self) -> Result<(TempDir, ReopeningLog, ReopeningMachine), StorageError> {
        let dir = tempfile::tempdir().unwrap();
        let (log, machine) = open(dir.path(), SMALL);
        let log = ReopeningLog { path: log_path(&dir), store: Some(log) };
        Ok((dir, log, ReopeningMachine { machine }))
    }
}

#[test]
fn the_store_passes_openrafts_suite_when_it_is_reopened_around_each_call() {
    Suite::test_all(ReopeningStores).unwrap();
}

/// Closes the log and opens it from disk before each call: nothing may live in memory alone.
struct ReopeningLog {
    path: PathBuf,
    store: Option<LogStore>,
}

impl ReopeningLog {
    fn reopen(&mut self) -> &mut LogStore {
        let before = self.store.take().map(|store| store.memory.lock().clone());
        let store = LogStore::open(&self.path, SMALL, no_fatal()).unwrap();
        if let Some(before) = before {
            assert_eq!(*store.memory.lock(), before, "the file says what memory said");
        }
        self.store.insert(store)
    }
}

impl RaftLogReader<RaftTypes> for ReopeningLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reopen().try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.reopen().memory.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<RaftTypes> for ReopeningLog {
    type LogReader = SharedLog;

    async fn get_log_state(&mut self) -> Result<LogState<RaftTypes>, StorageError> {
        self.reopen().get_log_state().await
    }

    async fn get_log_reader(&mut self) -> SharedLog {
        self.reopen().get_log_reader().await
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.reopen().save_vote(vote).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.reopen().read_vote().await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.reopen().save_committed(committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.reopen().read_committed().await
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<RaftTypes>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.reopen().append(entries, callback).await
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.reopen().truncate(log_id).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.reopen().purge(log_id).await
    }
}

/// Opens the state machine from disk before each call, whenever all that was applied stands in the snapshot. What was
/// applied since lives in memory by design: the log brings it back.
struct ReopeningMachine {
    machine: StateMachine,
}

impl ReopeningMachine {
    async fn reopen(&mut self) -> &mut StateMachine {
        let applied = self.machine.applied_state().await.unwrap();
        let covered = self.machine.snapshot_meta().and_then(|meta| meta.last_log_id);
        if covered == applied.0 {
            self.machine = self.machine.reopened();
            assert_eq!(self.machine.applied_state().await.unwrap(), applied, "the snapshot says what memory said");
        }
        &mut self.machine
    }
}

impl RaftStateMachine<RaftTypes> for ReopeningMachine {
    type SnapshotBuilder = <StateMachine as RaftStateMachine<RaftTypes>>::SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership<u64, EmptyNode>), StorageError> {
        self.reopen().await.applied_state().await
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<crate::raft_types::WriteAnswers>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.reopen().await;
        self.machine.apply(entries).await
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.reopen().await.get_snapshot_builder().await
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        self.reopen().await.begin_receiving_snapshot().await
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<u64, EmptyNode>,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        self.reopen().await.install_snapshot(meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<RaftTypes>>, StorageError> {
        self.reopen().await.get_current_snapshot().await
    }
}

#[tokio::test]
async fn a_restart_applies_what_was_committed_behind_the_snapshot() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, mut machine) = open(dir.path(), SMALL);
    log.blocking_append((0..6).map(|index| entry(1, index, 10))).await.unwrap();
    machine.apply((0..3).map(|index| entry(1, index, 10))).await.unwrap();
    let mut builder = machine.get_snapshot_builder().await;
    machine.apply((3..5).map(|index| entry(1, index, 10))).await.unwrap();
    openraft::RaftSnapshotBuilder::build_snapshot(&mut builder).await.unwrap();
    log.save_committed(Some(log_id(1, 4))).await.unwrap();
    let before = machine.applied().read().state.clone();
    drop((log, machine, builder));
    let (mut log, mut machine) = open(dir.path(), SMALL);
    assert_eq!(machine.applied_state().await.unwrap().0, Some(log_id(1, 2)));
    openraft::StorageHelper::new(&mut log, &mut machine).get_initial_state().await.unwrap();
    assert_eq!(machine.applied().read().state, before);
}
