//! What operators ask of a loaded topic.

use crate::admin_command::{AdminFailure, AdminReply, FailureKind, Force, FoundEntry, MessageIdView, TopicOp};
use crate::env::SubId;
use crate::io::{AdminId, BrokerEffect};
use crate::outbox::Outbox;
use crate::subscription::{Durability, MoveReply};
use crate::topic::backlog::ExpireFound;
use crate::topic::time_search::Purpose;
use crate::topic::{Phase, Topic, TopicEnv};
use base::{FixedMap, Position, SubscriptionName};
use managed::{CursorError, DeleteError, Entry, Read, ReadError, ReadId};
use wire::commands;
use wire::pulsar::ServerError;
use wire::stored::StoredHead;

/// Operators' requests that wait for storage.
#[derive(Debug, Default)]
pub(crate) struct AdminPending {
    reads: FixedMap<ReadId, AdminId>,
    oldest: Option<ReadId>,
    cursors: FixedMap<u64, MoveReply>,
    unloading: Vec<AdminId>,
    deleting: Vec<AdminId>,
    terminating: Vec<(u64, AdminId)>,
}

pub(crate) fn reply(out: &mut Outbox, id: AdminId, reply: AdminReply) {
    out.effect(BrokerEffect::Admin { id, reply });
}

pub(crate) fn fail(out: &mut Outbox, id: AdminId, kind: FailureKind, reason: impl Into<String>) {
    reply(out, id, AdminReply::Failed(AdminFailure::new(kind, reason)));
}

/// Answers whoever waits for a cursor to be moved or deleted.
pub(crate) fn answer_move(to: MoveReply, result: Result<(), String>, out: &mut Outbox) {
    match (to, result) {
        (MoveReply::Nobody, _) => (),
        (MoveReply::Client { conn, request_id }, Ok(())) => out.command(conn, &commands::success(request_id)),
        (MoveReply::Client { conn, request_id }, Err(text)) => {
            out.command(conn, &commands::error(request_id, ServerError::UnknownError, &text));
        }
        (MoveReply::Admin(id), Ok(())) => reply(out, id, AdminReply::Done),
        (MoveReply::Admin(id), Err(text)) => fail(out, id, FailureKind::Unavailable, text),
    }
}

impl AdminPending {
    pub(crate) fn expect_oldest(&mut self, read: ReadId) {
        self.oldest = Some(read);
    }

    pub(crate) fn expect_cursor(&mut self, ctx: u64, reply: MoveReply) {
        self.cursors.insert(ctx, reply);
    }

    /// A cursor operation that an operator or a client waits for is done; false when nobody does.
    pub(crate) fn cursor_done(&mut self, ctx: u64, result: &Result<(), CursorError>, out: &mut Outbox) -> bool {
        let Some(reply) = self.cursors.remove(&ctx) else { return false };
        answer_move(reply, result.clone().map_err(|error| error.to_string()), out);
        true
    }

    pub(crate) fn unloaded(&mut self, out: &mut Outbox) {
        for id in std::mem::take(&mut self.unloading) {
            reply(out, id, AdminReply::Done);
        }
    }

    /// The topic ended before these were answered.
    pub(crate) fn refuse_all(&mut self, reason: &str, out: &mut Outbox) {
        let terminating = std::mem::take(&mut self.terminating).into_iter().map(|(_, id)| id);
        let mut ids: Vec<AdminId> = self.reads.drain().map(|(_, id)| id).collect();
        ids.sort_unstable();
        ids.extend(std::mem::take(&mut self.unloading));
        ids.extend(std::mem::take(&mut self.deleting));
        ids.extend(terminating);
        for id in ids {
            fail(out, id, FailureKind::Unavailable, reason);
        }
        let mut cursors: Vec<(u64, MoveReply)> = self.cursors.drain().collect();
        cursors.sort_unstable_by_key(|(ctx, _)| *ctx);
        for (_, to) in cursors {
            answer_move(to, Err(reason.to_owned()), out);
        }
    }
}

