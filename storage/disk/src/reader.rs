//! Readers: blocks of log files through a bounded cache.

use crate::log_files::read_block;
use crate::shared::{ReadJob, Shared};
use bookie::disk::{DiskEvent, DiskReadError, FileId};
use bytes::{Bytes, BytesMut};
use foyer::{Cache, CacheBuilder, S3FifoConfig};
use std::fs::File;
use std::sync::Arc;

/// What the cache keeps and what one read of a file brings.
const BLOCK_BYTES: u64 = 256 << 10;

pub(crate) type BlockCache = Cache<(FileId, u64), Bytes>;

/// A cache of about `bytes`. S3-FIFO: one pass over an old log does not drive out what is read again and again.
pub(crate) fn block_cache(bytes: usize) -> BlockCache {
    CacheBuilder::new(bytes)
        .with_name("log blocks")
        .with_shards(4)
        .with_eviction_config(S3FifoConfig::default())
        .with_weighter(|_: &(FileId, u64), block: &Bytes| block.len())
        .build()
}

pub(crate) struct Reader {
    shared: Arc<Shared>,
    cache: BlockCache,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, cache: BlockCache) -> Self {
        Self { shared, cache }
    }

    pub(crate) fn run(self) {
        while let Some(job) = self.next_job() {
            let outcome = self.read(&job);
            self.shared.emit(DiskEvent::Read { id: job.id, outcome });
        }
    }

    fn next_job(&self) -> Option<ReadJob> {
        let mut inbox = self.shared.reader.lock();
        loop {
            if inbox.closing {
                return None;
            }
            if let Some(job) = inbox.jobs.pop_front() {
                return Some(job);
            }
            inbox = self.shared.reader.wait(inbox);
        }
    }

    fn read(&self, job: &ReadJob) -> Result<Bytes, DiskReadError> {
        let file = self.shared.handle(job.file).ok_or(DiskReadError::NoSuchFile)?;
        let end = job.offset + u64::from(job.len);
        let (first, last) = (job.offset / BLOCK_BYTES, end.saturating_sub(1) / BLOCK_BYTES);
        let part = |number: u64| {
            let start = number * BLOCK_BYTES;
            self.part(&file, job.file, number, (job.offset.max(start), end.min(start + BLOCK_BYTES)))
        };
        if first >= last {
            return part(first);
        }
        let mut whole = BytesMut::with_capacity(job.len as usize);
        for number in first..=last {
            whole.extend_from_slice(&part(number)?);
        }
        Ok(whole.freeze())
    }

    /// Bytes `from..to` of a file, all within one block.
    fn part(&self, file: &File, id: FileId, number: u64, (from, to): (u64, u64)) -> Result<Bytes, DiskReadError> {
        let start = number * BLOCK_BYTES;
        if let Some(cached) = self.cache.get(&(id, number)) {
            return Ok(slice(cached.value(), from - start, to - start));
        }
        let unreadable = |error| {
            tracing::error!(file = id.0, offset = from, %error, "a log file cannot be read");
            DiskReadError::Unreadable
        };
        // LogDevice I5: what may still be written is never kept.
        if !self.shared.is_final(id, start + BLOCK_BYTES) {
            return read_block(file, from, to.saturating_sub(from) as usize).map_err(unreadable);
        }
        let block = read_block(file, start, BLOCK_BYTES as usize).map_err(unreadable)?;
        self.cache.insert((id, number), block.clone());
        Ok(slice(&block, from - start, to - start))
    }
}

/// A part of a block, which may be short at the end of its file.
fn slice(block: &Bytes, from: u64, to: u64) -> Bytes {
    let bound = |at: u64| usize::try_from(at).map_or(block.len(), |at| at.min(block.len()));
    block.slice(bound(from)..bound(to.max(from)))
}
