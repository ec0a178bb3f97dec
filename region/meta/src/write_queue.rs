//! Where concurrent writes become one raft entry.
//!
//! **What**  While one entry is on its way to the disk, the writes that arrive wait here; then all of them travel as the
//! next entry. So the disk sets the pace, and a lone write waits for nobody.
//!
//! **Invariants**
//! - I1  writes are proposed in the order in which they were queued; each gets its own answer.
//! - I2  what waits is bounded by [`WAITING_MAX`] writes and [`WAITING_KIB_MAX`] KiB; more wait at the door.
//! - I3  nothing is proposed that the log has no room for: a full disk refuses, it does not stop the process.
//!
//! **Not here**  Applying (`applied`), making durable (`wal`).
//!
//! **Tests**  `write_queue/tests.rs` for the full disk, `tests/store.rs` for order and sharing.

use crate::applied::SharedApplied;
use crate::error::MetaFatal;
use crate::fatal::FatalSwitch;
use crate::raft_types::{Raft, WriteBatch};
use crate::wal::{WalCounters, WalRoom};
use meta_api::{MetaRequest, MetaResponse};
use openraft::error::{ClientWriteError, RaftError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Writes that wait for their turn.
const WAITING_MAX: usize = 4096;
/// KiB of writes that wait for their turn; the largest legal write takes a quarter of it.
const WAITING_KIB_MAX: u32 = 64 << 10;
/// Writes of one entry.
const BATCH_WRITES_MAX: usize = 1024;
/// An entry is closed when it has this many bytes.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// Bytes that an entry takes in the log beside its requests.
const ENTRY_OVERHEAD: u64 = 256;
/// How long a write waits for a quorum. One voter never waits; several may have lost each other.
const QUORUM_WAIT_MAX: Duration = Duration::from_secs(10);
/// A snapshot is due when the log has grown by this, and by as much as the state itself takes.
const SNAPSHOT_LOG_BYTES: u64 = 16 << 20;

/// The door for writers.
#[derive(Clone, Debug)]
pub(crate) struct WriteDoor {
    queue: mpsc::Sender<WaitingWrite>,
    space: Arc<Semaphore>,
}

#[derive(Debug)]
struct WaitingWrite {
    request: MetaRequest,
    bytes: u64,
    answer: oneshot::Sender<MetaResponse>,
    _space: OwnedSemaphorePermit,
}

/// What the queue has done.
#[derive(Debug, Default)]
pub(crate) struct WriteCounters {
    pub(crate) writes: AtomicU64,
    pub(crate) batches: AtomicU64,
}

/// Takes writes off the queue, one entry at a time.
pub(crate) struct WriteQueue {
    queue: mpsc::Receiver<WaitingWrite>,
    raft: Raft,
    room: WalRoom,
    wal: Arc<WalCounters>,
    applied: SharedApplied,
    counters: Arc<WriteCounters>,
    fatal: FatalSwitch,
    /// Where the log ended when the last snapshot was asked for.
    snapshot_asked_at: u64,
}

/// What the queue works with.
pub(crate) struct WriteQueueParts {
    pub(crate) raft: Raft,
    pub(crate) room: WalRoom,
    pub(crate) wal: Arc<WalCounters>,
    pub(crate) applied: SharedApplied,
    pub(crate) counters: Arc<WriteCounters>,
    pub(crate) fatal: FatalSwitch,
}

impl WriteDoor {
    /// Queues a write and waits for its answer.
    pub(crate) async fn write(&self, request: MetaRequest) -> MetaResponse {
        let bytes = u64::try_from(request.encoded_len()).unwrap_or(u64::MAX);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).clamp(1, WAITING_KIB_MAX);
        let Ok(space) = Arc::clone(&self.space).acquire_many_owned(kib).await else { return stopped() };
        let (answer, answered) = oneshot::channel();
        if self.queue.send(WaitingWrite { request, bytes, answer, _space: space }).await.is_err() {
            return stopped();
        }
        answered.await.unwrap_or_else(|_| stopped())
    }
}

