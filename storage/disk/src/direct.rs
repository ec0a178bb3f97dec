//! Writing past the page cache, where the volume can do that.
//!
//! **What**  The page cache would take each page of a log file once, from memory that is cold, and keep what nobody reads:
//! the newest entries are served from the broker's own memory. So a group is gathered in one small buffer that stays warm in
//! the processor's cache, and goes to the disk from there. Where the volume refuses (`EINVAL`), files are written as usual.
//!
//! **Invariants**
//! - I1  what is written starts and ends at multiples of [`ALIGN`], in the file and in memory.
//!
//! **Not here**  Syncing: past the page cache is not yet past the disk's own cache.

use bookie::disk::FileId;
use bookie::layout::{GROUP_ALIGN, WritePlan};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// What the block device asks for at most.
const ALIGN: usize = 4096;
/// Bytes that go to the disk at once: large enough for its bandwidth, small enough to stay in the processor's cache.
const BUFFER_BYTES: usize = 1 << 20;

const _: () = assert!((GROUP_ALIGN as usize).is_multiple_of(ALIGN) && BUFFER_BYTES.is_multiple_of(ALIGN));

/// Opens a file for writing past the page cache; `None` when the volume cannot do that.
///
/// # Errors
/// Everything else that keeps a file from being opened.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the volume says that it does not write past the page cache.
pub(crate) fn is_refused(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::OPNOTSUPP].iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}

/// Memory that begins at a multiple of [`ALIGN`].
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    memory: Vec<u8>,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Zeros.
    pub(crate) fn new() -> Self {
        let memory = vec![0; BUFFER_BYTES + ALIGN];
        let start = memory.as_ptr().align_offset(ALIGN).min(ALIGN);
        Self { memory, start, len: 0 }
    }

    /// The first `len` bytes, zeros as long as nothing was pushed.
    pub(crate) fn zeros(&self, len: usize) -> &[u8] {
        &self.memory[self.start..self.start + len.min(BUFFER_BYTES)]
    }

    /// Takes as much as there is room for; the rest is given back.
    fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(BUFFER_BYTES - self.len));
        let at = self.start + self.len;
        self.memory[at..at + taken.len()].copy_from_slice(taken);
        self.len += taken.len();
        rest
    }

    /// Everything that was pushed goes to `offset`; the buffer is empty afterwards.
    fn write_to(&mut self, file: &File, offset: u64) -> io::Result<u64> {
        assert!(self.len.is_multiple_of(ALIGN), "DirectWriter I1: {} bytes", self.len);
        let bytes = &self.memory[self.start..self.start + self.len];
        file.write_all_at(bytes, offset)?;
        Ok(std::mem::take(&mut self.len) as u64)
    }
}

/// Writes groups past the page cache as long as the volume can.
#[derive(Debug)]
pub(crate) struct DirectWriter {
    /// The file of the last group.
    open: Option<(FileId, File)>,
    buffer: AlignedBuffer,
    refused: bool,
}

impl DirectWriter {
    pub(crate) fn new() -> Self {
        Self { open: None, buffer: AlignedBuffer::new(), refused: false }
    }

    /// Writes a plan into the file that stands under `path`; false when the volume cannot do that: then nothing was written,
    /// or bytes that writing the plan in another way replaces.
    ///
    /// # Errors
    /// Of opening and writing.
    pub(crate) fn write(&mut self, path: &Path, plan: &WritePlan) -> io::Result<bool> {
        if self.refused {
            return Ok(false);
        }
        match self.try_write(path, plan) {
            Err(error) if is_refused(&error) => {
                tracing::info!(%error, "this volume does not write past the page cache");
                (self.refused, self.open) = (true, None);
                Ok(false)
            }
            done => done,
        }
    }

    fn try_write(&mut self, path: &Path, plan: &WritePlan) -> io::Result<bool> {
        if self.open.as_ref().is_none_or(|(file, _)| *file != plan.file) {
            self.open = open(path)?.map(|opened| (plan.file, opened));
        }
        let Some((_, file)) = &self.open else {
            self.refused = true;
            return Ok(false);
        };
        assert!(plan.offset.is_multiple_of(GROUP_ALIGN), "DirectWriter I1: at {}", plan.offset);
        let mut at = plan.offset;
        self.buffer.len = 0;
        for part in &plan.buffers {
            let mut rest = &part[..];
            while !rest.is_empty() {
                rest = self.buffer.push(rest);
                if self.buffer.len == BUFFER_BYTES {
                    at += self.buffer.write_to(file, at)?;
                }
            }
        }
        self.buffer.write_to(file, at)?;
        Ok(true)
    }
}
