//! Where concurrent reads share one proof that the applied state is current.
//!
//! **What**  The leader proves with one heartbeat to a quorum that it still leads, and its log says how far a read must
//! see. Another node asks the leader for that, waits until it has applied as much, and reads from its own state. Reads
//! that arrive while a proof is under way share the next one.
//!
//! **Invariants**
//! - I1  a proof that answers a read began after the read was asked.
//! - I2  no read of another node waits for an answer of another node: two that ask each other, as may be when the lead
//!   changes, would wait for each other.
//!
//! **Not here**  A node that decides alone needs no proof (`applied`) and does not come here.
//!
//! **Tests**  `tests/voters.rs`.

use crate::compass::{Compass, LEADER_WAIT_MAX, LeaderAt};
use crate::office::Office;
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::raft_types::{LogId, Raft};
use openraft::error::RaftError;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// Reads that wait for their proof; more wait at the door.
const WAITING_MAX: usize = 4096;
/// How long a read waits until this node has applied what it must see.
const APPLY_WAIT_MAX: Duration = LEADER_WAIT_MAX;

/// The door for readers.
#[derive(Clone)]
pub(crate) struct ReadDoor {
    own: mpsc::Sender<WaitingRead>,
    peers: mpsc::Sender<WaitingRead>,
    prover: Arc<Prover>,
}

#[derive(Debug)]
struct WaitingRead {
    proven: oneshot::Sender<Proven>,
    is_peer: bool,
    since: Instant,
}

/// How far a read must see, or why that cannot be told.
type Proven = Result<Option<LogId>, NotProven>;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotProven {
    #[error("the metadata voters have no leader")]
    NotLeader,
    #[error("this node's metadata log has no room for what the leader has: free some space on its disk")]
    Behind,
    #[error("{0}")]
    Unavailable(String),
}

/// Proves for all readers that wait, one proof at a time for those here and one for those of other nodes.
pub(crate) struct ReadQueue {
    own: mpsc::Receiver<WaitingRead>,
    peers: mpsc::Receiver<WaitingRead>,
    prover: Arc<Prover>,
}

struct Prover {
    raft: Raft,
    compass: Compass,
    office: Arc<Office>,
}

impl ReadDoor {
    /// Returns when the applied state holds every write that was answered before the call, by any node.
    ///
    /// # Errors
    /// [`NotProven`].
    pub(crate) async fn ensure_current(&self) -> Result<(), NotProven> {
        Self::queue(&self.own, false).await.map(|_| ())
    }

    /// The same at the leader for another node, which waits for nobody but this one.
    ///
    /// # Errors
    /// [`NotProven`].
    pub(crate) async fn current_for_peer(&self) -> Result<(), NotProven> {
        let read_index = self.read_index().await?;
        self.prover.wait_for(read_index).await.map(|_| ())
    }

    /// How far a read of another node must see.
    ///
    /// # Errors
    /// [`NotProven`].
    pub(crate) async fn read_index(&self) -> Proven {
        Self::queue(&self.peers, true).await
    }

    async fn queue(queue: &mpsc::Sender<WaitingRead>, is_peer: bool) -> Proven {
        let stopped = || NotProven::Unavailable("the metadata store has stopped".to_owned());
        let (proven, received) = oneshot::channel();
        let read = WaitingRead { proven, is_peer, since: Instant::now() };
        queue.send(read).await.map_err(|_| stopped())?;
        received.await.unwrap_or_else(|_| Err(stopped()))
    }
}

impl ReadQueue {
    pub(crate) fn new(raft: Raft, compass: Compass, office: Arc<Office>) -> (ReadDoor, Self) {
        let ((own_door, own), (peers_door, peers)) = (mpsc::channel(WAITING_MAX), mpsc::channel(WAITING_MAX));
        let prover = Arc::new(Prover { raft, compass, office });
        let door = ReadDoor { own: own_door, peers: peers_door, prover: Arc::clone(&prover) };
        (door, Self { own, peers, prover })
    }

    /// Serves until every door is gone.
    pub(crate) async fn run(self) {
        let Self { own, peers, prover } = self;
        tokio::join!(prover.run(own), prover.run(peers)); // I2
    }
}

