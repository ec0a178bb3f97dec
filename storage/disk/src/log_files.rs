//! The directory: names, creation, recycling, and reading a file for recovery.
//!
//! | name | what it is |
//! |---|---|
//! | `log-<id>` | a file of the log |
//! | `free-<id>` | a freed file, content of no meaning, kept for reuse |
//! | `new-<id>` | a file being prepared; a leftover after a crash |

use bookie::disk::{DiskReadError, FileId};
use bookie::layout::LogBytes;
use bytes::Bytes;
use rustix::fs::SeekFrom;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// The files found in a directory.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) log: BTreeMap<FileId, PathBuf>,
    pub(crate) free: BTreeMap<FileId, PathBuf>,
    pub(crate) unfinished: Vec<PathBuf>,
}

/// A directory of log files.
#[derive(Clone, Debug)]
pub(crate) struct LogFiles {
    dir: PathBuf,
    file_bytes: u64,
}

impl LogFiles {
    pub(crate) fn new(dir: &Path, file_bytes: u64) -> Self {
        Self { dir: dir.to_path_buf(), file_bytes }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn log_path(&self, file: FileId) -> PathBuf {
        self.dir.join(format!("log-{:010}", file.0))
    }

    /// Where a file is prepared.
    pub(crate) fn new_path(&self, file: FileId) -> PathBuf {
        self.dir.join(format!("new-{:010}", file.0))
    }

    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    fn free_path(&self, file: FileId) -> PathBuf {
        self.dir.join(format!("free-{:010}", file.0))
    }

    pub(crate) fn list(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        for item in std::fs::read_dir(&self.dir)? {
            let path = item?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let id = |prefix: &str| name.strip_prefix(prefix).and_then(|id| id.parse().ok()).map(FileId);
            if let Some(file) = id("log-") {
                listing.log.insert(file, path);
            } else if let Some(file) = id("free-") {
                listing.free.insert(file, path);
            } else if name.starts_with("new-") {
                listing.unfinished.push(path);
            }
        }
        Ok(listing)
    }

    pub(crate) fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(path)
    }

    /// Makes `log-<file>` out of a freed file; `None` when that file has another size (it is deleted then).
    pub(crate) fn reuse(&self, freed: FileId, file: FileId) -> io::Result<Option<File>> {
        let path = self.free_path(freed);
        let opened = Self::open(&path)?;
        if opened.metadata()?.len() != self.file_bytes {
            std::fs::remove_file(&path)?;
            return Ok(None);
        }
        std::fs::rename(&path, self.log_path(file))?;
        self.sync_dir()?;
        Ok(Some(opened))
    }

    /// Takes a file out of the log. A crash may undo it: the log's own list of files decides.
    pub(crate) fn set_free(&self, file: FileId) -> io::Result<()> {
        std::fs::rename(self.log_path(file), self.free_path(file))
    }

    pub(crate) fn delete_free(&self, file: FileId) -> io::Result<()> {
        std::fs::remove_file(self.free_path(file))
    }

    pub(crate) fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.dir)?.sync_all()
    }

    /// Free and total bytes of the volume.
    pub(crate) fn volume(&self) -> io::Result<(u64, u64)> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
    }
}

/// A log file as recovery reads it.
pub(crate) struct FileBytes {
    pub(crate) file: File,
    pub(crate) size: u64,
}

impl LogBytes for FileBytes {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, DiskReadError> {
        read_block(&self.file, offset, len).map_err(|_| DiskReadError::Unreadable)
    }

    fn next_written(&self, offset: u64) -> u64 {
        match rustix::fs::seek(&self.file, SeekFrom::Data(offset)) {
            Ok(found) => found,
            Err(rustix::io::Errno::NXIO) => self.size, // Nothing but unwritten space up to the end.
            Err(_) => offset,
        }
    }
}

/// Reads `len` bytes at `offset`; fewer only at the end of the file.
pub(crate) fn read_block(file: &File, offset: u64, len: usize) -> io::Result<Bytes> {
    let mut block = Vec::with_capacity(len);
    while block.len() < len {
        let at = offset + block.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut block), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    block.truncate(len);
    Ok(block.into())
}
