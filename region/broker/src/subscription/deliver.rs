//! Sending one entry to one consumer: what dispatchers of all kinds share.
//!
//! **Invariants**
//! - I1  nothing is sent to a consumer without permits or to a connection whose window is full.
//! - I2  an entry costs as many permits as it has messages that are not acknowledged; so permits are negative by less
//!   than one batch at the most.
//! - I3  an entry that was published here goes out as the producer's bytes; one from another region names it in
//!   `replicated_from`, and differs in nothing else.
//! - I4  what a client has acknowledged goes to nobody else, though storage does not have the acknowledgement yet: another
//!   consumer would work on a message of a key whose next messages go out as soon as storage has it.

use super::SubscriptionOptions;
use super::consumer::{ConsumerKey, Consumers, SubType};
use super::cursor_ops::CursorOps;
use super::meters::{Sent, SubscriptionMeters};
use super::pending::RedeliveryCounts;
use crate::env::{Env, SubId};
use crate::io::Outgoing;
use base::{Position, RegionName};
use managed::{AckSet, Cursor, CursorId, Entry};
use wire::commands::{message, message_id_in};
use wire::frame::encode_message_start;
use wire::payload::ReplicatedBody;
use wire::stored::StoredHead;

/// What a dispatcher may use of the subscription that it belongs to.
#[derive(Debug)]
pub(super) struct Members<'a> {
    pub id: SubId,
    pub cursor: CursorId,
    pub options: SubscriptionOptions,
    /// The cursor is being reset: nothing is sent until it has moved.
    pub paused: bool,
    pub consumers: &'a mut Consumers,
    pub redeliveries: &'a mut RedeliveryCounts,
    pub meters: &'a mut SubscriptionMeters,
    pub ops: &'a CursorOps,
}

/// What of an entry is not acknowledged, neither in the cursor nor by an acknowledgement that came and is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Left {
    All,
    Some(AckSet),
    Nothing,
}

/// What of an entry is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unacked {
    /// Messages of it that are not acknowledged; at least 1.
    pub messages: u32,
    /// Which ones, as it goes on the wire; empty for all.
    pub ack_set: Vec<i64>,
}

/// Room for the beginnings of this many MESSAGE frames is reserved at once, in bytes.
const FRAME_STARTS_BYTES: usize = 4096;
/// The longest beginning of a MESSAGE frame without an ack set.
const FRAME_START_BYTES_MAX: usize = 96;

/// The cursor, which exists as long as the subscription does.
pub(super) fn cursor<'e>(env: &'e Env<'_>, id: CursorId) -> Option<&'e Cursor> {
    env.ledger.cursor(id)
}

/// The last position up to which everything is acknowledged.
pub(super) fn mark_delete(env: &Env<'_>, id: CursorId) -> Position {
    cursor(env, id).map_or(Position::EARLIEST, Cursor::mark_delete)
}

/// Where to read when `read_from` is next: behind the mark-delete and entries that are acknowledged already.
pub(super) fn pass_over_acked(read_from: Position, id: CursorId, env: &Env<'_>) -> Position {
    let Some(cursor) = cursor(env, id) else { return read_from };
    let read_from = read_from.max(cursor.mark_delete().next());
    cursor.acked_through(read_from).map_or(read_from, Position::next)
}

impl Members<'_> {
    /// Whether I1 lets anything go to this consumer.
    pub(super) fn can_take(&self, env: &Env<'_>, key: ConsumerKey) -> bool {
        self.consumers.get(key).is_some_and(|consumer| consumer.permits > 0) && env.out.writable(key.conn)
    }

    /// What of `entry` is left to send; `None` when all of it is acknowledged (I4).
    pub(super) fn unacked(&self, env: &Env<'_>, entry: &Entry) -> Option<Unacked> {
        match self.left(env, entry.position) {
            Left::Nothing => None,
            Left::Some(left) => Some(Unacked { messages: left.unacked().max(1), ack_set: left.to_wire() }),
            Left::All => Some(Unacked { messages: messages_of(entry), ack_set: Vec::new() }),
        }
    }

    /// Whether all of the entry is acknowledged or will be by what has come.
    pub(super) fn is_acked(&self, env: &Env<'_>, position: Position) -> bool {
        self.left(env, position) == Left::Nothing
    }

    fn left(&self, env: &Env<'_>, position: Position) -> Left {
        let Some(cursor) = cursor(env, self.cursor).filter(|cursor| !cursor.is_acked(position)) else {
            return Left::Nothing;
        };
        match (cursor.batch_ack(position), self.ops.asked(position)) {
            (None, None) => Left::All,
            (_, Some(None)) => Left::Nothing,
            (Some(stored), None) => Left::Some(stored.clone()),
            (None, Some(Some(asked))) => Left::Some(asked),
            (Some(stored), Some(Some(asked))) => match stored.intersect(&asked) {
                both if both.is_empty() => Left::Nothing,
                both => Left::Some(both),
            },
        }
    }

    /// Sends `entry`, charges its permits and the dispatch limits, counts it.
    pub(super) fn send(&mut self, env: &mut Env<'_>, key: ConsumerKey, entry: &Entry, unacked: Unacked) {
        let Some(consumer) = self.consumers.get_mut(key) else { return };
        assert!(consumer.permits > 0 && env.out.writable(key.conn), "deliver I1: sent without permits or window");
        let redeliveries = match consumer.spec.sub_type {
            SubType::Shared | SubType::KeyShared => self.redeliveries.count(entry.position),
            SubType::Exclusive | SubType::Failover => 0,
        };
        let partition = u32::try_from(env.partition).ok();
        let id = message_id_in(entry.position, partition);
        let command = message(key.consumer_id, id, redeliveries, unacked.ack_set, consumer.spec.epoch);
        consumer.permits -= i64::from(unacked.messages);
        let sent = Sent { messages: unacked.messages, bytes: entry.data.body.len() as u64, redeliveries };
        consumer.meters.record_sent(env.now, sent);
        self.meters.traffic.record_sent(env.now, sent);
        env.limit.charge(env.now.mono, sent.messages, sent.bytes);
        let frames = &mut self.consumers.frames;
        if frames.capacity() < FRAME_START_BYTES_MAX {
            frames.reserve(FRAME_STARTS_BYTES);
        }
        let body = &entry.data.body;
        // A body that cannot be taken apart goes out as it is: the client checks it itself.
        let payload = match origin_of(entry, env).and_then(|from| ReplicatedBody::new(body, from.as_str()).ok()) {
            Some(replicated) => {
                encode_message_start(&command, replicated.body_bytes(), frames);
                replicated.put_start(frames);
                replicated.payload()
            }
            None => {
                encode_message_start(&command, body.len(), frames);
                body.clone()
            }
        };
        env.out.send(key.conn, Outgoing::Two(frames.split().freeze(), payload));
    }
}

/// The region that an entry came from; `None` when it was published here, or in a region that is no longer registered.
fn origin_of<'e>(entry: &Entry, env: &Env<'e>) -> Option<&'e RegionName> {
    let origin = StoredHead::decode(&entry.data.head).ok()?.origin?;
    env.regions.get(&origin.region)
}

/// Messages in an entry. A head that cannot be read counts as one message: the client checks the body itself.
fn messages_of(entry: &Entry) -> u32 {
    StoredHead::decode(&entry.data.head).map_or(1, |head| head.messages.max(1))
}
