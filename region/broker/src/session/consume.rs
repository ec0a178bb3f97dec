//! SUBSCRIBE and everything a consumer says.

use crate::admin_command::{Force, StartAt};
use crate::broker::Broker;
use crate::io::ConnId;
use crate::ownership::proof::{Held, Proof};
use crate::session::auth::Refusal;
use crate::session::produce::metadata_of;
use crate::session::schema::SchemaWait;
use crate::session::{ConsumerHandle, HANDLES_MAX};
use crate::subscription::{ConsumerKey, ConsumerSpec, Durability, KeyOrder, KeySharedMode, KeySharedSpec, SubType};
use crate::topic::call::TopicCall;
use crate::topic::subscribe::SubscribeSpec;
use crate::topic::{Topic, TopicEnv};
use base::{Now, Position, SubscriptionName, TopicName};
use managed::AckSet;
use tenancy::{Object, Operation, Resource};
use wire::commands;
use wire::pulsar::command_subscribe::InitialPosition;
use wire::pulsar::{
    CommandAck, CommandCloseConsumer, CommandConsumerStats, CommandFlow, CommandGetLastMessageId,
    CommandRedeliverUnacknowledgedMessages, CommandSeek, CommandSubscribe, CommandUnsubscribe,
    KeySharedMode as WireKeySharedMode, ServerError, schema,
};

/// Where a new subscription starts, by what the client said (facts/pulsar-wire.md §7).
fn start_of(command: &CommandSubscribe, durability: Durability, wall_ms: u64) -> StartAt {
    let rollback_s = command.start_message_rollback_duration_sec();
    if rollback_s > 0 {
        return StartAt::Time(wall_ms.saturating_sub(rollback_s.saturating_mul(1000)));
    }
    match (durability, &command.start_message_id) {
        (Durability::Volatile, Some(id)) => StartAt::Position(commands::position(id)),
        (Durability::Volatile, None) | (Durability::Durable, _) => match command.initial_position() {
            InitialPosition::Earliest => StartAt::Earliest,
            InitialPosition::Latest => StartAt::Latest,
        },
    }
}

fn key_shared_of(command: &CommandSubscribe) -> Option<KeySharedSpec> {
    let meta = command.key_shared_meta.as_ref()?;
    let mode = match meta.key_shared_mode() {
        WireKeySharedMode::AutoSplit => KeySharedMode::AutoSplit,
        WireKeySharedMode::Sticky => {
            KeySharedMode::Sticky(meta.hash_ranges.iter().map(|range| (range.start, range.end)).collect())
        }
    };
    let order = if meta.allow_out_of_order_delivery() { KeyOrder::Waived } else { KeyOrder::Kept };
    Some(KeySharedSpec { mode, order })
}

impl Broker {
    pub(crate) fn on_subscribe(&mut self, now: Now, conn: ConnId, command: CommandSubscribe) {
        self.decide_subscribe(now, conn, command, Proof::Missing);
    }

    pub(crate) fn decide_subscribe(&mut self, now: Now, conn: ConnId, command: CommandSubscribe, proof: Proof) {
        let (request_id, consumer_id) = (command.request_id, command.consumer_id);
        let Err((code, text)) = self.begin_subscribe(now, conn, command, proof) else { return };
        if self.sessions.get(&conn).is_some_and(|session| session.consumers.contains_key(&consumer_id)) {
            return self.out.command(conn, &commands::error(request_id, code, &text)); // The other consumer goes on.
        }
        self.out.refuse_subscribe(ConsumerKey { conn, consumer_id }, request_id, code, &text);
    }

