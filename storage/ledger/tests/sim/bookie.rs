//! A model bookie: the rules of `wire::bookie`, a journal that completes in order, and what a crash may do to it.
//!
//! **What**  Adds and fences stand in a first-in, first-out journal and take effect (and are answered) only when their
//! write completes. A crash loses the journal from some point on; what stands before that point is durable although
//! nobody was told. A wiped bookie comes back in limbo: fenced, and never sure that something does not exist.

use base::{EntryData, EntryId, OwnerId};
use std::collections::{BTreeMap, VecDeque};
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, EntryRange, LacOutcome, ReadOutcome, StoredEntry};

#[derive(Debug, Default)]
pub(crate) struct ModelBookie {
    pub(crate) up: bool,
    pub(crate) read_only: bool,
    /// Counts crashes: completions of an earlier life are void.
    pub(crate) life: u64,
    limbo: bool,
    /// Lost for good: never up again.
    pub(crate) gone: bool,
    known: bool,
    fenced: bool,
    entries: BTreeMap<EntryId, (EntryId, EntryData)>,
    journal: VecDeque<BookieRequest>,
}

impl ModelBookie {
    pub(crate) fn new() -> Self {
        Self { up: true, ..Self::default() }
    }

    /// Takes a request: an answer at once, or a place in the journal (`None`).
    pub(crate) fn handle(&mut self, request: BookieRequest) -> Option<BookieResponse> {
        let fences = match &request {
            BookieRequest::Add { .. } => true,
            BookieRequest::Read { fence, .. } | BookieRequest::ReadLac { fence, .. } => *fence,
            BookieRequest::Delete { .. }
            | BookieRequest::Repaired { .. }
            | BookieRequest::Limbo { .. }
            | BookieRequest::Missing { .. } => false,
        };
        if fences {
            self.journal.push_back(request);
            return None;
        }
        Some(self.answer(request))
    }

    /// The oldest journal write is durable: its effect and its answer.
    pub(crate) fn complete(&mut self) -> Option<(OwnerId, BookieResponse)> {
        let request = self.journal.pop_front()?;
        Some((request.id().owner, self.apply(request)))
    }

    /// Loses the journal but for its first `durable` writes.
    pub(crate) fn crash(&mut self, durable: usize) {
        for request in self.journal.drain(..).take(durable).collect::<Vec<_>>() {
            self.apply(request);
        }
        self.up = false;
        self.life += 1;
    }

    pub(crate) fn restart(&mut self) {
        self.up = true;
    }

    /// Comes back with an empty disk.
    pub(crate) fn restart_wiped(&mut self, limbo: bool) {
        let life = self.life;
        *self = Self { up: true, life, limbo, known: true, fenced: true, ..Self::default() };
    }

    /// The node is lost with all that it held.
    pub(crate) fn lose(&mut self) {
        *self = Self { gone: true, life: self.life + 1, ..Self::default() };
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced
    }

    pub(crate) fn journal_len(&self) -> usize {
        self.journal.len()
    }

    pub(crate) fn holds(&self, entry: EntryId) -> Option<&EntryData> {
        self.entries.get(&entry).map(|(_, data)| data)
    }

    fn apply(&mut self, request: BookieRequest) -> BookieResponse {
        match request {
            BookieRequest::Add { id, ledger, entry, lac, recovery, data } => {
                let outcome = self.add(entry, lac, recovery, data);
                BookieResponse::Added { id, ledger, entry, outcome }
            }
            BookieRequest::Read { .. } | BookieRequest::ReadLac { .. } => {
                (self.known, self.fenced) = (true, true);
                self.answer(request)
            }
            BookieRequest::Delete { .. }
            | BookieRequest::Repaired { .. }
            | BookieRequest::Limbo { .. }
            | BookieRequest::Missing { .. } => self.answer(request),
        }
    }

    fn add(&mut self, entry: EntryId, lac: EntryId, recovery: bool, data: EntryData) -> AddOutcome {
        if self.fenced && !recovery {
            return AddOutcome::Fenced;
        }
        if self.read_only {
            return AddOutcome::ReadOnly;
        }
        self.known = true;
        self.entries.entry(entry).or_insert((lac, data));
        AddOutcome::Stored
    }

    fn answer(&self, request: BookieRequest) -> BookieResponse {
        match request {
            BookieRequest::Read { id, ledger, from, entries_max, bytes_max, .. } => {
                BookieResponse::Read { id, ledger, outcome: self.read(from, entries_max, bytes_max) }
            }
            BookieRequest::ReadLac { id, ledger, .. } if !self.known => {
                BookieResponse::Lac { id, ledger, outcome: LacOutcome::NoSuchLedger }
            }
            BookieRequest::ReadLac { id, ledger, .. } => {
                let lac = self.entries.values().map(|(lac, _)| *lac).max().unwrap_or(EntryId::NONE);
                let last = self.entries.keys().next_back().copied().unwrap_or(EntryId::NONE);
                BookieResponse::Lac { id, ledger, outcome: LacOutcome::Lac { lac, last } }
            }
            BookieRequest::Delete { id, ledger } => BookieResponse::Deleted { id, ledger },
            BookieRequest::Repaired { id, ledger, .. } => BookieResponse::Repaired { id, ledger, lifted: true },
            BookieRequest::Missing { id, ledger, range } => {
                BookieResponse::Missing { id, ledger, until: range.end, ranges: self.missing(range) }
            }
            BookieRequest::Limbo { .. } => unreachable!("only an auditor asks"),
            BookieRequest::Add { id, ledger, entry, .. } => {
                BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Unknown }
            }
        }
    }

    fn missing(&self, range: EntryRange) -> Vec<EntryRange> {
        let held = self.entries.range(range.first..range.end.max(range.first)).map(|(entry, _)| *entry);
        let ends = held.chain([range.end]).scan(range.first, |next, held| {
            let gap = EntryRange { first: *next, end: held };
            *next = held.next();
            Some(gap)
        });
        ends.filter(|gap| gap.first < gap.end).collect()
    }

    fn read(&self, from: EntryId, entries_max: u32, bytes_max: u32) -> ReadOutcome {
        let mut found = Vec::new();
        let mut bytes = 0;
        for entry in (from.0..).map(EntryId).take(usize::try_from(entries_max).unwrap()) {
            let Some((lac, data)) = self.entries.get(&entry) else { break };
            bytes += data.len();
            if !found.is_empty() && bytes > usize::try_from(bytes_max).unwrap() {
                break;
            }
            found.push(StoredEntry { entry, lac: *lac, data: data.clone() });
        }
        match (found.is_empty(), self.limbo, self.known) {
            (false, _, _) => ReadOutcome::Entries(found),
            (true, true, _) => ReadOutcome::Unknown,
            (true, false, true) => ReadOutcome::NoSuchEntry,
            (true, false, false) => ReadOutcome::NoSuchLedger,
        }
    }
}
