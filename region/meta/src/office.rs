//! Giving up the lead of the metadata when this node's log has no room and another voter's has.
//!
//! **What**  Only the leader's log decides whether the region's metadata can be written. A leader whose disk is full takes no
//! more requests, waits for what it has proposed, and sends no more heartbeats until another voter was elected; what waited
//! goes there. Where nobody has room it stays: it can still prove reads.
//!
//! **Invariants**
//! - I1  nothing is proposed and no read is proven while the lead is being given up, so that no outcome is lost by it.
//!
//! **Not here**  A follower without room, which stores nothing and hears heartbeats (`answers`), does not stand for election
//! (`standing`), and has the leader answer its reads (`handle`).
//!
//! **Tests**  `office/tests.rs`; on real disks `full_metadata.py`.

use crate::compass::{Compass, LeaderAt};
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::raft_types::{Entry, Raft};
use crate::wal::WalRoom;
use base::NodeId;
use openraft::{EntryPayload, ServerState};
use std::time::Duration;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, watch};
use tokio::time::Instant;

/// Room that a node must have in its log to lead or to stand for election, in bytes.
pub(crate) const LEADER_ROOM_BYTES: u64 = 64 << 10;
/// Bytes that an entry takes in the log beside its requests.
pub(crate) const ENTRY_OVERHEAD: u64 = 256;
/// How long one voter may take to say whether it has room.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);
/// How long the others may take to elect another leader.
const ELECTION_WAIT_MAX: Duration = Duration::from_secs(3);
/// After a try that failed the next one waits so long.
const PAUSE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Office {
    raft: Raft,
    compass: Compass,
    room: WalRoom,
    /// When it could not be done; held while it is tried.
    failed_at: Mutex<Option<Instant>>,
    /// Read by each proposal as long as it is under way (I1).
    proposals: RwLock<()>,
    /// The log had no room for the last entries that the leader sent.
    is_behind: watch::Sender<bool>,
}

impl Office {
    pub(crate) fn new(raft: Raft, compass: Compass, room: WalRoom) -> Self {
        let (failed_at, proposals) = (Mutex::new(None), RwLock::new(()));
        Self { raft, compass, room, failed_at, proposals, is_behind: watch::Sender::new(false) }
    }

    /// Notes whether entries of the leader had room in the log.
    pub(crate) fn note_stored(&self, stored: bool) {
        self.is_behind.send_if_modified(|behind| std::mem::replace(behind, !stored) == stored);
    }

    /// Whether the applied state stays as it is, because the log has no room for what the leader sends.
    pub(crate) fn is_behind(&self) -> watch::Receiver<bool> {
        self.is_behind.subscribe()
    }

    pub(crate) fn room(&self) -> &WalRoom {
        &self.room
    }

    /// Keeps the lead for a proposal, as long as the guard is held; `None` when this node does not lead.
    pub(crate) async fn keep_lead(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let guard = self.proposals.read().await;
        (self.compass.leader() == LeaderAt::Here).then_some(guard)
    }

    /// Leaves the lead to a voter whose log has room; answers whether this node has ceased to lead.
    pub(crate) async fn resign(&self) -> bool {
        let mut failed_at = self.failed_at.lock().await;
        if self.raft.server_metrics().borrow().state != ServerState::Leader {
            return true;
        }
        if failed_at.is_some_and(|at| at.elapsed() < PAUSE) {
            return false;
        }
        let left = self.has_successor().await && self.leave().await;
        *failed_at = (!left).then(Instant::now);
        left
    }

    async fn has_successor(&self) -> bool {
        let me = self.compass.node();
        let voters: Vec<u64> = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.membership().voter_ids().collect()
        };
        for voter in voters.into_iter().map(NodeId).filter(|voter| *voter != me) {
            let asked = self.compass.ask(voter, PeerRequest::HasRoom);
            if let Ok(Ok(PeerResponse::HasRoom(true))) = tokio::time::timeout(ANSWER_WAIT_MAX, asked).await {
                return true;
            }
        }
        false
    }

    /// Is silent until somebody else leads.
    async fn leave(&self) -> bool {
        tracing::warn!(node = self.compass.node().0, "the metadata log has no room: leaving the lead to another node");
        self.compass.set_resigning(true);
        drop(self.proposals.write().await);
        self.raft.runtime_config().heartbeat(false);
        let mut metrics = self.raft.server_metrics();
        let left = metrics.wait_for(|metrics| metrics.state != ServerState::Leader);
        let left = matches!(tokio::time::timeout(ELECTION_WAIT_MAX, left).await, Ok(Ok(_)));
        self.raft.runtime_config().heartbeat(true);
        self.compass.set_resigning(false);
        tracing::info!(node = self.compass.node().0, left, "left the lead of the metadata, or nobody took it");
        left
    }
}

/// Bytes that these entries take in the log, at most.
pub(crate) fn log_bytes(entries: &[Entry]) -> u64 {
    let requests = |entry: &Entry| match &entry.payload {
        EntryPayload::Normal(batch) => batch.requests().iter().map(|request| request.encoded_len() as u64 + 4).sum(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    };
    entries.iter().map(|entry| ENTRY_OVERHEAD + requests(entry)).sum()
}

#[cfg(test)]
mod tests;