impl Topic {
    pub(crate) fn handle_admin(&mut self, id: AdminId, op: TopicOp, env: &mut TopicEnv<'_>) {
        match op {
            TopicOp::Create { .. } => {
                fail(env.out, id, FailureKind::AlreadyExists, format!("topic {} exists already", self.name));
            }
            TopicOp::Delete { force } => self.admin_delete(id, force, env),
            TopicOp::Unload => {
                self.admin.unloading.push(id);
                self.begin_close(env);
            }
            TopicOp::Stats => reply(env.out, id, AdminReply::Stats(Box::new(self.stats(env)))),
            TopicOp::InternalStats => reply(env.out, id, AdminReply::Internal(Box::new(self.internal_stats()))),
            TopicOp::Subscriptions => {
                let durable = self.subs.by_id.values().filter(|sub| sub.durability() == Durability::Durable);
                let mut names: Vec<String> = durable.map(|sub| sub.name().to_string()).collect();
                names.sort_unstable();
                reply(env.out, id, AdminReply::Names(names));
            }
            TopicOp::CreateSubscription { name, start, properties } => {
                self.admin_create_subscription(id, name, start, properties, env);
            }
            TopicOp::DeleteSubscription { name, force } => self.admin_unsubscribe(id, &name, force, env),
            TopicOp::SkipAll { name } => {
                let last = self.ledger.last_confirmed();
                self.on_sub(id, &name, env, |sub, reply, e| sub.mark_delete_to(last, reply, e));
            }
            TopicOp::Skip { name, entries } => self.on_sub(id, &name, env, |sub, reply, e| sub.skip(entries, reply, e)),
            TopicOp::Expire { name, older_than_s } => self.admin_expire(id, name, older_than_s, env),
            TopicOp::Reset { name, to } => match self.subs.by_name.get(&name).copied() {
                Some(sub) => self.reset_subscription(sub, to, None, MoveReply::Admin(id), env),
                None => self.no_such_subscription(id, &name, env),
            },
            TopicOp::Peek { name, nth } => self.admin_peek(id, &name, nth, env),
            TopicOp::Entry { position } => self.admin_entry(id, position, env),
            TopicOp::FirstAt { publish_time_ms } => self.search_time(publish_time_ms, Purpose::Report(id), env),
            TopicOp::LastMessageId => {
                let last = self.last_message_id();
                reply(env.out, id, AdminReply::MessageId(last));
            }
            TopicOp::Terminate => self.admin_terminate(id, env),
        }
    }

    pub(crate) fn last_message_id(&self) -> MessageIdView {
        let partition = self.partition();
        match self.last_entry() {
            Some(last) => MessageIdView { position: last.position, partition, batch_index: last.batch_index },
            None => MessageIdView { position: Position::EARLIEST, partition, batch_index: -1 },
        }
    }

    fn no_such_subscription(&self, id: AdminId, name: &SubscriptionName, env: &mut TopicEnv<'_>) {
        let reason = format!("Subscription {name} not found on topic {}", self.name);
        fail(env.out, id, FailureKind::NotFound, reason);
    }

