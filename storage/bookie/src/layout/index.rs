//! What one log file holds: where the entries of each ledger stand, fences, deletions.
//!
//! **What**  Built record by record while a file is written or scanned, and written as the file's footer when it is full, so
//! that opening the log reads footers instead of files. The index is sparse: a [`FileRun`] names its first record exactly;
//! the others of the run are found by walking forward from there.
//!
//! **Invariants**
//! - I1  a run holds consecutive entries of one ledger, in this order on disk, and all its records begin within one
//!   [`CHUNK_BYTES`] chunk of the file.
//! - I2  `encoded_len` is the length of what `encode` makes.
//!
//! **Tests**  `index::tests`, `layout/tests`.

use super::record::{Loss, Mark, RecordKind, RecordView, i64_at, u32_at, u64_at};
use crate::disk::FileId;
use base::{EntryId, LedgerId};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::{BTreeMap, BTreeSet};

/// A ledger gets at least one index point in every chunk of this many bytes in which it has entries.
pub const CHUNK_BYTES: u64 = 64 << 10;

const FOOTER_FORMAT: u8 = 1;
const FIXED_BYTES: usize = 16;
const LEDGER_BYTES: usize = 24;
const RUN_BYTES: usize = 24;
const DELETED_BYTES: usize = 8;
const LOSS_BYTES: usize = 24;
/// No record makes the footer longer than this.
pub(crate) const FOOTER_BYTES_PER_RECORD: usize = LEDGER_BYTES + RUN_BYTES;

/// Consecutive entries of one ledger that stand close together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRun {
    pub first: EntryId,
    pub count: u32,
    /// Where the first entry's record begins.
    pub offset: u32,
    /// From `offset` to the end of the last entry's record, records of others between them included.
    pub span: u32,
    /// Bytes of the run's own records.
    pub bytes: u32,
}

/// One ledger's part of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerInFile {
    pub fenced: bool,
    pub mark: Option<Mark>,
    /// The highest last-confirmed entry that an entry of this file carries.
    pub lac: EntryId,
    /// In the order in which they were written.
    pub runs: Vec<FileRun>,
}

/// The index of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileIndex {
    /// Deleted by a record of this file: everything of them in older files is dead.
    pub deleted: BTreeSet<LedgerId>,
    /// What stands in this file and is not followed by a deletion in it.
    pub ledgers: BTreeMap<LedgerId, LedgerInFile>,
    pub losses: BTreeSet<Loss>,
    run_count: usize,
}

impl FileIndex {
    /// Takes note of a record at `offset`. Records must come in file order.
    pub(crate) fn note(&mut self, view: &RecordView, offset: u64) {
        match view.kind {
            RecordKind::Entry | RecordKind::Relocated => self.note_entry(view, offset),
            RecordKind::Fence => self.ledger(view.ledger).fenced = true,
            RecordKind::Delete => {
                if let Some(gone) = self.ledgers.remove(&view.ledger) {
                    self.run_count -= gone.runs.len();
                }
                self.deleted.insert(view.ledger);
            }
            RecordKind::Loss => {
                self.losses.insert(view.loss());
            }
            RecordKind::Suspect | RecordKind::Repaired => {
                let ledger = self.ledger(view.ledger);
                ledger.mark = ledger.mark.max(Some(view.mark()));
            }
            RecordKind::Footer | RecordKind::Files | RecordKind::Freed => (),
        }
    }

    fn ledger(&mut self, ledger: LedgerId) -> &mut LedgerInFile {
        let fresh = || LedgerInFile { fenced: false, mark: None, lac: EntryId::NONE, runs: Vec::new() };
        self.ledgers.entry(ledger).or_insert_with(fresh)
    }

