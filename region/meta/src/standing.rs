//! What this node is to its region, and who leads it.
//!
//! **What**  Publishes both as they change, and lets a voter stand for election only when it can win (`reach`) and could
//! lead: its log has room, or nobody else leads. It need not wait for raft's timer when its leader is gone (`succession`). A node that was removed is told by nobody: the leader stops talking to it.
//! So a node that hears no leader asks the others who is in the region.
//!
//! **States**
//! ```text
//! Joining ── a voter adds it ──▶ Learner ── promoted ──▶ Voter
//!                                   ╰──── removed ────────╯──▶ Removed ── added again ──▶ Learner
//! ```
//!
//! **Invariants**
//! - I1  a node counts as removed only when a committed membership without it is newer than a committed one with it.
//!
//! **Not here**  Changing the membership (`members`), what a removed node does with itself (the server).

use crate::applied::SharedApplied;
use crate::compaction::Compaction;
use crate::compass::{LeaderAt, leader_of};
use crate::office::LEADER_ROOM_BYTES;
use crate::peer_messages::{PeerRequest, PeerResponse};
use crate::peers::PeerTransport;
use crate::raft_types::{LogId, Raft, StoredMembership};
use crate::reach::{Reach, Verdict, is_majority};
use crate::succession::{Court, LEASE, Succession, Turn};
use crate::wal::WalRoom;
use base::NodeId;
use openraft::metrics::RaftServerMetrics;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How often a node looks whether it still hears a leader, and whether its log has grown.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A node that has not heard a leader for this long asks the others whether it was removed.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// How long it waits for the answer of each.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(1);

/// What a node is to its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Not added yet, as far as it knows.
    Joining,
    /// It has all data and no vote.
    Learner,
    Voter,
    /// It takes no part any more. Its directory is of no use: it would join again under a new number.
    Removed,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joining => "joining",
            Self::Learner => "learner",
            Self::Voter => "voter",
            Self::Removed => "removed",
        })
    }
}

/// Who leads the metadata of the region, as this node knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<NodeId>,
    /// Grows with every election.
    pub term: u64,
    /// Whether this node had a majority of the voters within reach and has lost it: others may decide without it.
    pub apart: bool,
}

/// What the process knows of the other nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// It is connected with these.
    pub here: BTreeSet<NodeId>,
    /// Their systems reset or refused the connection, which says that the process has ended, and there is none since.
    pub gone: BTreeSet<NodeId>,
}

/// Publishes standing and leadership.
pub(crate) struct StandingTask {
    node: NodeId,
    raft: Raft,
    applied: SharedApplied,
    beside: Beside,
    /// Whether no leader spoke to it when it last looked, and whether its log had room then.
    forgotten: bool,
    has_room: bool,
    standing: watch::Sender<Standing>,
    leadership: watch::Sender<Leadership>,
    /// `None` until the process says so.
    reached: watch::Receiver<Option<Reached>>,
    reach: Reach,
    succession: Succession,
    /// It is its turn to follow a leader that is gone.
    stands_now: bool,
    born: Instant,
    /// The newest committed membership with this node that it has applied.
    member_at: Option<LogId>,
    /// The newest committed membership without this node that it has heard of.
    absent_at: Option<LogId>,
}

/// What the task works with.
pub(crate) struct Beside {
    pub(crate) transport: Option<Arc<dyn PeerTransport>>,
    pub(crate) compaction: Arc<Compaction>,
    pub(crate) room: WalRoom,
}

impl StandingTask {
    pub(crate) fn new(
        node: NodeId,
        raft: Raft,
        applied: SharedApplied,
        beside: Beside,
        (standing, leadership): (watch::Sender<Standing>, watch::Sender<Leadership>),
        reached: watch::Receiver<Option<Reached>>,
    ) -> Self {
        let (reach, succession, born) = (Reach::default(), Succession::default(), Instant::now());
        let (member_at, absent_at) = (None, None);
        Self {
            node,
            raft,
            applied,
            beside,
            forgotten: false,
            has_room: true,
            standing,
            leadership,
            reached,
            reach,
            succession,
            stands_now: false,
            born,
            member_at,
            absent_at,
        }
    }

