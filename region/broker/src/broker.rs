//! The broker: sessions and topics of one node, and the way between them.
//!
//! **States**  Every input is handled to its end: the session or topic concerned acts, topics settle, notes are delivered, and
//! all effects leave in the order in which they arose.
//!
//! **Invariants**
//! - I1  a topic name is loaded at most once at a time.
//! - I2  slots are never reused, so a late answer of storage never reaches another topic.
//! - I3  after each input no topic has unsettled effects and no note is undelivered.
//!
//! **Not here**  What a command means (`session`), what a topic does (`topic`), who executes effects (`node`).

use crate::admin_command::{AdminCommand, BrokerStats, FailureKind, TopicOp};
use crate::cache_use::CacheUse;
use crate::core::{BrokerOptions, Core};
use crate::ingress::Ingress;
use crate::io::{AdminId, BrokerEffect, BrokerInput, ConnId};
use crate::ledger_ids::LedgerIds;
use crate::limits::Limits;
use crate::outbox::{Note, Outbox};
use crate::schema::SchemaRegistry;
use crate::session::Session;
use crate::timers::Timers;
use crate::topic::call::TopicCall;
use crate::topic::open::CreateTopic;
use crate::topic::record::TOPIC_OWN;
use crate::topic::{Topic, TopicEnv, admin};
use base::{Mono, NamespaceName, NodeId, Now, OwnerId, RegionName, RequestId, Rng, TopicName, earliest};
use meta_api::MetaResponse;
use std::collections::{BTreeMap, BTreeSet};
use wire::bookie::BookieResponse;

/// Owners below this are parts of the broker itself.
const FIRST_SLOT: u64 = 16;
/// The broker's ledger id reservations.
pub(crate) const LEDGER_IDS: OwnerId = OwnerId(1);
/// Commands of sessions that wait for the metadata.
pub(crate) const SESSION_META: OwnerId = OwnerId(2);
/// Answers that nobody waits for.
pub(crate) const NOBODY: OwnerId = OwnerId(3);

/// All topics that are loaded or loading.
#[derive(Default)]
pub(crate) struct Topics {
    pub(crate) by_slot: BTreeMap<OwnerId, Topic>,
    pub(crate) by_name: BTreeMap<TopicName, OwnerId>,
    pub(crate) timers: Timers,
    cache: CacheUse,
    /// Topics that an input touched and that must settle.
    touched: BTreeSet<OwnerId>,
    last_slot: u64,
}

/// Which topic a region's frames belong to.
#[derive(Debug, Default)]
pub(crate) struct LinkRoutes {
    /// Our link number → the topic that sends.
    pub(crate) sending: BTreeMap<u64, OwnerId>,
    /// Region and its link number → the topic that receives.
    pub(crate) receiving: BTreeMap<(RegionName, u64), OwnerId>,
}

/// One node's broker.
pub struct Broker {
    pub(crate) core: Core,
    pub(crate) sessions: BTreeMap<ConnId, Session>,
    pub(crate) topics: Topics,
    pub(crate) out: Outbox,
    pub(crate) ingress: Ingress,
    pub(crate) limits: Limits,
    pub(crate) ledger_ids: LedgerIds,
    pub(crate) routes: LinkRoutes,
    pub(crate) schemas: SchemaRegistry,
    pub(crate) waiting: crate::session::waiting::MetaWaiters,
    pub(crate) bundles: crate::ownership::Bundles,
    pub(crate) bundle_watch: crate::load::BundleWatch,
    pub(crate) usage: crate::usage::Usage,
    pub(crate) policy_sync: crate::policy_sync::PolicySync,
    pub(crate) totals: crate::totals::Totals,
    pub(crate) housekeeping: Mono,
    pub(crate) producer_names: u64,
    /// Up to which revision the metadata view has come.
    pub(crate) metadata_revision: u64,
    /// Tells generated producer names of this start from those of earlier ones.
    pub(crate) boot: u64,
    rng: Rng,
}

