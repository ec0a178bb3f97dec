//! What the bookie knows of its ledgers, all of it durable: entries, fences, deletions, losses.
//!
//! **Invariants**
//! - I1  nothing enters that is not durable.
//! - I2  a tombstone stays until no file is left in which the deleted ledger may still stand.
//! - I3  every run, fence, mark, tombstone and loss record pins the file in which it stands.
//!
//! **Not here**  requests, appends on their way (`Bookie`), copying live records (`cleaner`).

use super::files::{FileNo, FileTable, file_no};
use super::id_ranges::IdRanges;
use super::runs::{Run, RunList};
use crate::disk::Placement;
use crate::layout::{Loss, Mark, RECORD_HEADER_BYTES, RecoveredFile};
use base::{EntryId, LedgerId};
use std::collections::BTreeMap;
use wire::bookie::EntryRange;

/// Bytes of a record without content.
const BARE_BYTES: u32 = RECORD_HEADER_BYTES as u32;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) runs: RunList,
    /// The highest last-confirmed entry that any entry carried.
    pub(crate) lac: EntryId,
    /// Where the fence stands.
    pub(crate) fence: Option<FileNo>,
    /// Whether it may have lost something, and where that stands.
    pub(crate) mark: Option<(Mark, FileNo)>,
    /// Found at boot and not written to since.
    pub(crate) untouched: bool,
}

/// A deleted ledger that may still stand in files `first..=last`.
#[derive(Clone, Copy, Debug)]
struct Tombstone {
    /// Where the deletion stands; `None` while it is on its way to disk.
    file: Option<FileNo>,
    first: FileNo,
    last: FileNo,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    ledgers: BTreeMap<LedgerId, Ledger>,
    deleted: BTreeMap<LedgerId, Tombstone>,
    /// Deleted ledgers without a tombstone.
    forgotten: IdRanges,
    losses: BTreeMap<Loss, FileNo>,
    pub(crate) files: FileTable,
}

