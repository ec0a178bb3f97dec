//! What consumers say, passed to their subscription by name.

use crate::admin_command::{Force, StartAt};
use crate::subscription::{ConsumerKey, FlowError, MoveReply};
use crate::topic::call::Handle;
use crate::topic::{Topic, TopicEnv};
use base::{Now, Position, SubscriptionName};
use managed::AckSet;
use wire::commands;
use wire::pulsar::{CommandAck, CommandConsumerStatsResponse, CommandRedeliverUnacknowledgedMessages, ServerError};

impl Topic {
    pub(crate) fn handle_flow(
        &mut self,
        name: &SubscriptionName,
        key: ConsumerKey,
        permits: u32,
        env: &mut TopicEnv<'_>,
    ) -> Result<(), FlowError> {
        let Some(id) = self.subs.by_name.get(name).copied() else { return Ok(()) };
        self.with_sub(id, env, |sub, sub_env| sub.handle_flow(key, permits, sub_env)).unwrap_or(Ok(()))
    }

    pub(crate) fn handle_ack(
        &mut self,
        name: &SubscriptionName,
        key: ConsumerKey,
        ack: CommandAck,
        env: &mut TopicEnv<'_>,
    ) {
        if let Some(id) = self.subs.by_name.get(name).copied() {
            self.with_sub(id, env, |sub, sub_env| sub.handle_ack(key, ack, sub_env));
        }
    }

    pub(crate) fn handle_redeliver(
        &mut self,
        name: &SubscriptionName,
        key: ConsumerKey,
        command: CommandRedeliverUnacknowledgedMessages,
        env: &mut TopicEnv<'_>,
    ) {
        if let Some(id) = self.subs.by_name.get(name).copied() {
            self.with_sub(id, env, |sub, sub_env| sub.handle_redeliver(key, command, sub_env));
        }
    }

    /// A consumer closed, or its connection is gone, perhaps while it still waited to be added.
    pub(crate) fn close_consumer(&mut self, name: &SubscriptionName, key: ConsumerKey, env: &mut TopicEnv<'_>) {
        self.waiters.retain(|call| call.handle() != Some(Handle::Consumer(key)));
        self.forget_creating(key);
        if let Some(id) = self.subs.by_name.get(name).copied() {
            self.remove_consumer(id, key, env);
        }
    }

    pub(crate) fn unsubscribe(
        &mut self,
        name: &SubscriptionName,
        key: ConsumerKey,
        request_id: u64,
        force: Force,
        env: &mut TopicEnv<'_>,
    ) {
        match self.subs.by_name.get(name).copied() {
            Some(id) => self.handle_unsubscribe(id, key, request_id, force, env),
            None => env
                .out
                .command(key.conn, &commands::error(request_id, ServerError::MetadataError, "Consumer not found")),
        }
    }

    pub(crate) fn seek(
        &mut self,
        name: &SubscriptionName,
        key: ConsumerKey,
        request_id: u64,
        (start, partial): (StartAt, Option<AckSet>),
        env: &mut TopicEnv<'_>,
    ) {
        let reply = MoveReply::Client { conn: key.conn, request_id };
        match self.subs.by_name.get(name).copied() {
            Some(id) => self.reset_subscription(id, start, partial, reply, env),
            None => env
                .out
                .command(key.conn, &commands::error(request_id, ServerError::MetadataError, "Consumer not found")),
        }
    }

    pub(crate) fn mark_delete_of(&self, name: &SubscriptionName) -> Option<Position> {
        let sub = self.subs.by_id.get(self.subs.by_name.get(name)?)?;
        Some(self.ledger.cursor(sub.cursor())?.mark_delete())
    }

    /// Whether the subscription has taken this consumer in.
    pub(crate) fn has_consumer(&self, name: &SubscriptionName, key: ConsumerKey) -> bool {
        let sub = self.subs.by_name.get(name).and_then(|id| self.subs.by_id.get(id));
        sub.is_some_and(|sub| sub.has_consumer(key))
    }

    pub(crate) fn consumer_stats(
        &self,
        name: &SubscriptionName,
        key: ConsumerKey,
        request_id: u64,
        now: Now,
    ) -> Option<CommandConsumerStatsResponse> {
        let sub = self.subs.by_id.get(self.subs.by_name.get(name)?)?;
        Some(sub.consumer_stats(key, request_id, &self.ledger, now))
    }
}
