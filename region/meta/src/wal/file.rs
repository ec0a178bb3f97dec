//! The log file on disk: opening, appending, growing ahead, replacing.
//!
//! **What**  Blocking and single-owner: the writer thread has it. Every error but a full disk is final for the file.

use super::group::{FILE_HEADER_LEN, FileHeader, GroupHead};
use super::record::LogRecord;
use super::scan::{Damage, Scan, check_length, scan};
use crate::error::{IoFailure, OpenError};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Extension of a file that does not have its name yet.
pub(crate) const NEW: &str = "new";

/// How the file grows and shrinks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileOptions {
    /// Zeros written ahead at a time, in bytes. What is left of them serves small writes while the disk is full.
    pub(crate) ahead_bytes: u64,
    /// Below this many bytes of groups the file is not rewritten, however little of it is live.
    pub(crate) rewrite_bytes_min: u64,
    /// The file grows no further than this, in bytes; then it behaves as on a full disk.
    pub(crate) file_bytes_max: u64,
}

impl FileOptions {
    pub(crate) const PRODUCTION: Self =
        Self { ahead_bytes: 1 << 20, rewrite_bytes_min: 4 << 20, file_bytes_max: 8 << 30 };
}

/// The open log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    options: FileOptions,
    header: FileHeader,
    /// Where the next group goes.
    tail: u64,
    /// Length of the file: groups, then zeros.
    allocated: u64,
    /// The part of that length which an fsync has confirmed.
    lasting: u64,
    next_seq: u64,
    durable_seq: u64,
    prev_crc: u32,
}

/// A log as found on disk.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) file: LogFile,
    /// What the groups hold, oldest first.
    pub(crate) records: Vec<FoundRecord>,
    /// Bytes that were cut from the end because no fsync had confirmed them.
    pub(crate) torn_bytes: u64,
}

/// A record as it stands in the file.
#[derive(Debug)]
pub(crate) struct FoundRecord {
    pub(crate) record: LogRecord,
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
}

impl LogFile {
    /// Creates the log of a new node. The file gets its name once its header is durable.
    pub(crate) fn create(path: &Path, node: u64, stream: u64, options: FileOptions) -> Result<Self, IoFailure> {
        let header = FileHeader { node, stream, first_seq: 1, room_first: true };
        let mut file = Self::create_unnamed(path, header, options)?;
        file.sync()?;
        file.take_name(path)?;
        Ok(file)
    }

