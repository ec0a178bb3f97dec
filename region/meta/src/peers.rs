//! The way between metadata nodes: what openraft wants sent, behind a trait that some transport fills in.
//!
//! **What**  [`PeerTransport`] carries one [`PeerRequest`] to another node and brings its answer; the other side hands
//! the request to [`crate::MetaHandle::answer_peer`]. How both are put on a wire is the transport's business.

use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::raft_types::RaftTypes;
use base::NodeId;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long openraft leaves a node alone that could not be reached. Less than an election takes, so that a voter that
/// comes back hears its leader before it stands against it.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata node {to} did not answer: {reason}")]
pub struct PeerError {
    pub to: NodeId,
    /// Whether the request may have arrived. `false` only when it certainly did not and never will: then a write may be
    /// sent again.
    pub sent: bool,
    pub reason: String,
}

impl PeerError {
    /// The request never left: there is no connection.
    pub fn not_sent(to: NodeId, reason: impl Into<String>) -> Self {
        Self { to, sent: false, reason: reason.into() }
    }

    /// The request was, or may have been, sent; what became of it is unknown.
    pub fn unanswered(to: NodeId, reason: impl Into<String>) -> Self {
        Self { to, sent: true, reason: reason.into() }
    }
}

/// A future that a transport returns.
pub type PeerFuture<'a> = Pin<Box<dyn Future<Output = Result<PeerResponse, PeerError>> + Send + 'a>>;

/// Carries requests between metadata nodes.
///
/// A request is delivered at most once: a transport never sends it again on its own. Requests may overtake each other.
/// A dropped future means that nobody waits for the answer any more; the request may be dropped or delivered.
pub trait PeerTransport: Send + Sync + 'static {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_>;
}

/// Makes openraft's connections out of the transport; without one nobody is reachable.
pub(crate) struct PeerNetwork(pub(crate) Option<Arc<dyn PeerTransport>>);

/// openraft's connection to one node.
pub(crate) struct PeerConnection {
    to: NodeId,
    transport: Option<Arc<dyn PeerTransport>>,
}

type CallError<E> = RPCError<u64, openraft::EmptyNode, E>;

impl RaftNetworkFactory<RaftTypes> for PeerNetwork {
    type Network = PeerConnection;

    async fn new_client(&mut self, target: u64, _node: &openraft::EmptyNode) -> PeerConnection {
        PeerConnection { to: NodeId(target), transport: self.0.clone() }
    }
}

impl PeerConnection {
    async fn exchange<E: std::error::Error>(&self, request: PeerRequest) -> Result<PeerResponse, CallError<E>> {
        let Some(transport) = &self.transport else {
            return Err(self.unreachable("this node has no transport to others"));
        };
        let response = transport.exchange(self.to, request).await;
        response.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    fn wrong_answer<E: std::error::Error>(&self) -> CallError<E> {
        self.unreachable("its answer belongs to another request")
    }

    fn unreachable<E: std::error::Error>(&self, reason: &str) -> CallError<E> {
        RPCError::Unreachable(Unreachable::new(&PeerError::not_sent(self.to, reason)))
    }
}

impl RaftNetwork<RaftTypes> for PeerConnection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<RaftTypes>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError<RaftError<u64>>> {
        let response = self.exchange(PeerRequest::Append(request)).await?;
        if let PeerResponse::Append(response) = response { Ok(response) } else { Err(self.wrong_answer()) }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<RaftTypes>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<RaftError<u64, InstallSnapshotError>>> {
        let response = self.exchange(PeerRequest::Snapshot(request)).await?;
        if let PeerResponse::SnapshotRefused(error) = response {
            return Err(RPCError::RemoteError(RemoteError::new(self.to.0, RaftError::APIError(error))));
        }
        if let PeerResponse::Snapshot(response) = response { Ok(response) } else { Err(self.wrong_answer()) }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError<RaftError<u64>>> {
        let response = self.exchange(PeerRequest::Vote(request)).await?;
        if let PeerResponse::Vote(response) = response { Ok(response) } else { Err(self.wrong_answer()) }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE))
    }
}
