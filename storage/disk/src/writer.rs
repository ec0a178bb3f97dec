//! The writer thread: everything queued becomes one group, one write, one fdatasync, one answer.
//!
//! **What**  No timer and no delay: while one sync runs the next group gathers (natural batching). The next group is planned
//! only when the one before is durable, because a later group proves the earlier one complete (`bookie::layout`).

use crate::direct::DirectWriter;
use crate::shared::Shared;
use bookie::disk::{DiskEvent, DiskOp, FileId};
use bookie::layout::{GroupWriter, NextWrite, WritePlan};
use rustix::io::pwritev;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Buffers that one system call takes (the kernel's `IOV_MAX`).
const BUFFERS_MAX: usize = 1024;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    groups: GroupWriter,
    direct: DirectWriter,
    /// The file that was asked for last.
    ordered: Option<FileId>,
    /// The last, empty group was asked for.
    closed: bool,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, groups: GroupWriter) -> Self {
        Self { shared, groups, direct: DirectWriter::new(), ordered: None, closed: false }
    }

    pub(crate) fn run(mut self) {
        self.note_room();
        loop {
            self.order_file();
            match self.groups.next_write() {
                NextWrite::Write(plan) => {
                    if let Err((what, error)) = self.execute(&plan) {
                        return self.shared.fail(what, plan.file, error);
                    }
                    self.answer(plan);
                    self.take_queued();
                }
                NextWrite::Idle if self.closed => return,
                NextWrite::Idle => self.wait_for_work(),
                NextWrite::NeedFile if self.closed => return,
                NextWrite::NeedFile => {
                    self.shared.starving.store(true, Ordering::Relaxed);
                    self.wait_for_work(); // A file, or a free that brings one.
                    self.shared.starving.store(false, Ordering::Relaxed);
                }
            }
            if self.shared.has_failed() {
                return;
            }
        }
    }

    /// Tells the files thread early, and once, which file comes next.
    fn order_file(&mut self) {
        let wanted = self.groups.wants_file().filter(|file| self.ordered != Some(*file));
        if let Some(file) = wanted {
            self.ordered = Some(file);
            self.shared.preparer.ring(|inbox| inbox.wanted = Some(file));
        }
    }

    fn wait_for_work(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut inbox = shared.writer.lock();
        while inbox.ops.is_empty() && inbox.prepared.is_none() && !inbox.closing {
            inbox = shared.writer.wait(inbox);
        }
        drop(inbox);
        self.take_queued();
    }

    fn take_queued(&mut self) {
        let (ops, prepared, closing) = {
            let mut inbox = self.shared.writer.lock();
            (std::mem::take(&mut inbox.ops), inbox.prepared.take(), inbox.closing)
        };
        for op in ops {
            match op {
                DiskOp::Append { id, record } => self.groups.push(id, record),
                DiskOp::Free { file } => self.groups.free(file),
                DiskOp::Read { .. } => unreachable!("LogDevice: reads go to the readers"),
            }
        }
        if let Some(file) = prepared {
            self.groups.add_file(file, nonce());
            self.note_room();
        }
        if closing && !self.closed {
            self.closed = true;
            self.groups.close();
        }
    }

    fn execute(&mut self, plan: &WritePlan) -> Result<(), (&'static str, io::Error)> {
        let Some(file) = self.shared.handle(plan.file) else {
            return Err(("open", io::ErrorKind::NotFound.into()));
        };
        let path = self.shared.files.log_path(plan.file);
        if !self.direct.write(&path, plan).map_err(|error| ("write", error))? {
            write_buffers(&file, plan).map_err(|error| ("write", error))?;
        }
        file.sync_data().map_err(|error| ("fdatasync", error))?;
        self.shared.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The plan is durable: says so (LogDevice I1), and lets go of what it freed (I4).
    fn answer(&mut self, plan: WritePlan) {
        let mean = self.shared.group_bytes.load(Ordering::Relaxed);
        self.shared.group_bytes.store((mean * 7 + plan.len()) / 8, Ordering::Relaxed);
        self.shared.advance_frontier(plan.file, plan.offset + plan.len());
        self.note_room();
        if !plan.freed.is_empty() {
            plan.freed.iter().for_each(|file| self.shared.remove_handle(*file));
            self.shared.preparer.ring(|inbox| inbox.freed.extend(plan.freed));
        }
        if !plan.placements.is_empty() {
            self.shared.emit(DiskEvent::Appended { done: plan.placements });
        }
    }

    fn note_room(&self) {
        let current = self.groups.current().map_or(0, |(_, room)| room);
        let next = if self.groups.wants_file().is_none() { self.shared.options.file_bytes } else { 0 };
        self.shared.room.store(current + next, Ordering::Relaxed);
    }
}

/// Writes all buffers of a plan from where they are.
pub(crate) fn write_buffers(file: &File, plan: &WritePlan) -> io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = plan.buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
    let (mut rest, mut at) = (&mut slices[..], plan.offset);
    while !rest.is_empty() {
        let count = rest.len().min(BUFFERS_MAX);
        match pwritev(file, &rest[..count], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                at += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A number that nobody outside can predict, so that no entry can forge a group (`bookie::layout`). The standard library
/// keys its hashers with the system's entropy.
pub(crate) fn nonce() -> u64 {
    RandomState::new().hash_one(0) | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filling::Filling;
    use crate::log_files::LogFiles;
    use crate::options::DiskOptions;
    use bookie::disk::AppendId;
    use bookie::layout::{delete_record, recover};
    use std::collections::BTreeMap;
    use std::sync::mpsc::sync_channel;

    /// A device in which the first log file cannot be written.
    #[test]
    fn a_failed_write_answers_nothing_and_is_fatal_once() {
        let dir = tempfile::tempdir().unwrap();
        let options = DiskOptions { file_bytes: 64 << 10, ..DiskOptions::standard() };
        let files = LogFiles::new(dir.path(), options.file_bytes);
        drop(Filling::begin(&files, FileId(1)).unwrap().finish(&files).unwrap());
        let read_only = File::open(files.log_path(FileId(1))).unwrap();
        std::fs::remove_file(files.log_path(FileId(1))).unwrap();
        let mut groups = recover(&BTreeMap::new(), options.layout()).unwrap().writer;
        groups.add_file(FileId(1), 1);
        let (events, answered) = sync_channel(16);
        let (fatal, died) = sync_channel(16);
        let shared = Arc::new(Shared::new(
            options,
            files,
            [(FileId(1), Arc::new(read_only))].into(),
            Box::new(move |event| events.send(event).unwrap()),
            Box::new(move |error| fatal.send(error.kind()).unwrap()),
        ));
        for id in 0..3 {
            let op = DiskOp::Append { id: AppendId(id), record: delete_record(base::LedgerId(id)) };
            shared.writer.ring(|inbox| inbox.ops.push_back(op));
        }
        Writer::new(Arc::clone(&shared), groups).run();
        assert!(shared.has_failed());
        assert_eq!((died.try_iter().count(), answered.try_iter().count()), (1, 0));
    }
}
