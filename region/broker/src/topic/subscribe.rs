//! From a SUBSCRIBE command to a consumer: finding the start, creating the cursor, handing over to the subscription.
//!
//! **States**  (by time: search →) cursor being created → subscription exists → consumer added.
//!
//! **Invariants**
//! - I1  a durable subscription answers Success only after its cursor is durable.
//! - I2  consumers that come while the cursor is being created wait for it and are served in order.

use crate::admin_command::{AdminFailure, AdminReply, FailureKind, Force, StartAt};
use crate::env::SubId;
use crate::io::{AdminId, BrokerEffect};
use crate::outbox::{Note, Outbox};
use crate::subscription::{ConsumerKey, ConsumerSpec, Durability, MoveReply, Subscription};
use crate::topic::time_search::Purpose;
use crate::topic::{Topic, TopicEnv};
use base::{Position, SubscriptionName};
use managed::{AckSet, CursorError, CursorId};
use std::collections::BTreeMap;
use wire::commands;
use wire::pulsar::ServerError;

/// What a client said when it subscribed.
#[derive(Clone, Debug)]
pub(crate) struct SubscribeSpec {
    pub name: SubscriptionName,
    pub durability: Durability,
    pub consumer: ConsumerSpec,
    /// Where a new subscription starts.
    pub start: StartAt,
    pub properties: BTreeMap<String, String>,
}

/// A subscription whose cursor is not durable yet, and who waits for it.
#[derive(Debug)]
pub(crate) struct Creating {
    name: SubscriptionName,
    cursor: Option<CursorId>,
    ctx: u64,
    properties: BTreeMap<String, String>,
    waiting: Vec<CreationWaiter>,
}

#[derive(Debug)]
enum CreationWaiter {
    Consumer(Box<SubscribeSpec>),
    Admin(AdminId),
    Nobody,
}

impl Creating {
    pub(crate) fn refuse(mut self, code: ServerError, reason: &str, out: &mut Outbox) {
        self.refuse_waiting(code, reason, out);
    }

    /// Sends away who waits; the cursor is created all the same.
    pub(crate) fn refuse_waiting(&mut self, code: ServerError, reason: &str, out: &mut Outbox) {
        for waiter in std::mem::take(&mut self.waiting) {
            waiter.refuse(code, reason, out);
        }
    }
}

impl CreationWaiter {
    fn refuse(self, code: ServerError, reason: &str, out: &mut Outbox) {
        match self {
            Self::Consumer(spec) => refuse_consumer(&spec.consumer, code, reason, out),
            Self::Admin(id) => {
                let kind = crate::topic::call::failure_kind(code);
                out.effect(BrokerEffect::Admin { id, reply: AdminReply::Failed(AdminFailure::new(kind, reason)) });
            }
            Self::Nobody => (),
        }
    }
}

/// Who waits for a start position found by time.
#[derive(Debug)]
pub(crate) enum StartFound {
    /// The creation of this subscription.
    Create(SubId),
    /// A volatile subscription's first consumer.
    Volatile(Box<SubscribeSpec>),
    Reset {
        sub: SubId,
        reply: MoveReply,
    },
}

fn refuse_consumer(consumer: &ConsumerSpec, code: ServerError, text: &str, out: &mut Outbox) {
    let ConsumerKey { conn, consumer_id } = consumer.key;
    out.refuse_subscribe(consumer.key, consumer.request_id, code, text);
    out.note(Note::ConsumerGone { conn, consumer_id });
}

impl Topic {
    /// A client wants to consume.
    pub(crate) fn handle_subscribe(&mut self, spec: SubscribeSpec, env: &mut TopicEnv<'_>) {
        if let Some(id) = self.subs.by_name.get(&spec.name).copied() {
            return self.add_consumer(id, spec, env);
        }
        if let Some(creating) = self.subs.creating.values_mut().find(|creating| creating.name == spec.name) {
            creating.waiting.push(CreationWaiter::Consumer(Box::new(spec))); // I2
            return;
        }
        if let Err((code, text)) = self.check_new_subscription(&spec) {
            return refuse_consumer(&spec.consumer, code, &text, env.out);
        }
        match spec.durability {
            Durability::Durable => {
                let (name, start, properties) = (spec.name.clone(), spec.start, spec.properties.clone());
                self.create_subscription(name, start, properties, CreationWaiter::Consumer(Box::new(spec)), env);
            }
            Durability::Volatile => match spec.start {
                StartAt::Time(ms) => self.search_time(ms, Purpose::Start(StartFound::Volatile(Box::new(spec))), env),
                start => {
                    let position = self.mark_delete_for(start);
                    self.add_volatile(spec, position, env);
                }
            },
        }
    }

