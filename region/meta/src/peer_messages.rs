//! What the metadata nodes of a region say to each other, and its bytes.
//!
//! ```text
//! message = format u8 (1), body (postcard), CRC32C of all before it, little-endian
//! ```
//!
//! **Invariants**
//! - I1  a message has at most [`PEER_MESSAGE_BYTES_MAX`] bytes; what is larger is neither made nor read.
//!
//! **Not here**  Who sends them (`peers`, `write_queue`, `read_queue`, `members`), who answers (`answers`), what
//! carries them ([`crate::PeerTransport`]).
//!
//! **Tests**  `peer_messages/tests.rs`: golden bytes, round trips, every damaged byte refused.

use crate::members::{MemberChange, MemberError};
use crate::raft_types::{LogId, RaftTypes, StoredMembership, WriteBatch};
use meta_api::{MetaRequest, MetaResponse};
use openraft::error::InstallSnapshotError;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of one message. The largest are appends and forwarded writes: 4 MiB of writes and a last one, which has at
/// most 8 MiB of puts, 4 MiB of keys to delete and 4 MiB of keys in conditions.
pub const PEER_MESSAGE_BYTES_MAX: usize = 32 << 20;
/// The format that this version writes and reads.
const FORMAT: u8 = 1;
const CRC_LEN: usize = 4;

/// What one node asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum PeerRequest {
    Append(AppendEntriesRequest<RaftTypes>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<RaftTypes>),
    /// Writes that the leader is to propose. A transport that delivers this twice makes them twice.
    Write(WriteBatch),
    /// How much of the log a linearizable read must have seen.
    ReadIndex,
    /// A change of who is in the region; safe to ask again.
    Change(MemberChange),
    /// Who is in the region, as far as this node has applied it.
    Membership,
    /// Whether this node's log has room for what a leader writes.
    HasRoom,
    /// A read, for a node that cannot apply what the leader has.
    Read(MetaRequest),
}

/// The answer to the request of the same name, unless it says otherwise.
#[derive(Debug, Serialize, Deserialize)]
pub enum PeerResponse {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(InstallSnapshotResponse<u64>),
    /// A chunk of a snapshot that does not follow the one before.
    SnapshotRefused(InstallSnapshotError),
    /// One outcome per write, in their order.
    Write(Vec<WriteOutcome>),
    ReadIndex(Option<LogId>),
    Change(Result<(), MemberError>),
    Membership(StoredMembership),
    /// To `ReadIndex`, `Change` and `Read`: this node does not lead, and nothing was done.
    NotLeader,
    HasRoom(bool),
    Read(MetaResponse),
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    Answered(MetaResponse),
    /// It is in no log and never will be: whoever holds it may try again.
    NotProposed,
}

/// Bytes that are no message, or a message that has no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerCodecError {
    #[error("a metadata message of {bytes} bytes, the limit is {PEER_MESSAGE_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("a metadata message of {bytes} bytes is damaged: {what}")]
    Damaged { bytes: usize, what: String },
    #[error(
        "a metadata message of format {format}, this version reads format {FORMAT}: bring both nodes to one version"
    )]
    Format { format: u8 },
}

impl PeerRequest {
    /// The request's bytes.
    ///
    /// # Errors
    /// [`PeerCodecError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, PeerCodecError> {
        encode(self)
    }

    /// Reads one request that fills `bytes`.
    ///
    /// # Errors
    /// [`PeerCodecError`] when the bytes are not exactly one undamaged request of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerCodecError> {
        decode(bytes)
    }
}

impl PeerResponse {
    /// The response's bytes.
    ///
    /// # Errors
    /// [`PeerCodecError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, PeerCodecError> {
        encode(self)
    }

    /// Reads one response that fills `bytes`.
    ///
    /// # Errors
    /// [`PeerCodecError`] when the bytes are not exactly one undamaged response of this format.
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerCodecError> {
        decode(bytes)
    }
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, PeerCodecError> {
    let damaged = |error: postcard::Error| PeerCodecError::Damaged { bytes: 0, what: error.to_string() };
    let mut bytes = postcard::to_extend(message, vec![FORMAT]).map_err(damaged)?;
    let crc = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    // PeerMessages I1
    if bytes.len() > PEER_MESSAGE_BYTES_MAX {
        return Err(PeerCodecError::TooLarge { bytes: bytes.len() });
    }
    Ok(bytes)
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PeerCodecError> {
    let damaged = |what: &str| PeerCodecError::Damaged { bytes: bytes.len(), what: what.to_owned() };
    if bytes.len() > PEER_MESSAGE_BYTES_MAX {
        return Err(PeerCodecError::TooLarge { bytes: bytes.len() });
    }
    let (checked, crc) = bytes.split_last_chunk::<CRC_LEN>().ok_or_else(|| damaged("it is cut"))?;
    if crc32c::crc32c(checked) != u32::from_le_bytes(*crc) {
        return Err(damaged("its checksum does not fit"));
    }
    let (format, body) = checked.split_first().ok_or_else(|| damaged("it is empty"))?;
    if *format != FORMAT {
        return Err(PeerCodecError::Format { format: *format });
    }
    let (message, rest) = postcard::take_from_bytes(body).map_err(|error| damaged(&error.to_string()))?;
    if rest.is_empty() { Ok(message) } else { Err(damaged("there are bytes behind its end")) }
}

#[cfg(test)]
mod tests;
