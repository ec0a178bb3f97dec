//! The regions to stay connected with, as one immutable table that is swapped whole.

use crate::Peer;
use base::RegionName;
use std::collections::BTreeMap;

/// All peers by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PeerTable {
    peers: BTreeMap<RegionName, Peer>,
}

impl PeerTable {
    /// Of two peers of the same name the last one counts.
    pub(crate) fn new(peers: Vec<Peer>) -> Self {
        Self { peers: peers.into_iter().map(|peer| (peer.region.clone(), peer)).collect() }
    }

    pub(crate) fn get(&self, region: &RegionName) -> Option<&Peer> {
        self.peers.get(region)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }
}
