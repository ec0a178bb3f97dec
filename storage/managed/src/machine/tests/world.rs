//! A region in one thread: owners of one log, its storage, the network between, and what was promised so far.

use super::model::{History, State, positions};
use crate::testing::{Answer, Executed, Storage};
use crate::{
    Checkpoint, CheckpointRule, ManagedEffect, ManagedEvent, ManagedLedger, ManagedOptions, OpenMode, ReadId,
    Retention, Seeded, SeededBug,
};
use base::{Effects, Mono, NodeId, Now, OwnerId, Position, RegionId, Rng};
use ledger::ReplicationConfig;
use meta_api::MetaResponse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(super) type Check = Result<(), String>;

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) log: ManagedLedger,
    pub(super) fx: Effects<ManagedEffect>,
    pub(super) opened: bool,
    pub(super) stopped: bool,
    pub(super) dead: bool,
    pub(super) overtaken: bool,
    pub(super) adds: VecDeque<u64>,
    pub(super) reads: BTreeSet<ReadId>,
    pub(super) history: Option<History>,
    /// Numbers it added, with their positions once known.
    pub(super) numbers: BTreeSet<u64>,
}

#[derive(Debug)]
pub(super) enum Travelling {
    Request(ManagedEffect),
    Answer(Answer),
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) storage: Storage,
    pub(super) options: ManagedOptions,
    pub(super) now: Now,
    pub(super) owners: BTreeMap<u64, Owner>,
    pub(super) next_owner: u64,
    /// The last owner that opened.
    pub(super) latest: Option<u64>,
    pub(super) net: Vec<(u64, Travelling)>,
    pub(super) down: Option<NodeId>,
    pub(super) healing: bool,
    pub(super) next_number: u64,
    pub(super) next_ctx: u64,
    /// What was ever seen at a position.
    pub(super) content: BTreeMap<Position, u64>,
    /// Positions that were persisted, or found by an owner that opened.
    pub(super) durable: BTreeSet<Position>,
    /// How often each kind of event came, so that a run that did nothing is noticed.
    pub(super) events: BTreeMap<&'static str, u64>,
    /// Positions that a check has found rightly gone.
    pub(super) gone: BTreeSet<Position>,
}

