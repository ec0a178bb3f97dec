//! What goes in and out of an endpoint: frames, calls, events.

use crate::Hello;
use base::NodeId;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// What an endpoint reports. `Up` and `Down` of a node speak of the way to it; its frames come on the way from it, so they
/// may come before `Up` and after `Down`.
#[derive(Debug)]
pub enum PeerEvent {
    /// Frames and calls can be sent to it.
    Up { node: NodeId, hello: Hello },
    /// They cannot. Told once when a connection ends or the first attempt fails, and once more when silence turns out to be
    /// a refusal.
    Down {
        node: NodeId,
        reason: String,
        /// The system of the other node says that the process is gone, as opposed to silence.
        refused: bool,
    },
    /// Something came from it; told at most every 50 ms.
    Heard { node: NodeId },
    /// One frame, in order per sender and kind. Keep `permit` until the bytes are let go: it is what bounds them.
    Frame { from: NodeId, kind: FrameKind, bytes: Bytes, permit: FramePermit },
}

/// Whom a frame is for, on the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrameKind {
    /// For the bookie.
    BookieRequest,
    /// For the ledgers that asked.
    BookieResponse,
    /// Frames of other regions, between the gateway and the other nodes.
    Cluster,
}

/// Holds a share of a sender's inbound bound until dropped.
#[derive(Debug)]
pub struct FramePermit(#[expect(dead_code, reason = "dropping it is its use")] pub(crate) OwnedSemaphorePermit);

/// The bytes of one frame, in one piece or several that are written one after the other without copying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunks {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Chunks {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::One(bytes) => bytes.len(),
            Self::Many(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

impl From<Bytes> for Chunks {
    fn from(bytes: Bytes) -> Self {
        Self::One(bytes)
    }
}

impl From<Vec<Bytes>> for Chunks {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self::Many(pieces)
    }
}

/// What became of a frame that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It will be written, unless the connection ends before.
    Queued,
    /// Not taken: the queue is full.
    Full,
    /// Not taken: there is no connection to that node.
    Down,
    /// Not taken: it is above `frame_bytes_max`.
    TooLarge,
}

/// The future of an answer.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Bytes, String>> + Send + 'a>>;

/// Answers the calls of other nodes.
pub trait Answerer: Send + Sync + 'static {
    /// `from` is `None` for a node that has not joined. An error is a sentence that the caller is told.
    fn answer(&self, from: Option<NodeId>, bytes: Bytes) -> Answer<'_>;
}

/// Why a call has no answer. Only after `Down`, `Full` and `TooLarge` is it certain that it was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("there is no connection to the node")]
    Down,
    #[error("too many calls to the node wait for answers")]
    Full,
    #[error("the call has {size} bytes, more than the {max} allowed")]
    TooLarge { size: usize, max: u32 },
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the connection ended before the answer came")]
    Lost,
    /// The other node answered that it cannot.
    #[error("{0}")]
    Failed(String),
    /// Of `call_address`: nobody there, or somebody who refuses.
    #[error("{reason}")]
    Unreachable {
        reason: String,
        refused: bool,
        /// The certificates of the two are not of one authority: trying again changes nothing.
        foreign: bool,
    },
}

/// One node, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub node: NodeId,
    pub address: String,
    /// Of the connection in use.
    pub hello: Option<Hello>,
    /// Why there is none.
    pub reason: Option<String>,
    /// Of the last ping, in microseconds; 0 before the first.
    pub rtt_us: u64,
    /// Not yet written, in bytes.
    pub queued_bytes: u64,
    /// Bytes of frames, calls and answers since the node was first known.
    pub sent_bytes: u64,
    pub received_bytes: u64,
}
