//! What the rest of the process holds of the metadata store.

use crate::answers::answer;
use crate::applied::SharedApplied;
use crate::compass::{Compass, LeaderAt};
use crate::members::{MemberChange, MemberDoor, MemberError};
use crate::office::Office;
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::peers::PeerError;
use crate::raft_types::Raft;
use crate::read_queue::{NotProven, ReadDoor};
use crate::standing::{Leadership, Reached, Standing};
use crate::status::{MetaStatus, status};
use crate::wal::WalCounters;
use crate::watch::{Watch, WatchClosed};
use crate::write_queue::{WriteCounters, WriteDoor};
use base::NodeId;
use meta_api::{MetaRequest, MetaResponse};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

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
    pub(crate) compass: Compass,
    pub(crate) writes_door: WriteDoor,
    pub(crate) reads: ReadDoor,
    pub(crate) members: MemberDoor,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) reached: watch::Sender<Option<Reached>>,
    pub(crate) writes: Arc<WriteCounters>,
    pub(crate) wal: Arc<WalCounters>,
    pub(crate) office: Arc<Office>,
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
    /// Answers one request, at any node of the region. Writes that wait at the same time share one log record and one
    /// fsync, or one message to the leader; a read costs no fsync, and no message where one node decides alone.
    ///
    /// A node whose log has no room for what the leader has sends its reads there.
    ///
    /// What certainly was not tried waits up to five seconds for a leader. A write that is answered `Unavailable` says
    /// whether nothing was written or its outcome is unknown; it is never made twice.
    ///
    /// A future that is dropped does not take its write back.
    pub async fn request(&self, request: MetaRequest) -> MetaResponse {
        if let Some(reason) = request.refusal() {
            return MetaResponse::Refused { reason };
        }
        if request.is_write() {
            return self.parts.writes_door.write(request).await;
        }
        match self.ensure_current().await {
            Ok(()) => self.parts.read(&request),
            Err(NotProven::Behind) => self.read_at_leader(request).await,
            Err(why) => MetaResponse::Unavailable { reason: why.to_string() },
        }
    }

    /// Makes a write that only the leader may make, while this node is the leader: it is not passed on, and does not wait
    /// behind this node's writes that are. `Unavailable` where it does not lead.
    pub async fn decide(&self, request: MetaRequest) -> MetaResponse {
        match request.refusal() {
            Some(reason) => MetaResponse::Refused { reason },
            None => self.parts.writes_door.decide(request).await,
        }
    }

    async fn read_at_leader(&self, request: MetaRequest) -> MetaResponse {
        let compass = &self.parts.compass;
        let answered = match compass.leader() {
            LeaderAt::Peer(leader) => compass.ask(leader, PeerRequest::Read(request)).await.map_err(|e| e.to_string()),
            LeaderAt::Here | LeaderAt::Nowhere => Ok(PeerResponse::NotLeader),
        };
        match answered {
            Ok(PeerResponse::Read(response)) => response,
            Ok(_) => MetaResponse::Unavailable { reason: NotProven::NotLeader.to_string() },
            Err(reason) => MetaResponse::Unavailable { reason },
        }
    }

    /// The keys under the prefixes now, and every change of them from here on.
    ///
    /// # Errors
    /// [`WatchClosed`] when the store has stopped, cannot prove that it is current, is behind as long as its log has no room, or has
    /// too many watchers.
    pub async fn watch(&self, prefixes: &[&str]) -> Result<Watch, WatchClosed> {
        self.ensure_current().await.map_err(|why| match why {
            NotProven::Behind => WatchClosed::Behind,
            NotProven::NotLeader | NotProven::Unavailable(_) => WatchClosed::Stopped,
        })?;
        self.parts.applied.write().watch(prefixes)
    }

    /// Answers another node. Each request of another node is handed over once.
    ///
    /// # Errors
    /// [`PeerError`] when this node cannot answer; what became of the request is unknown then.
    pub async fn answer_peer(&self, request: PeerRequest) -> Result<PeerResponse, PeerError> {
        answer(&self.parts, request).await
    }

    /// Says which other nodes this process is connected with now, and which are gone. A voter that reaches no majority does
    /// not stand for election, and [`Leadership::apart`] tells it; one whose leader is gone stands as soon as it may. A
    /// process that never says is held back by nothing.
    pub fn set_reached(&self, nodes: Reached) {
        self.parts.reached.send_if_modified(|known| known.replace(nodes.clone()).as_ref() != Some(&nodes));
    }

    /// Adds a node without a vote: the leader begins to send it everything. Nothing to do when it is in the region.
    ///
    /// # Errors
    /// [`MemberError`]; a change that is in doubt may be asked again, here or at any other node.
    pub async fn add_learner(&self, node: NodeId) -> Result<(), MemberError> {
        self.parts.members.change(MemberChange::AddLearner(node)).await
    }

    /// Gives a learner a vote, and waits up to ten seconds until it has caught up. Nothing to do when it has one.
    ///
    /// # Errors
    /// [`MemberError`]; a change that is in doubt may be asked again, here or at any other node.
    pub async fn promote(&self, node: NodeId) -> Result<(), MemberError> {
        self.parts.members.change(MemberChange::Promote(node)).await
    }

    /// Takes a voter's vote away; it stays in the region as a learner. Nothing to do when it has none.
    ///
    /// # Errors
    /// [`MemberError`]; a change that is in doubt may be asked again, here or at any other node.
    pub async fn demote(&self, node: NodeId) -> Result<(), MemberError> {
        self.parts.members.change(MemberChange::Demote(node)).await
    }

    /// Takes a node out of the region, also the leader and also this one. Nothing to do when it is not in it.
    ///
    /// # Errors
    /// [`MemberError`]; a change that is in doubt may be asked again, here or at any other node.
    pub async fn remove(&self, node: NodeId) -> Result<(), MemberError> {
        self.parts.members.change(MemberChange::Remove(node)).await
    }

    pub fn status(&self) -> MetaStatus {
        status(&self.parts)
    }

    /// Who leads, as it changes. The sender is gone when the store has stopped.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.parts.leadership.clone()
    }

    /// What this node is to its region, as it changes. The sender is gone when the store has stopped.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.parts.standing.clone()
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

    /// Makes sure that the applied state holds every write that has been answered, here or by any other node.
    async fn ensure_current(&self) -> Result<(), NotProven> {
        if self.parts.compass.decides_alone() {
            return Ok(());
        }
        self.parts.reads.ensure_current().await
    }
}

impl HandleParts {
    /// Answers a read from what is applied.
    pub(crate) fn read(&self, request: &MetaRequest) -> MetaResponse {
        let answer = self.applied.read().state.read(request);
        answer.unwrap_or_else(|| MetaResponse::Refused { reason: "not a read".to_owned() })
    }
}

impl std::fmt::Debug for MetaHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetaHandle").field("node", &self.parts.node).field("metrics", &self.metrics()).finish()
    }
}
