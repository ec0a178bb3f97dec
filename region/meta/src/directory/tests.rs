//! Files that are missing, damaged or do not belong together.

use super::*;
use crate::raft_types::RaftTypes;
use crate::raft_types::{Entry, LogId};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use openraft::{CommittedLeaderId, EntryPayload, RaftSnapshotBuilder};
use std::path::PathBuf;
use tempfile::TempDir;

const OPTIONS: FileOptions = FileOptions { ahead_bytes: 4096, rewrite_bytes_min: 4096, file_bytes_max: 1 << 20 };

fn open(dir: &Path, node: u64) -> Result<(LogStore, StateMachine), OpenError> {
    open_directory(dir, node, OPTIONS, &FatalSwitch::new(|cause| panic!("unexpected: {cause}")))
}

fn blank(index: u64) -> Entry {
    Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::<RaftTypes>::Blank }
}

/// A directory with a log of ten entries, the first five of them in a snapshot and purged.
async fn used_directory() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("meta");
    let (mut log, mut machine) = open(&path, 1).unwrap();
    log.blocking_append((0..10).map(blank)).await.unwrap();
    machine.apply((0..5).map(blank)).await.unwrap();
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    log.purge(blank(4).log_id).await.unwrap();
    drop(log);
    (dir, path)
}

fn refusal(path: &Path) -> String {
    open(path, 1).expect_err("refused").to_string()
}

#[tokio::test]
async fn a_used_directory_opens_again_with_all_that_it_held() {
    let (_dir, path) = used_directory().await;
    let (mut log, mut machine) = open(&path, 1).unwrap();
    assert_eq!(machine.applied_state().await.unwrap().0, Some(blank(4).log_id));
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(blank(4).log_id), Some(blank(9).log_id)));
}

#[tokio::test]
async fn a_missing_log_is_damage_and_not_a_new_node() {
    let (_dir, path) = used_directory().await;
    std::fs::remove_file(path.join(LOG_FILE)).unwrap();
    assert!(refusal(&path).contains("the file is missing"));
    std::fs::remove_file(path.join(SNAPSHOT_FILE)).unwrap();
    assert!(refusal(&path).contains("the file is missing"), "the identity alone tells that there was a log");
}

#[tokio::test]
async fn a_missing_snapshot_is_damage_once_the_log_relies_on_it() {
    let (_dir, path) = used_directory().await;
    std::fs::remove_file(path.join(SNAPSHOT_FILE)).unwrap();
    assert!(refusal(&path).contains("no snapshot holds what came before"));
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_at_every_byte() {
    let (_dir, path) = used_directory().await;
    let file = path.join(SNAPSHOT_FILE);
    let bytes = std::fs::read(&file).unwrap();
    for index in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[index] ^= 0x10;
        std::fs::write(&file, &damaged).unwrap();
        assert!(Snapshots::open(&file).is_err(), "byte {index}");
        std::fs::write(&file, &bytes[..index]).unwrap();
        assert!(Snapshots::open(&file).is_err(), "cut to {index}");
    }
    assert!(refusal(&path).contains(file.to_str().unwrap()));
}

#[tokio::test]
async fn another_nodes_directory_is_refused() {
    let (_dir, path) = used_directory().await;
    let error = open(&path, 2).expect_err("refused").to_string();
    assert!(error.contains("belongs to metadata node 1, this is node 2"), "{error}");
}

#[tokio::test]
async fn files_of_two_directories_do_not_mix() {
    let ((_dir_a, a), (_dir_b, b)) = (used_directory().await, used_directory().await);
    std::fs::copy(a.join(LOG_FILE), b.join(LOG_FILE)).unwrap();
    assert!(refusal(&b).contains("not written by the same node"));
}

#[tokio::test]
async fn a_damaged_identity_is_refused_and_a_missing_one_is_written_again() {
    let (_dir, path) = used_directory().await;
    let file = path.join(IDENTITY_FILE);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, b"{").unwrap();
    assert!(refusal(&path).contains("identity"));
    std::fs::remove_file(&file).unwrap();
    drop(open(&path, 1).unwrap());
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn leftovers_of_a_death_in_the_middle_of_a_rename_are_removed() {
    let (_dir, path) = used_directory().await;
    for name in [IDENTITY_FILE, LOG_FILE, SNAPSHOT_FILE] {
        std::fs::write(path.join(name).with_extension(NEW), b"half").unwrap();
    }
    drop(open(&path, 1).unwrap());
    assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
}
