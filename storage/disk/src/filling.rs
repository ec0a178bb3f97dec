//! One log file on its way to being ready: allocated, then filled with zeros step by step.
//!
//! **States**  new-… (allocated) → filled so far → log-… (renamed, durable). Dropped before that, it is removed.
//!
//! **Invariants**
//! - I1  what could not be allocated is written to the end: a log file never grows (LogDevice I3).

use crate::direct::{self, AlignedBuffer};
use crate::log_files::LogFiles;
use bookie::disk::FileId;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Zeros are written, and synced, in steps of this many bytes, so that the writer's own syncs stay short.
const STEP_BYTES: u64 = 256 << 10;

/// A file that is being prepared.
#[derive(Debug)]
pub(crate) struct Filling {
    pub(crate) file: FileId,
    made: File,
    direct: Option<File>,
    zeros: AlignedBuffer,
    path: PathBuf,
    bytes: u64,
    at: u64,
    allocated: bool,
    named: bool,
}

impl Filling {
    /// Allocates the file.
    ///
    /// # Errors
    /// `StorageFull` when the volume has no room: nothing is left behind then.
    pub(crate) fn begin(files: &LogFiles, file: FileId) -> io::Result<Self> {
        let (path, bytes) = (files.new_path(file), files.file_bytes());
        let made = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let mut filling = Self {
            file,
            made,
            direct: None,
            zeros: AlignedBuffer::new(),
            path,
            bytes,
            at: 0,
            allocated: false,
            named: false,
        };
        filling.allocated = match fallocate(&filling.made, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => true,
            Err(rustix::io::Errno::OPNOTSUPP) => false,
            Err(error) => return Err(error.into()),
        };
        filling.direct = direct::open(&filling.path)?;
        Ok(filling)
    }

    /// Up to where zeros were written.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn is_full(&self) -> bool {
        self.at >= self.bytes
    }

    /// Whether the rest may stay unwritten.
    pub(crate) fn may_stop(&self) -> bool {
        self.allocated // I1
    }

    /// Writes and syncs the next zeros.
    ///
    /// # Errors
    /// Of the file.
    pub(crate) fn step(&mut self) -> io::Result<()> {
        let step = usize::try_from((self.bytes - self.at).min(STEP_BYTES)).unwrap_or(0);
        let zeros = self.zeros.zeros(step);
        match self.direct.as_ref().map(|direct| direct.write_all_at(zeros, self.at)) {
            Some(Err(error)) if !direct::is_refused(&error) => return Err(error),
            Some(Ok(())) => (),
            Some(Err(_)) | None => self.made.write_all_at(zeros, self.at)?,
        }
        self.made.sync_data()?;
        self.at += step as u64;
        Ok(())
    }

    /// Gives the file its name in the log, durably.
    ///
    /// # Errors
    /// Of the file and its directory.
    pub(crate) fn finish(mut self, files: &LogFiles) -> io::Result<File> {
        assert!(self.is_full() || self.may_stop(), "Filling I1: {} of {} bytes", self.at, self.bytes);
        self.made.sync_all()?;
        std::fs::rename(&self.path, files.log_path(self.file))?; // LogDevice I3: it has its full size.
        self.named = true;
        files.sync_dir()?;
        self.made.try_clone()
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        if !self.named {
            // Best effort: at the next start it is removed as unfinished.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
