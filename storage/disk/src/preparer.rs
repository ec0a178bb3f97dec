//! The files thread: one prepared file always at hand, freed files recycled, the space watched.
//!
//! **What**  A file whose blocks were all written once is 3 to 4 times cheaper to sync than a growing or a merely allocated one,
//! as long as groups are small. So new files are filled with zeros ahead of time. When groups are large the gain is small and
//! the zeros would cost half the disk's bandwidth: then, or when the writer already waits, the file is only allocated.

use crate::shared::Shared;
use bookie::disk::{DiskEvent, FileId};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Mean group size from which on new files are not filled with zeros.
const LARGE_GROUP_BYTES: u64 = 128 << 10;
/// How often the space is looked at, and a missing file tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Smaller changes of free space are not reported.
const SPACE_STEP_BYTES: u64 = 1 << 20;

pub(crate) struct Preparer {
    shared: Arc<Shared>,
    /// Freed files for reuse.
    pool: Vec<FileId>,
    reported: Option<(u64, u64)>,
    full: bool,
}

impl Preparer {
    pub(crate) fn new(shared: Arc<Shared>, pool: Vec<FileId>) -> Self {
        Self { shared, pool, reported: None, full: false }
    }

    pub(crate) fn run(mut self) {
        let mut wanted = None;
        loop {
            if let Err((file, error)) = self.step(&mut wanted) {
                return self.shared.fail("prepare", file, error);
            }
            self.report_space();
            let mut inbox = self.shared.preparer.lock();
            if inbox.wanted.is_none() && inbox.freed.is_empty() && !inbox.closing {
                inbox = self.shared.preparer.wait_at_most(inbox, LOOK_EVERY);
            }
            if inbox.closing || self.shared.has_failed() {
                return;
            }
            if let Some(next) = inbox.wanted.take() {
                wanted = Some(next);
            }
        }
    }

    /// Recycles what was freed and prepares what is wanted, if there is room.
    fn step(&mut self, wanted: &mut Option<FileId>) -> Result<(), (FileId, io::Error)> {
        let freed = std::mem::take(&mut self.shared.preparer.lock().freed);
        for file in freed {
            self.recycle(file).map_err(|error| (file, error))?;
        }
        let Some(file) = *wanted else {
            return Ok(());
        };
        match self.prepare(file) {
            Ok(()) => {
                *wanted = None;
                self.full = false;
                self.shared.writer.ring(|inbox| inbox.prepared = Some(file));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                if !self.full {
                    tracing::warn!(file = file.0, "no space for the next log file; waiting for some to be freed");
                }
                self.full = true;
                Ok(())
            }
            Err(error) => Err((file, error)),
        }
    }

    fn recycle(&mut self, file: FileId) -> io::Result<()> {
        self.shared.files.set_free(file)?;
        self.pool.push(file);
        while self.pool.len() > self.shared.options.pool_files_max {
            let surplus = self.pool.remove(0);
            self.shared.files.delete_free(surplus)?;
        }
        Ok(())
    }

    fn prepare(&mut self, file: FileId) -> io::Result<()> {
        while let Some(freed) = self.pool.pop() {
            if let Some(handle) = self.shared.files.reuse(freed, file)? {
                self.shared.add_handle(file, handle);
                return Ok(());
            }
        }
        if self.capacity_left() < self.shared.options.file_bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let shared = &self.shared;
        let fill = || {
            shared.group_bytes.load(Ordering::Relaxed) < LARGE_GROUP_BYTES && !shared.starving.load(Ordering::Relaxed)
        };
        let handle = shared.files.create(file, fill)?;
        shared.add_handle(file, handle);
        Ok(())
    }

    /// Bytes of new files that the configured capacity allows.
    fn capacity_left(&self) -> u64 {
        let files = self.shared.handle_count() + self.pool.len() as u64;
        let used = files.saturating_mul(self.shared.options.file_bytes);
        self.shared.options.capacity_bytes.map_or(u64::MAX, |capacity| capacity.saturating_sub(used))
    }

    /// Tells the bookie how much more can be appended.
    fn report_space(&mut self) {
        let file_bytes = self.shared.options.file_bytes;
        let (volume_free, volume_total) = match self.shared.files.volume() {
            Ok(volume) => volume,
            Err(error) => {
                tracing::warn!(%error, "cannot ask the volume for its free space; taking it for full");
                (0, 0)
            }
        };
        let creatable = volume_free.min(self.capacity_left()) / file_bytes * file_bytes;
        let prepared = u64::from(self.shared.writer.lock().prepared.is_some());
        let ready = self.pool.len() as u64 + prepared;
        let ready = ready * file_bytes + self.shared.room.load(Ordering::Relaxed);
        let total = self.shared.options.capacity_bytes.map_or(volume_total, |capacity| capacity.min(volume_total));
        let now = (ready + creatable, total);
        let step = SPACE_STEP_BYTES.min(file_bytes / 16);
        let changed = self.reported.is_none_or(|(free, old)| free.abs_diff(now.0) >= step || old != now.1);
        if changed {
            self.reported = Some(now);
            self.shared.emit(DiskEvent::Space { free_bytes: now.0, total_bytes: now.1 });
        }
    }
}