impl Broker {
    pub fn new(core: Core, rng: Rng) -> Self {
        let options: &BrokerOptions = &core.options;
        let (region, pending) = (options.region, options.pending_bytes_max);
        Self {
            core,
            sessions: BTreeMap::new(),
            topics: Topics { last_slot: FIRST_SLOT, ..Topics::default() },
            out: Outbox::new(),
            ingress: Ingress::new(pending),
            limits: Limits::new(),
            ledger_ids: LedgerIds::new(region),
            routes: LinkRoutes::default(),
            schemas: SchemaRegistry::default(),
            waiting: Default::default(),
            bundles: Default::default(),
            bundle_watch: Default::default(),
            usage: Default::default(),
            policy_sync: Default::default(),
            totals: Default::default(),
            housekeeping: Mono(0),
            producer_names: 0,
            metadata_revision: 0,
            boot: rng.fork("boot").next_u64() >> 32,
            rng,
        }
    }

    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The revision of the newest metadata change that this broker has been told of.
    pub fn metadata_revision(&self) -> u64 {
        self.metadata_revision
    }

    /// The newest revision that this broker knows something of: of owners it may have heard before it is told.
    pub fn known_revision(&self) -> u64 {
        self.metadata_revision.max(self.core.cluster.view().map_or(0, cluster::View::revision))
    }

    /// The schemas of all topics.
    pub fn schemas(&self) -> &SchemaRegistry {
        &self.schemas
    }

    /// Handles one input; effects are taken with [`Broker::take_effects`].
    pub fn handle(&mut self, now: Now, input: BrokerInput) {
        self.limits.set_now(now.mono);
        match input {
            BrokerInput::ConnOpened { conn, info } => self.open_session(now, conn, info),
            BrokerInput::Frame { conn, frame } => self.handle_frame(now, conn, frame),
            BrokerInput::Garbage { conn, reason } => self.handle_garbage(conn, &reason),
            BrokerInput::ConnClosed { conn } => self.close_session(now, conn),
            BrokerInput::Written { conn, bytes } => {
                if self.out.handle_written(conn, bytes) {
                    self.wake_connection(now, conn);
                }
            }
            BrokerInput::Bookie { from, response } => self.handle_bookie(now, from, response),
            BrokerInput::Meta { id, response } => self.handle_meta(now, id, response),
            BrokerInput::MetaEvents(events) => self.handle_meta_events(now, events),
            BrokerInput::RegionUp { region } => self.handle_region_up(now, region),
            BrokerInput::RegionDown { region, .. } => self.handle_region_down(now, &region),
            BrokerInput::Region { from, frame } => self.handle_region_frame(now, &from, frame),
            BrokerInput::Admin { id, command } => self.handle_admin(now, id, command),
        }
        self.settle(now);
    }

    /// Whether this node's bookie has no room; true when that changed and the operator is told.
    pub fn set_log_full(&mut self, full: bool) -> bool {
        let told = self.core.set_log_full(full);
        if let Some(text) = told {
            self.out.effect(BrokerEffect::Alarm { text: text.to_owned() });
        }
        told.is_some()
    }

    /// Everything that is to be done, in order.
    pub fn take_effects(&mut self) -> Vec<BrokerEffect> {
        self.out.take_effects()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        let sessions = if self.sessions.is_empty() { None } else { Some(self.housekeeping) };
        let lookups = earliest(self.lookups_due(), sessions);
        earliest(earliest(self.topics.timers.next(), self.ingress.next_deadline()), lookups)
    }

    pub fn on_deadline(&mut self, now: Now) {
        self.limits.set_now(now.mono);
        for conn in self.ingress.on_deadline(now, &mut self.out) {
            self.release_held(now, conn);
        }
        if !self.sessions.is_empty() && self.housekeeping <= now.mono {
            self.check_sessions(now);
            self.refuse_overdue_publishes(now);
        }
        self.end_lookups(now);
        while let Some(slot) = self.topics.timers.pop_due(now.mono) {
            self.with_topic(slot, now, |topic, env| topic.on_deadline(env));
        }
        self.settle(now);
    }

