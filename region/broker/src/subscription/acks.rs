//! Acknowledgements of clients: checked, handed to the cursor, and what follows when they are durable.
//!
//! **Invariants**
//! - I1  an entry leaves its consumer's pending entries only when its acknowledgement is durable.
//! - I2  an id that names no entry of this topic acknowledges nothing and is answered with an error that names it.

use super::consumer::ConsumerKey;
use super::cursor_ops::{AckReply, Op};
use super::deliver::{cursor, mark_delete};
use super::{Dispatcher, Subscription};
use crate::env::Env;
use base::Position;
use managed::{AckSet, CursorError};
use wire::commands::{position, reached_end_of_topic};
use wire::payload::BATCH_MESSAGES_MAX;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandAck, MessageIdData, ServerError};

/// The first protocol version that knows ReachedEndOfTopic.
const END_OF_TOPIC_VERSION: i32 = 9;
/// Words of an ack set that the largest batch needs.
const ACK_WORDS_MAX: usize = BATCH_MESSAGES_MAX.div_ceil(64) as usize;

/// Why an acknowledgement failed: the code to answer, and words.
type AckFailure = (ServerError, String);

/// What a message id of an acknowledgement names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    /// Nothing that could still be acknowledged.
    Passed,
    /// An entry, of which the set remains unacknowledged.
    Entry(Position, Option<AckSet>),
}

impl Subscription {
    /// A client acknowledges. When it wants to hear of it, it does once it is durable. Acknowledgements of unknown consumers
    /// are dropped without an answer.
    pub fn handle_ack(&mut self, key: ConsumerKey, ack: CommandAck, env: &mut Env<'_>) {
        let Some(consumer) = self.consumers.get_mut(key) else { return };
        consumer.meters.last_acked_ms = env.now.wall_ms;
        self.meters.traffic.last_acked_ms = env.now.wall_ms;
        let (conn, consumer_id) = (key.conn, key.consumer_id);
        let reply = ack.request_id.map(|request_id| AckReply { conn, consumer_id, request_id });
        let outcome = match ack.ack_type() {
            _ if ack.txnid_most_bits.is_some() || ack.txnid_least_bits.is_some() => {
                Err((ServerError::NotAllowedError, "Transactions are not enabled.".to_owned()))
            }
            AckType::Individual => self.ack_each(key, &ack.message_id, env),
            AckType::Cumulative => self.ack_up_to(key, &ack.message_id, env),
        };
        match (outcome, ack.ack_type()) {
            (Ok(()), AckType::Individual) => self.ops.answer_each(reply),
            (Ok(()), AckType::Cumulative) => self.ops.answer_up_to(reply),
            (Err(failure), _) => {
                if let Some(reply) = reply {
                    reply.send(Some(failure), env);
                }
            }
        }
        self.ops.submit(self.site(), env);
        self.ops.answer_finished(env);
    }

    /// Acknowledges single entries. Ids that name nothing fail the answer, not the other ids.
    fn ack_each(&mut self, key: ConsumerKey, ids: &[MessageIdData], env: &Env<'_>) -> Result<(), AckFailure> {
        let mut outcome = Ok(());
        let mut entries = 0;
        for id in ids {
            match self.named(id, env) {
                Ok(Named::Passed) => self.settle(&[(position(id), None)], env),
                Ok(Named::Entry(position, left)) => match self.ops.add_each(position, left) {
                    Ok(()) => entries += 1,
                    Err(full) => outcome = Err((ServerError::TooManyRequests, full.to_string())),
                },
                Err(failure) => outcome = Err(failure),
            }
        }
        self.credit_entries(key, entries, env);
        outcome
    }

    /// Acknowledges everything up to the one id given. Shared and Key_Shared have no such acknowledgement: it changes
    /// nothing and is answered with success, as in Pulsar.
    fn ack_up_to(&mut self, key: ConsumerKey, ids: &[MessageIdData], env: &Env<'_>) -> Result<(), AckFailure> {
        let ([id], Dispatcher::Single(_)) = (ids, &self.dispatcher) else { return Ok(()) };
        let asked = position(id);
        let before = mark_delete(env, self.cursor);
        let (up_to, left) = if asked <= before {
            return Ok(());
        } else if env.ledger.contains(asked) {
            (asked, ack_set(id)?)
        } else if asked < env.ledger.last_confirmed() {
            (env.ledger.previous_position(asked), None) // Between two ledgers: the last entry before it.
        } else {
            return Err(unknown_entry(asked, env));
        };
        let entries = env.ledger.entries_after(before).saturating_sub(env.ledger.entries_after(up_to));
        self.ops.add_up_to(up_to, left);
        self.credit_entries(key, entries, env);
        Ok(())
    }

