//! Adding, promoting, replacing and removing nodes, and what they learn of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cluster;

use base::NodeId;
use cluster::{Cluster, must_put, put, value};
use meta::{MemberError, Standing, Start};
use meta_api::{MetaEvent, MetaRequest, MetaResponse, Write};

async fn stands(cluster: &Cluster, node: u64, standing: Standing) {
    cluster.node(node).standing().wait_for(|now| *now == standing).await.unwrap();
}

fn ids(nodes: &[u64]) -> Vec<NodeId> {
    nodes.iter().copied().map(NodeId).collect()
}

#[tokio::test]
async fn a_joiner_waits_to_be_added_and_then_answers_like_everybody() {
    let mut cluster = Cluster::found().await;
    must_put(&cluster.node(1), "/key", "1").await;
    cluster.start(2, Start::Join).await;
    assert_eq!(cluster.node(2).status().standing, Standing::Joining);
    let answer = cluster.node(2).request(put("/key", "lost")).await;
    assert!(matches!(answer, MetaResponse::Unavailable { .. }), "{answer:?}");
    cluster.node(1).add_learner(NodeId(2)).await.unwrap();
    stands(&cluster, 2, Standing::Learner).await;
    assert_eq!(value(&cluster.node(2), "/key").await.as_deref(), Some("1"));
    must_put(&cluster.node(2), "/key", "2").await;
    assert_eq!(value(&cluster.node(1), "/key").await.as_deref(), Some("2"));
    let status = cluster.node(2).status();
    assert_eq!((status.leader, status.voters, status.learners), (Some(NodeId(1)), ids(&[1]), ids(&[2])));
    // It goes on with what it is, whatever it is told at its start.
    cluster.stop(NodeId(2)).await;
    cluster.start(2, Start::Found).await;
    assert_eq!(value(&cluster.node(2), "/key").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn changes_may_be_asked_of_any_node_and_asked_again() {
    let mut cluster = Cluster::found().await;
    for node in [2, 3] {
        cluster.start(node, Start::Join).await;
        for _again in 0..2 {
            cluster.node(1).add_learner(NodeId(node)).await.unwrap();
        }
    }
    stands(&cluster, 3, Standing::Learner).await;
    for _again in 0..2 {
        cluster.node(3).promote(NodeId(2)).await.unwrap();
        cluster.node(3).promote(NodeId(3)).await.unwrap();
    }
    stands(&cluster, 3, Standing::Voter).await;
    for _again in 0..2 {
        cluster.node(3).remove(NodeId(2)).await.unwrap();
    }
    assert_eq!(cluster.node(1).status().voters, ids(&[1, 3]));
    stands(&cluster, 2, Standing::Removed).await;
}

#[tokio::test]
async fn changes_that_make_no_sense_are_refused_with_the_remedy() {
    let mut cluster = Cluster::found().await;
    assert_eq!(cluster.node(1).promote(NodeId(9)).await, Err(MemberError::NotLearner { node: NodeId(9) }));
    assert_eq!(cluster.node(1).remove(NodeId(1)).await, Err(MemberError::LastVoter { node: NodeId(1) }));
    assert_eq!(cluster.node(1).demote(NodeId(1)).await, Err(MemberError::LastVoter { node: NodeId(1) }));
    // One that nobody can reach gets no vote.
    cluster.start(2, Start::Join).await;
    cluster.board.cut(NodeId(2));
    cluster.node(1).add_learner(NodeId(2)).await.unwrap();
    let refused = cluster.node(1).promote(NodeId(2)).await;
    assert!(matches!(refused, Err(MemberError::Behind { node: NodeId(2), .. })), "{refused:?}");
    assert_eq!(cluster.node(1).status().voters, ids(&[1]));
}

#[tokio::test]
async fn a_lost_voter_is_replaced_by_a_new_node() {
    let mut cluster = Cluster::of_three().await;
    must_put(&cluster.node(1), "/key", "v").await;
    let lost = NodeId(cluster.followers().await[0]);
    cluster.stop(lost).await;
    let helper = if lost.0 == 3 { 2 } else { 3 };
    cluster.node(helper).remove(lost).await.unwrap();
    cluster.start(4, Start::Join).await;
    cluster.node(helper).add_learner(NodeId(4)).await.unwrap();
    cluster.node(helper).promote(NodeId(4)).await.unwrap();
    // The new one counts: with it, another may be lost.
    let leader = cluster.leader(4, None).await;
    cluster.stop(leader).await;
    assert_eq!(value(&cluster.node(4), "/key").await.as_deref(), Some("v"));
    must_put(&cluster.node(4), "/key", "w").await;
}

#[tokio::test]
async fn a_voter_that_is_down_loses_its_vote_to_a_learner_and_is_one_when_it_comes_back() {
    let mut cluster = Cluster::of_three().await;
    let lost = NodeId(cluster.followers().await[0]);
    cluster.stop(lost).await;
    let leader = cluster.leader(if lost.0 == 3 { 2 } else { 3 }, Some(lost)).await;
    cluster.start(4, Start::Join).await;
    cluster.node(leader.0).add_learner(NodeId(4)).await.unwrap();
    cluster.node(leader.0).promote(NodeId(4)).await.unwrap();
    for _again in 0..2 {
        cluster.node(leader.0).demote(lost).await.unwrap();
    }
    let status = cluster.node(leader.0).status();
    assert!(!status.voters.contains(&lost) && status.voters.len() == 3, "{status:?}");
    assert_eq!(status.learners, [lost]);
    cluster.start(lost.0, Start::Join).await;
    stands(&cluster, lost.0, Standing::Learner).await;
    must_put(&cluster.node(lost.0), "/key", "v").await;
}

#[tokio::test]
async fn a_leader_removes_itself_and_the_others_go_on() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader(1, None).await;
    let others = cluster.followers().await;
    cluster.node(leader.0).remove(leader).await.unwrap();
    must_put(&cluster.node(others[0]), "/key", "v").await;
    assert_eq!(cluster.node(others[1]).status().voters, ids(&others));
    stands(&cluster, leader.0, Standing::Removed).await;
    let answer = cluster.node(leader.0).request(put("/key", "w")).await;
    let MetaResponse::Unavailable { reason } = answer else { panic!("{answer:?}") };
    assert!(reason.contains("was removed"), "{reason}");
}

#[tokio::test]
async fn a_voter_that_was_removed_while_it_was_away_learns_it_and_disturbs_nobody() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader(1, None).await;
    let away = NodeId(cluster.followers().await[0]);
    cluster.board.cut(away);
    cluster.node(leader.0).remove(away).await.unwrap();
    cluster.board.mend(away);
    stands(&cluster, away.0, Standing::Removed).await;
    must_put(&cluster.node(leader.0), "/key", "v").await;
    // Added again, it is a learner like any other.
    cluster.node(leader.0).add_learner(away).await.unwrap();
    stands(&cluster, away.0, Standing::Learner).await;
    assert_eq!(value(&cluster.node(away.0), "/key").await.as_deref(), Some("v"));
}

