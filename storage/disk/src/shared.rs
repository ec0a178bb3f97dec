//! What the device's threads share: queues, file handles, the way out for events and for the one fatal error.
//!
//! **Invariants**
//! - I1  no lock is held while an event is given out or a file is read, written or synced.

use crate::log_files::LogFiles;
use crate::options::DiskOptions;
use bookie::disk::{DiskEvent, DiskOp, FileId, ReadId};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

/// A value with a bell. Ringing costs a system call only when somebody sleeps.
#[derive(Debug)]
pub(crate) struct Bell<T> {
    value: Mutex<T>,
    bell: Condvar,
    /// Threads that sleep; changed only while the value is locked.
    sleeping: AtomicUsize,
}

impl<T> Bell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), bell: Condvar::new(), sleeping: AtomicUsize::new(0) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value and wakes whoever sleeps.
    pub(crate) fn ring(&self, change: impl FnOnce(&mut T)) {
        let mut value = self.lock();
        change(&mut value);
        let sleeping = self.sleeping.load(Ordering::Relaxed) > 0;
        drop(value);
        if sleeping {
            self.bell.notify_all();
        }
    }

    pub(crate) fn wait<'a>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        let guard = self.bell.wait(guard).unwrap_or_else(PoisonError::into_inner);
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    pub(crate) fn wait_at_most<'a>(&self, guard: MutexGuard<'a, T>, time: Duration) -> MutexGuard<'a, T> {
        self.sleeping.fetch_add(1, Ordering::Relaxed);
        let guard = self.bell.wait_timeout(guard, time).unwrap_or_else(PoisonError::into_inner).0;
        self.sleeping.fetch_sub(1, Ordering::Relaxed);
        guard
    }
}

/// What waits for the writer. `Bookie` bounds the bytes of adds; copies and fences are few.
#[derive(Debug, Default)]
pub(crate) struct WriterInbox {
    /// Appends, in order, and frees.
    pub(crate) ops: VecDeque<DiskOp>,
    /// The next file, prepared.
    pub(crate) prepared: Option<FileId>,
    pub(crate) closing: bool,
}

/// What waits for the files thread.
#[derive(Debug, Default)]
pub(crate) struct FilesInbox {
    /// The file that the writer wants next.
    pub(crate) wanted: Option<FileId>,
    pub(crate) freed: Vec<FileId>,
    pub(crate) closing: bool,
}

/// A read on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadJob {
    pub(crate) id: ReadId,
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) len: u32,
}

#[derive(Debug, Default)]
pub(crate) struct ReaderInbox {
    pub(crate) jobs: VecDeque<ReadJob>,
    pub(crate) closing: bool,
}

type Fatal = Box<dyn FnOnce(io::Error) + Send>;

pub(crate) struct Shared {
    pub(crate) options: DiskOptions,
    pub(crate) files: LogFiles,
    pub(crate) writer: Bell<WriterInbox>,
    pub(crate) preparer: Bell<FilesInbox>,
    pub(crate) reader: Bell<ReaderInbox>,
    handles: RwLock<BTreeMap<FileId, Arc<File>>>,
    /// Up to where the newest file is written and synced: blocks below will never change.
    frontier: Mutex<(FileId, u64)>,
    /// Bytes left in the file being written.
    pub(crate) room: AtomicU64,
    /// Recent mean of bytes per group.
    pub(crate) group_bytes: AtomicU64,
    /// The writer has work and no file for it.
    pub(crate) starving: AtomicBool,
    pub(crate) syncs: AtomicU64,
    events: Box<dyn Fn(DiskEvent) + Send + Sync>,
    fatal: Mutex<Option<Fatal>>,
    failed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(
        options: DiskOptions,
        files: LogFiles,
        handles: BTreeMap<FileId, Arc<File>>,
        events: Box<dyn Fn(DiskEvent) + Send + Sync>,
        fatal: Fatal,
    ) -> Self {
        Self {
            options,
            files,
            writer: Bell::new(WriterInbox::default()),
            preparer: Bell::new(FilesInbox::default()),
            reader: Bell::new(ReaderInbox::default()),
            handles: RwLock::new(handles),
            frontier: Mutex::new((FileId(0), 0)),
            room: AtomicU64::new(0),
            group_bytes: AtomicU64::new(0),
            starving: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
            events,
            fatal: Mutex::new(Some(fatal)),
            failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn emit(&self, event: DiskEvent) {
        (self.events)(event);
    }

    /// Ends the device's work: from now on nothing is answered, and the owner is told once (LogDevice I2).
    pub(crate) fn fail(&self, what: &'static str, file: FileId, error: io::Error) {
        self.failed.store(true, Ordering::SeqCst);
        let fatal = self.fatal.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(fatal) = fatal {
            tracing::error!(what, file = file.0, %error, "the log device failed; what is on disk is unknown until restart");
            fatal(error);
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    pub(crate) fn handle(&self, file: FileId) -> Option<Arc<File>> {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).get(&file).cloned()
    }

    pub(crate) fn add_handle(&self, file: FileId, handle: File) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).insert(file, Arc::new(handle));
    }

    pub(crate) fn remove_handle(&self, file: FileId) {
        self.handles.write().unwrap_or_else(PoisonError::into_inner).remove(&file);
    }

    /// Files in the log, the prepared one included.
    pub(crate) fn handle_count(&self) -> u64 {
        self.handles.read().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    pub(crate) fn advance_frontier(&self, file: FileId, end: u64) {
        *self.frontier.lock().unwrap_or_else(PoisonError::into_inner) = (file, end);
    }

    /// Whether nothing below `end` of this file will be written again.
    pub(crate) fn is_final(&self, file: FileId, end: u64) -> bool {
        let (newest, written) = *self.frontier.lock().unwrap_or_else(PoisonError::into_inner);
        file < newest || (file == newest && end <= written)
    }
}
