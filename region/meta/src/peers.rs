//! The way between voters: what openraft wants sent, behind a trait that some transport fills in.
//!
//! **What**  [`PeerTransport`] carries one [`PeerRequest`] to another voter and brings its answer; the other side hands
//! the request to [`crate::MetaHandle::answer_peer`]. How both are put on a wire is the transport's business.

use crate::raft_types::RaftTypes;
use base::NodeId;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};
use std::future::Future;
use std::pin::Pin;

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

/// The transport of a region with one voter: there is nobody to reach.
#[derive(Clone, Copy, Debug)]
pub struct NoTransport;

impl PeerTransport for NoTransport {
    fn exchange(&self, to: NodeId, _request: PeerRequest) -> PeerFuture<'_> {
        let reason = "this node has no transport to other voters".to_owned();
        Box::pin(std::future::ready(Err(PeerError { to, reason })))
    }
}