    fn note_entry(&mut self, view: &RecordView, offset: u64) {
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(view.len())) else {
            panic!("FileIndex: offset {offset} and length {} lie within a file below 4 GiB", view.len());
        };
        let ledger = self.ledger(view.ledger);
        ledger.lac = ledger.lac.max(view.lac);
        let grown = ledger.runs.last_mut().is_some_and(|run| run.try_extend(view.entry, offset, len));
        if !grown {
            ledger.runs.push(FileRun { first: view.entry, count: 1, offset, span: len, bytes: len });
            self.run_count += 1;
        }
    }

    /// Bytes of the encoded index.
    pub(crate) fn encoded_len(&self) -> usize {
        FIXED_BYTES
            + self.deleted.len() * DELETED_BYTES
            + self.losses.len() * LOSS_BYTES
            + self.ledgers.len() * LEDGER_BYTES
            + self.run_count * RUN_BYTES
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_slice(&[FOOTER_FORMAT, 0, 0, 0]);
        out.put_u32_le(count(self.deleted.len()));
        out.put_u32_le(count(self.losses.len()));
        out.put_u32_le(count(self.ledgers.len()));
        for ledger in &self.deleted {
            out.put_u64_le(ledger.0);
        }
        for loss in &self.losses {
            out.put_u64_le(u64::from(loss.measured));
            out.put_u64_le(loss.file.0);
            out.put_u64_le(loss.up_to);
        }
        for (id, ledger) in &self.ledgers {
            out.put_u64_le(id.0);
            out.put_i64_le(ledger.lac.0);
            out.put_u32_le(encode_flags(ledger));
            out.put_u32_le(count(ledger.runs.len()));
            for run in &ledger.runs {
                out.put_i64_le(run.first.0);
                out.put_u32_le(run.count);
                out.put_u32_le(run.offset);
                out.put_u32_le(run.span);
                out.put_u32_le(run.bytes);
            }
        }
        assert!(out.len() == self.encoded_len(), "FileIndex I2: {} == {}", out.len(), self.encoded_len());
        out.freeze()
    }

    /// Reads an encoded index whose checksum held; `None` when it is not one that this version knows.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { bytes };
        let fixed = cursor.take(FIXED_BYTES)?;
        if fixed[0] != FOOTER_FORMAT {
            return None;
        }
        let (deleted, losses, ledgers) = (u32_at(fixed, 4), u32_at(fixed, 8), u32_at(fixed, 12));
        let mut index = Self::default();
        for _ in 0..deleted {
            index.deleted.insert(LedgerId(u64_at(cursor.take(DELETED_BYTES)?, 0)));
        }
        for _ in 0..losses {
            let raw = cursor.take(LOSS_BYTES)?;
            let (measured, file) = (u64_at(raw, 0) != 0, FileId(u64_at(raw, 8)));
            index.losses.insert(Loss { file, up_to: u64_at(raw, 16), measured });
        }
        for _ in 0..ledgers {
            let raw = cursor.take(LEDGER_BYTES)?;
            let runs = usize::try_from(u32_at(raw, 20)).ok()?;
            let raw_runs = cursor.take(runs.checked_mul(RUN_BYTES)?)?;
            let (fenced, mark) = decode_flags(u32_at(raw, 16));
            let ledger = LedgerInFile {
                fenced,
                mark,
                lac: EntryId(i64_at(raw, 8)),
                runs: raw_runs.chunks_exact(RUN_BYTES).map(decode_run).collect(),
            };
            index.run_count += ledger.runs.len();
            index.ledgers.insert(LedgerId(u64_at(raw, 0)), ledger);
        }
        cursor.bytes.is_empty().then_some(index)
    }
}

impl FileRun {
    /// Takes in the next entry when it keeps the run's promise (I1).
    fn try_extend(&mut self, entry: EntryId, offset: u32, len: u32) -> bool {
        let chunk = |at: u32| u64::from(at) / CHUNK_BYTES;
        let next = self.first.0 + i64::from(self.count);
        if entry.0 != next || offset < self.offset + self.span || chunk(offset) != chunk(self.offset) {
            return false;
        }
        self.count += 1;
        self.span = offset - self.offset + len;
        self.bytes += len;
        true
    }
}

/// Bit 0: fenced; bit 1: repaired; above them the number of the loss, 0 for none.
fn encode_flags(ledger: &LedgerInFile) -> u32 {
    let mark = ledger.mark.map_or(0, |mark| mark.loss << 2 | u32::from(mark.repaired) << 1);
    mark | u32::from(ledger.fenced)
}

fn decode_flags(flags: u32) -> (bool, Option<Mark>) {
    let mark = Mark { loss: flags >> 2, repaired: flags & 2 != 0 };
    (flags & 1 != 0, (mark.loss > 0).then_some(mark))
}

fn decode_run(raw: &[u8]) -> FileRun {
    FileRun {
        first: EntryId(i64_at(raw, 0)),
        count: u32_at(raw, 8),
        offset: u32_at(raw, 12),
        span: u32_at(raw, 16),
        bytes: u32_at(raw, 20),
    }
}

fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

struct Cursor<'a> {
    bytes: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(head)
    }
}