fn random_options(rng: &mut Rng, bug: Option<SeededBug>) -> ManagedOptions {
    let (e, w, a) = *rng.pick(&[(1, 1, 1), (3, 3, 2), (3, 2, 2)]).unwrap();
    let second = Duration::from_secs(1);
    ManagedOptions {
        ledger_entries_max: rng.range(2, 8),
        cursor_log_bytes_max: rng.range(60, 400),
        cache_bytes_max: rng.below(3) * 700,
        read_block_bytes: 600,
        unsubscribed: Retention::NONE,
        checkpoint: if rng.one_in(3) { CheckpointRule::Required } else { CheckpointRule::Unused },
        consumed_age_min: second,
        bookie_timeout: second,
        seeded: bug.map_or(Seeded::NONE, Seeded::with),
        ..ManagedOptions::new(RegionId(1), ReplicationConfig::new(e, w, a).unwrap())
    }
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<SeededBug>) -> Self {
        let mut rng = Rng::new(seed);
        let options = random_options(&mut rng, bug);
        Self {
            rng,
            storage: Storage::new(4),
            options,
            now: Now { mono: Mono(1), wall_ms: 1_000_000 },
            owners: BTreeMap::new(),
            next_owner: 1,
            latest: None,
            net: Vec::new(),
            down: None,
            healing: false,
            next_number: 0,
            next_ctx: 0,
            content: BTreeMap::new(),
            durable: BTreeSet::new(),
            events: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }

    // ---- owners ----

    pub(super) fn start_owner(&mut self) {
        let id = self.next_owner;
        self.next_owner += 1;
        let mut fx = Effects::new();
        let (mode, options, nodes) = (OpenMode::CreateIfAbsent, self.options.clone(), self.storage.nodes());
        let log = ManagedLedger::open(OwnerId(id), "/ml/t".into(), mode, options, nodes, self.now, &mut fx);
        let (adds, reads, numbers) = (VecDeque::new(), BTreeSet::new(), BTreeSet::new());
        let owner = Owner {
            log,
            fx,
            opened: false,
            stopped: false,
            dead: false,
            overtaken: false,
            adds,
            reads,
            history: None,
            numbers,
        };
        self.owners.insert(id, owner);
    }

    pub(super) fn newest(&self) -> Option<u64> {
        self.owners.keys().next_back().copied()
    }

    /// Takes the effects of an owner: events are checked at once, requests travel.
    pub(super) fn collect(&mut self, id: u64) -> Check {
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        for effect in owner.fx.take() {
            match effect {
                ManagedEffect::Event(event) => self.handle_event(id, event)?,
                other => self.net.push((id, Travelling::Request(other))),
            }
        }
        Ok(())
    }

    pub(super) fn handle_event(&mut self, id: u64, event: ManagedEvent) -> Check {
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        if owner.stopped {
            return Err(format!("I2: {event:?} after the end"));
        }
        *self.events.entry(kind(&event)).or_default() += 1;
        match event {
            ManagedEvent::Opened { checkpoint } => return self.handle_opened(id, checkpoint),
            ManagedEvent::OpenFailed { .. } => owner.stopped = true,
            ManagedEvent::Persisted { ctx, position } => {
                if owner.adds.pop_front() != Some(ctx) {
                    return Err(format!("I1: {ctx} persisted out of order"));
                }
                let replaced =
                    owner.overtaken || owner.history.as_ref().is_some_and(|history| history.frozen.is_some());
                if self.durable.insert(position) && replaced {
                    return Err(format!("{position} persisted, but the next owner did not find it"));
                }
                return self.see(position, ctx);
            }
            ManagedEvent::AddsUnknown { ctxs } => {
                if std::mem::take(&mut owner.adds) != ctxs {
                    return Err("I3: unknown adds are those that were pending".to_owned());
                }
            }
            ManagedEvent::Fenced { .. } | ManagedEvent::Closed => {
                owner.stopped = true;
                if !owner.adds.is_empty() || !owner.reads.is_empty() {
                    return Err(format!("I3: left without an answer: {:?} {:?}", owner.adds, owner.reads));
                }
            }
            ManagedEvent::ReadDone { read, result } => {
                if !owner.reads.remove(&read) {
                    return Err("a read was answered twice".to_owned());
                }
                return self.see_all(&result.unwrap_or_default());
            }
            ManagedEvent::Checkpointed { .. } if owner.overtaken => {
                return Err("saved by an overtaken owner".to_owned());
            }
            ManagedEvent::CursorDone { ctx, result: Ok(()) } | ManagedEvent::Checkpointed { ctx } => {
                return owner.history.as_mut().map_or(Ok(()), |history| history.answered(ctx));
            }
            ManagedEvent::CursorDone { .. } => (),
            ManagedEvent::Trimmed { .. } => return self.check_gone(id),
            ManagedEvent::Deleted { .. } => return Err("nobody deleted".to_owned()),
        }
        Ok(())
    }

    /// A new owner: its cursors are a state that the answers of the one before allow.
    pub(super) fn handle_opened(&mut self, id: u64, checkpoint: Option<Checkpoint>) -> Check {
        let epoch = |id: &u64| self.owners[id].log.epoch();
        if self.latest.is_some_and(|latest| epoch(&latest) > epoch(&id)) {
            // Overtaken while it opened: it may believe to own the log, but nothing it writes may be answered.
            if let Some(owner) = self.owners.get_mut(&id) {
                (owner.opened, owner.overtaken) = (true, true);
            }
            return Ok(());
        }
        let mut state = State::default();
        let positions: BTreeSet<Position> = positions(&self.owners[&id].log).into_iter().collect();
        if let Some(before) = self.latest {
            let Some(history) = self.owners.get(&before).and_then(|owner| owner.history.clone()) else {
                return Err("an owner without history".to_owned());
            };
            let missing = self.missing(&positions);
            let required = self.options.checkpoint == CheckpointRule::Required;
            let log = &self.owners[&id].log;
            let fits = |state: &State| match missing.iter().find(|position| !state.may_lose(**position, required)) {
                Some(position) => Some(format!("{position} is gone, but needed by {state:?}")),
                None => state.difference(log, checkpoint.as_ref()),
            };
            let differences: Vec<_> = history.possible().iter().map(fits).collect();
            let Some(found) = differences.iter().rposition(Option::is_none) else {
                return Err(format!("no allowed state fits: {differences:?}"));
            };
            state = history.possible()[found].clone();
            self.gone.extend(missing);
            let frozen = history.done + found;
            if let Some(history) = self.owners.get_mut(&before).and_then(|owner| owner.history.as_mut()) {
                history.frozen = Some(frozen);
            }
        }
        self.durable.extend(positions);
        self.latest = Some(id);
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        owner.opened = true;
        owner.history = Some(History::new(state));
        Ok(())
    }

    // ---- the network ----

    pub(super) fn travel(&mut self) -> Check {
        if self.net.is_empty() {
            return Ok(());
        }
        let index = usize::try_from(self.rng.below(self.net.len() as u64)).unwrap();
        let (id, what) = self.net.swap_remove(index);
        match what {
            Travelling::Request(effect) => self.execute(id, effect),
            Travelling::Answer(answer) => {
                if !self.healing && self.rng.one_in(40) {
                    self.net.push((id, Travelling::Answer(answer.clone())));
                }
                if let Some(owner) = self.owners.get_mut(&id).filter(|owner| !owner.dead) {
                    answer.deliver(self.now, &mut owner.log, &mut owner.fx);
                }
                return self.collect(id);
            }
        }
        Ok(())
    }

    pub(super) fn execute(&mut self, id: u64, effect: ManagedEffect) {
        let lossy = !self.healing && self.rng.one_in(50);
        match &effect {
            ManagedEffect::Bookie { to, .. } if self.down == Some(*to) || lossy => return,
            ManagedEffect::Meta { id: request, .. } if lossy => {
                let (request, reason) = (*request, "no leader".to_owned());
                if self.rng.one_in(2) {
                    self.storage.execute(effect);
                }
                if self.rng.one_in(2) {
                    let response = MetaResponse::Unavailable { reason };
                    self.net.push((id, Travelling::Answer(Answer::Meta { id: request, response })));
                }
                return;
            }
            ManagedEffect::Bookie { .. } | ManagedEffect::Meta { .. } => (),
            ManagedEffect::NeedLedgerId { .. } | ManagedEffect::Event(_) => (),
        }
        if let Executed::Answer(answer) = self.storage.execute(effect) {
            self.net.push((id, Travelling::Answer(answer)));
        }
    }

    /// Time passes until some owner wants to be called.
    pub(super) fn tick(&mut self) -> Check {
        let due = self.owners.values().filter(|owner| !owner.dead).filter_map(|owner| owner.log.next_deadline()).min();
        let Some(due) = due.filter(|due| *due < Mono::MAX) else { return Ok(()) };
        let passed = due.since(self.now.mono);
        self.now = Now { mono: self.now.mono.max(due), wall_ms: self.now.wall_ms + passed.as_millis() as u64 };
        let ids: Vec<u64> = self.owners.keys().copied().collect();
        for id in ids {
            let now = self.now;
            let called =
                |owner: &&mut Owner| !owner.dead && owner.log.next_deadline().is_some_and(|due| due <= now.mono);
            if let Some(owner) = self.owners.get_mut(&id).filter(called) {
                owner.log.on_deadline(now, &mut owner.fx);
            }
            self.collect(id)?;
        }
        Ok(())
    }
}

fn kind(event: &ManagedEvent) -> &'static str {
    match event {
        ManagedEvent::Opened { .. } => "opened",
        ManagedEvent::OpenFailed { .. } => "open failed",
        ManagedEvent::Persisted { .. } => "persisted",
        ManagedEvent::AddsUnknown { .. } => "adds unknown",
        ManagedEvent::Fenced { .. } => "fenced",
        ManagedEvent::ReadDone { result: Ok(_), .. } => "read",
        ManagedEvent::ReadDone { result: Err(_), .. } => "not read",
        ManagedEvent::CursorDone { result: Ok(()), .. } => "cursor done",
        ManagedEvent::CursorDone { result: Err(_), .. } => "cursor refused or unknown",
        ManagedEvent::Checkpointed { .. } => "checkpointed",
        ManagedEvent::Trimmed { .. } => "trimmed",
        ManagedEvent::Deleted { .. } => "deleted",
        ManagedEvent::Closed => "closed",
    }
}
