//! Which change follows from which members and nodes.

use super::{Change, Downs, Known, Members};
use base::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

const UP: Known = Known { begun: true, alive: true, lost: false };
const DOWN: Known = Known { alive: false, ..UP };
const LOST: Known = Known { alive: false, lost: true, ..UP };

fn set(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn next(nodes: &[(u64, Known)], voters: &[u64], learners: &[u64]) -> Option<Change> {
    let nodes: BTreeMap<NodeId, Known> = nodes.iter().map(|(node, known)| (NodeId(*node), *known)).collect();
    Members { me: NodeId(1), nodes, voters: set(voters), learners: set(learners) }.next_change()
}

#[test]
fn nodes_become_learners_and_then_voters_two_at_a_time() {
    assert_eq!(next(&[(1, UP), (2, UP)], &[1], &[]), Some(Change::AddLearner(NodeId(2))));
    assert_eq!(next(&[(1, UP), (2, UP)], &[1], &[2]), None, "I1: two voters bear no loss");
    let three = [(1, UP), (2, UP), (3, UP)];
    assert_eq!(next(&three, &[1], &[2, 3]), Some(Change::Promote(NodeId(2))));
    assert_eq!(next(&three, &[1, 2], &[3]), Some(Change::Promote(NodeId(3))));
    assert_eq!(next(&three, &[1, 2, 3], &[]), None);
}

#[test]
fn i2_a_node_gets_a_vote_when_it_has_begun_and_lives() {
    let joining = Known { begun: false, ..UP };
    let nodes = |third, fourth| [(1, UP), (2, UP), (3, third), (4, fourth)];
    assert_eq!(next(&nodes(joining, DOWN), &[1, 2], &[3, 4]), None);
    assert_eq!(next(&nodes(joining, UP), &[1, 2], &[3, 4]), Some(Change::Promote(NodeId(4))));
}

#[test]
fn a_removed_node_leaves_whatever_it_was() {
    assert_eq!(next(&[(1, UP), (2, UP), (3, UP)], &[1, 2], &[9]), Some(Change::Remove(NodeId(9))));
    assert_eq!(next(&[(1, UP), (2, UP)], &[1, 2, 3], &[]), Some(Change::Remove(NodeId(3))));
    assert_eq!(next(&[(2, UP), (3, UP)], &[1, 2, 3], &[]), Some(Change::Remove(NodeId(1))), "the leader itself");
    assert_eq!(next(&[(1, UP), (2, UP)], &[1, 2], &[]), None, "of two voters neither is spared");
    // The new node takes the place of the removed one.
    assert_eq!(next(&[(1, UP), (2, UP), (4, UP)], &[1, 2], &[]), Some(Change::AddLearner(NodeId(4))));
    assert_eq!(next(&[(1, UP), (2, UP), (4, UP)], &[1, 2], &[4]), Some(Change::Promote(NodeId(4))));
    assert_eq!(next(&[(1, UP), (2, UP), (3, UP), (4, UP)], &[1, 2, 3, 4, 5], &[]), Some(Change::Remove(NodeId(5))));
    assert_eq!(next(&[(1, UP), (2, UP), (3, UP), (4, UP)], &[1, 2, 3, 4], &[]), Some(Change::Demote(NodeId(4))));
}

#[test]
fn i3_a_voter_that_stays_down_gives_its_vote_to_a_live_node() {
    let four = |second, fourth| [(1, UP), (2, second), (3, UP), (4, fourth)];
    assert_eq!(next(&four(DOWN, UP), &[1, 2, 3], &[4]), None, "its grace is not over");
    assert_eq!(next(&four(LOST, DOWN), &[1, 2, 3], &[4]), None, "nobody can take it");
    assert_eq!(next(&four(LOST, UP), &[1, 2, 3], &[4]), Some(Change::Promote(NodeId(4))));
    assert_eq!(next(&four(LOST, UP), &[1, 2, 3, 4], &[]), Some(Change::Demote(NodeId(2))));
    assert_eq!(next(&four(LOST, UP), &[1, 3, 4], &[2]), None);
    assert_eq!(
        next(&four(DOWN, UP), &[1, 2, 3, 4], &[]),
        Some(Change::Demote(NodeId(2))),
        "three that live can lose one"
    );
    // It came back in between: some other vote is one too many.
    assert_eq!(next(&four(UP, UP), &[1, 2, 3, 4], &[]), Some(Change::Demote(NodeId(4))));
}

#[test]
fn grace_runs_from_when_a_node_was_first_seen_down_and_anew_when_it_came_back() {
    let (mut downs, start, grace) = (Downs::default(), Instant::now(), Duration::from_secs(10));
    let known = set(&[1, 2]);
    downs.note(start, &known, &set(&[1]));
    downs.note(start + grace / 2, &known, &set(&[1]));
    assert!(!downs.is_lost(start + grace / 2, NodeId(2), grace));
    assert!(downs.is_lost(start + grace, NodeId(2), grace));
    assert!(!downs.is_lost(start + grace, NodeId(1), grace));
    downs.note(start + grace, &known, &known);
    downs.note(start + grace, &known, &set(&[1]));
    assert!(!downs.is_lost(start + grace, NodeId(2), grace));
}