    fn check_new_subscription(&self, spec: &SubscribeSpec) -> Result<(), (ServerError, String)> {
        let limit = self.settings.policies.limits.subscriptions_per_topic;
        if limit.is_some_and(|max| self.subs.by_id.len() >= max as usize) {
            let text = format!("topic {} has reached its limit of {} subscriptions", self.name, limit.unwrap_or(0));
            return Err((ServerError::NotAllowedError, text));
        }
        if spec.durability == Durability::Durable && !self.settings.policies.auto_subscription_creation {
            let text = format!(
                "subscription {} does not exist on topic {} and automatic creation is off; create it first",
                spec.name, self.name
            );
            return Err((ServerError::SubscriptionNotFound, text));
        }
        Ok(())
    }

    /// The mark-delete that makes `start` the next entry read. A time must be searched for instead.
    pub(crate) fn mark_delete_for(&self, start: StartAt) -> Position {
        let first = self.ledger.previous_position(self.ledger.first_position());
        let last = self.ledger.last_confirmed();
        let wanted = match start {
            StartAt::Earliest => first,
            StartAt::Latest | StartAt::Time(_) => last,
            StartAt::Position(position) if position == Position::EARLIEST => first,
            StartAt::Position(position) if position >= Position::LATEST => last,
            StartAt::Position(position) => self.ledger.previous_position(position),
            StartAt::After(position) => position,
        };
        wanted.clamp(first, last.max(first))
    }

    fn create_subscription(
        &mut self,
        name: SubscriptionName,
        start: StartAt,
        properties: BTreeMap<String, String>,
        waiter: CreationWaiter,
        env: &mut TopicEnv<'_>,
    ) {
        let id = self.subs.fresh_id();
        let creating = Creating { name, cursor: None, ctx: 0, properties, waiting: vec![waiter] };
        self.subs.creating.insert(id, creating);
        match start {
            StartAt::Time(ms) => self.search_time(ms, Purpose::Start(StartFound::Create(id)), env),
            start => self.create_cursor(id, self.mark_delete_for(start), env),
        }
    }

    fn create_cursor(&mut self, id: SubId, mark_delete: Position, env: &mut TopicEnv<'_>) {
        let ctx = self.requests.context(id);
        let Some(creating) = self.subs.creating.get_mut(&id) else { return };
        creating.ctx = ctx;
        let (name, properties) = (creating.name.as_str().to_owned(), creating.properties.clone());
        let cursor = self.ledger.create_cursor(env.now, &name, mark_delete, properties, ctx, &mut self.ledger_fx);
        creating.cursor = Some(cursor);
    }

    /// The outcome of a cursor's creation; false when `id` is not being created.
    pub(crate) fn handle_created(
        &mut self,
        id: SubId,
        ctx: u64,
        result: &Result<(), CursorError>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        if self.subs.creating.get(&id).is_none_or(|creating| creating.ctx != ctx) {
            return false;
        }
        let Some(creating) = self.subs.creating.remove(&id) else { return false };
        match (result, creating.cursor) {
            (Ok(()), Some(cursor)) => {
                let sub = self.make_subscription(id, creating.name.clone(), cursor, Durability::Durable);
                self.insert_subscription(id, creating.name, sub);
                for waiter in creating.waiting {
                    match waiter {
                        CreationWaiter::Consumer(spec) => self.add_consumer(id, *spec, env),
                        CreationWaiter::Admin(admin) => {
                            env.out.effect(BrokerEffect::Admin { id: admin, reply: AdminReply::Done });
                        }
                        CreationWaiter::Nobody => (),
                    }
                }
            }
            (Err(error), _) => creating.refuse(ServerError::PersistenceError, &error.to_string(), env.out),
            (Ok(()), None) => creating.refuse(ServerError::UnknownError, "the cursor was never created", env.out),
        }
        true
    }

    /// A consumer that still waited for its cursor is gone; the subscription is created all the same.
    pub(crate) fn forget_creating(&mut self, key: ConsumerKey) {
        for creating in self.subs.creating.values_mut() {
            creating.waiting.retain(|waiter| match waiter {
                CreationWaiter::Consumer(spec) => spec.consumer.key != key,
                CreationWaiter::Admin(_) | CreationWaiter::Nobody => true,
            });
        }
    }

