//! The types that openraft is instantiated with.

use meta_api::{MetaRequest, MetaResponse};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::sync::Arc;

/// What one raft entry carries: the writes that waited while the entry before it was made durable.
/// Shared, because openraft clones entries on their way to the log, the state machine and other voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteBatch(pub(crate) Arc<Vec<MetaRequest>>);

/// One answer per write of the batch, in its order; none for entries that carry no batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteAnswers(pub(crate) Vec<MetaResponse>);

openraft::declare_raft_types!(
    /// Voters are numbered; where they live is the transport's business.
    pub RaftTypes:
        D = WriteBatch,
        R = WriteAnswers,
        NodeId = u64,
        Node = openraft::EmptyNode,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(crate) type Entry = openraft::Entry<RaftTypes>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Raft = openraft::Raft<RaftTypes>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::EmptyNode>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, openraft::EmptyNode>;
pub(crate) type Vote = openraft::Vote<u64>;
