//! Crashes and takeovers between any two effects, lost and reordered answers, against the model.
//!
//! **What**  One seed is one run: owners come and go (also while the one before still believes to own the log), every
//! request and every answer travels alone, in any order, some never. After each run everything heals and must come to
//! rest. Checked: nothing persisted is lost or moves, nothing is stored twice, order per owner, the cursors are exactly
//! a state that the answers allow, trimming takes only what everybody can do without.

use super::model::{CursorModel, History, State, positions, positions_up_to};
use crate::testing::{Answer, Executed, Storage};
use crate::{
    AckSet, Checkpoint, CheckpointRule, CursorId, Entry, ManagedEffect, ManagedEvent, ManagedLedger, ManagedOptions,
    OpenMode, Read, ReadId, Retention, Seeded, SeededBug,
};
use base::{Effects, EntryData, Mono, NodeId, Now, OwnerId, Position, RegionId, Rng};
use bytes::Bytes;
use ledger::ReplicationConfig;
use meta_api::MetaResponse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

type Check = Result<(), String>;

#[derive(Debug)]
struct Owner {
    log: ManagedLedger,
    fx: Effects<ManagedEffect>,
    opened: bool,
    stopped: bool,
    dead: bool,
    overtaken: bool,
    adds: VecDeque<u64>,
    reads: BTreeSet<ReadId>,
    history: Option<History>,
    /// Numbers it added, with their positions once known.
    numbers: BTreeSet<u64>,
}

#[derive(Debug)]
enum Travelling {
    Request(ManagedEffect),
    Answer(Answer),
}

