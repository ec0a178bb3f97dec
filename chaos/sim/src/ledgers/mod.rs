//! One ledger: a writer, up to three recoveries at once and readers over real bookies, from one seed.
//!
//! **What**  [`run`] plays one seed: bookies crash with torn writes, freeze and come back, one may lose its disk and come
//! back in limbo, requests and answers are lost, doubled and reordered, the writer freezes, recoveries fence it and each
//! other, the metadata store loses answers. Then everything is healed, the ledger must end closed, and every reader reads it
//! whole.
//!
//! **States**  faults → healed → closed → read back
//!
//! **Invariants**  see [`check`]; besides, the same seed and bug give the same run.
//!
//! **Not here**  Whole regions (`world`), chains of ledgers (`managed`).
//!
//! **Tests**  `tests/seeds.rs`: hundreds of seeds hold, each of the ledger crate's seeded bugs is caught.

mod bookies;
mod check;
mod clients;
mod plan;

use crate::bugs::Bug;
use crate::queue::{MS, Queue, SECOND, Time};
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, OwnerId, RequestId};
use bookie::disk::DiskOp;
use bookies::Host;
use check::{Checker, Finding, check_step};
use clients::Recoverer;
use ledger::{
    LedgerMetadata, LedgerReader, LedgerWriter, MetadataOutcome, Placement, RequestIds, Seeded, SeededBug,
    VersionedMetadata,
};
use plan::{Fault, Plan};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use wire::bookie::{BookieRequest, BookieResponse};

const LEDGER: LedgerId = LedgerId(1);
/// The client that writes; recoveries are 1 and up.
const WRITER: u64 = 0;
/// The first of the clients that read back.
const READERS: u64 = 50;
/// Simulated time that a healed world gets to finish.
const REST_WITHIN: Time = 60 * SECOND;
/// More events than this mean that something runs in circles.
const EVENTS_MAX: u64 = 1_000_000;

#[derive(Clone, Debug)]
enum Event {
    ToBookie { client: u64, to: NodeId, request: BookieRequest },
    DiskWritten { node: NodeId, life: u64 },
    DiskRead { node: NodeId, life: u64, op: DiskOp },
    BookieTimer { node: NodeId, life: u64 },
    ToClient { client: u64, from: NodeId, response: BookieResponse },
    ReadStore { client: u64, id: RequestId },
    CasStore { client: u64, id: RequestId, version: u64, metadata: LedgerMetadata },
    FromStore { client: u64, id: RequestId, outcome: MetadataOutcome },
    Tick { client: u64 },
    Add,
    Takeover { client: u64 },
    Recover { client: u64, metadata: VersionedMetadata },
    Fault(Fault),
    Heal,
}

/// The seeded bugs that a ledger world can show. It runs no repair: those of `LedgerRepair` are shown by the ledger crate's
/// own worlds.
pub fn bugs() -> impl Iterator<Item = SeededBug> {
    let of_repair = [SeededBug::RepairSwapsEarly, SeededBug::RepairOfOpenFragment];
    SeededBug::ALL.into_iter().filter(move |bug| !of_repair.contains(bug))
}

/// Plays one seed.
///
/// # Errors
/// What was broken.
pub fn run(seed: u64, bug: Option<SeededBug>) -> Result<u64, String> {
    play(Plan::of_seed(seed, bug.map_or(Seeded::NONE, Seeded::with)))
}

/// Whether a mistake between nodes is one that a single ledger can show.
pub fn concerns(bug: Bug) -> bool {
    matches!(bug, Bug::FenceLost | Bug::LedgerWithoutCompare)
}

/// Plays one seed with a mistake between nodes.
///
/// # Errors
/// What was broken.
pub fn run_mistaken(seed: u64, bug: Bug) -> Result<u64, String> {
    play(Plan { mistake: Some(bug), ..Plan::of_seed(seed, Seeded::NONE) })
}

fn play(plan: Plan) -> Result<u64, String> {
    let played = catch_unwind(AssertUnwindSafe(|| World::new(plan).run()));
    match played {
        Ok(outcome) => outcome,
        Err(panic) => Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "an assertion failed".to_owned())),
    }
}

struct World {
    plan: Plan,
    now: Time,
    queue: Queue<Event>,
    events: u64,
    /// Client → the instant of its earliest planned tick.
    ticks: BTreeMap<u64, Time>,
    hosts: BTreeMap<NodeId, Host>,
    store: VersionedMetadata,
    writer: LedgerWriter,
    writer_ended: bool,
    recoverers: Vec<Recoverer>,
    reader: Option<LedgerReader>,
    reader_client: u64,
    read_next: EntryId,
    cuts: BTreeSet<(u64, NodeId)>,
    /// What came for the writer while it was frozen.
    frozen: Option<Vec<Event>>,
    healed: bool,
    added: u64,
    checker: Checker,
}