    fn on_sub(
        &mut self,
        id: AdminId,
        name: &SubscriptionName,
        env: &mut TopicEnv<'_>,
        act: impl FnOnce(&mut crate::subscription::Subscription, MoveReply, &mut crate::env::Env<'_>),
    ) {
        let Some(sub) = self.subs.by_name.get(name).copied() else { return self.no_such_subscription(id, name, env) };
        self.with_sub(sub, env, |sub, sub_env| act(sub, MoveReply::Admin(id), sub_env));
    }

    fn admin_unsubscribe(&mut self, id: AdminId, name: &SubscriptionName, force: Force, env: &mut TopicEnv<'_>) {
        let Some(sub) = self.subs.by_name.get(name).copied() else { return self.no_such_subscription(id, name, env) };
        let connected = self.subs.by_id.get(&sub).is_some_and(|sub| sub.consumer_count() > 0);
        if connected && force == Force::No {
            let reason = format!("Subscription {name} has active connected consumers; close them or use force");
            return fail(env.out, id, FailureKind::Precondition, reason);
        }
        self.delete_subscription(sub, MoveReply::Admin(id), None, env);
    }

    fn admin_expire(&mut self, id: AdminId, name: Option<SubscriptionName>, older_than_s: u64, env: &mut TopicEnv<'_>) {
        let sub = match &name {
            None => None,
            Some(name) => match self.subs.by_name.get(name) {
                Some(sub) => Some(*sub),
                None => return self.no_such_subscription(id, name, env),
            },
        };
        let target = env.now.wall_ms.saturating_sub(older_than_s.saturating_mul(1000));
        self.search_time(target, Purpose::Expire(ExpireFound { sub, reply: MoveReply::Admin(id) }), env);
    }

    fn admin_peek(&mut self, id: AdminId, name: &SubscriptionName, nth: u64, env: &mut TopicEnv<'_>) {
        let Some(sub) = self.subs.named(name) else { return self.no_such_subscription(id, name, env) };
        match sub.nth_unacked(nth, &self.ledger) {
            Some(position) => self.admin_entry(id, position, env),
            None => {
                let reason =
                    format!("Message not found: subscription {name} has fewer than {nth} unacknowledged messages");
                fail(env.out, id, FailureKind::NotFound, reason);
            }
        }
    }

    fn admin_entry(&mut self, id: AdminId, position: Position, env: &mut TopicEnv<'_>) {
        if !self.ledger.contains(position) {
            let reason = format!("Message not found: topic {} holds no entry {position}", self.name);
            return fail(env.out, id, FailureKind::NotFound, reason);
        }
        match self.ledger.read(env.now, position, 1, 1, &mut self.ledger_fx) {
            Read::Ready(entries) => report_entry(id, entries.into_iter().next(), env.out),
            Read::Pending(read) => {
                self.admin.reads.insert(read, id);
            }
            Read::AtTail => fail(env.out, id, FailureKind::NotFound, format!("Message not found: {position}")),
            Read::Busy => fail(env.out, id, FailureKind::Unavailable, "the log is busy; try again"),
        }
    }

    /// A read that an operator or the backlog guard waits for; false when neither does.
    pub(crate) fn handle_admin_read(
        &mut self,
        read: ReadId,
        result: &mut Option<Result<Vec<Entry>, ReadError>>,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        if self.admin.oldest == Some(read) {
            self.admin.oldest = None;
            if let Some(Ok(entries)) = result.take() {
                self.note_oldest(&entries);
            }
            return true;
        }
        let Some(id) = self.admin.reads.remove(&read) else { return false };
        match result.take() {
            Some(Ok(entries)) => report_entry(id, entries.into_iter().next(), env.out),
            Some(Err(error)) => fail(env.out, id, FailureKind::Unavailable, error.to_string()),
            None => (),
        }
        true
    }

    /// The first message at a time, for an operator.
    pub(crate) fn report_found(
        &mut self,
        outcome: Result<Option<Position>, String>,
        id: AdminId,
        env: &mut TopicEnv<'_>,
    ) {
        let partition = self.partition();
        match outcome {
            Ok(Some(position)) => {
                reply(env.out, id, AdminReply::MessageId(MessageIdView { position, partition, batch_index: -1 }));
            }
            Ok(None) => match self.last_entry() {
                Some(last) => {
                    let view = MessageIdView { position: last.position, partition, batch_index: -1 };
                    reply(env.out, id, AdminReply::MessageId(view));
                }
                None => fail(env.out, id, FailureKind::NotFound, format!("topic {} holds no message", self.name)),
            },
            Err(text) => fail(env.out, id, FailureKind::Unavailable, text),
        }
    }

    fn admin_terminate(&mut self, id: AdminId, env: &mut TopicEnv<'_>) {
        if self.terminated.is_some() {
            let last = self.last_message_id();
            return reply(env.out, id, AdminReply::MessageId(last));
        }
        self.terminated = Some(self.ledger.last_confirmed());
        self.record.value.terminated = self.terminated;
        let (change, request) = self.record.changed();
        if let Some((id, request)) = request {
            env.out.effect(BrokerEffect::Meta { id, request });
        }
        self.admin.terminating.push((change, id));
    }

    /// The record is durable up to `change`.
    pub(crate) fn handle_terminated_stored(&mut self, change: u64, env: &mut TopicEnv<'_>) {
        let last = self.last_message_id();
        let waiting = std::mem::take(&mut self.admin.terminating);
        let (done, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|(waits, _)| *waits <= change);
        self.admin.terminating = rest;
        if done.is_empty() {
            return;
        }
        for (_, id) in done {
            reply(env.out, id, AdminReply::MessageId(last));
        }
        let subs: Vec<SubId> = self.subs.by_id.keys().copied().collect();
        for sub in subs {
            self.with_sub(sub, env, |sub, sub_env| sub.handle_terminated(sub_env));
        }
    }

    fn admin_delete(&mut self, id: AdminId, force: Force, env: &mut TopicEnv<'_>) {
        let connected = self.subs.by_id.values().any(|sub| sub.consumer_count() > 0);
        if force == Force::No && (!self.producers.is_empty() || connected) {
            let reason = format!("Topic {} has active producers/subscriptions; close them or use force", self.name);
            return fail(env.out, id, FailureKind::Precondition, reason);
        }
        if force == Force::No && !self.subs.by_id.is_empty() {
            let reason = format!("Topic {} has subscriptions; delete them or use force", self.name);
            return fail(env.out, id, FailureKind::Precondition, reason);
        }
        self.disconnect_all(env);
        self.links.stop("the topic is deleted", env.out);
        self.admin.deleting.push(id);
        self.phase = Phase::Deleting;
        self.ledger.delete(env.now, &mut self.ledger_fx);
    }

    /// The log is gone; now the record and what only this topic has.
    pub(crate) fn handle_log_deleted(&mut self, result: Result<(), DeleteError>, env: &mut TopicEnv<'_>) {
        if let Err(error) = result {
            return self.give_up(format!("the log could not be deleted: {error}"), env);
        }
        let more = vec![tenancy::keys::topic_policies_key(&self.name)];
        let (id, request) = self.record.delete(more);
        env.out.effect(BrokerEffect::Meta { id, request });
    }

    pub(crate) fn handle_record_deleted(&mut self, env: &mut TopicEnv<'_>) {
        for id in std::mem::take(&mut self.admin.deleting) {
            reply(env.out, id, AdminReply::Done);
        }
        self.end(ServerError::TopicNotFound, format!("topic {} was deleted", self.name), env);
    }
}

fn report_entry(id: AdminId, entry: Option<Entry>, out: &mut Outbox) {
    let Some(entry) = entry else { return fail(out, id, FailureKind::NotFound, "Message not found") };
    match StoredHead::decode(&entry.data.head) {
        Ok(head) => {
            let found = FoundEntry { position: entry.position, head, body: entry.data.body };
            reply(out, id, AdminReply::Entry(Box::new(found)));
        }
        Err(error) => fail(out, id, FailureKind::Internal, format!("entry {}: {error}", entry.position)),
    }
}
