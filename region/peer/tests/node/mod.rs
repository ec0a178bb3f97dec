//! A node's endpoint for tests on loopback, and a relay that can be stalled.
#![allow(dead_code, reason = "each test file uses a part")]

use base::{NodeId, RegionName};
use bytes::Bytes;
use identity::Identity;
use peer::{Answer, Answerer, FrameKind, Hello, PeerConfig, PeerEndpoint, PeerEvent, PeerLimits};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The region's certificates.
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) identity: Identity,
    /// Of nodes that are started from now on.
    pub(crate) encrypt_bulk: bool,
    _dir: TempDir,
}

impl Region {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = RegionName::parse(name).unwrap();
        let identity = Identity::load_or_create(&dir.path().join("identity"), &name).unwrap();
        Self { name, identity, encrypt_bulk: true, _dir: dir }
    }

    /// A node with a cookie of its own.
    pub(crate) fn hello(&self, node: u64) -> Hello {
        let region = self.name.clone();
        Hello {
            region,
            node: Some(NodeId(node)),
            incarnation: 1,
            cookie: 1000 + node,
            address: format!("node-{node}:1"),
        }
    }

    pub(crate) fn start(&self, node: u64) -> Node {
        self.start_with(self.hello(node), "127.0.0.1:0".parse().unwrap(), limits(), Arc::new(Echo))
    }

    pub(crate) fn start_with(
        &self,
        hello: Hello,
        bind: SocketAddr,
        limits: PeerLimits,
        answerer: Arc<dyn Answerer>,
    ) -> Node {
        let (tx, events) = mpsc::channel(100_000);
        let (region, identity, encrypt_bulk) = (self.name.clone(), self.identity.clone(), self.encrypt_bulk);
        let config = PeerConfig { bind, region, identity, encrypt_bulk, limits, hello };
        let endpoint = PeerEndpoint::open(config, answerer, move |event| drop(tx.try_send(event))).unwrap();
        Node { endpoint, events }
    }

    /// Nodes 1 and 2, each with a way to the other.
    pub(crate) async fn pair(&self) -> (Node, Node) {
        let (mut a, mut b) = (self.start(1), self.start(2));
        a.dial(&[(2, b.address())]);
        b.dial(&[(1, a.address())]);
        a.until_up(2).await;
        b.until_up(1).await;
        (a, b)
    }
}

pub(crate) fn limits() -> PeerLimits {
    // A busy machine may be silent for a while; tests of silence set their own.
    PeerLimits { silence_max: Duration::from_secs(10), ..PeerLimits::standard() }
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Answers with the question; `fail…` fails, `who` says who asks.
pub(crate) struct Echo;

impl Answerer for Echo {
    fn answer(&self, from: Option<NodeId>, bytes: Bytes) -> Answer<'_> {
        Box::pin(async move {
            match &bytes[..] {
                b"fail" => Err("this node does not want to".to_owned()),
                b"who" => Ok(format!("{from:?}").into()),
                _ => Ok(bytes),
            }
        })
    }
}

pub(crate) struct Node {
    pub(crate) endpoint: PeerEndpoint,
    pub(crate) events: mpsc::Receiver<PeerEvent>,
}

impl Node {
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    pub(crate) fn dial(&self, nodes: &[(u64, SocketAddr)]) {
        let nodes: BTreeMap<_, _> = nodes.iter().map(|(node, at)| (NodeId(*node), at.to_string())).collect();
        self.endpoint.set_nodes(nodes);
    }

    pub(crate) async fn next(&mut self) -> PeerEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("an endpoint")
    }

    /// Skips events until one of this kind.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(PeerEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn until_up(&mut self, wanted: u64) -> Hello {
        self.until(|event| match event {
            PeerEvent::Up { node, hello } if node == NodeId(wanted) => Some(hello),
            _ => None,
        })
        .await
    }

    /// The next `Down` of a node.
    pub(crate) async fn until_down(&mut self, wanted: u64) -> (String, bool) {
        self.until(|event| match event {
            PeerEvent::Down { node, reason, refused } if node == NodeId(wanted) => Some((reason, refused)),
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_frame(&mut self) -> (NodeId, FrameKind, Bytes) {
        self.until(|event| match event {
            PeerEvent::Frame { from, kind, bytes, permit: _ } => Some((from, kind, bytes)),
            _ => None,
        })
        .await
    }
}

/// Forwards connections to one address until stalled; then bytes stay where they are and connections stay open.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    /// What has come by, of all connections and both directions.
    pub(crate) seen: Arc<Mutex<Vec<u8>>>,
    stalled: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stalled, stalls) = watch::channel(false);
        let seen = Arc::default();
        let (mut task, tap) = (JoinSet::new(), Arc::clone(&seen));
        task.spawn(async move {
            let mut flows = JoinSet::new();
            while let Ok((front, _)) = listener.accept().await {
                let Ok(back) = TcpStream::connect(target).await else { continue };
                let (front_read, front_write) = front.into_split();
                let (back_read, back_write) = back.into_split();
                flows.spawn(flow(front_read, back_write, stalls.clone(), Arc::clone(&tap)));
                flows.spawn(flow(back_read, front_write, stalls.clone(), Arc::clone(&tap)));
            }
        });
        Self { address, seen, stalled, _task: task }
    }

    pub(crate) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }
}

async fn flow(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut stalls: watch::Receiver<bool>,
    seen: Arc<Mutex<Vec<u8>>>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if stalls.wait_for(|stalled| !stalled).await.is_err() || read == 0 {
            return;
        }
        seen.lock().unwrap().extend_from_slice(&buffer[..read]);
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