    fn insert_subscription(&mut self, id: SubId, name: SubscriptionName, sub: Subscription) {
        self.subs.by_id.insert(id, sub);
        self.subs.by_name.insert(name, id);
    }

    fn add_volatile(&mut self, spec: SubscribeSpec, mark_delete: Position, env: &mut TopicEnv<'_>) {
        let id = self.subs.fresh_id();
        let cursor = self.ledger.create_volatile_cursor(spec.name.as_str(), mark_delete);
        let sub = self.make_subscription(id, spec.name.clone(), cursor, Durability::Volatile);
        self.insert_subscription(id, spec.name.clone(), sub);
        self.add_consumer(id, spec, env);
        self.drop_volatile_if_idle(id, env);
    }

    fn add_consumer(&mut self, id: SubId, spec: SubscribeSpec, env: &mut TopicEnv<'_>) {
        if let Err((code, text)) = self.check_consumer(id, &spec, env) {
            return refuse_consumer(&spec.consumer, code, &text, env.out);
        }
        let consumer = spec.consumer.clone();
        let added = self.with_sub(id, env, |sub, sub_env| {
            let result = sub.add_consumer(consumer, sub_env);
            if result.is_ok() {
                sub_env.out.command(spec.consumer.key.conn, &commands::success(spec.consumer.request_id));
                sub.after_added(sub_env);
            }
            result
        });
        match added {
            Some(Ok(())) => (),
            Some(Err(error)) => refuse_consumer(&spec.consumer, error.code, &error.message, env.out),
            None => refuse_consumer(&spec.consumer, ServerError::ServiceNotReady, "the subscription is gone", env.out),
        }
    }

    fn check_consumer(&self, id: SubId, spec: &SubscribeSpec, env: &TopicEnv<'_>) -> Result<(), (ServerError, String)> {
        let Some(sub) = self.subs.by_id.get(&id) else {
            return Err((ServerError::ServiceNotReady, "the subscription is gone".to_owned()));
        };
        if !env.out.is_open(spec.consumer.key.conn) {
            return Err((ServerError::ServiceNotReady, "the connection is gone".to_owned()));
        }
        if sub.durability() != spec.durability {
            let text = format!("subscription {} exists and is {:?}; use another name", spec.name, sub.durability());
            return Err((ServerError::NotAllowedError, text));
        }
        let limits = &self.settings.policies.limits;
        let all: usize = self.subs.by_id.values().map(Subscription::consumer_count).sum();
        let over = |max: Option<u32>, count: usize| max.is_some_and(|max| count >= max as usize);
        if over(limits.consumers_per_topic, all) {
            return Err((ServerError::ConsumerBusy, format!("topic {} has reached its limit of consumers", self.name)));
        }
        if over(limits.consumers_per_subscription, sub.consumer_count()) {
            return Err((
                ServerError::ConsumerBusy,
                format!("subscription {} has reached its limit of consumers", spec.name),
            ));
        }
        Ok(())
    }

    /// A consumer closed or its connection is gone.
    pub(crate) fn remove_consumer(&mut self, id: SubId, key: ConsumerKey, env: &mut TopicEnv<'_>) {
        self.with_sub(id, env, |sub, sub_env| sub.remove_consumer(key, sub_env));
        self.drop_volatile_if_idle(id, env);
    }

    /// A volatile subscription ends with its last consumer.
    pub(crate) fn drop_volatile_if_idle(&mut self, id: SubId, env: &mut TopicEnv<'_>) {
        let idle = self.subs.by_id.get(&id).is_some_and(|sub| {
            sub.durability() == Durability::Volatile && sub.consumer_count() == 0 && !sub.is_resetting()
        });
        if idle {
            self.remove_subscription(id, env);
        }
    }

    fn remove_subscription(&mut self, id: SubId, env: &mut TopicEnv<'_>) {
        if let Some(sub) = self.subs.by_id.remove(&id) {
            self.subs.by_name.remove(sub.name());
            let ctx = self.requests.context(SubId(0));
            self.ledger.delete_cursor(env.now, sub.cursor(), ctx, &mut self.ledger_fx);
        }
    }

    /// A client ends its subscription.
    pub(crate) fn handle_unsubscribe(
        &mut self,
        id: SubId,
        key: ConsumerKey,
        request_id: u64,
        force: Force,
        env: &mut TopicEnv<'_>,
    ) {
        let Some(sub) = self.subs.by_id.get(&id) else {
            return env
                .out
                .command(key.conn, &commands::error(request_id, ServerError::MetadataError, "Consumer not found"));
        };
        if let Err(error) = sub.can_unsubscribe(key, force) {
            return env.out.command(key.conn, &commands::error(request_id, error.code, &error.message));
        }
        let reply = MoveReply::Client { conn: key.conn, request_id };
        self.delete_subscription(id, reply, Some(key), env);
    }

