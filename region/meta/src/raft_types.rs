//! The types that openraft is instantiated with.

use meta_api::{MetaRequest, MetaResponse};
use serde::{Deserialize, Serialize};
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What one raft entry carries: the writes that waited while the entry before it was made durable.
/// Shared, because openraft clones entries on their way to the log, the state machine and other voters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteBatch(Arc<BatchParts>);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BatchParts {
    requests: Vec<MetaRequest>,
    #[serde(skip)]
    logged: LoggedMark,
}

/// Whether this process has put the batch into its log. It is no part of the batch's value.
#[derive(Debug, Default)]
struct LoggedMark(AtomicBool);

impl PartialEq for LoggedMark {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for LoggedMark {}

impl WriteBatch {
    pub(crate) fn new(requests: Vec<MetaRequest>) -> Self {
        Self(Arc::new(BatchParts { requests, logged: LoggedMark::default() }))
    }

    pub(crate) fn requests(&self) -> &[MetaRequest] {
        &self.0.requests
    }

    pub(crate) fn into_requests(self) -> Vec<MetaRequest> {
        match Arc::try_unwrap(self.0) {
            Ok(parts) => parts.requests,
            Err(shared) => shared.requests.clone(),
        }
    }

    /// Openraft answers "not the leader" before it logs a batch and after it had to drop one from its log. Only the
    /// first of them means that no voter can ever commit it; this mark tells them apart.
    pub(crate) fn mark_logged(&self) {
        self.0.logged.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.0.logged.0.load(Ordering::Acquire)
    }
}

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
pub(crate) type Membership = openraft::Membership<u64, openraft::EmptyNode>;
pub(crate) type Raft = openraft::Raft<RaftTypes>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::EmptyNode>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, openraft::EmptyNode>;
pub(crate) type Vote = openraft::Vote<u64>;
