//! The handle of the owner: nodes in, frames and calls in, events out.

use crate::config::{Hello, OpenError, PeerConfig};
use crate::dial::{dial, opening};
use crate::event::{Answerer, CallError, Chunks, FrameKind, PeerEvent, PeerStatus, Sent};
use crate::frame::Head;
use crate::greeting::{self, Lane};
use crate::link::{Current, Link, Slot};
use crate::listen;
use crate::near::Near;
use crate::reader::ReadEnd;
use crate::shared::Shared;
use base::NodeId;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Connections that the system keeps until they are accepted.
const BACKLOG: u32 = 1024;

/// One node's place in the endpoint.
struct Known {
    slot: Arc<Slot>,
    give_up: watch::Sender<bool>,
}

/// This node's end of all connections to the others. Dropping it ends them at once, and the others hear that it is gone.
pub struct PeerEndpoint {
    local: SocketAddr,
    shared: Arc<Shared>,
    nodes: RwLock<BTreeMap<NodeId, Known>>,
    /// The listener and one task per node.
    tasks: Mutex<JoinSet<()>>,
    runtime: Handle,
}

impl std::fmt::Debug for PeerEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerEndpoint").field("local", &self.local).finish_non_exhaustive()
    }
}

impl PeerEndpoint {
    /// Listens and starts to serve; call within a tokio runtime. `events` is called from tasks of that runtime and must not
    /// block.
    ///
    /// # Errors
    /// [`OpenError`] when the address is taken, the identity unusable or a limit out of range.
    pub fn open(
        config: PeerConfig,
        answerer: Arc<dyn Answerer>,
        events: impl Fn(PeerEvent) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let runtime = Handle::try_current().map_err(|_| OpenError::NoRuntime)?;
        let bind = config.bind;
        let shared = Arc::new(Shared::new(config, answerer, Box::new(events))?);
        let listening = listen_on(bind).and_then(|listener| Ok((listener.local_addr()?, listener)));
        let (local, listener) = listening.map_err(|source| OpenError::Bind { bind, source })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(listen::run(Arc::clone(&shared), listener));
        Ok(Self { local, shared, nodes: RwLock::default(), tasks: Mutex::new(tasks), runtime })
    }

    /// The address in use, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// From now on connections that bring few and small frames are read on the owner's thread, and `events` is called there,
    /// while it is not busy. Once and for good.
    pub fn set_near(&self, near: Near) {
        // A second one is not needed: there is one owner.
        let _ = self.shared.near.set(near);
    }

    /// Replaces what this node says of itself; its connections are opened anew.
    pub fn set_hello(&self, hello: Hello) {
        self.shared.hello.send_if_modified(|held| {
            let news = **held != hello;
            *held = Arc::new(hello);
            news
        });
    }

    /// Only a node that shows this cookie may call itself `node`; whoever does so with another one is disconnected. A node
    /// that nothing is expected of is believed.
    pub fn expect(&self, node: NodeId, cookie: u64) {
        self.shared.expect(node, cookie);
    }

    /// The nodes that are connected because they have dialled this one, and where they say that they listen (`host:port`):
    /// known also to a node that knows nobody.
    pub fn callers(&self) -> BTreeMap<NodeId, String> {
        self.shared.callers()
    }

