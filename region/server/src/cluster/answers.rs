//! What this node answers other nodes: metadata messages to its store, how it stands, numbers for those that join.
//!
//! **Invariants**
//! - I1  a cookie gets one number, however often it asks and whichever member it asks: the record of a number is written
//!   only together with the key of its cookie.

use super::calls::{Call, ClusterAnswer, ClusterCall, JoinRequest, KnownNode, decode, encode_answer};
use super::founding::Standing;
use super::stamps;
use base::{NodeId, RegionName};
use bytes::Bytes;
use cluster::NodeRecord;
use meta::{MetaHandle, PeerRequest};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use peer::{Answer, Answerer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use tenancy::keys::{self, Key};

const NO_ANSWER: &str = "the region's metadata does not answer now; ask again";

/// Answers once the metadata store is open; before that, only how the node stands.
#[derive(Debug)]
pub(crate) struct Answers {
    region: RegionName,
    meta: OnceLock<MetaHandle>,
    /// Whether the node has a number.
    member: OnceLock<()>,
}

impl Answers {
    pub(crate) fn new(region: RegionName) -> Self {
        Self { region, meta: OnceLock::new(), member: OnceLock::new() }
    }

    /// The node has a number: nobody may found a region with it any more.
    pub(crate) fn set_member(&self) {
        let _ = self.member.set(());
    }

    pub(crate) fn set_meta(&self, meta: MetaHandle) {
        let _ = self.meta.set(meta);
    }

    async fn answer_call(&self, bytes: Bytes) -> Result<Bytes, String> {
        match decode(bytes)? {
            Call::Meta(message) => {
                let request = PeerRequest::decode(&message).map_err(|error| error.to_string())?;
                let response = self.meta()?.answer_peer(request).await;
                let response = response.map_err(|error| error.to_string())?;
                response.encode().map(Bytes::from).map_err(|error| error.to_string())
            }
            Call::Cluster(ClusterCall::Standing) => {
                let standing = if self.member.get().is_some() { Standing::Member } else { Standing::Empty };
                Ok(encode_answer(&ClusterAnswer::Standing { region: self.region.clone(), standing }))
            }
            Call::Cluster(ClusterCall::Join(request)) => {
                let (node, members) = admit(self.meta()?, request).await?;
                Ok(encode_answer(&ClusterAnswer::Joined { node, members }))
            }
            Call::Cluster(ClusterCall::Known(node)) => {
                Ok(encode_answer(&ClusterAnswer::Known(known(self.meta()?, node).await?)))
            }
        }
    }

    fn meta(&self) -> Result<&MetaHandle, String> {
        self.meta.get().ok_or_else(|| "this node is still starting; ask again".to_owned())
    }
}

impl Answerer for Answers {
    fn answer(&self, _from: Option<NodeId>, bytes: Bytes) -> Answer<'_> {
        Box::pin(self.answer_call(bytes))
    }
}

/// What the region knows of a number. Whoever asks waits with its start: without a leader it hears so at once.
async fn known(meta: &MetaHandle, node: NodeId) -> Result<Option<KnownNode>, String> {
    if meta.status().leader.is_none() {
        return Err(NO_ANSWER.to_owned());
    }
    let found = meta.request(MetaRequest::Get { key: keys::node_key(node) }).await;
    let MetaResponse::Value(found) = found else { return Err(NO_ANSWER.to_owned()) };
    let Some(record) = found.and_then(|found| NodeRecord::decode(&found.value)) else { return Ok(None) };
    let alive = alive(meta).await?.contains(&node);
    let MetaResponse::Value(stamp) = stamps::held(meta, node).await else { return Err(NO_ANSWER.to_owned()) };
    let stamp = stamp.map_or(0, |stamp| stamps::read(&stamp));
    Ok(Some(KnownNode { cookie: record.cookie, incarnation: record.incarnation, stamp, alive }))
}