impl Index {
    /// Takes over a file found at boot; files must come oldest first.
    pub(crate) fn apply_file(&mut self, recovered: &RecoveredFile) {
        let file = file_no(recovered.file);
        self.files.add(file, recovered.used, recovered.sealed);
        for &ledger in &recovered.index.deleted {
            self.delete(ledger);
            self.apply_tombstone(ledger, file);
        }
        for (&id, found) in &recovered.index.ledgers {
            let files = &mut self.files;
            let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(true));
            ledger.lac = ledger.lac.max(found.lac);
            for run in &found.runs {
                ledger.runs.insert(Run::from_file(file, run), files);
            }
            if found.fenced {
                self.apply_fence(id, file);
            }
            if let Some(mark) = found.mark {
                self.apply_mark(id, mark, file);
            }
        }
        for &loss in &recovered.index.losses {
            self.apply_loss(loss, file);
        }
    }

    pub(crate) fn get(&self, ledger: LedgerId) -> Option<&Ledger> {
        self.ledgers.get(&ledger)
    }

    pub(crate) fn is_deleted(&self, ledger: LedgerId) -> bool {
        self.deleted.contains_key(&ledger)
    }

    /// Whether the ledger was deleted, be it that nothing is left of it.
    pub(crate) fn was_deleted(&self, ledger: LedgerId) -> bool {
        self.is_deleted(ledger) || self.forgotten.contains(ledger)
    }

    /// The ledger is deleted, and no tombstone will say so.
    pub(crate) fn forget(&mut self, ledger: LedgerId) {
        self.forgotten.insert(ledger);
    }

    pub(crate) fn mark(&self, ledger: LedgerId) -> Option<Mark> {
        self.get(ledger)?.mark.map(|(mark, _)| mark)
    }

    pub(crate) fn losses(&self) -> impl Iterator<Item = Loss> {
        self.losses.keys().copied()
    }

    /// An entry is durable. Answers false when its ledger was deleted meanwhile.
    pub(crate) fn apply_entry(&mut self, id: LedgerId, entry: EntryId, lac: EntryId, placement: Placement) -> bool {
        if self.is_deleted(id) {
            return false;
        }
        let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(false));
        ledger.untouched = false;
        ledger.lac = ledger.lac.max(lac);
        ledger.runs.record(entry, placement, &mut self.files);
        true
    }

    /// A copy of an entry is durable; it counts only when the entry is still wanted where it was copied from.
    pub(crate) fn apply_relocated(&mut self, id: LedgerId, entry: EntryId, from: FileNo, placement: Placement) -> bool {
        let Some(ledger) = self.ledgers.get_mut(&id) else {
            return false;
        };
        let wanted = ledger.runs.from(entry).and_then(|r| r.first()).is_some_and(|run| run.file == from);
        if wanted {
            ledger.runs.record(entry, placement, &mut self.files);
        }
        wanted
    }

    /// A fence is durable; it creates the ledger when nothing else of it is known.
    pub(crate) fn apply_fence(&mut self, id: LedgerId, file: FileNo) {
        if self.is_deleted(id) {
            return;
        }
        let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(false));
        let old = ledger.fence.replace(file);
        self.move_pin(old, file);
    }

    /// Forgets a ledger at once; its tombstone is on its way to disk. Answers false when there was nothing to forget.
    pub(crate) fn delete(&mut self, id: LedgerId) -> bool {
        let Some(ledger) = self.ledgers.remove(&id) else {
            return false;
        };
        let newest = self.files.newest();
        let bare: Vec<FileNo> = ledger.fence.into_iter().chain(ledger.mark.map(|(_, file)| file)).collect();
        let first = ledger.runs.first_file().into_iter().chain(bare.iter().copied()).min().unwrap_or(newest);
        for file in bare {
            self.files.unpin(file, BARE_BYTES);
        }
        ledger.runs.release(&mut self.files);
        self.deleted.insert(id, Tombstone { file: None, first, last: newest });
        true
    }

    /// Like `delete`, for a ledger of which only appends on their way are known.
    pub(crate) fn delete_unseen(&mut self, id: LedgerId) {
        let newest = self.files.newest();
        self.deleted.insert(id, Tombstone { file: None, first: newest, last: newest });
    }

    /// A tombstone is durable in `file`.
    pub(crate) fn apply_tombstone(&mut self, id: LedgerId, file: FileNo) {
        let Some(tombstone) = self.deleted.get_mut(&id) else {
            return;
        };
        // Entries that were on their way when the ledger was deleted stand in this file at the latest.
        if tombstone.file.is_none() {
            tombstone.last = tombstone.last.max(file);
        }
        let old = tombstone.file.replace(file);
        self.move_pin(old, file);
    }

    pub(crate) fn apply_loss(&mut self, loss: Loss, file: FileNo) {
        let old = self.losses.insert(loss, file);
        self.move_pin(old, file);
    }

    /// A mark is durable; it creates the ledger when nothing else of it is known. An older one than the present is void.
    pub(crate) fn apply_mark(&mut self, id: LedgerId, mark: Mark, file: FileNo) {
        if self.is_deleted(id) {
            return;
        }
        let ledger = self.ledgers.entry(id).or_insert_with(|| Ledger::new(false));
        if ledger.mark.is_some_and(|(present, _)| present > mark) {
            return;
        }
        let old = ledger.mark.replace((mark, file)).map(|(_, file)| file);
        self.move_pin(old, file);
    }

    fn move_pin(&mut self, old: Option<FileNo>, new: FileNo) {
        self.files.pin(new, BARE_BYTES);
        if let Some(old) = old {
            self.files.unpin(old, BARE_BYTES);
        }
    }

    /// After a file went: drops the tombstones that guard nothing any more (I2).
    pub(crate) fn drop_idle_tombstones(&mut self) {
        let (files, forgotten) = (&mut self.files, &mut self.forgotten);
        let mut released = Vec::new();
        self.deleted.retain(|ledger, tombstone| {
            let Some(file) = tombstone.file else {
                return true;
            };
            // The tombstone's own file goes together with it; what stands there needs no guard.
            let last = tombstone.last.min(file.saturating_sub(1));
            let needed = files.any_within(tombstone.first, last) || files.any_within(file + 1, tombstone.last);
            if !needed {
                released.push(file);
                forgotten.insert(*ledger);
            }
            needed
        });
        for file in released {
            files.unpin(file, BARE_BYTES);
        }
    }

    /// Whether this fence, mark, tombstone or loss record is the one that counts.
    pub(crate) fn fence_stands_in(&self, id: LedgerId, file: FileNo) -> bool {
        self.ledgers.get(&id).is_some_and(|ledger| ledger.fence == Some(file))
    }

    pub(crate) fn tombstone_stands_in(&self, id: LedgerId, file: FileNo) -> bool {
        self.deleted.get(&id).is_some_and(|tombstone| tombstone.file == Some(file))
    }

    pub(crate) fn mark_stands_in(&self, id: LedgerId, mark: Mark, file: FileNo) -> bool {
        self.ledgers.get(&id).is_some_and(|ledger| ledger.mark == Some((mark, file)))
    }

    pub(crate) fn loss_stands_in(&self, loss: Loss, file: FileNo) -> bool {
        self.losses.get(&loss) == Some(&file)
    }

    #[cfg(test)]
    pub(crate) fn tombstones_in(&self, file: FileNo) -> u64 {
        self.deleted.values().filter(|tombstone| tombstone.file == Some(file)).count() as u64
    }

    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (LedgerId, &Ledger)> {
        self.ledgers.iter().map(|(id, ledger)| (*id, ledger))
    }

    pub(crate) fn ledger_count(&self) -> usize {
        self.ledgers.len()
    }

    /// Ledgers that may have lost something and are not repaired.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = (LedgerId, Mark)> {
        let mark = |ledger: &Ledger| ledger.mark.map(|(mark, _)| mark).filter(|mark| !mark.repaired);
        self.ledgers.iter().filter_map(move |(id, ledger)| Some((*id, mark(ledger)?)))
    }

    /// The entries that have bytes in this part of a file.
    pub(crate) fn standing_in(&self, file: FileNo, from: u64, end: u64) -> Vec<(LedgerId, EntryRange)> {
        let of = |(id, ledger): (&LedgerId, &Ledger)| {
            let id = *id;
            ledger.runs.standing_in(file, from, end).map(move |range| (id, range)).collect::<Vec<_>>()
        };
        self.ledgers.iter().flat_map(of).collect()
    }

    /// Points in memory.
    pub(crate) fn points(&self) -> usize {
        self.ledgers.values().map(|ledger| ledger.runs.len()).sum()
    }
}

impl Ledger {
    fn new(untouched: bool) -> Self {
        Self { runs: RunList::default(), lac: EntryId::NONE, fence: None, mark: None, untouched }
    }
}
