//! Opening a topic: record, log, replay.
//!
//! **States**  Record (read the metadata record, or create it with that of the log) → Log (the managed ledger recovers, unless
//! it was created just now) → Replay (rebuild what the
//! topic derives from its log) → the topic is Ready.
//!
//! **Invariants**
//! - I1  the replay starts right after the checkpoint, or at the first entry, and ends at the last confirmed entry found
//!   when the log opened; nothing is added meanwhile.

use crate::env::SubId;
use crate::outbox::Note;
use crate::subscription::{Durability, Subscription};
use crate::topic::call::TopicCall;
use crate::topic::checkpoint::Checkpointing;
use crate::topic::links::Links;
use crate::topic::log_state::{LogState, Track};
use crate::topic::meters::TopicMeters;
use crate::topic::producers::Producers;
use crate::topic::publish::PublishQueue;
use crate::topic::record::{RecordEvent, RecordKeeper, TopicRecord};
use crate::topic::settings::TopicSettings;
use crate::topic::{Phase, Subscriptions, Topic, TopicEnv, WAITERS_MAX, admin, backlog};
use base::{Effects, OwnerId, Position, RequestId, Rng, SubscriptionName, TopicName};
use managed::{Checkpoint, CursorId, Entry, ManagedLedger, OpenMode, Read, ReadError, ReadId};
use meta_api::MetaResponse;
use wire::payload::PayloadHints;
use wire::pulsar::ServerError;
use wire::stored::StoredHead;

/// Entries and bytes asked for at once while replaying.
const REPLAY_ENTRIES: u32 = 1_000;
const REPLAY_BYTES: u64 = 4 << 20;

/// How far the opening is.
#[derive(Debug)]
pub(crate) enum Opening {
    Record { create: CreateTopic },
    Log,
    Replay(Replay),
}

/// What to do when the record does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CreateTopic {
    Never,
    IfAbsent { properties: std::collections::BTreeMap<String, String> },
}

/// The part of the log still to be observed.
#[derive(Debug)]
pub(crate) struct Replay {
    next: Position,
    until: Position,
    reading: Option<ReadId>,
    mode: ReplayMode,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplayMode {
    /// Every entry counts.
    All,
    /// Nothing is derived but the numbering: the last entry is enough.
    LastOnly,
}

impl Topic {
    /// Starts opening a topic.
    pub(crate) fn open(slot: OwnerId, name: TopicName, create: CreateTopic, rng: Rng, env: &mut TopicEnv<'_>) -> Self {
        let settings = TopicSettings::resolve(&name, env.core);
        let mut record = RecordKeeper::new(slot, tenancy::keys::topic_key(&name));
        let (id, request) = record.read();
        env.out.effect(crate::io::BrokerEffect::Meta { id, request });
        env.limits.attach(slot, &name, env.core);
        // The log's first request waits in `ledger_fx` until the record says that the topic exists (settle).
        let mut ledger_fx = Effects::new();
        let mut ledger = ManagedLedger::open(
            slot,
            tenancy::keys::managed_ledger_key(&name),
            OpenMode::CreateIfAbsent,
            settings.managed_options(&name, env.core),
            env.core.bookies.clone(),
            env.now,
            &mut ledger_fx,
        );
        ledger.set_zones(env.core.zones.clone());
        Self {
            slot,
            phase: Phase::Opening(Opening::Record { create }),
            record,
            ledger,
            ledger_fx,
            log: LogState::new(),
            log_grew: false,
            terminated: None,
            producers: Producers::default(),
            awaiting_epoch: Default::default(),
            publishing: PublishQueue::default(),
            checkpointing: Checkpointing::default(),
            subs: Subscriptions::default(),
            searches: Default::default(),
            links: Links::default(),
            requests: Default::default(),
            waiters: Vec::new(),
            backlog: backlog::BacklogGuard::default(),
            admin: admin::AdminPending::default(),
            meters: TopicMeters::default(),
            settings,
            name,
            rng,
        }
    }

    /// A request for this topic: handled now, or kept until the topic is ready.
    pub(crate) fn handle_call(&mut self, call: TopicCall, env: &mut TopicEnv<'_>) {
        match &self.phase {
            Phase::Ready => self.serve(call, env),
            Phase::Opening(_) if self.waiters.len() < WAITERS_MAX => self.waiters.push(call),
            Phase::Opening(_) => {
                let reason = format!("{WAITERS_MAX} requests already wait for topic {} to open; try again", self.name);
                call.refuse(ServerError::TooManyRequests, &reason, env.out);
            }
            Phase::Closing | Phase::Deleting => {
                let reason = format!("topic {} is closing; look it up again", self.name);
                call.refuse(ServerError::ServiceNotReady, &reason, env.out);
            }
            Phase::Gone { code, reason } => {
                let (code, reason) = (*code, reason.clone());
                call.refuse(code, &reason, env.out);
            }
        }
    }

