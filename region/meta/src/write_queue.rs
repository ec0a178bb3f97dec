//! Where concurrent writes become one raft entry.
//!
//! **What**  While one entry is on its way to the disk, the writes that arrive wait here; then all of them travel as
//! the next entry, or, when another node leads, as one message to it. So the disk sets the pace, and a lone write waits
//! for nobody.
//!
//! **Invariants**
//! - I1  the writes of one node are proposed in the order in which it sent them, its decisions apart; each gets its own answer.
//! - I2  what waits is bounded by [`WAITING_MAX`] writes and [`WAITING_KIB_MAX`] KiB of this node, and as many of others and
//!   decisions; more wait at the door.
//! - I3  nothing is proposed that the log has no room for: then another node leads (`office`) or the write is refused, and the
//!   process goes on.
//! - I4  a write is tried again only while it certainly is in no log: no write is ever proposed twice.
//! - I5  a write that came from another node is never sent on: only its sender knows whether it may try again. Nor is a decision,
//!   which is the leader's alone and void when another one leads. Nor do they wait
//!   for an answer of another node: two that send to each other, as may be when the lead changes, would wait for each other.
//!
//! **Not here**  Applying (`applied`), making durable (`wal`), snapshots (`compaction`), finding the leader
//! (`compass`).
//!
//! **Tests**  `write_queue/tests.rs` for the full disk, `tests/store.rs` for order and sharing, `tests/forwarding.rs`
//! for I4.

use crate::compaction::Compaction;
use crate::compass::{Compass, LEADER_WAIT_MAX, LeaderAt};
use crate::error::MetaFatal;
use crate::fatal::FatalSwitch;
use crate::office::{ENTRY_OVERHEAD, Office};
use crate::peer_messages::{PeerRequest, PeerResponse, WriteOutcome};
use crate::raft_types::{Raft, WriteBatch};
use base::NodeId;
use meta_api::{MetaRequest, MetaResponse};
use openraft::error::{ClientWriteError, RaftError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Writes that wait for their turn.
const WAITING_MAX: usize = 4096;
/// KiB of writes that wait for their turn; the largest legal write takes half of it.
const WAITING_KIB_MAX: u32 = 32 << 10;
/// Writes of one entry.
const BATCH_WRITES_MAX: usize = 1024;
/// An entry is closed when it has this many bytes.
const BATCH_BYTES_MAX: u64 = 4 << 20;
/// How long a proposed write waits for a quorum. One voter never waits; several may have lost each other.
const QUORUM_WAIT_MAX: Duration = Duration::from_secs(5);

/// The door for writers.
#[derive(Clone, Debug)]
pub(crate) struct WriteDoor {
    own: Line,
    /// Other nodes' writes and this node's decisions: made here or not at all.
    local: Line,
}

/// One way in.
#[derive(Clone, Debug)]
struct Line {
    queue: mpsc::Sender<WaitingWrite>,
    space: Arc<Semaphore>,
}

#[derive(Debug)]
struct WaitingWrite {
    request: MetaRequest,
    bytes: u64,
    writer: Writer,
    _space: OwnedSemaphorePermit,
}

/// Who waits for the outcome of a write.
#[derive(Debug)]
struct Writer {
    outcome: oneshot::Sender<WriteOutcome>,
    /// It is made here or not at all (I5).
    stays: bool,
    since: Instant,
}

/// Writes on their way, and who waits for each.
struct Batch {
    requests: Vec<MetaRequest>,
    writers: Vec<Writer>,
}

/// What the queue has done.
#[derive(Debug, Default)]
pub(crate) struct WriteCounters {
    pub(crate) writes: AtomicU64,
    pub(crate) batches: AtomicU64,
}

/// Takes writes off the queues, one entry of each at a time.
pub(crate) struct WriteQueue {
    own: mpsc::Receiver<WaitingWrite>,
    local: mpsc::Receiver<WaitingWrite>,
    parts: WriteQueueParts,
}

/// What the queue works with.
pub(crate) struct WriteQueueParts {
    pub(crate) raft: Raft,
    pub(crate) compass: Compass,
    pub(crate) office: Arc<Office>,
    pub(crate) compaction: Arc<Compaction>,
    pub(crate) counters: Arc<WriteCounters>,
    pub(crate) fatal: FatalSwitch,
}

impl WriteDoor {
    /// Queues a write and waits for its answer.
    pub(crate) async fn write(&self, request: MetaRequest) -> MetaResponse {
        let Some(outcome) = self.own.queue(request, false).await else {
            return unavailable("nothing was written: the metadata store has stopped");
        };
        match outcome.await {
            Ok(WriteOutcome::Answered(answer)) => answer,
            Ok(WriteOutcome::NotProposed) => unavailable("nothing was written: no leader took it"),
            Err(_) => stopped(),
        }
    }

    /// Queues a write that is made here or not at all, and waits for its answer.
    pub(crate) async fn decide(&self, request: MetaRequest) -> MetaResponse {
        let outcome = self.local.queue(request, true).await;
        let outcome = match outcome {
            Some(outcome) => outcome.await.unwrap_or_else(|_| WriteOutcome::Answered(stopped())),
            None => WriteOutcome::NotProposed,
        };
        match outcome {
            WriteOutcome::Answered(answer) => answer,
            WriteOutcome::NotProposed => unavailable("nothing was written: this node does not lead the metadata"),
        }
    }

    /// Queues the writes of another node, if this one leads, and waits for all outcomes.
    pub(crate) async fn write_for_peer(&self, requests: Vec<MetaRequest>) -> Vec<WriteOutcome> {
        let mut queued = Vec::with_capacity(requests.len());
        for request in requests {
            queued.push(self.local.queue(request, true).await);
        }
        let mut outcomes = Vec::with_capacity(queued.len());
        for outcome in queued {
            outcomes.push(match outcome {
                // The store stopped before the write was taken off the queue, or while it was proposed.
                Some(outcome) => outcome.await.unwrap_or_else(|_| WriteOutcome::Answered(stopped())),
                None => WriteOutcome::NotProposed,
            });
        }
        outcomes
    }
}

impl Line {
    fn new() -> (Self, mpsc::Receiver<WaitingWrite>) {
        let (queue, received) = mpsc::channel(WAITING_MAX);
        let space = Arc::new(Semaphore::new(usize::try_from(WAITING_KIB_MAX).unwrap_or(usize::MAX)));
        (Self { queue, space }, received)
    }

    /// `None` when the store has stopped.
    async fn queue(&self, request: MetaRequest, stays: bool) -> Option<oneshot::Receiver<WriteOutcome>> {
        let bytes = u64::try_from(request.encoded_len()).unwrap_or(u64::MAX);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).clamp(1, WAITING_KIB_MAX);
        let space = Arc::clone(&self.space).acquire_many_owned(kib).await.ok()?;
        let (outcome, received) = oneshot::channel();
        let writer = Writer { outcome, stays, since: Instant::now() };
        self.queue.send(WaitingWrite { request, bytes, writer, _space: space }).await.ok()?;
        Some(received)
    }
}