    /// Ends a subscription; the reply leaves when that is durable.
    pub(crate) fn delete_subscription(
        &mut self,
        id: SubId,
        reply: MoveReply,
        by: Option<ConsumerKey>,
        env: &mut TopicEnv<'_>,
    ) {
        if let Some(key) = by {
            self.with_sub(id, env, |sub, sub_env| sub.remove_consumer(key, sub_env));
            env.out.note(Note::ConsumerGone { conn: key.conn, consumer_id: key.consumer_id });
        }
        self.with_sub(id, env, |sub, sub_env| sub.disconnect_all(sub_env));
        let Some(sub) = self.subs.by_id.remove(&id) else { return };
        self.subs.by_name.remove(sub.name());
        let ctx = self.requests.context(SubId(0));
        self.admin.expect_cursor(ctx, reply);
        self.ledger.delete_cursor(env.now, sub.cursor(), ctx, &mut self.ledger_fx);
    }

    /// Creates a durable subscription at the earliest message unless it exists (dead letter and retry topics).
    pub(crate) fn create_subscription_if_absent(&mut self, name: SubscriptionName, env: &mut TopicEnv<'_>) {
        let creating = self.subs.creating.values().any(|creating| creating.name == name);
        if !creating && !self.subs.by_name.contains_key(&name) {
            self.create_subscription(name, StartAt::Earliest, BTreeMap::new(), CreationWaiter::Nobody, env);
        }
    }

    /// An operator creates a subscription.
    pub(crate) fn admin_create_subscription(
        &mut self,
        id: AdminId,
        name: SubscriptionName,
        start: StartAt,
        properties: BTreeMap<String, String>,
        env: &mut TopicEnv<'_>,
    ) {
        if self.subs.by_name.contains_key(&name) || self.subs.creating.values().any(|c| c.name == name) {
            let reason = format!("subscription {name} exists already on topic {}", self.name);
            let failure = AdminFailure::new(FailureKind::AlreadyExists, reason);
            return env.out.effect(BrokerEffect::Admin { id, reply: AdminReply::Failed(failure) });
        }
        self.create_subscription(name, start, properties, CreationWaiter::Admin(id), env);
    }

    /// Moves a subscription: by a client's seek or an operator's reset.
    pub(crate) fn reset_subscription(
        &mut self,
        sub: SubId,
        start: StartAt,
        partial: Option<AckSet>,
        reply: MoveReply,
        env: &mut TopicEnv<'_>,
    ) {
        match start {
            StartAt::Time(ms) => self.search_time(ms, Purpose::Start(StartFound::Reset { sub, reply }), env),
            start => {
                let to = self.mark_delete_for(start);
                self.with_sub(sub, env, |sub, sub_env| sub.begin_reset(to, partial, reply, sub_env));
            }
        }
    }

    /// A start by time is found; `None` means after the last entry.
    pub(crate) fn handle_start_found(
        &mut self,
        outcome: Result<Option<Position>, String>,
        start: StartFound,
        env: &mut TopicEnv<'_>,
    ) {
        let outcome = outcome.map(|found| match found {
            Some(position) => self.mark_delete_for(StartAt::Position(position)),
            None => self.mark_delete_for(StartAt::Latest),
        });
        match (start, outcome) {
            (StartFound::Create(id), Ok(position)) => self.create_cursor(id, position, env),
            (StartFound::Create(id), Err(text)) => {
                if let Some(creating) = self.subs.creating.remove(&id) {
                    creating.refuse(ServerError::PersistenceError, &text, env.out);
                }
            }
            (StartFound::Volatile(spec), Ok(position)) => self.add_volatile(*spec, position, env),
            (StartFound::Volatile(spec), Err(text)) => {
                refuse_consumer(&spec.consumer, ServerError::PersistenceError, &text, env.out);
            }
            (StartFound::Reset { sub, reply }, Ok(to)) => {
                self.with_sub(sub, env, |sub, sub_env| sub.begin_reset(to, None, reply, sub_env));
            }
            (StartFound::Reset { reply, .. }, Err(text)) => crate::topic::admin::answer_move(reply, Err(text), env.out),
        }
    }
}