    /// Runs `act` on a topic and marks it for settling.
    pub(crate) fn with_topic<R>(
        &mut self,
        slot: OwnerId,
        now: Now,
        act: impl FnOnce(&mut Topic, &mut TopicEnv<'_>) -> R,
    ) -> Option<R> {
        let topic = self.topics.by_slot.get_mut(&slot)?;
        self.topics.touched.insert(slot);
        let mut env = TopicEnv {
            now,
            core: &self.core,
            out: &mut self.out,
            ingress: &mut self.ingress,
            limits: &mut self.limits,
        };
        Some(act(topic, &mut env))
    }

    /// Passes a call to a topic, loading it first when it is not loaded (I1); a topic that another node serves refuses it.
    pub(crate) fn call(&mut self, now: Now, name: &TopicName, create: CreateTopic, call: TopicCall) {
        if let Err((code, text)) = self.require_ours(name).and_then(|()| self.require_copies(name)) {
            return call.refuse(code, &text, &mut self.out);
        }
        let slot = match self.topics.by_name.get(name) {
            Some(slot) => *slot,
            None => self.load(now, name, create),
        };
        self.with_topic(slot, now, |topic, env| topic.handle_call(call, env));
    }

    pub(crate) fn load(&mut self, now: Now, name: &TopicName, create: CreateTopic) -> OwnerId {
        self.topics.last_slot += 1;
        let slot = OwnerId(self.topics.last_slot); // I2
        let rng = self.rng.fork(&format!("topic {slot:?}"));
        let mut env = TopicEnv {
            now,
            core: &self.core,
            out: &mut self.out,
            ingress: &mut self.ingress,
            limits: &mut self.limits,
        };
        let topic = Topic::open(slot, name.clone(), create, rng, &mut env);
        self.topics.by_slot.insert(slot, topic);
        self.topics.by_name.insert(name.clone(), slot);
        slot
    }

    /// Settles every touched topic and delivers notes until nothing is left (I3).
    pub(crate) fn settle(&mut self, now: Now) {
        loop {
            while let Some(slot) = self.topics.touched.pop_first() {
                self.settle_topic(slot, now);
            }
            if let Some(request) = self.ledger_ids.reservation() {
                let id = RequestId::new(LEDGER_IDS, 0);
                self.out.effect(BrokerEffect::Meta { id, request });
            }
            let notes = self.out.take_notes();
            if notes.is_empty() && self.topics.touched.is_empty() {
                self.release_bundles();
                return;
            }
            for note in notes {
                self.deliver(now, note);
            }
        }
    }

    fn settle_topic(&mut self, slot: OwnerId, now: Now) {
        let settled = self.with_topic(slot, now, |topic, env| topic.settle(env)).unwrap_or_default();
        self.topics.touched.remove(&slot);
        for id in settled.ledger_ids {
            if let Some(ledger) = self.ledger_ids.take(slot, id) {
                self.with_topic(slot, now, |topic, env| topic.handle_ledger_id(id, ledger, env));
            }
        }
        let Some(topic) = self.topics.by_slot.get_mut(&slot) else { return };
        let reads = topic.ledger.take_read_counts();
        if reads.hit_entries + reads.miss_entries > 0 {
            topic.meters.entries_read.record(now.mono, reads.hit_entries + reads.miss_entries);
        }
        self.totals.add(now.mono, topic.meters.take_publishes(), reads);
        if topic.is_gone() {
            self.forget(slot);
        } else {
            let (deadline, cached) = (topic.next_deadline(), topic.ledger.cache_bytes());
            self.topics.timers.set(slot, deadline);
            self.topics.cache.record(slot, cached);
            self.bound_caches();
        }
    }

    /// Over the budget of all caches together, the topics that were touched the longest ago give theirs up.
    fn bound_caches(&mut self) {
        while self.topics.cache.total() > self.core.options.cache_bytes_max
            && let Some(slot) = self.topics.cache.oldest()
        {
            if let Some(topic) = self.topics.by_slot.get_mut(&slot) {
                topic.ledger.evict_to(0);
            }
            self.topics.cache.record(slot, 0);
        }
    }

    fn forget(&mut self, slot: OwnerId) {
        if let Some(topic) = self.topics.by_slot.remove(&slot) {
            self.topics.by_name.remove(&topic.name);
            self.topics.timers.set(slot, None);
            self.topics.cache.record(slot, 0);
            self.topics.touched.remove(&slot);
            self.limits.detach(slot);
            self.routes.sending.retain(|_, owner| *owner != slot);
            self.routes.receiving.retain(|_, owner| *owner != slot);
        }
    }

    fn deliver(&mut self, now: Now, note: Note) {
        match note {
            Note::TopicChanged { .. } => (),
            Note::ProducerGone { conn, producer_id } => self.forget_producer(conn, producer_id),
            Note::ConsumerGone { conn, consumer_id } => self.forget_consumer(conn, consumer_id),
            Note::ProbeLiveness { conn } => self.probe(now, conn),
            Note::LinkStarted { slot, number } => {
                self.routes.sending.insert(number, slot);
            }
            Note::LinkAccepted { slot, from, link } => {
                self.routes.receiving.insert((from, link), slot);
            }
        }
    }

    fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse) {
        let slot = response.id().owner;
        self.with_topic(slot, now, |topic, env| topic.handle_bookie(from, response, env));
    }

