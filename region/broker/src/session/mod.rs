//! One client connection: handshake, keep-alive, and what each command means.
//!
//! **States**  Handshaking → Active → Closing.  Before the handshake only CONNECT, PING and PONG are taken; a second CONNECT ends
//! the connection (facts/pulsar-wire.md §3).
//!
//! **Invariants**
//! - I1  every command that names an object is authorised against that object before anything else happens.
//! - I2  producers and consumers of a session are exactly those that the topics know of, up to notes not yet delivered.
//!
//! **Not here**  What topics do with commands (`topic`).

pub(crate) mod auth;
mod connect;
mod consume;
pub(crate) mod held;
mod listing;
mod lookup;
mod produce;
mod schema;
pub(crate) mod waiting;

use crate::broker::Broker;
use crate::io::{BrokerEffect, ConnId, ConnInfo};
use ::auth::AuthSession;
use base::{Mono, Now, OwnerId, SubscriptionName, TenantName, TopicName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wire::commands;
use wire::frame::{FrameError, RawFrame, decode_command};
use wire::pulsar::base_command::Command;
use wire::pulsar::{FeatureFlags, ServerError};

/// Producers and consumers that one connection may have.
const HANDLES_MAX: usize = 10_000;

/// Where a connection stands.
#[derive(Debug)]
pub(crate) enum Phase {
    Handshaking { since: Mono },
    Active(Box<AuthSession>),
    Closing,
}

/// A producer of the connection.
#[derive(Debug)]
pub(crate) struct ProducerHandle {
    pub slot: OwnerId,
    pub tenant: TenantName,
}

/// A consumer of the connection.
#[derive(Debug)]
pub(crate) struct ConsumerHandle {
    pub slot: OwnerId,
    pub topic: TopicName,
    pub subscription: SubscriptionName,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub info: ConnInfo,
    pub phase: Phase,
    pub protocol_version: i32,
    pub client_version: String,
    pub features: FeatureFlags,
    pub producers: BTreeMap<u64, ProducerHandle>,
    pub consumers: BTreeMap<u64, ConsumerHandle>,
    /// Producers closed from our side lately: what was already under way for them is dropped, not an error.
    pub closed_producers: BTreeMap<u64, Mono>,
    /// Tenants that count this connection.
    pub tenants: BTreeSet<TenantName>,
    pub last_heard: Mono,
    pub pinged: Option<Mono>,
    pub next_auth_check: Mono,
    pub since_ms: u64,
    /// Commands that wait for a quota.
    pub held: VecDeque<held::Held>,
}

impl Broker {
    pub(crate) fn open_session(&mut self, now: Now, conn: ConnId, info: ConnInfo) {
        self.out.open_window(conn);
        self.ingress.open(conn);
        if self.sessions.is_empty() {
            self.housekeeping = now.mono;
        }
        let over = self.sessions.len() as u64 >= self.core.options.connections_max;
        let session = Session {
            info,
            phase: Phase::Handshaking { since: now.mono },
            protocol_version: 0,
            client_version: String::new(),
            features: FeatureFlags::default(),
            producers: BTreeMap::new(),
            consumers: BTreeMap::new(),
            closed_producers: BTreeMap::new(),
            tenants: BTreeSet::new(),
            last_heard: now.mono,
            pinged: None,
            next_auth_check: now.mono + self.core.options.auth_check,
            since_ms: now.wall_ms,
            held: VecDeque::new(),
        };
        self.sessions.insert(conn, session);
        if over {
            let text = format!(
                "this broker has reached its limit of {} connections; close some or connect to another",
                self.core.options.connections_max
            );
            self.refuse_connection(conn, ServerError::TooManyRequests, &text);
        }
    }

    pub(crate) fn close_session(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        self.out.drop_window(conn);
        self.ingress.close(conn);
        for (producer_id, handle) in session.producers {
            self.usage.release_producer(&handle.tenant);
            let key = crate::topic::producers::ProducerKey { conn, producer_id };
            self.with_topic(handle.slot, now, |topic, env| topic.remove_producer(key, env));
        }
        for (consumer_id, handle) in session.consumers {
            self.usage.release_consumer(handle.topic.tenant());
            let key = crate::subscription::ConsumerKey { conn, consumer_id };
            let name = handle.subscription;
            self.with_topic(handle.slot, now, |topic, env| topic.close_consumer(&name, key, env));
        }
        for tenant in session.tenants {
            self.usage.release_connection(&tenant);
        }
    }

    /// Says why and closes: an answer that nobody asked for, then the end.
    pub(crate) fn refuse_connection(&mut self, conn: ConnId, code: ServerError, text: &str) {
        self.out.command(conn, &commands::unsolicited_error(code, text));
        self.end_connection(conn, text);
    }

    pub(crate) fn end_connection(&mut self, conn: ConnId, reason: &str) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            if matches!(session.phase, Phase::Closing) {
                return;
            }
            session.phase = Phase::Closing;
            self.out.effect(BrokerEffect::Close { conn, reason: reason.to_owned() });
        }
    }

    pub(crate) fn handle_garbage(&mut self, conn: ConnId, reason: &str) {
        self.refuse_connection(conn, ServerError::UnknownError, &format!("malformed frame: {reason}"));
    }

    pub(crate) fn handle_frame(&mut self, now: Now, conn: ConnId, frame: RawFrame) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.last_heard = now.mono;
        session.pinged = None;
        let command = match decode_command(&frame.command) {
            Ok(command) => command,
            Err(FrameError::UnknownCommand(kind)) => {
                let text = format!("command type {kind} is not known to this version of Meridian");
                return self.out.command(conn, &commands::unsolicited_error(ServerError::NotAllowedError, &text));
            }
            Err(error) => return self.handle_garbage(conn, &error.to_string()),
        };
        let Some(command) = command.command else { return };
        match session.phase {
            Phase::Closing => (),
            Phase::Handshaking { .. } => self.handle_handshake(now, conn, command),
            Phase::Active(_) => {
                if let Some((command, payload)) = self.hold(conn, command, frame.payload) {
                    self.handle_command(now, conn, command, payload);
                }
            }
        }
    }

    pub(crate) fn handle_command(&mut self, now: Now, conn: ConnId, command: Command, payload: Option<bytes::Bytes>) {
        match command {
            Command::Send(send) => self.on_send(now, conn, send, payload, held::Charge::Due),
            Command::Ack(ack) => self.on_ack(now, conn, ack),
            Command::Flow(flow) => self.on_flow(now, conn, flow),
            Command::Ping(_) => self.out.command(conn, &commands::pong()),
            Command::Pong(_) => (),
            Command::LookupTopic(lookup) => self.on_lookup(now, conn, lookup),
            Command::PartitionMetadata(query) => self.on_partition_metadata(now, conn, query),
            Command::Producer(producer) => self.on_producer(now, conn, *producer),
            Command::CloseProducer(close) => self.on_close_producer(now, conn, close),
            Command::Subscribe(subscribe) => self.on_subscribe(now, conn, *subscribe),
            Command::CloseConsumer(close) => self.on_close_consumer(now, conn, close),
            Command::Unsubscribe(unsubscribe) => self.on_unsubscribe(now, conn, unsubscribe),
            Command::RedeliverUnacknowledgedMessages(redeliver) => self.on_redeliver(now, conn, redeliver),
            Command::Seek(seek) => self.on_seek(now, conn, seek),
            Command::GetLastMessageId(query) => self.on_last_message_id(now, conn, query),
            Command::ConsumerStats(query) => self.on_consumer_stats(now, conn, query),
            Command::GetTopicsOfNamespace(query) => self.on_topics_of_namespace(conn, query),
            Command::GetSchema(query) => self.on_get_schema(conn, query),
            Command::GetOrCreateSchema(query) => self.on_get_or_create_schema(now, conn, query),
            Command::AuthResponse(response) => self.on_auth_response(now, conn, response),
            Command::Connect(_) => {
                let text = "a connection says CONNECT once";
                self.refuse_connection(conn, ServerError::NotAllowedError, text);
            }
            other => self.on_not_built(conn, &other),
        }
    }

    /// Commands of Pulsar that Meridian does not have (yet) get an honest answer where the protocol has room for one.
    fn on_not_built(&mut self, conn: ConnId, command: &Command) {
        const NO_TRANSACTIONS: &str = "Transactions are not enabled.";
        let (request_id, text) = match command {
            Command::NewTxn(c) => (Some(c.request_id), NO_TRANSACTIONS),
            Command::TcClientConnectRequest(c) => (Some(c.request_id), NO_TRANSACTIONS),
            Command::AddPartitionToTxn(c) => (Some(c.request_id), NO_TRANSACTIONS),
            Command::AddSubscriptionToTxn(c) => (Some(c.request_id), NO_TRANSACTIONS),
            Command::EndTxn(c) => (Some(c.request_id), NO_TRANSACTIONS),
            Command::WatchTopicList(c) => {
                (Some(c.request_id), "topic list watchers are not built in Meridian yet; list the topics instead")
            }
            _ => (None, "this command is not built in Meridian, or only brokers send it"),
        };
        let code = ServerError::NotAllowedError;
        match request_id {
            Some(id) => self.out.command(conn, &commands::error(id, code, text)),
            None => self.out.command(conn, &commands::unsolicited_error(code, text)),
        }
    }

    pub(crate) fn forget_producer(&mut self, conn: ConnId, producer_id: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let Some(handle) = session.producers.remove(&producer_id) {
            let until = session.last_heard + self.core.options.keep_alive;
            session.closed_producers.insert(producer_id, until);
            self.usage.release_producer(&handle.tenant);
        }
    }

    pub(crate) fn forget_consumer(&mut self, conn: ConnId, consumer_id: u64) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let Some(handle) = session.consumers.remove(&consumer_id) {
            self.usage.release_consumer(handle.topic.tenant());
        }
    }

    /// A connection takes bytes again: its consumers' topics go on.
    pub(crate) fn wake_connection(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let slots: BTreeSet<OwnerId> = session.consumers.values().map(|handle| handle.slot).collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| {
                if topic.is_ready() {
                    topic.wake_all(env);
                }
            });
        }
    }

    fn handles(&self, conn: ConnId) -> usize {
        self.sessions.get(&conn).map_or(0, |session| session.producers.len() + session.consumers.len())
    }
}
