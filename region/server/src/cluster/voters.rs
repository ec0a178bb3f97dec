//! What the leader of the metadata does about its members: nodes become learners, learners that have caught up voters, and
//! what was removed leaves.
//!
//! **Invariants**
//! - I1  voters are an odd number of nodes, at most [`VOTERS_MAX`]: an even one more would bear no further loss.
//! - I2  only a node that has taken an incarnation gets a vote: a disk that may have voted says so.
//! - I3  a voter that is down keeps its vote until its grace is over and another node has got one. Of too many voters one that
//!   is down goes first: its vote counts for nothing now.
//!
//! **Not here**  Who counts as alive (`cluster`), how a membership is changed (`meta`).

use super::answers::{alive, nodes};
use crate::shard::{NodeHandle, ShardInput};
use base::NodeId;
use meta::{MemberError, MetaHandle, MetaStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// More voters make every write slower and bear no more than two losses in practice.
const VOTERS_MAX: usize = 5;
/// The number of voters from which an even one is worth correcting: of two voters neither can be spared.
const VOTERS_EVEN: usize = 4;
/// How often the leader looks.
const PACE: Duration = Duration::from_millis(300);

/// One change of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    AddLearner(NodeId),
    Promote(NodeId),
    Demote(NodeId),
    Remove(NodeId),
}

/// What the leader knows of a node that the region knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// It has taken an incarnation.
    begun: bool,
    alive: bool,
    /// It has been down for longer than a voter may be.
    lost: bool,
}

/// The members of the metadata and the nodes of the region.
#[derive(Debug)]
struct Members {
    me: NodeId,
    nodes: BTreeMap<NodeId, Known>,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
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

impl Members {
    /// The next change towards what the nodes allow; `None` when there is nothing to do.
    fn next_change(&self) -> Option<Change> {
        self.unknown()
            .map(Change::Remove)
            .or_else(|| self.newcomer().map(Change::AddLearner))
            .or_else(|| self.next_vote())
    }

    /// A member that the region does not know any more.
    fn unknown(&self) -> Option<NodeId> {
        let gone = |node: &&NodeId| !self.nodes.contains_key(node);
        let learner = self.learners.iter().find(gone);
        learner.or_else(|| self.voters.iter().find(gone).filter(|_| self.voters.len() > 1)).copied()
    }

    fn newcomer(&self) -> Option<NodeId> {
        let is_new = |node: &&NodeId| !self.voters.contains(node) && !self.learners.contains(node);
        self.nodes.keys().find(is_new).copied()
    }

    fn next_vote(&self) -> Option<Change> {
        let known = |node: &NodeId| self.nodes.get(node).copied();
        let fit = |node: &&NodeId| known(node).is_some_and(|known| known.begun && known.alive); // I2
        let lost = self.voters.iter().find(|node| known(node).is_some_and(|known| known.lost));
        let (voters, wanted) = (self.voters.len(), wanted(self.nodes.len()));
        if voters < wanted || voters == wanted && lost.is_some() {
            return self.learners.iter().find(fit).map(|node| Change::Promote(*node)); // I3
        }
        if voters > wanted && voters >= VOTERS_EVEN {
            let others = || self.voters.iter().filter(|node| **node != self.me);
            let down = || others().find(|node| !known(node).is_some_and(|known| known.alive)); // I3
            return lost.or_else(down).or_else(|| others().next_back()).map(|node| Change::Demote(*node)); // I1
        }
        None
    }
}

/// Since when this leader has seen nodes down.
#[derive(Debug, Default)]
struct Downs(BTreeMap<NodeId, Instant>);

impl Downs {
    fn note(&mut self, now: Instant, known: &BTreeSet<NodeId>, alive: &BTreeSet<NodeId>) {
        self.0.retain(|node, _| known.contains(node) && !alive.contains(node));
        for node in known.difference(alive) {
            self.0.entry(*node).or_insert(now);
        }
    }

    fn is_lost(&self, now: Instant, node: NodeId, grace: Duration) -> bool {
        self.0.get(&node).is_some_and(|since| now.duration_since(*since) >= grace)
    }
}

/// Works as long as the store does, and tells the node thread who the members are.
pub(crate) async fn keep_voters(meta: MetaHandle, node: NodeHandle, grace: Duration) {
    let mut ticks = tokio::time::interval(PACE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut downs, mut told) = (Downs::default(), None);
    loop {
        ticks.tick().await;
        let MetaStatus { is_leader, voters, learners, .. } = meta.status();
        let now = Some((voters.clone(), learners.clone()));
        if told != now {
            let input = ShardInput::Members { voters: voters.clone(), learners: learners.clone() };
            if node.send(input).await.is_err() {
                return;
            }
            told = now;
        }
        if !is_leader {
            downs = Downs::default();
            continue;
        }
        let (voters, learners) = (voters.into_iter().collect(), learners.into_iter().collect());
        let Some(members) = look(&meta, &mut downs, voters, learners, grace).await else { continue };
        if let Some(change) = members.next_change()
            && let Err(error) = make(&meta, change).await
        {
            tracing::info!("the members of the metadata stay as they are for now: {error}");
        }
    }
}

/// What the metadata says of the nodes; `None` when it does not answer.
async fn look(
    meta: &MetaHandle,
    downs: &mut Downs,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    grace: Duration,
) -> Option<Members> {
    let (records, alive) = (nodes(meta).await.ok()?, alive(meta).await.ok()?);
    let now = Instant::now();
    downs.note(now, &records.keys().copied().collect(), &alive);
    let known = records.into_iter().map(|(node, record)| {
        let lost = downs.is_lost(now, node, grace);
        (node, Known { begun: record.incarnation > 0, alive: alive.contains(&node), lost })
    });
    Some(Members { me: meta.status().node, nodes: known.collect(), voters, learners })
}

async fn make(meta: &MetaHandle, change: Change) -> Result<(), MemberError> {
    match change {
        Change::AddLearner(node) => meta.add_learner(node).await,
        Change::Promote(node) => meta.promote(node).await,
        Change::Demote(node) => {
            tracing::info!("node {node} loses its vote on the metadata: others have enough");
            meta.demote(node).await
        }
        Change::Remove(node) => {
            tracing::info!("node {node} was removed from the region and leaves its metadata");
            meta.remove(node).await
        }
    }
}

#[cfg(test)]
mod tests;
