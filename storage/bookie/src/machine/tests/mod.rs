//! The bookie against a disk in memory: single rules, damage and space, and random histories against a reference model.

mod damage;
mod limbo;
mod model;
mod orphans;
mod rules;
mod scrub;
mod space;

use super::*;
use crate::layout::LayoutOptions;
use crate::memory_disk::{Files, MemoryDisk};
use crate::options::{BookieStart, LedgerListing};
use base::OwnerId;
use bytes::Bytes;
use std::time::Duration;
use wire::bookie::{EntryRange, InLimbo, LimboFound, ReadOutcome, StoredEntry};

const LAYOUT: LayoutOptions = LayoutOptions { file_bytes: 128 << 10, group_bytes_max: 32 << 10 };
const CLIENT: NodeId = NodeId(9);

fn options() -> BookieOptions {
    BookieOptions {
        pending_bytes_max: 1 << 20,
        pending_read_bytes_max: 1 << 20,
        entry_bytes_max: 60 << 10,
        reserve_bytes: 0,
        clean_below_percent: 50,
        clean_bytes_per_s: 1 << 20,
        scrub_pass: None,
        start: BookieStart::Clean,
        orphan_grace: Duration::ZERO,
    }
}

/// Content follows from the identity, so that an invented or mixed up entry is noticed.
fn data(ledger: u64, entry: i64, len: usize) -> EntryData {
    let seed = ledger.wrapping_mul(131).wrapping_add(entry.unsigned_abs()) | 1;
    let body: Vec<u8> =
        (0..len as u64).map(|i| (seed.wrapping_mul(0x9e37_79b9).wrapping_add(i * 13) >> 4) as u8).collect();
    EntryData::new(Bytes::copy_from_slice(&seed.to_le_bytes()), Bytes::from(body))
}

fn stored(ledger: u64, entry: i64, len: usize) -> StoredEntry {
    StoredEntry { entry: EntryId(entry), lac: EntryId(entry - 1), data: data(ledger, entry, len) }
}

struct World {
    bookie: Bookie,
    disk: MemoryDisk,
    now: Now,
    answers: Vec<BookieResponse>,
    damage: Vec<crate::options::Damage>,
    /// Of which ledgers the metadata was asked, and not answered yet.
    asked: Vec<LedgerId>,
    /// Whether it is answered at once, as for ledgers that are newer than the listing.
    proves: bool,
    seq: u64,
}

impl World {
    fn new() -> Self {
        Self::with(options(), LAYOUT, Files::new())
    }

    fn with(options: BookieOptions, layout: LayoutOptions, files: Files) -> Self {
        let (disk, log) = MemoryDisk::open(files, layout, 1);
        let bookie = Bookie::new(NodeId(1), options, log);
        Self {
            bookie,
            disk,
            now: Now::default(),
            answers: Vec::new(),
            damage: Vec::new(),
            asked: Vec::new(),
            proves: true,
            seq: 0,
        }
    }

    fn id(&mut self) -> RequestId {
        self.seq += 1;
        RequestId::new(OwnerId(1), self.seq)
    }

    fn perform(&mut self, fx: &mut Fx) {
        for effect in fx.take() {
            match effect {
                BookieEffect::Respond { to, response } => {
                    assert_eq!(to, CLIENT);
                    self.answers.push(response);
                }
                BookieEffect::Disk(op) => self.disk.submit(op),
                BookieEffect::Damaged(damage) => self.damage.push(damage),
                BookieEffect::Prove { ledger } => self.asked.push(ledger),
            }
        }
    }

    fn ask(&mut self, request: BookieRequest) -> RequestId {
        let (id, mut fx) = (request.id(), Fx::new());
        self.bookie.handle_request(self.now, CLIENT, request, &mut fx);
        self.perform(&mut fx);
        id
    }

    fn event(&mut self, event: Option<DiskEvent>) -> bool {
        let Some(event) = event else { return false };
        let mut fx = Fx::new();
        self.bookie.handle_disk(self.now, event, &mut fx);
        self.perform(&mut fx);
        true
    }

    fn write_one(&mut self) -> bool {
        let event = self.disk.write_one();
        self.event(event)
    }

    fn read_one(&mut self) -> bool {
        let event = self.disk.read_one();
        self.event(event)
    }

    fn settle(&mut self) {
        while self.write_one() || self.read_one() || (self.proves && self.prove(LedgerProof::Exists)) {}
    }

    /// Lets time pass as the cleaner asks for it.
    fn clean(&mut self, steps: usize) {
        for _ in 0..steps {
            self.tick();
            self.settle();
        }
    }

    fn tick(&mut self) {
        if let Some(at) = self.bookie.next_deadline() {
            self.now.mono = self.now.mono.max(at);
            let mut fx = Fx::new();
            self.bookie.on_deadline(self.now, &mut fx);
            self.perform(&mut fx);
        }
    }

    fn crash(self) -> Self {
        self.crash_into(BookieStart::Clean)
    }

    /// kill -9, and a start that says this of the disk.
    fn crash_into(self, start: BookieStart) -> Self {
        let options = BookieOptions { start, ..self.bookie.options.clone() };
        let (disk, log) = self.disk.crash();
        let bookie = Bookie::new(NodeId(1), options, log);
        Self {
            bookie,
            disk,
            now: self.now,
            answers: Vec::new(),
            damage: Vec::new(),
            asked: Vec::new(),
            proves: true,
            seq: self.seq,
        }
    }