impl World {
    fn new(mut plan: Plan) -> Self {
        let nodes: Vec<NodeId> = (1..=plan.bookies).map(NodeId).collect();
        let mut placement = Placement::new(nodes.clone(), plan.rng.fork("writer"));
        let ensemble = placement.pick_ensemble(plan.replication.ensemble()).unwrap_or_default();
        let metadata = LedgerMetadata::new(plan.replication, ensemble, 0)
            .unwrap_or_else(|error| panic!("ledgers: there are enough bookies: {error}"));
        let store = VersionedMetadata { metadata, version: 1 };
        let writer =
            LedgerWriter::new(RequestIds::new(OwnerId(WRITER), 1), LEDGER, store.clone(), plan.writer, placement);
        let takeovers = std::mem::take(&mut plan.takeovers);
        let mut queue = Queue::default();
        queue.plan(0, Event::Add);
        for (at, client) in takeovers.iter().zip(1..) {
            queue.plan(*at, Event::Takeover { client });
        }
        for (at, fault) in std::mem::take(&mut plan.faults) {
            queue.plan(at, Event::Fault(fault));
        }
        queue.plan(plan.heal_at, Event::Heal);
        Self {
            now: 0,
            queue,
            events: 0,
            ticks: BTreeMap::new(),
            hosts: nodes.into_iter().map(|node| (node, Host::new())).collect(),
            store,
            writer,
            writer_ended: false,
            recoverers: takeovers.iter().map(|_| Recoverer::default()).collect(),
            reader: None,
            reader_client: READERS,
            read_next: EntryId(0),
            cuts: BTreeSet::new(),
            frozen: None,
            healed: false,
            added: 0,
            checker: Checker::default(),
            plan,
        }
    }

