//! What the rest of the process holds of the metadata store.

use crate::applied::SharedApplied;
use crate::peers::{PeerError, PeerRequest, PeerResponse, answer};
use crate::raft_types::Raft;
use crate::wal::WalCounters;
use crate::watch::{Watch, WatchClosed};
use crate::write_queue::{WriteCounters, WriteDoor};
use base::NodeId;
use meta_api::{MetaRequest, MetaResponse};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A cheap clone through which the store is used, from any thread and any runtime.
#[derive(Clone)]
pub struct MetaHandle {
    pub(crate) parts: Arc<HandleParts>,
}

/// What all clones share.
pub(crate) struct HandleParts {
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) applied: SharedApplied,
    pub(crate) door: WriteDoor,
    pub(crate) writes: Arc<WriteCounters>,
    pub(crate) wal: Arc<WalCounters>,
}

/// Counters and sizes of the store at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetaMetrics {
    pub revision: u64,
    pub keys: u64,
    /// Bytes of all keys and values.
    pub state_bytes: u64,
    /// Bytes of the log file that hold records, live or not.
    pub log_bytes: u64,
    /// Bytes that the log can still take without asking the disk for space.
    pub log_room_bytes: u64,
    pub writes_total: u64,
    pub batches_total: u64,
    pub fsyncs_total: u64,
    pub watchers: u64,
}

impl MetaHandle {
    /// Answers one request. Writes that wait at the same time share one log record and one fsync; a read costs none.
    ///
    /// A future that is dropped does not take its write back.
    pub async fn request(&self, request: MetaRequest) -> MetaResponse {
        if let Some(reason) = request.refusal() {
            return MetaResponse::Refused { reason };
        }
        if request.is_write() {
            return self.parts.door.write(request).await;
        }
        if let Err(reason) = self.ensure_current().await {
            return MetaResponse::Unavailable { reason };
        }
        let answer = self.parts.applied.read().state.read(&request);
        answer.unwrap_or_else(|| MetaResponse::Refused { reason: "not a read".to_owned() })
    }

    /// The keys under the prefixes now, and every change of them from here on.
    ///
    /// # Errors
    /// [`WatchClosed`] when the store has stopped, cannot prove that it is current, or has too many watchers.
    pub async fn watch(&self, prefixes: &[&str]) -> Result<Watch, WatchClosed> {
        self.ensure_current().await.map_err(|_| WatchClosed::Stopped)?;
        self.parts.applied.write().watch(prefixes)
    }

    /// Answers another voter.
    ///
    /// # Errors
    /// [`PeerError`] when this node cannot answer; the caller retries.
    pub async fn answer_peer(&self, request: PeerRequest) -> Result<PeerResponse, PeerError> {
        answer(&self.parts.raft, self.parts.node, request).await
    }

    pub fn metrics(&self) -> MetaMetrics {
        let (writes, wal) = (&self.parts.writes, &self.parts.wal);
        let applied = self.parts.applied.read();
        MetaMetrics {
            revision: applied.state.revision(),
            keys: u64::try_from(applied.state.len()).unwrap_or(u64::MAX),
            state_bytes: applied.state.bytes(),
            log_bytes: wal.used_bytes.load(Ordering::Relaxed),
            log_room_bytes: wal.room_bytes.load(Ordering::Relaxed),
            writes_total: writes.writes.load(Ordering::Relaxed),
            batches_total: writes.batches.load(Ordering::Relaxed),
            fsyncs_total: wal.fsyncs.load(Ordering::Relaxed),
            watchers: u64::try_from(applied.watchers()).unwrap_or(u64::MAX),
        }
    }

    /// Makes sure that the applied state holds every write that has been answered, here or by any other voter.
    async fn ensure_current(&self) -> Result<(), String> {
        if self.parts.applied.read().is_sole_voter(self.parts.node.0) {
            return Ok(());
        }
        let ensured = self.parts.raft.ensure_linearizable().await;
        ensured.map(|_| ()).map_err(|error| format!("this metadata voter cannot prove that it is current: {error}"))
    }
}

impl std::fmt::Debug for MetaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetaHandle").field("node", &self.parts.node).field("metrics", &self.metrics()).finish()
    }
}