impl Prover {
    async fn run(&self, mut queue: mpsc::Receiver<WaitingRead>) {
        let mut reads = Vec::new();
        while queue.recv_many(&mut reads, WAITING_MAX).await > 0 {
            // ReadQueue I1: whoever comes from here on waits for the next proof.
            self.serve(std::mem::take(&mut reads)).await;
        }
    }

    async fn serve(&self, mut reads: Vec<WaitingRead>) {
        while !reads.is_empty() {
            if let Some(reason) = self.compass.refusal() {
                answer_some(reads, |_| Some(Err(NotProven::Unavailable(reason.clone()))));
                return;
            }
            let leader = self.compass.leader();
            if leader != LeaderAt::Here {
                reads = answer_some(reads, |read| read.is_peer.then_some(Err(NotProven::NotLeader)));
            }
            let proven = match leader {
                LeaderAt::Here => self.prove().await,
                LeaderAt::Peer(leader) if !reads.is_empty() => self.ask(leader).await,
                LeaderAt::Peer(_) | LeaderAt::Nowhere => Err(NotProven::NotLeader),
            };
            match proven {
                Ok(read_index) => {
                    reads = answer_some(reads, |read| read.is_peer.then_some(Ok(read_index)));
                    let applied = if reads.is_empty() { Ok(read_index) } else { self.wait_for(read_index).await };
                    reads = answer_some(reads, |_| Some(applied.clone()));
                }
                Err(why) => {
                    reads = Self::give_up(reads, &why);
                    if !reads.is_empty() {
                        self.compass.wait_for_news().await;
                    }
                }
            }
        }
    }

    /// Proves that this node leads, and tells where its log is committed.
    async fn prove(&self) -> Proven {
        match self.raft.get_read_log_id().await {
            Ok((read_index, _applied)) => Ok(read_index),
            Err(RaftError::APIError(error)) => Err(NotProven::Unavailable(error.to_string())),
            Err(RaftError::Fatal(error)) => Err(NotProven::Unavailable(error.to_string())),
        }
    }

    async fn ask(&self, leader: base::NodeId) -> Proven {
        match self.compass.ask(leader, PeerRequest::ReadIndex).await {
            Ok(PeerResponse::ReadIndex(read_index)) => Ok(read_index),
            Ok(PeerResponse::NotLeader) => Err(NotProven::NotLeader),
            Ok(_) => Err(NotProven::Unavailable(format!("node {leader} answered something else"))),
            Err(error) => Err(NotProven::Unavailable(error.to_string())),
        }
    }

    /// Returns when this node has applied as much, or will not as long as its log has no room.
    async fn wait_for(&self, read_index: Option<LogId>) -> Proven {
        let index = read_index.map(|log_id| log_id.index);
        let wait = self.raft.wait(Some(APPLY_WAIT_MAX));
        let mut behind = self.office.is_behind();
        tokio::select! {
            biased;
            waited = wait.applied_index_at_least(index, "a read is current") => {
                let lags = |error| format!("this node has not applied what the leader has: {error}");
                waited.map(|_| read_index).map_err(|error| NotProven::Unavailable(lags(error)))
            }
            Ok(_) = behind.wait_for(|behind| *behind), if self.compass.leader() != LeaderAt::Here => Err(NotProven::Behind),
        }
    }

    /// Answers those who have waited long enough, and other nodes, which ask again themselves.
    fn give_up(reads: Vec<WaitingRead>, why: &NotProven) -> Vec<WaitingRead> {
        answer_some(reads, |read| {
            let is_over = read.is_peer || read.since.elapsed() >= LEADER_WAIT_MAX;
            is_over.then(|| Err(why.clone()))
        })
    }
}

/// Answers whoever gets one and gives back the others.
fn answer_some(reads: Vec<WaitingRead>, answer: impl Fn(&WaitingRead) -> Option<Proven>) -> Vec<WaitingRead> {
    let mut rest = Vec::new();
    for read in reads {
        match answer(&read) {
            Some(proven) => drop(read.proven.send(proven)),
            None => rest.push(read),
        }
    }
    rest
}
