//! Three voters in one process, joined by a transport that can be cut: the store is general by construction.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use base::NodeId;
use bytes::Bytes;
use meta::{MetaHandle, MetaOptions, MetaStore, PeerError, PeerFuture, PeerRequest, PeerTransport};
use meta_api::{MetaRequest, MetaResponse, Write};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::Notify;

/// The voters that are reachable.
#[derive(Default)]
struct Switchboard {
    voters: Mutex<BTreeMap<NodeId, MetaHandle>>,
    /// Rung whenever a leader shows itself.
    leader_spoke: Notify,
}

impl PeerTransport for Switchboard {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_> {
        if matches!(request, PeerRequest::Append(_)) {
            self.leader_spoke.notify_waiters();
        }
        let voter = self.voters.lock().unwrap().get(&to).cloned();
        Box::pin(async move {
            match voter {
                Some(voter) => voter.answer_peer(request).await,
                None => Err(PeerError { to, reason: "switched off".to_owned() }),
            }
        })
    }
}

struct Cluster {
    _dir: TempDir,
    board: Arc<Switchboard>,
    stores: BTreeMap<NodeId, MetaStore>,
    dirs: BTreeMap<NodeId, std::path::PathBuf>,
}

impl Cluster {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dirs = (1..=3).map(|id| (NodeId(id), dir.path().join(id.to_string()))).collect();
        let mut cluster = Self { _dir: dir, board: Arc::default(), stores: BTreeMap::new(), dirs };
        for id in 1..=3 {
            cluster.start(NodeId(id)).await;
        }
        cluster
    }

    async fn start(&mut self, id: NodeId) {
        let store = open(&self.dirs[&id], id, Arc::clone(&self.board)).await;
        self.board.voters.lock().unwrap().insert(id, store.handle());
        self.stores.insert(id, store);
    }

    async fn stop(&mut self, id: NodeId) {
        self.board.voters.lock().unwrap().remove(&id);
        self.stores.remove(&id).unwrap().close().await;
    }

    /// Asks everybody until a leader answers; tells who it was.
    async fn request(&self, request: &MetaRequest) -> (NodeId, MetaResponse) {
        loop {
            let spoke = self.board.leader_spoke.notified();
            for (id, store) in &self.stores {
                match store.handle().request(request.clone()).await {
                    MetaResponse::Unavailable { .. } => (),
                    answer => return (*id, answer),
                }
            }
            spoke.await;
        }
    }
}

async fn open(dir: &Path, node: NodeId, board: Arc<Switchboard>) -> MetaStore {
    let options = MetaOptions { node, voters: (1..=3).map(NodeId).collect(), transport: Some(board) };
    MetaStore::open(dir, options, |cause| panic!("unexpected: {cause}")).await.unwrap()
}

fn put(key: &str) -> MetaRequest {
    let write = Write::Put { key: key.to_owned(), value: Bytes::from_static(b"v") };
    MetaRequest::Txn { compare: vec![], writes: vec![write] }
}

async fn stands(cluster: &Cluster, key: &str) -> bool {
    let (_, answer) = cluster.request(&MetaRequest::Get { key: key.to_owned() }).await;
    matches!(answer, MetaResponse::Value(Some(_)))
}

#[tokio::test]
async fn three_voters_lose_any_one_and_keep_every_answered_write() {
    let mut cluster = Cluster::open().await;
    let (first_leader, answer) = cluster.request(&put("/1")).await;
    assert!(matches!(answer, MetaResponse::Committed { revision: 1 }));
    cluster.stop(first_leader).await;
    let (second_leader, answer) = cluster.request(&put("/2")).await;
    assert!(second_leader != first_leader && matches!(answer, MetaResponse::Committed { .. }));
    assert!(stands(&cluster, "/1").await);
    // The first leader comes back from its disk, and now its vote is needed.
    cluster.start(first_leader).await;
    cluster.stop(second_leader).await;
    let (_, answer) = cluster.request(&put("/3")).await;
    assert!(matches!(answer, MetaResponse::Committed { .. }));
    for key in ["/1", "/2", "/3"] {
        assert!(stands(&cluster, key).await, "{key}");
    }
}