    fn begin_subscribe(
        &mut self,
        now: Now,
        conn: ConnId,
        command: CommandSubscribe,
        proof: Proof,
    ) -> Result<(), Refusal> {
        let (name, subscription) =
            self.permitted_subscription(conn, &command.topic, &command.subscription, Operation::Consume)?;
        if self.must_prove(&name, proof) {
            self.prove(conn, &name, Held::Subscribe(Box::new(command)));
            return Ok(());
        }
        let Some(session) = self.sessions.get(&conn) else { return Ok(()) };
        if let Some(handle) = session.consumers.get(&command.consumer_id) {
            let same = handle.topic == name && handle.subscription == subscription;
            return self.repeat_consumer(now, conn, &command, same);
        }
        if self.handles(conn) >= HANDLES_MAX {
            let text = format!("a connection may have {HANDLES_MAX} producers and consumers; open another one");
            return Err((ServerError::NotAllowedError, text));
        }
        if command.read_compacted() {
            let text = "reading a compacted topic is not built in Meridian yet; subscribe without readCompacted";
            return Err((ServerError::NotAllowedError, text.to_owned()));
        }
        let create = self.creation_rule(&name, command.force_topic_creation())?;
        let spec = self.subscribe_spec(now, conn, &command, subscription)?;
        self.check_type_enabled(&name, spec.consumer.sub_type)?;
        self.count_in(conn, &name, Resource::Consumers)?;
        let (key, subscription) = (spec.consumer.key, spec.name.clone());
        let call = TopicCall::Subscribe(Box::new(spec));
        let schema = command.schema.filter(|schema| schema.r#type != schema::Type::AutoConsume as i32);
        match schema {
            Some(schema) => self.with_schema(now, conn, &name, schema, SchemaWait::Call { create, call }),
            None => self.call(now, &name, create, call),
        }
        self.remember_consumer(key, name, subscription);
        Ok(())
    }

    /// The same consumer asked for again is told the same again (facts/pulsar-wire.md §7).
    fn repeat_consumer(
        &mut self,
        now: Now,
        conn: ConnId,
        command: &CommandSubscribe,
        same: bool,
    ) -> Result<(), Refusal> {
        let joined =
            self.with_consumer(now, conn, command.consumer_id, |topic, name, key, _| topic.has_consumer(name, key));
        if same && joined == Some(true) {
            self.out.command(conn, &commands::success(command.request_id));
            return Ok(());
        }
        let text = format!("consumer id {} is already in use on this connection", command.consumer_id);
        Err((ServerError::ServiceNotReady, text))
    }

    fn check_type_enabled(&self, name: &TopicName, kind: SubType) -> Result<(), Refusal> {
        let enabled = self.core.directory.effective(name).map(|p| p.subscription_types_enabled).unwrap_or_default();
        let wanted = match kind {
            SubType::Exclusive => tenancy::SubscriptionKind::Exclusive,
            SubType::Shared => tenancy::SubscriptionKind::Shared,
            SubType::Failover => tenancy::SubscriptionKind::Failover,
            SubType::KeyShared => tenancy::SubscriptionKind::KeyShared,
        };
        if enabled.is_empty() || enabled.contains(&wanted) {
            return Ok(());
        }
        let text = format!("Subscription type {} is not enabled on topic {name}", kind.as_str_name());
        Err((ServerError::NotAllowedError, text))
    }

    fn subscribe_spec(
        &self,
        now: Now,
        conn: ConnId,
        command: &CommandSubscribe,
        name: SubscriptionName,
    ) -> Result<SubscribeSpec, Refusal> {
        let Some(session) = self.sessions.get(&conn) else {
            return Err((ServerError::ServiceNotReady, "the connection is gone".to_owned()));
        };
        let durability = if command.durable() { Durability::Durable } else { Durability::Volatile };
        let consumer = ConsumerSpec {
            key: ConsumerKey { conn, consumer_id: command.consumer_id },
            name: command.consumer_name.clone().unwrap_or_default(),
            request_id: command.request_id,
            sub_type: command.sub_type(),
            priority_level: command.priority_level(),
            key_shared: key_shared_of(command),
            epoch: command.consumer_epoch,
            metadata: metadata_of(&command.metadata)?,
            address: session.info.peer.clone(),
            client_version: session.client_version.clone(),
            connected_since_ms: session.since_ms,
            protocol_version: session.protocol_version,
        };
        let start = start_of(command, durability, now.wall_ms);
        Ok(SubscribeSpec {
            name,
            durability,
            consumer,
            start,
            properties: metadata_of(&command.subscription_properties)?,
        })
    }

    fn remember_consumer(&mut self, key: ConsumerKey, topic: TopicName, subscription: SubscriptionName) {
        let slot = self.topics.by_name.get(&topic).copied().unwrap_or(crate::broker::NOBODY);
        if let Some(session) = self.sessions.get_mut(&key.conn) {
            session.consumers.insert(key.consumer_id, ConsumerHandle { slot, topic, subscription });
        }
    }

    /// Runs `act` on the topic of a consumer; `None` when the connection has no such consumer.
    fn with_consumer<R>(
        &mut self,
        now: Now,
        conn: ConnId,
        consumer_id: u64,
        act: impl FnOnce(&mut Topic, &SubscriptionName, ConsumerKey, &mut TopicEnv<'_>) -> R,
    ) -> Option<R> {
        let handle = self.sessions.get(&conn)?.consumers.get(&consumer_id)?;
        let (slot, name) = (handle.slot, handle.subscription.clone());
        let key = ConsumerKey { conn, consumer_id };
        self.with_topic(slot, now, |topic, env| act(topic, &name, key, env))
    }

    pub(crate) fn on_flow(&mut self, now: Now, conn: ConnId, command: CommandFlow) {
        let outcome = self.with_consumer(now, conn, command.consumer_id, |topic, name, key, env| {
            topic.handle_flow(name, key, command.message_permits, env)
        });
        if let Some(Err(error)) = outcome {
            self.refuse_connection(conn, ServerError::NotAllowedError, &error.to_string());
        }
    }

    pub(crate) fn on_ack(&mut self, now: Now, conn: ConnId, command: CommandAck) {
        if command.txnid_least_bits() != 0 || command.txnid_most_bits() != 0 {
            if let Some(request_id) = command.request_id {
                let text = "Transactions are not enabled.";
                let failed = commands::ack_failed(command.consumer_id, request_id, ServerError::NotAllowedError, text);
                self.out.command(conn, &failed);
            }
            return;
        }
        let consumer_id = command.consumer_id;
        self.with_consumer(now, conn, consumer_id, |topic, name, key, env| topic.handle_ack(name, key, command, env));
    }

    pub(crate) fn on_redeliver(&mut self, now: Now, conn: ConnId, command: CommandRedeliverUnacknowledgedMessages) {
        let consumer_id = command.consumer_id;
        self.with_consumer(now, conn, consumer_id, |topic, name, key, env| {
            topic.handle_redeliver(name, key, command, env);
        });
    }

    pub(crate) fn on_close_consumer(&mut self, now: Now, conn: ConnId, command: CommandCloseConsumer) {
        self.with_consumer(now, conn, command.consumer_id, |topic, name, key, env| {
            topic.close_consumer(name, key, env);
        });
        self.waiting.drop_held(conn, None, Some(command.consumer_id));
        self.forget_consumer(conn, command.consumer_id);
        self.out.command(conn, &commands::success(command.request_id));
    }

    pub(crate) fn on_unsubscribe(&mut self, now: Now, conn: ConnId, command: CommandUnsubscribe) {
        let force = if command.force() { Force::Yes } else { Force::No };
        if let Err((code, text)) = self.permit_consumer(conn, command.consumer_id, Operation::Unsubscribe) {
            return self.out.command(conn, &commands::error(command.request_id, code, &text));
        }
        self.with_consumer(now, conn, command.consumer_id, |topic, name, key, env| {
            topic.unsubscribe(name, key, command.request_id, force, env);
        });
    }

    /// A consumer's right is asked anew for what changes its subscription.
    fn permit_consumer(&self, conn: ConnId, consumer_id: u64, what: Operation) -> Result<(), Refusal> {
        let handle = self.sessions.get(&conn).and_then(|session| session.consumers.get(&consumer_id));
        let Some(handle) = handle else {
            return Err((ServerError::MetadataError, format!("Consumer not found: id {consumer_id}")));
        };
        self.permit(conn, what, Object::Subscription(&handle.topic, &handle.subscription))
    }

    pub(crate) fn on_seek(&mut self, now: Now, conn: ConnId, command: CommandSeek) {
        let request_id = command.request_id;
        if let Err((code, text)) = self.permit_consumer(conn, command.consumer_id, Operation::Seek) {
            return self.out.command(conn, &commands::error(request_id, code, &text));
        }
        let (start, partial) = match (&command.message_id, command.message_publish_time) {
            (Some(id), None) => {
                let partial = (!id.ack_set.is_empty()).then(|| AckSet::from_wire(&id.ack_set));
                (StartAt::Position(commands::position(id)), partial)
            }
            (None, Some(time)) => (StartAt::Time(time), None),
            _ => {
                let text = "a seek names a message id or a publish time, exactly one of them";
                return self.out.command(conn, &commands::error(request_id, ServerError::MetadataError, text));
            }
        };
        self.with_consumer(now, conn, command.consumer_id, |topic, name, key, env| {
            topic.seek(name, key, request_id, (start, partial), env);
        });
    }

    pub(crate) fn on_last_message_id(&mut self, now: Now, conn: ConnId, command: CommandGetLastMessageId) {
        let request_id = command.request_id;
        let reply = self.with_consumer(now, conn, command.consumer_id, |topic, name, _, _| {
            let last = topic.last_message_id();
            let partition = topic.name.partition();
            let mut id = commands::message_id_in(last.position, partition);
            id.partition = Some(last.partition);
            id.batch_index = Some(last.batch_index);
            let mark_delete = topic.mark_delete_of(name).unwrap_or(Position::EARLIEST);
            commands::last_message_id(request_id, id, commands::message_id_in(mark_delete, partition))
        });
        let reply = reply.unwrap_or_else(|| {
            let text = format!("Consumer not found: id {}", command.consumer_id);
            commands::error(request_id, ServerError::MetadataError, &text)
        });
        self.out.command(conn, &reply);
    }

    pub(crate) fn on_consumer_stats(&mut self, now: Now, conn: ConnId, command: CommandConsumerStats) {
        let request_id = command.request_id;
        let stats = self.with_consumer(now, conn, command.consumer_id, |topic, name, key, _| {
            topic.consumer_stats(name, key, request_id, now)
        });
        let reply = match stats.flatten() {
            Some(stats) => stats.into(),
            None => {
                let text = format!("Consumer not found: id {}", command.consumer_id);
                commands::consumer_stats_failed(request_id, ServerError::ConsumerNotFound, &text)
            }
        };
        self.out.command(conn, &reply);
    }
}
