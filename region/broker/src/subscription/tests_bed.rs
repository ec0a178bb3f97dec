//! A subscription on a managed ledger over in-memory storage, with clients that are plain values.

use super::{
    ConsumerKey, ConsumerSpec, Durability, KeySharedSpec, MoveReply, SubType, Subscription, SubscriptionOptions,
};
use crate::admin_command::AdminReply;
use crate::env::{DispatchLimit, Env, Requests, SubId};
use crate::io::{BrokerEffect, ConnId, Outgoing};
use crate::outbox::{Note, Outbox, WINDOW_BYTES};
use base::{Effects, EntryData, Mono, Now, OwnerId, Position, RegionId, RegionName, SubscriptionName};
use bytes::{Bytes, BytesMut};
use ledger::ReplicationConfig;
use managed::testing::Storage;
use managed::{ManagedEffect, ManagedEvent, ManagedLedger, ManagedOptions, OpenMode, Retention};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use wire::commands::message_id;
use wire::frame::decode_command;
use wire::payload::build_body;
use wire::pulsar::base_command::Command;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{
    BaseCommand, CommandAck, CommandAckResponse, CommandRedeliverUnacknowledgedMessages, MessageIdData, MessageMetadata,
};
use wire::stored::{EntryFormat, Origin, StoredHead};

static FILL: [u8; 4 << 20] = [0; 4 << 20];

pub(super) const SUB: SubId = SubId(1);

/// A dispatch limit that a test sets by hand.
#[derive(Debug, Default)]
pub(super) struct TestLimit {
    pub blocked_until: Option<Mono>,
    /// Messages until it blocks for 10 ms.
    pub budget: Option<u32>,
    pub messages: u64,
    pub bytes: u64,
}

impl DispatchLimit for TestLimit {
    fn blocked_until(&self, now: Mono) -> Option<Mono> {
        self.blocked_until.filter(|until| *until > now)
    }

    fn charge(&mut self, now: Mono, messages: u32, bytes: u64) {
        self.messages += u64::from(messages);
        self.bytes += bytes;
        if let Some(budget) = &mut self.budget {
            *budget = budget.saturating_sub(messages);
            if *budget == 0 {
                self.blocked_until = Some(now + Duration::from_millis(10));
                *budget = 3;
            }
        }
    }
}

/// One MESSAGE as a client got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivered {
    pub to: ConsumerKey,
    pub position: Position,
    pub redeliveries: u32,
    pub ack_set: Vec<i64>,
    pub epoch: Option<u64>,
    pub partition: i32,
}

/// What a test wants of a message.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    pub key: Option<String>,
    /// Messages of a batch; 0 for no batch.
    pub batch: u32,
    pub deliver_at_ms: Option<i64>,
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Bed {
    pub now: Now,
    storage: Storage,
    pub log: ManagedLedger,
    fx: Effects<ManagedEffect>,
    pub out: Outbox,
    requests: Requests,
    pub limit: TestLimit,
    pub regions: BTreeMap<RegionId, RegionName>,
    /// Where what is added was first published.
    pub origin: Option<Origin>,
    pub partition: i32,
    pub sub: Subscription,
    /// Outcomes that the storage gave and the subscription has not heard of.
    pub events: VecDeque<ManagedEvent>,
    pub published: Vec<Position>,
    pub delivered: Vec<Delivered>,
    /// Bodies of what was delivered, in order.
    pub bodies: Vec<Bytes>,
    /// Everything else that connections were sent, in order.
    pub commands: Vec<(ConnId, BaseCommand)>,
    pub notes: Vec<Note>,
    pub admin: Vec<AdminReply>,
    conns: BTreeSet<ConnId>,
    next_request: u64,
    next_add: u64,
}

/// How a test's storage behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cache {
    /// Everything is in memory.
    Warm,
    /// Hardly anything is, and only few requests may be under way at once.
    Cold,
    /// Everything is in memory, and only few requests may be under way at once.
    Busy,
}

pub(super) const OPTIONS: SubscriptionOptions =
    SubscriptionOptions { unacked_max_per_consumer: 50_000, unacked_max_per_subscription: 200_000 };

