//! What all tasks of an endpoint share, and the place of each peer that `send` looks up.

use crate::outbound::Outbound;
use crate::peers::PeerTable;
use crate::{Peer, PeerStatus, QuicConfig, QuicEvent, SendRefusal, SendRefused, Sent};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use wire::region::RegionFrame;

/// Where events go.
pub(crate) type Events = Arc<dyn Fn(QuicEvent) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) config: QuicConfig,
    pub(crate) endpoint: quinn::Endpoint,
    pub(crate) transport: Arc<quinn::TransportConfig>,
    pub(crate) peers: watch::Receiver<Arc<PeerTable>>,
    pub(crate) events: Events,
}

impl Shared {
    pub(crate) fn emit(&self, event: QuicEvent) {
        (self.events)(event);
    }
}

/// The connection in use.
#[derive(Clone, Debug)]
pub(crate) struct Current {
    pub(crate) connection: quinn::Connection,
    pub(crate) outbound: Arc<Outbound>,
}

/// What others see of one peer. The locks guard single assignments and are never held across an await.
#[derive(Debug)]
pub(crate) struct PeerSlot {
    peer: Peer,
    current: Mutex<Option<Current>>,
    /// Why there is no connection.
    reason: Mutex<Option<String>>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl PeerSlot {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            peer,
            current: Mutex::new(None),
            reason: Mutex::new(None),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
        }
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(crate) fn send(&self, group: u64, frame: RegionFrame) -> Result<Sent, SendRefused> {
        let outbound = lock(&self.current).as_ref().map(|current| Arc::clone(&current.outbound));
        match outbound {
            Some(outbound) => outbound.send(group, frame),
            None => Err(SendRefused { refusal: SendRefusal::Down, frame: Box::new(frame) }),
        }
    }

    pub(crate) fn set_current(&self, current: Option<Current>) {
        *lock(&self.current) = current;
    }

    /// Notes why there is no connection. Answers whether that is news.
    pub(crate) fn set_reason(&self, reason: Option<String>) -> bool {
        let mut held = lock(&self.reason);
        let news = *held != reason;
        *held = reason;
        news
    }

    pub(crate) fn count_sent(&self, bytes: u64) {
        self.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn count_received(&self, bytes: u64) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let current = lock(&self.current).clone();
        let micros = |c: &Current| u64::try_from(c.connection.rtt().as_micros()).unwrap_or(u64::MAX);
        PeerStatus {
            region: self.peer.region.clone(),
            number: self.peer.number,
            connected: current.is_some(),
            reason: lock(&self.reason).clone(),
            remote_address: current.as_ref().map(|c| c.connection.remote_address()),
            rtt_us: current.as_ref().map_or(0, micros),
            queued_bytes: current.as_ref().map_or(0, |c| c.outbound.queued_bytes()),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            lost_packets: current.as_ref().map_or(0, |c| c.connection.stats().path.lost_packets),
        }
    }
}

/// A value behind a lock stays whole even if a holder panicked: assignments do not.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
