//! What is kept of one other node, whoever dialled: its bounds, its counters, the connection it dialled.
//!
//! **Invariants**
//! - I2  frames of one node and lane come from one connection at a time: a newer one waits until the older one has stopped.

use crate::config::PeerLimits;
use crate::event::FramePermit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{OwnedMutexGuard, Semaphore, watch};
use tokio::time::Instant;

/// `Heard` is told at most this often per node.
const HEARD_INTERVAL_MS: u64 = 50;
/// What a frame that the owner holds costs at least, in bytes: bounds how many small ones there can be.
const INBOUND_FRAME_BYTES_MIN: usize = 1024;

/// Which of two arrivals of one node is newer: incarnation, then the number of the session in that process.
pub(crate) type Order = (u64, u64);

/// The connections that a node dialled: control, and later bulk of the same session.
#[derive(Debug)]
struct Arrived {
    order: Order,
    cookie: u64,
    /// Where it says that it listens.
    address: String,
    /// Dropped when another one replaces it.
    stop: watch::Sender<()>,
}

/// Handed-out bytes of one node and lane.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    bytes_max: u32,
    /// I2: whoever reads the lane holds it.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Budget {
    fn new(bytes_max: u32) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes_max as usize)), bytes_max, turn: Arc::default() }
    }

    fn cost(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.max(INBOUND_FRAME_BYTES_MIN)).unwrap_or(u32::MAX).min(self.bytes_max)
    }

    /// Waits until the owner has let go of enough.
    pub(crate) async fn wait(&self, bytes: usize) -> Option<FramePermit> {
        Arc::clone(&self.bytes).acquire_many_owned(self.cost(bytes)).await.ok().map(FramePermit)
    }

    /// The same, if it can be had now.
    pub(crate) fn take(&self, bytes: usize) -> Option<FramePermit> {
        Arc::clone(&self.bytes).try_acquire_many_owned(self.cost(bytes)).ok().map(FramePermit)
    }

    /// Waits until the connection before has stopped: I2.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }
}

/// One other node.
#[derive(Debug)]
pub(crate) struct Face {
    started: Instant,
    /// Milliseconds since `started` when `Heard` was told last, plus one; 0 before the first time.
    heard_ms: AtomicU64,
    pub(crate) sent_bytes: Arc<AtomicU64>,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) bulk: Budget,
    pub(crate) control: Budget,
    arrived: Mutex<Option<Arrived>>,
}

impl Face {
    pub(crate) fn new(limits: &PeerLimits) -> Self {
        Self {
            started: Instant::now(),
            heard_ms: AtomicU64::new(0),
            sent_bytes: Arc::default(),
            received_bytes: AtomicU64::new(0),
            bulk: Budget::new(limits.inbound_bytes_max),
            control: Budget::new(limits.control_inbound_bytes_max),
            arrived: Mutex::new(None),
        }
    }

    /// Whether it is time to tell that the node was heard.
    pub(crate) fn is_news(&self) -> bool {
        self.is_news_at(1 + u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1))
    }

    fn is_news_at(&self, now_ms: u64) -> bool {
        let told_ms = self.heard_ms.load(Ordering::Relaxed);
        let due = told_ms == 0 || now_ms.saturating_sub(told_ms) >= HEARD_INTERVAL_MS;
        // Of two tasks that see it due, one tells.
        due && self.heard_ms.compare_exchange(told_ms, now_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// A control connection comes: it replaces an older one. The receiver fails when it is replaced itself; `None` when it
    /// is the older one.
    pub(crate) fn arrive(&self, order: Order, cookie: u64, address: &str) -> Option<watch::Receiver<()>> {
        let mut arrived = self.arrived();
        if arrived.as_ref().is_some_and(|before| before.order >= order) {
            return None;
        }
        let (stop, stopped) = watch::channel(());
        *arrived = Some(Arrived { order, cookie, address: address.to_owned(), stop });
        Some(stopped)
    }

    /// Where a node listens that has dialled this one and is still there.
    pub(crate) fn caller(&self) -> Option<String> {
        self.arrived().as_ref().map(|arrived| arrived.address.clone())
    }

    /// The bulk connection of the session that is there.
    pub(crate) fn join(&self, order: Order) -> Option<watch::Receiver<()>> {
        self.arrived().as_ref().filter(|arrived| arrived.order == order).map(|arrived| arrived.stop.subscribe())
    }

    /// The control connection has ended, and with it its bulk connection.
    pub(crate) fn leave(&self, order: Order) {
        let mut arrived = self.arrived();
        if arrived.as_ref().is_some_and(|arrived| arrived.order == order) {
            *arrived = None;
        }
    }

    /// Ends the connections that came with another cookie.
    pub(crate) fn expel(&self, cookie: u64) {
        let mut arrived = self.arrived();
        if arrived.as_ref().is_some_and(|arrived| arrived.cookie != cookie) {
            *arrived = None;
        }
    }

    fn arrived(&self) -> MutexGuard<'_, Option<Arrived>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::Face;
    use crate::config::PeerLimits;

    #[test]
    fn a_newer_arrival_replaces_an_older_one_and_never_the_other_way() {
        let face = Face::new(&PeerLimits::standard());
        let first = face.arrive((1, 5), 7, "a:1").unwrap();
        assert!(face.arrive((1, 4), 7, "a:1").is_none(), "an older session");
        assert!(face.join((1, 4)).is_none());
        assert!(face.join((1, 5)).is_some());
        let second = face.arrive((2, 1), 7, "a:1").unwrap();
        assert!(first.has_changed().is_err(), "I2: the older one is told to stop");
        face.leave((1, 5));
        assert!(second.has_changed().is_ok(), "the older one's end is not the newer one's");
        face.expel(7);
        assert!(second.has_changed().is_ok());
        assert_eq!(face.caller().as_deref(), Some("a:1"));
        face.expel(8);
        assert!(second.has_changed().is_err());
        assert_eq!(face.caller(), None);
    }

    #[test]
    fn being_heard_is_told_at_most_every_fifty_milliseconds() {
        let face = Face::new(&PeerLimits::standard());
        let told: Vec<u64> = [1, 2, 50, 51, 100, 101].into_iter().filter(|at| face.is_news_at(*at)).collect();
        assert_eq!(told, [1, 51, 101]);
    }
}
