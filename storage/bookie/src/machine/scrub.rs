//! Reads everything that is stored once in a while, so that rot is found while other copies are whole.
//!
//! **What**  File by file, block by block, every group of the sealed files is checked against its checksums. (The file being
//! written is read whole at each start.) The pace is what a pass over the present log in `scrub_pass` needs.
//!
//! **States**  Resting → Reading → Resting → … → the next file → … → the next pass.
//!
//! **Invariants**
//! - I1  one block is read at a time, and over any time no faster than the pace and one block.
//! - I2  damage changes no index: what is damaged stays known, so it is answered `Unknown` and never denied (Bookie I3).
//!   What stood there is named for repair (`damage`).
//! - I3  a damaged place is reported once in a pass, and only when something wanted may stand there.
//!
//! **Not here**  Repairing (`ledger`), the footers of files (read at each start).

use super::files::{FileNo, FileTable, file_id};
use super::{Bookie, Fx};
use crate::disk::{DiskOp, DiskReadError, ReadId};
use crate::layout::{DamageReport, GROUP_ALIGN, GroupCheck, RecordView, check_group};
use crate::options::{BookieEffect, BookieOptions, Damage};
use base::{Mono, Now};
use bytes::Bytes;
use std::time::Duration;

/// What is read at a time, unless one group is longer.
const BLOCK_BYTES: u32 = 256 << 10;
/// Rest before the first block and between passes.
const REST: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Scrubber {
    /// The file being checked; files below are done in this pass.
    file: FileNo,
    /// Where the next group begins.
    at: u64,
    /// Bytes that the next group needs, if more than a block.
    need: u32,
    /// Nothing readable since the last report: the same damage is not reported again (I3).
    lost: bool,
    read: Option<ReadId>,
    /// Not before this; `None` before the first call.
    next_at: Option<Mono>,
}

impl Scrubber {
    pub(super) fn next_deadline(&self, options: &BookieOptions) -> Option<Mono> {
        let on = options.scrub_pass.is_some() && self.read.is_none();
        on.then(|| self.next_at.unwrap_or_default())
    }

    pub(super) fn awaits(&self, id: ReadId) -> bool {
        self.read == Some(id)
    }

    /// How long reading `bytes` takes at the pace of a pass over all files.
    fn pause(pass: Duration, files: &FileTable, bytes: u64) -> Duration {
        let (used, _) = files.totals();
        let nanos = pass.as_nanos().saturating_mul(u128::from(bytes)) / u128::from(used.max(bytes).max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn next_file(&mut self) {
        (self.file, self.at, self.need, self.lost) = (self.file.saturating_add(1), 0, 0, false);
    }
}

impl Bookie {
    /// Reads the next block when it is due.
    pub(super) fn scrub(&mut self, now: Now, fx: &mut Fx) {
        let due = self.scrubber.next_deadline(&self.options).is_some_and(|at| at <= now.mono);
        let (true, Some(pass)) = (due, self.options.scrub_pass) else { return };
        if self.scrubber.next_at.is_none() {
            self.scrubber.next_at = Some(now.mono + REST.min(pass));
            return;
        }
        let Some((file, used)) = self.index.files.sealed_from(self.scrubber.file) else {
            self.stats.scrub_passes_total += u64::from(self.scrubber.file > 0);
            self.scrubber = Scrubber { next_at: Some(now.mono + REST.min(pass)), ..Scrubber::default() };
            return;
        };
        if file != self.scrubber.file {
            self.scrubber.next_file();
            self.scrubber.file = file;
        }
        if self.scrubber.at >= used {
            self.scrubber.next_file();
            return self.scrub(now, fx);
        }
        let (id, len) = (self.reads.next_id(), BLOCK_BYTES.max(self.scrubber.need));
        let cost = u64::from(len).min(used - self.scrubber.at);
        self.scrubber.read = Some(id);
        self.scrubber.next_at = Some(now.mono + Scrubber::pause(pass, &self.index.files, cost)); // I1
        fx.push(BookieEffect::Disk(DiskOp::Read { id, file: file_id(file), offset: self.scrubber.at, len }));
    }

    /// A block was read: checks every group of it.
    pub(super) fn scrub_block(&mut self, outcome: Result<Bytes, DiskReadError>, fx: &mut Fx) {
        self.scrubber.read = None;
        let (file, base) = (self.scrubber.file, self.scrubber.at);
        let Some(used) = self.index.files.get(file).map(|f| f.used) else {
            return self.scrubber.next_file(); // Given back meanwhile.
        };
        let Some(block) = outcome.ok().filter(|block| !block.is_empty()) else {
            self.report(None, base, "a block cannot be read", fx);
            self.note_damage(file, base, base + u64::from(BLOCK_BYTES.max(self.scrubber.need)));
            self.scrubber.at = (base + u64::from(BLOCK_BYTES.max(self.scrubber.need))).next_multiple_of(GROUP_ALIGN);
            self.scrubber.need = 0;
            return;
        };
        self.stats.scrubbed_bytes_total += block.len() as u64;
        let mut at = 0;
        while let Some(raw) = (at < block.len()).then(|| block.slice(at..)) {
            let offset = base + at as u64;
            if offset >= used {
                break;
            }
            match check_group(file_id(file), offset, &raw) {
                GroupCheck::Group { footprint, damaged } => {
                    self.scrubber.lost = false;
                    for (view, place) in damaged {
                        self.report(Some(view), place, "an entry is not what was written", fx);
                        self.scrubber.lost = false;
                    }
                    at += usize::try_from(footprint).unwrap_or(usize::MAX);
                }
                GroupCheck::Longer { footprint } => {
                    let Ok(need) = u32::try_from(footprint) else { return self.scrubber.next_file() };
                    let again = at == 0 && self.scrubber.need >= need; // The file is shorter than its group.
                    if again {
                        self.report(None, offset, "a group is cut short", fx);
                        self.note_damage(file, offset, u64::MAX);
                        return self.scrubber.next_file();
                    }
                    (self.scrubber.at, self.scrubber.need) = (offset, need);
                    return;
                }
                GroupCheck::Unreadable => {
                    self.report(None, offset, "a group cannot be read", fx);
                    self.note_damage(file, offset, offset + GROUP_ALIGN);
                    at += usize::try_from(GROUP_ALIGN).unwrap_or(usize::MAX);
                }
            }
        }
        (self.scrubber.at, self.scrubber.need) = (base + at as u64, 0);
    }

    /// I3: `record` is what is damaged, `None` when nobody can tell.
    fn report(&mut self, record: Option<RecordView>, offset: u64, what: &'static str, fx: &mut Fx) {
        let file = self.scrubber.file;
        let entry = record.filter(RecordView::is_entry).map(|view| (view.ledger, view.entry));
        let wanted = |ledger, entry| self.index.get(ledger).is_some_and(|l| l.runs.stands_at(entry, file, offset));
        if self.scrubber.lost || entry.is_some_and(|(ledger, entry)| !wanted(ledger, entry)) {
            return;
        }
        if let Some((ledger, entry)) = entry {
            self.damaged.note(ledger, entry);
        }
        self.scrubber.lost = true;
        self.stats.scrub_damage_total += 1;
        let report = DamageReport { file: file_id(file), offset, what };
        fx.push(BookieEffect::Damaged(Damage { report, entry }));
    }
}