fn ledger_options(cache: Cache) -> ManagedOptions {
    let mut options = ManagedOptions::new(RegionId(1), ReplicationConfig::new(3, 3, 2).unwrap());
    options.ledger_entries_max = 7;
    options.retention = Retention::FOREVER;
    if cache == Cache::Cold {
        options.cache_bytes_max = 500;
        options.read_block_bytes = 300;
    }
    if cache != Cache::Warm {
        options.pending_requests_max = 3;
    }
    options
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(OPTIONS, Cache::Warm)
    }

    pub(super) fn with(options: SubscriptionOptions, cache: Cache) -> Self {
        let now = Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 };
        let mut storage = Storage::new(3);
        let mut fx = Effects::new();
        let (mode, nodes) = (OpenMode::CreateIfAbsent, storage.nodes());
        let mut log = ManagedLedger::open(OwnerId(1), "/ml/t".into(), mode, ledger_options(cache), nodes, now, &mut fx);
        storage.drive(now, &mut log, &mut fx);
        let mut requests = Requests::default();
        let ctx = requests.context(SUB);
        let start = Position::EARLIEST;
        let cursor = log.create_cursor(now, "sub", start, BTreeMap::new(), ctx, &mut fx);
        storage.drive(now, &mut log, &mut fx);
        let name = SubscriptionName::parse("sub").unwrap();
        let sub = Subscription::new(SUB, name, cursor, Durability::Durable, options);
        Self {
            now,
            storage,
            log,
            fx,
            out: Outbox::new(),
            requests,
            limit: TestLimit::default(),
            regions: BTreeMap::new(),
            origin: None,
            partition: -1,
            sub,
            events: VecDeque::new(),
            published: Vec::new(),
            delivered: Vec::new(),
            bodies: Vec::new(),
            commands: Vec::new(),
            notes: Vec::new(),
            admin: Vec::new(),
            conns: BTreeSet::new(),
            next_request: 0,
            next_add: 0,
        }
    }

    /// The topic is lost with its process and opened anew from its log: consumers are gone.
    pub(super) fn reopen(&mut self) {
        self.fx.take();
        let (mode, nodes, options) = (OpenMode::MustExist, self.storage.nodes(), ledger_options(Cache::Warm));
        self.log = ManagedLedger::open(OwnerId(1), "/ml/t".into(), mode, options, nodes, self.now, &mut self.fx);
        self.drive();
        self.events.clear();
        let (cursor, _) = self.log.cursors().next().expect("the cursor is durable");
        let name = SubscriptionName::parse("sub").unwrap();
        self.sub = Subscription::new(SUB, name, cursor, Durability::Durable, OPTIONS);
        self.requests = Requests::default();
    }

    /// Runs `act` on the subscription with its surroundings, then takes in what it sent.
    pub(super) fn act<R>(&mut self, act: impl FnOnce(&mut Subscription, &mut Env<'_>) -> R) -> R {
        let mut env = Env {
            now: self.now,
            ledger: &mut self.log,
            ledger_fx: &mut self.fx,
            out: &mut self.out,
            requests: &mut self.requests,
            limit: &mut self.limit,
            regions: &self.regions,
            partition: self.partition,
        };
        let result = act(&mut self.sub, &mut env);
        self.take_in();
        result
    }

    /// Lets the storage work; what it answers waits in `events`.
    pub(super) fn drive(&mut self) {
        let events = self.storage.drive(self.now, &mut self.log, &mut self.fx);
        self.events.extend(events);
    }

    /// Lets the subscription hear of one outcome; false when there is none.
    pub(super) fn hear(&mut self) -> bool {
        let Some(event) = self.events.pop_front() else { return false };
        match event {
            ManagedEvent::Persisted { position, .. } => {
                self.published.push(position);
                self.act(|sub, env| sub.wake(env));
            }
            ManagedEvent::ReadDone { read, result } => {
                assert_eq!(self.requests.take_read(read), Some(SUB));
                self.act(|sub, env| sub.handle_read_done(read, result, env));
            }
            ManagedEvent::CursorDone { ctx, result } => {
                self.act(|sub, env| sub.handle_cursor_done(ctx, result, env));
            }
            _ => {}
        }
        true
    }

    /// Works until nothing is left to do at this time.
    pub(super) fn settle(&mut self) {
        for _ in 0..100_000 {
            self.drive();
            let heard = self.hear();
            let due = self.sub.next_deadline().is_some_and(|at| at <= self.now.mono);
            if due {
                self.act(|sub, env| sub.on_deadline(env));
            }
            if !heard && !due {
                self.drive();
                if self.events.is_empty() {
                    return;
                }
            }
        }
        panic!("the subscription never comes to rest");
    }

    /// Lets time pass, then settles.
    pub(super) fn pass(&mut self, ms: u64) {
        self.skip_time(ms);
        self.settle();
    }

    pub(super) fn skip_time(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
        self.now.wall_ms += ms;
    }

    /// Adds one entry to the log; it is there after the storage worked.
    pub(super) fn add(&mut self, draft: &Draft) {
        let metadata = MessageMetadata {
            producer_name: "p".into(),
            sequence_id: self.next_add,
            publish_time: self.now.wall_ms,
            partition_key: draft.key.clone(),
            num_messages_in_batch: (draft.batch > 0).then(|| i32::try_from(draft.batch).unwrap()),
            deliver_at_time: draft.deliver_at_ms,
            ..MessageMetadata::default()
        };
        let body = build_body(&metadata, &vec![b'x'; draft.bytes]);
        let mut head = BytesMut::new();
        StoredHead {
            format: EntryFormat::Pulsar,
            broker_timestamp_ms: self.now.wall_ms,
            index: self.next_add,
            messages: draft.batch.max(1),
            origin: self.origin,
        }
        .encode(&mut head);
        self.next_add += 1;
        self.log.add(self.now, self.next_add, EntryData::new(head.freeze(), body), &mut self.fx).unwrap();
    }

    /// Adds `count` plain messages and settles.
    pub(super) fn publish(&mut self, count: usize) {
        (0..count).for_each(|_| self.add(&Draft::default()));
        self.settle();
    }

    /// Adds one message and settles; answers its position.
    pub(super) fn publish_one(&mut self, draft: &Draft) -> Position {
        self.add(draft);
        self.settle();
        *self.published.last().unwrap()
    }

    pub(super) fn spec(conn: u64, sub_type: SubType) -> ConsumerSpec {
        ConsumerSpec {
            key: key(conn),
            name: format!("c{conn}"),
            request_id: conn,
            sub_type,
            priority_level: 0,
            key_shared: (sub_type == SubType::KeyShared).then(KeySharedSpec::default),
            epoch: None,
            metadata: BTreeMap::new(),
            address: format!("127.0.0.1:{conn}"),
            client_version: "Pulsar Test v1".into(),
            connected_since_ms: 1_700_000_000_000,
            protocol_version: 21,
        }
    }

    /// Opens a connection when it is new and subscribes on it.
    pub(super) fn join(&mut self, spec: ConsumerSpec) -> Result<(), super::SubscribeError> {
        let key = spec.key;
        if self.conns.insert(key.conn) {
            self.out.open_window(key.conn);
        }
        self.act(|sub, env| sub.add_consumer(spec, env))?;
        self.act(|sub, env| sub.after_added(env));
        Ok(())
    }

    /// Joins with these permits and settles.
    pub(super) fn consumer(&mut self, conn: u64, sub_type: SubType, permits: u32) -> ConsumerKey {
        self.join(Self::spec(conn, sub_type)).unwrap();
        self.flow(conn, permits);
        key(conn)
    }

    pub(super) fn flow(&mut self, conn: u64, permits: u32) {
        if permits > 0 {
            self.act(|sub, env| sub.handle_flow(key(conn), permits, env)).unwrap();
        }
        self.settle();
    }

    pub(super) fn leave(&mut self, conn: u64) {
        self.act(|sub, env| sub.remove_consumer(key(conn), env));
        self.settle();
    }

    /// Sends an acknowledgement that asks for an answer; answers its request id.
    pub(super) fn send_ack(&mut self, conn: u64, ack_type: AckType, ids: Vec<MessageIdData>) -> u64 {
        self.next_request += 1;
        let ack = CommandAck {
            consumer_id: key(conn).consumer_id,
            ack_type: ack_type as i32,
            message_id: ids,
            request_id: Some(self.next_request),
            ..CommandAck::default()
        };
        self.act(|sub, env| sub.handle_ack(key(conn), ack, env));
        self.next_request
    }

    /// Acknowledges entries one by one in one command and settles; answers the response.
    pub(super) fn ack(&mut self, conn: u64, positions: &[Position]) -> CommandAckResponse {
        let ids = positions.iter().map(|position| message_id(*position)).collect();
        let request = self.send_ack(conn, AckType::Individual, ids);
        self.settle();
        self.ack_response(request).expect("an acknowledgement is answered")
    }

    pub(super) fn ack_up_to(&mut self, conn: u64, position: Position) -> CommandAckResponse {
        let request = self.send_ack(conn, AckType::Cumulative, vec![message_id(position)]);
        self.settle();
        self.ack_response(request).expect("an acknowledgement is answered")
    }

    pub(super) fn ack_response(&self, request: u64) -> Option<CommandAckResponse> {
        let mut responses = self.commands.iter().filter_map(|(_, command)| match &command.command {
            Some(Command::AckResponse(response)) => Some(response),
            _ => None,
        });
        responses.find(|response| response.request_id == Some(request)).cloned()
    }

    /// Gives entries back, all when none is named, and settles.
    pub(super) fn give_back(&mut self, conn: u64, positions: &[Position]) {
        let command = CommandRedeliverUnacknowledgedMessages {
            consumer_id: key(conn).consumer_id,
            message_ids: positions.iter().map(|position| message_id(*position)).collect(),
            consumer_epoch: None,
        };
        self.act(|sub, env| sub.handle_redeliver(key(conn), command, env));
        self.settle();
    }

    /// Fills the window of a connection so that nothing more may be sent to it.
    pub(super) fn stall(&mut self, conn: u64) {
        self.out.send(ConnId(conn), Outgoing::One(Bytes::from_static(&FILL)));
        assert!(!self.out.writable(ConnId(conn)), "{WINDOW_BYTES} bytes fill the window");
        self.take_in();
    }

    /// What was stalled is written.
    pub(super) fn unstall(&mut self, conn: u64) {
        let bytes = self.out.outstanding(ConnId(conn));
        if self.out.handle_written(ConnId(conn), bytes) {
            self.act(|sub, env| sub.wake(env));
        }
    }

    /// What was delivered since the last call, in order.
    pub(super) fn taken(&mut self) -> Vec<Delivered> {
        std::mem::take(&mut self.delivered)
    }

    /// Positions delivered to one consumer since the last call of [`Self::taken`], in order.
    pub(super) fn got(&self, conn: u64) -> Vec<Position> {
        self.delivered.iter().filter(|d| d.to == key(conn)).map(|d| d.position).collect()
    }

    pub(super) fn backlog(&self) -> u64 {
        self.sub.backlog(&self.log)
    }

    pub(super) fn mark_delete(&self) -> Position {
        self.log.cursor(self.sub.cursor()).unwrap().mark_delete()
    }

    pub(super) fn reset(&mut self, to: Position, partial: Option<managed::AckSet>, reply: MoveReply) {
        self.act(|sub, env| sub.begin_reset(to, partial, reply, env));
    }

    /// Takes in what was sent. Bytes count as written at once, except those of a stalled connection.
    fn take_in(&mut self) {
        for effect in self.out.take_effects() {
            match effect {
                BrokerEffect::Send { conn, bytes } => self.take_in_bytes(conn, bytes),
                BrokerEffect::Admin { reply, .. } => self.admin.push(reply),
                other => panic!("unexpected {other:?}"),
            }
        }
        self.notes.extend(self.out.take_notes());
    }

    fn take_in_bytes(&mut self, conn: ConnId, bytes: Outgoing) {
        if bytes.len() as u64 >= WINDOW_BYTES {
            return;
        }
        if self.out.writable(conn) {
            self.out.handle_written(conn, bytes.len() as u64);
        }
        match bytes {
            Outgoing::One(frame) => self.commands.push((conn, decode_command(&frame.slice(8..)).unwrap())),
            Outgoing::Two(start, payload) => {
                let command_bytes = u32::from_be_bytes(start[4..8].try_into().unwrap()) as usize;
                let command = decode_command(&start.slice(8..8 + command_bytes)).unwrap().command;
                let total = u32::from_be_bytes(start[..4].try_into().unwrap()) as usize;
                assert_eq!(total + 4, start.len() + payload.len(), "the frame has the size that it announces");
                self.bodies.push([&start[8 + command_bytes..], &payload[..]].concat().into());
                let Some(Command::Message(command)) = command else { panic!("unexpected {command:?}") };
                self.delivered.push(Delivered {
                    to: ConsumerKey { conn, consumer_id: command.consumer_id },
                    position: wire::commands::position(&command.message_id),
                    redeliveries: command.redelivery_count.unwrap_or(0),
                    ack_set: command.ack_set,
                    epoch: command.consumer_epoch,
                    partition: command.message_id.partition.unwrap_or(-1),
                });
            }
        }
    }
}

/// The consumer that a test runs on connection `conn`.
pub(super) fn key(conn: u64) -> ConsumerKey {
    ConsumerKey { conn: ConnId(conn), consumer_id: conn * 10 }
}

pub(super) fn positions(delivered: &[Delivered]) -> Vec<Position> {
    delivered.iter().map(|d| d.position).collect()
}
