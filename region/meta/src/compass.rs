//! Where the leader is, and waiting until that changes.

use crate::applied::SharedApplied;
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::peers::{PeerError, PeerTransport};
use crate::raft_types::Raft;
use crate::standing::Standing;
use base::NodeId;
use openraft::ServerState;
use openraft::metrics::RaftServerMetrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long a request that could not be tried waits for news of the leader before it is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How long a request that was certainly not proposed waits for a leader that takes it.
pub(crate) const LEADER_WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a node waits for the answer of another. A leader gives up a write a second earlier.
pub(crate) const EXCHANGE_WAIT_MAX: Duration = Duration::from_secs(6);

/// The leader as this node knows it. It may be wrong: whoever is asked says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaderAt {
    Here,
    Peer(NodeId),
    Nowhere,
}

/// Finds the leader.
#[derive(Clone)]
pub(crate) struct Compass {
    node: u64,
    raft_metrics: watch::Receiver<RaftServerMetrics<u64, openraft::EmptyNode>>,
    transport: Option<Arc<dyn PeerTransport>>,
    standing: watch::Receiver<Standing>,
    applied: SharedApplied,
    /// This node leads and is about to stop (`office`).
    resigning: Arc<AtomicBool>,
}

impl Compass {
    pub(crate) fn new(
        node: NodeId,
        raft: &Raft,
        transport: Option<Arc<dyn PeerTransport>>,
        standing: watch::Receiver<Standing>,
        applied: SharedApplied,
    ) -> Self {
        let resigning = Arc::default();
        Self { node: node.0, raft_metrics: raft.server_metrics(), transport, standing, applied, resigning }
    }

    pub(crate) fn node(&self) -> NodeId {
        NodeId(self.node)
    }

    pub(crate) fn leader(&self) -> LeaderAt {
        match leader_of(&self.raft_metrics.borrow(), self.node) {
            LeaderAt::Here if self.resigning.load(Ordering::Relaxed) => LeaderAt::Nowhere,
            leader => leader,
        }
    }

    /// While this is set a node that leads says that nobody does.
    pub(crate) fn set_resigning(&self, resigning: bool) {
        self.resigning.store(resigning, Ordering::Relaxed);
    }

    /// Whether this node decides alone: its applied state holds everything that was ever answered.
    pub(crate) fn decides_alone(&self) -> bool {
        self.applied.read().decides_alone(self.node)
    }

    /// Why nothing can be asked through this node any more.
    pub(crate) fn refusal(&self) -> Option<String> {
        let removed = *self.standing.borrow() == Standing::Removed;
        removed.then(|| format!("node {} was removed from the metadata of its region", self.node))
    }

    /// Returns when the leader may have changed, or after a pause.
    pub(crate) async fn wait_for_news(&self) {
        let mut metrics = self.raft_metrics.clone();
        metrics.borrow_and_update();
        let news = async {
            if metrics.changed().await.is_err() {
                // Raft has stopped: there is none, and whoever asks must not spin.
                std::future::pending::<()>().await;
            }
        };
        let _ = tokio::time::timeout(RETRY_PAUSE, news).await;
    }

    /// Asks another node.
    ///
    /// # Errors
    /// [`PeerError`] when no answer came in time.
    pub(crate) async fn ask(&self, to: NodeId, request: PeerRequest) -> Result<PeerResponse, PeerError> {
        let Some(transport) = &self.transport else {
            return Err(PeerError::not_sent(to, "this node has no transport to others"));
        };
        let answer = tokio::time::timeout(EXCHANGE_WAIT_MAX, transport.exchange(to, request)).await;
        answer.unwrap_or_else(|_elapsed| Err(PeerError::unanswered(to, "it took too long")))
    }
}

/// A leader that was removed, and has stepped down, still stands in its own vote.
pub(crate) fn leader_of(metrics: &RaftServerMetrics<u64, openraft::EmptyNode>, node: u64) -> LeaderAt {
    match metrics.current_leader {
        Some(leader) if leader != node => LeaderAt::Peer(NodeId(leader)),
        Some(_) if metrics.state == ServerState::Leader => LeaderAt::Here,
        Some(_) | None => LeaderAt::Nowhere,
    }
}
