//! A full disk.

use crate::wal::FileOptions;
use crate::{MetaHandle, MetaOptions, MetaStore};
use base::NodeId;
use bytes::Bytes;
use meta_api::{MetaRequest, MetaResponse, Write};
use std::path::Path;

fn put(key: String, bytes: usize) -> MetaRequest {
    MetaRequest::Txn { compare: vec![], writes: vec![Write::Put { key, value: Bytes::from(vec![1; bytes]) }] }
}

async fn open(dir: &Path, file_bytes_max: u64) -> MetaStore {
    let options = FileOptions { ahead_bytes: 64 << 10, rewrite_bytes_min: 1 << 20, file_bytes_max };
    let fatal = |cause| panic!("a full disk is not fatal: {cause}");
    MetaStore::open_with(dir, MetaOptions::single(NodeId(1)), options, fatal).await.unwrap()
}

async fn fill(handle: &MetaHandle) -> u64 {
    for index in 0.. {
        match handle.request(put(format!("/k/{index}"), 1000)).await {
            MetaResponse::Committed { .. } => (),
            MetaResponse::Unavailable { reason } => {
                assert!(reason.contains("disk is full"), "{reason}");
                return index;
            }
            other => panic!("{other:?}"),
        }
    }
    unreachable!("the file is bounded")
}

#[tokio::test]
async fn a_full_disk_refuses_writes_answers_reads_and_comes_back_when_space_does() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 256 << 10).await;
    let handle = store.handle();
    let written = fill(&handle).await;
    assert!(written > 100, "{written}");
    let read = handle.request(MetaRequest::Get { key: "/k/0".into() }).await;
    assert!(matches!(read, MetaResponse::Value(Some(_))));
    assert!(matches!(handle.request(put("/small".into(), 900)).await, MetaResponse::Unavailable { .. }));
    store.close().await;
    // It starts while the disk is full, too.
    let store = open(dir.path(), 256 << 10).await;
    assert_eq!(store.handle().metrics().keys, written);
    store.close().await;
    let store = open(dir.path(), 1 << 20).await;
    let answer = store.handle().request(put("/small".into(), 900)).await;
    assert_eq!(answer, MetaResponse::Committed { revision: written + 1 });
    store.close().await;
}
