//! What nodes ask each other beside metadata messages and frames: how they stand, and for a number.
//!
//! **What**  A call is one byte that says whose it is, and its content: a metadata message as `meta` encodes it, or JSON.

use super::founding::Standing;
use base::{NodeId, RegionName};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First byte of a call.
const META: u8 = 1;
const CLUSTER: u8 = 2;

/// A call, told apart.
#[derive(Debug)]
pub(crate) enum Call {
    /// For the metadata store.
    Meta(Bytes),
    Cluster(ClusterCall),
}

/// A question of a node that founds, joins, or wants something of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterCall {
    Standing,
    Join(JoinRequest),
    /// What the region knows of a number: asked before a disk takes part, so that an old one casts no vote.
    Known(NodeId),
}

/// A node that wants a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinRequest {
    /// Drawn by the joining node; the same one gets the same number again.
    pub(crate) cookie: u64,
    /// Where the other nodes reach it.
    pub(crate) peer_address: String,
    pub(crate) zone: Option<String>,
}

/// The answer to the call of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClusterAnswer {
    Standing {
        region: RegionName,
        standing: Standing,
    },
    Joined {
        node: NodeId,
        members: BTreeMap<NodeId, String>,
    },
    /// `None`: there is no such node.
    Known(Option<KnownNode>),
}

/// What the region knows of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KnownNode {
    pub(crate) cookie: u64,
    pub(crate) incarnation: u64,
    pub(crate) stamp: u64,
    /// Whether a process counts as alive under it.
    pub(crate) alive: bool,
}

pub(crate) fn encode_meta(message: &[u8]) -> Bytes {
    with_tag(META, message)
}

pub(crate) fn encode(call: &ClusterCall) -> Bytes {
    // Names, numbers and texts always have a JSON form.
    with_tag(CLUSTER, &serde_json::to_vec(call).unwrap_or_default())
}

fn with_tag(tag: u8, content: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + content.len());
    bytes.put_u8(tag);
    bytes.put_slice(content);
    bytes.freeze()
}

/// Reads a call.
///
/// # Errors
/// A sentence for the caller.
pub(crate) fn decode(mut bytes: Bytes) -> Result<Call, String> {
    let content = bytes.split_off(bytes.len().min(1));
    match bytes.first() {
        Some(&META) => Ok(Call::Meta(content)),
        Some(&CLUSTER) => serde_json::from_slice(&content)
            .map(Call::Cluster)
            .map_err(|error| format!("this node does not understand the question: {error}")),
        _ => Err("this node does not know such calls: do all nodes run the same version?".to_owned()),
    }
}

pub(crate) fn encode_answer(answer: &ClusterAnswer) -> Bytes {
    serde_json::to_vec(answer).unwrap_or_default().into()
}

/// Reads an answer.
///
/// # Errors
/// A sentence for the log.
pub(crate) fn decode_answer(bytes: &[u8]) -> Result<ClusterAnswer, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("its answer cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_answers_are_read_as_they_were_written() {
        let join = ClusterCall::Join(JoinRequest { cookie: 5, peer_address: "a:1".to_owned(), zone: None });
        for call in [ClusterCall::Standing, join, ClusterCall::Known(NodeId(3))] {
            let Ok(Call::Cluster(read)) = decode(encode(&call)) else { panic!("{call:?} is lost") };
            assert_eq!(read, call);
        }
        let Ok(Call::Meta(message)) = decode(encode_meta(b"raft")) else { panic!("the message is lost") };
        assert_eq!(message, "raft");
        let answer =
            ClusterAnswer::Joined { node: NodeId(3), members: BTreeMap::from([(NodeId(1), "a:1".to_owned())]) };
        assert_eq!(decode_answer(&encode_answer(&answer)).unwrap(), answer);
    }

    #[test]
    fn what_is_no_call_is_refused_with_words() {
        for bytes in [&b""[..], &b"\x02{"[..], &b"\x09x"[..]] {
            assert!(decode(Bytes::from_static(bytes)).unwrap_err().contains("this node does not"));
        }
    }
}
