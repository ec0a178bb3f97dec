//! The metadata records of a region's nodes.
//!
//! **What**  `/nodes/ID`, `/alive/ID` and `/owners/T/N/BUNDLE` (`tenancy::keys`), as JSON. A field that a record lacks has
//! its default, so that a newer node reads what an older one wrote.

use base::NodeId;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// `/nodes/ID`: what a node is and where it is reached. The node itself writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeRecord {
    /// Also on the node's disk: tells the disk that the region knows from another one.
    pub cookie: u64,
    /// Raised by one at each start.
    pub incarnation: u64,
    /// `host:port` for other nodes of the region.
    pub peer_address: String,
    /// `pulsar://host:port` for clients.
    pub pulsar_url: String,
    /// `http://host:port` of the admin API.
    pub http_url: String,
    /// `quic://host:port` for other regions.
    pub quic_url: String,
    /// What fails together with this node: a rack, a room, a data centre.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The node gives its bundles away and gets no new ones, nor new ledgers.
    pub draining: bool,
}

/// `/alive/ID`: this incarnation of the node counts as alive. The controller alone writes it; absent means down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AliveRecord {
    pub incarnation: u64,
}

/// `/owners/T/N/BUNDLE`: who serves the bundle, while `/alive/NODE` carries the same incarnation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnerRecord {
    pub node: NodeId,
    pub incarnation: u64,
    /// Raised by one with every change of the owner.
    pub epoch: u64,
    /// The owner closes the bundle's topics and then hands them to this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub moving_to: Option<NodeId>,
}

macro_rules! json {
    ($($record:ty),*) => {$(
        impl $record {
            /// The bytes that the metadata holds.
            pub fn encode(&self) -> Bytes {
                // Numbers and strings always serialise.
                Bytes::from(serde_json::to_vec(self).unwrap_or_default())
            }

            /// Reads what `encode` wrote; `None` when the bytes are damaged.
            pub fn decode(bytes: &[u8]) -> Option<Self> {
                serde_json::from_slice(bytes).ok()
            }
        }
    )*};
}

json!(NodeRecord, AliveRecord, OwnerRecord);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_and_lacking_fields_have_their_defaults() {
        let node = NodeRecord { cookie: u64::MAX, zone: Some("a".to_owned()), ..NodeRecord::default() };
        assert_eq!(NodeRecord::decode(&node.encode()), Some(node));
        let owner = OwnerRecord { node: NodeId(3), incarnation: 2, epoch: 9, moving_to: None };
        assert_eq!(owner.encode(), r#"{"node":3,"incarnation":2,"epoch":9}"#);
        assert_eq!(OwnerRecord::decode(&owner.encode()), Some(owner));
        assert_eq!(NodeRecord::decode(b"{}"), Some(NodeRecord::default()));
        assert_eq!(AliveRecord::decode(br#"{"incarnation":4,"later":1}"#).unwrap().incarnation, 4);
        assert_eq!(OwnerRecord::decode(b"{"), None);
    }
}
