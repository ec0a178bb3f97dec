//! Random runs against a reference model: consumers that come and go, permits, full windows, acknowledgements of all kinds,
//! redeliveries, delayed messages, limits, resets and expiry, while the storage answers late. After every step what was
//! delivered is compared with what the model allows; in the end everything must have been delivered and acknowledged.

mod checks;

use super::tests_bed::{Bed, Cache, Draft, key};
use super::{ConsumerSpec, KeyOrder, KeySharedMode, KeySharedSpec, MoveReply, SubType, SubscriptionOptions};
use crate::io::{AdminId, ConnId};
use base::{Position, Rng};
use managed::{AckSet, ManagedEvent, ReadError};
use std::collections::BTreeMap;
use wire::commands::message_id;
use wire::payload::{murmur3_32, sticky_key_slot};
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandRedeliverUnacknowledgedMessages, MessageIdData};

const CLIENTS: u64 = 4;
/// The connection that asks for resets.
const OPERATOR: ConnId = ConnId(99);

/// What the model knows of an entry. Bits stand for messages.
#[derive(Clone, Debug)]
struct Known {
    slot: u16,
    delayed: bool,
    all: u64,
    /// Not yet named in any acknowledgement.
    unasked: u64,
    /// Not yet acknowledged durably, as far as clients were told.
    left: u64,
    given_back: u32,
    holder: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Client {
    permits: i64,
    epoch: u64,
    got: Vec<Position>,
    stalled: bool,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    kind: SubType,
    order: KeyOrder,
    sticky: bool,
    cache: Cache,
    unacked_max: u32,
}

struct World {
    setup: Setup,
    bed: Bed,
    rng: Rng,
    clients: BTreeMap<u64, Client>,
    entries: BTreeMap<Position, Known>,
    /// Drafts added and not yet persisted, oldest first.
    drafts: std::collections::VecDeque<Draft>,
    /// Acknowledgements under way: what each leaves over.
    asking: BTreeMap<u64, Vec<(Position, u64)>>,
    /// Positions up to which operators acknowledged, oldest first.
    advancing: std::collections::VecDeque<Position>,
    resetting: bool,
    active: Option<u64>,
    /// Exclusive and Failover: the last entry sent since the last rewind.
    last_sent: Option<Position>,
    delivered: usize,
}

impl World {
    fn new(setup: Setup, seed: u64) -> Self {
        let options = SubscriptionOptions {
            unacked_max_per_consumer: setup.unacked_max,
            unacked_max_per_subscription: setup.unacked_max * 3,
        };
        let mut bed = Bed::with(options, setup.cache);
        bed.out.open_window(OPERATOR);
        Self {
            setup,
            bed,
            rng: Rng::new(seed),
            clients: BTreeMap::new(),
            entries: BTreeMap::new(),
            drafts: std::collections::VecDeque::new(),
            asking: BTreeMap::new(),
            advancing: std::collections::VecDeque::new(),
            resetting: false,
            active: None,
            last_sent: None,
            delivered: 0,
        }
    }

    fn is_single(&self) -> bool {
        matches!(self.setup.kind, SubType::Exclusive | SubType::Failover)
    }

    fn some_client(&mut self) -> Option<u64> {
        let ids: Vec<u64> = self.clients.keys().copied().collect();
        self.rng.pick(&ids).copied()
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..12 => self.publish(),
            12..30 => self.bed.drive(),
            30..52 => self.hear(),
            52..57 => self.join(),
            57..59 => self.leave(),
            59..69 => self.flow(),
            69..83 => self.ack(),
            83..88 => self.give_back(),
            88..92 => self.stall_or_unstall(),
            92..97 => self.pass_time(),
            97 => self.advance(),
            98 if self.rng.one_in(4) => self.reset(),
            _ => self.bed.limit.budget = self.rng.one_in(2).then_some(3),
        }
        self.check();
        if self.bed.sub.next_deadline().is_some_and(|at| at <= self.bed.now.mono) {
            self.bed.act(|sub, env| sub.on_deadline(env));
            self.check();
        }
    }

    fn publish(&mut self) {
        for _ in 0..self.rng.range(1, 5) {
            let batch = if self.rng.one_in(3) { u32::try_from(self.rng.range(1, 6)).unwrap() } else { 0 };
            let due = i64::try_from(self.bed.now.wall_ms + self.rng.range(1, 400)).unwrap();
            let deliver_at_ms = (!self.is_single() && self.rng.one_in(10)).then_some(due);
            let draft = Draft { key: Some(format!("k{}", self.rng.below(7))), batch, deliver_at_ms, bytes: 40 };
            self.bed.add(&draft);
            self.drafts.push_back(draft);
        }
    }

