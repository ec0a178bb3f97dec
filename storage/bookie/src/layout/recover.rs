//! Opens a log: reads the tail file and the footers of the others, and says where writing goes on.
//!
//! **Invariants**
//! - I1  a file that was in use and is missing, shortened or unreadable is reported as a loss, never taken for empty space.
//! - I2  a loss is reported until a loss record accounts for it.
//!
//! **Not here**  Applying the indexes (`Bookie`), opening files and syncing the tail (the device).

use super::record::Loss;
use super::scan::{DamageReport, ScanOutcome, TornTail, read_footer, scan};
use super::window::LogBytes;
use super::writer::{GroupWriter, OpenFile, Resume};
use super::{FileIndex, FooterRef, LayoutOptions};
use crate::disk::FileId;
use crate::layout::group::{GROUP_HEADER_BYTES, GroupHeader};
use std::collections::{BTreeMap, BTreeSet};

/// What opening the log found: everything a [`crate::Bookie`] needs to go on.
#[derive(Clone, Debug, Default)]
pub struct RecoveredLog {
    /// Files in use, oldest first.
    pub files: Vec<RecoveredFile>,
    /// A write that the last crash cut short. Not damage: nobody was told about it.
    pub torn: Option<TornTail>,
    /// Damaged places, for a loud report. Empty after a crash alone.
    pub damage: Vec<DamageReport>,
    /// Losses of records that cannot be named and that no loss record accounts for yet.
    pub lost: Vec<LostRange>,
}

/// One log file in use.
#[derive(Clone, Debug)]
pub struct RecoveredFile {
    pub file: FileId,
    /// Bytes written.
    pub used: u64,
    /// Nothing will be written to it any more.
    pub sealed: bool,
    pub index: FileIndex,
}

/// Records below this offset of the file are lost and cannot be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub file: FileId,
    pub up_to: u64,
}

/// An opened log.
#[derive(Debug)]
pub struct Recovery {
    pub log: RecoveredLog,
    pub writer: GroupWriter,
    /// The file being written. What stands in it may not be durable yet: sync it before anything is answered.
    pub tail: Option<FileId>,
    /// A prepared file in which nothing stands: the writer's next one.
    pub spare: Option<FileId>,
    /// Files whose space may be used again.
    pub unused: Vec<FileId>,
}

/// Why a log cannot be opened at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    #[error("log file {} has format {format}, which this version cannot read; start the version that wrote it", file.0)]
    UnknownFormat { file: FileId, format: u8 },
}

/// Opens the log that these files make.
///
/// # Errors
/// When a newer version wrote it. Damage is not an error: it is reported in [`RecoveredLog::damage`].
pub fn recover(files: &BTreeMap<FileId, &dyn LogBytes>, options: LayoutOptions) -> Result<Recovery, RecoverError> {
    check_formats(files)?;
    let (tail, blank) = find_tail(files);
    let mut opening = Opening { files, options, log: RecoveredLog::default(), sealed: BTreeMap::new() };
    Ok(match tail {
        Some((file, outcome)) => opening.with_tail(file, outcome, &blank),
        None => opening.without_tail(&blank),
    })
}

fn check_formats(files: &BTreeMap<FileId, &dyn LogBytes>) -> Result<(), RecoverError> {
    for (&file, bytes) in files {
        let head = bytes.read_at(0, GROUP_HEADER_BYTES).unwrap_or_default();
        if let Some(format) = GroupHeader::unknown_format(&head) {
            return Err(RecoverError::UnknownFormat { file, format });
        }
    }
    Ok(())
}

/// The newest file that anything was written to, and the newer ones without any trace of writing.
fn find_tail(files: &BTreeMap<FileId, &dyn LogBytes>) -> (Option<(FileId, ScanOutcome)>, BTreeSet<FileId>) {
    let mut blank = BTreeSet::new();
    for (&file, &bytes) in files.iter().rev() {
        let outcome = scan(file, bytes);
        if outcome.last.is_some() || !outcome.damage.is_empty() {
            return (Some((file, outcome)), blank);
        }
        blank.insert(file);
    }
    (None, blank)
}

struct Opening<'a> {
    files: &'a BTreeMap<FileId, &'a dyn LogBytes>,
    options: LayoutOptions,
    log: RecoveredLog,
    sealed: BTreeMap<FileId, FooterRef>,
}

