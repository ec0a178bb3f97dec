//! Where every part of the broker puts what is to leave it, and how full each connection's outbound window is.
//!
//! **Invariants**
//! - I1  `outstanding(conn)` is the number of bytes sent to a connection and not yet reported written.
//! - I2  dispatch stops at [`WINDOW_BYTES`]; only answers to the client's own commands may pass it, and those are bounded
//!   because reading pauses.

use crate::io::{BrokerEffect, ConnId, Outgoing};
use crate::subscription::ConsumerKey;
use base::{FixedMap, OwnerId, RegionName};
use wire::commands;
use wire::pulsar::{BaseCommand, ServerError};

/// Bytes that may be under way to one connection before dispatch to it pauses (security.md C6: 8 MiB hard, so half).
pub const WINDOW_BYTES: u64 = 4 * 1024 * 1024;

/// What one part of the broker must tell another after the current input is handled.
#[derive(Debug)]
pub enum Note {
    /// The topic finished opening, failed to, or is gone: its waiters can be served.
    TopicChanged { slot: OwnerId },
    /// A producer ended from the topic's side (unload, fencing, deletion): the session forgets it.
    ProducerGone { conn: ConnId, producer_id: u64 },
    /// A consumer ended from the topic's side (seek, unload, unsubscribe): the session forgets it.
    ConsumerGone { conn: ConnId, consumer_id: u64 },
    /// A newcomer wants a name that this connection holds: if it does not answer a ping, it is dropped.
    ProbeLiveness { conn: ConnId },
    /// Frames that answer this link number go to the topic.
    LinkStarted { slot: OwnerId, number: u64 },
    /// Entries of this link from this region go to the topic.
    LinkAccepted { slot: OwnerId, from: RegionName, link: u64 },
}

/// Effects and notes of the input being handled, and the outbound window of each connection.
#[derive(Debug, Default)]
pub struct Outbox {
    effects: Vec<BrokerEffect>,
    notes: Vec<Note>,
    outstanding: FixedMap<ConnId, u64>,
}

impl Outbox {
    pub fn new() -> Self {
        Self::default()
    }

    /// A connection exists from now on.
    pub fn open_window(&mut self, conn: ConnId) {
        self.outstanding.insert(conn, 0);
    }

    /// A connection is gone; what is still sent to it is dropped.
    pub fn drop_window(&mut self, conn: ConnId) {
        self.outstanding.remove(&conn);
    }

    /// Sends one command.
    pub fn command(&mut self, conn: ConnId, command: &BaseCommand) {
        self.send(conn, Outgoing::One(wire::frame::encode_command(command)));
    }

    /// Refuses a SUBSCRIBE. Where another try may help, its consumer is closed too: the official C++ client, and those built on it,
    /// take no other sign for a reason to try again when it was their first (`ConsumerImpl::handleCreateConsumer` of
    /// 3.7.0, 4.0.0 and 4.2.0).
    pub fn refuse_subscribe(&mut self, key: ConsumerKey, request_id: u64, code: ServerError, text: &str) {
        self.command(key.conn, &commands::error(request_id, code, text));
        if code == ServerError::ServiceNotReady {
            self.command(key.conn, &commands::close_consumer(key.consumer_id));
        }
    }

    /// Sends encoded bytes; dropped when the connection is gone.
    pub fn send(&mut self, conn: ConnId, bytes: Outgoing) {
        if let Some(outstanding) = self.outstanding.get_mut(&conn) {
            *outstanding += bytes.len() as u64;
            self.effects.push(BrokerEffect::Send { conn, bytes });
        }
    }

    /// Whether the connection exists.
    pub fn is_open(&self, conn: ConnId) -> bool {
        self.outstanding.contains_key(&conn)
    }

    /// Whether dispatch to this connection may go on (I2).
    pub fn writable(&self, conn: ConnId) -> bool {
        self.outstanding.get(&conn).is_some_and(|bytes| *bytes < WINDOW_BYTES)
    }

    pub fn outstanding(&self, conn: ConnId) -> u64 {
        self.outstanding.get(&conn).copied().unwrap_or(0)
    }

    /// Bytes left the process; true when the connection became writable again.
    pub fn handle_written(&mut self, conn: ConnId, bytes: u64) -> bool {
        let Some(outstanding) = self.outstanding.get_mut(&conn) else { return false };
        let blocked = *outstanding >= WINDOW_BYTES;
        *outstanding = outstanding.saturating_sub(bytes);
        blocked && *outstanding < WINDOW_BYTES
    }

    pub fn effect(&mut self, effect: BrokerEffect) {
        self.effects.push(effect);
    }

    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// All effects so far, oldest first.
    pub fn take_effects(&mut self) -> Vec<BrokerEffect> {
        std::mem::take(&mut self.effects)
    }
}
