//! One record: a 40-byte header, then the head and the body of an entry.
//!
//! **What**  Encoding, decoding and checking of records. All integers are little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0 | kind |
//! | 1 | zero |
//! | 2–3 | length of the head |
//! | 4–7 | length of the body |
//! | 8–15 | ledger |
//! | 16–23 | entry (for `Freed` and `Loss`: the file; for `Suspect` and `Repaired`: the number of the loss) |
//! | 24–31 | last confirmed entry that the writer knew (`Footer`: the file that follows; `Loss`: an offset) |
//! | 32–35 | CRC32C of head and body, computed where the entry was made |
//! | 36–39 | CRC32C of bytes 0–35 |
//!
//! The header has a checksum of its own, so that a reader can step over records without reading what they hold.

use crate::disk::{FileId, Record};
use base::{EntryData, EntryId, LedgerId};
use bytes::Bytes;

/// Bytes of a record's header on disk.
pub const RECORD_HEADER_BYTES: usize = 40;

/// An encoded record header.
pub type RecordHeader = [u8; RECORD_HEADER_BYTES];

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// An entry, as its writer sent it.
    Entry,
    /// The ledger is fenced.
    Fence,
    /// The ledger is gone: everything of it that stands before this record is dead.
    Delete,
    /// An entry that the cleaner copied out of an older file.
    Relocated,
    /// The index of a file, its last record.
    Footer,
    /// The files that were in use when this file began, its first record.
    Files,
    /// A file of that list is not in use any more.
    Freed,
    /// Records that nobody can name were lost; says whether the ledgers that may miss some are marked.
    Loss,
    /// The ledger may miss records that were once here: it is fenced, and nothing negative is said of it.
    Suspect,
    /// The ledger has again all that it should have here: negatives are true. It stays fenced.
    Repaired,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Fence => 2,
            Self::Delete => 3,
            Self::Relocated => 4,
            Self::Footer => 5,
            Self::Files => 6,
            Self::Freed => 7,
            Self::Loss => 8,
            Self::Suspect => 9,
            Self::Repaired => 10,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Entry),
            2 => Some(Self::Fence),
            3 => Some(Self::Delete),
            4 => Some(Self::Relocated),
            5 => Some(Self::Footer),
            6 => Some(Self::Files),
            7 => Some(Self::Freed),
            8 => Some(Self::Loss),
            9 => Some(Self::Suspect),
            10 => Some(Self::Repaired),
            _ => None,
        }
    }
}

/// Records that nobody can name were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    /// The damaged file; [`Loss::WHOLE_DISK`] when the process was told that anything may be missing.
    pub file: FileId,
    /// Damage below this offset of the file is accounted for by this record. Of the whole disk: counts such starts.
    pub up_to: u64,
    /// Every ledger that may miss something is marked; before that, all are in limbo.
    pub measured: bool,
}

impl Loss {
    /// No file has this number.
    pub const WHOLE_DISK: FileId = FileId(0);
}

/// What became of a ledger of which records may have been lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Numbers losses in the order in which they were measured, from 1.
    pub loss: u32,
    /// It was repaired since.
    pub repaired: bool,
}

/// A decoded record header whose checksum held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView {
    pub kind: RecordKind,
    pub ledger: LedgerId,
    pub entry: EntryId,
    pub lac: EntryId,
    pub head_len: usize,
    pub body_len: usize,
    pub content_crc: u32,
}

impl RecordView {
    /// Reads a header; `None` when it is not one or is damaged.
    pub fn decode(header: &RecordHeader) -> Option<Self> {
        let stated = u32_at(header, 36);
        if header[1] != 0 || crc32c::crc32c(&header[..36]) != stated {
            return None;
        }
        Some(Self {
            kind: RecordKind::from_code(header[0])?,
            ledger: LedgerId(u64_at(header, 8)),
            entry: EntryId(i64_at(header, 16)),
            lac: EntryId(i64_at(header, 24)),
            head_len: usize::from(u16::from_le_bytes([header[2], header[3]])),
            body_len: usize::try_from(u32_at(header, 4)).unwrap_or(usize::MAX),
            content_crc: u32_at(header, 32),
        })
    }

    /// Bytes of the whole record, header included.
    pub fn len(&self) -> usize {
        RECORD_HEADER_BYTES.saturating_add(self.head_len).saturating_add(self.body_len)
    }

    /// Never: a record has at least its header.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether these are the head and body that the record was written with.
    pub fn content_holds(&self, content: &[u8]) -> bool {
        content.len() == self.head_len + self.body_len && crc32c::crc32c(content) == self.content_crc
    }