    /// Answers how many entries were confirmed.
    fn run(mut self) -> Result<u64, Finding> {
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.start_bookie(node)?;
        }
        let end = self.plan.heal_at + REST_WITHIN;
        while !(self.healed && self.is_finished()) {
            self.step(end)?;
        }
        // What the old writer and late answers still do must change nothing.
        let quiet = self.now + SECOND / 2;
        self.queue.plan(quiet, Event::Heal);
        while self.now < quiet {
            self.step(quiet)?;
        }
        for _ in 0..self.hosts.len() {
            self.read_back()?;
        }
        Ok(self.checker.confirmed as u64)
    }

    fn closed_at(&self) -> Option<EntryId> {
        self.store.metadata.closed().map(|(last_entry, _)| last_entry)
    }

    fn is_finished(&self) -> bool {
        let recovered = self.recoverers.iter().all(|recoverer| recoverer.done);
        recovered && (self.writer_ended || !self.recoverers.is_empty()) && self.closed_at().is_some()
    }

    fn step(&mut self, end: Time) -> Result<(), Finding> {
        let Some((at, event)) = self.queue.pop() else { return Err("liveness: nothing is left to happen".to_owned()) };
        self.events += 1;
        if at > end || self.events > EVENTS_MAX {
            return Err(format!("liveness: not finished at {} ms after {} events", at / MS, self.events));
        }
        self.now = at;
        let of_writer = match &event {
            Event::ToClient { client, .. } | Event::FromStore { client, .. } | Event::Tick { client } => {
                *client == WRITER
            }
            Event::Add => true,
            _ => false,
        };
        if let (Some(frozen), true) = (&mut self.frozen, of_writer) {
            frozen.push(event);
            return Ok(());
        }
        let bookie = match &event {
            Event::ToBookie { to, .. } => Some(*to),
            Event::DiskWritten { node, .. } | Event::DiskRead { node, .. } | Event::BookieTimer { node, .. } => {
                Some(*node)
            }
            _ => None,
        };
        match bookie {
            Some(node) => self.keep_frozen(node, event).map_or(Ok(()), |event| self.play(event)),
            None => self.play(event),
        }
    }

    fn play(&mut self, event: Event) -> Result<(), Finding> {
        match event {
            Event::ToBookie { client, to, request } => return self.ask_bookie(client, to, request),
            Event::DiskWritten { node, life } => return self.on_disk_written(node, life),
            Event::DiskRead { node, life, op } => return self.on_disk_read(node, life, &op),
            Event::BookieTimer { node, life } => return self.on_bookie_timer(node, life),
            Event::ToClient { client, from, response } => return self.deliver(client, from, response),
            Event::ReadStore { client, id } => {
                let outcome = MetadataOutcome::Current(Some(self.store.clone()));
                self.answer_store(client, id, outcome);
            }
            Event::CasStore { client, id, version, metadata } => {
                let outcome = self.cas(version, metadata)?;
                self.answer_store(client, id, outcome);
            }
            Event::FromStore { client, id, outcome } => return self.deliver_metadata(client, id, outcome),
            Event::Tick { client } => return self.tick(client),
            Event::Add => return self.add(),
            Event::Takeover { client } => {
                let at = self.now + self.delay();
                self.queue.plan(at, Event::Recover { client, metadata: self.store.clone() });
            }
            Event::Recover { client, metadata } => return self.start_recovery(client, metadata),
            Event::Fault(fault) if !self.healed => return self.apply(fault),
            Event::Fault(_) => (),
            Event::Heal => return self.heal(),
        }
        Ok(())
    }

    // ---- the metadata store

    fn cas(&mut self, version: u64, metadata: LedgerMetadata) -> Result<MetadataOutcome, Finding> {
        let compares = self.plan.mistake != Some(Bug::LedgerWithoutCompare);
        if version != self.store.version && compares {
            return Ok(MetadataOutcome::Conflict { actual: Some(self.store.clone()) });
        }
        check_step(&self.store.metadata, &metadata)?;
        let version = self.store.version;
        self.store = VersionedMetadata { metadata, version: version + 1 };
        if let Some(end) = self.closed_at() {
            self.checker.close(end)?;
            self.checker.copies(&self.store.metadata, 0..=end.0)?;
        }
        Ok(MetadataOutcome::Committed { version: version + 1 })
    }

    fn answer_store(&mut self, client: u64, id: RequestId, outcome: MetadataOutcome) {
        let outcome = if self.store_loses() { MetadataOutcome::Unavailable } else { outcome };
        let at = self.now + self.delay();
        self.queue.plan(at, Event::FromStore { client, id, outcome });
    }

    fn ask_store(&mut self, client: u64, id: RequestId, event: Event) {
        if self.store_loses() {
            let at = self.now + self.delay();
            self.queue.plan(at, Event::FromStore { client, id, outcome: MetadataOutcome::Unavailable });
            if self.plan.rng.percent(50) {
                return; // It never arrives; otherwise it does, although the client was told that nothing is known.
            }
        }
        let at = self.now + self.delay();
        self.queue.plan(at, event);
    }

    fn store_loses(&mut self) -> bool {
        !self.healed && self.plan.rng.percent(self.plan.store_loss_percent)
    }

    // ---- the network

    /// Sends something between a client and a bookie.
    fn send(&mut self, client: u64, node: NodeId, event: Event) {
        let lossy = !self.healed;
        if lossy && (self.cuts.contains(&(client, node)) || self.plan.rng.percent(self.plan.drop_percent)) {
            return;
        }
        if lossy && self.plan.rng.percent(self.plan.duplicate_percent) {
            let at = self.now + self.delay();
            self.queue.plan(at, event.clone());
        }
        let at = self.now + self.delay();
        self.queue.plan(at, event);
    }

    fn delay(&mut self) -> Time {
        1 + self.plan.rng.below(if self.healed { MS / 3 } else { self.plan.delay_max })
    }

    fn clock(&self) -> Now {
        Now { mono: Mono(self.now), wall_ms: self.now / MS }
    }

    // ---- faults

    fn apply(&mut self, fault: Fault) -> Result<(), Finding> {
        match fault {
            Fault::Crash(node) => self.crash_bookie(node),
            Fault::Restart(node) => return self.start_bookie(node),
            Fault::Wipe(node) => self.hosts.get_mut(&node).into_iter().for_each(Host::wipe),
            Fault::FreezeBookie(node) => self.hosts.get_mut(&node).into_iter().for_each(Host::freeze),
            Fault::ThawBookie(node) => return self.thaw_bookie(node),
            Fault::FreezeWriter => drop(self.frozen.get_or_insert_default()),
            Fault::ThawWriter => return self.thaw_writer(),
            Fault::Cut { client, node } => drop(self.cuts.insert((client, node))),
            Fault::Mend { client, node } => drop(self.cuts.remove(&(client, node))),
            Fault::Announce => return self.announce(),
        }
        Ok(())
    }

    fn thaw_bookie(&mut self, node: NodeId) -> Result<(), Finding> {
        let events = self.hosts.get_mut(&node).map(Host::thaw).unwrap_or_default();
        events.into_iter().try_for_each(|event| self.play(event))
    }

    fn thaw_writer(&mut self) -> Result<(), Finding> {
        self.frozen.take().unwrap_or_default().into_iter().try_for_each(|event| self.play(event))
    }

    fn announce(&mut self) -> Result<(), Finding> {
        let up = self.hosts.iter().filter(|(_, host)| host.is_up()).map(|(node, _)| *node).collect();
        if self.frozen.is_some() {
            return Ok(());
        }
        self.with_writer(|writer, now, fx: &mut Effects<_>| writer.set_available(now, up, fx))
    }

    fn heal(&mut self) -> Result<(), Finding> {
        self.healed = true;
        self.cuts.clear();
        for node in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.start_bookie(node)?;
            self.thaw_bookie(node)?;
        }
        self.thaw_writer()?;
        self.announce()
    }
}
