//! PRODUCER, SEND, CLOSE_PRODUCER.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::ownership::proof::{Held, Proof};
use crate::session::auth::Refusal;
use crate::session::held::Charge;
use crate::session::schema::SchemaWait;
use crate::session::{HANDLES_MAX, ProducerHandle};
use crate::topic::call::TopicCall;
use crate::topic::producers::{ProducerKey, ProducerSpec};
use base::{Now, OwnerId, TopicName};
use bytes::Bytes;
use tenancy::{Object, Operation, Resource};
use wire::commands;
use wire::pulsar::{CommandCloseProducer, CommandProducer, CommandSend, KeyValue, ServerError};

/// Bytes of a producer's or consumer's own metadata.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Key and value pairs as a map.
///
/// # Errors
/// MetadataError when they are too large.
pub(crate) fn metadata_of(pairs: &[KeyValue]) -> Result<std::collections::BTreeMap<String, String>, Refusal> {
    let bytes: usize = pairs.iter().map(|pair| pair.key.len() + pair.value.len()).sum();
    if bytes > METADATA_BYTES_MAX {
        let text = format!("the metadata has {bytes} bytes, the limit is {METADATA_BYTES_MAX}");
        return Err((ServerError::MetadataError, text));
    }
    Ok(pairs.iter().map(|pair| (pair.key.clone(), pair.value.clone())).collect())
}

impl Broker {
    pub(crate) fn on_producer(&mut self, now: Now, conn: ConnId, command: CommandProducer) {
        self.decide_producer(now, conn, command, Proof::Missing);
    }

    pub(crate) fn decide_producer(&mut self, now: Now, conn: ConnId, command: CommandProducer, proof: Proof) {
        let request_id = command.request_id;
        if let Err((code, text)) = self.begin_producer(now, conn, command, proof) {
            self.out.command(conn, &commands::error(request_id, code, &text));
        }
    }

    fn begin_producer(
        &mut self,
        now: Now,
        conn: ConnId,
        command: CommandProducer,
        proof: Proof,
    ) -> Result<(), Refusal> {
        let name = self.permitted_topic(conn, &command.topic, Operation::Produce)?;
        if self.must_prove(&name, proof) {
            self.prove(conn, &name, Held::Producer(Box::new(command)));
            return Ok(());
        }
        if let Some(subscription) = &command.initial_subscription_name {
            let (_, subscription) =
                self.permitted_subscription(conn, &command.topic, subscription, Operation::Consume)?;
            self.permit(conn, Operation::CreateSubscription, Object::Subscription(&name, &subscription))?;
        }
        let Some(session) = self.sessions.get(&conn) else { return Ok(()) };
        if let Some(slot) = session.producers.get(&command.producer_id).map(|handle| handle.slot) {
            return self.repeat_producer(now, conn, slot, &name, &command);
        }
        if self.handles(conn) >= HANDLES_MAX {
            let text = format!("a connection may have {HANDLES_MAX} producers and consumers; open another one");
            return Err((ServerError::NotAllowedError, text));
        }
        let create = self.creation_rule(&name, true)?;
        let spec = self.producer_spec(conn, &command)?;
        self.count_in(conn, &name, Resource::Producers)?;
        let key = spec.key;
        let call = TopicCall::Produce(Box::new(spec));
        match command.schema {
            Some(schema) => {
                // Counted but not yet handed over: the slot is filled in when the schema is known.
                self.with_schema(now, conn, &name, schema, SchemaWait::Call { create, call });
            }
            None => self.call(now, &name, create, call),
        }
        self.remember_producer(key, &name);
        Ok(())
    }

    /// The same producer asked for again is told the same again (facts/pulsar-wire.md §6).
    fn repeat_producer(
        &mut self,
        now: Now,
        conn: ConnId,
        slot: OwnerId,
        name: &TopicName,
        command: &CommandProducer,
    ) -> Result<(), Refusal> {
        let key = ProducerKey { conn, producer_id: command.producer_id };
        let request_id = command.request_id;
        match self.with_topic(slot, now, |topic, env| topic.repeat_producer(key, name, request_id, env)) {
            Some(true) => Ok(()),
            Some(false) | None => {
                let text = format!("producer id {} is already in use on this connection", command.producer_id);
                Err((ServerError::ServiceNotReady, text))
            }
        }
    }

