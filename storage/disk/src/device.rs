//! The log of one bookie on one volume: opening, handing over work, closing.

use crate::error::OpenError;
use crate::log_files::{FileBytes, Listing, LogFiles};
use crate::options::DiskOptions;
use crate::preparer::Preparer;
use crate::reader::{Reader, block_cache};
use crate::shared::{ReadJob, Shared};
use crate::writer::{Writer, nonce};
use bookie::RecoveredLog;
use bookie::disk::{DiskEvent, DiskOp, FileId};
use bookie::layout::{LogBytes, Recovery, recover};
use rustix::fs::{Advice, fadvise};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{Builder, JoinHandle};

/// The log of one bookie on one volume.
pub struct LogDevice {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
    others: Vec<JoinHandle<()>>,
}

impl LogDevice {
    /// Opens (or creates) the log in `dir`. `events` is called on the device's threads; `fatal` once, when a write, a sync or
    /// the preparation of a file failed: the process must end, for nobody knows what is on disk.
    ///
    /// # Errors
    /// When the directory or a file cannot be listed, opened or created, or a newer version wrote the log. Damage is no
    /// error: it is logged, and reported in [`RecoveredLog::damage`].
    pub fn open(
        dir: &Path,
        options: DiskOptions,
        events: impl Fn(DiskEvent) + Send + Sync + 'static,
        fatal: impl FnOnce(std::io::Error) + Send + 'static,
    ) -> Result<(Self, RecoveredLog), OpenError> {
        if let Some(problem) = options.problem() {
            return Err(OpenError::Options(problem));
        }
        std::fs::create_dir_all(dir).map_err(OpenError::io("create", dir))?;
        let files = LogFiles::new(dir, options.file_bytes);
        let mut listing = files.list().map_err(OpenError::io("list", dir))?;
        for path in listing.unfinished.drain(..) {
            std::fs::remove_file(&path).map_err(OpenError::io("remove", &path))?;
        }
        let (recovery, mut handles) = recover_log(&options, &listing)?;
        report(dir, &recovery);
        // A crash of the process alone leaves groups in the page cache that were never synced; recovery believed them.
        if let Some(tail) = recovery.tail.and_then(|tail| handles.get(&tail)) {
            tail.sync_data().map_err(OpenError::io("sync", dir))?;
        }
        let mut pool: Vec<FileId> = listing.free.keys().copied().collect();
        for file in recovery.unused {
            handles.remove(&file);
            files.set_free(file).map_err(OpenError::io("rename", &files.log_path(file)))?;
            pool.push(file);
        }
        let mut groups = recovery.writer;
        if let Some(spare) = recovery.spare {
            groups.add_file(spare, nonce());
        }
        let handles = handles.into_iter().map(|(id, file)| (id, Arc::new(file))).collect();
        let shared = Arc::new(Shared::new(options, files, handles, Box::new(events), Box::new(fatal)));
        if let Some(newest) = recovery.log.files.last() {
            shared.advance_frontier(newest.file, newest.used);
        }
        let device = Self::start(shared, groups, pool).map_err(OpenError::io("start threads for", dir))?;
        Ok((device, recovery.log))
    }

    fn start(shared: Arc<Shared>, groups: bookie::layout::GroupWriter, pool: Vec<FileId>) -> std::io::Result<Self> {
        let mut device = Self { shared: Arc::clone(&shared), writer: None, others: Vec::new() };
        let cache = block_cache(shared.options.cache_bytes);
        for _ in 0..shared.options.reader_threads {
            let reader = Reader::new(Arc::clone(&shared), cache.clone());
            device.others.push(Builder::new().name("disk-reader".into()).spawn(move || reader.run())?);
        }
        let preparer = Preparer::new(Arc::clone(&shared), pool);
        device.others.push(Builder::new().name("disk-files".into()).spawn(move || preparer.run())?);
        let writer = Writer::new(shared, groups);
        device.writer = Some(Builder::new().name("disk-writer".into()).spawn(move || writer.run())?);
        Ok(device)
    }

    /// Hands one request to the device; never waits for the disk. Appends keep their order.
    pub fn submit(&self, op: DiskOp) {
        match op {
            DiskOp::Append { .. } | DiskOp::Free { .. } => self.shared.writer.ring(|inbox| inbox.ops.push_back(op)),
            DiskOp::Read { id, file, offset, len } => {
                self.shared.reader.ring(|inbox| inbox.jobs.push_back(ReadJob { id, file, offset, len }));
            }
        }
    }

    /// Calls of fdatasync for groups so far.
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// Writes what is queued, if there is a file for it, and ends the threads. Dropping does the same.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for LogDevice {
    fn drop(&mut self) {
        self.shared.writer.ring(|inbox| inbox.closing = true);
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log writer panicked");
        }
        self.shared.preparer.ring(|inbox| inbox.closing = true);
        self.shared.reader.ring(|inbox| inbox.closing = true);
        for thread in self.others.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the log device panicked");
            }
        }
    }
}

impl fmt::Debug for LogDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDevice").field("dir", &self.shared.files.dir()).finish_non_exhaustive()
    }
}

fn recover_log(options: &DiskOptions, listing: &Listing) -> Result<(Recovery, BTreeMap<FileId, File>), OpenError> {
    let mut opened = BTreeMap::new();
    for (&file, path) in &listing.log {
        let handle = LogFiles::open(path).map_err(OpenError::io("open", path))?;
        let size = handle.metadata().map_err(OpenError::io("inspect", path))?.len();
        opened.insert(file, FileBytes { file: handle, size });
    }
    let sources: BTreeMap<FileId, &dyn LogBytes> = opened.iter().map(|(id, b)| (*id, b as &dyn LogBytes)).collect();
    // The kernel's read-ahead would fill unwritten space with zero pages, and make it look written.
    let advise = |advice| {
        for bytes in opened.values() {
            // Only a hint: without it opening is slower.
            let _ = fadvise(&bytes.file, 0, None, advice);
        }
    };
    advise(Advice::Random);
    let recovery = recover(&sources, options.layout())?;
    advise(Advice::Normal);
    Ok((recovery, opened.into_iter().map(|(id, bytes)| (id, bytes.file)).collect()))
}

fn report(dir: &Path, recovery: &Recovery) {
    let dir = dir.display();
    for damage in &recovery.log.damage {
        tracing::error!(%dir, "{damage}; what may be affected is answered as unknown until it is repaired from other copies");
    }
    if let Some(torn) = recovery.log.torn {
        tracing::info!(%dir, file = torn.file.0, offset = torn.offset, "cut a write that the last crash left unfinished");
    }
}