impl WriteQueue {
    pub(crate) fn new(parts: WriteQueueParts) -> (WriteDoor, Self) {
        let ((own_line, own), (local_line, local)) = (Line::new(), Line::new());
        (WriteDoor { own: own_line, local: local_line }, Self { own, local, parts })
    }

    /// Serves until every door is gone or raft has stopped.
    pub(crate) async fn run(self) {
        let Self { own, local, parts } = self;
        tokio::select! {
            () = parts.run(own) => (),
            () = parts.run(local) => (), // I5
        }
    }
}

impl WriteQueueParts {
    async fn run(&self, mut queue: mpsc::Receiver<WaitingWrite>) {
        while let Some(first) = queue.recv().await {
            let batch = Batch::take(first, &mut queue);
            if let Err(stopped) = self.serve(batch).await {
                self.fatal.trip(stopped);
                return;
            }
            self.compaction.ask_when_due().await;
        }
    }

    /// Brings the batch to the leader, wherever it is, and answers everybody in it.
    async fn serve(&self, mut batch: Batch) -> Result<(), MetaFatal> {
        loop {
            batch = match self.compass.leader() {
                _ if self.compass.refusal().is_some() => batch,
                LeaderAt::Here => self.propose(batch).await?,
                LeaderAt::Peer(leader) => self.forward(leader, batch.mobile()).await,
                LeaderAt::Nowhere => batch,
            };
            batch = batch.patient(self.compass.refusal());
            if batch.writers.is_empty() {
                return Ok(());
            }
            self.compass.wait_for_news().await;
        }
    }

    /// Makes one entry of the batch; what comes back was certainly not proposed (I4).
    async fn propose(&self, batch: Batch) -> Result<Batch, MetaFatal> {
        let Batch { requests, writers } = batch;
        let bytes: u64 = requests.iter().map(|request| len_u64(request.encoded_len()) + 4).sum();
        if !self.office.room().ensure(bytes + ENTRY_OVERHEAD).await {
            if self.office.resign().await {
                return Ok(Batch { requests, writers });
            }
            answer_all(writers, "the disk is full: nothing was written, free some space");
            return Ok(Batch::nothing());
        }
        let Some(_lead) = self.office.keep_lead().await else { return Ok(Batch { requests, writers }) };
        self.counters.batches.fetch_add(1, Ordering::Relaxed);
        self.counters.writes.fetch_add(len_u64(writers.len()), Ordering::Relaxed);
        let entry = WriteBatch::new(requests);
        let proposed = self.raft.client_write(entry.clone());
        match tokio::time::timeout(QUORUM_WAIT_MAX, proposed).await {
            Ok(Ok(response)) => {
                answer_each(writers, response.data.0.into_iter().map(WriteOutcome::Answered));
                Ok(Batch::nothing())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) if !entry.is_logged() => {
                Ok(Batch { requests: entry.into_requests(), writers })
            }
            Ok(Err(RaftError::APIError(_))) => {
                answer_all(writers, "the outcome is unknown: this node lost its leadership while it wrote");
                Ok(Batch::nothing())
            }
            Ok(Err(RaftError::Fatal(error))) => Err(MetaFatal::Raft { reason: error.to_string() }),
            Err(_elapsed) => {
                answer_all(writers, "the outcome is unknown: no quorum of the metadata voters answered in time");
                Ok(Batch::nothing())
            }
        }
    }