    /// Replaces the nodes (`host:port` of each): new ones are dialled, missing ones are disconnected, those with another
    /// address are connected anew at once. This node itself is passed over. At most `nodes_max` are taken.
    pub fn set_nodes(&self, nodes: BTreeMap<NodeId, String>) {
        let own = self.shared.hello().node;
        let mut known = self.nodes.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|node, place| {
            let stays = nodes.contains_key(node) && own != Some(*node);
            if !stays {
                place.give_up.send_replace(true);
            }
            stays
        });
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        for (node, address) in nodes.into_iter().filter(|(node, _)| own != Some(*node)) {
            if let Some(place) = known.get(&node) {
                place.slot.address.send_if_modified(|held| {
                    let news = *held != address;
                    *held = address;
                    news
                });
                continue;
            }
            let Some(face) = self.shared.face(node) else {
                tracing::error!(node = node.0, max = self.shared.limits.nodes_max, "peer: too many nodes");
                continue;
            };
            let (sender, receiver) = watch::channel(address);
            let slot = Arc::new(Slot::new(node, face, sender));
            let (give_up, given_up) = watch::channel(false);
            let link = Link::new(Arc::clone(&self.shared), Arc::clone(&slot), receiver);
            tasks.spawn_on(link.run(given_up), &self.runtime);
            known.insert(node, Known { slot, give_up });
        }
    }

    /// Queues a frame and has it written. Frames of one kind arrive in order, or not at all when the connection ends. Never
    /// blocks.
    pub fn send(&self, to: NodeId, kind: FrameKind, bytes: impl Into<Chunks>) -> Sent {
        let sent = self.queue(to, kind, bytes);
        self.flush(to, false);
        sent
    }

    /// The same for the first of several frames: they need not be written before [`Self::flush`].
    pub fn queue(&self, to: NodeId, kind: FrameKind, bytes: impl Into<Chunks>) -> Sent {
        self.current(to).map_or(Sent::Down, |current| current.queue(kind, bytes.into()))
    }

    /// Has the frames for a node written: by the caller, `here` and now, as far as they are few and the socket takes them at
    /// once; else by a task of the endpoint. Never blocks.
    pub fn flush(&self, to: NodeId, here: bool) {
        if let Some(current) = self.current(to) {
            current.flush(here);
        }
    }

    /// Asks a node and waits for its answer; bulk frames do not delay it.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, to: NodeId, bytes: Bytes, timeout: Duration) -> Result<Bytes, CallError> {
        match self.current(to) {
            Some(current) => current.call(bytes, timeout).await,
            None => Err(CallError::Down),
        }
    }

    /// Asks whoever listens at `address` (`host:port`), over a connection of its own: for founding and joining.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call_address(
        &self,
        address: &str,
        bytes: Bytes,
        timeout: Duration,
    ) -> Result<(Hello, Bytes), CallError> {
        let (size, max) = (bytes.len(), self.shared.limits.frame_bytes_max);
        if size > max as usize {
            return Err(CallError::TooLarge { size, max });
        }
        let Ok(_place) = self.shared.asking.try_acquire() else { return Err(CallError::Full) };
        let asked = Box::pin(self.ask(address, bytes));
        tokio::time::timeout(timeout, asked).await.unwrap_or(Err(CallError::Timeout(timeout)))
    }

    async fn ask(&self, address: &str, bytes: Bytes) -> Result<(Hello, Bytes), CallError> {
        let opening = opening(&self.shared, Lane::Ask, self.shared.next_session(), None);
        let dialled = dial(&self.shared, address, &opening).await;
        let mut dialled = dialled.map_err(|error| CallError::Unreachable {
            reason: error.reason,
            refused: error.refused,
            foreign: error.foreign,
        })?;
        // What went wrong with writing shows when the answer is read.
        let _ = greeting::say(dialled.reader.socket(), Head::Call(0), bytes).await;
        let answer = dialled.reader.next().await;
        dialled.reader.socket().say_goodbye();
        match answer {
            Ok((Head::Answer(_), answer)) => Ok((dialled.hello, answer)),
            Ok((Head::Failed(_), reason)) => Err(CallError::Failed(String::from_utf8_lossy(&reason).into_owned())),
            Ok((Head::Refused, body)) => {
                Err(CallError::Unreachable { reason: greeting::refusal(&body), refused: false, foreign: false })
            }
            Ok(_) | Err(ReadEnd::Closed | ReadEnd::Socket(_)) => Err(CallError::Lost),
            Err(ReadEnd::Garbage(reason)) => Err(CallError::Unreachable { reason, refused: false, foreign: false }),
        }
    }

    /// All nodes, in order of their numbers.
    pub fn status(&self) -> Vec<PeerStatus> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.values().map(|known| known.slot.status()).collect()
    }

    fn current(&self, node: NodeId) -> Option<Arc<Current>> {
        let nodes = self.nodes.read().unwrap_or_else(PoisonError::into_inner);
        nodes.get(&node).and_then(|known| known.slot.current())
    }
}

fn listen_on(bind: SocketAddr) -> io::Result<TcpListener> {
    let socket = if bind.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A node that starts again takes its port back at once.
    socket.set_reuseaddr(true)?;
    socket.bind(bind)?;
    socket.listen(BACKLOG)
}
