//! Metadata nodes in one process, joined by a transport that can be cut and can lose answers.

#![allow(dead_code, reason = "each test file uses its part")]

use base::NodeId;
use bytes::Bytes;
use meta::{
    Leadership, MetaHandle, MetaOptions, MetaStore, PeerError, PeerFuture, PeerRequest, PeerResponse, PeerTransport,
    Start,
};
use meta_api::{MetaRequest, MetaResponse, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Carries requests between the nodes of a test, as bytes.
#[derive(Default)]
pub(crate) struct Switchboard {
    nodes: Mutex<BTreeMap<NodeId, MetaHandle>>,
    cut: Mutex<BTreeSet<NodeId>>,
    /// Every so many forwarded writes lose their answer; 0 for none.
    lose_every: Mutex<u64>,
    writes_sent: Mutex<u64>,
    answers_lost: Mutex<u64>,
}

impl Switchboard {
    /// Whether the answer of this request gets lost.
    fn loses(&self, request: &PeerRequest) -> bool {
        let every = *self.lose_every.lock().unwrap();
        if every == 0 || !matches!(request, PeerRequest::Write(_)) {
            return false;
        }
        let mut sent = self.writes_sent.lock().unwrap();
        *sent += 1;
        let loses = sent.is_multiple_of(every);
        *self.answers_lost.lock().unwrap() += u64::from(loses);
        loses
    }

    pub(crate) fn lose_answers_of_writes(&self, every: u64) {
        *self.lose_every.lock().unwrap() = every;
    }

    pub(crate) fn answers_lost(&self) -> u64 {
        *self.answers_lost.lock().unwrap()
    }

    /// Nobody reaches the node any more.
    pub(crate) fn cut(&self, node: NodeId) {
        self.cut.lock().unwrap().insert(node);
    }

    pub(crate) fn mend(&self, node: NodeId) {
        self.cut.lock().unwrap().remove(&node);
    }
}

/// One node's side of the switchboard.
struct Plug {
    from: NodeId,
    board: Arc<Switchboard>,
}

impl PeerTransport for Plug {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_> {
        let is_cut = {
            let cut = self.board.cut.lock().unwrap();
            cut.contains(&to) || cut.contains(&self.from)
        };
        let node = self.board.nodes.lock().unwrap().get(&to).filter(|_| !is_cut).cloned();
        let loses = self.board.loses(&request);
        Box::pin(async move {
            let Some(node) = node else { return Err(PeerError::not_sent(to, "switched off")) };
            let request = PeerRequest::decode(&request.encode().unwrap()).unwrap();
            let response = node.answer_peer(request).await?;
            if loses {
                return Err(PeerError::unanswered(to, "the answer was lost"));
            }
            Ok(PeerResponse::decode(&response.encode().unwrap()).unwrap())
        })
    }
}

/// Nodes 1 to n of one region.
pub(crate) struct Cluster {
    dir: TempDir,
    pub(crate) board: Arc<Switchboard>,
    stores: BTreeMap<NodeId, MetaStore>,
}

impl Cluster {
    /// Node 1, which has founded the region.
    pub(crate) async fn found() -> Self {
        let board = Arc::default();
        let mut cluster = Self { dir: tempfile::tempdir().unwrap(), board, stores: BTreeMap::new() };
        cluster.start(1, Start::Found).await;
        cluster
    }

    /// A founder and two that joined; all vote.
    pub(crate) async fn of_three() -> Self {
        let mut cluster = Self::found().await;
        for node in [2, 3] {
            cluster.start(node, Start::Join).await;
            cluster.node(1).add_learner(NodeId(node)).await.unwrap();
            cluster.node(1).promote(NodeId(node)).await.unwrap();
        }
        cluster
    }

    pub(crate) fn dir(&self, node: u64) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    pub(crate) async fn start(&mut self, node: u64, start: Start) {
        let id = NodeId(node);
        let transport = Plug { from: id, board: Arc::clone(&self.board) };
        let options = MetaOptions { node: id, start, transport: Some(Arc::new(transport)) };
        let store = MetaStore::open(&self.dir(node), options, |cause| panic!("unexpected: {cause}")).await.unwrap();
        self.board.nodes.lock().unwrap().insert(id, store.handle());
        self.stores.insert(id, store);
    }

    pub(crate) async fn stop(&mut self, node: NodeId) {
        self.board.nodes.lock().unwrap().remove(&node);
        self.stores.remove(&node).unwrap().close().await;
    }

    pub(crate) fn node(&self, node: u64) -> MetaHandle {
        self.stores[&NodeId(node)].handle()
    }

    /// A leader that `witness` knows and that is not `not`.
    pub(crate) async fn leader(&self, witness: u64, not: Option<NodeId>) -> NodeId {
        let mut leadership = self.node(witness).leadership();
        let is_new = |known: &Leadership| known.leader.is_some() && known.leader != not;
        leadership.wait_for(is_new).await.unwrap().leader.unwrap()
    }

    /// Two nodes that do not lead.
    pub(crate) async fn followers(&self) -> [u64; 2] {
        let leader = self.leader(1, None).await.0;
        let mut others = (1..=3).filter(|node| *node != leader);
        [others.next().unwrap(), others.next().unwrap()]
    }
}

pub(crate) fn put(key: &str, value: &str) -> MetaRequest {
    let write = Write::Put { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()) };
    MetaRequest::Txn { compare: vec![], writes: vec![write] }
}

/// Puts until an answer says that it is done: a put may be made twice without harm.
pub(crate) async fn must_put(handle: &MetaHandle, key: &str, value: &str) {
    loop {
        match handle.request(put(key, value)).await {
            MetaResponse::Committed { .. } => return,
            MetaResponse::Unavailable { .. } => (),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) async fn value(handle: &MetaHandle, key: &str) -> Option<String> {
    loop {
        match handle.request(MetaRequest::Get { key: key.to_owned() }).await {
            MetaResponse::Value(item) => return item.map(|item| String::from_utf8(item.value.to_vec()).unwrap()),
            MetaResponse::Unavailable { .. } => (),
            other => panic!("a value, not {other:?}"),
        }
    }
}
