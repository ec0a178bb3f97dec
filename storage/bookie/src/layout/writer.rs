//! Turns records into groups: what to write where. The real device and the simulated one both execute its plans.
//!
//! **What**  [`GroupWriter::push`] and [`GroupWriter::free`] queue work; [`GroupWriter::next_write`] takes as much of
//! it as fits into one group and says where its bytes go. The device writes them, calls fdatasync, and only then asks for
//! the next plan.
//!
//! **States**  no file → (`add_file`, first work) → file open → (no room) footer written → next file open → …
//!
//! **Invariants**
//! - I1  plans are executed one after the other, each durable before the next is written: a later group proves the earlier.
//! - I2  records keep the order in which they were pushed.
//! - I3  an open file always has room for its footer.
//! - I4  a file is sealed only when the next one is at hand, and names it: a missing successor is noticed.
//! - I5  file ids only grow; each file begins with the list of all files in use, so a missing one is noticed.
//! - I6  a plan covers at most `group_bytes_max` bytes of records, or one record.
//! - I7  freeing a file needs no new file: every file keeps [`CONTROL_BYTES`] for it.
//!
//! **Not here**  files, syncing, when to write (the device); what a record means (`Bookie`).
//!
//! **Tests**  `layout/tests`.

use super::group::{GROUP_ALIGN, GROUP_HEADER_BYTES, GroupHeader, group_footprint};
use super::index::{FOOTER_BYTES_PER_RECORD, FileIndex};
use super::record::{self, RECORD_HEADER_BYTES, RecordView};
use super::{FooterRef, LayoutOptions};
use crate::disk::{AppendId, FileId, Placement, Record};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};

/// Bodies up to this size are copied next to their headers; larger ones are written from where they are.
const COPY_BODY_BYTES_MAX: usize = 4096;

/// Kept free in every file for groups that only free files.
const CONTROL_BYTES: u64 = 2 * GROUP_ALIGN;
/// So many frees fit one block.
const FREES_PER_GROUP_MAX: usize = 64;

/// One write of consecutive bytes, followed by one fdatasync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePlan {
    pub file: FileId,
    pub offset: u64,
    /// Back to back; together a multiple of 4 KiB.
    pub buffers: Vec<Bytes>,
    /// What is durable once this plan is, in the order of pushing.
    pub placements: Vec<(AppendId, Placement)>,
    /// Files whose space may be used again once this plan is durable.
    pub freed: Vec<FileId>,
}

impl WritePlan {
    /// Bytes to write.
    pub fn len(&self) -> u64 {
        self.buffers.iter().map(|buffer| buffer.len() as u64).sum()
    }

    /// Never: a plan has at least a group header.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }
}

/// What the device should do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextWrite {
    /// Nothing is queued.
    Idle,
    /// There is work, but no file with room: call [`GroupWriter::add_file`] first.
    NeedFile,
    Write(WritePlan),
}

/// The file that is being written.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) file: FileId,
    pub(crate) nonce: u64,
    /// Size of the file.
    pub(crate) file_bytes: u64,
    /// Where the next group goes.
    pub(crate) offset: u64,
    pub(crate) index: FileIndex,
}

/// The one writer of a log.
#[derive(Debug)]
pub struct GroupWriter {
    options: LayoutOptions,
    queue: VecDeque<(AppendId, Record)>,
    /// Files to give back; they overtake appends.
    frees: VecDeque<FileId>,
    /// Asked for by [`GroupWriter::close`]: an empty group, to prove that the last one was complete.
    closing: bool,
    current: Option<OpenFile>,
    next: Option<(FileId, u64)>,
    next_file_id: FileId,
    /// Sealed files in use, and where their footers stand.
    sealed: BTreeMap<FileId, FooterRef>,
    seq: u64,
    prev_crc: u32,
}

/// Where a log goes on after opening.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) current: Option<OpenFile>,
    pub(crate) next_file_id: FileId,
    pub(crate) sealed: BTreeMap<FileId, FooterRef>,
    pub(crate) seq: u64,
    pub(crate) prev_crc: u32,
}

impl GroupWriter {
    pub(crate) fn new(options: LayoutOptions, resume: Resume) -> Self {
        Self {
            options,
            queue: VecDeque::new(),
            frees: VecDeque::new(),
            closing: false,
            current: resume.current,
            next: None,
            next_file_id: resume.next_file_id,
            sealed: resume.sealed,
            seq: resume.seq,
            prev_crc: resume.prev_crc,
        }
    }

    /// Queues one record.
    ///
    /// # Panics
    /// When the record is larger than any file has room for ([`LayoutOptions::entry_bytes_max`]).
    pub fn push(&mut self, id: AppendId, record: Record) {
        let room = self.options.record_bytes_max();
        assert!(record.len() as u64 <= room, "GroupWriter I3: a record of {} bytes fits {room}", record.len());
        self.queue.push_back((id, record));
    }

    /// Queues giving back a file; it comes back in [`WritePlan::freed`]. It overtakes queued appends, so that a full disk can
    /// come back. Ignored when the file is not sealed and in use, or asked for already.
    pub fn free(&mut self, file: FileId) {
        if self.sealed.contains_key(&file) && !self.frees.contains(&file) {
            self.frees.push_back(file);
        }
    }

