//! Readers: ranges of log files through a bounded cache.
//!
//! **What**  A read within one block brings the block, for what lies beside it; a longer one, a step of a catch-up, brings just
//! what it asked for, in one piece and without copies. Readers that follow each other through a log ask for the same pieces.

use crate::log_files::read_block;
use crate::shared::{ReadJob, Shared};
use bookie::disk::{DiskEvent, DiskReadError, FileId};
use bytes::Bytes;
use foyer::{Cache, CacheBuilder, S3FifoConfig};
use std::sync::Arc;

/// What a short read brings.
const BLOCK_BYTES: u64 = 256 << 10;
/// What the cache needs for a piece beside its bytes, about.
const PIECE_COSTS: usize = 256;

/// A range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Piece {
    file: FileId,
    start: u64,
    len: u64,
}

pub(crate) type BlockCache = Cache<Piece, Bytes>;

/// A cache of about `bytes`. S3-FIFO: one pass over an old log does not drive out what is read again and again.
pub(crate) fn block_cache(bytes: usize) -> BlockCache {
    CacheBuilder::new(bytes)
        .with_name("log blocks")
        .with_shards(4)
        .with_eviction_config(S3FifoConfig::default())
        .with_weighter(|_: &Piece, bytes: &Bytes| bytes.len() + PIECE_COSTS)
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
        let asked = Piece { file: job.file, start: job.offset, len: u64::from(job.len) };
        let start = job.offset / BLOCK_BYTES * BLOCK_BYTES;
        let block = Piece { start, len: BLOCK_BYTES, ..asked };
        let within = asked.start + asked.len <= start + BLOCK_BYTES;
        let piece = if within && self.is_final(block) { block } else { asked };
        let bytes = self.piece(piece)?;
        Ok(slice(&bytes, asked.start - piece.start, asked.start - piece.start + asked.len))
    }

    fn is_final(&self, piece: Piece) -> bool {
        self.shared.is_final(piece.file, piece.start + piece.len)
    }

    fn piece(&self, piece: Piece) -> Result<Bytes, DiskReadError> {
        let file = self.shared.handle(piece.file).ok_or(DiskReadError::NoSuchFile)?;
        if let Some(cached) = self.cache.get(&piece) {
            return Ok(cached.value().clone());
        }
        let keeps = self.is_final(piece); // LogDevice I5, asked before the read
        let bytes =
            read_block(&file, piece.start, usize::try_from(piece.len).unwrap_or(usize::MAX)).map_err(|error| {
                tracing::error!(file = piece.file.0, offset = piece.start, %error, "a log file cannot be read");
                DiskReadError::Unreadable
            })?;
        if keeps {
            self.cache.insert(piece, bytes.clone());
        }
        Ok(bytes)
    }
}

/// A part of a block, which may be short at the end of its file.
fn slice(block: &Bytes, from: u64, to: u64) -> Bytes {
    let bound = |at: u64| usize::try_from(at).map_or(block.len(), |at| at.min(block.len()));
    block.slice(bound(from)..bound(to.max(from)))
}