impl WriteQueue {
    pub(crate) fn new(parts: WriteQueueParts) -> (WriteDoor, Self) {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        let space = Arc::new(Semaphore::new(usize::try_from(WAITING_KIB_MAX).unwrap_or(usize::MAX)));
        let WriteQueueParts { raft, room, wal, applied, counters, fatal } = parts;
        let door = WriteDoor { queue: sender, space };
        (door, Self { queue, raft, room, wal, applied, counters, fatal, snapshot_asked_at: 0 })
    }

    /// Serves until every door is gone or raft has stopped.
    pub(crate) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let batch = self.take_batch(first);
            if let Err(stopped) = self.propose(batch).await {
                self.fatal.trip(stopped);
                return;
            }
            self.ask_for_snapshot_when_due().await;
        }
    }

    /// The first write and what waits behind it, in order (I1).
    fn take_batch(&mut self, first: WaitingWrite) -> Vec<WaitingWrite> {
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.queue.try_recv() else { break };
            bytes += next.bytes;
            batch.push(next);
        }
        batch
    }

    /// Makes one entry of the batch and answers everybody in it.
    async fn propose(&self, batch: Vec<WaitingWrite>) -> Result<(), MetaFatal> {
        let bytes: u64 = batch.iter().map(|write| write.bytes + 4).sum();
        let (requests, waiting): (Vec<_>, Vec<_>) = batch.into_iter().map(WaitingWrite::split).unzip();
        if !self.room.ensure(bytes + ENTRY_OVERHEAD).await {
            answer_all(waiting, "the disk is full: nothing was written, free some space");
            return Ok(());
        }
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.writes.fetch_add(u64::try_from(waiting.len()).unwrap_or(0), Ordering::Relaxed);
        let proposed = self.raft.client_write(WriteBatch(Arc::new(requests)));
        match tokio::time::timeout(QUORUM_WAIT_MAX, proposed).await {
            Ok(Ok(response)) => {
                assert!(response.data.0.len() == waiting.len(), "WriteQueue I1: each write gets its own answer");
                // Whoever does not listen any more does not want to know.
                waiting.into_iter().zip(response.data.0).for_each(|(waiting, answer)| drop(waiting.send(answer)));
                Ok(())
            }
            Ok(Err(RaftError::APIError(error))) => {
                answer_all(waiting, &not_leader(&error));
                Ok(())
            }
            Ok(Err(RaftError::Fatal(error))) => Err(MetaFatal::Raft { reason: error.to_string() }),
            Err(_elapsed) => {
                answer_all(waiting, "no quorum of the metadata voters answered in time");
                Ok(())
            }
        }
    }

    /// Bounds the log, and with it the time that a start takes, in proportion to the state.
    async fn ask_for_snapshot_when_due(&mut self) {
        let used = self.wal.used_bytes.load(Ordering::Relaxed);
        if used < self.snapshot_asked_at {
            self.snapshot_asked_at = 0; // The log was rewritten.
        }
        let due = SNAPSHOT_LOG_BYTES.max(self.applied.read().state.bytes());
        if used - self.snapshot_asked_at < due {
            return;
        }
        self.snapshot_asked_at = used;
        // An error means that raft has stopped; the next write meets it.
        let _ = self.raft.trigger().snapshot().await;
    }
}

impl WaitingWrite {
    /// The space at the door is given back here: from now on the batch's own bound holds.
    fn split(self) -> (MetaRequest, oneshot::Sender<MetaResponse>) {
        (self.request, self.answer)
    }
}

fn answer_all(waiting: Vec<oneshot::Sender<MetaResponse>>, reason: &str) {
    for answer in waiting {
        let _ = answer.send(MetaResponse::Unavailable { reason: reason.to_owned() });
    }
}

fn not_leader(error: &ClientWriteError<u64, openraft::EmptyNode>) -> String {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.leader_id {
            Some(leader) => format!("nothing was written here: metadata voter {leader} leads"),
            None => "nothing was written: the metadata voters have no leader at the moment".to_owned(),
        },
        ClientWriteError::ChangeMembershipError(error) => error.to_string(),
    }
}

fn stopped() -> MetaResponse {
    MetaResponse::Unavailable { reason: "the metadata store has stopped".to_owned() }
}

#[cfg(test)]
mod tests;