    /// Asks for one last, empty group behind everything queued: it proves that the group before was complete.
    pub fn close(&mut self) {
        self.closing = true;
    }

    /// The id that the next file must have; `None` while one is at hand.
    pub fn wants_file(&self) -> Option<FileId> {
        self.next.is_none().then_some(self.next_file_id)
    }

    /// Gives the writer its next file, of `file_bytes` (see [`LayoutOptions`]). `nonce` is not 0 and unpredictable for those who
    /// send entries: nobody can then forge a group inside a record.
    pub fn add_file(&mut self, file: FileId, nonce: u64) {
        assert!(nonce != 0, "GroupWriter: 0 stands for an unknown nonce");
        assert!(self.next.is_none() && file == self.next_file_id, "GroupWriter I5: {file:?} is the next file");
        self.next = Some((file, nonce));
        self.next_file_id = FileId(file.0 + 1);
    }

    /// The file being written and how many bytes of it are free for groups.
    pub fn current(&self) -> Option<(FileId, u64)> {
        self.current.as_ref().map(|open| (open.file, open.room()))
    }

    /// Takes what fits into one group. The plan must be durable before the next call (I1).
    pub fn next_write(&mut self) -> NextWrite {
        if self.queue.is_empty() && self.frees.is_empty() && !(self.closing && self.current.is_some()) {
            return NextWrite::Idle;
        }
        self.open_next_file();
        let Some(open) = &self.current else {
            return NextWrite::NeedFile;
        };
        let control = self.control_len(open);
        let (count, fits) = (self.fitting(open), open.fits(control, 0, CONTROL_BYTES));
        let fits_reserve = open.fits(control, 0, 0);
        if count > 0 || (self.queue.is_empty() && fits) {
            return NextWrite::Write(self.group(count));
        }
        if let Some((next, _)) = self.next {
            return NextWrite::Write(self.seal(next)); // I4
        }
        // Without a next file only freeing one can bring one: that must never wait for space (I7).
        let control_only = !self.frees.is_empty() || self.queue.is_empty();
        if control_only && fits_reserve { NextWrite::Write(self.group(0)) } else { NextWrite::NeedFile }
    }

    fn open_next_file(&mut self) {
        if self.current.is_none()
            && let Some((file, nonce)) = self.next.take()
        {
            let file_bytes = self.options.file_bytes;
            self.current = Some(OpenFile { file, nonce, file_bytes, offset: 0, index: FileIndex::default() });
        }
    }

    /// Bytes of the records that lead the next group: the list of files at the beginning of a file, and frees.
    fn control_len(&self, open: &OpenFile) -> u64 {
        let list = if open.offset == 0 { FilesList::encoded_len(self.sealed.len()) + RECORD_HEADER_BYTES } else { 0 };
        (list + self.frees.len().min(FREES_PER_GROUP_MAX) * RECORD_HEADER_BYTES) as u64
    }

    /// How many appends of the queue fit the next group.
    fn fitting(&self, open: &OpenFile) -> usize {
        let control = self.control_len(open);
        let mut records_len = control;
        for (count, (_, record)) in self.queue.iter().enumerate() {
            records_len += record.len() as u64;
            let fits = open.fits(records_len, count + 1, CONTROL_BYTES);
            assert!(fits || open.offset > 0 || count > 0, "GroupWriter I3: an empty file has room for any record");
            let within = count == 0 || records_len - control <= self.options.group_bytes_max;
            if !fits || !within {
                return count;
            }
        }
        self.queue.len()
    }

    fn group(&mut self, count: usize) -> WritePlan {
        let mut records = Vec::with_capacity(count + 1);
        if self.current.as_ref().is_some_and(|open| open.offset == 0) {
            let list = FilesList { file_bytes: self.options.file_bytes, sealed: self.sealed.clone() };
            records.push((None, record::files_record(list.encode())));
        }
        let frees = self.frees.len().min(FREES_PER_GROUP_MAX);
        let freed: Vec<FileId> = self.frees.drain(..frees).collect();
        for &file in &freed {
            self.sealed.remove(&file);
            records.push((None, record::freed_record(file)));
        }
        records.extend(self.queue.drain(..count).map(|(id, record)| (Some(id), record)));
        self.closing &= !self.queue.is_empty() || !self.frees.is_empty();
        let mut plan = self.lay_out(records);
        plan.freed = freed;
        plan
    }

    /// Ends the open file with its footer and goes on to the next one.
    fn seal(&mut self, next: FileId) -> WritePlan {
        let Some((file, offset, body)) = self.current.as_ref().map(|o| (o.file, o.offset, o.index.encode())) else {
            unreachable!("GroupWriter: only an open file is sealed");
        };
        let footer = FooterRef { offset, len: footer_footprint(body.len()) };
        let plan = self.lay_out(vec![(None, record::footer_record(next, body))]);
        assert!(plan.len() == footer.len, "GroupWriter I3: the footer is as long as was planned");
        self.sealed.insert(file, footer);
        self.current = None;
        plan
    }