    /// Checks one id (I2).
    fn named(&self, id: &MessageIdData, env: &Env<'_>) -> Result<Named, AckFailure> {
        let position = position(id);
        if position <= mark_delete(env, self.cursor) || position < env.ledger.first_position() {
            return Ok(Named::Passed);
        }
        if !env.ledger.contains(position) {
            return Err(unknown_entry(position, env));
        }
        Ok(Named::Entry(position, ack_set(id)?))
    }

    /// Counts acknowledged entries where nobody keeps track of what was sent; others are counted when they are settled.
    fn credit_entries(&mut self, key: ConsumerKey, entries: u64, env: &Env<'_>) {
        if let (Dispatcher::Single(_), Some(consumer)) = (&self.dispatcher, self.consumers.get_mut(key)) {
            let messages = entries * consumer.meters.messages_per_entry();
            consumer.meters.record_acked(env.now, messages);
            self.meters.traffic.record_acked(env.now, messages);
        }
    }

    /// The outcome of a cursor operation that this subscription began.
    pub fn handle_cursor_done(&mut self, ctx: u64, result: Result<(), CursorError>, env: &mut Env<'_>) {
        match self.ops.finish(ctx, result, env.now.mono) {
            Some((Op::AckEach(acks), Ok(()))) => self.settle(&acks, env),
            Some((Op::Advance { expired, .. }, Ok(()))) => self.handle_advanced(expired, env),
            Some((Op::Reset { partial, .. }, Ok(()))) => self.handle_reset(ctx, partial, env),
            Some((Op::ResetPartial { .. }, _) | (Op::Reset { .. }, Err(_))) => self.end_reset(env),
            Some((Op::AckUpTo(..), Ok(())) | (Op::AckEach(_) | Op::AckUpTo(..) | Op::Advance { .. }, Err(_)))
            | None => {}
        }
        self.note_mark_delete(env);
        self.ops.answer_finished(env);
        self.ops.submit(self.site(), env);
        self.tell_end(env);
        self.dispatch(env);
    }

    /// Frees what is acknowledged durably (I1).
    fn settle(&mut self, acks: &[(Position, Option<AckSet>)], env: &Env<'_>) {
        let (Dispatcher::Shared(shared), mut members) = self.split() else { return };
        for (position, _) in acks {
            if let Some((key, messages)) = shared.settle(*position, &mut members, env) {
                members.meters.traffic.record_acked(env.now, messages);
                if let Some(consumer) = members.consumers.get_mut(key) {
                    consumer.meters.record_acked(env.now, messages);
                }
            }
        }
    }

    /// Notes when the mark-delete moved, and forgets what it covers.
    fn note_mark_delete(&mut self, env: &Env<'_>) {
        let now_at = mark_delete(env, self.cursor);
        if now_at != self.mark_delete_seen {
            self.mark_delete_seen = now_at;
            self.meters.last_mark_delete_ms = env.now.wall_ms;
            self.redeliveries.forget_up_to(now_at);
        }
    }

    /// Tells consumers that a terminated topic has nothing left for them.
    pub(super) fn tell_end(&mut self, env: &mut Env<'_>) {
        let Some(cursor) = cursor(env, self.cursor).filter(|_| self.terminated && !self.consumers.is_empty()) else {
            return;
        };
        if cursor.backlog_entries(env.ledger) > 0 {
            return;
        }
        for consumer in self.consumers.iter_mut().filter(|consumer| !consumer.end_told) {
            consumer.end_told = true;
            if consumer.spec.protocol_version >= END_OF_TOPIC_VERSION {
                let ConsumerKey { conn, consumer_id } = consumer.spec.key;
                env.out.command(conn, &reached_end_of_topic(consumer_id));
            }
        }
    }
}

/// What remains of a batch; `None` for nothing.
fn ack_set(id: &MessageIdData) -> Result<Option<AckSet>, AckFailure> {
    if id.ack_set.len() > ACK_WORDS_MAX {
        let words =
            format!("an ack set of {} words is longer than any batch: at most {ACK_WORDS_MAX}", id.ack_set.len());
        return Err((ServerError::MetadataError, words));
    }
    Ok(Some(AckSet::from_wire(&id.ack_set)).filter(|left| !left.is_empty()))
}

fn unknown_entry(position: Position, env: &Env<'_>) -> AckFailure {
    let (first, last) = (env.ledger.first_position(), env.ledger.last_confirmed());
    let words = format!(
        "entry {position} does not exist in this topic, which holds {first} to {last}; it was not acknowledged"
    );
    (ServerError::MetadataError, words)
}
