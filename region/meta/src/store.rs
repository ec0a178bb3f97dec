//! Opening and closing a metadata node.
//!
//! **What**  One thread, `meta-raft`, runs a runtime of its own on which everything of openraft lives; `meta-wal` writes
//! the log. Callers keep their own runtime, and a busy one does not delay raft's timers.

use crate::directory::open_directory;
use crate::error::{MetaFatal, OpenError};
use crate::fatal::FatalSwitch;
use crate::handle::{HandleParts, MetaHandle};
use crate::options::MetaOptions;
use crate::peers::PeerNetwork;
use crate::raft_types::Raft;
use crate::wal::FileOptions;
use crate::write_queue::{WriteCounters, WriteQueue, WriteQueueParts};
use openraft::{RaftMetrics, ServerState, SnapshotPolicy};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A leader shows itself this often, in milliseconds; it is also the pace of raft's own clock.
const HEARTBEAT_MS: u64 = 150;
/// Silence after which a voter stands for election, in milliseconds. Openraft adds a lease of the maximum after a leader
/// was lost, so that a new one leads within two seconds.
const ELECTION_MS_MIN: u64 = 400;
const ELECTION_MS_MAX: u64 = 800;
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
    /// Opens the directory, creates it when absent, and returns when the node can answer; with several voters, when it
    /// has joined them in looking for a leader. `fatal` is called at most once, from a thread of the store, and is
    /// expected to end the process.
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
        options.check()?;
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
    let (handle, queue) = match start(files, options).await {
        Ok(started) => started,
        Err(error) => return drop(opened.send(Err(error))),
    };
    let (raft, applied) = (handle.parts.raft.clone(), handle.parts.applied.clone());
    if opened.send(Ok(handle)).is_ok() {
        tokio::select! {
            () = queue.run() => (),
            _ = stopped => (),
        }
    }
    // The error would say that raft's task has panicked, which is no reason to stay.
    let _ = raft.shutdown().await;
    applied.write().close_watchers();
}

async fn start(files: Files, options: MetaOptions) -> Result<(MetaHandle, WriteQueue), OpenError> {
    let Files { dir, options: file_options, fatal } = files;
    let (log, machine) = open_directory(&dir, options.node.0, file_options, &fatal)?;
    let (wal, room, applied) = (log.counters(), log.room(), machine.applied());
    let network = PeerNetwork(options.transport.clone());
    let config = Arc::new(raft_config(options.voters.len()));
    let raft = Raft::new(options.node.0, config, network, log, machine).await.map_err(raft_error)?;
    take_office(&raft, &options).await?;
    let writes = Arc::new(WriteCounters::default());
    let (door, queue) = WriteQueue::new(WriteQueueParts {
        raft: raft.clone(),
        room,
        wal: Arc::clone(&wal),
        applied: applied.clone(),
        counters: Arc::clone(&writes),
        fatal,
    });
    let parts = HandleParts { node: options.node, raft, applied, door, writes, wal };
    Ok((MetaHandle { parts: Arc::new(parts) }, queue))
}

fn raft_config(voters: usize) -> openraft::Config {
    openraft::Config {
        cluster_name: "meridian-meta".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        install_snapshot_timeout: SNAPSHOT_CHUNK_MS,
        // The write queue asks for snapshots by the bytes of the log; openraft would count entries of any size.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: if voters == 1 { 0 } else { ENTRIES_KEPT_FOR_PEERS },
        ..openraft::Config::default()
    }
}

/// Founds the region's metadata on the first start; a sole voter then waits until it leads itself and has applied its
/// whole log.
async fn take_office(raft: &Raft, options: &MetaOptions) -> Result<(), OpenError> {
    let me = options.node.0;
    let is_sole = if raft.is_initialized().await.map_err(raft_error)? {
        let is_sole = is_sole_voter(&raft.metrics().borrow(), me);
        let was_leader = raft.with_raft_state(|state| state.vote_ref().is_committed()).await.map_err(raft_error)?;
        if is_sole && !was_leader {
            // The last process ended in the middle of its first election.
            raft.trigger().elect().await.map_err(raft_error)?;
        }
        is_sole
    } else {
        let voters: BTreeSet<u64> = options.voters.iter().map(|voter| voter.0).collect();
        raft.initialize(voters).await.map_err(raft_error)?;
        options.voters.len() == 1
    };
    if !is_sole {
        return Ok(());
    }
    let leads = |metrics: &RaftMetrics<u64, openraft::EmptyNode>| {
        metrics.state == ServerState::Leader && metrics.last_applied.map(|last| last.index) == metrics.last_log_index
    };
    let waited = raft.wait(Some(READY_WAIT_MAX)).metrics(leads, "the sole voter leads and has applied its log").await;
    waited.map(|_| ()).map_err(raft_error)
}

fn is_sole_voter(metrics: &RaftMetrics<u64, openraft::EmptyNode>, me: u64) -> bool {
    let mut voters = metrics.membership_config.membership().voter_ids();
    voters.next() == Some(me) && voters.next().is_none()
}

fn raft_error(error: impl std::fmt::Display) -> OpenError {
    OpenError::Raft { reason: error.to_string() }
}