    fn lay_out(&mut self, records: Vec<(Option<AppendId>, Record)>) -> WritePlan {
        let Some(open) = self.current.as_mut() else {
            unreachable!("GroupWriter: groups go to an open file");
        };
        let mut placements = Vec::with_capacity(records.len());
        let (mut records_len, mut records_crc) = (0u64, 0);
        for (id, record) in &records {
            let offset = open.offset + GROUP_HEADER_BYTES as u64 + records_len;
            let Some(view) = RecordView::decode(&record.header) else {
                panic!("GroupWriter: a record that was built here can be read");
            };
            open.index.note(&view, offset);
            if let Some(id) = id {
                placements.push((*id, Placement { file: open.file, offset, len: narrow(record.len() as u64) }));
            }
            records_crc = crc32c::crc32c_append(records_crc, &record.header);
            records_len += record.len() as u64;
        }
        self.seq += 1;
        let header = GroupHeader {
            file: open.file,
            offset: open.offset,
            seq: self.seq,
            nonce: open.nonce,
            prev_crc: self.prev_crc,
            records_len: narrow(records_len),
            record_count: narrow(records.len() as u64),
            records_crc,
        };
        let (encoded, crc) = header.encode();
        let buffers = gather(&encoded, records, header.footprint());
        let plan = WritePlan { file: open.file, offset: open.offset, buffers, placements, freed: Vec::new() };
        self.prev_crc = crc;
        open.offset += header.footprint();
        assert!(open.offset <= open.file_bytes, "GroupWriter I3: a group ends within its file");
        plan
    }
}

impl OpenFile {
    /// Bytes left for groups, the places of footer and frees kept.
    fn room(&self) -> u64 {
        let footer = footer_footprint(self.index.encoded_len());
        self.file_bytes.saturating_sub(self.offset + footer + CONTROL_BYTES)
    }

    /// Whether a group with these bytes of records, `appends` of them new to the index, fits and leaves `kept` bytes.
    fn fits(&self, records_len: u64, appends: usize, kept: u64) -> bool {
        let footer = footer_footprint(self.index.encoded_len() + appends * FOOTER_BYTES_PER_RECORD);
        self.offset + group_footprint(records_len) + footer + kept <= self.file_bytes
    }
}

fn footer_footprint(encoded_len: usize) -> u64 {
    group_footprint((RECORD_HEADER_BYTES + encoded_len) as u64)
}

fn narrow(len: u64) -> u32 {
    let Ok(len) = u32::try_from(len) else {
        panic!("GroupWriter: {len} bytes lie within a file below 4 GiB");
    };
    len
}

/// Puts a group's parts into as few buffers as can be without copying large bodies.
fn gather(header: &[u8], records: Vec<(Option<AppendId>, Record)>, footprint: u64) -> Vec<Bytes> {
    let mut small =
        BytesMut::with_capacity(header.len() + records.iter().map(|(_, r)| small_len(r)).sum::<usize>() + 64);
    let mut buffers = Vec::new();
    let mut total = header.len();
    small.extend_from_slice(header);
    for (_, record) in records {
        total += record.len();
        small.extend_from_slice(&record.header);
        small.extend_from_slice(&record.head);
        if record.body.len() <= COPY_BODY_BYTES_MAX {
            small.extend_from_slice(&record.body);
        } else {
            buffers.push(small.split().freeze());
            buffers.push(record.body);
        }
    }
    let padding = usize::try_from(footprint).unwrap_or(total) - total;
    small.resize(small.len() + padding, 0);
    if !small.is_empty() {
        buffers.push(small.freeze());
    }
    buffers
}

fn small_len(record: &Record) -> usize {
    let body = if record.body.len() <= COPY_BODY_BYTES_MAX { record.body.len() } else { 0 };
    RECORD_HEADER_BYTES + record.head.len() + body
}

/// The body of a file's first record: how large the file is, and which older files are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilesList {
    pub(crate) file_bytes: u64,
    pub(crate) sealed: BTreeMap<FileId, FooterRef>,
}

impl FilesList {
    const FILE_BYTES: usize = 24;

    fn encoded_len(files: usize) -> usize {
        8 + files * Self::FILE_BYTES
    }

    fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(Self::encoded_len(self.sealed.len()));
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        for (file, footer) in &self.sealed {
            out.extend_from_slice(&file.0.to_le_bytes());
            out.extend_from_slice(&footer.offset.to_le_bytes());
            out.extend_from_slice(&footer.len.to_le_bytes());
        }
        Bytes::from(out)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (size, files) = bytes.split_at_checked(8)?;
        if files.len() % Self::FILE_BYTES != 0 {
            return None;
        }
        let sealed = files.chunks_exact(Self::FILE_BYTES).map(|raw| {
            let footer = FooterRef { offset: record::u64_at(raw, 8), len: record::u64_at(raw, 16) };
            (FileId(record::u64_at(raw, 0)), footer)
        });
        Some(Self { file_bytes: record::u64_at(size, 0), sealed: sealed.collect() })
    }
}
