//! Opening and closing a metadata node.
//!
//! **What**  One thread, `meta-raft`, runs a runtime of its own on which everything of openraft lives; `meta-wal`
//! writes the log. Callers keep their own runtime, and a busy one does not delay raft's timers.

use crate::compaction::Compaction;
use crate::compass::Compass;
use crate::directory::open_directory;
use crate::error::{MetaFatal, OpenError};
use crate::fatal::FatalSwitch;
use crate::handle::{HandleParts, MetaHandle};
use crate::members::MemberDesk;
use crate::office::Office;
use crate::options::{MetaOptions, Start};
use crate::peers::PeerNetwork;
use crate::raft_types::Raft;
use crate::read_queue::ReadQueue;
use crate::standing::{Beside, Leadership, Standing, StandingTask};
use crate::wal::FileOptions;
use crate::write_queue::{WriteCounters, WriteQueue, WriteQueueParts};
use openraft::{RaftMetrics, ServerState, SnapshotPolicy};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// A leader shows itself this often, in milliseconds; it is also the pace of raft's own clock.
const HEARTBEAT_MS: u64 = 100;
/// Silence after which a voter stands for election, in milliseconds. Openraft adds a lease of the maximum after a
/// leader was lost, so that a new one leads within a second and a half.
const ELECTION_MS_MIN: u64 = 300;
const ELECTION_MS_MAX: u64 = 600;
/// One chunk of a snapshot must arrive within this, in milliseconds.
const SNAPSHOT_CHUNK_MS: u64 = 10_000;
/// Entries that stay in the log behind a snapshot, so that a voter that was away for a moment need not take all of it.
const ENTRIES_KEPT_FOR_PEERS: u64 = 256;
/// A sole voter that does not lead itself within this will not do so any more.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);

/// A running metadata node. Dropping it stops the node as well, without waiting for the end.
#[derive(Debug)]
pub struct MetaStore {
    handle: MetaHandle,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl MetaStore {
    /// Opens the directory, creates it when absent, and returns when the node can answer; where it does not decide
    /// alone, when it has begun to look for the others. `fatal` is called at most once, from a thread of the store, and
    /// is expected to end the process.
    ///
    /// # Errors
    /// [`OpenError`] when the directory is damaged, foreign or unreadable, or the options contradict themselves.
    pub async fn open(
        dir: &Path,
        options: MetaOptions,
        fatal: impl FnOnce(MetaFatal) + Send + 'static,
    ) -> Result<Self, OpenError> {
        Self::open_with(dir, options, FileOptions::PRODUCTION, fatal).await
    }

    pub(crate) async fn open_with(
        dir: &Path,
        options: MetaOptions,
        file_options: FileOptions,
        fatal: impl FnOnce(MetaFatal) + Send + 'static,
    ) -> Result<Self, OpenError> {
        if options.start == Start::Join && options.transport.is_none() {
            return Err(OpenError::NoTransport);
        }
        let (opened, outcome) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let files = Files { dir: dir.to_owned(), options: file_options, fatal: FatalSwitch::new(fatal) };
        let life = move || {
            // A failure to start is told through `opened`, which is dropped with the closure.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            if let Ok(runtime) = runtime {
                runtime.block_on(live(files, options, opened, stopped));
            }
            drop(end);
        };
        let thread = std::thread::Builder::new().name("meta-raft".to_owned()).spawn(life);
        thread.map_err(|error| OpenError::Raft { reason: format!("no thread: {error}") })?;
        let lost = |_| OpenError::Raft { reason: "its thread ended while it started".to_owned() };
        let handle = outcome.await.map_err(lost)??;
        Ok(Self { handle, stop, ended })
    }

    pub fn handle(&self) -> MetaHandle {
        self.handle.clone()
    }

    /// Stops the node and waits until its files are closed. Requests that were not answered end as unavailable.
    pub async fn close(self) {
        let Self { handle, stop, ended } = self;
        drop((handle, stop));
        let _ = ended.await;
    }
}

/// Where the node's files are, and what to do when they fail.
struct Files {
    dir: PathBuf,
    options: FileOptions,
    fatal: FatalSwitch,
}

/// The node's life, from its files to its last answer.
async fn live(
    files: Files,
    options: MetaOptions,
    opened: oneshot::Sender<Result<MetaHandle, OpenError>>,
    stopped: oneshot::Receiver<()>,
) {
    let (handle, tasks) = match start(files, options).await {
        Ok(started) => started,
        Err(error) => return drop(opened.send(Err(error))),
    };
    let Tasks { writes, reads, members, standing } = tasks;
    let (raft, applied) = (handle.parts.raft.clone(), handle.parts.applied.clone());
    // They end with this set, whoever still waits for them.
    let mut beside = JoinSet::new();
    beside.spawn(reads.run());
    beside.spawn(members.run());
    beside.spawn(standing.run());
    if opened.send(Ok(handle)).is_ok() {
        tokio::select! {
            () = writes.run() => (),
            _ = stopped => (),
        }
    }
    drop(beside);
    // The error would say that raft's task has panicked, which is no reason to stay.
    let _ = raft.shutdown().await;
    applied.write().close_watchers();
}

