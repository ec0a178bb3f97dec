//! A founder and two joiners in one process: everybody answers everything, and any one may be lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use cluster::{Cluster, must_put, put, value};
use meta::Start;
use meta_api::{MetaRequest, MetaResponse};
use tokio::task::JoinSet;

#[tokio::test]
async fn every_node_answers_writes_and_reads_what_any_other_has_written() {
    let cluster = Cluster::of_three().await;
    for writer in 1..=3 {
        let text = writer.to_string();
        must_put(&cluster.node(writer), "/key", &text).await;
        for reader in 1..=3 {
            assert_eq!(value(&cluster.node(reader), "/key").await, Some(text.clone()), "{writer} to {reader}");
        }
    }
}

#[tokio::test]
async fn three_voters_lose_any_one_and_keep_every_answered_write() {
    let mut cluster = Cluster::of_three().await;
    must_put(&cluster.node(2), "/1", "v").await;
    let first = cluster.leader(2, None).await;
    let other = if first.0 == 3 { 2 } else { 3 };
    cluster.stop(first).await;
    must_put(&cluster.node(other), "/2", "v").await;
    let second = cluster.leader(other, Some(first)).await;
    // The first leader comes back from its disk, and now its vote is needed.
    cluster.start(first.0, Start::Join).await;
    cluster.stop(second).await;
    must_put(&cluster.node(first.0), "/3", "v").await;
    for key in ["/1", "/2", "/3"] {
        assert_eq!(value(&cluster.node(first.0), key).await.as_deref(), Some("v"), "{key}");
    }
}

#[tokio::test]
async fn a_write_that_meets_an_election_waits_for_its_end() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader(1, None).await;
    cluster.stop(leader).await;
    let follower = cluster.node(if leader.0 == 1 { 2 } else { 1 });
    // No connection to the old leader: it was certainly not proposed there.
    let answer = follower.request(put("/key", "v")).await;
    assert!(matches!(answer, MetaResponse::Committed { .. }), "{answer:?}");
}

#[tokio::test]
async fn without_a_quorum_requests_end_as_unavailable_and_say_what_they_know() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader(1, None).await;
    let followers = cluster.followers().await;
    cluster.stop(leader).await;
    cluster.stop(base::NodeId(followers[0])).await;
    let last = cluster.node(followers[1]);
    let (write, read) = (last.request(put("/key", "v")), last.request(MetaRequest::Get { key: "/key".to_owned() }));
    let (write, read) = tokio::join!(write, read);
    let MetaResponse::Unavailable { reason } = write else { panic!("{write:?}") };
    assert!(reason.contains("nothing was written"), "{reason}");
    assert!(matches!(read, MetaResponse::Unavailable { .. }), "{read:?}");
}

#[tokio::test]
async fn writes_at_a_follower_travel_together() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader(1, None).await;
    let follower = cluster.node(cluster.followers().await[0]);
    let before = cluster.node(leader.0).metrics().batches_total;
    let mut writers = JoinSet::new();
    for index in 0..200 {
        let follower = follower.clone();
        writers.spawn(async move { must_put(&follower, &format!("/k/{index}"), "v").await });
    }
    writers.join_all().await;
    let batches = cluster.node(leader.0).metrics().batches_total - before;
    assert!(batches < 100, "200 writes in {batches} entries");
}

#[tokio::test]
async fn a_watch_at_a_follower_sees_what_another_node_writes() {
    let cluster = Cluster::of_three().await;
    let [writer, watcher] = cluster.followers().await;
    let mut watch = cluster.node(watcher).watch(&["/w/"]).await.unwrap();
    must_put(&cluster.node(writer), "/w/1", "v").await;
    assert_eq!(watch.events.next().await.unwrap()[0].key, "/w/1");
}
