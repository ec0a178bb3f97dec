//! A log device in memory for the tests of this crate: the same plans as on a real disk, one write at a time, with crashes.

use crate::disk::{DiskEvent, DiskOp, DiskReadError, FileId};
use crate::layout::{GroupWriter, LayoutOptions, LogBytes, NextWrite, RecoveredLog, Recovery, WritePlan, recover};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// File contents, oldest generation included.
pub(crate) type Files = BTreeMap<FileId, Vec<u8>>;

pub(crate) struct MemoryDisk {
    pub(crate) options: LayoutOptions,
    pub(crate) files: Files,
    pub(crate) writer: GroupWriter,
    /// Contents of freed files, reused with whatever stands in them.
    pub(crate) pool: Vec<Vec<u8>>,
    /// Files that may exist; none left = disk full.
    pub(crate) files_max: usize,
    pub(crate) reads: VecDeque<DiskOp>,
    nonce: u64,
    pub(crate) writes: u64,
}

pub(crate) fn recover_files(files: &Files, options: LayoutOptions) -> Recovery {
    let bytes: BTreeMap<FileId, Bytes> = files.iter().map(|(id, b)| (*id, Bytes::copy_from_slice(b))).collect();
    let sources: BTreeMap<FileId, &dyn LogBytes> = bytes.iter().map(|(id, b)| (*id, b as &dyn LogBytes)).collect();
    recover(&sources, options).unwrap()
}

impl MemoryDisk {
    pub(crate) fn open(mut files: Files, options: LayoutOptions, nonce: u64) -> (Self, RecoveredLog) {
        let mut recovery = recover_files(&files, options);
        let mut nonce = nonce;
        if let Some(spare) = recovery.spare {
            nonce += 1;
            recovery.writer.add_file(spare, nonce);
        }
        let pool = recovery.unused.iter().filter_map(|file| files.remove(file)).collect();
        let disk = Self {
            options,
            files,
            writer: recovery.writer,
            pool,
            files_max: usize::MAX,
            reads: VecDeque::new(),
            nonce,
            writes: 0,
        };
        (disk, recovery.log)
    }

    pub(crate) fn submit(&mut self, op: DiskOp) {
        match op {
            DiskOp::Append { id, record } => self.writer.push(id, record),
            DiskOp::Free { file } => self.writer.free(file),
            DiskOp::Read { .. } => self.reads.push_back(op),
        }
    }

    /// The next write, not yet executed.
    pub(crate) fn next_plan(&mut self) -> Option<WritePlan> {
        loop {
            if let Some(file) = self.writer.wants_file()
                && self.files.len() < self.files_max
            {
                let size = usize::try_from(self.options.file_bytes).unwrap();
                let content = self.pool.pop().filter(|c| c.len() == size).unwrap_or_else(|| vec![0; size]);
                self.files.insert(file, content);
                self.nonce += 1;
                self.writer.add_file(file, self.nonce);
            }
            match self.writer.next_write() {
                NextWrite::Idle => return None,
                NextWrite::NeedFile if self.files.len() >= self.files_max => return None,
                NextWrite::NeedFile => (),
                NextWrite::Write(plan) => return Some(plan),
            }
        }
    }

    /// Writes the first `bytes` of a plan.
    pub(crate) fn write_part(&mut self, plan: &WritePlan, bytes: usize) {
        let flat: Vec<u8> = plan.buffers.concat();
        let at = usize::try_from(plan.offset).unwrap();
        let len = bytes.min(flat.len());
        let content = self.files.get_mut(&plan.file).unwrap();
        let size = content.len().max(at + len); // A shortened file grows again, as on a real disk.
        content.resize(size, 0);
        content[at..at + len].copy_from_slice(&flat[..len]);
    }

    /// One write and its sync.
    pub(crate) fn write_one(&mut self) -> Option<DiskEvent> {
        let plan = self.next_plan()?;
        self.write_part(&plan, usize::MAX);
        self.writes += 1;
        for file in plan.freed {
            self.pool.extend(self.files.remove(&file));
        }
        Some(DiskEvent::Appended { done: plan.placements })
    }

    pub(crate) fn read_one(&mut self) -> Option<DiskEvent> {
        let Some(DiskOp::Read { id, file, offset, len }) = self.reads.pop_front() else {
            return None;
        };
        let outcome = self.files.get(&file).ok_or(DiskReadError::NoSuchFile).map(|content| {
            let at = usize::try_from(offset).unwrap().min(content.len());
            Bytes::copy_from_slice(&content[at..content.len().min(at + len as usize)])
        });
        Some(DiskEvent::Read { id, outcome })
    }

    /// Everything not written yet is gone.
    pub(crate) fn crash(self) -> (Self, RecoveredLog) {
        let nonce = self.nonce + 1000;
        let files_max = self.files_max;
        let (mut disk, log) = Self::open(self.files, self.options, nonce);
        disk.files_max = files_max;
        (disk, log)
    }
}
