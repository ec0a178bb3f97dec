//! From a SEND command to its receipt.
//!
//! **What**  A message is checked, charged to quotas, decided by deduplication, handed to the log, and answered when the
//! log says it is durable. Answers leave in the order of the sends, per topic.
//!
//! **Invariants**
//! - I1  `pending` is in the order of the adds; the log confirms in that order, so a confirmed entry is the first stored one.
//! - I2  a receipt leaves only after the log confirmed the entry, or, for a duplicate, after everything before it.
//! - I3  every byte charged to a connection is released once.

mod overdue;

use crate::core::{Core, LOG_FULL};
use crate::session::held::Charge;
use crate::topic::dedup::{Chunk, DedupVerdict, Sequence};
use crate::topic::log_state::{LastEntry, StoredNow, batch_index, sequence_of};
use crate::topic::producers::ProducerKey;
use crate::topic::{Topic, TopicEnv};
use base::{EntryData, Mono, Position, RegionName};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use wire::commands;
use wire::payload::{self, PayloadHints};
use wire::pulsar::{BaseCommand, CommandSend, ServerError};
use wire::stored::{EntryFormat, Origin, StoredHead};

/// What a message's own metadata may add to its size, in bytes.
const METADATA_BYTES_MAX: u64 = 64 * 1024;
/// What the head of an entry takes at most, in bytes.
const HEAD_BYTES: usize = 40;

/// Who waits for the outcome of an add.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Client {
        key: ProducerKey,
        sequence_id: u64,
        highest_sequence_id: Option<u64>,
    },
    Link {
        from: RegionName,
        origin: Position,
    },
    /// A client that got an error instead; the entry may still be stored.
    Refused,
}

/// One publish under way.
#[derive(Debug)]
struct Pending {
    source: Source,
    bytes: u64,
    stored: Option<Stored>,
    since: Mono,
    /// The answer to the producer's close, which waits for this one.
    then: Option<Box<BaseCommand>>,
}

/// What the log state needs when the entry is durable; absent for a duplicate, which is not stored.
#[derive(Debug)]
struct Stored {
    ctx: u64,
    head: StoredHead,
    batch_index: i32,
    publish_time_ms: u64,
    sequence: Option<OwnedSequence>,
}

#[derive(Debug)]
struct OwnedSequence {
    producer: String,
    highest: u64,
    chunk: Option<(String, i32, i32)>,
}

impl OwnedSequence {
    fn new(sequence: Sequence<'_>) -> Self {
        Self {
            producer: sequence.producer.to_owned(),
            highest: sequence.highest,
            chunk: sequence.chunk.map(|chunk| (chunk.uuid.to_owned(), chunk.id, chunk.count)),
        }
    }

    fn as_ref(&self) -> Sequence<'_> {
        let chunk = self.chunk.as_ref().map(|(uuid, id, count)| Chunk { uuid, id: *id, count: *count });
        Sequence { producer: &self.producer, highest: self.highest, chunk }
    }
}

/// Publishes of one topic that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct PublishQueue {
    pending: VecDeque<Pending>,
    next_ctx: u64,
    /// Message index after the last pending entry.
    next_index: u64,
}

impl PublishQueue {
    pub(crate) fn starting_at(next_index: u64) -> Self {
        Self { next_index, ..Self::default() }
    }

    /// Keeps an answer back until the last publish of this producer is answered; false when none is under way.
    pub(crate) fn close_after(&mut self, key: ProducerKey, answer: &BaseCommand) -> bool {
        let last = self.pending.iter_mut().rev().find(|pending| match &pending.source {
            Source::Client { key: own, .. } => *own == key,
            Source::Link { .. } | Source::Refused => false,
        });
        last.map(|pending| pending.then = Some(Box::new(answer.clone()))).is_some()
    }

    fn head(&self, wall_ms: u64, messages: u32, origin: Option<Origin>) -> (StoredHead, Bytes) {
        let index = self.next_index + u64::from(messages) - 1;
        let head = StoredHead { format: EntryFormat::Pulsar, broker_timestamp_ms: wall_ms, index, messages, origin };
        // Kept as long as the entry: of its own, and no larger than it is.
        let mut encoded = BytesMut::with_capacity(HEAD_BYTES);
        head.encode(&mut encoded);
        (head, encoded.freeze())
    }
}

