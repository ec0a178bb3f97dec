//! Frames waiting to be written to one connection, bounded in bytes.
//!
//! **Invariants**
//! - I1  queued bytes ≤ `bytes_max` + one frame; what is being written still counts.

use crate::event::{Chunks, Sent};
use crate::frame::{HEAD_BYTES_MAX, Head};
use crate::socket::TlsSocket;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a frame costs beside its bytes.
const FRAME_OVERHEAD_BYTES: u64 = 64;
/// Frames written together, in bytes.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// Pieces up to this size are copied together before they are encrypted; larger ones are encrypted where they lie.
const GATHER_BYTES_MAX: usize = 1024;

/// The queue of one connection: many push, one writes.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: u64,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Head, Chunks)>,
    bytes: u64,
    closed: bool,
}

/// Frames that are about to be written.
struct Batch {
    frames: Vec<(Head, Chunks)>,
    cost: u64,
}

fn cost(body: &Chunks) -> u64 {
    body.len() as u64 + FRAME_OVERHEAD_BYTES
}

impl Outbox {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self { queue: Mutex::default(), bytes_max, filled: Notify::new(), emptied: Notify::new() }
    }

    /// Queues a frame. Never blocks.
    pub(crate) fn push(&self, head: Head, body: Chunks) -> Sent {
        let cost = cost(&body);
        let mut queue = self.lock();
        if queue.closed {
            return Sent::Down;
        }
        if queue.bytes >= self.bytes_max {
            return Sent::Full; // I1
        }
        queue.bytes += cost;
        queue.frames.push_back((head, body));
        let first = queue.frames.len() == 1;
        drop(queue);
        if first {
            self.filled.notify_one();
        }
        Sent::Queued
    }

    /// Queues a frame as soon as there is room, or drops it when the connection ends first.
    pub(crate) async fn push_when_room(&self, head: Head, body: Chunks) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.push(head, body.clone()) != Sent::Full {
                return;
            }
            emptied.await;
        }
    }

    /// Nothing is taken any more; what waits is dropped.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.frames.clear();
        drop(queue);
        self.emptied.notify_waiters();
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Writes what is pushed until the socket fails. `sent_bytes` counts the bytes of bodies.
    pub(crate) async fn write_to(&self, socket: &TlsSocket, sent_bytes: &AtomicU64) -> io::Error {
        let mut pieces = VecDeque::new();
        let mut gathered = BytesMut::new();
        loop {
            let Some(Batch { frames, cost }) = self.take() else {
                self.filled.notified().await;
                continue;
            };
            let overhead = FRAME_OVERHEAD_BYTES * frames.len() as u64;
            gather(frames, &mut gathered, &mut pieces);
            if let Err(error) = socket.write(&mut pieces).await {
                return error;
            }
            sent_bytes.fetch_add(cost - overhead, Ordering::Relaxed);
            self.lock().bytes -= cost;
            self.emptied.notify_waiters();
            // A connection that takes everything at once must not keep its thread from the others.
            tokio::task::yield_now().await;
        }
    }

    fn take(&self) -> Option<Batch> {
        let mut queue = self.lock();
        let mut batch = Batch { frames: Vec::new(), cost: 0 };
        while batch.cost < BATCH_BYTES_MAX {
            let Some((head, body)) = queue.frames.pop_front() else { break };
            batch.cost += cost(&body);
            batch.frames.push((head, body));
        }
        (!batch.frames.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts frames one behind the other: heads and small pieces are copied together, large pieces stay as they are.
fn gather(frames: Vec<(Head, Chunks)>, gathered: &mut BytesMut, pieces: &mut VecDeque<Bytes>) {
    gathered.reserve(frames.len() * HEAD_BYTES_MAX);
    for (head, body) in frames {
        head.encode(body.len(), gathered);
        let mut add = |piece: Bytes| {
            if piece.len() <= GATHER_BYTES_MAX {
                gathered.extend_from_slice(&piece);
            } else {
                pieces.push_back(gathered.split().freeze());
                pieces.push_back(piece);
            }
        };
        match body {
            Chunks::One(piece) => add(piece),
            Chunks::Many(list) => list.into_iter().for_each(add),
        }
    }
    if !gathered.is_empty() {
        pieces.push_back(gathered.split().freeze());
    }
    pieces.retain(|piece| !piece.is_empty());
}

#[cfg(test)]
mod tests {
    use super::{FRAME_OVERHEAD_BYTES, Outbox, gather};
    use crate::event::{Chunks, FrameKind, Sent};
    use crate::frame::Head;
    use bytes::{Bytes, BytesMut};
    use std::collections::VecDeque;

    const HEAD: Head = Head::Data(FrameKind::BookieRequest);

    fn body(bytes: usize) -> Chunks {
        Bytes::from(vec![7; bytes]).into()
    }

    #[test]
    fn beyond_its_bound_a_queue_takes_nothing_until_something_is_written() {
        let outbox = Outbox::new(1000);
        assert_eq!(outbox.push(HEAD, body(900)), Sent::Queued);
        assert_eq!(outbox.push(HEAD, body(900)), Sent::Queued, "I1: one frame may exceed the bound");
        assert_eq!(outbox.push(HEAD, body(0)), Sent::Full);
        assert_eq!(outbox.queued_bytes(), 1800 + 2 * FRAME_OVERHEAD_BYTES);
        let batch = outbox.take().unwrap();
        assert_eq!((batch.frames.len(), batch.cost), (2, outbox.queued_bytes()), "I1: what is being written counts");
        assert_eq!(outbox.push(HEAD, body(0)), Sent::Full);
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_holds_nothing() {
        let outbox = Outbox::new(1000);
        outbox.push(HEAD, body(1));
        outbox.close();
        assert_eq!(outbox.push(HEAD, body(1)), Sent::Down);
        assert!(outbox.take().is_none());
    }

    #[test]
    fn large_pieces_are_written_from_where_they_lie() {
        let large = Bytes::from(vec![1; 4096]);
        let frames = vec![(HEAD, Chunks::Many(vec![Bytes::from_static(b"head"), large.clone()])), (HEAD, body(10))];
        let (mut gathered, mut pieces) = (BytesMut::new(), VecDeque::new());
        gather(frames, &mut gathered, &mut pieces);
        let sizes: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [5 + 4, 4096, 5 + 10]);
        assert_eq!(pieces[1].as_ptr(), large.as_ptr());
    }
}