    fn handle_meta(&mut self, now: Now, id: RequestId, response: MetaResponse) {
        match id.owner {
            LEDGER_IDS => {
                for (slot, request, ledger) in self.ledger_ids.handle_response(&response) {
                    self.with_topic(slot, now, |topic, env| topic.handle_ledger_id(request, ledger, env));
                }
            }
            SESSION_META => self.handle_session_meta(now, id.seq, response),
            NOBODY => (),
            OwnerId(owner) if owner & TOPIC_OWN != 0 => {
                let slot = OwnerId(owner & !TOPIC_OWN);
                self.with_topic(slot, now, |topic, env| topic.handle_record(id, response, env));
            }
            slot => {
                self.with_topic(slot, now, |topic, env| topic.handle_log_meta(id, response, env));
            }
        }
    }

    fn handle_admin(&mut self, now: Now, id: AdminId, command: AdminCommand) {
        match command {
            AdminCommand::Topic { topic, op } => self.admin_topic(now, id, &topic, op),
            AdminCommand::UnloadNamespace { namespace } => {
                self.close_namespace(now, &namespace);
                admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Done);
            }
            AdminCommand::FindOwner { topic } => self.find_owner(now, id, &topic),
            AdminCommand::UnloadBundle { namespace, bundle } => {
                self.unload_bundle(now, (namespace, bundle));
                admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Done);
            }
            AdminCommand::SplitBundle { namespace, bundle, how, unload } => {
                self.split_bundle(now, Some(id), (namespace, bundle), how, unload);
            }
            AdminCommand::LoadedTopics => {
                let slots: Vec<OwnerId> = self.topics.by_slot.keys().copied().collect();
                let mut list = Vec::with_capacity(slots.len());
                for slot in slots {
                    let one = self.with_topic(slot, now, |topic, env| (topic.name.clone(), topic.stats(env)));
                    list.extend(one);
                    self.topics.touched.remove(&slot);
                }
                admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Topics(list));
            }
            AdminCommand::BrokerStats => {
                let stats = self.stats(now);
                admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Broker(stats));
            }
        }
    }

    fn admin_topic(&mut self, now: Now, id: AdminId, topic: &TopicName, op: TopicOp) {
        if let (TopicOp::Create { .. }, Some(_), Err(_)) = (&op, topic.partition(), self.require_ours(topic)) {
            // A partition exists with its topic's record; its own node makes the rest when it is used first.
            return admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Done);
        }
        let exists = self.core.directory.has_topic(topic) || self.topics.by_name.contains_key(topic);
        let create = match (&op, exists) {
            (TopicOp::Create { .. }, true) => {
                let reason = format!("This topic already exists: {topic}");
                return admin::fail(&mut self.out, id, FailureKind::AlreadyExists, reason);
            }
            (TopicOp::Create { properties }, false) => CreateTopic::IfAbsent { properties: properties.clone() },
            (_, true) => CreateTopic::Never,
            (_, false) if self.is_existing_partition(topic) => CreateTopic::IfAbsent { properties: BTreeMap::new() },
            (TopicOp::Unload, false) => {
                return admin::reply(&mut self.out, id, crate::admin_command::AdminReply::Done);
            }
            (_, false) => {
                let reason = format!("Topic {topic} not found");
                return admin::fail(&mut self.out, id, FailureKind::NotFound, reason);
            }
        };
        if let Err((_, text)) = self.require_ours(topic) {
            let kind = FailureKind::Moved { revision: self.known_revision() };
            return admin::fail(&mut self.out, id, kind, text);
        }
        let op = match op {
            TopicOp::Create { .. } => TopicOp::LastMessageId, // Answered once the topic is open.
            op => op,
        };
        self.call(now, topic, create, TopicCall::Admin { id, op });
    }

    /// Whether the name is a partition of a partitioned topic, which exists as soon as that does.
    pub(crate) fn is_existing_partition(&self, topic: &TopicName) -> bool {
        let count = self.core.directory.partitions(&topic.partitioned());
        topic.partition().is_some_and(|index| count.is_some_and(|count| index < count))
    }

    pub(crate) fn close_namespace(&mut self, now: Now, namespace: &NamespaceName) {
        let slots: Vec<OwnerId> = self
            .topics
            .by_name
            .iter()
            .filter(|(name, _)| name.namespace() == namespace)
            .map(|(_, slot)| *slot)
            .collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| topic.begin_close(env));
        }
    }

    /// Numbers of the whole broker.
    pub fn stats(&self, now: Now) -> BrokerStats {
        let topics = self.topics.by_slot.values();
        BrokerStats {
            connections: self.sessions.len() as u64,
            topics: self.topics.by_slot.len() as u64,
            producers: topics.clone().map(|topic| topic.producers.len() as u64).sum(),
            subscriptions: topics.clone().map(|topic| topic.subs.by_id.len() as u64).sum(),
            consumers: topics.clone().flat_map(|t| t.subs.by_id.values()).map(|sub| sub.consumer_count() as u64).sum(),
            cache_bytes: topics.map(|topic| topic.ledger.cache_bytes()).sum(),
            pending_publish_bytes: self.ingress.pending_bytes(),
            publishes_total: self.totals.publishes.count,
            publish_latency_us_total: self.totals.publishes.latency_us,
            cache: self.totals.cache(now.mono),
            audit: self.core.audit,
        }
    }

    /// What the auditor of this node says of lost copies.
    pub fn set_audit(&mut self, audit: cluster::AuditStats) {
        self.core.audit = audit;
    }

    /// Closes every topic in order, for a shutdown; done when [`Broker::is_idle`].
    pub fn begin_shutdown(&mut self, now: Now) {
        let slots: Vec<OwnerId> = self.topics.by_slot.keys().copied().collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| topic.begin_close(env));
        }
        self.drain_bundles(now);
        self.settle(now);
    }

    /// Whether no topic is loaded and every bundle was given up.
    pub fn is_idle(&self) -> bool {
        self.topics.by_slot.is_empty() && !self.is_leaving_bundles()
    }

    /// A connection with another node of the region exists, or has ended.
    pub fn set_peer(&mut self, now: Now, node: NodeId, connected: bool) {
        self.note_peer(now, node, connected);
        self.settle(now);
    }

    /// Whether this node has lost the majority of its region.
    pub fn set_apart(&mut self, now: Now, apart: bool) {
        self.note_apart(now, apart);
        self.settle(now);
    }

    /// Another node leads the metadata, or nobody. The leader is the gateway: it alone sends records to other regions.
    pub fn set_leader(&mut self, leader: Option<NodeId>) {
        self.core.leader = leader;
        self.core.is_gateway = leader == Some(self.core.options.node);
    }
}
