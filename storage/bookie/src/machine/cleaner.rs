//! Brings space back: copies what is still wanted out of mostly dead files, so that they can be given back.
//!
//! **What**  One file at a time, the one with the smallest wanted part. It is read in order, block by block; every record
//! that the index still points to is appended again; when the last copy is durable the file has no pins left and goes. One
//! slow ledger therefore never holds the space of others.
//!
//! **States**  Idle → Reading → Copying → Reading → … → Idle.
//!
//! **Invariants**
//! - I1  an old copy is forgotten only after the new one is durable.
//! - I2  at most one block is being read or copied; the next one waits until the rate allows it, unless space is short.
//! - I3  a file out of which something could not be copied (damage) is kept and not tried again.

use super::files::{FileNo, FileTable, file_id};
use super::pending::Appending;
use super::{Bookie, Fx};
use crate::disk::{DiskOp, DiskReadError, Placement, ReadId};
use crate::layout::{self, RecordKind, RecordView, Step, Walk};
use crate::options::BookieEffect;
use base::{Mono, Now};
use bytes::Bytes;
use std::time::Duration;

/// What the cleaner reads at a time.
const BLOCK_BYTES: u32 = 1 << 20;
/// How long the cleaner rests when no file is worth cleaning.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Reading costs this much less of the rate than copying.
const READ_SHARE: u64 = 4;

#[derive(Debug, Default)]
enum Phase {
    #[default]
    Idle,
    /// The block of `len` bytes at `at` comes next, or (`read`) is being read.
    Reading { file: FileNo, at: u64, len: u32, read: Option<ReadId> },
    /// `copies` are on their way to disk; the next block begins at `next`, or the file is through.
    Copying { file: FileNo, next: Option<u64>, copies: usize },
}

#[derive(Debug, Default)]
pub(super) struct Cleaner {
    phase: Phase,
    /// Not before this.
    next_at: Mono,
    /// State of the file table when there was last nothing to do.
    idle_since: Option<u64>,
}

impl Cleaner {
    pub(super) fn next_deadline(&self, files: &FileTable) -> Option<Mono> {
        let ready = match self.phase {
            Phase::Idle => self.idle_since != Some(files.changes()),
            Phase::Reading { read, .. } => read.is_none(),
            Phase::Copying { .. } => false,
        };
        ready.then_some(self.next_at)
    }

    pub(super) fn awaits(&self, id: ReadId) -> bool {
        matches!(self.phase, Phase::Reading { read: Some(read), .. } if read == id)
    }
}

impl Bookie {
    /// Takes the next step when it is due.
    pub(super) fn clean(&mut self, now: Now, fx: &mut Fx) {
        if self.cleaner.next_deadline(&self.index.files).is_none_or(|at| now.mono < at) {
            return;
        }
        if matches!(self.cleaner.phase, Phase::Idle) {
            let Some(file) = self.index.files.worth_cleaning(self.options.clean_below_percent) else {
                self.cleaner.idle_since = Some(self.index.files.changes());
                self.cleaner.next_at = now.mono + LOOK_AGAIN;
                return;
            };
            self.cleaner.phase = Phase::Reading { file, at: 0, len: BLOCK_BYTES, read: None };
        }
        let Phase::Reading { file, at, len, read: read @ None } = &mut self.cleaner.phase else {
            return;
        };
        let id = self.reads.next_id();
        *read = Some(id);
        fx.push(BookieEffect::Disk(DiskOp::Read { id, file: file_id(*file), offset: *at, len: *len }));
    }

    /// A block was read: copies every wanted record of it.
    pub(super) fn clean_block(&mut self, now: Now, outcome: Result<Bytes, DiskReadError>, fx: &mut Fx) {
        let Phase::Reading { file, at, len, .. } = self.cleaner.phase else {
            return;
        };
        let Some(used) = self.index.files.get(file).map(|f| f.used) else {
            self.cleaner.phase = Phase::Idle; // It became empty meanwhile and is gone.
            return;
        };
        let Ok(block) = outcome else {
            return self.finish_file(file); // I3
        };
        let before = self.pending.len();
        let copied_before = self.stats.relocated_bytes_total;
        let mut walk = Walk::new(block, at);
        let end = loop {
            match walk.step() {
                Step::Record { view, .. } if view.kind == RecordKind::Footer => break None,
                Step::Record { view, offset, content } => self.copy_record(file, &view, offset, &content, fx),
                Step::Damaged { .. } => walk.skip_damage(),
                Step::End { offset } => break Some(offset),
            }
        };
        let copied = self.stats.relocated_bytes_total - copied_before;
        self.pace(now, u64::from(len) / READ_SHARE + copied);
        let copies = self.pending.len() - before;
        let next = end.filter(|end| *end < used);
        if next == Some(at) && copies == 0 {
            // The record at the beginning is longer than the block.
            let longer = len.saturating_mul(4);
            self.cleaner.phase = if u64::from(len) < used {
                Phase::Reading { file, at, len: longer, read: None }
            } else {
                return self.finish_file(file);
            };
            return;
        }
        self.cleaner.phase = Phase::Copying { file, next, copies };
        self.go_on();
    }