#[derive(Debug)]
struct World {
    rng: Rng,
    storage: Storage,
    options: ManagedOptions,
    now: Now,
    owners: BTreeMap<u64, Owner>,
    next_owner: u64,
    /// The last owner that opened.
    latest: Option<u64>,
    net: Vec<(u64, Travelling)>,
    down: Option<NodeId>,
    healing: bool,
    next_number: u64,
    next_ctx: u64,
    /// What was ever seen at a position.
    content: BTreeMap<Position, u64>,
    /// Positions that were persisted, or found by an owner that opened.
    durable: BTreeSet<Position>,
    /// Positions that a check has found rightly gone.
    gone: BTreeSet<Position>,
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
    fn new(seed: u64, bug: Option<SeededBug>) -> Self {
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
            gone: BTreeSet::new(),
        }
    }

    // ---- owners ----

    fn start_owner(&mut self) {
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

    fn newest(&self) -> Option<u64> {
        self.owners.keys().next_back().copied()
    }

    /// Takes the effects of an owner: events are checked at once, requests travel.
    fn collect(&mut self, id: u64) -> Check {
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        for effect in owner.fx.take() {
            match effect {
                ManagedEffect::Event(event) => self.handle_event(id, event)?,
                other => self.net.push((id, Travelling::Request(other))),
            }
        }
        Ok(())
    }

    fn handle_event(&mut self, id: u64, event: ManagedEvent) -> Check {
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        if owner.stopped {
            return Err(format!("I2: {event:?} after the end"));
        }
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
    fn handle_opened(&mut self, id: u64, checkpoint: Option<Checkpoint>) -> Check {
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

    // ---- checks ----

    fn see(&mut self, position: Position, number: u64) -> Check {
        if let Some(before) = self.content.insert(position, number) {
            if before != number {
                return Err(format!("{position} held {before} and now {number}"));
            }
        }
        let twice = self.content.iter().find(|(other, n)| **n == number && **other != position);
        twice.map_or(Ok(()), |(other, _)| Err(format!("{number} is at {other} and at {position}")))
    }

    fn see_all(&mut self, entries: &[Entry]) -> Check {
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].position >= pair[1].position) {
            return Err(format!("{} read before {}", pair[0].position, pair[1].position));
        }
        entries.iter().try_for_each(|entry| self.see(entry.position, number_of(&entry.data)))
    }

    fn check_gone(&mut self, id: u64) -> Check {
        let owner = &self.owners[&id];
        let Some(history) = owner.history.clone() else { return Ok(()) };
        if history.frozen.is_some() {
            // It gives ledgers up in memory; the commit will not succeed.
            return Ok(());
        }
        let positions = positions(&owner.log).into_iter().collect();
        self.check_missing(&positions, history.possible())
    }

    /// What was durable once and is not there now.
    fn missing(&self, present: &BTreeSet<Position>) -> Vec<Position> {
        self.durable.iter().filter(|p| !present.contains(p) && !self.gone.contains(p)).copied().collect()
    }

    /// Everything durable is there, or nobody needs it in any state that may be on disk.
    fn check_missing(&mut self, present: &BTreeSet<Position>, states: &[State]) -> Check {
        let required = self.options.checkpoint == CheckpointRule::Required;
        for position in self.missing(present) {
            if let Some(state) = states.iter().find(|state| !state.may_lose(position, required)) {
                return Err(format!("{position} is gone, but needed by {state:?}"));
            }
            self.gone.insert(position);
        }
        Ok(())
    }

    fn check_cursors(&self) -> Check {
        let owners = self.owners.values().filter(|owner| owner.opened && !owner.stopped);
        for owner in owners {
            let Some(history) = &owner.history else { continue };
            let state = history.last();
            if let Some(difference) = state.difference(&owner.log, state.checkpoint.as_ref()) {
                return Err(format!("in memory: {difference}"));
            }
        }
        Ok(())
    }

    /// Numbers ascend with positions, for every owner by itself.
    fn check_order(&self) -> Check {
        for owner in self.owners.values() {
            let own = self.content.values().filter(|number| owner.numbers.contains(number));
            if !own.clone().is_sorted() {
                return Err(format!("out of order: {:?}", own.collect::<Vec<_>>()));
            }
        }
        Ok(())
    }

    // ---- the network ----

    fn travel(&mut self) -> Check {
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

    fn execute(&mut self, id: u64, effect: ManagedEffect) {
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
    fn tick(&mut self) -> Check {
        let due = self.owners.values().filter(|owner| !owner.dead).filter_map(|owner| owner.log.next_deadline()).min();
        let Some(due) = due.filter(|due| *due < Mono::MAX) else { return Ok(()) };
        let passed = due.since(self.now.mono);
        self.now = Now { mono: self.now.mono.max(due), wall_ms: self.now.wall_ms + passed.as_millis() as u64 };
        let ids: Vec<u64> = self.owners.keys().copied().collect();
        for id in ids {
            if let Some(owner) = self.owners.get_mut(&id).filter(|owner| !owner.dead) {
                if owner.log.next_deadline().is_some_and(|due| due <= self.now.mono) {
                    owner.log.on_deadline(self.now, &mut owner.fx);
                }
            }
            self.collect(id)?;
        }
        Ok(())
    }

    // ---- what users do ----

    fn act(&mut self) -> Check {
        let live: Vec<u64> = self.owners.iter().filter(|(_, o)| o.opened && !o.stopped).map(|(id, _)| *id).collect();
        let Some(id) = self.rng.pick(&live).copied() else { return Ok(()) };
        match self.rng.below(12) {
            0..4 => self.add(id),
            4 => self.read(id)?,
            5 => self.checkpoint(id),
            6 => self.create(id),
            7 if self.rng.one_in(4) => self.cursor_op(id, Self::delete),
            7 => self.cursor_op(id, Self::reset),
            8 => self.cursor_op(id, Self::label),
            9 => self.cursor_op(id, Self::ack_up_to),
            _ => self.cursor_op(id, Self::ack_each),
        }
        self.collect(id)
    }

    fn add(&mut self, id: u64) {
        for _ in 0..self.rng.range(1, 4) {
            let number = self.next_number;
            self.next_number += 1;
            let Some(owner) = self.owners.get_mut(&id) else { return };
            let data = EntryData::new(Bytes::from_static(b"h"), Bytes::from(number.to_le_bytes().to_vec()));
            if owner.log.add(self.now, number, data, &mut owner.fx).is_ok() {
                owner.adds.push_back(number);
                owner.numbers.insert(number);
            }
        }
    }

    fn read(&mut self, id: u64) -> Check {
        let n = self.rng.below(20);
        let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
        let from = owner.log.position_at(Position::EARLIEST, n).unwrap_or(Position::EARLIEST);
        let (entries_max, bytes_max) = (self.rng.range(1, 9) as u32, self.rng.range(1, 200));
        match owner.log.read(self.now, from, entries_max, bytes_max, &mut owner.fx) {
            Read::Ready(entries) if entries.is_empty() => Err("an empty answer".to_owned()),
            Read::Ready(entries) => self.see_all(&entries),
            Read::Pending(read) => {
                owner.reads.insert(read);
                Ok(())
            }
            Read::AtTail if owner.log.total_entries() > 0 => Err("no tail there".to_owned()),
            Read::AtTail | Read::Busy => Ok(()),
        }
    }

    fn ctx(&mut self) -> u64 {
        self.next_ctx += 1;
        self.next_ctx
    }

    fn checkpoint(&mut self, id: u64) {
        let ctx = self.ctx();
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let Some(position) = self.rng.pick(&all).copied() else { return };
        let checkpoint = Checkpoint { position, bytes: Bytes::from(ctx.to_le_bytes().to_vec()) };
        owner.log.checkpoint(self.now, checkpoint.clone(), ctx, &mut owner.fx);
        if let (true, Some(history)) = (owner.log.is_open(), &mut owner.history) {
            let state = State { checkpoint: Some(checkpoint), ..history.last().clone() };
            history.push(ctx, state);
        }
    }

    fn create(&mut self, id: u64) {
        let (ctx, name) = (self.ctx(), (*self.rng.pick(&["a", "b", "c"]).unwrap()).to_owned());
        let mark = if self.rng.one_in(2) { Position::EARLIEST } else { Position::LATEST };
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let label = format!("l{ctx}");
        let properties = BTreeMap::from([("label".to_owned(), label.clone())]);
        owner.log.create_cursor(self.now, &name, mark, properties, ctx, &mut owner.fx);
        let acked = positions_up_to(&owner.log, mark).into_iter().collect();
        self.log_op(id, ctx, |state| {
            state.cursors.insert(name, CursorModel { acked, partial: BTreeMap::new(), label });
        });
    }

    /// Remembers an operation unless it was refused.
    fn log_op(&mut self, id: u64, ctx: u64, change: impl FnOnce(&mut State)) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let refused = |effect: &ManagedEffect| match effect {
            ManagedEffect::Event(ManagedEvent::CursorDone { ctx: done, result: Err(_) }) => *done == ctx,
            _ => false,
        };
        if let (false, Some(history)) = (owner.fx.iter().any(refused), &mut owner.history) {
            let mut state = history.last().clone();
            change(&mut state);
            history.push(ctx, state);
        }
    }

    /// An operation on one of the cursors.
    fn cursor_op(&mut self, id: u64, op: impl FnOnce(&mut Self, u64, u64, CursorId, String)) {
        let cursors: Vec<(CursorId, String)> =
            self.owners[&id].log.cursors().map(|(id, cursor)| (id, cursor.name().to_owned())).collect();
        if let Some((cursor, name)) = self.rng.pick(&cursors).cloned() {
            let ctx = self.ctx();
            op(self, id, ctx, cursor, name);
        }
    }

    fn delete(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        owner.log.delete_cursor(self.now, cursor, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| drop(state.cursors.remove(&name)));
    }

    fn label(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let label = format!("l{ctx}");
        let properties = BTreeMap::from([("label".to_owned(), label.clone())]);
        owner.log.set_cursor_properties(self.now, cursor, properties, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| state.cursors.get_mut(&name).unwrap().label = label);
    }

    fn reset(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let to = self.rng.pick(&all).copied().unwrap_or(Position::EARLIEST);
        owner.log.reset_cursor(self.now, cursor, to, ctx, &mut owner.fx);
        let acked = positions_up_to(&owner.log, to).into_iter().collect();
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            (model.acked, model.partial) = (acked, BTreeMap::new());
        });
    }

    fn ack_up_to(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let Some(position) = self.rng.pick(&all).copied() else { return };
        let left = self.rng.below(3) * 5;
        let partial = self.rng.one_in(3).then(|| AckSet::from_words(vec![left]));
        let moves = position > owner.log.cursor(cursor).unwrap().mark_delete();
        owner.log.ack_up_to(self.now, cursor, position, partial.clone(), ctx, &mut owner.fx);
        let covered = positions_up_to(&owner.log, position);
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            for covered in covered.into_iter().filter(|_| moves) {
                match partial {
                    Some(_) if covered == position => model.ack_partly(position, left),
                    _ => model.ack(covered),
                }
            }
        });
    }

    fn ack_each(&mut self, id: u64, ctx: u64, cursor: CursorId, name: String) {
        let Some(owner) = self.owners.get_mut(&id) else { return };
        let all = positions(&owner.log);
        let mut acks = Vec::new();
        for _ in 0..self.rng.range(1, 4) {
            let Some(position) = self.rng.pick(&all).copied() else { return };
            acks.push((position, if self.rng.one_in(3) { Some(self.rng.below(8)) } else { None }));
        }
        let sets: Vec<_> = acks.iter().map(|(p, left)| (*p, left.map(|left| AckSet::from_words(vec![left])))).collect();
        owner.log.ack_each(self.now, cursor, &sets, ctx, &mut owner.fx);
        self.log_op(id, ctx, |state| {
            let model = state.cursors.get_mut(&name).unwrap();
            acks.iter().for_each(|(position, left)| match left {
                Some(left) => model.ack_partly(*position, *left),
                None => model.ack(*position),
            });
        });
    }

    // ---- what fate does ----

    /// The newest owner dies, is replaced while alive, closes, or a bookie goes or comes.
    fn strike(&mut self) -> Check {
        let Some(newest) = self.newest() else { return Ok(()) };
        match self.rng.below(8) {
            0..3 => {
                // A crash: what it asked for may still happen, but it hears of nothing any more.
                if let Some(owner) = self.owners.get_mut(&newest) {
                    (owner.stopped, owner.dead) = (true, true);
                }
                self.start_owner();
            }
            3..5 => self.start_owner(),
            5 => {
                if let Some(owner) = self.owners.get_mut(&newest) {
                    owner.log.close(self.now, &mut owner.fx);
                }
            }
            _ => self.down = if self.down.is_none() { Some(NodeId(self.rng.range(1, 4))) } else { None },
        }
        if self.options.replication.ensemble() == 1 {
            self.down = None;
        }
        let ids: Vec<u64> = self.owners.keys().copied().collect();
        ids.into_iter().try_for_each(|id| self.collect(id))
    }

    fn step(&mut self) -> Check {
        if self.newest().is_none_or(|id| self.owners[&id].stopped) {
            self.start_owner();
            let newest = self.next_owner - 1;
            self.collect(newest)?;
        }
        match self.rng.below(200) {
            0..130 => self.travel(),
            130..190 => self.act(),
            190..198 => self.tick(),
            _ => self.strike(),
        }
    }

    /// Everything works again: the newest owner comes to rest with nothing unanswered.
    fn heal(&mut self) -> Check {
        (self.healing, self.down) = (true, None);
        for _ in 0..400 {
            while !self.net.is_empty() {
                self.travel()?;
            }
            let newest = self.newest().unwrap();
            let owner = &self.owners[&newest];
            if owner.stopped {
                self.start_owner();
                let newest = self.next_owner - 1;
                self.collect(newest)?;
            } else if owner.log.is_open() && self.is_quiet(newest) {
                return self.check_rest(newest);
            } else {
                self.tick()?;
            }
        }
        Err(format!("no rest: {:?}", self.owners[&self.newest().unwrap()]))
    }

    fn is_quiet(&self, id: u64) -> bool {
        let owner = &self.owners[&id];
        let answered = owner.history.as_ref().is_none_or(|history| history.done + 1 == history.states.len());
        owner.adds.is_empty() && owner.reads.is_empty() && answered
    }

    /// Reads everything back, from the bookies.
    fn check_rest(&mut self, id: u64) -> Check {
        self.check_cursors()?;
        let mut next = Position::EARLIEST;
        let mut seen = BTreeSet::new();
        loop {
            let Some(owner) = self.owners.get_mut(&id) else { return Ok(()) };
            owner.log.evict_to(0);
            let entries = match owner.log.read(self.now, next, 7, 90, &mut owner.fx) {
                Read::AtTail => break,
                Read::Ready(entries) => entries,
                Read::Pending(read) => self.finish_read(id, read)?,
                Read::Busy => return Err("busy at rest".to_owned()),
            };
            self.see_all(&entries)?;
            seen.extend(entries.iter().map(|entry| entry.position));
            next = entries[entries.len() - 1].position.next();
        }
        if seen != positions(&self.owners[&id].log).into_iter().collect() {
            return Err("reading skips entries".to_owned());
        }
        self.check_gone(id)?;
        self.check_order()
    }

    fn finish_read(&mut self, id: u64, read: ReadId) -> Result<Vec<Entry>, String> {
        for _ in 0..1000 {
            let Some(owner) = self.owners.get_mut(&id) else { break };
            let mut found = None;
            if let (true, Some(due)) = (owner.fx.is_empty(), owner.log.next_deadline()) {
                self.now.mono = self.now.mono.max(due);
                owner.log.on_deadline(self.now, &mut owner.fx);
            }
            for effect in owner.fx.take() {
                match effect {
                    ManagedEffect::Event(ManagedEvent::ReadDone { read: done, result }) if done == read => {
                        found = Some(result.map_err(|error| error.to_string()));
                    }
                    ManagedEffect::Event(_) => (),
                    other => {
                        if let Executed::Answer(answer) = self.storage.execute(other) {
                            answer.deliver(self.now, &mut owner.log, &mut owner.fx);
                        }
                    }
                }
            }
            if let Some(result) = found {
                return result;
            }
        }
        Err("a read does not end".to_owned())
    }
}

