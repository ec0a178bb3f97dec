//! A log device that lies as far as a real one may: nothing is durable before its sync, and a crash tears what is under way.
//!
//! **What**  Executes the plans of [`GroupWriter`] one at a time, like the real device. A write becomes durable when
//! [`SimDisk::finish_write`] is called; a crash before leaves any part of it, sector by sector.
//!
//! **Invariants**
//! - I1  `Appended` is reported only for plans that are durable (except with [`Bug::AckBeforeSync`]).
//! - I2  after a crash the files hold every finished plan, and of an unfinished one any subset of its sectors.

use crate::bugs::Bug;
use base::Rng;
use bookie::RecoveredLog;
use bookie::disk::{DiskEvent, DiskOp, DiskReadError, FileId};
use bookie::layout::{GroupWriter, LayoutOptions, LogBytes, NextWrite, RecoverError, WritePlan, recover};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Contents of log files by id.
pub type Files = BTreeMap<FileId, Vec<u8>>;

/// Written by a disk as one piece, or not at all.
const SECTOR: usize = 512;

/// What of a region's storage survives its process.
#[derive(Clone, Debug, Default)]
pub struct Platter {
    pub files: Files,
    nonce: u64,
    /// Which start of its node it was last used in, as the passport says.
    pub(crate) incarnation: u64,
}

/// One region's log device while its process lives.
pub struct SimDisk {
    platter: Platter,
    options: LayoutOptions,
    writer: GroupWriter,
    pool: Vec<Vec<u8>>,
    writing: Option<WritePlan>,
    bug: Option<Bug>,
}

impl SimDisk {
    /// Opens what a platter holds.
    ///
    /// # Errors
    /// When the log cannot be opened at all.
    pub fn open(
        mut platter: Platter,
        options: LayoutOptions,
        bug: Option<Bug>,
    ) -> Result<(Self, RecoveredLog), RecoverError> {
        let bytes: BTreeMap<FileId, Bytes> =
            platter.files.iter().map(|(id, b)| (*id, Bytes::copy_from_slice(b))).collect();
        let sources: BTreeMap<FileId, &dyn LogBytes> = bytes.iter().map(|(id, b)| (*id, b as &dyn LogBytes)).collect();
        let mut recovery = recover(&sources, options)?;
        platter.nonce += 1000;
        if let Some(spare) = recovery.spare {
            platter.nonce += 1;
            recovery.writer.add_file(spare, platter.nonce);
        }
        let pool = recovery.unused.iter().filter_map(|file| platter.files.remove(file)).collect();
        let disk = Self { platter, options, writer: recovery.writer, pool, writing: None, bug };
        Ok((disk, recovery.log))
    }

    /// Takes a write or a free; reads are answered by [`SimDisk::read`].
    pub fn submit(&mut self, op: DiskOp) {
        match op {
            DiskOp::Append { id, record } => self.writer.push(id, record),
            DiskOp::Free { file } => self.writer.free(file),
            DiskOp::Read { .. } => (),
        }
    }

    /// Begins the next write when none is under way; the answer says that one began, and what may be reported already.
    pub fn begin_write(&mut self) -> Option<Option<DiskEvent>> {
        if self.writing.is_some() {
            return None;
        }
        let plan = self.next_plan()?;
        let early =
            (self.bug == Some(Bug::AckBeforeSync)).then(|| DiskEvent::Appended { done: plan.placements.clone() });
        self.writing = Some(plan);
        Some(early)
    }

    fn next_plan(&mut self) -> Option<WritePlan> {
        loop {
            if let Some(file) = self.writer.wants_file() {
                let size = usize::try_from(self.options.file_bytes).unwrap_or(0);
                let content = self.pool.pop().filter(|c| c.len() == size).unwrap_or_else(|| vec![0; size]);
                self.platter.files.insert(file, content);
                self.platter.nonce += 1;
                self.writer.add_file(file, self.platter.nonce);
            }
            match self.writer.next_write() {
                NextWrite::Idle => return None,
                NextWrite::NeedFile => (),
                NextWrite::Write(plan) => return Some(plan),
            }
        }
    }

    /// The write under way is durable.
    pub fn finish_write(&mut self) -> Option<DiskEvent> {
        let plan = self.writing.take()?;
        self.put(&plan, |_| true);
        for file in &plan.freed {
            self.pool.extend(self.platter.files.remove(file));
        }
        (self.bug != Some(Bug::AckBeforeSync)).then_some(DiskEvent::Appended { done: plan.placements })
    }

    fn put(&mut self, plan: &WritePlan, mut keep: impl FnMut(usize) -> bool) {
        let Some(content) = self.platter.files.get_mut(&plan.file) else { return };
        let flat: Vec<u8> = plan.buffers.concat();
        let start = usize::try_from(plan.offset).unwrap_or(usize::MAX);
        for (index, sector) in flat.chunks(SECTOR).enumerate() {
            let at = start + index * SECTOR;
            if keep(index)
                && let Some(target) = content.get_mut(at..at + sector.len())
            {
                target.copy_from_slice(sector);
            }
        }
    }

    /// What a read brings now.
    pub fn read(&self, op: &DiskOp) -> Option<DiskEvent> {
        let DiskOp::Read { id, file, offset, len } = op else { return None };
        let outcome = self.platter.files.get(file).ok_or(DiskReadError::NoSuchFile).map(|content| {
            let at = usize::try_from(*offset).unwrap_or(usize::MAX).min(content.len());
            Bytes::copy_from_slice(&content[at..content.len().min(at + *len as usize)])
        });
        Some(DiskEvent::Read { id: *id, outcome })
    }

    /// A read that the medium does not answer.
    pub fn fail_read(op: &DiskOp) -> Option<DiskEvent> {
        let DiskOp::Read { id, .. } = op else { return None };
        Some(DiskEvent::Read { id: *id, outcome: Err(DiskReadError::Unreadable) })
    }

    /// A copy of what is durable now.
    pub(crate) fn copy(&self) -> Platter {
        self.platter.clone()
    }

    /// The process dies (I2).
    pub fn crash(mut self, rng: &mut Rng) -> Platter {
        if let Some(plan) = self.writing.take() {
            match rng.below(3) {
                0 => (),
                1 => {
                    let len = usize::try_from(plan.len()).unwrap_or(0) / SECTOR;
                    let up_to = usize::try_from(rng.below(len as u64 + 1)).unwrap_or(0);
                    self.put(&plan, |index| index < up_to);
                }
                _ => self.put(&plan, |_| rng.percent(50)),
            }
        }
        self.platter
    }
}