impl Opening<'_> {
    fn without_tail(&mut self, blank: &BTreeSet<FileId>) -> Recovery {
        let first = FileId(1);
        // A log begins with file 1; blank files with higher numbers alone once had older neighbours (I1).
        if let Some(&lowest) = blank.first().filter(|lowest| **lowest != first) {
            self.lose(lowest, 0, u64::MAX >> 1, "the files before it are missing");
        }
        let spare = self.usable(first, blank).then_some(first);
        if spare.is_none() && blank.contains(&first) {
            self.lose(first, 0, u64::MAX >> 1, "the file is shorter than it was made");
        }
        let next_file_id = spare.unwrap_or_else(|| self.next_free_id(FileId(0)));
        self.finish(None, spare, Resume { current: None, next_file_id, sealed: BTreeMap::new(), seq: 0, prev_crc: 0 })
    }

    fn with_tail(&mut self, tail: FileId, mut outcome: ScanOutcome, blank: &BTreeSet<FileId>) -> Recovery {
        self.log.torn = outcome.torn;
        self.log.damage.append(&mut outcome.damage);
        if outcome.lost_up_to > 0 {
            self.log.lost.push(LostRange { file: tail, up_to: outcome.lost_up_to });
        }
        self.load_sealed_files(tail, &outcome);
        let size = self.files.get(&tail).map_or(0, |bytes| bytes.size());
        // Where the size is not known any more, writing must still find room for a footer.
        let unknown = size.max(self.options.file_bytes);
        let file_bytes = outcome.files.as_ref().map_or(unknown, |list| list.file_bytes);
        if size < file_bytes {
            self.lose(tail, size, file_bytes, "the file is shorter than it was made");
        }
        self.log.files.push(RecoveredFile {
            file: tail,
            used: outcome.end,
            sealed: outcome.sealed.is_some(),
            index: outcome.index.clone(),
        });
        let mut highest = tail;
        if let Some((footer, next)) = outcome.sealed {
            self.sealed.insert(tail, footer);
            highest = next;
            if !self.usable(next, blank) {
                self.lose(next, 0, u64::MAX >> 1, "the file was begun and is missing or shortened");
            }
        }
        let spare = Some(FileId(tail.0 + 1)).filter(|file| self.usable(*file, blank));
        let next_file_id = spare.unwrap_or_else(|| self.next_free_id(highest));
        let current = outcome.sealed.is_none().then_some(OpenFile {
            file: tail,
            nonce: outcome.nonce,
            file_bytes,
            offset: outcome.end,
            index: outcome.index,
        });
        let (seq, prev_crc) = outcome.last.unwrap_or((outcome.seq_max, 0));
        let sealed = std::mem::take(&mut self.sealed);
        self.finish(Some(tail), spare, Resume { current, next_file_id, sealed, seq, prev_crc })
    }

    /// A blank file is taken as the next one only in full size: a shortened one may have held something.
    fn usable(&self, file: FileId, blank: &BTreeSet<FileId>) -> bool {
        blank.contains(&file) && self.files.get(&file).is_some_and(|bytes| bytes.size() == self.options.file_bytes)
    }

    fn next_free_id(&self, highest: FileId) -> FileId {
        let present = self.files.keys().next_back().copied().unwrap_or(FileId(0));
        FileId(present.max(highest).0 + 1)
    }

    fn load_sealed_files(&mut self, tail: FileId, outcome: &ScanOutcome) {
        let Some(list) = &outcome.files else {
            self.lose(tail, 0, outcome.end, "the list of files in use cannot be read");
            for (&file, &bytes) in self.files.range(..tail) {
                let found = scan(file, bytes);
                let complete = found.sealed.is_some();
                self.keep_scanned(file, found, complete, None);
            }
            return;
        };
        for (&file, &footer) in list.sealed.iter().filter(|(file, _)| !outcome.freed.contains(file)) {
            let Some(&bytes) = self.files.get(&file) else {
                self.lose(file, 0, footer.offset + footer.len, "the file is missing");
                continue;
            };
            if let Some(index) = read_footer(file, bytes, footer) {
                self.sealed.insert(file, footer);
                self.log.files.push(RecoveredFile { file, used: footer.offset, sealed: true, index });
                continue;
            }
            let report =
                DamageReport { file, offset: footer.offset, what: "the footer cannot be read; scanned the file" };
            self.log.damage.push(report);
            let found = scan(file, bytes);
            let complete = found.end == footer.offset;
            self.keep_scanned(file, found, complete, Some(footer));
        }
    }

    fn keep_scanned(&mut self, file: FileId, mut found: ScanOutcome, complete: bool, footer: Option<FooterRef>) {
        let footer = footer.or_else(|| found.sealed.map(|(footer, _)| footer));
        let up_to = footer.map_or(found.end, |footer| footer.offset + footer.len);
        self.log.damage.append(&mut found.damage);
        if !complete {
            self.lose(file, found.end, up_to.max(1), "the file ends before its footer");
        } else if found.lost_up_to > 0 {
            self.log.lost.push(LostRange { file, up_to: found.lost_up_to });
        }
        self.sealed.insert(file, footer.unwrap_or(FooterRef { offset: found.end, len: 0 }));
        self.log.files.push(RecoveredFile { file, used: found.end, sealed: true, index: found.index });
    }

    fn lose(&mut self, file: FileId, offset: u64, up_to: u64, what: &'static str) {
        self.log.damage.push(DamageReport { file, offset, what });
        self.log.lost.push(LostRange { file, up_to });
    }

    fn finish(&mut self, tail: Option<FileId>, spare: Option<FileId>, resume: Resume) -> Recovery {
        let losses = self.log.files.iter().flat_map(|f| f.index.losses.iter().copied());
        let accounted: BTreeSet<Loss> = losses.filter(|loss| loss.measured).collect();
        self.log.lost.retain(|lost| !accounted.iter().any(|l| l.file == lost.file && l.up_to >= lost.up_to)); // I2
        let in_use: BTreeSet<FileId> = self.log.files.iter().map(|f| f.file).collect();
        let unused = self.files.keys().copied().filter(|f| !in_use.contains(f) && Some(*f) != spare).collect();
        let log = std::mem::take(&mut self.log);
        Recovery { log, writer: GroupWriter::new(self.options, resume), tail, spare, unused }
    }
}
