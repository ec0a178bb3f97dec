//! How much of each log file is still wanted.
//!
//! **Invariants**
//! - I1  a file's pins are the index runs, fences, marks, tombstones and loss records that point into it; a sealed file without
//!   pins holds nothing that anybody wants.
//! - I2  a file is open until a record is seen in a newer one: until then more may stand in it than is known here.

use crate::disk::{FileId, Placement};
use std::collections::BTreeMap;

/// A file's number; the id without its upper half, to keep index points small.
pub(crate) type FileNo = u32;

pub(crate) fn file_no(file: FileId) -> FileNo {
    let Ok(number) = u32::try_from(file.0) else {
        panic!("FileTable: file ids stay below 2^32, which is 2^58 bytes of log at 64 MiB a file");
    };
    number
}

pub(crate) fn file_id(file: FileNo) -> FileId {
    FileId(u64::from(file))
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FileUse {
    /// Bytes written, padding included.
    pub(crate) used: u64,
    /// Bytes of wanted records; when overlapping copies were split, an estimate.
    pub(crate) live: u64,
    pub(crate) pins: u64,
    pub(crate) sealed: bool,
    /// The cleaner could not copy everything out (damage): leave the file alone.
    pub(crate) stuck: bool,
}

#[derive(Debug, Default)]
pub(crate) struct FileTable {
    files: BTreeMap<FileNo, FileUse>,
    /// Sealed files whose last pin went, to be given back.
    empty: Vec<FileNo>,
    /// Grows whenever a file may have become worth cleaning.
    changes: u64,
}

impl FileTable {
    /// A file found at boot.
    pub(crate) fn add(&mut self, file: FileNo, used: u64, sealed: bool) {
        self.files.insert(file, FileUse { used, sealed, ..FileUse::default() });
        self.changes += 1;
    }

    /// A record has become durable: the file exists, and every older one is sealed.
    pub(crate) fn note_written(&mut self, placement: Placement) {
        let file = file_no(placement.file);
        let end = placement.offset + u64::from(placement.len);
        if let Some(known) = self.files.get_mut(&file) {
            known.used = known.used.max(end);
            return;
        }
        self.seal_all();
        self.files.insert(file, FileUse { used: end, ..FileUse::default() });
    }

    /// After boot, files that are known to be sealed and hold nothing are found here.
    pub(crate) fn collect_empty(&mut self) {
        let empty = self.files.iter().filter(|(_, f)| f.sealed && f.pins == 0).map(|(no, _)| *no);
        self.empty.extend(empty);
    }

    fn seal_all(&mut self) {
        for (no, file) in &mut self.files {
            if !file.sealed {
                file.sealed = true;
                if file.pins == 0 {
                    self.empty.push(*no);
                }
            }
        }
        self.changes += 1;
    }

    pub(crate) fn pin(&mut self, file: FileNo, bytes: u32) {
        let entry = self.files.entry(file).or_default();
        entry.pins += 1;
        entry.live += u64::from(bytes);
    }

    /// More bytes under a pin that exists.
    pub(crate) fn grow(&mut self, file: FileNo, bytes: u32) {
        self.files.entry(file).or_default().live += u64::from(bytes);
    }

    pub(crate) fn unpin(&mut self, file: FileNo, bytes: u32) {
        let Some(entry) = self.files.get_mut(&file) else {
            panic!("FileTable I1: file {file} is pinned, so it is known");
        };
        assert!(entry.pins > 0, "FileTable I1: file {file} has a pin to take away");
        entry.pins -= 1;
        entry.live = entry.live.saturating_sub(u64::from(bytes));
        self.changes += 1;
        if entry.pins == 0 && entry.sealed {
            self.empty.push(file);
        }
    }

    /// The next file that nobody wants; it is forgotten here.
    pub(crate) fn take_empty(&mut self) -> Option<FileNo> {
        while let Some(no) = self.empty.pop() {
            if self.files.get(&no).is_some_and(|f| f.sealed && f.pins == 0) {
                self.files.remove(&no);
                return Some(no);
            }
        }
        None
    }

    /// The sealed file with the smallest wanted part, if that is below `percent`.
    pub(crate) fn worth_cleaning(&self, percent: u32) -> Option<FileNo> {
        let part = |f: &FileUse| f.live.saturating_mul(100) / f.used.max(1);
        self.files
            .iter()
            .filter(|(_, f)| f.sealed && !f.stuck && f.pins > 0 && part(f) < u64::from(percent))
            .min_by_key(|(_, f)| part(f))
            .map(|(no, _)| *no)
    }

    /// The first sealed file that holds anything from this number on, and the bytes written to it.
    pub(crate) fn sealed_from(&self, first: FileNo) -> Option<(FileNo, u64)> {
        let mut files = self.files.range(first..).filter(|(_, f)| f.sealed && f.pins > 0);
        files.next().map(|(no, f)| (*no, f.used))
    }

    pub(crate) fn mark_stuck(&mut self, file: FileNo) {
        if let Some(file) = self.files.get_mut(&file) {
            file.stuck = true;
        }
    }

    /// Gives the cleaner another try at files that it could not empty.
    pub(crate) fn unstick(&mut self) {
        self.files.values_mut().for_each(|file| file.stuck = false);
        self.changes += 1;
    }

    pub(crate) fn get(&self, file: FileNo) -> Option<&FileUse> {
        self.files.get(&file)
    }

    /// Whether any file in this range is in use.
    pub(crate) fn any_within(&self, first: FileNo, last: FileNo) -> bool {
        first <= last && self.files.range(first..=last).next().is_some()
    }

    pub(crate) fn newest(&self) -> FileNo {
        self.files.keys().next_back().copied().unwrap_or(0)
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Bytes written and bytes wanted, of all files.
    pub(crate) fn totals(&self) -> (u64, u64) {
        self.files.values().fold((0, 0), |(used, live), f| (used + f.used, live + f.live))
    }
}
