//! Reading a log file piece by piece, with few large reads.

use crate::disk::DiskReadError;
use bytes::Bytes;

/// The bytes of one log file, wherever they are.
pub trait LogBytes {
    /// Size of the file, bytes.
    fn size(&self) -> u64;

    /// Reads `len` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// When the medium does not give the bytes back.
    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, DiskReadError>;

    /// The first offset from `offset` on at which anything was ever written, as far as that is known without reading.
    fn next_written(&self, offset: u64) -> u64 {
        offset
    }
}

impl LogBytes for Bytes {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, len: usize) -> Result<Bytes, DiskReadError> {
        let start = usize::try_from(offset).map_or(self.len(), |start| start.min(self.len()));
        Ok(self.slice(start..self.len().min(start.saturating_add(len))))
    }
}

const READ_AHEAD_BYTES: usize = 1 << 20;

/// A view of a file that remembers its last read.
pub(crate) struct Window<'a> {
    source: &'a dyn LogBytes,
    start: u64,
    held: Bytes,
}

impl<'a> Window<'a> {
    pub(crate) fn new(source: &'a dyn LogBytes) -> Self {
        Self { source, start: 0, held: Bytes::new() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.source.size()
    }

    pub(crate) fn next_written(&self, offset: u64) -> u64 {
        self.source.next_written(offset).max(offset)
    }

    /// Exactly `len` bytes at `offset`; `None` when the file ends before or cannot be read there.
    pub(crate) fn get(&mut self, offset: u64, len: usize) -> Option<Bytes> {
        if offset.checked_add(len as u64)? > self.size() {
            return None;
        }
        if let Some(found) = self.within(offset, len) {
            return Some(found);
        }
        self.held = self.source.read_at(offset, len.max(READ_AHEAD_BYTES)).unwrap_or_default();
        self.start = offset;
        if self.held.len() < len {
            // A long read fails where one unreadable block lies in it; try for what was asked alone.
            self.held = self.source.read_at(offset, len).ok()?;
        }
        self.within(offset, len)
    }

    fn within(&self, offset: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.held.len()).then(|| self.held.slice(from..to))
    }
}
