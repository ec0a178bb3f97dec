//! The outbound bytes of one connection: filled by the node thread, emptied by the connection's writer.
//!
//! **What**  A connection may lend its socket to the outlet while it brings and takes little. Then the node's thread writes
//! small answers itself: waking a writer for a receipt would take longer than writing it. Whatever is large, or finds the
//! socket full, waits for the writer.
//!
//! **States**  own (the writer writes) ─lend, when nothing waits─▶ lent (the node writes) ─take back─▶ own.
//!
//! **Invariants**
//! - I1  what waits is bounded by [`WAITING_BYTES_MAX`]: a peer that lets more pile up is cut (security.md C6).
//! - I2  bytes leave in the order in which they were pushed: the socket is lent only while the writer holds none.

use crate::entrance::Guest;
use broker::io::Outgoing;
use bytes::{Buf, Bytes, BytesMut};
use rustix::net::SendFlags;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// Twice the window of dispatch, for answers on top of messages.
pub(crate) const WAITING_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What the node's thread writes itself: receipts, answers, a few small messages.
const DIRECT_BYTES_MAX: u64 = 16 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Outgoing>,
    bytes: u64,
    /// The writer has taken bytes and not come back since.
    writing: bool,
    /// Lent.
    socket: Option<Arc<TcpStream>>,
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

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends bytes; writes them at once if it may, else tells whoever waits; cuts the peer beyond I1. Answers how many
    /// bytes have left.
    pub(crate) fn push_all(&self, items: impl Iterator<Item = Outgoing>) -> u64 {
        let mut waiting = self.waiting();
        let was_empty = waiting.queue.is_empty();
        for item in items {
            waiting.bytes += item.len() as u64;
            waiting.queue.push_back(item);
        }
        let written = if was_empty { waiting.write_now() } else { 0 };
        if waiting.bytes > WAITING_BYTES_MAX {
            self.cut.store(true, Ordering::Release);
            self.ended.notify_one();
            self.resumed.notify_one();
        }
        let is_empty = waiting.queue.is_empty();
        drop(waiting);
        if !is_empty {
            self.filled.notify_one();
        }
        written
    }

    /// Everything that waits, for the writer, which has written what it took before.
    pub(crate) fn take(&self) -> VecDeque<Outgoing> {
        let mut waiting = self.waiting();
        assert!(waiting.socket.is_none(), "Outlet I2: the node writes to this socket");
        waiting.bytes = 0;
        let taken = std::mem::take(&mut waiting.queue);
        waiting.writing = !taken.is_empty();
        taken
    }

    /// Whether nothing is on its way out.
    pub(crate) fn is_at_rest(&self) -> bool {
        let waiting = self.waiting();
        waiting.queue.is_empty() && !waiting.writing
    }

    /// Lets the node's thread write to a socket; refused while bytes wait (I2).
    pub(crate) fn lend(&self, socket: &Arc<TcpStream>) -> bool {
        let mut waiting = self.waiting();
        let may = waiting.queue.is_empty() && !waiting.writing;
        waiting.socket = may.then(|| Arc::clone(socket));
        may
    }

    /// The node's thread writes no more.
    pub(crate) fn take_back(&self) {
        self.waiting().socket = None;
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

impl Waiting {
    /// Writes what waits as far as a lent socket takes it. Errors are left to the writer, who meets them too.
    fn write_now(&mut self) -> u64 {
        if self.bytes == 0 || self.bytes > DIRECT_BYTES_MAX {
            return 0;
        }
        let Some(socket) = &self.socket else { return 0 };
        let mut rest = gathered(std::mem::take(&mut self.queue));
        let written = rustix::net::send(&**socket, &rest, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        rest.advance(written);
        self.bytes = rest.len() as u64;
        if !rest.is_empty() {
            self.queue.push_back(Outgoing::One(rest));
        }
        written as u64
    }
}

/// A few small pieces as one; a single one as it is.
fn gathered(mut pieces: VecDeque<Outgoing>) -> Bytes {
    let mut all = BytesMut::new();
    match pieces.pop_front() {
        Some(Outgoing::One(only)) if pieces.is_empty() => return only,
        first => {
            for item in first.into_iter().chain(pieces) {
                match item {
                    Outgoing::One(piece) => all.extend_from_slice(&piece),
                    Outgoing::Two(head, body) => {
                        all.extend_from_slice(&head);
                        all.extend_from_slice(&body);
                    }
                }
            }
        }
    }
    all.freeze()
}

#[cfg(test)]
#[path = "outlet_tests.rs"]
mod tests;
