//! What the leader of the metadata does about its members: nodes become learners, learners that have caught up voters.
//!
//! **Invariants**
//! - I1  voters are an odd number of nodes, at most [`VOTERS_MAX`]: an even one more would bear no further loss.

use super::answers::nodes;
use base::NodeId;
use meta::{MetaHandle, MetaStatus};
use std::collections::BTreeSet;
use std::time::Duration;

/// More voters make every write slower and bear no more than two losses in practice.
const VOTERS_MAX: usize = 5;
/// How often the leader looks.
const PACE: Duration = Duration::from_millis(300);

/// One change of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    AddLearner(NodeId),
    Promote(NodeId),
}

/// How many of so many nodes vote (I1).
fn wanted(nodes: usize) -> usize {
    let most = nodes.min(VOTERS_MAX);
    if most.is_multiple_of(2) { most.saturating_sub(1) } else { most }
}

/// Waits until a region of so many founders bears the losses that it is meant to bear: before that it is not ready.
pub(crate) async fn until_founded(meta: &MetaHandle, founders: usize) {
    let mut ticks = tokio::time::interval(PACE / 6);
    while meta.status().voters.len() < wanted(founders) {
        ticks.tick().await;
    }
}

/// The next change towards what the nodes allow; `None` when there is nothing to do.
fn next_change(nodes: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>, learners: &BTreeSet<NodeId>) -> Option<Change> {
    if let Some(new) = nodes.iter().find(|node| !voters.contains(node) && !learners.contains(node)) {
        return Some(Change::AddLearner(*new));
    }
    let wanted = wanted(nodes.len());
    let next = learners.iter().find(|node| nodes.contains(node));
    next.filter(|_| voters.len() < wanted).map(|node| Change::Promote(*node))
}

/// Works as long as the store does.
pub(crate) async fn keep_voters(meta: MetaHandle) {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let MetaStatus { is_leader, voters, learners, .. } = meta.status();
        let (voters, learners) = (voters.into_iter().collect(), learners.into_iter().collect());
        if !is_leader {
            continue;
        }
        let Ok(known) = nodes(&meta).await else { continue };
        let known = known.into_keys().collect();
        let done = match next_change(&known, &voters, &learners) {
            Some(Change::AddLearner(node)) => meta.add_learner(node).await,
            Some(Change::Promote(node)) => meta.promote(node).await,
            None => continue,
        };
        if let Err(error) = done {
            tracing::info!("the members of the metadata stay as they are for now: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u64]) -> BTreeSet<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn nodes_become_learners_and_then_voters_two_at_a_time() {
        assert_eq!(next_change(&set(&[1, 2]), &set(&[1]), &set(&[])), Some(Change::AddLearner(NodeId(2))));
        assert_eq!(next_change(&set(&[1, 2]), &set(&[1]), &set(&[2])), None, "I1: two voters bear no loss");
        let three = set(&[1, 2, 3]);
        assert_eq!(next_change(&three, &set(&[1]), &set(&[2, 3])), Some(Change::Promote(NodeId(2))));
        assert_eq!(next_change(&three, &set(&[1, 2]), &set(&[3])), Some(Change::Promote(NodeId(3))));
        assert_eq!(next_change(&three, &three, &set(&[])), None);
    }

    #[test]
    fn a_removed_node_is_not_promoted() {
        assert_eq!(next_change(&set(&[1, 2, 3]), &set(&[1, 2]), &set(&[9])), Some(Change::AddLearner(NodeId(3))));
        assert_eq!(next_change(&set(&[1, 2]), &set(&[1]), &set(&[9])), Some(Change::AddLearner(NodeId(2))));
    }
}