/// Checks a message and reads what the broker needs of it.
fn check(command: &CommandSend, body: &Bytes, message_bytes_max: u32) -> Result<PayloadHints, (ServerError, String)> {
    if let Some(highest) = command.highest_sequence_id
        && highest != 0
        && command.sequence_id > highest
    {
        let text = format!("sequence id {} is above the batch's highest sequence id {highest}", command.sequence_id);
        return Err((ServerError::MetadataError, text));
    }
    if body.len() as u64 > u64::from(message_bytes_max) + METADATA_BYTES_MAX {
        let text = format!(
            "message of {} bytes exceeds the maximum message size of {message_bytes_max}; send smaller messages or enable chunking",
            body.len()
        );
        return Err((ServerError::NotAllowedError, text));
    }
    payload::verify_checksum(body).map_err(|error| (ServerError::ChecksumError, error.to_string()))?;
    PayloadHints::scan(body).map_err(|error| (ServerError::MetadataError, error.to_string()))
}

impl Topic {
    /// A client sent a message. The session knows that the producer id belongs to this topic.
    ///
    /// # Errors
    /// The instant from which the quotas let it pass: the session keeps it until then and brings it again, charged.
    pub(crate) fn handle_send(
        &mut self,
        key: ProducerKey,
        command: &CommandSend,
        body: Bytes,
        charge: Charge,
        env: &mut TopicEnv<'_>,
    ) -> Result<(), Mono> {
        // While closing: the client will be told by CloseProducer and sends again after it reconnects.
        if !self.is_ready() || self.producers.get(key).is_none() {
            return Ok(());
        }
        let hints = match self.check_send(command, &body, env.core) {
            Ok(hints) => hints,
            Err((code, text)) => {
                refuse(env, key, command, code, text);
                return Ok(());
            }
        };
        let bytes = body.len() as u64;
        if charge == Charge::Due {
            let pass_at = env.limits.reserve_publish(env.now.mono, self.slot, hints.num_messages, bytes);
            if pass_at > env.now.mono {
                self.meters.publish_rate_limited += 1;
                return Err(pass_at);
            }
        }
        self.count_publish(key, hints.num_messages, bytes, env);
        let source =
            Source::Client { key, sequence_id: command.sequence_id, highest_sequence_id: command.highest_sequence_id };
        let sequence = self.settings.policies.deduplication_enabled.then(|| sequence_of(&hints));
        if let Some(sequence) = sequence
            && self.log.dedup.push(sequence) == DedupVerdict::Duplicate
        {
            self.answer_duplicate(source, bytes, env);
            return Ok(());
        }
        let stored = (batch_index(&hints), hints.publish_time_ms, sequence.map(OwnedSequence::new));
        self.append(source, hints.num_messages, None, body, stored, env);
        Ok(())
    }

    fn check_send(
        &self,
        command: &CommandSend,
        body: &Bytes,
        core: &Core,
    ) -> Result<PayloadHints, (ServerError, String)> {
        if self.terminated.is_some() {
            return Err((ServerError::TopicTerminatedError, format!("topic {} is terminated", self.name)));
        }
        if core.is_log_full() {
            return Err((ServerError::PersistenceError, LOG_FULL.to_owned()));
        }
        let hints = check(command, body, self.settings.policies.limits.message_bytes)?;
        if self.settings.policies.encryption_required && !hints.has_encryption_keys {
            let text = format!("namespace {} requires encrypted messages", self.name.namespace());
            return Err((ServerError::MetadataError, text));
        }
        Ok(hints)
    }

    /// An entry from another region, already found to be the exact successor.
    pub(crate) fn publish_replicated(
        &mut self,
        from: RegionName,
        origin: Origin,
        body: Bytes,
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let Ok(hints) = PayloadHints::scan(&body) else { return false };
        let stored = (batch_index(&hints), hints.publish_time_ms, None);
        let source = Source::Link { from, origin: origin.position };
        self.append(source, hints.num_messages, Some(origin), body, stored, env)
    }

    fn count_publish(&mut self, key: ProducerKey, messages: u32, bytes: u64, env: &mut TopicEnv<'_>) {
        env.ingress.charge(key.conn, bytes, env.out);
        self.meters.record_in(env.now.mono, messages, bytes);
        if let Some(producer) = self.producers.get(key) {
            producer.messages.record(env.now.mono, u64::from(messages));
            producer.bytes.record(env.now.mono, bytes);
        }
    }

