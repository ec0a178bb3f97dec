//! Plays a plan: one queue of events in simulated time, the machines under test, and everything around them.

mod faults;
mod read_back;
mod repair;

use crate::bookie::ModelBookie;
use crate::check::{Bookies, Checker, Violation, check_end, check_fenced};
use crate::plan::{Fault, Plan, READER, REPAIRERS, WRITER};
use crate::store::ModelStore;
use base::{Effects, EntryData, EntryId, LedgerId, Mono, NodeId, Now, OwnerId, RequestId};
use bytes::Bytes;
use ledger::{
    AddError, LedgerEffect, LedgerMetadata, LedgerReader, LedgerRecovery, LedgerWriter, MetadataOutcome, Placement,
    RecoveryEvent, RequestIds, VersionedMetadata, WriterEvent,
};
use repair::Repairer;
use std::collections::{BTreeMap, BTreeSet};
use wire::bookie::{BookieRequest, BookieResponse};

const LEDGER: LedgerId = LedgerId(1);
/// Simulated time that a healed world gets to finish everything.
const LIVENESS_US: u64 = 60_000_000;

#[derive(Clone, Debug)]
enum Event {
    ToBookie { client: usize, to: NodeId, request: BookieRequest },
    Synced { node: NodeId, life: u64 },
    ToClient { client: usize, from: NodeId, response: BookieResponse },
    ReadStore { client: usize, id: RequestId },
    CasStore { client: usize, id: RequestId, version: u64, metadata: LedgerMetadata },
    FromStore { client: usize, id: RequestId, outcome: MetadataOutcome },
    Tick { client: usize },
    Add,
    Takeover { client: usize },
    Recover { client: usize, metadata: VersionedMetadata },
    Repair { client: usize },
    KillRepair { client: usize },
    Fault(Fault),
    Heal,
}

#[derive(Debug, Default)]
struct Recoverer {
    machine: Option<LedgerRecovery>,
    attempts: u32,
    done: bool,
}

pub(crate) struct World {
    plan: Plan,
    now: u64,
    seq: u64,
    queue: BTreeMap<(u64, u64), Event>,
    ticks: BTreeMap<usize, u64>,
    bookies: Bookies,
    store: ModelStore,
    writer: LedgerWriter,
    writer_ended: bool,
    recoverers: Vec<Recoverer>,
    repairers: Vec<Repairer>,
    reader: Option<LedgerReader>,
    read_next: EntryId,
    cuts: BTreeSet<(usize, NodeId)>,
    frozen: Option<Vec<Event>>,
    healed: bool,
    added: u64,
    checker: Checker,
    trace: Option<Vec<String>>,
}

impl World {
    pub(crate) fn new(mut plan: Plan, trace: bool) -> Self {
        let nodes: Vec<NodeId> = (1..=plan.bookies).map(NodeId).collect();
        let mut placement = Placement::new(nodes.clone(), plan.rng.fork("writer"));
        let ensemble = placement.pick_ensemble(plan.replication.ensemble()).unwrap();
        let metadata = LedgerMetadata::new(plan.replication, ensemble, 0).unwrap();
        let current = VersionedMetadata { metadata, version: 1 };
        let ids = RequestIds::new(OwnerId(0), 1);
        let writer = LedgerWriter::new(ids, LEDGER, current.clone(), plan.writer, placement);
        let recoverers = plan.takeovers.iter().map(|_| Recoverer::default()).collect();
        let (faults, takeovers) = (std::mem::take(&mut plan.faults), std::mem::take(&mut plan.takeovers));
        let mut world = Self {
            now: 0,
            seq: 0,
            queue: BTreeMap::new(),
            ticks: BTreeMap::new(),
            bookies: nodes.into_iter().map(|node| (node, ModelBookie::new())).collect(),
            store: ModelStore { current },
            writer,
            writer_ended: false,
            recoverers,
            repairers: Vec::new(),
            reader: None,
            read_next: EntryId(0),
            cuts: BTreeSet::new(),
            frozen: None,
            healed: false,
            added: 0,
            checker: Checker::default(),
            trace: trace.then(Vec::new),
            plan,
        };
        world.push(0, Event::Add);
        for (at, client) in takeovers.into_iter().zip(1..) {
            world.push(at, Event::Takeover { client });
        }
        faults.into_iter().for_each(|(at, fault)| world.push(at, Event::Fault(fault)));
        world.push(world.plan.heal_at, Event::Heal);
        world.plan_repairs();
        world
    }