/// Every node in the metadata.
pub(crate) async fn nodes(meta: &MetaHandle) -> Result<BTreeMap<NodeId, NodeRecord>, String> {
    let read = |key: &str, value: &[u8]| match Key::parse(key) {
        Some(Key::Node(node)) => Some((node, NodeRecord::decode(value)?)),
        _ => None,
    };
    list(meta, keys::NODES, read).await
}

/// Every node that counts as alive.
pub(super) async fn alive(meta: &MetaHandle) -> Result<BTreeSet<NodeId>, String> {
    let read = |key: &str, _: &[u8]| if let Some(Key::Alive(node)) = Key::parse(key) { Some(node) } else { None };
    list(meta, keys::ALIVE, read).await
}

/// All records below a prefix that can be read.
async fn list<T, C: Default + Extend<T>>(
    meta: &MetaHandle,
    prefix: &str,
    read: impl Fn(&str, &[u8]) -> Option<T>,
) -> Result<C, String> {
    let (mut all, mut after) = (C::default(), None);
    loop {
        let request = MetaRequest::Range { prefix: prefix.to_owned(), after, limit: 1000 };
        let MetaResponse::Range { items, more } = meta.request(request).await else {
            return Err(NO_ANSWER.to_owned());
        };
        all.extend(items.iter().filter_map(|(key, found)| read(key, &found.value)));
        after = items.into_iter().next_back().map(|(key, _)| key);
        if !more {
            return Ok(all);
        }
    }
}

/// Gives a number to a node, or the one that it has.
async fn admit(meta: &MetaHandle, request: JoinRequest) -> Result<(NodeId, BTreeMap<NodeId, String>), String> {
    let cookie = keys::cookie_key(request.cookie);
    let known = meta.request(MetaRequest::Get { key: cookie.clone() }).await;
    let node = match known {
        MetaResponse::Value(Some(found)) => parse_node(&found.value)?,
        MetaResponse::Value(None) => write_new(meta, cookie, &request).await?,
        _ => return Err(NO_ANSWER.to_owned()),
    };
    let members = nodes(meta).await?.into_iter().map(|(node, record)| (node, record.peer_address)).collect();
    Ok((node, members))
}

fn parse_node(value: &[u8]) -> Result<NodeId, String> {
    let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.map(NodeId).ok_or_else(|| "the metadata of this cookie is damaged".to_owned())
}

async fn write_new(meta: &MetaHandle, cookie: String, request: &JoinRequest) -> Result<NodeId, String> {
    let reserve = MetaRequest::Reserve { key: keys::NODE_COUNTER.to_owned(), by: 1 };
    let MetaResponse::Reserved { first } = meta.request(reserve).await else {
        return Err("no number could be drawn: the region's metadata does not answer now; ask again".to_owned());
    };
    let node = NodeId(first + 1);
    let record = NodeRecord {
        cookie: request.cookie,
        peer_address: request.peer_address.clone(),
        zone: request.zone.clone(),
        ..NodeRecord::default()
    };
    match meta.request(new_node(node, cookie, &record, Vec::new())).await {
        MetaResponse::Committed { .. } => Ok(node),
        // I1: the same node has asked twice at once.
        MetaResponse::Conflict { actual: Some(found), .. } => parse_node(&found.value),
        other => Err(format!("the node could not be written down: {other:?}")),
    }
}

/// The transaction that makes a node known.
pub(super) fn new_node(node: NodeId, cookie: String, record: &NodeRecord, more: Vec<Write>) -> MetaRequest {
    let key = keys::node_key(node);
    let value = record.encode();
    let compare = vec![Compare::Absent { key: cookie.clone() }, Compare::Absent { key: key.clone() }];
    let mut writes =
        vec![Write::Put { key: cookie, value: Bytes::from(node.0.to_string()) }, Write::Put { key, value }];
    writes.extend(more);
    MetaRequest::Txn { compare, writes }
}