    fn append(
        &mut self,
        source: Source,
        messages: u32,
        origin: Option<Origin>,
        body: Bytes,
        (batch_index, publish_time_ms, sequence): (i32, u64, Option<OwnedSequence>),
        env: &mut TopicEnv<'_>,
    ) -> bool {
        let bytes = body.len() as u64;
        let (head, encoded) = self.publishing.head(env.now.wall_ms, messages, origin);
        self.publishing.next_ctx += 1;
        let ctx = self.publishing.next_ctx;
        let data = EntryData::new(encoded, body);
        if let Err(refused) = self.ledger.add(env.now, ctx, data, &mut self.ledger_fx) {
            // The bounds of the log are above what all connections together may have pending, so this is a log that
            // stopped. Clients reconnect and send again; nothing of theirs was answered.
            self.release(&source, bytes, env);
            self.give_up(format!("the log takes no entry: {refused}"), env);
            return false;
        }
        self.publishing.next_index = head.index + 1;
        let stored = Some(Stored { ctx, head, batch_index, publish_time_ms, sequence });
        self.publishing.pending.push_back(Pending { source, bytes, stored, since: env.now.mono, then: None });
        true
    }

    fn answer_duplicate(&mut self, source: Source, bytes: u64, env: &mut TopicEnv<'_>) {
        let pending = Pending { source, bytes, stored: None, since: env.now.mono, then: None };
        if self.publishing.pending.is_empty() {
            self.answer(pending, None, env);
        } else {
            self.publishing.pending.push_back(pending);
        }
    }

    /// The log confirmed the oldest add.
    pub(crate) fn handle_persisted(&mut self, ctx: u64, position: Position, env: &mut TopicEnv<'_>) {
        let Some(pending) = self.publishing.pending.pop_front() else { return };
        let stored = pending.stored.as_ref();
        let expected = stored.map(|stored| stored.ctx);
        assert_eq!(expected, Some(ctx), "PublishQueue I1: the log confirms in the order of the adds");
        if let Some(stored) = stored {
            let now = StoredNow {
                head: stored.head,
                batch_index: stored.batch_index,
                publish_time_ms: stored.publish_time_ms,
                sequence: stored.sequence.as_ref().map(OwnedSequence::as_ref),
            };
            self.log.observe_stored(position, &now);
        }
        self.meters.record_written(env.now.mono, env.now.mono.since(pending.since), pending.bytes);
        self.meters.last_publish_ms = env.now.wall_ms;
        self.answer(pending, Some(position), env);
        while self.publishing.pending.front().is_some_and(|next| next.stored.is_none()) {
            if let Some(duplicate) = self.publishing.pending.pop_front() {
                self.answer(duplicate, None, env);
            }
        }
        self.log_grew = true;
    }

    /// Whether these adds are stored is unknown: nobody is answered; clients send again, links rewind.
    pub(crate) fn handle_adds_unknown(&mut self, env: &mut TopicEnv<'_>) {
        for pending in std::mem::take(&mut self.publishing.pending) {
            self.release(&pending.source, pending.bytes, env);
        }
        self.log.dedup.forget_unpersisted();
    }

    fn answer(&mut self, pending: Pending, position: Option<Position>, env: &mut TopicEnv<'_>) {
        self.release(&pending.source, pending.bytes, env);
        match pending.source {
            Source::Client { key, sequence_id, highest_sequence_id } => {
                let receipt = commands::send_receipt(key.producer_id, sequence_id, highest_sequence_id, position);
                env.out.command(key.conn, &receipt);
                if let Some(then) = pending.then {
                    env.out.command(key.conn, &then);
                }
            }
            Source::Link { from, origin } => self.handle_link_stored(&from, origin, env),
            Source::Refused => (),
        }
    }

    fn release(&mut self, source: &Source, bytes: u64, env: &mut TopicEnv<'_>) {
        if let Source::Client { key, .. } = source {
            env.ingress.release(key.conn, bytes, env.out);
        }
    }

    /// The newest durable entry.
    pub(crate) fn last_entry(&self) -> Option<LastEntry> {
        self.log.last
    }
}

fn refuse(env: &mut TopicEnv<'_>, key: ProducerKey, command: &CommandSend, code: ServerError, text: String) {
    let sequence = command.sequence_id.max(command.highest_sequence_id.unwrap_or(0));
    env.out.command(key.conn, &commands::send_error(key.producer_id, sequence, code, &text));
}
