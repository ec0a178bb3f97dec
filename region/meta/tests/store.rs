//! The whole store on real files: one voter.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base::NodeId;
use bytes::Bytes;
use meta::{MetaHandle, MetaOptions, MetaStore, OpenError, Standing, Start, WatchClosed};
use meta_api::{Compare, MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use tokio::task::JoinSet;

async fn open(dir: &Path) -> MetaStore {
    MetaStore::open(dir, MetaOptions::single(NodeId(1)), |cause| panic!("unexpected: {cause}")).await.unwrap()
}

fn put(key: &str, value: &str) -> MetaRequest {
    let write = Write::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) };
    MetaRequest::Txn { compare: vec![], writes: vec![write] }
}

fn get(key: &str) -> MetaRequest {
    MetaRequest::Get { key: key.to_owned() }
}

async fn value(handle: &MetaHandle, key: &str) -> Option<(String, u64)> {
    match handle.request(get(key)).await {
        MetaResponse::Value(item) => item.map(|item| (String::from_utf8(item.value.to_vec()).unwrap(), item.version)),
        other => panic!("a value, not {other:?}"),
    }
}

#[tokio::test]
async fn writes_are_answered_read_back_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    assert_eq!(handle.request(put("/a", "1")).await, MetaResponse::Committed { revision: 1 });
    let reserve = MetaRequest::Reserve { key: "/counters/ledger".into(), by: 7 };
    assert_eq!(handle.request(reserve.clone()).await, MetaResponse::Reserved { first: 0 });
    let conflict = MetaRequest::Txn { compare: vec![Compare::Absent { key: "/a".into() }], writes: vec![] };
    assert!(matches!(handle.request(conflict).await, MetaResponse::Conflict { index: 0, actual: Some(_) }));
    assert_eq!(value(&handle, "/a").await, Some(("1".into(), 1)));
    store.close().await;
    let store = open(dir.path()).await;
    let handle = store.handle();
    assert_eq!(value(&handle, "/a").await, Some(("1".into(), 1)));
    assert_eq!(handle.request(reserve).await, MetaResponse::Reserved { first: 7 });
    store.close().await;
}

#[tokio::test]
async fn a_sole_voter_leads_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    let status = handle.status();
    assert_eq!((status.leader, status.voters), (Some(NodeId(1)), vec![NodeId(1)]));
    assert!(status.is_leader && status.learners.is_empty() && status.last_applied == status.last_log);
    assert_eq!(*handle.standing().borrow(), Standing::Voter);
    assert_eq!(handle.leadership().borrow().leader, Some(NodeId(1)));
    store.close().await;
}

#[tokio::test]
async fn a_restart_neither_elects_nor_writes_when_the_last_process_had_led() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.handle().request(put("/a", "1")).await;
    store.close().await;
    let log = std::fs::read(dir.path().join("log")).unwrap();
    let store = open(dir.path()).await;
    assert_eq!(store.handle().metrics().fsyncs_total, 0);
    store.close().await;
    assert_eq!(std::fs::read(dir.path().join("log")).unwrap().len(), log.len());
}

#[tokio::test]
async fn a_process_that_died_in_its_first_election_is_ready_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let log = std::fs::read(dir.path().join("log")).unwrap();
    // Every group of the first start is a place to die; at each of them the next start must find its way.
    let starts = (64..log.len()).step_by(8).filter(|at| log[*at..].starts_with(b"MDGP"));
    for at in starts {
        let died = tempfile::tempdir().unwrap();
        std::fs::copy(dir.path().join("identity"), died.path().join("identity")).unwrap();
        std::fs::write(died.path().join("log"), [&log[..at], &vec![0; log.len() - at]].concat()).unwrap();
        let store = open(died.path()).await;
        assert_eq!(store.handle().request(put("/a", "1")).await, MetaResponse::Committed { revision: 1 });
        store.close().await;
    }
}

#[tokio::test]
async fn concurrent_writes_share_fsyncs_and_each_gets_its_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    let fsyncs_before = handle.metrics().fsyncs_total;
    let mut tasks = JoinSet::new();
    for index in 0..500u64 {
        let handle = handle.clone();
        tasks.spawn(async move {
            let answer = handle.request(put(&format!("/k/{index}"), &index.to_string())).await;
            let MetaResponse::Committed { revision } = answer else { panic!("{answer:?}") };
            let (text, version) = value(&handle, &format!("/k/{index}")).await.expect("read your writes");
            assert_eq!((text, version), (index.to_string(), revision));
            revision
        });
    }
    let mut revisions = tasks.join_all().await;
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=500).collect::<Vec<u64>>());
    let metrics = handle.metrics();
    assert_eq!((metrics.writes_total, metrics.keys), (500, 500));
    // Whatever the scheduling, not every write can have had an fsync of its own.
    assert!(metrics.fsyncs_total - fsyncs_before < 250, "{metrics:?}");
    store.close().await;
}

