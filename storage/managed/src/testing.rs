//! In-memory bookies and metadata for tests: enough to drive a managed ledger to rest without a clock or a disk.
//!
//! **What**  [`Storage`] answers every request at once and keeps everything, so that dropping a log and opening it again
//! is a crash. [`Storage::drive`] runs one log to rest; tests that want to reorder, lose or delay answers take them one
//! by one from [`Storage::execute`].

use crate::{ManagedEffect, ManagedEvent, ManagedLedger};
use base::{Effects, EntryId, LedgerId, NodeId, Now, RegionId, RequestId};
use meta_api::{MetaResponse, MetaState};
use std::collections::BTreeMap;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome, ReadOutcome, StoredEntry};

/// An answer on its way to the log that asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Bookie { from: NodeId, response: BookieResponse },
    Meta { id: RequestId, response: MetaResponse },
    LedgerId { id: RequestId, ledger: LedgerId },
}

impl Answer {
    /// Hands the answer in.
    pub fn deliver(self, now: Now, log: &mut ManagedLedger, fx: &mut Effects<ManagedEffect>) {
        match self {
            Self::Bookie { from, response } => log.handle_bookie(now, from, response, fx),
            Self::Meta { id, response } => log.handle_meta(now, id, response, fx),
            Self::LedgerId { id, ledger } => log.handle_ledger_id(now, id, ledger, fx),
        }
    }
}

/// What executing an effect gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Executed {
    Answer(Answer),
    Event(ManagedEvent),
}

/// A set of bookies, a metadata store and a ledger id counter, all in memory and always healthy.
#[derive(Clone, Debug)]
pub struct Storage {
    bookies: BTreeMap<NodeId, Bookie>,
    meta: MetaState,
    drawn: u64,
}

impl Storage {
    /// `bookies` nodes, numbered from 1.
    pub fn new(bookies: u32) -> Self {
        let bookies = (1..=u64::from(bookies)).map(|node| (NodeId(node), Bookie::default())).collect();
        Self { bookies, meta: MetaState::new(), drawn: 0 }
    }

    /// The bookies, to pass to [`ManagedLedger::open`].
    pub fn nodes(&self) -> Vec<NodeId> {
        self.bookies.keys().copied().collect()
    }

    /// The metadata store, for tests that look or meddle.
    pub fn meta(&mut self) -> &mut MetaState {
        &mut self.meta
    }

    /// Ledgers of which some bookie still holds something.
    pub fn stored_ledgers(&self) -> Vec<LedgerId> {
        let mut ledgers: Vec<LedgerId> =
            self.bookies.values().flat_map(|bookie| bookie.ledgers.keys().copied()).collect();
        ledgers.sort_unstable();
        ledgers.dedup();
        ledgers
    }

    /// Executes one effect.
    pub fn execute(&mut self, effect: ManagedEffect) -> Executed {
        Executed::Answer(match effect {
            ManagedEffect::Event(event) => return Executed::Event(event),
            ManagedEffect::Meta { id, request } => Answer::Meta { id, response: self.meta.apply(&request).0 },
            ManagedEffect::NeedLedgerId { id } => {
                self.drawn += 1;
                Answer::LedgerId { id, ledger: LedgerId::compose(RegionId(1), self.drawn) }
            }
            ManagedEffect::Bookie { to, request } => {
                let response = self.bookies.entry(to).or_default().handle(request);
                Answer::Bookie { from: to, response }
            }
        })
    }

    /// Executes everything in `fx` and feeds the answers back until nothing is left to do. Returns the events in order.
    pub fn drive(&mut self, now: Now, log: &mut ManagedLedger, fx: &mut Effects<ManagedEffect>) -> Vec<ManagedEvent> {
        let mut events = Vec::new();
        while !fx.is_empty() {
            for effect in fx.take() {
                match self.execute(effect) {
                    Executed::Answer(answer) => answer.deliver(now, log, fx),
                    Executed::Event(event) => events.push(event),
                }
            }
        }
        events
    }
}

/// One bookie whose every write is durable at once.
#[derive(Clone, Debug, Default)]
struct Bookie {
    ledgers: BTreeMap<LedgerId, Copies>,
}

#[derive(Clone, Debug, Default)]
struct Copies {
    fenced: bool,
    entries: BTreeMap<EntryId, StoredEntry>,
}

impl Bookie {
    fn handle(&mut self, request: BookieRequest) -> BookieResponse {
        match request {
            BookieRequest::Add { id, ledger, entry, lac, recovery, data } => {
                let copies = self.ledgers.entry(ledger).or_default();
                let refused = copies.fenced && !recovery;
                if !refused {
                    copies.entries.insert(entry, StoredEntry { entry, lac, data });
                }
                let outcome = if refused { AddOutcome::Fenced } else { AddOutcome::Stored };
                BookieResponse::Added { id, ledger, entry, outcome }
            }
            BookieRequest::Read { id, ledger, from, entries_max, bytes_max, fence } => {
                let outcome = match self.open(ledger, fence) {
                    Some(copies) => copies.read(from, entries_max, bytes_max),
                    None => ReadOutcome::NoSuchLedger,
                };
                BookieResponse::Read { id, ledger, outcome }
            }
            BookieRequest::ReadLac { id, ledger, fence } => {
                let outcome = match self.open(ledger, fence) {
                    Some(copies) => copies.lac(),
                    None => LacOutcome::NoSuchLedger,
                };
                BookieResponse::Lac { id, ledger, outcome }
            }
            BookieRequest::Delete { id, ledger } => {
                self.ledgers.remove(&ledger);
                BookieResponse::Deleted { id, ledger }
            }
            BookieRequest::Repaired { .. } | BookieRequest::Limbo { .. } | BookieRequest::Missing { .. } => {
                unreachable!("a managed ledger repairs nothing")
            }
        }
    }

    /// A fence makes the ledger known, so that it holds against later adds.
    fn open(&mut self, ledger: LedgerId, fence: bool) -> Option<&Copies> {
        if fence {
            self.ledgers.entry(ledger).or_default().fenced = true;
        }
        self.ledgers.get(&ledger)
    }
}

impl Copies {
    fn read(&self, from: EntryId, entries_max: u32, bytes_max: u32) -> ReadOutcome {
        let (mut found, mut bytes) = (Vec::new(), 0);
        let mut next = from;
        while let Some(stored) = self.entries.get(&next) {
            bytes += stored.data.len();
            let full = found.len() >= entries_max as usize || bytes > bytes_max as usize;
            if full && !found.is_empty() {
                break;
            }
            found.push(stored.clone());
            next = next.next();
        }
        if found.is_empty() { ReadOutcome::NoSuchEntry } else { ReadOutcome::Entries(found) }
    }

    fn lac(&self) -> LacOutcome {
        let lac = self.entries.values().map(|stored| stored.lac).max().unwrap_or(EntryId::NONE);
        LacOutcome::Lac { lac, last: self.entries.keys().next_back().copied().unwrap_or(EntryId::NONE) }
    }
}