    pub(crate) fn into_trace(self) -> Vec<String> {
        self.trace.unwrap_or_default()
    }

    /// Faults, healing, the end of writing and recovering, late actions of the old writer, reading back.
    pub(crate) fn run(&mut self) -> Result<(), Violation> {
        let end = self.plan.heal_at + LIVENESS_US;
        while !(self.healed && self.is_finished()) {
            self.step(end)?;
        }
        let quiet = self.now + 500_000;
        self.push(quiet, Event::Heal);
        while self.now < quiet {
            self.step(quiet)?;
        }
        self.lose_and_repair()?;
        self.read_back()
    }

    fn is_finished(&self) -> bool {
        let recovered = self.recoverers.iter().all(|recoverer| recoverer.done);
        let repaired = self.repairers.iter().all(|repairer| repairer.done);
        repaired && recovered && (self.writer_ended || !self.recoverers.is_empty()) && self.store.closed_at().is_some()
    }

    fn step(&mut self, end: u64) -> Result<(), Violation> {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return Err("liveness: nothing is left to happen".to_owned());
        };
        if at > end {
            return Err(format!("liveness: not finished {}s after healing", LIVENESS_US / 1_000_000));
        }
        self.now = at;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{at:>9} {event:?}"));
        }
        if let (Some(frozen), true) = (&mut self.frozen, event_client(&event) == Some(WRITER)) {
            frozen.push(event);
            return Ok(());
        }
        self.play(event)
    }

    fn play(&mut self, event: Event) -> Result<(), Violation> {
        match event {
            Event::ToBookie { client, to, request } => self.ask_bookie(client, to, request),
            Event::Synced { node, life } => self.complete_write(node, life),
            Event::ToClient { client, from, response } => return self.deliver(client, from, response),
            Event::ReadStore { client, id } => self.answer_store(client, id, self.store.read()),
            Event::CasStore { client, id, version, metadata } => {
                let before = self.store.current.metadata.clone();
                let outcome = self.store.cas(version, metadata)?;
                self.check_repaired(&before)?;
                if let (None, Some(end)) = (before.closed(), self.store.closed_at()) {
                    self.checker.check_closed(end)?;
                    self.check_copies(&self.store.current.metadata, 0..=end.0)?;
                    if self.recoverers.len() == 1 && !self.plan.wipes {
                        check_end(&before, end, &self.bookies)?;
                    }
                }
                self.answer_store(client, id, outcome);
            }
            Event::FromStore { client, id, outcome } => return self.deliver_metadata(client, id, outcome),
            Event::Tick { client } => return self.tick(client),
            Event::Add => return self.add(),
            Event::Takeover { client } => {
                let metadata = self.store.current.clone();
                let delay = self.delay();
                self.push(self.now + delay, Event::Recover { client, metadata });
            }
            Event::Recover { client, metadata } => return self.start_recovery(client, metadata),
            Event::Repair { client } => return self.start_repair(client),
            Event::KillRepair { client } => self.kill_repair(client),
            Event::Fault(fault) if !self.healed => return self.apply(fault),
            Event::Fault(_) => (),
            Event::Heal => return self.heal(),
        }
        Ok(())
    }

    // Bookies and network.

    fn ask_bookie(&mut self, client: usize, to: NodeId, request: BookieRequest) {
        let sync = 1 + self.plan.rng.below(self.plan.sync_max);
        let now = self.now;
        let Some(bookie) = self.bookies.get_mut(&to).filter(|bookie| bookie.up) else { return };
        match bookie.handle(request) {
            Some(response) => self.send(client, to, Event::ToClient { client, from: to, response }),
            None => {
                let life = bookie.life;
                self.push(now + sync, Event::Synced { node: to, life });
            }
        }
    }

    fn complete_write(&mut self, node: NodeId, life: u64) {
        let Some(bookie) = self.bookies.get_mut(&node).filter(|bookie| bookie.life == life) else { return };
        let Some((owner, response)) = bookie.complete() else { return };
        let client = usize::try_from(owner.0).unwrap();
        self.send(client, node, Event::ToClient { client, from: node, response });
    }

    fn send(&mut self, client: usize, node: NodeId, event: Event) {
        let lossy = !self.healed;
        if lossy && (self.cuts.contains(&(client, node)) || self.plan.rng.percent(self.plan.drop_percent)) {
            return;
        }
        if lossy && self.plan.rng.percent(self.plan.duplicate_percent) {
            let delay = self.delay();
            self.push(self.now + delay, event.clone());
        }
        let slow = !self.healed && self.plan.slow_links.contains(&(client, node));
        let delay = self.delay() * if slow { 8 } else { 1 };
        self.push(self.now + delay, event);
    }

    fn answer_store(&mut self, client: usize, id: RequestId, outcome: MetadataOutcome) {
        let outcome = if self.store_loses() { MetadataOutcome::Unavailable } else { outcome };
        let delay = self.delay();
        self.push(self.now + delay, Event::FromStore { client, id, outcome });
    }

    fn ask_store(&mut self, client: usize, id: RequestId, event: Event) {
        let delay = self.delay();
        if self.store_loses() {
            let outcome = MetadataOutcome::Unavailable;
            self.push(self.now + delay, Event::FromStore { client, id, outcome });
            if self.plan.rng.percent(50) {
                return; // It never arrives; otherwise it arrives although the client was told that nothing is known.
            }
        }
        let delay = self.delay();
        self.push(self.now + delay, event);
    }

    fn store_loses(&mut self) -> bool {
        !self.healed && self.plan.rng.percent(self.plan.store_loss_percent)
    }

    fn delay(&mut self) -> u64 {
        1 + self.plan.rng.below(if self.healed { 300 } else { self.plan.delay_max })
    }

    fn push(&mut self, at: u64, event: Event) {
        self.seq += 1;
        self.queue.insert((at, self.seq), event);
    }

    fn now(&self) -> Now {
        Now { mono: Mono(self.now * 1_000), wall_ms: self.now / 1_000 }
    }

    // Clients.

    fn add(&mut self) -> Result<(), Violation> {
        if self.added == self.plan.entries {
            if self.recoverers.is_empty() || self.plan.writer_closes {
                return self.with_writer(|writer, now, fx| writer.close(now, fx));
            }
            return Ok(());
        }
        let (ctx, now) = (1_000 + self.added, self.now());
        let body = vec![u8::try_from(ctx % 251).unwrap(); usize::try_from(self.plan.rng.below(60)).unwrap()];
        let data = EntryData::new(Bytes::from(ctx.to_be_bytes().to_vec()), Bytes::from(body));
        let mut fx = Effects::new();
        match self.writer.add_entry(now, ctx, data.clone(), &mut fx) {
            Ok(entry) => {
                self.added += 1;
                self.checker.record_added(entry, ctx, data)?;
            }
            Err(AddError::Full { .. }) => (),
            Err(AddError::Closed | AddError::Fenced) => return Ok(()),
        }
        let pending = (self.writer.pending_adds(), self.writer.pending_bytes());
        let bounds = (self.plan.writer.pending_adds_max, self.plan.writer.pending_bytes_max);
        if pending.0 > bounds.0 || (pending.1 > bounds.1 && pending.0 > 1) {
            return Err(format!("LedgerWriter I6: {pending:?} pending, bounds {bounds:?}"));
        }
        self.writer_effects(fx)?;
        let gap = 1 + self.plan.rng.below(2 * self.plan.add_gap);
        self.push(self.now + gap, Event::Add);
        Ok(())
    }

    fn with_writer(
        &mut self,
        act: impl FnOnce(&mut LedgerWriter, Now, &mut Effects<LedgerEffect<WriterEvent>>),
    ) -> Result<(), Violation> {
        let mut fx = Effects::new();
        let (now, lac) = (self.now(), self.writer.last_confirmed());
        act(&mut self.writer, now, &mut fx);
        if self.writer.last_confirmed() < lac {
            return Err(format!("B1: the LAC fell from {lac} to {}", self.writer.last_confirmed()));
        }
        self.writer_effects(fx)
    }

    fn writer_effects(&mut self, fx: Effects<LedgerEffect<WriterEvent>>) -> Result<(), Violation> {
        for event in self.execute(WRITER, fx)? {
            match event {
                WriterEvent::Confirmed { ctx, entry } => {
                    self.checker.check_confirmed(entry, ctx)?;
                    self.check_copies(self.writer.metadata(), entry.0..=entry.0)?;
                }
                WriterEvent::Fenced { unknown } => {
                    self.checker.check_fenced(&unknown)?;
                    self.writer_ended = true;
                    if self.recoverers.is_empty() {
                        self.reopen(); // A wiped bookie is fenced without a recovery.
                    }
                }
                WriterEvent::Closed { last_entry, .. } => {
                    self.checker.check_recovered(last_entry)?;
                    self.writer_ended = true;
                }
                WriterEvent::EnsembleChanged => (),
            }
        }
        let deadline = self.writer.next_deadline();
        self.schedule_tick(WRITER, deadline)
    }

    fn reopen(&mut self) {
        self.recoverers.push(Recoverer::default());
        self.push(self.now + 1_000, Event::Takeover { client: self.recoverers.len() });
    }

    fn start_recovery(&mut self, client: usize, metadata: VersionedMetadata) -> Result<(), Violation> {
        let attempts = self.recoverers[client - 1].attempts;
        let ids = RequestIds::new(OwnerId(u64::try_from(client).unwrap()), attempts);
        // Every second one knows who is up: it leaves the others at once, and their seats vacant where nobody else is left.
        let known = |bookie: &ModelBookie| bookie.up || client.is_multiple_of(2);
        let nodes = self.bookies.iter().filter(|(_, bookie)| known(bookie)).map(|(node, _)| *node).collect();
        let placement = Placement::new(nodes, self.plan.rng.fork("recovery"));
        let (mut fx, now) = (Effects::new(), self.now());
        let machine = LedgerRecovery::start(ids, LEDGER, metadata, self.plan.recovery, placement, now, &mut fx);
        self.recoverers[client - 1] = Recoverer { machine: Some(machine), attempts: attempts + 1, done: false };
        self.recovery_effects(client, fx)
    }

    fn recovery_effects(&mut self, client: usize, fx: Effects<LedgerEffect<RecoveryEvent>>) -> Result<(), Violation> {
        let reads = |effect: &LedgerEffect<RecoveryEvent>| {
            matches!(effect, LedgerEffect::Bookie { request: BookieRequest::Read { .. }, .. })
        };
        if fx.iter().any(reads) && self.store.closed_at().is_none() {
            check_fenced(&self.store.current.metadata, &self.bookies)?;
        }
        for event in self.execute(client, fx)? {
            match event {
                RecoveryEvent::Recovered { last_entry, .. } => {
                    self.checker.check_recovered(last_entry)?;
                    self.recoverers[client - 1].done = true;
                }
                RecoveryEvent::Failed(_) => self.push(self.now + 50_000, Event::Takeover { client }),
            }
        }
        let deadline = self.recoverers[client - 1].machine.as_ref().and_then(LedgerRecovery::next_deadline);
        self.schedule_tick(client, deadline)
    }

    fn deliver(&mut self, client: usize, from: NodeId, response: BookieResponse) -> Result<(), Violation> {
        match client {
            WRITER => self.with_writer(|writer, now, fx| writer.handle_add_response(now, from, &response, fx)),
            READER => self.with_reader(|reader, now, fx| reader.handle_bookie(now, from, response, fx)),
            REPAIRERS.. => self.with_repair(client, |repair, now, fx| repair.handle_bookie(now, from, response, fx)),
            _ => {
                let (mut fx, now) = (Effects::new(), self.now());
                let Some(machine) = &mut self.recoverers[client - 1].machine else { return Ok(()) };
                if machine.owns(response.id()) {
                    machine.handle_bookie(now, from, response, &mut fx);
                }
                self.recovery_effects(client, fx)
            }
        }
    }

    fn deliver_metadata(&mut self, client: usize, id: RequestId, outcome: MetadataOutcome) -> Result<(), Violation> {
        if client == WRITER {
            return self.with_writer(|writer, now, fx| writer.handle_metadata(now, id, outcome, fx));
        }
        if client >= REPAIRERS {
            return self.with_repair(client, |repair, now, fx| repair.handle_metadata(now, id, outcome, fx));
        }
        let (mut fx, now) = (Effects::new(), self.now());
        if let Some(machine) = &mut self.recoverers[client - 1].machine {
            machine.handle_metadata(now, id, outcome, &mut fx);
        }
        self.recovery_effects(client, fx)
    }

    fn tick(&mut self, client: usize) -> Result<(), Violation> {
        if self.ticks.get(&client) == Some(&self.now) {
            self.ticks.remove(&client);
        }
        match client {
            WRITER => self.with_writer(|writer, now, fx| writer.on_deadline(now, fx)),
            READER => self.with_reader(|reader, now, fx| reader.on_deadline(now, fx)),
            REPAIRERS.. => self.with_repair(client, |repair, now, fx| repair.on_deadline(now, fx)),
            _ => {
                let (mut fx, now) = (Effects::new(), self.now());
                if let Some(machine) = &mut self.recoverers[client - 1].machine {
                    machine.on_deadline(now, &mut fx);
                }
                self.recovery_effects(client, fx)
            }
        }
    }

    fn schedule_tick(&mut self, client: usize, deadline: Option<Mono>) -> Result<(), Violation> {
        let Some(deadline) = deadline else { return Ok(()) };
        let at = deadline.0.div_ceil(1_000);
        if self.ticks.get(&client).is_some_and(|scheduled| *scheduled <= at && *scheduled > self.now) {
            return Ok(());
        }
        let at = at.max(self.now + 1);
        self.ticks.insert(client, at);
        self.push(at, Event::Tick { client });
        Ok(())
    }

    /// Sends what a machine asks for and answers its events.
    fn execute<E>(&mut self, client: usize, mut fx: Effects<LedgerEffect<E>>) -> Result<Vec<E>, Violation> {
        let mut events = Vec::new();
        for effect in fx.take() {
            match effect {
                LedgerEffect::Bookie { to, request } => {
                    // Where bookies are lost, copies cannot be counted until they are repaired (R3).
                    let counts = self.bookies.values().all(|bookie| !bookie.gone);
                    if let (true, BookieRequest::Add { lac, .. }) = (counts, &request) {
                        self.check_copies(&self.store.current.metadata, lac.0.max(0)..=lac.0)?; // C9
                    }
                    self.send(client, to, Event::ToBookie { client, to, request });
                }
                LedgerEffect::ReadMetadata { id, .. } => self.ask_store(client, id, Event::ReadStore { client, id }),
                LedgerEffect::CasMetadata { id, version, metadata, .. } => {
                    self.ask_store(client, id, Event::CasStore { client, id, version, metadata });
                }
                LedgerEffect::Event(event) => events.push(event),
            }
        }
        Ok(events)
    }

    /// Copies are counted only in runs that wipe no disk.
    fn check_copies(&self, metadata: &LedgerMetadata, range: std::ops::RangeInclusive<i64>) -> Result<(), Violation> {
        if self.plan.wipes { Ok(()) } else { self.checker.check_copies(metadata, range, &self.bookies) }
    }
}

/// The client to which an event happens.
fn event_client(event: &Event) -> Option<usize> {
    match event {
        Event::ToClient { client, .. } | Event::FromStore { client, .. } | Event::Tick { client } => Some(*client),
        Event::Add => Some(WRITER),
        Event::ToBookie { .. }
        | Event::Synced { .. }
        | Event::ReadStore { .. }
        | Event::CasStore { .. }
        | Event::Takeover { .. }
        | Event::Recover { .. }
        | Event::Repair { .. }
        | Event::KillRepair { .. }
        | Event::Fault(_)
        | Event::Heal => None,
    }
}
