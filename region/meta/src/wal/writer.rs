//! The one thread that writes the log.
//!
//! **What**  Takes everything that was handed to it meanwhile, writes it, and lets one fdatasync answer for all of it.
//! While it waits for the disk, the raft node goes on reading and talking.

use super::file::LogFile;
use crate::error::IoFailure;
use crate::fatal::FatalSwitch;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// Called when the write is durable; dropped without a call when it never will be.
pub(crate) type Durable = Box<dyn FnOnce() + Send>;

/// Jobs that wait for the thread. openraft awaits each append, so that few ever do.
const JOBS_MAX: usize = 256;

/// Kept free for what raft writes unasked: votes, blank entries, purges, witnesses.
const RAFT_OWN_BYTES: u64 = 64 << 10;

enum Job {
    /// One group per body. With `durable`, an fdatasync follows.
    Append { bodies: Vec<Bytes>, durable: Option<Durable> },
    /// The file becomes just these groups.
    Replace { bodies: Vec<Bytes> },
    /// Room for this many bytes, please; answers whether there is.
    Grow { room_min: u64, done: oneshot::Sender<bool> },
    /// No more jobs follow.
    Close,
}

/// What the thread tells about its file; read without asking it.
#[derive(Debug, Default)]
pub(crate) struct WalCounters {
    pub(crate) used_bytes: AtomicU64,
    pub(crate) room_bytes: AtomicU64,
    pub(crate) fsyncs: AtomicU64,
}

/// The sending side; dropping it ends the thread after the jobs that it has.
#[derive(Debug)]
pub(crate) struct WalWriter {
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<WalCounters>,
}

impl WalWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the operating system refuses a thread.
    pub(crate) fn start(file: LogFile, fatal: FatalSwitch) -> std::io::Result<Self> {
        let (jobs, received) = sync_channel(JOBS_MAX);
        let counters = Arc::new(WalCounters::default());
        let thread = WriterThread { file, counters: Arc::clone(&counters), disk_full: false };
        thread.publish();
        let name = "meta-wal".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(move || thread.run(&received, &fatal))?;
        Ok(Self { jobs, thread: Some(thread), counters })
    }

    /// Writes the bodies in order behind everything before; calls `durable` when they are safe.
    pub(crate) fn append(&self, bodies: Vec<Bytes>, durable: Durable) {
        self.submit(Job::Append { bodies, durable: Some(durable) });
    }

    /// Writes a body that may be lost as long as nothing behind it has become durable.
    pub(crate) fn append_note(&self, body: Bytes) {
        self.submit(Job::Append { bodies: vec![body], durable: None });
    }

    /// Replaces all that was written before by these bodies, which must say the same.
    pub(crate) fn replace(&self, bodies: Vec<Bytes>) {
        self.submit(Job::Replace { bodies });
    }

    pub(crate) fn counters(&self) -> Arc<WalCounters> {
        Arc::clone(&self.counters)
    }

    /// For whoever must know, before it proposes a write, that the log has room for it.
    pub(crate) fn room(&self) -> WalRoom {
        WalRoom { jobs: self.jobs.clone(), counters: self.counters() }
    }

    fn submit(&self, job: Job) {
        // An error means that the thread ended with a fatal error; the job's `durable` is dropped uncalled, as it must be.
        let _ = self.jobs.send(job);
    }
}

impl Drop for WalWriter {
    fn drop(&mut self) {
        // Said in so many words, because a `WalRoom` may keep the channel open.
        self.submit(Job::Close);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already been reported by the runtime.
            let _ = thread.join();
        }
    }
}

/// Makes sure of room in the log ahead of a write. Behind a proposal there is no way back: a log that cannot take an
/// entry that raft has accepted must stop the process, so a full disk has to be noticed before.
#[derive(Clone, Debug)]
pub(crate) struct WalRoom {
    jobs: SyncSender<Job>,
    counters: Arc<WalCounters>,
}

impl WalRoom {
    /// Whether `bytes` and what raft itself may have to write fit, after growing the file when they do not yet.
    pub(crate) async fn ensure(&self, bytes: u64) -> bool {
        let room_min = bytes + RAFT_OWN_BYTES;
        if self.counters.room_bytes.load(Ordering::Relaxed) >= room_min {
            return true;
        }
        let (done, answer) = oneshot::channel();
        let asked = self.jobs.send(Job::Grow { room_min, done });
        asked.is_ok() && answer.await.unwrap_or(false)
    }
}

enum Next {
    Wait,
    Close,
}

struct WriterThread {
    file: LogFile,
    counters: Arc<WalCounters>,
    disk_full: bool,
}

impl WriterThread {
    fn run(mut self, received: &Receiver<Job>, fatal: &FatalSwitch) {
        while let Ok(first) = received.recv() {
            let more = std::iter::from_fn(|| received.try_recv().ok()).take(JOBS_MAX);
            let mut jobs: VecDeque<Job> = std::iter::once(first).chain(more).collect();
            let mut waiting = Vec::new();
            match self.perform(&mut jobs, &mut waiting) {
                Ok(Next::Wait) => (),
                Ok(Next::Close) => return,
                // Wal I3: who waits and what is left are dropped uncalled, after the cause has been told.
                Err(failure) => return fatal.trip(failure.into()),
            }
        }
    }

    fn perform(&mut self, jobs: &mut VecDeque<Job>, waiting: &mut Vec<Durable>) -> Result<Next, IoFailure> {
        let mut next = Next::Wait;
        while let Some(job) = jobs.pop_front() {
            match job {
                Job::Append { bodies, durable } => {
                    waiting.extend(durable);
                    self.file.append(&bodies)?;
                }
                Job::Replace { bodies } => {
                    self.settle(waiting)?;
                    let replaced = self.file.replace(&bodies);
                    self.forgive_full_disk(replaced)?;
                }
                Job::Grow { room_min, done } => {
                    let grown = self.file.grow_ahead(room_min);
                    self.forgive_full_disk(grown)?;
                    self.publish();
                    let _ = done.send(self.file.room() >= room_min);
                }
                Job::Close => next = Next::Close,
            }
        }
        self.settle(waiting)?;
        self.publish();
        Ok(next)
    }

    /// One fdatasync for all who wait, then what nobody waits for.
    fn settle(&mut self, waiting: &mut Vec<Durable>) -> Result<(), IoFailure> {
        if waiting.is_empty() {
            return Ok(());
        }
        self.file.sync()?;
        self.counters.fsyncs.fetch_add(1, Ordering::Relaxed);
        self.publish();
        for durable in waiting.drain(..) {
            durable();
        }
        self.file.append_witness()?;
        let ahead = self.file.options().ahead_bytes;
        let grown = if self.file.room() < ahead / 2 { self.file.grow_ahead(ahead) } else { Ok(()) };
        self.forgive_full_disk(grown)
    }

    /// A full disk stops growing and rewriting, which can wait; every other error is final.
    fn forgive_full_disk(&mut self, outcome: Result<(), IoFailure>) -> Result<(), IoFailure> {
        match outcome {
            Ok(()) => self.disk_full = false,
            Err(failure) if failure.is_full() => {
                if !self.disk_full {
                    tracing::warn!(
                        room_bytes = self.file.room(),
                        "{failure}; the metadata log lives on the room that it has until there is space again"
                    );
                }
                self.disk_full = true;
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn publish(&self) {
        self.counters.used_bytes.store(self.file.used(), Ordering::Relaxed);
        self.counters.room_bytes.store(self.file.room(), Ordering::Relaxed);
    }
}
