//! Frames waiting to be written to one connection, bounded in bytes.
//!
//! **What**  While nothing waits, the writer lends its socket. Then a little that is queued can be written by whoever queued it:
//! waking the writer for it would take longer. Whatever is large, or finds the socket full, waits for the writer.
//!
//! **States**  own (the writer writes) ─nothing waits─▶ lent (`flush` may write) ─something is left─▶ own.
//!
//! **Invariants**
//! - I1  queued bytes ≤ `bytes_max` + one frame; what is being written still counts.
//! - I2  bytes leave in the order in which they were queued: the socket is lent only while the writer holds none.

use crate::event::{Chunks, Sent};
use crate::frame::{HEAD_BYTES_MAX, Head};
use crate::socket::TlsSocket;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What a frame costs beside its bytes.
const FRAME_OVERHEAD_BYTES: u64 = 64;
/// Frames written together, in bytes.
const BATCH_BYTES_MAX: u64 = 1 << 20;
/// Pieces up to this size are copied together before they are encrypted; larger ones are encrypted where they lie.
const GATHER_BYTES_MAX: usize = 1024;
/// What `flush` writes itself, in bytes: a few small frames.
const DIRECT_BYTES_MAX: u64 = 16 * 1024;

/// The queue of one connection: many push, one writes.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    bytes_max: u64,
    /// Bytes of bodies that have left.
    sent_bytes: Arc<AtomicU64>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<(Head, Chunks)>,
    bytes: u64,
    closed: bool,
    /// Lent.
    socket: Option<Arc<TlsSocket>>,
    /// What came of a `flush` that could not write everything, for the writer.
    left: Option<io::Result<Batch>>,
}

/// Frames that are about to be written.
#[derive(Default)]
struct Batch {
    frames: Vec<(Head, Chunks)>,
    /// What is left of them once they are encoded.
    pieces: VecDeque<Bytes>,
    cost: u64,
    /// Bytes of bodies.
    body_bytes: u64,
}

fn cost(body: &Chunks) -> u64 {
    body.len() as u64 + FRAME_OVERHEAD_BYTES
}

impl Outbox {
    pub(crate) fn new(bytes_max: u64, sent_bytes: Arc<AtomicU64>) -> Self {
        let (filled, emptied) = (Notify::new(), Notify::new());
        Self { queue: Mutex::default(), bytes_max, sent_bytes, filled, emptied }
    }

    /// Queues a frame, and has the writer write it. Never blocks.
    pub(crate) fn push(&self, head: Head, body: Chunks) -> Sent {
        let sent = self.queue(head, body);
        if sent == Sent::Queued {
            self.flush(false);
        }
        sent
    }

    /// Queues a frame that leaves with the next [`Self::flush`] at the latest. Never blocks.
    pub(crate) fn queue(&self, head: Head, body: Chunks) -> Sent {
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
        // So much is the writer's in any case.
        let waiting = if queue.bytes > DIRECT_BYTES_MAX { queue.socket.take() } else { None };
        drop(queue);
        if waiting.is_some() {
            self.filled.notify_one();
        }
        Sent::Queued
    }

    /// Has everything written that is queued: `here`, if it is little and the socket takes it at once; else by the writer.
    /// Never blocks.
    pub(crate) fn flush(&self, here: bool) {
        let mut queue = self.lock();
        if queue.frames.is_empty() {
            return;
        }
        // If it is not lent the writer comes back by itself.
        let Some(socket) = queue.socket.take() else { return };
        if here && queue.bytes <= DIRECT_BYTES_MAX {
            let mut batch = queue.take();
            batch.encode(&mut BytesMut::new());
            match socket.write_now(&mut batch.pieces) {
                Ok(true) => {
                    queue.socket = Some(socket);
                    return self.note_written(queue, &batch);
                }
                Ok(false) => queue.left = Some(Ok(batch)),
                Err(error) => queue.left = Some(Err(error)),
            }
        }
        drop(queue);
        self.filled.notify_one();
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
        queue.socket = None;
        drop(queue);
        self.emptied.notify_waiters();
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Writes what is pushed until the socket fails.
    pub(crate) async fn write_to(&self, socket: &Arc<TlsSocket>) -> io::Error {
        let mut gathered = BytesMut::new();
        loop {
            let mut batch = match self.take_or_lend(socket) {
                Some(Ok(batch)) => batch,
                Some(Err(error)) => return error,
                None => {
                    self.filled.notified().await;
                    continue;
                }
            };
            batch.encode(&mut gathered);
            if let Err(error) = socket.write(&mut batch.pieces).await {
                return error;
            }
            self.note_written(self.lock(), &batch);
            // A connection that takes everything at once must not keep its thread from the others.
            tokio::task::yield_now().await;
        }
    }

    /// What the writer is to write next; lends the socket if that is nothing.
    fn take_or_lend(&self, socket: &Arc<TlsSocket>) -> Option<io::Result<Batch>> {
        let mut queue = self.lock();
        queue.socket = None;
        if let Some(left) = queue.left.take() {
            return Some(left);
        }
        let batch = queue.take();
        if batch.frames.is_empty() {
            queue.socket = (!queue.closed).then(|| Arc::clone(socket)); // I2
            return None;
        }
        Some(Ok(batch))
    }

    fn note_written(&self, mut queue: MutexGuard<'_, Queue>, batch: &Batch) {
        queue.bytes -= batch.cost;
        drop(queue);
        self.sent_bytes.fetch_add(batch.body_bytes, Ordering::Relaxed);
        self.emptied.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Batch {
        let mut batch = Batch::default();
        while batch.cost < BATCH_BYTES_MAX {
            let Some((head, body)) = self.frames.pop_front() else { break };
            batch.cost += cost(&body);
            batch.body_bytes += body.len() as u64;
            batch.frames.push((head, body));
        }
        batch
    }
}

impl Batch {
    /// Makes pieces of frames. `gathered` is used again.
    fn encode(&mut self, gathered: &mut BytesMut) {
        gather(std::mem::take(&mut self.frames), gathered, &mut self.pieces);
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
    use std::sync::Arc;

    const HEAD: Head = Head::Data(FrameKind::BookieRequest);

    fn body(bytes: usize) -> Chunks {
        Bytes::from(vec![7; bytes]).into()
    }

    fn outbox() -> Outbox {
        Outbox::new(1000, Arc::default())
    }

    #[test]
    fn beyond_its_bound_a_queue_takes_nothing_until_something_is_written() {
        let outbox = outbox();
        assert_eq!(outbox.push(HEAD, body(900)), Sent::Queued);
        assert_eq!(outbox.push(HEAD, body(900)), Sent::Queued, "I1: one frame may exceed the bound");
        assert_eq!(outbox.push(HEAD, body(0)), Sent::Full);
        assert_eq!(outbox.queued_bytes(), 1800 + 2 * FRAME_OVERHEAD_BYTES);
        let batch = outbox.lock().take();
        assert_eq!((batch.frames.len(), batch.cost), (2, outbox.queued_bytes()), "I1: what is being written counts");
        assert_eq!(outbox.push(HEAD, body(0)), Sent::Full);
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_holds_nothing() {
        let outbox = outbox();
        outbox.push(HEAD, body(1));
        outbox.close();
        assert_eq!(outbox.push(HEAD, body(1)), Sent::Down);
        assert!(outbox.lock().take().frames.is_empty());
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
