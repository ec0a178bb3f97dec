//! What a metadata node has to be told.

use crate::peers::PeerTransport;
use base::NodeId;
use std::sync::Arc;

/// What a node does when its directory is empty. A directory that is not goes on with what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Found the metadata of a region, with this node as its only voter. At most one node of a region ever does so: two
    /// founders make two regions.
    Found,
    /// Wait until a voter adds this node. Until then nothing is answered.
    Join,
}

/// Who this node is and how it reaches the others.
#[derive(Clone)]
pub struct MetaOptions {
    /// Never given to another node, not even after its directory was lost: a voter that forgot its votes is a new node.
    pub node: NodeId,
    pub start: Start,
    /// The way to the other nodes; one that stays alone needs none.
    pub transport: Option<Arc<dyn PeerTransport>>,
}

impl MetaOptions {
    /// A region whose metadata lives on this node alone.
    pub fn single(node: NodeId) -> Self {
        Self { node, start: Start::Found, transport: None }
    }
}
