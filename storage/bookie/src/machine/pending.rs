//! Appends on their way to disk, and who waits for them.
//!
//! **Invariants**
//! - I1  an entry, a fence or a deletion is on its way at most once; whoever asks again waits with the others.
//! - I2  at most [`WAITING_MAX`] requests wait in all.

use super::files::FileNo;
use crate::disk::AppendId;
use crate::layout::{Loss, Mark};
use base::{EntryId, FixedMap, LedgerId, NodeId, RequestId};

/// Requests that may wait for appends, over all appends.
pub(crate) const WAITING_MAX: usize = 65_536;

/// A request that will be answered, or looked at again, when an append is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiting {
    Add { to: NodeId, id: RequestId },
    Delete { to: NodeId, id: RequestId, ledger: LedgerId },
    Read { to: NodeId, question: ReadQuestion },
    Lac { to: NodeId, id: RequestId, ledger: LedgerId },
    Repaired { to: NodeId, id: RequestId, ledger: LedgerId },
}

/// A read without its fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadQuestion {
    pub(crate) id: RequestId,
    pub(crate) ledger: LedgerId,
    pub(crate) from: EntryId,
    pub(crate) entries_max: u32,
    pub(crate) bytes_max: u32,
}

/// What an append will have done once it is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Appending {
    Entry {
        ledger: LedgerId,
        entry: EntryId,
        lac: EntryId,
    },
    Fence {
        ledger: LedgerId,
    },
    Delete {
        ledger: LedgerId,
    },
    Mark {
        ledger: LedgerId,
        mark: Mark,
    },
    Loss {
        loss: Loss,
    },
    /// Copies by the cleaner out of file `from`.
    MovedEntry {
        ledger: LedgerId,
        entry: EntryId,
        from: FileNo,
    },
    MovedFence {
        ledger: LedgerId,
        from: FileNo,
    },
    MovedTombstone {
        ledger: LedgerId,
    },
    MovedMark {
        ledger: LedgerId,
        mark: Mark,
        from: FileNo,
    },
    MovedLoss {
        loss: Loss,
    },
}

#[derive(Debug)]
struct OnItsWay {
    what: Appending,
    bytes: u64,
    /// Almost always there is exactly one; the list behind it costs nothing while it is empty.
    first: Option<Waiting>,
    more: Vec<Waiting>,
}

/// A finished append.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) what: Appending,
    first: Option<Waiting>,
    more: Vec<Waiting>,
}

impl Done {
    pub(crate) fn waiting(self) -> impl Iterator<Item = Waiting> {
        self.first.into_iter().chain(self.more)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Pending {
    appends: FixedMap<AppendId, OnItsWay>,
    entries: FixedMap<(LedgerId, EntryId), AppendId>,
    fences: FixedMap<LedgerId, AppendId>,
    deletes: FixedMap<LedgerId, AppendId>,
    /// Entries on their way per ledger.
    adds: FixedMap<LedgerId, u32>,
    last_id: u64,
    bytes: u64,
    waiting: usize,
}

impl Pending {
    /// Registers an append; the caller hands it to the disk under the id given.
    pub(crate) fn begin(&mut self, what: Appending, bytes: u64, waiting: Option<Waiting>) -> AppendId {
        self.last_id += 1;
        let id = AppendId(self.last_id);
        let twin = match what {
            Appending::Entry { ledger, entry, .. } => {
                *self.adds.entry(ledger).or_default() += 1;
                self.entries.insert((ledger, entry), id)
            }
            Appending::Fence { ledger } => self.fences.insert(ledger, id),
            Appending::Delete { ledger } => self.deletes.insert(ledger, id),
            Appending::Mark { .. }
            | Appending::Loss { .. }
            | Appending::MovedEntry { .. }
            | Appending::MovedFence { .. }
            | Appending::MovedTombstone { .. }
            | Appending::MovedMark { .. }
            | Appending::MovedLoss { .. } => None,
        };
        assert!(twin.is_none(), "Pending I1: {what:?} is on its way once");
        self.bytes += bytes;
        self.waiting += usize::from(waiting.is_some());
        self.appends.insert(id, OnItsWay { what, bytes, first: waiting, more: Vec::new() });
        id
    }

    /// Lets a request wait for an append that is on its way; false when too many wait (I2).
    pub(crate) fn join(&mut self, id: AppendId, waiting: Waiting) -> bool {
        let Some(append) = self.appends.get_mut(&id).filter(|_| self.waiting < WAITING_MAX) else {
            return false;
        };
        append.more.push(waiting);
        self.waiting += 1;
        true
    }

    /// The append is durable. `None` for an id that is not on its way.
    pub(crate) fn finish(&mut self, id: AppendId) -> Option<Done> {
        let OnItsWay { what, bytes, first, more } = self.appends.remove(&id)?;
        match what {
            Appending::Entry { ledger, entry, .. } => {
                self.entries.remove(&(ledger, entry));
                if let Some(count) = self.adds.get_mut(&ledger) {
                    *count -= 1;
                    if *count == 0 {
                        self.adds.remove(&ledger);
                    }
                }
            }
            Appending::Fence { ledger } => {
                self.fences.remove(&ledger);
            }
            Appending::Delete { ledger } => {
                self.deletes.remove(&ledger);
            }
            Appending::Mark { .. }
            | Appending::Loss { .. }
            | Appending::MovedEntry { .. }
            | Appending::MovedFence { .. }
            | Appending::MovedTombstone { .. }
            | Appending::MovedMark { .. }
            | Appending::MovedLoss { .. } => (),
        }
        self.bytes -= bytes;
        self.waiting -= usize::from(first.is_some()) + more.len();
        Some(Done { what, first, more })
    }

    pub(crate) fn entry(&self, ledger: LedgerId, entry: EntryId) -> Option<AppendId> {
        self.entries.get(&(ledger, entry)).copied()
    }

    pub(crate) fn fence(&self, ledger: LedgerId) -> Option<AppendId> {
        self.fences.get(&ledger).copied()
    }

    pub(crate) fn delete(&self, ledger: LedgerId) -> Option<AppendId> {
        self.deletes.get(&ledger).copied()
    }

    /// Whether entries or a fence of the ledger are on their way.
    pub(crate) fn touches(&self, ledger: LedgerId) -> bool {
        self.adds.contains_key(&ledger) || self.fences.contains_key(&ledger)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.appends.len()
    }
}