    /// Publishes until it is dropped or raft has stopped.
    pub(crate) async fn run(mut self) {
        let mut metrics = self.raft.server_metrics();
        let membership_changed = self.applied.membership_changed();
        loop {
            metrics.mark_unchanged();
            self.reached.mark_unchanged();
            let again = self.publish();
            if std::mem::take(&mut self.stands_now) && self.is_silent_for(LEASE).await {
                tracing::info!(node = self.node.0, "the leader's process is gone: standing for election");
                // The error would say that raft has stopped, which its metrics tell.
                let _ = self.raft.trigger().elect().await;
            }
            let again = async {
                match again {
                    Some(at) => tokio::time::sleep_until(self.born + at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { return },
                Ok(()) = self.reached.changed() => (),
                () = again => (),
                () = membership_changed.notified() => (),
                () = tokio::time::sleep(CHECK_EVERY) => {
                    self.beside.compaction.ask_when_due().await;
                    self.forgotten = self.is_forgotten().await;
                    self.has_room = self.beside.room.ensure(LEADER_ROOM_BYTES).await;
                    self.ask_when_forgotten().await;
                }
            }
        }
    }

    /// Tells everybody what changed; `Some`: when to do so again, as time since `born`.
    pub(crate) fn publish(&mut self) -> Option<Duration> {
        let known = leadership_of(&self.raft.server_metrics().borrow(), self.node);
        let verdict = self.judge(known);
        let leadership = Leadership { apart: verdict.is_some_and(|verdict| verdict.apart), ..known };
        self.leadership.send_if_modified(|known| std::mem::replace(known, leadership) != leadership);
        let membership = self.applied.read().membership.clone();
        self.note(&membership, true);
        let is_in = |voter| membership.membership().voter_ids().any(|id| id == voter);
        let now = match (self.member_at, self.absent_at) {
            (None, _) => Standing::Joining,
            (Some(member_at), Some(absent_at)) if absent_at.index > member_at.index => Standing::Removed,
            (Some(_), _) if is_in(self.node.0) => Standing::Voter,
            (Some(_), _) => Standing::Learner,
        };
        self.standing.send_if_modified(|known| {
            let before = std::mem::replace(known, now);
            if before != now {
                tracing::info!(node = self.node.0, %before, %now, "the metadata node's standing changed");
            }
            before != now
        });
        verdict?.again
    }

    /// What follows from the nodes within reach and those that are gone; `None` while the process has not named them.
    fn judge(&mut self, known: Leadership) -> Option<Verdict> {
        let reached = self.reached.borrow().clone()?;
        let voters: BTreeSet<NodeId> = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow();
            metrics.membership_config.membership().voter_ids().map(NodeId).collect()
        };
        let now = self.born.elapsed();
        let mut verdict = self.reach.judge(now, is_majority(self.node, &reached.here, &voters));
        // A leader without room in its log would have to go again; it is better than none.
        let could_lead = self.has_room || self.forgotten;
        let stands = verdict.stands && could_lead;
        self.raft.runtime_config().elect(stands);
        let Leadership { leader, term, .. } = known;
        let court = Court { me: self.node, leader, term, gone: &reached.gone, voters: &voters };
        match self.succession.judge(now, court) {
            Turn::None => (),
            Turn::Now => self.stands_now = stands,
            Turn::At(at) => verdict.again = Some(verdict.again.map_or(at, |again| again.min(at))),
        }
        Some(verdict)
    }

    /// Learns from a committed membership. Only what this node has applied itself makes it a member (I1).
    fn note(&mut self, membership: &StoredMembership, is_own: bool) {
        let Some(log_id) = *membership.log_id() else { return };
        if membership.membership().get_node(&self.node.0).is_some() {
            if is_own {
                self.member_at = self.member_at.max(Some(log_id));
            }
        } else if self.member_at.is_some() {
            self.absent_at = self.absent_at.max(Some(log_id));
        }
    }

    async fn ask_when_forgotten(&mut self) {
        let is_member = matches!(*self.standing.borrow(), Standing::Learner | Standing::Voter);
        let Some(transport) = self.beside.transport.clone().filter(|_| is_member) else { return };
        if !self.forgotten {
            return;
        }
        let membership = self.applied.read().membership.clone();
        let me = self.node.0;
        for other in membership.membership().nodes().map(|(id, _)| *id).filter(|id| *id != me) {
            let asked = transport.exchange(NodeId(other), PeerRequest::Membership);
            if let Ok(Ok(PeerResponse::Membership(heard))) = tokio::time::timeout(ANSWER_WAIT_MAX, asked).await {
                self.note(&heard, false);
            }
        }
    }

    /// Whether no leader speaks to this node.
    async fn is_forgotten(&self) -> bool {
        match leader_of(&self.raft.server_metrics().borrow(), self.node.0) {
            LeaderAt::Here => return false,
            LeaderAt::Nowhere => return true,
            LeaderAt::Peer(_) => (),
        }
        self.is_silent_for(SILENCE_MAX).await
    }

    /// Whether no leader has spoken to this node for so long.
    async fn is_silent_for(&self, long: Duration) -> bool {
        let heard = self.raft.with_raft_state(|state| state.vote_last_modified()).await;
        heard.is_ok_and(|heard| heard.is_none_or(|at| at.elapsed() >= long))
    }
}

fn leadership_of(metrics: &RaftServerMetrics<u64, openraft::EmptyNode>, node: NodeId) -> Leadership {
    let leader = match leader_of(metrics, node.0) {
        LeaderAt::Here => Some(node),
        LeaderAt::Peer(leader) => Some(leader),
        LeaderAt::Nowhere => None,
    };
    Leadership { leader, term: metrics.vote.leader_id().term, apart: false }
}
