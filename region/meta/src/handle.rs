//! What the rest of the process holds of the metadata store.

use crate::peers::{PeerError, PeerRequest, PeerResponse};
use crate::watch::{Watch, WatchClosed};
use meta_api::{MetaRequest, MetaResponse};

/// A cheap clone through which the store is used, from any thread and any runtime.
#[derive(Clone, Debug)]
pub struct MetaHandle {}

/// Counters and sizes of the store at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaMetrics {
    pub revision: u64,
    pub keys: u64,
    /// Bytes of all keys and values.
    pub state_bytes: u64,
    /// Bytes of log records in the file, live or not.
    pub log_bytes: u64,
    pub writes_total: u64,
    pub batches_total: u64,
    pub fsyncs_total: u64,
    pub watchers: u64,
}

impl MetaHandle {
    /// Answers one request. Writes that wait at the same time share one log record and one fsync; a read costs none.
    ///
    /// A future that is dropped does not take its write back.
    pub async fn request(&self, _request: MetaRequest) -> MetaResponse {
        unimplemented!()
    }

    /// The keys under the prefixes now, and every change of them from here on.
    ///
    /// # Errors
    /// [`WatchClosed::Stopped`] when the store has stopped or, with several voters, cannot prove that it is current.
    pub async fn watch(&self, _prefixes: &[&str]) -> Result<Watch, WatchClosed> {
        unimplemented!()
    }

    /// Answers another voter.
    ///
    /// # Errors
    /// [`PeerError`] when this node cannot answer; the caller retries.
    pub async fn answer_peer(&self, _request: PeerRequest) -> Result<PeerResponse, PeerError> {
        unimplemented!()
    }

    pub fn metrics(&self) -> MetaMetrics {
        unimplemented!()
    }
}
