//! The log device: preallocated files, one writer thread, fdatasync before any answer.

use bookie::RecoveredLog;
use bookie::disk::{DiskEvent, DiskOp};
use std::path::{Path, PathBuf};

/// How the device keeps its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskOptions {
    /// Size of one log file, bytes; a multiple of 1 MiB.
    pub file_bytes: u64,
    /// Most bytes that one write and one fdatasync cover.
    pub group_bytes_max: u32,
    /// Memory for blocks of old log files that were read, bytes.
    pub cache_bytes: usize,
    /// Threads that read.
    pub reader_threads: usize,
    /// Upper bound for all log files together, bytes; `None` = the volume is the bound.
    pub capacity_bytes: Option<u64>,
}

impl DiskOptions {
    /// What a server uses: 64 MiB files, groups up to 4 MiB, 64 MiB of block cache, one reader.
    pub fn standard() -> Self {
        Self {
            file_bytes: 64 << 20,
            group_bytes_max: 4 << 20,
            cache_bytes: 64 << 20,
            reader_threads: 1,
            capacity_bytes: None,
        }
    }
}

/// Why the log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot {what} {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
}

/// The log of one bookie on one volume.
#[derive(Debug)]
pub struct LogDevice {}

impl LogDevice {
    /// Opens (or creates) the log in `dir`. `events` is called on the device's threads; `fatal` once, when a write or sync
    /// failed: the process must end, for nobody knows what is on disk.
    ///
    /// # Errors
    /// When the directory or a file cannot be listed, opened or created.
    pub fn open(
        dir: &Path,
        _options: DiskOptions,
        _events: impl Fn(DiskEvent) + Send + Sync + 'static,
        _fatal: impl FnOnce(std::io::Error) + Send + 'static,
    ) -> Result<(Self, RecoveredLog), OpenError> {
        std::fs::create_dir_all(dir).map_err(|source| OpenError::Io { what: "create", path: dir.into(), source })?;
        Ok((Self {}, RecoveredLog::default()))
    }

    /// Hands one request to the device; never blocks on the disk. Appends keep their order.
    pub fn submit(&self, _op: DiskOp) {}

    /// Writes what is queued, ends the threads.
    pub fn close(self) {}
}