    /// Lets the subscription hear of one outcome; now and then a read fails.
    fn hear(&mut self) {
        if let Some(ManagedEvent::ReadDone { read, result: Ok(entries) }) = self.bed.events.front()
            && self.rng.one_in(6)
        {
            let (read, position) = (*read, entries[0].position);
            let result = Err(ReadError::Unavailable { position, reason: "a test".into() });
            self.bed.events[0] = ManagedEvent::ReadDone { read, result };
        }
        self.note_readable();
        self.bed.hear();
    }

    fn note_persisted(&mut self, position: Position) {
        let draft = self.drafts.pop_front().expect("only drafts are persisted");
        let all = (1u64 << draft.batch.max(1)) - 1;
        let slot = sticky_key_slot(murmur3_32(draft.key.unwrap().as_bytes()));
        let delayed = draft.deliver_at_ms.is_some();
        let known = Known { slot, delayed, all, unasked: all, left: all, given_back: 0, holder: None };
        self.entries.insert(position, known);
    }

    /// Entries become readable before the subscription hears of them.
    fn note_readable(&mut self) {
        let news: Vec<Position> = self
            .bed
            .events
            .iter()
            .filter_map(|event| match event {
                ManagedEvent::Persisted { position, .. } => Some(*position),
                _ => None,
            })
            .filter(|position| !self.entries.contains_key(position))
            .collect();
        news.into_iter().for_each(|position| self.note_persisted(position));
    }

    fn join(&mut self) {
        let id = self.rng.range(1, CLIENTS);
        if self.clients.contains_key(&id) {
            return;
        }
        let quarter = i32::try_from(id - 1).unwrap() * 16384;
        let mode = match self.setup.sticky {
            true => KeySharedMode::Sticky(vec![(quarter, quarter + 8191), (quarter + 8192, quarter + 16383)]),
            false => KeySharedMode::AutoSplit,
        };
        let spec = ConsumerSpec {
            priority_level: i32::try_from(self.rng.below(2)).unwrap(),
            key_shared: Some(KeySharedSpec { mode, order: self.setup.order })
                .filter(|_| self.setup.kind == SubType::KeyShared),
            epoch: Some(0),
            ..Bed::spec(id, self.setup.kind)
        };
        let alone = self.clients.is_empty();
        let joined = self.bed.join(spec);
        assert_eq!(joined.is_ok(), alone || self.setup.kind != SubType::Exclusive, "{joined:?}");
        if joined.is_ok() {
            self.clients.insert(id, Client::default());
            if self.setup.kind == SubType::Exclusive {
                self.rewound(Some(id));
            }
        }
    }

    fn leave(&mut self) {
        let Some(id) = self.some_client() else { return };
        self.unstall(id);
        self.forget_client(id);
        self.bed.act(|sub, env| sub.remove_consumer(key(id), env));
    }

    fn forget_client(&mut self, id: u64) {
        self.clients.remove(&id);
        self.entries.values_mut().filter(|known| known.holder == Some(id)).for_each(|known| known.holder = None);
        if self.active == Some(id) {
            self.rewound(None);
        }
    }

    fn rewound(&mut self, active: Option<u64>) {
        self.active = active;
        self.last_sent = None;
    }

    fn flow(&mut self) {
        let Some(id) = self.some_client() else { return };
        let permits = u32::try_from(self.rng.range(1, 12)).unwrap();
        self.clients.get_mut(&id).unwrap().permits += i64::from(permits);
        self.bed.act(|sub, env| sub.handle_flow(key(id), permits, env)).unwrap();
    }

    /// Somebody acknowledges some of what it or somebody else got.
    fn ack(&mut self) {
        let (Some(id), Some(whose)) = (self.some_client(), self.some_client()) else { return };
        let got = self.clients[&whose].got.clone();
        if got.is_empty() {
            return;
        }
        if self.is_single() && self.rng.one_in(3) {
            let position = *self.rng.pick(&got).unwrap();
            return self.ack_up_to(id, position);
        }
        let mut named = Vec::new();
        for _ in 0..self.rng.range(1, 6) {
            let position = *self.rng.pick(&got).unwrap();
            let all = self.entries[&position].all;
            let left = if all > 1 && self.rng.one_in(2) { self.rng.next_u64() & all } else { 0 };
            named.push((position, left));
        }
        self.ack_each(id, named);
    }

