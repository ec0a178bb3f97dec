//! Answering another metadata node.

use crate::compass::LeaderAt;
use crate::handle::HandleParts;
use crate::office::{LEADER_ROOM_BYTES, log_bytes};
use crate::peer_messages::{PEER_MESSAGE_BYTES_MAX, PeerRequest, PeerResponse, WriteOutcome};
use crate::peers::PeerError;
use crate::raft_types::{RaftTypes, WriteBatch};
use crate::read_queue::NotProven;
use base::NodeId;
use meta_api::MetaResponse;
use openraft::error::RaftError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};

/// What a node says that has to store something and cannot.
const NO_ROOM: &str = "its metadata log has no room: free some space on its disk";
/// Bytes of what stands in the way of transactions, in one message. A write whose answer does not fit is answered
/// without.
const CONFLICT_BYTES_MAX: usize = PEER_MESSAGE_BYTES_MAX / 2;

/// Hands another node's request to whoever answers it here.
pub(crate) async fn answer(parts: &HandleParts, request: PeerRequest) -> Result<PeerResponse, PeerError> {
    let raft = &parts.raft;
    match request {
        PeerRequest::Append(request) => append(parts, request).await,
        PeerRequest::Vote(request) => {
            let response = raft.vote(request).await;
            response.map(PeerResponse::Vote).map_err(|error| failed(parts.node, error))
        }
        PeerRequest::Snapshot(_) if !parts.office.room().ensure(LEADER_ROOM_BYTES).await => {
            parts.office.note_stored(false);
            Err(failed(parts.node, NO_ROOM))
        }
        PeerRequest::Snapshot(request) => match raft.install_snapshot(request).await {
            Ok(response) => Ok(PeerResponse::Snapshot(response)),
            // The sender has to hear this one in full: it starts the snapshot again from its first chunk.
            Err(RaftError::APIError(error)) => Ok(PeerResponse::SnapshotRefused(error)),
            Err(RaftError::Fatal(error)) => Err(failed(parts.node, error)),
        },
        PeerRequest::Write(batch) => Ok(PeerResponse::Write(write(parts, batch).await)),
        PeerRequest::ReadIndex => match parts.reads.read_index().await {
            Ok(read_index) => Ok(PeerResponse::ReadIndex(read_index)),
            Err(why) => not_proven(parts.node, &why),
        },
        PeerRequest::Read(request) => match parts.reads.current_for_peer().await {
            Ok(()) => Ok(PeerResponse::Read(parts.read(&request))),
            Err(why) => not_proven(parts.node, &why),
        },
        PeerRequest::Change(change) => match parts.compass.leader() {
            LeaderAt::Here => Ok(PeerResponse::Change(parts.members.change_for_peer(change).await)),
            LeaderAt::Peer(_) | LeaderAt::Nowhere => Ok(PeerResponse::NotLeader),
        },
        PeerRequest::Membership => Ok(PeerResponse::Membership(parts.applied.read().membership.clone())),
        PeerRequest::HasRoom => Ok(PeerResponse::HasRoom(parts.office.room().ensure(LEADER_ROOM_BYTES).await)),
    }
}

/// Entries that the log has no room for are not stored, and their sender is told so. It tries again; until there is room this
/// node at least hears that it leads.
async fn append(parts: &HandleParts, request: AppendEntriesRequest<RaftTypes>) -> Result<PeerResponse, PeerError> {
    let fits = request.entries.is_empty() || parts.office.room().ensure(log_bytes(&request.entries)).await;
    if !request.entries.is_empty() {
        parts.office.note_stored(fits);
    }
    let request = if fits { request } else { AppendEntriesRequest { entries: Vec::new(), ..request } };
    match parts.raft.append_entries(request).await {
        Ok(AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) if !fits => {
            Err(failed(parts.node, NO_ROOM))
        }
        response => response.map(PeerResponse::Append).map_err(|error| failed(parts.node, error)),
    }
}

async fn write(parts: &HandleParts, batch: WriteBatch) -> Vec<WriteOutcome> {
    if parts.compass.leader() != LeaderAt::Here {
        return vec![WriteOutcome::NotProposed; batch.requests().len()];
    }
    let mut outcomes = parts.writes_door.write_for_peer(batch.into_requests()).await;
    let mut bytes = 0;
    for outcome in &mut outcomes {
        if let WriteOutcome::Answered(MetaResponse::Conflict { actual: Some(actual), .. }) = outcome {
            bytes += actual.value.len();
            if bytes > CONFLICT_BYTES_MAX {
                let reason =
                    "nothing was written: a condition did not hold, and what stands there is too large to send";
                *outcome = WriteOutcome::Answered(MetaResponse::Unavailable { reason: reason.to_owned() });
            }
        }
    }
    outcomes
}

fn not_proven(node: NodeId, why: &NotProven) -> Result<PeerResponse, PeerError> {
    match why {
        NotProven::NotLeader => Ok(PeerResponse::NotLeader),
        NotProven::Behind | NotProven::Unavailable(_) => Err(failed(node, why)),
    }
}

fn failed(node: NodeId, error: impl std::fmt::Display) -> PeerError {
    PeerError::unanswered(node, error.to_string())
}
