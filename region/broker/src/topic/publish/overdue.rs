//! Publishes that were accepted just before the disk was full: their producers hear of it.
//!
//! **What**  The bookie refuses such an entry, and the log offers it again until there is space. Nobody knows when
//! that is, so after [`PATIENCE`] the producer gets the error that a new message would get. The entry stays in the
//! log's queue, in its place: it may be stored later, as after any error or lost connection, and deduplication then knows it.
//!
//! **Invariants**
//! - I1  a publish is answered once, with a receipt or with an error.
//! - I2  no producer gets an error for one message and a receipt for another that it sent before that error
//!   and that had no answer then.
//!
//! **Tests**  `overdue/tests.rs`.

#[cfg(test)]
mod tests;

use super::{PublishQueue, Source};
use crate::broker::Broker;
use crate::core::LOG_FULL;
use crate::topic::{Topic, TopicEnv};
use base::{Mono, Now, OwnerId};
use std::time::Duration;
use wire::commands;
use wire::pulsar::{BaseCommand, ServerError};

/// How long an accepted message waits while the disk is full. Clients give up after 30 s, which tells them nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whom to answer instead of the log.
#[derive(Debug)]
struct Overdue {
    source: Source,
    bytes: u64,
    /// The answer to the producer's close, which waited for this one.
    then: Option<Box<BaseCommand>>,
}

impl PublishQueue {
    /// Whether a client has waited for longer than [`PATIENCE`].
    fn has_overdue(&self, now: Mono) -> bool {
        let oldest = self.pending.iter().find(|pending| matches!(pending.source, Source::Client { .. }));
        oldest.is_some_and(|pending| pending.since + PATIENCE <= now)
    }

    /// Every client that waits, when one of them is overdue (I2); they are not answered again (I1).
    fn take_overdue(&mut self, now: Mono) -> Vec<Overdue> {
        if !self.has_overdue(now) {
            return Vec::new();
        }
        let clients = self.pending.iter_mut().filter(|pending| matches!(pending.source, Source::Client { .. }));
        let overdue = clients.map(|pending| Overdue {
            source: std::mem::replace(&mut pending.source, Source::Refused),
            bytes: pending.bytes,
            then: pending.then.take(),
        });
        let overdue = overdue.collect();
        assert!(!self.has_overdue(now), "overdue I1: nobody is answered twice");
        overdue
    }
}

impl Topic {
    fn refuse_overdue(&mut self, env: &mut TopicEnv<'_>) {
        for Overdue { source, bytes, then } in self.publishing.take_overdue(env.now.mono) {
            self.release(&source, bytes, env);
            let Source::Client { key, sequence_id, highest_sequence_id } = source else { continue };
            let sequence = sequence_id.max(highest_sequence_id.unwrap_or(0));
            let code = ServerError::PersistenceError;
            env.out.command(key.conn, &commands::send_error(key.producer_id, sequence, code, LOG_FULL));
            if let Some(then) = then {
                env.out.command(key.conn, &then);
            }
        }
    }
}

impl Broker {
    /// Called every now and then: while the disk is full, nobody waits for ever.
    pub(crate) fn refuse_overdue_publishes(&mut self, now: Now) {
        if !self.core.is_log_full() {
            return;
        }
        let concerned = self.topics.by_slot.iter().filter(|(_, topic)| topic.publishing.has_overdue(now.mono));
        let slots: Vec<OwnerId> = concerned.map(|(slot, _)| *slot).collect();
        for slot in slots {
            self.with_topic(slot, now, Topic::refuse_overdue);
        }
    }
}