    fn retain(&mut self, known: &[u64]) {
        let listing = LedgerListing { known: known.iter().map(|id| LedgerId(*id)).collect(), below: LedgerId(1000) };
        let mut fx = Fx::new();
        self.bookie.retain_ledgers(self.now, &listing, &mut fx);
        self.perform(&mut fx);
        self.settle();
    }

    /// Answers what was asked of the metadata; whether there was something.
    fn prove(&mut self, proof: LedgerProof) -> bool {
        let asked = std::mem::take(&mut self.asked);
        for ledger in &asked {
            let mut fx = Fx::new();
            self.bookie.handle_proof(*ledger, proof, &mut fx);
            self.perform(&mut fx);
        }
        !asked.is_empty()
    }

    fn answer(&self, id: RequestId) -> Option<&BookieResponse> {
        self.answers.iter().find(|answer| answer.id() == id)
    }

    fn ask_add(&mut self, ledger: u64, entry: i64, len: usize) -> RequestId {
        let (id, data) = (self.id(), data(ledger, entry, len));
        let (ledger, entry, lac) = (LedgerId(ledger), EntryId(entry), EntryId(entry - 1));
        self.ask(BookieRequest::Add { id, ledger, entry, lac, recovery: false, data })
    }

    fn ask_recovery_add(&mut self, ledger: u64, entry: i64, len: usize) -> RequestId {
        let (id, data) = (self.id(), data(ledger, entry, len));
        let (ledger, entry, lac) = (LedgerId(ledger), EntryId(entry), EntryId(entry - 1));
        self.ask(BookieRequest::Add { id, ledger, entry, lac, recovery: true, data })
    }

    fn ask_read(&mut self, ledger: u64, from: i64, entries_max: u32, fence: bool) -> RequestId {
        let (id, ledger, from) = (self.id(), LedgerId(ledger), EntryId(from));
        self.ask(BookieRequest::Read { id, ledger, from, entries_max, bytes_max: 1 << 20, fence })
    }

    fn added(&self, id: RequestId) -> Option<AddOutcome> {
        self.answer(id).map(|answer| match answer {
            BookieResponse::Added { outcome, .. } => *outcome,
            other => panic!("an add was answered by {other:?}"),
        })
    }

    fn found(&self, id: RequestId) -> Option<ReadOutcome> {
        self.answer(id).map(|answer| match answer {
            BookieResponse::Read { outcome, .. } => outcome.clone(),
            other => panic!("a read was answered by {other:?}"),
        })
    }

    fn add(&mut self, ledger: u64, entry: i64, len: usize) -> AddOutcome {
        let id = self.ask_add(ledger, entry, len);
        self.settle();
        self.added(id).unwrap()
    }

    fn read(&mut self, ledger: u64, from: i64, entries_max: u32) -> ReadOutcome {
        let id = self.ask_read(ledger, from, entries_max, false);
        self.settle();
        self.found(id).unwrap()
    }

    fn lac(&mut self, ledger: u64, fence: bool) -> LacOutcome {
        let id = self.id();
        self.ask(BookieRequest::ReadLac { id, ledger: LedgerId(ledger), fence });
        self.settle();
        match self.answer(id) {
            Some(BookieResponse::Lac { outcome, .. }) => *outcome,
            other => panic!("a LAC read was answered by {other:?}"),
        }
    }

    /// Says that a ledger is repaired; whether its limbo is lifted.
    fn repaired(&mut self, ledger: u64) -> bool {
        let loss = self.limbo().into_iter().find(|one| one.ledger.0 == ledger).map_or(0, |one| one.loss);
        self.repaired_of(ledger, loss)
    }

    fn repaired_of(&mut self, ledger: u64, loss: u32) -> bool {
        let id = self.id();
        self.ask(BookieRequest::Repaired { id, ledger: LedgerId(ledger), loss });
        self.settle();
        match self.answer(id) {
            Some(BookieResponse::Repaired { lifted, .. }) => *lifted,
            other => panic!("a repair was answered by {other:?}"),
        }
    }

    /// What the bookie says it may lack; nothing while it cannot say.
    fn limbo(&mut self) -> Vec<InLimbo> {
        let (mut all, mut after) = (Vec::new(), LedgerId(0));
        loop {
            let id = self.id();
            self.ask(BookieRequest::Limbo { id, after });
            match self.answer(id) {
                Some(BookieResponse::Limbo { found: LimboFound::Ledgers { ledgers, more }, .. }) => {
                    all.extend(ledgers.clone());
                    match ledgers.last().filter(|_| *more) {
                        Some(last) => after = last.ledger,
                        None => return all,
                    }
                }
                Some(BookieResponse::Limbo { found: LimboFound::Unmeasured, .. }) => return Vec::new(),
                other => panic!("the question for ledgers in limbo was answered by {other:?}"),
            }
        }
    }

    /// What is missing of entries `0..end`, and up to where that is said.
    fn missing(&mut self, ledger: u64, end: i64) -> (Vec<(i64, i64)>, i64) {
        let (id, range) = (self.id(), EntryRange { first: EntryId(0), end: EntryId(end) });
        self.ask(BookieRequest::Missing { id, ledger: LedgerId(ledger), range });
        match self.answer(id) {
            Some(BookieResponse::Missing { until, ranges, .. }) => {
                (ranges.iter().map(|range| (range.first.0, range.end.0)).collect(), until.0)
            }
            other => panic!("the question for missing entries was answered by {other:?}"),
        }
    }

    fn delete(&mut self, ledger: u64) {
        let id = self.id();
        self.ask(BookieRequest::Delete { id, ledger: LedgerId(ledger) });
        self.settle();
        assert!(self.answer(id).is_some());
    }
}