    fn producer_spec(&mut self, conn: ConnId, command: &CommandProducer) -> Result<ProducerSpec, Refusal> {
        let metadata = metadata_of(&command.metadata)?;
        let given = command.producer_name.clone().filter(|name| !name.is_empty());
        if given.as_ref().is_some_and(|name| name.len() > 256) {
            return Err((ServerError::NotAllowedError, "a producer name has at most 256 bytes".to_owned()));
        }
        self.producer_names += 1;
        let options = &self.core.options;
        let generated = || format!("{}-{}-{:x}-{}", options.region_name, options.node, self.boot, self.producer_names);
        let Some(session) = self.sessions.get(&conn) else {
            return Err((ServerError::ServiceNotReady, "the connection is gone".to_owned()));
        };
        Ok(ProducerSpec {
            key: ProducerKey { conn, producer_id: command.producer_id },
            request_id: command.request_id,
            name: given.unwrap_or_else(generated),
            epoch: command.epoch(),
            access: command.producer_access_mode(),
            topic_epoch: command.topic_epoch,
            schema_version: None,
            metadata,
            address: session.info.peer.clone(),
            client_version: session.client_version.clone(),
            connected_since_ms: session.since_ms,
            initial_subscription: command.initial_subscription_name.clone(),
            encrypted: command.encrypted(),
        })
    }

    /// Counts a producer or consumer, and the connection itself the first time it touches the tenant.
    pub(crate) fn count_in(&mut self, conn: ConnId, name: &TopicName, what: Resource) -> Result<(), Refusal> {
        let code = if what == Resource::Producers { ServerError::ProducerBusy } else { ServerError::ConsumerBusy };
        let tenant = name.tenant();
        let directory = &self.core.directory;
        let Some(session) = self.sessions.get_mut(&conn) else { return Ok(()) };
        if !session.tenants.contains(tenant) {
            self.usage
                .take(directory, tenant, Resource::Connections)
                .map_err(|limit| (ServerError::NotAllowedError, limit.to_string()))?;
            session.tenants.insert(tenant.clone());
        }
        self.usage.take(directory, tenant, what).map_err(|limit| (code, limit.to_string()))
    }

    fn remember_producer(&mut self, key: ProducerKey, name: &TopicName) {
        let slot = self.topics.by_name.get(name).copied().unwrap_or(crate::broker::NOBODY);
        if let Some(session) = self.sessions.get_mut(&key.conn) {
            session.closed_producers.remove(&key.producer_id);
            session.producers.insert(key.producer_id, ProducerHandle { slot, tenant: name.tenant().clone() });
        }
    }

    pub(crate) fn on_send(
        &mut self,
        now: Now,
        conn: ConnId,
        command: CommandSend,
        payload: Option<Bytes>,
        charge: Charge,
    ) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let Some(handle) = session.producers.get(&command.producer_id) else {
            if !session.closed_producers.contains_key(&command.producer_id) {
                let text = format!("producer {} had already been closed", command.producer_id);
                self.refuse_connection(conn, ServerError::UnknownError, &text);
            }
            return;
        };
        let (slot, key) = (handle.slot, ProducerKey { conn, producer_id: command.producer_id });
        let body = payload.clone().unwrap_or_default();
        let wait = self.with_topic(slot, now, |topic, env| topic.handle_send(key, &command, body, charge, env));
        if let Some(Err(until)) = wait {
            self.hold_publish(conn, command, payload, until);
        }
    }

    pub(crate) fn on_close_producer(&mut self, now: Now, conn: ConnId, command: CommandCloseProducer) {
        let key = ProducerKey { conn, producer_id: command.producer_id };
        let handle = self.sessions.get_mut(&conn).and_then(|session| session.producers.remove(&command.producer_id));
        let success = commands::success(command.request_id);
        let Some(handle) = handle else {
            self.waiting.drop_held(conn, Some(command.producer_id), None);
            return self.out.command(conn, &success);
        };
        self.usage.release_producer(&handle.tenant);
        let answered =
            self.with_topic(handle.slot, now, |topic, env| topic.close_producer(key, command.request_id, env));
        if answered.is_none() {
            self.out.command(conn, &success);
        }
    }
}
