//! A bookie without a disk: a request takes effect, durably, at the moment that it is delivered.
//!
//! **What**  Writes that a crash would lose are requests that never arrive, so a crash needs no event of its own. Losing the disk
//! does: such a bookie comes back in limbo. One ledger only.
//!
//! **Not here**  Disks, layout, space: the real bookie stands under the seeds of `sim` and of `ledger/tests`.

use base::{EntryData, EntryId};
use std::collections::BTreeMap;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome, ReadOutcome, StoredEntry};

/// What one bookie holds of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelBookie {
    known: bool,
    fenced: bool,
    limbo: bool,
    entries: BTreeMap<EntryId, (EntryId, EntryData)>,
}

impl ModelBookie {
    /// Everything is gone. `limbo`: it knows that; otherwise it denies what it had ([`ledger::SeededBug::LimboDenies`]).
    pub fn lose_disk(&mut self, limbo: bool) {
        *self = Self { known: true, fenced: true, limbo, entries: BTreeMap::new() };
    }

    /// The content of an entry that it holds.
    pub fn holds(&self, entry: EntryId) -> Option<&EntryData> {
        self.entries.get(&entry).map(|(_, data)| data)
    }

    /// Does what is asked and answers.
    pub fn handle(&mut self, request: BookieRequest) -> BookieResponse {
        match request {
            BookieRequest::Add { id, ledger, entry, lac, recovery, data } => {
                let outcome = self.add(entry, lac, recovery, data);
                BookieResponse::Added { id, ledger, entry, outcome }
            }
            BookieRequest::Read { id, ledger, from, entries_max, fence, .. } => {
                self.fence(fence);
                BookieResponse::Read { id, ledger, outcome: self.read(from, entries_max) }
            }
            BookieRequest::ReadLac { id, ledger, fence } => {
                self.fence(fence);
                BookieResponse::Lac { id, ledger, outcome: self.lac() }
            }
            BookieRequest::Delete { id, ledger } => BookieResponse::Deleted { id, ledger },
            BookieRequest::Repaired { .. } | BookieRequest::Limbo { .. } | BookieRequest::Missing { .. } => {
                unreachable!("nothing repairs in this model")
            }
        }
    }

    fn fence(&mut self, fence: bool) {
        self.known |= fence;
        self.fenced |= fence;
    }

    fn add(&mut self, entry: EntryId, lac: EntryId, recovery: bool, data: EntryData) -> AddOutcome {
        if self.fenced && !recovery {
            return AddOutcome::Fenced;
        }
        self.known = true;
        self.entries.entry(entry).or_insert((lac, data));
        AddOutcome::Stored
    }

    fn read(&self, from: EntryId, entries_max: u32) -> ReadOutcome {
        let wanted = (from.0..).map(EntryId).take(usize::try_from(entries_max).unwrap_or(usize::MAX));
        let found = wanted.map_while(|entry| {
            let (lac, data) = self.entries.get(&entry)?;
            Some(StoredEntry { entry, lac: *lac, data: data.clone() })
        });
        let found: Vec<StoredEntry> = found.collect();
        match (found.is_empty(), self.limbo, self.known) {
            (false, _, _) => ReadOutcome::Entries(found),
            (true, true, _) => ReadOutcome::Unknown,
            (true, false, true) => ReadOutcome::NoSuchEntry,
            (true, false, false) => ReadOutcome::NoSuchLedger,
        }
    }

    fn lac(&self) -> LacOutcome {
        if !self.known {
            return LacOutcome::NoSuchLedger;
        }
        let lac = self.entries.values().map(|(lac, _)| *lac).max().unwrap_or(EntryId::NONE);
        LacOutcome::Lac { lac, last: self.entries.keys().next_back().copied().unwrap_or(EntryId::NONE) }
    }
}
