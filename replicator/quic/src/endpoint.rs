//! The handle of the owner: peers in, frames in, events out.

use crate::peers::PeerTable;
use crate::shared::{PeerSlot, Shared};
use crate::supervisor::Supervisor;
use crate::{Peer, QuicConfig, QuicEvent, tls, transport};
use base::{RegionId, RegionName};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use wire::region::RegionFrame;

/// How long `close` waits for the peers to know.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot listen on {bind} (UDP)")]
    Bind {
        bind: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("region identity: {rule}")]
    Identity { rule: String },
    #[error("quic limits: {rule}")]
    Limits { rule: &'static str },
}

/// The frame was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Room,
    /// Send no more until [`QuicEvent::Writable`].
    Full,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefusal {
    /// No connection to that region.
    Down,
    /// The sender went on long after [`Sent::Full`].
    Overflow,
}

/// A frame that was not taken comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct SendRefused {
    pub refusal: SendRefusal,
    pub frame: Box<RegionFrame>,
}

/// One peer, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub region: RegionName,
    pub number: RegionId,
    pub connected: bool,
    /// Why not, when not.
    pub reason: Option<String>,
    pub remote_address: Option<SocketAddr>,
    /// Of the connection in use.
    pub rtt_us: u64,
    pub queued_bytes: u64,
    /// Since the peer was configured.
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// Of the connection in use.
    pub lost_packets: u64,
}

/// The places of all peers, swapped whole when peers change.
pub(crate) type Slots = Arc<RwLock<Arc<BTreeMap<RegionName, Arc<PeerSlot>>>>>;

/// The region's end of all connections to other regions. Dropping it ends them without waiting; see `close`.
#[derive(Debug)]
pub struct QuicEndpoint {
    local: SocketAddr,
    peers: watch::Sender<Arc<PeerTable>>,
    slots: Slots,
    stop: oneshot::Sender<()>,
    /// The supervisor, which owns every other task.
    task: JoinSet<()>,
}

impl QuicEndpoint {
    /// Listens and starts to serve; call within a tokio runtime. `events` is called from tasks of that runtime and must
    /// not block.
    ///
    /// # Errors
    /// [`OpenError`] when the address is taken, the identity unusable or a limit out of range.
    pub fn open(config: QuicConfig, events: impl Fn(QuicEvent) + Send + Sync + 'static) -> Result<Self, OpenError> {
        config.limits.check()?;
        let (peers, peers_rx) = watch::channel(Arc::new(PeerTable::default()));
        let transport = transport::transport_config(&config.limits);
        let crypto = tls::server_config(&config.identity, peers_rx.clone())?;
        let server = transport::server_config(crypto, &config.limits, Arc::clone(&transport));
        let endpoint = transport::open_endpoint(&config, server)?;
        let local = endpoint.local_addr().map_err(|source| OpenError::Bind { bind: config.bind, source })?;
        let slots = Slots::default();
        let shared = Arc::new(Shared { config, endpoint, transport, peers: peers_rx, events: Arc::new(events) });
        let (stop, stop_rx) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(Supervisor::new(shared, Arc::clone(&slots)).run(stop_rx));
        Ok(Self { local, peers, slots, stop, task })
    }

    /// Replaces the peers: new ones are dialled, missing ones are disconnected, changed ones are connected anew.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        self.peers.send_replace(Arc::new(PeerTable::new(peers)));
    }

    /// Queues a frame for a region; frames of one `group` arrive in order. `Opened`, `Refused`, `Ack`, `Rewind` and
    /// `Policy` keep their order among themselves instead and overtake bulk data. Never blocks.
    ///
    /// # Errors
    /// [`SendRefused`] gives the frame back.
    pub fn send(&self, region: &RegionName, group: u64, frame: RegionFrame) -> Result<Sent, SendRefused> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        match slots.get(region) {
            Some(slot) => slot.send(group, frame),
            None => Err(SendRefused { refusal: SendRefusal::Down, frame: Box::new(frame) }),
        }
    }

    /// The address in use, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// All peers, in order of their names.
    pub fn status(&self) -> Vec<PeerStatus> {
        let slots = Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner));
        slots.values().map(|slot| slot.status()).collect()
    }

    /// Closes all connections, telling the peers, and waits briefly until they know.
    pub async fn close(mut self) {
        let _ = self.stop.send(());
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.task.join_next()).await;
    }
}