    /// Opens a log, cuts a torn tail, and makes what is left durable before anybody relies on it.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when durable bytes do not read; the file is then left as it was found.
    pub(crate) fn open(path: &Path, options: FileOptions) -> Result<Opened, OpenError> {
        let failed = |what| move |source| IoFailure { what, path: path.to_owned(), source };
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed("open"))?;
        let bytes = std::fs::read(path).map_err(failed("read"))?;
        let damaged = |damage: Damage| OpenError::Damaged {
            path: path.to_owned(),
            offset: to_u64(damage.offset),
            what: damage.what,
        };
        let found = scan(&bytes).map_err(damaged)?;
        let step = usize::try_from(options.ahead_bytes).unwrap_or(usize::MAX).max(1);
        check_length(&bytes, &found, step).map_err(damaged)?;
        let records = read_records(&bytes, &found).map_err(damaged)?;
        let torn_bytes = to_u64(found.torn.len());
        // Zeroed in place: giving the space back and asking for it again would fail on a full disk.
        let zeros = vec![0; found.torn.len()];
        file.write_all_at(&zeros, to_u64(found.torn.start)).map_err(failed("zero the torn tail of"))?;
        // Wal I5, also for the groups that are made durable here. It takes no space.
        if !bytes.len().is_multiple_of(step) {
            file.set_len(to_u64(bytes.len().next_multiple_of(step))).map_err(failed("lengthen"))?;
        }
        file.sync_data().map_err(failed("sync"))?;
        let file = Self {
            path: path.to_owned(),
            file,
            options,
            header: found.header,
            tail: to_u64(found.tail),
            allocated: to_u64(bytes.len()),
            lasting: to_u64(bytes.len()),
            next_seq: found.next_seq,
            durable_seq: found.next_seq - 1,
            prev_crc: found.prev_crc,
        };
        Ok(Opened { file, records, torn_bytes })
    }

    /// Writes one group per body behind the tail. They are durable after the next [`LogFile::sync`].
    pub(crate) fn append(&mut self, bodies: &[Bytes]) -> Result<(), IoFailure> {
        let mut bytes = Vec::new();
        for body in bodies {
            let head = GroupHead {
                seq: self.next_seq,
                durable_seq: self.durable_seq,
                stream: self.header.stream,
                offset: self.tail + to_u64(bytes.len()),
                prev_crc: self.prev_crc,
            };
            self.prev_crc = head.encode(body, &mut bytes);
            self.next_seq += 1;
        }
        let end = self.tail + to_u64(bytes.len());
        // Wal I6
        if end >= self.allocated {
            self.grow_to(end + 1)?;
        }
        if end >= self.lasting {
            self.sync_length()?;
        }
        self.file.write_all_at(&bytes, self.tail).map_err(|source| self.failed("write", source))?;
        self.tail = end;
        Ok(())
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), IoFailure> {
        self.sync_length()?;
        assert!(self.durable_seq < self.next_seq, "Wal I2: what is durable was written");
        self.durable_seq = self.next_seq - 1;
        Ok(())
    }

    /// Writes an empty group that bears witness that all groups before it are durable. It waits for no fsync itself.
    pub(crate) fn append_witness(&mut self) -> Result<(), IoFailure> {
        assert!(self.durable_seq + 1 == self.next_seq, "Wal I2: a witness stands behind durable groups only");
        self.append(&[Bytes::new()])
    }

    /// Writes zeros ahead when less than `room_min` bytes are left.
    ///
    /// # Errors
    /// Also when the disk is full, which harms nothing: see [`IoFailure::is_full`].
    pub(crate) fn grow_ahead(&mut self, room_min: u64) -> Result<(), IoFailure> {
        if self.room() >= room_min {
            return Ok(());
        }
        self.grow_to(self.tail + room_min + 1)?;
        // The new length is a change of the inode; paid here, it is not paid by the next write that somebody awaits.
        self.sync_length()
    }

    /// Replaces the file by one that holds just these groups; durable when this returns.
    ///
    /// # Errors
    /// When the disk is full the old file stays in use and is whole.
    pub(crate) fn replace(&mut self, bodies: &[Bytes]) -> Result<(), IoFailure> {
        let header = FileHeader { first_seq: self.next_seq, room_first: true, ..self.header };
        let new = Self::create_unnamed(&self.path, header, self.options).and_then(|new| new.filled(bodies));
        let mut new = new.inspect_err(|_| {
            // What was written of it holds space that the old file may need. A leftover is harmless: nothing opens it.
            let _ = std::fs::remove_file(self.path.with_extension(NEW));
        })?;
        new.take_name(&self.path)?;
        *self = new;
        Ok(())
    }

    /// Bytes that can be appended without growing the file.
    pub(crate) fn room(&self) -> u64 {
        self.allocated.saturating_sub(self.tail + 1) // Wal I6
    }

    /// Bytes up to the tail.
    pub(crate) fn used(&self) -> u64 {
        self.tail
    }

    pub(crate) fn options(&self) -> FileOptions {
        self.options
    }

    pub(crate) fn node(&self) -> u64 {
        self.header.node
    }

    pub(crate) fn stream(&self) -> u64 {
        self.header.stream
    }

    /// A new file beside `path`, header written, not yet durable.
    fn create_unnamed(path: &Path, header: FileHeader, options: FileOptions) -> Result<Self, IoFailure> {
        let path = path.with_extension(NEW);
        let failed = |what, source| IoFailure { what, path: path.clone(), source };
        let create = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = create.map_err(|source| failed("create", source))?;
        let (bytes, prev_crc) = header.encode();
        file.write_all_at(&bytes, 0).map_err(|source| failed("write", source))?;
        let tail = to_u64(FILE_HEADER_LEN);
        let durable_seq = header.first_seq - 1;
        let next_seq = header.first_seq;
        let (allocated, lasting) = (tail, 0);
        let mut file = Self { path, file, options, header, tail, allocated, lasting, next_seq, durable_seq, prev_crc };
        file.grow_to(options.ahead_bytes)?;
        Ok(file)
    }

    fn filled(mut self, bodies: &[Bytes]) -> Result<Self, IoFailure> {
        self.append(bodies)?;
        self.sync()?;
        self.append_witness()?;
        Ok(self)
    }

    /// Gives a durable file its name and makes the name durable.
    fn take_name(&mut self, name: &Path) -> Result<(), IoFailure> {
        std::fs::rename(&self.path, name).map_err(|source| self.failed("rename", source))?;
        self.path = name.to_owned();
        let dir = name.parent().unwrap_or_else(|| Path::new("."));
        sync_dir(dir)
    }

    /// Writes zeros up to `end`, rounded up to whole steps.
    fn grow_to(&mut self, end: u64) -> Result<(), IoFailure> {
        let step = self.options.ahead_bytes.max(1);
        let target = end.next_multiple_of(step);
        if target > self.options.file_bytes_max {
            return Err(self.failed("grow", io::ErrorKind::StorageFull.into()));
        }
        let zeros = vec![0; usize::try_from(step).unwrap_or(usize::MAX)];
        while self.allocated < target {
            let len = step.min(target - self.allocated);
            let zeros = zeros.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(&zeros);
            self.file.write_all_at(zeros, self.allocated).map_err(|source| self.failed("grow", source))?;
            self.allocated += len;
        }
        Ok(())
    }

    /// After this the file has its present length whatever happens.
    fn sync_length(&mut self) -> Result<(), IoFailure> {
        self.file.sync_data().map_err(|source| self.failed("sync", source))?;
        self.lasting = self.allocated;
        Ok(())
    }

    fn failed(&self, what: &'static str, source: io::Error) -> IoFailure {
        IoFailure { what, path: self.path.clone(), source }
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), IoFailure> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| IoFailure { what: "sync the directory", path: dir.to_owned(), source })
}

fn read_records(bytes: &[u8], found: &Scan) -> Result<Vec<FoundRecord>, Damage> {
    let mut records = Vec::new();
    for body in &found.bodies {
        let mut offset = body.start;
        let decoded = LogRecord::decode_all(bytes.get(body.clone()).unwrap_or_default());
        for (record, len) in decoded.map_err(|error| Damage { offset, what: error.to_string() })? {
            records.push(FoundRecord { record, offset: to_u64(offset), bytes: to_u64(len) });
            offset += len;
        }
    }
    Ok(records)
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
