//! Watching prefixes.

use meta_api::{MetaEvent, Versioned};
use tokio::sync::mpsc;

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
    #[error("the state was replaced by a snapshot of another voter")]
    StateReplaced,
    #[error("the metadata store stopped")]
    Stopped,
}

/// Delivers the events behind [`Watch::items`].
#[derive(Debug)]
pub struct WatchReceiver {
    queue: mpsc::Receiver<Vec<MetaEvent>>,
}

impl WatchReceiver {
    /// The next events, revisions in order and never split over two calls. Cancel-safe.
    ///
    /// # Errors
    /// [`WatchClosed`] behind the last event that could be delivered without a gap.
    pub async fn next(&mut self) -> Result<Vec<MetaEvent>, WatchClosed> {
        self.queue.recv().await.ok_or(WatchClosed::Stopped)
    }
}
