//! Reads one log file group by group: what it holds, where writing goes on, and what is wrong with it.
//!
//! **Invariants**
//! - I1  nothing is indexed that was not written in this life of the file: header, position, nonce and checksums agree.
//! - I2  a bad group is cut only when no later group of this life follows.
//! - I3  records that were durable and cannot be named any more are reported as lost, never passed over.
//!
//! **Not here**  What several files say together (`recover`).

use super::FooterRef;
use super::group::{GROUP_ALIGN, GROUP_HEADER_BYTES, GroupHeader};
use super::index::FileIndex;
use super::record::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, RecordView};
use super::window::{LogBytes, Window};
use super::writer::FilesList;
use crate::disk::FileId;
use bytes::Bytes;
use std::fmt;

/// How often a search asks whether the next stretch of the file was written at all.
const LOOK_FOR_HOLES_BYTES: u64 = 1 << 20;

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    pub file: FileId,
    pub offset: u64,
    pub what: &'static str,
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log file {} is damaged at byte {}: {}", self.file.0, self.offset, self.what)
    }
}

/// A write that a crash cut short; nobody was told about what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    pub file: FileId,
    pub offset: u64,
}

/// What one file holds.
#[derive(Clone, Debug)]
pub struct ScanOutcome {
    pub index: FileIndex,
    /// Where the next group would go.
    pub end: u64,
    /// Sequence number and checksum of the last group; `None` when the file holds none.
    pub last: Option<(u64, u32)>,
    /// The highest sequence number met, also of groups that cannot be read; 0 = none.
    pub seq_max: u64,
    pub nonce: u64,
    pub torn: Option<TornTail>,
    pub damage: Vec<DamageReport>,
    /// Below this offset records are lost that cannot be named; 0 = none.
    pub lost_up_to: u64,
    /// The footer and the file that it announces.
    pub sealed: Option<(FooterRef, FileId)>,
    pub freed: Vec<FileId>,
    pub(crate) files: Option<FilesList>,
}

/// Reads the whole file.
pub fn scan(file: FileId, bytes: &dyn LogBytes) -> ScanOutcome {
    let mut scanner = Scanner {
        file,
        window: Window::new(bytes),
        out: ScanOutcome {
            index: FileIndex::default(),
            end: 0,
            last: None,
            seq_max: 0,
            nonce: 0,
            torn: None,
            damage: Vec::new(),
            lost_up_to: 0,
            sealed: None,
            freed: Vec::new(),
            files: None,
        },
    };
    while scanner.step() {}
    scanner.out
}

/// Reads a sealed file's index from its footer; `None` when the footer is damaged.
pub(crate) fn read_footer(file: FileId, bytes: &dyn LogBytes, footer: FooterRef) -> Option<FileIndex> {
    let raw = bytes.read_at(footer.offset, usize::try_from(footer.len).ok()?).ok()?;
    let (header, _) = GroupHeader::decode(&raw)?;
    let records_len = usize::try_from(header.records_len).ok()?;
    let records =
        raw.slice(GROUP_HEADER_BYTES..GROUP_HEADER_BYTES.checked_add(records_len).filter(|e| *e <= raw.len())?);
    let (records, good) = split_records(&header, &records, footer.offset + GROUP_HEADER_BYTES as u64)?;
    let here = header.file == file && header.offset == footer.offset;
    let record = records.first().filter(|r| here && good && r.view.kind == RecordKind::Footer)?;
    FileIndex::decode(&record.content)
}

/// How a group looks.
enum Group {
    Good(GroupHeader, u32, Vec<Placed>),
    /// The record headers are the ones written, but not every content is.
    BadContent(GroupHeader, u32, Vec<Placed>),
    /// A header of this life, but the record headers do not agree with it.
    BadRecords,
    /// No header of this life.
    NoHeader,
}

pub(super) struct Placed {
    pub(super) view: RecordView,
    pub(super) offset: u64,
    pub(super) content: Bytes,
}

struct Scanner<'a> {
    file: FileId,
    window: Window<'a>,
    out: ScanOutcome,
}