    fn serve(&mut self, call: TopicCall, env: &mut TopicEnv<'_>) {
        match call {
            TopicCall::Produce(spec) => self.handle_produce(*spec, env),
            TopicCall::Subscribe(spec) => self.handle_subscribe(*spec, env),
            TopicCall::Admin { id, op } => self.handle_admin(id, op, env),
            TopicCall::LinkOpen { from, link } => self.handle_link_open(from, link, env),
        }
    }

    /// An answer to a request for the topic's own record.
    pub(crate) fn handle_record(&mut self, id: RequestId, response: MetaResponse, env: &mut TopicEnv<'_>) {
        let Some((event, next)) = self.record.handle_response(id, response) else { return };
        if let Some((id, request)) = next {
            env.out.effect(crate::io::BrokerEffect::Meta { id, request });
        }
        match event {
            RecordEvent::Loaded => self.open_log(),
            RecordEvent::Created { log_version } => {
                self.open_log();
                self.ledger_fx = Effects::new(); // It need not ask for its record.
                self.ledger.begin_as_born(env.now, log_version, &mut self.ledger_fx);
            }
            RecordEvent::LogExists => {
                let (id, request) = self.record.create_alone(tenancy::keys::namespace_key(self.name.namespace()));
                env.out.effect(crate::io::BrokerEffect::Meta { id, request });
            }
            RecordEvent::Stored { change } => self.handle_record_stored(change, env),
            RecordEvent::Deleted => self.handle_record_deleted(env),
            RecordEvent::Lost { reason } => self.handle_record_lost(reason, env),
            RecordEvent::Retry { reason } => self.give_up(reason, env),
        }
    }

    fn handle_record_lost(&mut self, reason: String, env: &mut TopicEnv<'_>) {
        let Phase::Opening(Opening::Record { create }) = &mut self.phase else {
            return self.give_up(reason, env);
        };
        match std::mem::replace(create, CreateTopic::Never) {
            CreateTopic::IfAbsent { properties } => {
                let record = TopicRecord {
                    created_ms: env.now.wall_ms,
                    incarnation: self.rng.range(1, u64::MAX >> 11),
                    properties,
                    ..TopicRecord::default()
                };
                let namespace = tenancy::keys::namespace_key(self.name.namespace());
                let (id, request) = self.record.create(record, namespace, self.ledger.birth());
                env.out.effect(crate::io::BrokerEffect::Meta { id, request });
            }
            CreateTopic::Never => {
                let reason = format!("topic {} cannot be opened: {reason}", self.name);
                self.end(ServerError::TopicNotFound, reason, env);
            }
        }
    }

    fn open_log(&mut self) {
        self.phase = Phase::Opening(Opening::Log);
        self.terminated = self.record.value.terminated;
        self.producers = Producers::with_epoch(self.record.value.epoch);
    }

    /// The log is open: restore the checkpoint, then replay what came after it.
    pub(crate) fn handle_log_opened(&mut self, checkpoint: Option<Checkpoint>, env: &mut TopicEnv<'_>) {
        let had_checkpoint = checkpoint.is_some();
        if let Some(checkpoint) = checkpoint {
            match LogState::restore(checkpoint.position, &checkpoint.bytes) {
                Some(state) => self.log = state,
                None => {
                    let reason = format!("the checkpoint of topic {} at {} is damaged", self.name, checkpoint.position);
                    return self.end(ServerError::PersistenceError, reason, env);
                }
            }
        }
        let until = self.ledger.last_confirmed();
        let all = had_checkpoint || self.settings.derives_state();
        let mode = if all { ReplayMode::All } else { ReplayMode::LastOnly };
        let next = match mode {
            ReplayMode::All => self.ledger.next_position(self.log.observed()),
            ReplayMode::LastOnly => until,
        };
        let replay = Replay { next, until, reading: None, mode };
        self.phase = Phase::Opening(Opening::Replay(replay));
        self.continue_replay(env);
    }

