//! The sparse index of one ledger: which entries it has, and where to start reading for each.
//!
//! **Invariants**
//! - I1  runs are disjoint and ordered by entry.
//! - I2  every entry of a run is found by walking its file forward from `offset`, within `span` bytes.
//! - I3  of two copies of an entry the one recorded later wins.
//! - I4  every run pins its file once.

use super::files::{FileNo, FileTable, file_no};
use crate::disk::Placement;
use crate::layout::{CHUNK_BYTES, FileRun};
use base::EntryId;
use wire::bookie::EntryRange;

/// Consecutive entries that stand close together in one file. 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    first: i64,
    count: u32,
    pub(crate) file: FileNo,
    pub(crate) offset: u32,
    pub(crate) span: u32,
    pub(crate) bytes: u32,
}

impl Run {
    pub(crate) fn from_file(file: FileNo, run: &FileRun) -> Self {
        let FileRun { first, count, offset, span, bytes } = *run;
        Self { first: first.0, count, file, offset, span, bytes }
    }

    fn of_record(entry: EntryId, placement: Placement) -> Self {
        let Ok(offset) = u32::try_from(placement.offset) else {
            panic!("RunList: offset {} lies within a file below 4 GiB", placement.offset);
        };
        let (file, len) = (file_no(placement.file), placement.len);
        Self { first: entry.0, count: 1, file, offset, span: len, bytes: len }
    }

    pub(crate) fn first(&self) -> EntryId {
        EntryId(self.first)
    }

    /// One above the last entry.
    pub(crate) fn end(&self) -> i64 {
        self.first + i64::from(self.count)
    }

    /// Where the run's last record ends in its file.
    pub(crate) fn end_offset(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.span)
    }

    fn covers(&self, entry: i64) -> bool {
        (self.first..self.end()).contains(&entry)
    }

    /// The part of the run with these entries; bytes in proportion.
    fn part(&self, first: i64, end: i64) -> Option<Self> {
        let count = u32::try_from(end - first).ok().filter(|count| *count > 0)?;
        let bytes = u64::from(self.bytes) * u64::from(count) / u64::from(self.count);
        Some(Self { first, count, bytes: u32::try_from(bytes).unwrap_or(self.bytes), ..*self })
    }
}

#[derive(Debug, Default)]
pub(crate) struct RunList {
    runs: Vec<Run>,
}

impl RunList {
    /// Records one entry at its place.
    pub(crate) fn record(&mut self, entry: EntryId, placement: Placement, files: &mut FileTable) {
        let run = Run::of_record(entry, placement);
        let next = self.runs.partition_point(|r| r.first <= entry.0);
        if let Some(before) = next.checked_sub(1).and_then(|i| self.runs.get_mut(i)) {
            let chunk = |at: u32| u64::from(at) / CHUNK_BYTES;
            let near = before.file == run.file && chunk(before.offset) == chunk(run.offset);
            if before.end() == entry.0 && near && before.end_offset() <= u64::from(run.offset) {
                before.count += 1;
                before.span = run.offset - before.offset + run.span;
                before.bytes += run.bytes;
                files.grow(run.file, run.bytes);
                return;
            }
        }
        self.insert(run, files);
    }

    /// Records a run; entries that are known already are taken over from their older copies (I3).
    pub(crate) fn insert(&mut self, run: Run, files: &mut FileTable) {
        let low = self.runs.partition_point(|r| r.end() <= run.first);
        let high = self.runs.partition_point(|r| r.first < run.end());
        let left = self.runs.get(low).filter(|_| low < high).and_then(|r| r.part(r.first, run.first));
        let right = high.checked_sub(1).filter(|i| *i >= low).and_then(|i| self.runs.get(i)).copied();
        let right = right.and_then(|r| r.part(run.end(), r.end()));
        files.pin(run.file, run.bytes); // I4
        if low == high {
            self.runs.insert(low, run);
            return;
        }
        for part in [left, right].into_iter().flatten() {
            files.pin(part.file, part.bytes);
        }
        let new = [left, Some(run), right].into_iter().flatten();
        for old in self.runs.splice(low..high, new) {
            files.unpin(old.file, old.bytes);
        }
    }

    /// The run that holds `entry` and those after it.
    pub(crate) fn from(&self, entry: EntryId) -> Option<&[Run]> {
        let index = self.runs.partition_point(|r| r.end() <= entry.0);
        self.runs.get(index..).filter(|rest| rest.first().is_some_and(|r| r.covers(entry.0)))
    }

    /// The parts of this range that are there, in order.
    pub(crate) fn held(&self, within: EntryRange) -> Vec<EntryRange> {
        let first = self.runs.partition_point(|r| r.end() <= within.first.0);
        let inside = self.runs.get(first..).unwrap_or_default().iter().take_while(|r| r.first < within.end.0);
        let part = |r: &Run| EntryRange {
            first: EntryId(r.first.max(within.first.0)),
            end: EntryId(r.end().min(within.end.0)),
        };
        inside.map(part).collect()
    }

    /// The runs that have bytes in this part of a file.
    pub(crate) fn standing_in(&self, file: FileNo, from: u64, end: u64) -> impl Iterator<Item = EntryRange> {
        let there = move |r: &&Run| r.file == file && u64::from(r.offset) < end && r.end_offset() > from;
        self.runs.iter().filter(there).map(|r| EntryRange { first: r.first(), end: EntryId(r.end()) })
    }

    /// Whether the indexed copy of `entry` is the one at this place.
    pub(crate) fn stands_at(&self, entry: EntryId, file: FileNo, offset: u64) -> bool {
        let run = self.from(entry).and_then(|rest| rest.first());
        run.is_some_and(|r| r.file == file && (u64::from(r.offset)..r.end_offset()).contains(&offset))
    }

    pub(crate) fn last(&self) -> EntryId {
        self.runs.last().map_or(EntryId::NONE, |run| EntryId(run.end() - 1))
    }

    /// The oldest file that holds any of it.
    pub(crate) fn first_file(&self) -> Option<FileNo> {
        self.runs.iter().map(|run| run.file).min()
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Takes away every pin; the list is of no use afterwards.
    pub(crate) fn release(self, files: &mut FileTable) {
        for run in self.runs {
            files.unpin(run.file, run.bytes);
        }
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> &[Run] {
        &self.runs
    }
}