    fn ack_each(&mut self, id: u64, named: Vec<(Position, u64)>) {
        let ids = named.iter().map(|(position, left)| with_set(*position, *left)).collect();
        named.iter().for_each(|(position, left)| self.entries.get_mut(position).unwrap().unasked &= left);
        let request = self.bed.send_ack(id, AckType::Individual, ids);
        self.asking.insert(request, named);
    }

    fn ack_up_to(&mut self, id: u64, position: Position) {
        let all = self.entries[&position].all;
        let left = if all > 1 && self.rng.one_in(2) { self.rng.next_u64() & all } else { 0 };
        let mut named: Vec<(Position, u64)> = self.entries.range(..position).map(|(p, _)| (*p, 0)).collect();
        named.push((position, left));
        named.iter().for_each(|(position, left)| self.entries.get_mut(position).unwrap().unasked &= left);
        let request = self.bed.send_ack(id, AckType::Cumulative, vec![with_set(position, left)]);
        self.asking.insert(request, named);
    }

    fn give_back(&mut self) {
        let Some(id) = self.some_client() else { return };
        let mut command = CommandRedeliverUnacknowledgedMessages { consumer_id: id * 10, ..Default::default() };
        if self.is_single() {
            let client = self.clients.get_mut(&id).unwrap();
            client.epoch += 1;
            command.consumer_epoch = Some(client.epoch);
            if self.active == Some(id) {
                self.last_sent = None;
            } else {
                client.epoch -= 1;
            }
        } else {
            let holds = |known: &&mut Known| known.holder == Some(id) && known.unasked > 0;
            let all = self.rng.one_in(4) && self.entries.values().all(|k| k.holder != Some(id) || k.unasked > 0);
            for (position, known) in &mut self.entries {
                if holds(&known) && (all || self.rng.one_in(2)) {
                    known.holder = None;
                    known.given_back += 1;
                    command.message_ids.push(message_id(*position));
                }
            }
            if command.message_ids.is_empty() {
                return;
            }
            if all {
                command.message_ids.clear();
            }
        }
        self.bed.act(|sub, env| sub.handle_redeliver(key(id), command, env));
    }

    fn stall_or_unstall(&mut self) {
        let Some(id) = self.some_client() else { return };
        if self.clients[&id].stalled {
            self.unstall(id);
        } else {
            self.clients.get_mut(&id).unwrap().stalled = true;
            self.bed.stall(id);
        }
    }

    fn unstall(&mut self, id: u64) {
        if std::mem::take(&mut self.clients.get_mut(&id).unwrap().stalled) {
            self.bed.unstall(id);
            self.check();
        }
    }

    fn pass_time(&mut self) {
        let ms = self.rng.range(1, 300);
        self.bed.skip_time(ms);
    }

    fn advance(&mut self) {
        let some: Vec<Position> = self.entries.keys().copied().take(20).collect();
        let Some(position) = self.rng.pick(&some).copied() else { return };
        self.entries.range_mut(..=position).for_each(|(_, known)| known.unasked = 0);
        self.advancing.push_back(position);
        self.bed.act(|sub, env| sub.expire_up_to(position, MoveReply::Admin(AdminId(1)), env));
    }

    fn reset(&mut self) {
        if self.resetting || !self.advancing.is_empty() {
            return;
        }
        for id in self.clients.keys().copied().collect::<Vec<_>>() {
            self.unstall(id);
        }
        let some: Vec<Position> = self.entries.keys().copied().collect();
        let to = self.rng.pick(&some).copied().unwrap_or(Position::EARLIEST);
        let next = self.entries.range(to.next()..).next().map(|(position, _)| *position);
        let partial = next.filter(|_| self.rng.one_in(2)).map(|next| (next, self.rng.next_u64()));
        for (position, known) in &mut self.entries {
            let kept = partial.filter(|(next, _)| next == position).map_or(u64::MAX, |(_, kept)| kept);
            let left = if *position <= to { 0 } else { known.all & kept };
            *known = Known { unasked: left, left, given_back: 0, holder: None, ..known.clone() };
        }
        let partial =
            next.and_then(|next| partial.map(|_| AckSet::from_wire(&[self.entries[&next].left.cast_signed()])));
        self.asking.clear();
        self.clients.clear();
        self.rewound(None);
        self.resetting = true;
        self.bed.reset(to, partial, MoveReply::Client { conn: OPERATOR, request_id: u64::MAX });
    }

