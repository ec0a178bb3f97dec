//! openraft's own suite on the real files, and every point at which a process or a machine may die.

mod kill_points;
mod suite;

use super::*;
use crate::directory::{LOG_FILE, SNAPSHOT_FILE, open_directory};
use crate::raft_types::WriteBatch;
use crate::state_machine::StateMachine;
use openraft::storage::{RaftLogStorageExt as _, RaftStateMachine as _};
use openraft::{CommittedLeaderId, RaftSnapshotBuilder as _};
use std::path::PathBuf;
use tempfile::TempDir;

pub(super) const SMALL: FileOptions =
    FileOptions { ahead_bytes: 4096, rewrite_bytes_min: 16 << 10, file_bytes_max: 1 << 30 };

pub(super) fn no_fatal() -> FatalSwitch {
    FatalSwitch::new(|cause| panic!("unexpected: {cause}"))
}

pub(super) fn open(dir: &Path, options: FileOptions) -> (LogStore, StateMachine) {
    open_directory(dir, 1, options, &no_fatal()).unwrap()
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

/// An entry with one write of about `bytes` bytes.
pub(super) fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let value = Bytes::from(vec![b'v'; bytes]);
    let writes = vec![meta_api::Write::Put { key: format!("/k/{index}"), value }];
    let batch = WriteBatch::new(vec![meta_api::MetaRequest::Txn { compare: vec![], writes }]);
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

fn log_path(dir: &TempDir) -> PathBuf {
    dir.path().join(LOG_FILE)
}

#[tokio::test]
async fn purging_most_of_a_large_log_shrinks_the_file_and_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _machine) = open(dir.path(), SMALL);
    log.save_vote(&Vote::new_committed(1, 1)).await.unwrap();
    log.blocking_append((0..100).map(|index| entry(1, index, 1000))).await.unwrap();
    let before = std::fs::metadata(log_path(&dir)).unwrap().len();
    log.purge(log_id(1, 97)).await.unwrap();
    log.blocking_append([entry(1, 100, 10)]).await.unwrap();
    let remembered = log.memory.lock().clone();
    drop(log);
    let after = std::fs::metadata(log_path(&dir)).unwrap().len();
    assert!(after * 4 < before, "{before} bytes became {after}");
    let reopened = LogStore::open(&log_path(&dir), SMALL, no_fatal()).unwrap();
    assert_eq!(*reopened.memory.lock(), remembered);
    assert_eq!(remembered.range(..).len(), 3);
}

#[tokio::test]
async fn a_failed_write_is_fatal_and_nothing_after_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), SMALL));
    let (tripped, mut cause) = oneshot::channel();
    let fatal = FatalSwitch::new(move |cause| drop(tripped.send(cause)));
    let options = FileOptions { file_bytes_max: 8192, ..SMALL };
    let mut log = LogStore::open(&log_path(&dir), options, fatal).unwrap();
    // What raft writes unasked has no way to be refused, so here a full file must be fatal.
    let refused = log.blocking_append([entry(1, 0, 10_000)]).await;
    assert!(refused.is_err());
    assert!(cause.try_recv().unwrap().to_string().contains("grow"));
    assert!(log.save_vote(&Vote::new(1, 1)).await.is_err(), "Wal I3: nothing is confirmed after a failure");
}

/// A snapshot cannot be written, or not renamed: the process ends, and a start finds the one before and the whole log.
#[tokio::test]
async fn a_failed_snapshot_is_fatal_and_the_one_before_and_the_log_stay() {
    for way in ["write", "rename"] {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, mut machine) = open(dir.path(), SMALL);
        let entries: Vec<Entry> = (0..10).map(|index| entry(1, index, 100)).collect();
        log.blocking_append(entries.clone()).await.unwrap();
        machine.apply(entries[..4].to_vec()).await.unwrap();
        machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
        let before = machine.snapshot_meta().unwrap();
        drop((log, machine));
        let (tripped, mut cause) = oneshot::channel();
        let fatal = FatalSwitch::new(move |cause| drop(tripped.send(cause)));
        let (mut log, mut machine) = open_directory(dir.path(), 1, SMALL, &fatal).unwrap();
        machine.apply(entries[4..].to_vec()).await.unwrap();
        let path = dir.path().join(SNAPSHOT_FILE);
        let kept = std::fs::read(&path).unwrap();
        let in_the_way = if way == "write" { path.with_extension("new") } else { path.clone() };
        if way == "rename" {
            std::fs::remove_file(&path).unwrap();
        }
        std::fs::create_dir(&in_the_way).unwrap();
        assert!(machine.get_snapshot_builder().await.build_snapshot().await.is_err(), "{way}");
        assert!(cause.try_recv().unwrap().to_string().contains(&format!("cannot {way}")), "{way}");
        assert_eq!(machine.snapshot_meta(), Some(before.clone()), "{way}: nothing may be purged for it");
        assert_eq!(log.try_get_log_entries(0..10).await.unwrap().len(), 10);
        drop((log, machine));
        std::fs::remove_dir(&in_the_way).unwrap();
        if way == "rename" {
            std::fs::write(&path, &kept).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), kept, "{way}");
        let (mut log, mut machine) = open(dir.path(), SMALL);
        assert_eq!(machine.applied_state().await.unwrap().0, before.last_log_id);
        assert_eq!(log.try_get_log_entries(4..10).await.unwrap().len(), 6, "{way}");
    }
}

#[tokio::test]
async fn a_limited_read_answers_at_least_one_entry_and_stops_at_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _machine) = open(dir.path(), FileOptions::PRODUCTION);
    log.blocking_append((0..5).map(|index| entry(1, index, 1_700_000))).await.unwrap();
    let mut reader = log.get_log_reader().await;
    assert_eq!(reader.limited_get_log_entries(0, 5).await.unwrap().len(), 2);
    assert_eq!(reader.limited_get_log_entries(4, 5).await.unwrap().len(), 1);
    assert!(reader.limited_get_log_entries(3, 3).await.unwrap().is_empty());
    assert!(reader.try_get_log_entries(4..4).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_that_would_leave_a_hole_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _machine) = open(dir.path(), SMALL);
    log.blocking_append([entry(1, 0, 1), entry(1, 1, 1)]).await.unwrap();
    assert!(log.blocking_append([entry(1, 3, 1)]).await.is_err());
}
