//! The owner's thread, where connections that bring little are read: a frame then wakes that thread and no other.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::runtime::Handle;

/// See [`crate::PeerEndpoint::set_near`].
pub struct Near {
    pub(crate) thread: Handle,
    is_busy: Box<dyn Fn() -> bool + Send + Sync>,
    is_gone: Arc<AtomicBool>,
}

/// Dropped with the runtime that it lives in.
struct Resident(Arc<AtomicBool>);

impl Drop for Resident {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Near {
    /// The runtime of the owner's thread, and whether that has no time to spare.
    pub fn new(thread: Handle, is_busy: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let is_gone = Arc::new(AtomicBool::new(false));
        let resident = Resident(Arc::clone(&is_gone));
        thread.spawn(async move {
            let _resident = resident;
            std::future::pending::<()>().await;
        });
        Self { thread, is_busy: Box::new(is_busy), is_gone }
    }

    pub(crate) fn has_time(&self) -> bool {
        !self.is_gone.load(Ordering::Relaxed) && !(self.is_busy)()
    }
}

impl fmt::Debug for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").field("has_time", &self.has_time()).finish_non_exhaustive()
    }
}
