//! A client was sent here for a topic that is not ours as far as we know: it may know more than we do.
//!
//! **What**  A lookup answers with the new owner as soon as the owner record is committed, and the client may arrive before the change does.
//! A refusal costs it a pause and another lookup (`Outbox::refuse_subscribe`). So the command is
//! held while the owner record is read from the metadata itself, and then decided once.
//!
//! **States**  held: the record of the owner is asked → our own life is asked → decided.
//!
//! **Invariants**
//! - I4  a held command is decided exactly once, or dropped when its connection or its handle closes; at most
//!   [`HELD_MAX`] are held.
//!
//! **Not here**  Who owns what (`cluster`).

use crate::broker::Broker;
use crate::io::ConnId;
use crate::session::waiting::Waiter;
use base::{Now, TopicName};
use cluster::{Owner, Ownership};
use meta_api::{MetaRequest, MetaResponse};
use tenancy::keys;
use wire::pulsar::{CommandProducer, CommandSubscribe};

/// Commands held at the same time; more are decided by what is known.
pub(crate) const HELD_MAX: usize = 10_000;

/// A client's command that waits for the proof.
#[derive(Debug)]
pub(crate) enum Held {
    Producer(Box<CommandProducer>),
    Subscribe(Box<CommandSubscribe>),
}

/// Whether what is known of a topic's owner was compared with the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Missing,
    Had,
}

/// A held command and what is still to be read for it, the next at the end.
#[derive(Debug)]
pub(crate) struct Proving {
    conn: ConnId,
    command: Held,
    keys: Vec<String>,
}

impl Proving {
    /// Whether it is the command of this producer (or else consumer).
    pub(crate) fn is_of(&self, conn: ConnId, producer: Option<u64>, consumer: Option<u64>) -> bool {
        self.conn == conn
            && match &self.command {
                Held::Producer(command) => producer == Some(command.producer_id),
                Held::Subscribe(command) => consumer == Some(command.consumer_id),
            }
    }
}

impl Broker {
    /// Whether the metadata must be asked before a topic's client is refused.
    pub(crate) fn must_prove(&self, topic: &TopicName, proof: Proof) -> bool {
        let Some(bundle) = self.core.bundle_of(topic) else { return false };
        if self.core.cluster.view().is_none_or(|view| view.is_apart()) {
            return false; // The metadata would not answer.
        }
        let strange = matches!(self.core.cluster.owner(&bundle), Owner::By(_) | Owner::Nobody);
        proof == Proof::Missing && strange && self.waiting.held() < HELD_MAX // I4
    }

    /// Holds a command until the owner record was read.
    pub(crate) fn prove(&mut self, conn: ConnId, topic: &TopicName, command: Held) {
        let (Some(bundle), Ownership::Shared(view)) = (self.core.bundle_of(topic), &self.core.cluster) else { return };
        let keys = vec![keys::alive_key(view.me()), keys::owner_key(&bundle.0, bundle.1)];
        self.ask_next(Proving { conn, command, keys });
    }

    fn ask_next(&mut self, proving: Proving) {
        let Some(key) = proving.keys.last().cloned() else { return };
        self.ask_meta(MetaRequest::Get { key }, Waiter::Proof(proving));
    }

    /// One of the records was read.
    pub(crate) fn handle_proof(&mut self, now: Now, mut proving: Proving, response: &MetaResponse) {
        if let (Some(key), MetaResponse::Value(Some(found))) = (proving.keys.pop(), response) {
            self.handle_cluster_event(now, &key, found.version, Some(&found.value));
        }
        if !self.sessions.contains_key(&proving.conn) {
            return; // I4
        }
        if proving.keys.is_empty() {
            match proving.command {
                Held::Producer(command) => self.decide_producer(now, proving.conn, *command, Proof::Had),
                Held::Subscribe(command) => self.decide_subscribe(now, proving.conn, *command, Proof::Had),
            }
        } else {
            self.ask_next(proving);
        }
    }
}