#[tokio::test]
async fn reads_and_refused_requests_cost_no_fsync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    handle.request(put("/a", "1")).await;
    let before = handle.metrics().fsyncs_total;
    for _ in 0..100 {
        handle.request(get("/a")).await;
    }
    let range = MetaRequest::Range { prefix: "/".into(), after: None, limit: 10 };
    assert!(matches!(handle.request(range).await, MetaResponse::Range { more: false, .. }));
    assert!(matches!(handle.request(put(&"k".repeat(5000), "v")).await, MetaResponse::Refused { .. }));
    assert_eq!(handle.metrics().fsyncs_total, before);
    store.close().await;
}

#[tokio::test]
async fn a_watch_starts_with_what_stands_and_misses_nothing_after() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    let mut writers = JoinSet::new();
    for lane in 0..4 {
        let handle = handle.clone();
        writers.spawn(async move {
            for index in 0..50 {
                handle.request(put(&format!("/w/{lane}/{}", index % 7), &index.to_string())).await;
            }
        });
    }
    let mut watches = Vec::new();
    while writers.try_join_next().is_none() {
        watches.push(handle.watch(&["/w/"]).await.unwrap());
        handle.request(put("/elsewhere", "x")).await;
    }
    writers.join_all().await;
    handle.request(put("/w/end", "")).await;
    let everything = MetaRequest::Range { prefix: "/w/".into(), after: None, limit: 1000 };
    let MetaResponse::Range { items: stands, .. } = handle.request(everything).await else { panic!("a range") };
    for mut watch in watches {
        let mut followed = std::collections::BTreeMap::from_iter(watch.items);
        let mut revision = watch.revision;
        while !followed.contains_key("/w/end") {
            for MetaEvent { revision: next, key, value } in watch.events.next().await.unwrap() {
                assert!(next > revision, "revisions in order, one put each");
                revision = next;
                followed.insert(key, meta_api::Versioned { value: value.unwrap(), version: next });
            }
        }
        assert_eq!(followed.into_iter().collect::<Vec<_>>(), stands);
    }
    store.close().await;
}

#[tokio::test]
async fn closing_ends_watches_and_requests_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    let mut watch = handle.watch(&["/"]).await.unwrap();
    store.close().await;
    assert_eq!(watch.events.next().await, Err(WatchClosed::Stopped));
    let answer = handle.request(put("/a", "1")).await;
    assert!(matches!(answer, MetaResponse::Unavailable { .. }), "{answer:?}");
}

#[tokio::test]
async fn the_log_is_compacted_while_writes_go_on_and_a_restart_finds_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    let handle = store.handle();
    let big = "v".repeat(1 << 20);
    let mut expected = MetaState::new();
    expected.apply(&put("/small", "s"));
    handle.request(put("/small", "s")).await;
    // More than the log may grow before a snapshot is due, onto few keys.
    for index in 0..40 {
        let request = put(&format!("/big/{}", index % 3), &format!("{index}{big}"));
        expected.apply(&request);
        handle.request(request).await;
    }
    let snapshot = dir.path().join("snapshot");
    // Each write gives the snapshot that runs beside it time to end and the log occasion to shrink.
    while handle.metrics().log_bytes > 20 << 20 || !snapshot.exists() {
        let request = put("/small", "s");
        expected.apply(&request);
        handle.request(request).await;
    }
    store.close().await;
    let store = open(dir.path()).await;
    let metrics = store.handle().metrics();
    assert_eq!((metrics.revision, metrics.keys), (expected.revision(), 4));
    for key in ["/big/0", "/big/1", "/big/2", "/small"] {
        let MetaResponse::Value(item) = store.handle().request(get(key)).await else { panic!("a value") };
        assert_eq!(item.as_ref(), expected.get(key));
    }
    store.close().await;
}

#[tokio::test]
async fn a_damaged_log_refuses_to_start_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).await;
    store.handle().request(put("/a", "1")).await;
    store.close().await;
    let log = dir.path().join("log");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[130] ^= 1;
    std::fs::write(&log, &bytes).unwrap();
    let refused = MetaStore::open(dir.path(), MetaOptions::single(NodeId(1)), |_| ()).await;
    let error = refused.expect_err("refused").to_string();
    assert!(error.contains(log.to_str().unwrap()) && error.contains("at byte"), "{error}");
    assert!(error.contains("wipe") && error.contains("join again as a new node"), "{error}");
}

#[tokio::test]
async fn contradictory_options_are_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let alone = MetaOptions { start: Start::Join, ..MetaOptions::single(NodeId(1)) };
    let refused = MetaStore::open(dir.path(), alone, |_| ()).await;
    assert!(matches!(refused, Err(OpenError::NoTransport)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_handle_works_from_threads_without_a_runtime_of_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = runtime.block_on(open(dir.path()));
    let (answers, received) = sync_channel(4);
    let threads: Vec<_> = (0..4)
        .map(|index| {
            let (handle, answers) = (store.handle(), answers.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                answers.send(runtime.block_on(handle.request(put(&format!("/{index}"), "v")))).unwrap();
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(received.try_iter().all(|answer| matches!(answer, MetaResponse::Committed { .. })));
    runtime.block_on(store.close());
}
