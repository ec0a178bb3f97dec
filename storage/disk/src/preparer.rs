//! The files thread: one prepared file always at hand, freed files recycled, the space watched.
//!
//! **What**  A file whose blocks were all written once is 3 to 4 times cheaper to sync than a growing or a merely allocated one,
//! as long as groups are small. So new files are filled with zeros ahead of time. When groups are large the gain is small and
//! the zeros would cost half the disk's bandwidth: then, or when the writer already waits, the file is only allocated. The
//! zeros keep pace with the writer instead of coming in one burst, which its syncs would have to wait for.

use crate::filling::Filling;
use crate::shared::Shared;
use bookie::disk::{DiskEvent, FileId};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Mean group size from which on new files are not filled with zeros.
const LARGE_GROUP_BYTES: u64 = 128 << 10;
/// The next file is filled this much faster than the present one is used …
const FILL_LEAD: u64 = 2;
/// … and this much ahead of that, in bytes.
const FILL_SLACK_BYTES: u64 = 1 << 20;
/// How often the pace of the writer is looked at while a file is being filled.
const PACE_EVERY: Duration = Duration::from_millis(5);
/// How often the space is looked at, and a missing file tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Smaller changes of free space are not reported.
const SPACE_STEP_BYTES: u64 = 1 << 20;

/// What a file being filled is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    Write,
    /// The zeros are far enough ahead of the writer.
    Wait,
    /// It is full, or must do as it is.
    Stop,
}

pub(crate) struct Preparer {
    shared: Arc<Shared>,
    /// Freed files for reuse.
    pool: Vec<FileId>,
    filling: Option<Filling>,
    reported: Option<(u64, u64)>,
    full: bool,
}

impl Preparer {
    pub(crate) fn new(shared: Arc<Shared>, pool: Vec<FileId>) -> Self {
        Self { shared, pool, filling: None, reported: None, full: false }
    }

    pub(crate) fn run(mut self) {
        let mut wanted = None;
        loop {
            if let Err((file, error)) = self.step(&mut wanted) {
                return self.shared.fail("prepare", file, error);
            }
            self.report_space();
            let mut inbox = self.shared.preparer.lock();
            let pause = match self.fill_pace() {
                Some(Pace::Wait) => PACE_EVERY,
                Some(Pace::Write | Pace::Stop) => Duration::ZERO,
                None => LOOK_EVERY,
            };
            if inbox.wanted.is_none() && inbox.freed.is_empty() && !inbox.closing && !pause.is_zero() {
                inbox = self.shared.preparer.wait_at_most(inbox, pause);
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
            Ok(None) => Ok(()),
            Ok(Some(handle)) => {
                *wanted = None;
                self.full = false;
                self.shared.add_handle(file, handle);
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

    /// One step towards a prepared file; the file when it is ready.
    fn prepare(&mut self, file: FileId) -> io::Result<Option<File>> {
        while let Some(freed) = self.pool.pop() {
            if let Some(handle) = self.shared.files.reuse(freed, file)? {
                self.filling = None; // A recycled file was filled long ago.
                return Ok(Some(handle));
            }
        }
        if self.filling.as_ref().is_none_or(|filling| filling.file != file) {
            self.filling = None;
            if self.capacity_left() < self.shared.options.file_bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.filling = Some(Filling::begin(&self.shared.files, file)?);
        }
        match (self.fill_pace(), &mut self.filling) {
            (Some(Pace::Write), Some(filling)) => filling.step()?,
            (Some(Pace::Stop), _) => {
                let filling = self.filling.take();
                return filling.map(|filling| filling.finish(&self.shared.files)).transpose();
            }
            (Some(Pace::Write | Pace::Wait) | None, _) => (),
        }
        Ok(None)
    }

    /// What to do about the file that is being filled, if any.
    fn fill_pace(&self) -> Option<Pace> {
        let (filling, shared) = (self.filling.as_ref()?, &self.shared);
        let large = shared.group_bytes.load(Ordering::Relaxed) >= LARGE_GROUP_BYTES;
        let in_a_hurry = large || shared.starving.load(Ordering::Relaxed);
        if filling.is_full() || (in_a_hurry && filling.may_stop()) {
            return Some(Pace::Stop);
        }
        let used = shared.options.file_bytes.saturating_sub(shared.room.load(Ordering::Relaxed));
        let due = used.saturating_mul(FILL_LEAD).saturating_add(FILL_SLACK_BYTES);
        Some(if in_a_hurry || filling.at() < due { Pace::Write } else { Pace::Wait })
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
