//! Changing who is in the region.
//!
//! **What**  The leader makes one change at a time; another node sends its change to the leader. Every change may be
//! asked again: it looks at what stands and does what is missing, also what an earlier leader left half done.
//!
//! **Invariants**
//! - I1  a change of voters starts from a membership that is committed, applied here, and no joint one.
//! - I2  a removed voter is first made a learner: so it learns, if it can be reached, that its vote does not count.
//!
//! **Not here**  When to change (the server), what a node makes of its own removal (`standing`).
//!
//! **Tests**  `tests/membership.rs`.

use crate::applied::SharedApplied;
use crate::compass::{Compass, LEADER_WAIT_MAX, LeaderAt};
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::raft_types::{Membership, Raft};
use base::{ErrorClass, NodeId};
use openraft::ChangeMembers;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

/// Changes that wait for their turn; more wait at the door.
const WAITING_MAX: usize = 64;
/// How long a change is tried: it may have to outlive an election.
const CHANGE_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long the leader waits for the quorums of one change.
const QUORUM_WAIT_MAX: Duration = LEADER_WAIT_MAX;
/// When a change that was not made is worth asking again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// A learner that lacks more entries than this does not get a vote: the region might have to wait for it.
const BEHIND_ENTRIES_MAX: u64 = 64;

/// A change of the membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberChange {
    AddLearner(NodeId),
    Promote(NodeId),
    Remove(NodeId),
    Demote(NodeId),
}

/// Why the membership is not what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MemberError {
    #[error("node {node} is not in the region's metadata: add it as a learner first")]
    NotLearner { node: NodeId },
    #[error("node {node} lacks {entries} entries of the metadata log: it gets a vote when it has caught up")]
    Behind { node: NodeId, entries: u64 },
    #[error("node {node} is the only metadata voter: promote another one before it is removed")]
    LastVoter { node: NodeId },
    #[error("the membership of the metadata was not changed, or not wholly; ask again: {reason}")]
    Unavailable { reason: String },
}

impl MemberError {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::NotLearner { .. } | Self::LastVoter { .. } => ErrorClass::Reject,
            Self::Behind { .. } | Self::Unavailable { .. } => ErrorClass::Retry { after: RETRY_AFTER },
        }
    }

    fn is_worth_waiting(&self) -> bool {
        matches!(self, Self::Behind { .. } | Self::Unavailable { .. })
    }
}

type Changed = Result<(), MemberError>;

/// The door for changes. Those of other nodes have a queue of their own: two nodes that take each other for the leader
/// would wait for each other otherwise.
#[derive(Clone, Debug)]
pub(crate) struct MemberDoor {
    own: mpsc::Sender<WaitingChange>,
    peers: mpsc::Sender<WaitingChange>,
}

#[derive(Debug)]
struct WaitingChange {
    change: MemberChange,
    done: oneshot::Sender<Changed>,
}

/// Makes the changes.
pub(crate) struct MemberDesk {
    parts: Arc<DeskParts>,
    own: mpsc::Receiver<WaitingChange>,
    peers: mpsc::Receiver<WaitingChange>,
}

struct DeskParts {
    raft: Raft,
    compass: Compass,
    applied: SharedApplied,
    /// Held by whoever changes something.
    turn: Mutex<()>,
}

impl MemberDoor {
    /// Makes a change, here or at the leader.
    ///
    /// # Errors
    /// [`MemberError`].
    pub(crate) async fn change(&self, change: MemberChange) -> Changed {
        ask(&self.own, change).await
    }

    /// Makes the change of another node, if this one leads.
    ///
    /// # Errors
    /// [`MemberError`].
    pub(crate) async fn change_for_peer(&self, change: MemberChange) -> Changed {
        ask(&self.peers, change).await
    }
}

async fn ask(door: &mpsc::Sender<WaitingChange>, change: MemberChange) -> Changed {
    let stopped = || unavailable("the metadata store has stopped");
    let (done, received) = oneshot::channel();
    door.send(WaitingChange { change, done }).await.map_err(|_| stopped())?;
    received.await.unwrap_or_else(|_| Err(stopped()))
}

impl MemberDesk {
    pub(crate) fn new(raft: Raft, compass: Compass, applied: SharedApplied) -> (MemberDoor, Self) {
        let ((own_door, own), (peers_door, peers)) = (mpsc::channel(WAITING_MAX), mpsc::channel(WAITING_MAX));
        let parts = Arc::new(DeskParts { raft, compass, applied, turn: Mutex::new(()) });
        (MemberDoor { own: own_door, peers: peers_door }, Self { parts, own, peers })
    }

    /// Serves until every door is gone.
    pub(crate) async fn run(self) {
        let Self { parts, mut own, mut peers } = self;
        let serve_own = async {
            while let Some(WaitingChange { change, done }) = own.recv().await {
                let _ = done.send(parts.bring_about(change).await);
            }
        };
        let serve_peers = async {
            while let Some(WaitingChange { change, done }) = peers.recv().await {
                let _ = done.send(parts.make(change).await);
            }
        };
        tokio::join!(serve_own, serve_peers);
    }
}