    fn copy_record(&mut self, file: FileNo, view: &RecordView, offset: u64, content: &Bytes, fx: &mut Fx) {
        let ledger = view.ledger;
        let (what, record) = match view.kind {
            RecordKind::Entry | RecordKind::Relocated => {
                let wanted = self.index.get(ledger).is_some_and(|l| l.runs.stands_at(view.entry, file, offset));
                if !wanted || !view.content_holds(content) {
                    return;
                }
                let data = layout::entry_data(view, content);
                let record = layout::relocated_record(ledger, view.entry, view.lac, data);
                (Appending::MovedEntry { ledger, entry: view.entry, from: file }, record)
            }
            RecordKind::Fence if self.index.fence_stands_in(ledger, file) => {
                (Appending::MovedFence { ledger, from: file }, layout::fence_record(ledger))
            }
            RecordKind::Delete if self.index.tombstone_stands_in(ledger, file) => {
                (Appending::MovedTombstone { ledger }, layout::delete_record(ledger))
            }
            RecordKind::Suspect | RecordKind::Repaired if self.index.mark_stands_in(ledger, view.mark(), file) => {
                let mark = view.mark();
                (Appending::MovedMark { ledger, mark, from: file }, layout::mark_record(ledger, mark))
            }
            RecordKind::Loss if self.index.loss_stands_in(view.loss(), file) => {
                let loss = view.loss();
                (Appending::MovedLoss { loss }, layout::loss_record(loss))
            }
            RecordKind::Fence
            | RecordKind::Delete
            | RecordKind::Suspect
            | RecordKind::Repaired
            | RecordKind::Loss
            | RecordKind::Footer
            | RecordKind::Files
            | RecordKind::Freed => return,
        };
        self.stats.relocated_records_total += 1;
        self.stats.relocated_bytes_total += record.len() as u64;
        self.append(what, record, None, fx);
    }

    /// A copy is durable: the index points to it from now on (I1).
    pub(super) fn moved(&mut self, _now: Now, what: Appending, placement: Placement) {
        let file = super::file_no(placement.file);
        match what {
            Appending::MovedEntry { ledger, entry, from } => {
                self.index.apply_relocated(ledger, entry, from, placement);
            }
            Appending::MovedFence { ledger, from } => {
                if self.index.fence_stands_in(ledger, from) {
                    self.index.apply_fence(ledger, file);
                }
            }
            Appending::MovedTombstone { ledger } => self.index.apply_tombstone(ledger, file),
            Appending::MovedMark { ledger, mark, from } => {
                if self.index.mark_stands_in(ledger, mark, from) {
                    self.index.apply_mark(ledger, mark, file);
                }
            }
            Appending::MovedLoss { loss } => self.index.apply_loss(loss, file),
            Appending::Entry { .. }
            | Appending::Fence { .. }
            | Appending::Delete { .. }
            | Appending::Mark { .. }
            | Appending::Loss { .. } => {
                unreachable!("Bookie: only copies are moved");
            }
        }
        if let Phase::Copying { copies, .. } = &mut self.cleaner.phase {
            *copies -= 1;
            self.go_on();
        }
    }

    /// When every copy of a block is durable, the next block may be read.
    fn go_on(&mut self) {
        let Phase::Copying { file, next, copies: 0 } = self.cleaner.phase else {
            return;
        };
        match next {
            Some(at) => self.cleaner.phase = Phase::Reading { file, at, len: BLOCK_BYTES, read: None },
            None => self.finish_file(file),
        }
    }

    /// The file is through. If it still has pins, something of it could not be copied (I3).
    fn finish_file(&mut self, file: FileNo) {
        if self.index.files.get(file).is_some_and(|f| f.pins > 0) {
            self.index.files.mark_stuck(file);
            self.note_damage(file, 0, u64::MAX);
        }
        self.cleaner.phase = Phase::Idle;
        self.cleaner.idle_since = None;
    }

    fn pace(&mut self, now: Now, cost: u64) {
        let short = self.stats.total_bytes > 0 && self.stats.free_bytes < 2 * self.options.reserve_bytes;
        let nanos = cost.saturating_mul(1_000_000_000) / self.options.clean_bytes_per_s.max(1);
        self.cleaner.next_at = if short { now.mono } else { now.mono + Duration::from_nanos(nanos) };
    }
}