    /// Sends the batch to the leader, once; what comes back was certainly not proposed (I4).
    async fn forward(&self, leader: NodeId, batch: Batch) -> Batch {
        let Batch { requests, writers } = batch;
        if writers.is_empty() {
            return Batch::nothing();
        }
        let sent = WriteBatch::new(requests);
        match self.compass.ask(leader, PeerRequest::Write(sent.clone())).await {
            Ok(PeerResponse::Write(outcomes)) if outcomes.len() == writers.len() => {
                let outcomes = outcomes.into_iter().zip(sent.into_requests()).zip(writers);
                let mut rest = Batch::nothing();
                for ((outcome, request), writer) in outcomes {
                    match outcome {
                        WriteOutcome::Answered(_) => drop(writer.outcome.send(outcome)),
                        WriteOutcome::NotProposed => rest.put(request, writer),
                    }
                }
                rest
            }
            Err(error) if !error.sent => Batch { requests: sent.into_requests(), writers },
            Ok(_) => {
                answer_all(writers, &format!("the outcome is unknown: node {leader} answered something else"));
                Batch::nothing()
            }
            Err(error) => {
                answer_all(writers, &format!("the outcome is unknown: {error}"));
                Batch::nothing()
            }
        }
    }
}

impl Batch {
    /// The first write and what waits behind it, in order (I1).
    fn take(first: WaitingWrite, queue: &mut mpsc::Receiver<WaitingWrite>) -> Self {
        let mut bytes = first.bytes;
        let mut batch = Self::nothing();
        batch.push(first);
        while batch.requests.len() < BATCH_WRITES_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.bytes;
            batch.push(next);
        }
        batch
    }

    fn nothing() -> Self {
        Self { requests: Vec::new(), writers: Vec::new() }
    }

    /// The space at the door is given back here: from now on the batch's own bound holds.
    fn push(&mut self, write: WaitingWrite) {
        self.put(write.request, write.writer);
    }

    fn put(&mut self, request: MetaRequest, writer: Writer) {
        self.requests.push(request);
        self.writers.push(writer);
    }

    /// Without the writes that stay here, which are told so (I5).
    fn mobile(self) -> Self {
        self.without(|writer| if writer.stays { Some(WriteOutcome::NotProposed) } else { None })
    }

    /// Without those who need not wait for a leader any longer, which are told why.
    fn patient(self, refusal: Option<String>) -> Self {
        self.without(|writer| match &refusal {
            _ if writer.stays => Some(WriteOutcome::NotProposed),
            Some(reason) => Some(WriteOutcome::Answered(unavailable(&format!("nothing was written: {reason}")))),
            None if writer.since.elapsed() < LEADER_WAIT_MAX => None,
            None => {
                Some(WriteOutcome::Answered(unavailable("nothing was written: the metadata voters have no leader")))
            }
        })
    }

    fn without(self, outcome: impl Fn(&Writer) -> Option<WriteOutcome>) -> Self {
        let mut rest = Self::nothing();
        for (request, writer) in self.requests.into_iter().zip(self.writers) {
            match outcome(&writer) {
                // Whoever does not listen any more does not want to know.
                Some(outcome) => drop(writer.outcome.send(outcome)),
                None => rest.put(request, writer),
            }
        }
        rest
    }
}

fn answer_each(writers: Vec<Writer>, outcomes: impl ExactSizeIterator<Item = WriteOutcome>) {
    assert!(outcomes.len() == writers.len(), "WriteQueue I1: each write gets its own answer");
    writers.into_iter().zip(outcomes).for_each(|(writer, outcome)| drop(writer.outcome.send(outcome)));
}

fn answer_all(writers: Vec<Writer>, reason: &str) {
    for writer in writers {
        let _ = writer.outcome.send(WriteOutcome::Answered(unavailable(reason)));
    }
}

fn unavailable(reason: &str) -> MetaResponse {
    MetaResponse::Unavailable { reason: reason.to_owned() }
}

fn stopped() -> MetaResponse {
    unavailable("the outcome is unknown: the metadata store has stopped")
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