fn number_of(data: &EntryData) -> u64 {
    u64::from_le_bytes(data.body.as_ref().try_into().unwrap())
}

fn run(seed: u64, bug: Option<SeededBug>) -> Check {
    let mut world = World::new(seed, bug);
    for _ in 0..700 {
        world.step()?;
        world.check_cursors()?;
    }
    world.heal()
}

#[test]
fn nothing_answered_is_ever_lost_whatever_crashes_and_whoever_takes_over() {
    let first: u64 = std::env::var("MANAGED_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("MANAGED_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(150);
    for seed in first..first + count {
        if let Err(complaint) = run(seed, None) {
            panic!("MANAGED_SEED={seed} MANAGED_SEEDS=1: {complaint}");
        }
    }
}

#[test]
fn every_seeded_bug_is_noticed() {
    for bug in SeededBug::ALL {
        let notices =
            |seed: &u64| std::panic::catch_unwind(|| run(*seed, Some(bug))).map_or(true, |check| check.is_err());
        let found = (0..400).find(notices);
        assert!(found.is_some(), "{bug:?} goes unnoticed");
        println!("{bug:?} noticed by seed {}", found.unwrap_or(0));
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let trace = |seed| {
        let mut world = World::new(seed, None);
        (0..400).for_each(|_| world.step().unwrap());
        format!("{world:?}")
    };
    assert_eq!(trace(3), trace(3));
}