    /// Reads on until the end, a pending read, or a failure.
    fn continue_replay(&mut self, env: &mut TopicEnv<'_>) {
        loop {
            let Phase::Opening(Opening::Replay(replay)) = &mut self.phase else { return };
            if replay.next > replay.until || replay.until.entry == base::EntryId::NONE {
                return self.become_ready(env);
            }
            match self.ledger.read(env.now, replay.next, REPLAY_ENTRIES, REPLAY_BYTES, &mut self.ledger_fx) {
                Read::Ready(entries) => {
                    if !self.observe_replayed(entries, env) {
                        return;
                    }
                }
                Read::Pending(id) => {
                    replay.reading = Some(id);
                    return;
                }
                // The last confirmed entry may be trimmed: then there is nothing left to observe.
                Read::AtTail => return self.become_ready(env),
                Read::Busy => return self.give_up("the log is not readable after opening".to_owned(), env),
            }
        }
    }

    /// A read of the replay is answered; false when the read is not the replay's.
    pub(crate) fn handle_replay_read(
        &mut self,
        id: ReadId,
        result: &mut Option<Result<Vec<Entry>, ReadError>>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let Phase::Opening(Opening::Replay(replay)) = &mut self.phase else { return false };
        if replay.reading != Some(id) {
            return false;
        }
        replay.reading = None;
        let replayed = match result.take() {
            Some(Ok(entries)) => self.observe_replayed(entries, env),
            Some(Err(error)) => {
                self.give_up(format!("the log cannot be replayed: {error}"), env);
                false
            }
            None => false,
        };
        if replayed {
            self.continue_replay(env);
        }
        true
    }

    fn observe_replayed(&mut self, entries: Vec<Entry>, env: &mut TopicEnv<'_>) -> bool {
        for entry in entries {
            let Phase::Opening(Opening::Replay(replay)) = &mut self.phase else { return false };
            if entry.position > replay.until {
                break;
            }
            let mode = replay.mode;
            replay.next = entry.position.next();
            let (head, hints) = match (StoredHead::decode(&entry.data.head), PayloadHints::scan(&entry.data.body)) {
                (Ok(head), Ok(hints)) => (head, hints),
                (Err(error), _) => {
                    let reason = format!("entry {} has no readable head: {error}", entry.position);
                    self.end(ServerError::PersistenceError, reason, env);
                    return false;
                }
                (_, Err(error)) => {
                    let reason = format!("entry {} has no readable metadata: {error}", entry.position);
                    self.end(ServerError::PersistenceError, reason, env);
                    return false;
                }
            };
            match mode {
                ReplayMode::All => {
                    let track =
                        if self.settings.policies.deduplication_enabled { Track::Producers } else { Track::Nothing };
                    self.log.observe(&entry, &head, &hints, track);
                }
                ReplayMode::LastOnly => self.log.skip_to(&entry, &head, &hints),
            }
        }
        true
    }

    fn become_ready(&mut self, env: &mut TopicEnv<'_>) {
        self.phase = Phase::Ready;
        self.publishing = PublishQueue::starting_at(self.log.next_index);
        let cursors: Vec<(CursorId, String)> =
            self.ledger.cursors().map(|(id, cursor)| (id, cursor.name().to_owned())).collect();
        for (cursor, name) in cursors {
            if let Some(region) = name.strip_prefix(crate::topic::links::CURSOR_PREFIX) {
                self.links.recovered(region, cursor);
            } else if let Ok(name) = SubscriptionName::parse(&name) {
                self.adopt_subscription(name, cursor);
            }
        }
        self.reconcile_links(env);
        for call in std::mem::take(&mut self.waiters) {
            // Not `serve`: one of them may be the unload after which the others must look the topic up again.
            self.handle_call(call, env);
        }
        env.out.note(Note::TopicChanged { slot: self.slot });
    }

    /// A durable subscription found in the log becomes a machine without consumers.
    pub(crate) fn adopt_subscription(&mut self, name: SubscriptionName, cursor: CursorId) -> SubId {
        let id = self.subs.fresh_id();
        let sub = self.make_subscription(id, name.clone(), cursor, Durability::Durable);
        self.subs.by_id.insert(id, sub);
        self.subs.by_name.insert(name, id);
        id
    }

    pub(crate) fn make_subscription(
        &self,
        id: SubId,
        name: SubscriptionName,
        cursor: CursorId,
        durability: Durability,
    ) -> Subscription {
        Subscription::new(id, name, cursor, durability, self.settings.subscription_options())
    }
}