impl DeskParts {
    /// Tries until it is done, or refused, or too late.
    async fn bring_about(&self, change: MemberChange) -> Changed {
        let since = Instant::now();
        loop {
            if let Some(reason) = self.compass.refusal() {
                // Its own removal is what it may have asked for.
                let is_done = change == MemberChange::Remove(self.compass.node());
                return if is_done { Ok(()) } else { Err(unavailable(&reason)) };
            }
            let outcome = match self.compass.leader() {
                LeaderAt::Here => self.make(change).await,
                LeaderAt::Peer(leader) => self.send(leader, change).await,
                LeaderAt::Nowhere => Err(unavailable("the metadata voters have no leader")),
            };
            match outcome {
                Err(error) if error.is_worth_waiting() && since.elapsed() < CHANGE_WAIT_MAX => (),
                outcome => return outcome,
            }
            self.compass.wait_for_news().await;
        }
    }

    async fn send(&self, leader: NodeId, change: MemberChange) -> Changed {
        match self.compass.ask(leader, PeerRequest::Change(change)).await {
            Ok(PeerResponse::Change(outcome)) => outcome,
            Ok(PeerResponse::NotLeader) => Err(unavailable("the metadata voters have no leader")),
            Ok(_) => Err(unavailable(&format!("node {leader} answered something else"))),
            Err(error) => Err(unavailable(&error.to_string())),
        }
    }

    /// Makes the change as the leader.
    async fn make(&self, change: MemberChange) -> Changed {
        let _turn = self.turn.lock().await;
        let made = tokio::time::timeout(QUORUM_WAIT_MAX, self.make_in_turn(change)).await;
        made.unwrap_or_else(|_elapsed| Err(unavailable("no quorum of the metadata voters answered in time")))
    }

    async fn make_in_turn(&self, change: MemberChange) -> Changed {
        let mut membership = self.settled().await?;
        if membership.get_joint_config().len() > 1 {
            // An earlier leader did not get to the end: its newer set of voters it is.
            self.propose_voters(ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
            membership = self.settled().await?;
        }
        assert!(membership.get_joint_config().len() <= 1, "Members I1: a change starts from no joint membership");
        match change {
            MemberChange::AddLearner(node) if membership.get_node(&node.0).is_some() => Ok(()),
            MemberChange::AddLearner(node) => {
                let added = self.raft.add_learner(node.0, openraft::EmptyNode {}, false).await;
                added.map(|_| ()).map_err(refused)
            }
            MemberChange::Promote(node) => self.promote(node, &membership).await,
            MemberChange::Remove(node) => self.remove(node, &membership).await,
            MemberChange::Demote(node) => self.demote(node, &membership).await,
        }
    }

    /// The membership that is committed and applied (I1).
    async fn settled(&self) -> Result<Membership, MemberError> {
        let ensured = self.raft.ensure_linearizable().await;
        ensured.map_err(|error| unavailable(&error.to_string()))?;
        Ok(self.applied.read().membership.membership().clone())
    }

    async fn promote(&self, node: NodeId, membership: &Membership) -> Changed {
        if membership.voter_ids().any(|voter| voter == node.0) {
            return Ok(());
        }
        if membership.get_node(&node.0).is_none() {
            return Err(MemberError::NotLearner { node });
        }
        let entries = self.entries_behind(node);
        if entries > BEHIND_ENTRIES_MAX {
            return Err(MemberError::Behind { node, entries });
        }
        self.propose_voters(ChangeMembers::AddVoterIds(BTreeSet::from([node.0]))).await
    }

    /// The leader's log behind what it knows the node to have.
    fn entries_behind(&self, node: NodeId) -> u64 {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let end = metrics.last_log_index.map_or(0, |last| last + 1);
        let known = metrics.replication.as_ref().and_then(|replication| replication.get(&node.0).copied().flatten());
        // A node that has never answered may not even be there.
        known.map_or(u64::MAX, |known| end.saturating_sub(known.index + 1))
    }

    async fn remove(&self, node: NodeId, membership: &Membership) -> Changed {
        if membership.get_node(&node.0).is_none() {
            return Ok(());
        }
        self.demote(node, membership).await?; // Members I2
        let removed = self.raft.change_membership(ChangeMembers::RemoveNodes(BTreeSet::from([node.0])), true).await;
        removed.map(|_| ()).map_err(refused)
    }

    async fn demote(&self, node: NodeId, membership: &Membership) -> Changed {
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if voters == BTreeSet::from([node.0]) {
            return Err(MemberError::LastVoter { node });
        }
        if !voters.contains(&node.0) {
            return Ok(());
        }
        self.propose_voters(ChangeMembers::RemoveVoters(BTreeSet::from([node.0]))).await
    }

    async fn propose_voters(&self, change: ChangeMembers<u64, openraft::EmptyNode>) -> Changed {
        // From here until the change is applied, this node may be outvoted without having noticed.
        self.applied.write().expect_other_voters();
        let changed = self.raft.change_membership(change, true).await;
        changed.map(|_| ()).map_err(refused)
    }
}

fn refused(error: RaftError<u64, ClientWriteError<u64, openraft::EmptyNode>>) -> MemberError {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::LearnerNotFound(lost))) => {
            MemberError::NotLearner { node: NodeId(lost.node_id) }
        }
        other => unavailable(&other.to_string()),
    }
}

fn unavailable(reason: &str) -> MemberError {
    MemberError::Unavailable { reason: reason.to_owned() }
}