#[tokio::test]
async fn a_change_that_stopped_half_way_is_finished_by_the_next() {
    let mut cluster = Cluster::found().await;
    for node in [2, 3] {
        cluster.start(node, Start::Join).await;
        cluster.node(1).add_learner(NodeId(node)).await.unwrap();
        stands(&cluster, node, Standing::Learner).await;
    }
    must_put(&cluster.node(2), "/key", "v").await;
    cluster.board.cut(NodeId(2));
    // The joint membership needs the vote of the node that is cut off.
    let stuck = cluster.node(1).promote(NodeId(2)).await;
    assert!(matches!(stuck, Err(MemberError::Unavailable { .. })), "{stuck:?}");
    cluster.board.mend(NodeId(2));
    cluster.node(1).promote(NodeId(3)).await.unwrap();
    assert_eq!(cluster.node(1).status().voters, ids(&[1, 2, 3]));
    cluster.node(1).remove(NodeId(1)).await.unwrap();
    assert_eq!(value(&cluster.node(2), "/key").await.as_deref(), Some("v"));
    assert_eq!(cluster.node(2).status().voters, ids(&[2, 3]));
}

#[tokio::test]
async fn a_watcher_at_a_learner_that_fell_far_behind_gets_the_difference_of_a_snapshot() {
    let mut cluster = Cluster::found().await;
    cluster.start(2, Start::Join).await;
    let founder = cluster.node(1);
    founder.add_learner(NodeId(2)).await.unwrap();
    for key in ["/w/changed", "/w/deleted", "/w/same"] {
        must_put(&founder, key, "before").await;
    }
    stands(&cluster, 2, Standing::Learner).await;
    let mut watch = cluster.node(2).watch(&["/w/"]).await.unwrap();
    assert_eq!(watch.items.len(), 3);
    cluster.board.cut(NodeId(2));
    must_put(&founder, "/w/changed", "after").await;
    must_put(&founder, "/w/new", "after").await;
    let delete = MetaRequest::Txn { compare: vec![], writes: vec![Write::Delete { key: "/w/deleted".to_owned() }] };
    assert!(matches!(founder.request(delete).await, MetaResponse::Committed { .. }));
    // So much that the log begins behind what the learner has: two snapshots, and more entries than are kept for peers.
    let big = "x".repeat(64 << 10);
    for _ in 0..700 {
        must_put(&founder, "/big", &big).await;
    }
    cluster.board.mend(NodeId(2));
    let events = watch.events.next().await.unwrap();
    let seen: Vec<(&str, Option<&[u8]>)> =
        events.iter().map(|MetaEvent { key, value, .. }| (key.as_str(), value.as_deref())).collect();
    let after = Some(b"after".as_slice());
    // One delivery: it came from a snapshot, not from the log.
    assert_eq!(seen, [("/w/changed", after), ("/w/new", after), ("/w/deleted", None)]);
    assert!(events.iter().all(|event| event.revision > watch.revision));
    must_put(&founder, "/w/end", "v").await;
    assert_eq!(watch.events.next().await.unwrap()[0].key, "/w/end");
}