impl Scanner<'_> {
    /// Takes the group at the end of what was read; answers whether there may be another one.
    fn step(&mut self) -> bool {
        let at = self.out.end;
        match self.group_at(at) {
            Group::Good(header, crc, records) => {
                self.check_chain(&header);
                self.take(&header, crc, records);
                true
            }
            Group::BadContent(header, crc, records) => match self.later_group(at) {
                // The successor stands where it must: nothing else was in between.
                Some(later) if later == at + header.footprint() => {
                    for record in records.iter().filter(|record| !record.view.content_holds(&record.content)) {
                        self.report(record.offset, "a record's content does not match its checksum");
                    }
                    self.check_chain(&header);
                    self.take(&header, crc, records);
                    true
                }
                later => self.pass_over(at, later, true),
            },
            Group::BadRecords => {
                let later = self.later_group(at);
                self.pass_over(at, later, true)
            }
            Group::NoHeader => {
                let later = self.later_group(at);
                self.pass_over(at, later, false)
            }
        }
    }

    /// I2: without a later group the bad one is a torn write (or nothing at all); with one, something durable is lost.
    fn pass_over(&mut self, at: u64, later: Option<u64>, began: bool) -> bool {
        let Some(later) = later else {
            self.out.torn = began.then_some(TornTail { file: self.file, offset: at });
            return false;
        };
        self.report(at, "a group that was durable cannot be read; what it held is lost here");
        self.out.lost_up_to = later;
        self.out.end = later;
        self.out.last = None;
        true
    }

    fn report(&mut self, offset: u64, what: &'static str) {
        self.out.damage.push(DamageReport { file: self.file, offset, what });
    }

    /// Two neighbours that do not follow each other: whatever stood between them is lost (I3).
    fn check_chain(&mut self, header: &GroupHeader) {
        let follows = self.out.last.is_none_or(|(seq, crc)| header.seq == seq + 1 && header.prev_crc == crc);
        if !follows {
            self.report(header.offset, "a group does not follow the one before; what stood between them is lost here");
            self.out.lost_up_to = header.offset;
        }
    }

    fn take(&mut self, header: &GroupHeader, crc: u32, records: Vec<Placed>) {
        for placed in &records {
            self.out.index.note(&placed.view, placed.offset);
            match placed.view.kind {
                RecordKind::Files if placed.view.content_holds(&placed.content) => {
                    self.out.files = FilesList::decode(&placed.content);
                }
                RecordKind::Freed => self.out.freed.push(placed.view.freed_file()),
                RecordKind::Footer => {
                    let footer = FooterRef { offset: header.offset, len: header.footprint() };
                    self.out.sealed = Some((footer, placed.view.next_file()));
                }
                RecordKind::Files
                | RecordKind::Entry
                | RecordKind::Relocated
                | RecordKind::Fence
                | RecordKind::Delete
                | RecordKind::Loss
                | RecordKind::Suspect
                | RecordKind::Repaired => (),
            }
        }
        self.out.nonce = header.nonce;
        self.out.last = Some((header.seq, crc));
        self.out.end = header.offset + header.footprint();
    }

    fn header_at(&mut self, at: u64) -> Option<(GroupHeader, u32)> {
        let raw = self.window.get(at, GROUP_HEADER_BYTES)?;
        let (header, crc) = GroupHeader::decode(&raw)?;
        // I1. Once the life's nonce is known, nothing that a tenant wrote can pass for a group.
        let this_life = self.out.nonce == 0 || header.nonce == self.out.nonce;
        if header.file != self.file || header.offset != at || !this_life {
            return None;
        }
        self.out.seq_max = self.out.seq_max.max(header.seq);
        Some((header, crc))
    }

    fn group_at(&mut self, at: u64) -> Group {
        let Some((header, crc)) = self.header_at(at) else {
            return Group::NoHeader;
        };
        let Ok(records_len) = usize::try_from(header.records_len) else {
            return Group::BadRecords;
        };
        let start = at + GROUP_HEADER_BYTES as u64;
        let Some(raw) = self.window.get(start, records_len) else {
            return Group::BadRecords;
        };
        match split_records(&header, &raw, start) {
            Some((records, true)) => Group::Good(header, crc, records),
            Some((records, false)) => Group::BadContent(header, crc, records),
            None => Group::BadRecords,
        }
    }

    /// The next group of this life behind a bad place.
    fn later_group(&mut self, bad: u64) -> Option<u64> {
        let seq = self.out.last.map_or(0, |(seq, _)| seq);
        let mut at = bad + GROUP_ALIGN;
        while at < self.window.size() {
            if at.is_multiple_of(LOOK_FOR_HOLES_BYTES) {
                at = at.max(self.window.next_written(at) / GROUP_ALIGN * GROUP_ALIGN);
            }
            if self.header_at(at).is_some_and(|(header, _)| header.seq > seq) {
                return Some(at);
            }
            at += GROUP_ALIGN;
        }
        None
    }
}

/// The records of a group and whether every content holds; `None` when the record headers are not the ones written.
pub(super) fn split_records(header: &GroupHeader, raw: &Bytes, start: u64) -> Option<(Vec<Placed>, bool)> {
    let (mut records, mut at, mut records_crc, mut good) = (Vec::new(), 0usize, 0, true);
    while at < raw.len() {
        let bytes = raw.get(at..at.checked_add(RECORD_HEADER_BYTES)?)?;
        let record_header: &RecordHeader = bytes.try_into().ok()?;
        let view = RecordView::decode(record_header)?;
        let end = at.checked_add(view.len())?;
        if end > raw.len() {
            return None;
        }
        records_crc = crc32c::crc32c_append(records_crc, record_header);
        let content = raw.slice(at + RECORD_HEADER_BYTES..end);
        good &= view.content_holds(&content);
        records.push(Placed { view, offset: start + at as u64, content });
        at = end;
    }
    let count = u32::try_from(records.len()).ok()?;
    (count == header.record_count && records_crc == header.records_crc).then_some((records, good))
}
