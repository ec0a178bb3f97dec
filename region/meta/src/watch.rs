//! Watching prefixes.
//!
//! **Invariants**
//! - I1  a watcher gets every event of its prefixes, revisions in order, or is closed with a reason and gets no more.
//! - I2  what waits for a watcher is bounded by [`QUEUE_MAX`] deliveries and [`QUEUE_BYTES_MAX`] bytes.
//!
//! A snapshot of another node that replaces the state reaches a watcher as one delivery of what differs (`applied`):
//! the last put of each changed key, and deletions at the snapshot's revision.
//!
//! **Tests**  `watch/tests.rs`, and `tests/store.rs` through the whole store.

use meta_api::{MetaEvent, Versioned};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Deliveries that may wait for one watcher; one holds what one raft entry changed.
pub(crate) const QUEUE_MAX: usize = 4096;
/// Bytes of keys and values that may wait for one watcher. One delivery is taken whatever its size.
pub(crate) const QUEUE_BYTES_MAX: usize = 32 << 20;
/// Watchers at the same time: a handful per machine of a node.
pub(crate) const WATCHERS_MAX: usize = 1024;

/// A watch: what stood under the prefixes when it began, and everything after.
#[derive(Debug)]
pub struct Watch {
    /// The keys under the prefixes at `revision`, in order.
    pub items: Vec<(String, Versioned)>,
    pub revision: u64,
    pub events: WatchReceiver,
}

/// Why no more events come. Whoever needs the state watches anew and compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchClosed {
    #[error("the watcher fell behind: its queue is full, so it is closed rather than given gaps")]
    FellBehind,
    #[error("there are {WATCHERS_MAX} watchers already, more are refused")]
    TooMany,
    #[error("this node's metadata log has no room for what the leader has: free some space on its disk")]
    Behind,
    #[error("the metadata store stopped, or cannot prove that it is current")]
    Stopped,
}

/// Delivers the events behind [`Watch::items`].
#[derive(Debug)]
pub struct WatchReceiver {
    queue: mpsc::Receiver<Vec<MetaEvent>>,
    gauge: Arc<QueueGauge>,
}

/// What both ends of a watch's queue know.
#[derive(Debug, Default)]
struct QueueGauge {
    bytes: AtomicUsize,
    closed: OnceLock<WatchClosed>,
}

#[derive(Debug)]
struct Watcher {
    prefixes: Vec<String>,
    queue: mpsc::Sender<Vec<MetaEvent>>,
    gauge: Arc<QueueGauge>,
}

/// All watchers of one store.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    list: Vec<Watcher>,
}

impl WatchReceiver {
    /// The next events, revisions in order and never split over two calls. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchClosed`] behind the last event that could be delivered without a gap.
    pub async fn next(&mut self) -> Result<Vec<MetaEvent>, WatchClosed> {
        let Some(events) = self.queue.recv().await else {
            return Err(self.gauge.closed.get().copied().unwrap_or(WatchClosed::Stopped));
        };
        self.gauge.bytes.fetch_sub(bytes_of(&events), Ordering::Relaxed);
        Ok(events)
    }
}

impl Watchers {
    /// Adds a watcher of everything that happens from now on.
    ///
    /// # Errors
    /// [`WatchClosed::TooMany`].
    pub(crate) fn add(&mut self, prefixes: &[&str]) -> Result<WatchReceiver, WatchClosed> {
        self.list.retain(|watcher| !watcher.queue.is_closed());
        if self.list.len() >= WATCHERS_MAX {
            return Err(WatchClosed::TooMany);
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let gauge = Arc::new(QueueGauge::default());
        let prefixes = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        self.list.push(Watcher { prefixes, queue: sender, gauge: Arc::clone(&gauge) });
        Ok(WatchReceiver { queue, gauge })
    }

    /// Hands the events to everybody whom they concern, and closes who cannot take them.
    pub(crate) fn deliver(&mut self, events: &[MetaEvent]) {
        if !events.is_empty() {
            self.list.retain(|watcher| watcher.take(events));
        }
    }

    /// Closes everybody.
    pub(crate) fn close_all(&mut self, reason: WatchClosed) {
        for watcher in self.list.drain(..) {
            let _ = watcher.gauge.closed.set(reason);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }
}

impl Watcher {
    /// Whether the watcher goes on.
    fn take(&self, events: &[MetaEvent]) -> bool {
        let concerns = |event: &&MetaEvent| self.prefixes.iter().any(|prefix| event.key.starts_with(prefix.as_str()));
        let events: Vec<MetaEvent> = events.iter().filter(concerns).cloned().collect();
        if events.is_empty() {
            return true;
        }
        assert!(events.is_sorted_by_key(|event| event.revision), "Watch I1: revisions reach a watcher in order");
        let bytes = bytes_of(&events);
        let waiting = self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = waiting == 0 || waiting + bytes <= QUEUE_BYTES_MAX;
        // Watch I1, I2: full means closed; the receiver reads what it has and then the reason.
        let taken = fits && self.queue.try_send(events).is_ok();
        if !taken {
            let _ = self.gauge.closed.set(WatchClosed::FellBehind);
        }
        taken
    }
}

fn bytes_of(events: &[MetaEvent]) -> usize {
    events.iter().map(|event| event.key.len() + event.value.as_ref().map_or(0, |value| value.len())).sum()
}

#[cfg(test)]
mod tests;
