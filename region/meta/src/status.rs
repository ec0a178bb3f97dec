//! What a node tells about the metadata of its region.

use crate::compass::{LeaderAt, leader_of};
use crate::handle::HandleParts;
use crate::standing::Standing;
use base::NodeId;

/// The metadata of the region as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaStatus {
    pub node: NodeId,
    pub standing: Standing,
    pub leader: Option<NodeId>,
    pub term: u64,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// Index of the last entry of this node's log.
    pub last_log: Option<u64>,
    /// Index of the last entry that it has applied.
    pub last_applied: Option<u64>,
    pub is_leader: bool,
    /// At the leader: how long ago a quorum last confirmed it, in milliseconds, as of its last event. Above a second it
    /// may have been replaced.
    pub millis_since_quorum_ack: Option<u64>,
}

pub(crate) fn status(parts: &HandleParts) -> MetaStatus {
    let leader = leader_of(&parts.raft.server_metrics().borrow(), parts.node.0);
    let metrics = parts.raft.metrics();
    let metrics = metrics.borrow();
    let members = metrics.membership_config.membership();
    MetaStatus {
        node: parts.node,
        standing: *parts.standing.borrow(),
        leader: match leader {
            LeaderAt::Here => Some(parts.node),
            LeaderAt::Peer(leader) => Some(leader),
            LeaderAt::Nowhere => None,
        },
        term: metrics.current_term,
        voters: members.voter_ids().map(NodeId).collect(),
        learners: members.learner_ids().map(NodeId).collect(),
        last_log: metrics.last_log_index,
        last_applied: metrics.last_applied.map(|last| last.index),
        is_leader: leader == LeaderAt::Here,
        millis_since_quorum_ack: metrics.millis_since_quorum_ack,
    }
}