    /// Heals everything: in the end all is delivered and acknowledged.
    fn finish(&mut self) {
        self.bed.limit.budget = None;
        for id in 1..=CLIENTS {
            if self.clients.contains_key(&id) {
                self.unstall(id);
            }
        }
        for _ in 0..200 {
            self.settle();
            if self.bed.backlog() == 0 && self.asking.is_empty() && self.drafts.is_empty() {
                break;
            }
            for _ in 0..CLIENTS * 4 {
                self.join();
                self.check();
            }
            for id in self.clients.keys().copied().collect::<Vec<_>>() {
                self.clients.get_mut(&id).unwrap().permits += 100;
                self.bed.act(|sub, env| sub.handle_flow(key(id), 100, env)).unwrap();
                self.settle();
                let got: Vec<(Position, u64)> = std::mem::take(&mut self.clients.get_mut(&id).unwrap().got)
                    .into_iter()
                    .filter(|position| self.entries[position].left > 0)
                    .map(|position| (position, 0))
                    .collect();
                self.ack_each(id, got);
                self.settle();
            }
        }
        let missing: Vec<_> = self.entries.iter().filter(|(_, known)| known.left > 0).collect();
        assert!(missing.is_empty(), "never delivered or never acknowledged: {missing:?}\n{:?}", self.bed.sub);
        let stats = self.bed.sub.stats(&self.bed.log, self.bed.now);
        assert_eq!((stats.backlog.msg_backlog, stats.backlog.unacked_messages), (0, 0));
        assert_eq!((stats.backlog.msg_in_replay, stats.backlog.msg_delayed), (0, 0));
        assert!(self.asking.is_empty(), "every acknowledgement is answered: {:?}", self.asking);
    }

    fn settle(&mut self) {
        for round in 0..20_000 {
            self.bed.drive();
            let heard = !self.bed.events.is_empty();
            self.hear();
            self.check();
            let due = self.bed.sub.next_deadline();
            if due.is_some_and(|at| at <= self.bed.now.mono) {
                self.bed.act(|sub, env| sub.on_deadline(env));
                self.check();
            } else if !heard {
                self.bed.drive();
                match due {
                    None if self.bed.events.is_empty() => return,
                    Some(_) if self.bed.events.is_empty() => self.bed.skip_time(100),
                    _ => {}
                }
            }
            assert!(round < 19_999, "it never comes to rest: {:?}", self.bed.sub);
        }
    }
}

/// The id of an entry of which the messages in `left` stay unacknowledged.
fn with_set(position: Position, left: u64) -> MessageIdData {
    let ack_set = if left == 0 { Vec::new() } else { vec![left.cast_signed()] };
    MessageIdData { ack_set, ..message_id(position) }
}

const SEEDS: u64 = 20;
const STEPS: usize = 500;

fn run(kind: SubType, order: KeyOrder, sticky: bool) {
    let mut delivered = 0;
    for seed in 0..SEEDS {
        let cache = if seed % 2 == 0 { Cache::Warm } else { Cache::Cold };
        let unacked_max = if seed % 3 == 0 { 6 } else { 0 };
        let setup = Setup { kind, order, sticky, cache, unacked_max };
        let seeded = std::panic::catch_unwind(|| {
            let mut world = World::new(setup, seed);
            (0..STEPS).for_each(|_| world.step());
            world.finish();
            world.delivered
        });
        match seeded {
            Ok(count) => delivered += count,
            Err(cause) => {
                let words = cause.downcast_ref::<String>().cloned().unwrap_or_default();
                panic!("seed {seed} of {setup:?}: {words}");
            }
        }
    }
    assert!(delivered > usize::try_from(SEEDS).unwrap() * 50, "the runs do something: {delivered}");
}

#[test]
fn random_runs_of_exclusive_consumers_keep_the_promises() {
    run(SubType::Exclusive, KeyOrder::Kept, false);
}

#[test]
fn random_runs_of_failover_consumers_keep_the_promises() {
    run(SubType::Failover, KeyOrder::Kept, false);
}

#[test]
fn random_runs_of_shared_consumers_keep_the_promises() {
    run(SubType::Shared, KeyOrder::Kept, false);
}

#[test]
fn random_runs_of_key_shared_consumers_keep_the_promises() {
    run(SubType::KeyShared, KeyOrder::Kept, false);
}

#[test]
fn random_runs_of_sticky_key_shared_consumers_keep_the_promises() {
    run(SubType::KeyShared, KeyOrder::Kept, true);
}

#[test]
fn random_runs_of_key_shared_consumers_without_order_keep_the_promises() {
    run(SubType::KeyShared, KeyOrder::Waived, false);
}
