//! The outbound bytes of one connection: filled by the node thread, emptied by the connection's writer.
//!
//! **Invariants**
//! - I1  what waits is bounded by [`WAITING_BYTES_MAX`]: a peer that lets more pile up is cut (security.md C6).

use crate::entrance::Guest;
use broker::io::Outgoing;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;

/// Twice the window of dispatch, for answers on top of messages.
pub(crate) const WAITING_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Outgoing>,
    bytes: u64,
}

/// Shared by the node thread and the connection's tasks.
#[derive(Debug, Default)]
pub(crate) struct Outlet {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// Nothing more comes: write what waits, then close.
    closing: AtomicBool,
    /// Close at once.
    cut: AtomicBool,
    /// Closing or cut, whatever the connection's tasks are doing at the time.
    ended: Notify,
    paused: AtomicBool,
    resumed: Notify,
    authenticated: AtomicBool,
    /// Until the peer is known.
    guest: Mutex<Option<Guest>>,
}

impl Outlet {
    pub(crate) fn new(guest: Guest) -> Arc<Self> {
        Arc::new(Self { guest: Mutex::new(Some(guest)), ..Self::default() })
    }

    /// Appends bytes and tells the writer; cuts the peer beyond I1.
    pub(crate) fn push_all(&self, items: impl Iterator<Item = Outgoing>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for item in items {
            waiting.bytes += item.len() as u64;
            waiting.queue.push_back(item);
        }
        if waiting.bytes > WAITING_BYTES_MAX {
            self.cut.store(true, Ordering::Release);
            self.ended.notify_one();
            self.resumed.notify_one();
        }
        drop(waiting);
        self.filled.notify_one();
    }

    /// Everything that waits; empties the queue.
    pub(crate) fn take(&self) -> VecDeque<Outgoing> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes = 0;
        std::mem::take(&mut waiting.queue)
    }

    pub(crate) async fn wait_filled(&self) {
        self.filled.notified().await;
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.ended.notify_one();
        self.filled.notify_one();
        self.resumed.notify_one();
    }

    /// Waits until the connection is closed or cut from this side; for one waiter.
    pub(crate) async fn wait_ended(&self) {
        self.ended.notified().await;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
    }

    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
        self.resumed.notify_one();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    pub(crate) async fn wait_resumed(&self) {
        self.resumed.notified().await;
    }

    pub(crate) fn set_authenticated(&self) {
        self.authenticated.store(true, Ordering::Release);
        drop(self.guest.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    pub(crate) fn is_authenticated(&self) -> bool {
        self.authenticated.load(Ordering::Acquire)
    }
}