/// What runs on the store's thread beside raft.
struct Tasks {
    writes: WriteQueue,
    reads: ReadQueue,
    members: MemberDesk,
    standing: StandingTask,
}

async fn start(files: Files, options: MetaOptions) -> Result<(MetaHandle, Tasks), OpenError> {
    let Files { dir, options: file_options, fatal } = files;
    let MetaOptions { node, start, transport } = options;
    let (log, machine) = open_directory(&dir, node.0, file_options, &fatal)?;
    let (wal, room, applied) = (log.counters(), log.room(), machine.applied());
    let config = Arc::new(raft_config(transport.is_some()));
    let raft = Raft::new(node.0, config, PeerNetwork(transport.clone()), log, machine).await.map_err(raft_error)?;
    let is_sole = take_office(&raft, node.0, start).await?;
    if !is_sole {
        if transport.is_none() {
            return Err(OpenError::NoTransport);
        }
        applied.write().expect_other_voters();
    }
    let counters = Arc::new(WriteCounters::default());
    let (stands, standing) = watch::channel(Standing::Joining);
    let (leads, leadership) = watch::channel(Leadership::default());
    let compass = Compass::new(node, &raft, transport.clone(), standing.clone(), applied.clone());
    let office = Arc::new(Office::new(raft.clone(), compass.clone(), room.clone()));
    let compaction = Arc::new(Compaction::new(raft.clone(), Arc::clone(&wal), applied.clone()));
    let (writes_door, writes) = WriteQueue::new(WriteQueueParts {
        raft: raft.clone(),
        compass: compass.clone(),
        office: Arc::clone(&office),
        compaction: Arc::clone(&compaction),
        counters: Arc::clone(&counters),
        fatal,
    });
    let (reads_door, reads) = ReadQueue::new(raft.clone(), compass.clone(), Arc::clone(&office));
    let (members_door, members) = MemberDesk::new(raft.clone(), compass.clone(), applied.clone());
    let (reached, reaches) = watch::channel(None);
    let publish = (stands, leads);
    let beside = Beside { transport, compaction, room };
    let mut stands = StandingTask::new(node, raft.clone(), applied.clone(), beside, publish, reaches);
    stands.publish();
    let parts = HandleParts {
        node,
        raft,
        applied,
        compass,
        writes_door,
        reads: reads_door,
        members: members_door,
        standing,
        leadership,
        reached,
        writes: counters,
        wal,
        office,
    };
    Ok((MetaHandle { parts: Arc::new(parts) }, Tasks { writes, reads, members, standing: stands }))
}

fn raft_config(has_peers: bool) -> openraft::Config {
    openraft::Config {
        cluster_name: "meridian-meta".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        install_snapshot_timeout: SNAPSHOT_CHUNK_MS,
        // `Compaction` asks for them.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: if has_peers { ENTRIES_KEPT_FOR_PEERS } else { 0 },
        ..openraft::Config::default()
    }
}

/// Founds the region's metadata when that is asked of an empty directory; a sole voter then waits until it leads itself
/// and has applied its whole log. Tells whether it is one.
async fn take_office(raft: &Raft, me: u64, start: Start) -> Result<bool, OpenError> {
    let is_sole = if raft.is_initialized().await.map_err(raft_error)? {
        let is_sole = is_sole_voter(&raft.metrics().borrow(), me);
        let was_leader = raft.with_raft_state(|state| state.vote_ref().is_committed()).await.map_err(raft_error)?;
        if is_sole && !was_leader {
            // The last process ended in the middle of its first election.
            raft.trigger().elect().await.map_err(raft_error)?;
        }
        is_sole
    } else if start == Start::Found {
        raft.initialize(BTreeSet::from([me])).await.map_err(raft_error)?;
        true
    } else {
        false
    };
    if !is_sole {
        return Ok(false);
    }
    let leads = |metrics: &RaftMetrics<u64, openraft::EmptyNode>| {
        metrics.state == ServerState::Leader && metrics.last_applied.map(|last| last.index) == metrics.last_log_index
    };
    let waited = raft.wait(Some(READY_WAIT_MAX)).metrics(leads, "the sole voter leads and has applied its log").await;
    waited.map(|_| true).map_err(raft_error)
}

fn is_sole_voter(metrics: &RaftMetrics<u64, openraft::EmptyNode>, me: u64) -> bool {
    let mut voters = metrics.membership_config.membership().voter_ids();
    voters.next() == Some(me) && voters.next().is_none()
}

fn raft_error(error: impl std::fmt::Display) -> OpenError {
    OpenError::Raft { reason: error.to_string() }
}
