//! openraft's log on our file: keeps the entries in memory, hands the bytes to the writer thread.
//!
//! **Invariants**  those of [`crate::wal`] and [`crate::mem_log`], and
//! - I1  memory and file see the same records in the same order.
//!
//! **Not here**  The file format (`wal`), the applied state (`state_machine`).
//!
//! **Tests**  `log_store/tests.rs`: openraft's own suite, also with a reopened file around each call; every kill point.

use crate::error::OpenError;
use crate::fatal::FatalSwitch;
use crate::mem_log::{MemLog, OutOfPlace};
use crate::raft_types::{Entry, LogId, RaftTypes, StorageError, Vote};
use crate::wal::{FileOptions, FoundRecord, LogFile, LogRecord, Opened, WalCounters, WalRoom, WalWriter};
use bytes::{Bytes, BytesMut};
use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, EntryPayload, OptionalSend, RaftLogReader, StorageIOError};
use std::fmt::Debug;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A group's body is closed when it has this many bytes; larger entries get a group of their own.
const BODY_BYTES: usize = 4 << 20;
/// What one read for another voter answers at most, in bytes.
const READ_BYTES_MAX: u64 = 4 << 20;

/// The durable log of one node.
#[derive(Debug)]
pub(crate) struct LogStore {
    memory: SharedLog,
    writer: WalWriter,
    options: FileOptions,
    node: u64,
    stream: u64,
    /// The newest commit mark, to be written with the next record: it only spares work after a restart.
    committed_unwritten: Option<LogRecord>,
}

/// Reads entries while the store goes on writing.
#[derive(Clone, Debug)]
pub(crate) struct SharedLog(Arc<Mutex<MemLog>>);

impl LogStore {
    /// Replays the log file and starts its writer.
    ///
    /// # Errors
    /// [`OpenError`] when the file is damaged or cannot be read.
    pub(crate) fn open(path: &Path, options: FileOptions, fatal: FatalSwitch) -> Result<Self, OpenError> {
        let Opened { file, records, torn_bytes } = LogFile::open(path, options)?;
        if torn_bytes > 0 {
            tracing::info!(torn_bytes, path = %path.display(), "cut an unfinished write from the metadata log");
        }
        let mut memory = MemLog::default();
        for FoundRecord { record, offset, bytes } in records {
            let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), offset, what };
            memory.apply(record, bytes).map_err(|error| damaged(error.to_string()))?;
        }
        let (node, stream) = (file.node(), file.stream());
        let writer = WalWriter::start(file, fatal);
        let writer = writer.map_err(|error| OpenError::Raft { reason: format!("no thread for the log: {error}") })?;
        let memory = SharedLog(Arc::new(Mutex::new(memory)));
        Ok(Self { memory, writer, options, node, stream, committed_unwritten: None })
    }

    /// The node whose log this is.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// The number that tells this log from every other.
    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }

    pub(crate) fn counters(&self) -> Arc<WalCounters> {
        self.writer.counters()
    }

    pub(crate) fn room(&self) -> WalRoom {
        self.writer.room()
    }

    /// The purge mark as found; everything at or below it must be in a snapshot.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory.lock().purged()
    }

    /// Applies records to memory and gives the bodies that hold them.
    fn record(&mut self, records: impl Iterator<Item = LogRecord>) -> Result<Vec<Bytes>, OutOfPlace> {
        let committed = self.committed_unwritten.take();
        let mut memory = self.memory.lock();
        let (mut bodies, mut body) = (Vec::new(), BytesMut::new());
        // The mark is in memory already.
        committed.into_iter().for_each(|mark| mark.encode(&mut body));
        for record in records {
            let before = body.len();
            record.encode(&mut body);
            let bytes = u64::try_from(body.len() - before).unwrap_or(u64::MAX);
            memory.apply(record, bytes)?;
            if body.len() >= BODY_BYTES {
                bodies.push(body.split().freeze());
            }
        }
        if !body.is_empty() {
            bodies.push(body.freeze());
        }
        Ok(bodies)
    }

    /// Records something and waits until it is durable.
    async fn record_durably(&mut self, record: LogRecord) -> Result<(), StorageError> {
        let bodies = self.record(std::iter::once(record)).map_err(refused)?;
        let (done, durable) = oneshot::channel();
        let done = move || {
            let _ = done.send(());
        };
        self.writer.append(bodies, Box::new(done));
        let stopped = |_| StorageIOError::write_logs(AnyError::error("the log's writer has stopped"));
        Ok(durable.await.map_err(stopped)?)
    }

    /// Rewrites the file once most of it is of no use any more.
    fn rewrite_when_mostly_dead(&mut self) {
        let used = self.writer.counters().used_bytes.load(std::sync::atomic::Ordering::Relaxed);
        let live = self.memory.lock().live_bytes();
        if used < self.options.rewrite_bytes_min || live.saturating_mul(2) > used {
            return;
        }
        let (mut bodies, mut body) = (Vec::new(), BytesMut::new());
        for record in self.memory.lock().to_records() {
            record.encode(&mut body);
            if body.len() >= BODY_BYTES {
                bodies.push(body.split().freeze());
            }
        }
        bodies.push(body.freeze());
        self.committed_unwritten = None;
        self.writer.replace(bodies);
    }
}

impl RaftLogStorage<RaftTypes> for LogStore {
    type LogReader = SharedLog;

    async fn get_log_state(&mut self) -> Result<LogState<RaftTypes>, StorageError> {
        let memory = self.memory.lock();
        Ok(LogState { last_purged_log_id: memory.purged(), last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> SharedLog {
        self.memory.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.record_durably(LogRecord::Vote(*vote)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.memory.lock().vote())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let mark = LogRecord::Committed(committed);
        self.committed_unwritten = Some(mark.clone());
        let kept = self.memory.lock().apply(mark, 0);
        kept.map_err(refused)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.memory.lock().committed())
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<RaftTypes>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let marked = entries.into_iter().inspect(|entry| {
            if let EntryPayload::Normal(batch) = &entry.payload {
                batch.mark_logged();
            }
        });
        let bodies = self.record(marked.map(LogRecord::Entry)).map_err(refused)?;
        self.writer.append(bodies, Box::new(move || callback.log_io_completed(Ok(()))));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.record_durably(LogRecord::Truncate(log_id)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // A purge that is lost only leaves entries that a snapshot holds too, so nobody waits for it.
        for body in self.record(std::iter::once(LogRecord::Purged(log_id))).map_err(refused)? {
            self.writer.append_note(body);
        }
        self.rewrite_when_mostly_dead();
        Ok(())
    }
}

impl RaftLogReader<RaftTypes> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.memory.try_get_log_entries(range).await
    }
}

impl RaftLogReader<RaftTypes> for SharedLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        Ok(self.lock().range(range))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        Ok(self.lock().range_limited(start, end, READ_BYTES_MAX))
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        // Not needed for safety; it spares the next start the question what had been committed.
        if let Ok(bodies) = self.record(std::iter::empty()) {
            bodies.into_iter().for_each(|body| self.writer.append_note(body));
        }
    }
}

impl SharedLog {
    fn lock(&self) -> MutexGuard<'_, MemLog> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Openraft broke a rule of its own; it stops when it is told so.
fn refused(error: OutOfPlace) -> StorageError {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

#[cfg(test)]
mod tests;