    /// An entry or a copy of one.
    pub fn is_entry(&self) -> bool {
        matches!(self.kind, RecordKind::Entry | RecordKind::Relocated)
    }

    /// What a `Loss` record says.
    pub(crate) fn loss(&self) -> Loss {
        let up_to = u64::try_from(self.lac.0).unwrap_or(0);
        Loss { file: self.freed_file(), up_to, measured: self.ledger.0 != 0 }
    }

    /// What a `Suspect` or `Repaired` record says.
    pub(crate) fn mark(&self) -> Mark {
        Mark { loss: u32::try_from(self.entry.0).unwrap_or(0), repaired: self.kind == RecordKind::Repaired }
    }

    /// The file that a `Freed` record names.
    pub(crate) fn freed_file(&self) -> FileId {
        FileId(u64::try_from(self.entry.0).unwrap_or(0))
    }

    /// The file that a `Footer` record announces.
    pub(crate) fn next_file(&self) -> FileId {
        FileId(u64::try_from(self.lac.0).unwrap_or(0))
    }
}

/// An entry as its writer sent it.
pub fn entry_record(ledger: LedgerId, entry: EntryId, lac: EntryId, data: EntryData) -> Record {
    build(RecordKind::Entry, ledger, entry, lac, data)
}

/// A copy of an entry on its way to a newer file.
pub fn relocated_record(ledger: LedgerId, entry: EntryId, lac: EntryId, data: EntryData) -> Record {
    build(RecordKind::Relocated, ledger, entry, lac, data)
}

pub fn fence_record(ledger: LedgerId) -> Record {
    build(RecordKind::Fence, ledger, EntryId::NONE, EntryId::NONE, EntryData::default())
}

pub fn delete_record(ledger: LedgerId) -> Record {
    build(RecordKind::Delete, ledger, EntryId::NONE, EntryId::NONE, EntryData::default())
}

pub fn loss_record(loss: Loss) -> Record {
    let up_to = EntryId(i64::try_from(loss.up_to).unwrap_or(i64::MAX));
    let measured = LedgerId(u64::from(loss.measured));
    build(RecordKind::Loss, measured, file_as_entry(loss.file), up_to, EntryData::default())
}

pub fn mark_record(ledger: LedgerId, mark: Mark) -> Record {
    let kind = if mark.repaired { RecordKind::Repaired } else { RecordKind::Suspect };
    build(kind, ledger, EntryId(i64::from(mark.loss)), EntryId::NONE, EntryData::default())
}

pub(crate) fn freed_record(file: FileId) -> Record {
    build(RecordKind::Freed, LedgerId(0), file_as_entry(file), EntryId::NONE, EntryData::default())
}

pub(crate) fn files_record(body: Bytes) -> Record {
    build(RecordKind::Files, LedgerId(0), EntryId::NONE, EntryId::NONE, EntryData::new(Bytes::new(), body))
}

pub(crate) fn footer_record(next: FileId, body: Bytes) -> Record {
    build(RecordKind::Footer, LedgerId(0), EntryId::NONE, file_as_entry(next), EntryData::new(Bytes::new(), body))
}

fn file_as_entry(file: FileId) -> EntryId {
    EntryId(i64::try_from(file.0).unwrap_or(i64::MAX))
}

fn build(kind: RecordKind, ledger: LedgerId, entry: EntryId, lac: EntryId, data: EntryData) -> Record {
    let head_len = u16::try_from(data.head.len());
    let body_len = u32::try_from(data.body.len());
    let (Ok(head_len), Ok(body_len)) = (head_len, body_len) else {
        panic!("Record: a head of {} and a body of {} bytes fit their fields", data.head.len(), data.body.len());
    };
    let mut header = [0; RECORD_HEADER_BYTES];
    header[0] = kind.code();
    header[2..4].copy_from_slice(&head_len.to_le_bytes());
    header[4..8].copy_from_slice(&body_len.to_le_bytes());
    header[8..16].copy_from_slice(&ledger.0.to_le_bytes());
    header[16..24].copy_from_slice(&entry.0.to_le_bytes());
    header[24..32].copy_from_slice(&lac.0.to_le_bytes());
    header[32..36].copy_from_slice(&data.checksum().to_le_bytes());
    let header_crc = crc32c::crc32c(&header[..36]);
    header[36..40].copy_from_slice(&header_crc.to_le_bytes());
    Record { header, head: data.head, body: data.body }
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

pub(crate) fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_le_bytes(u64_at(bytes, at).to_le_bytes())
}
