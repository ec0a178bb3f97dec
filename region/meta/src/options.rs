//! What a metadata node has to be told.

use crate::peers::{NoTransport, PeerTransport};
use base::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who this node is and with whom it votes.
#[derive(Clone)]
pub struct MetaOptions {
    pub node: NodeId,
    /// The first voters of the region, this node among them. Only read when the directory is empty.
    pub voters: BTreeSet<NodeId>,
    pub transport: Arc<dyn PeerTransport>,
}

impl MetaOptions {
    /// A region whose metadata lives on this node alone.
    pub fn single(node: NodeId) -> Self {
        Self { node, voters: BTreeSet::from([node]), transport: Arc::new(NoTransport) }
    }
}
