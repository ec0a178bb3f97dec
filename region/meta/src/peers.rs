//! The way between voters: what openraft wants sent, behind a trait that some transport fills in.
//!
//! **What**  [`PeerTransport`] carries one [`PeerRequest`] to another voter and brings its answer; the other side hands
//! the request to [`crate::MetaHandle::answer_peer`]. How both are put on a wire is the transport's business.

use crate::raft_types::{Raft, RaftTypes};
use base::NodeId;
use openraft::error::{InstallSnapshotError, RPCError, RaftError, RemoteError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// What one voter asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    Append(AppendEntriesRequest<RaftTypes>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<RaftTypes>),
}

/// The answer to the request of the same name.
#[derive(Debug, Serialize, Deserialize)]
pub enum PeerResponse {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(InstallSnapshotResponse<u64>),
    /// A chunk of a snapshot that does not follow the one before.
    SnapshotRefused(InstallSnapshotError),
}

/// No answer came; what became of the request is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("metadata voter {to} did not answer: {reason}")]
pub struct PeerError {
    pub to: NodeId,
    pub reason: String,
}

/// A future that a transport returns.
pub type PeerFuture<'a> = Pin<Box<dyn Future<Output = Result<PeerResponse, PeerError>> + Send + 'a>>;

/// Carries requests between voters.
pub trait PeerTransport: Send + Sync + 'static {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_>;
}

/// Hands a voter's request to this node's raft.
pub(crate) async fn answer(raft: &Raft, node: NodeId, request: PeerRequest) -> Result<PeerResponse, PeerError> {
    let refused = |reason: String| PeerError { to: node, reason };
    match request {
        PeerRequest::Append(request) => {
            let response = raft.append_entries(request).await;
            response.map(PeerResponse::Append).map_err(|error| refused(error.to_string()))
        }
        PeerRequest::Vote(request) => {
            let response = raft.vote(request).await;
            response.map(PeerResponse::Vote).map_err(|error| refused(error.to_string()))
        }
        PeerRequest::Snapshot(request) => match raft.install_snapshot(request).await {
            Ok(response) => Ok(PeerResponse::Snapshot(response)),
            // The sender has to hear this one in full: it starts the snapshot again from its first chunk.
            Err(RaftError::APIError(error)) => Ok(PeerResponse::SnapshotRefused(error)),
            Err(RaftError::Fatal(error)) => Err(refused(error.to_string())),
        },
    }
}

/// Makes openraft's connections out of the transport; without one nobody is reachable.
pub(crate) struct PeerNetwork(pub(crate) Option<Arc<dyn PeerTransport>>);

/// openraft's connection to one voter.
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
            return Err(self.unreachable("this node has no transport to other voters"));
        };
        let response = transport.exchange(self.to, request).await;
        response.map_err(|error| RPCError::Unreachable(Unreachable::new(&error)))
    }

    fn wrong_answer<E: std::error::Error>(&self) -> CallError<E> {
        self.unreachable("its answer belongs to another request")
    }

    fn unreachable<E: std::error::Error>(&self, reason: &str) -> CallError<E> {
        let error = PeerError { to: self.to, reason: reason.to_owned() };
        RPCError::Unreachable(Unreachable::new(&error))
    }
}

impl RaftNetwork<RaftTypes> for PeerConnection {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<RaftTypes>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError<RaftError<u64>>> {
        match self.exchange(PeerRequest::Append(request)).await? {
            PeerResponse::Append(response) => Ok(response),
            PeerResponse::Vote(_) | PeerResponse::Snapshot(_) | PeerResponse::SnapshotRefused(_) => {
                Err(self.wrong_answer())
            }
        }
    }

    async fn install_snapshot(
        &mut self,
        request: InstallSnapshotRequest<RaftTypes>,
        _option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, CallError<RaftError<u64, InstallSnapshotError>>> {
        match self.exchange(PeerRequest::Snapshot(request)).await? {
            PeerResponse::Snapshot(response) => Ok(response),
            PeerResponse::SnapshotRefused(error) => {
                Err(RPCError::RemoteError(RemoteError::new(self.to.0, RaftError::APIError(error))))
            }
            PeerResponse::Append(_) | PeerResponse::Vote(_) => Err(self.wrong_answer()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, CallError<RaftError<u64>>> {
        match self.exchange(PeerRequest::Vote(request)).await? {
            PeerResponse::Vote(response) => Ok(response),
            PeerResponse::Append(_) | PeerResponse::Snapshot(_) | PeerResponse::SnapshotRefused(_) => {
                Err(self.wrong_answer())
            }
        }
    }
}
