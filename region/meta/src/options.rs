//! What a metadata node has to be told.

use crate::error::OpenError;
use crate::peers::PeerTransport;
use base::NodeId;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who this node is and with whom it votes.
#[derive(Clone)]
pub struct MetaOptions {
    pub node: NodeId,
    /// The first voters of the region, this node among them. Only read when the directory is empty.
    pub voters: BTreeSet<NodeId>,
    /// The way to the other voters; a sole voter needs none.
    pub transport: Option<Arc<dyn PeerTransport>>,
}

impl MetaOptions {
    /// A region whose metadata lives on this node alone.
    pub fn single(node: NodeId) -> Self {
        Self { node, voters: BTreeSet::from([node]), transport: None }
    }

    pub(crate) fn check(&self) -> Result<(), OpenError> {
        if !self.voters.contains(&self.node) {
            return Err(OpenError::NotVoter { node: self.node, voters: self.voters.iter().copied().collect() });
        }
        if self.voters.len() > 1 && self.transport.is_none() {
            return Err(OpenError::NoTransport { voters: self.voters.len() });
        }
        Ok(())
    }
}
