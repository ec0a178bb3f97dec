//! One subscription: everything between a cursor and its consumers.
//!
//! **What**  Consumers come and go, give permits, acknowledge and give back; the subscription reads the topic's log and
//! sends them what they may have. The cursor in the managed ledger is the only durable truth: what was sent, is waiting or
//! was redelivered lives in memory and starts anew from the mark-delete.
//!
//! **States**  Idle (nobody connected: no dispatcher, hardly any memory) ⇄ Serving;  either → Resetting (everybody was
//! disconnected, the cursor moves) → back.
//!
//! **Invariants**
//! - I1  an entry is sent until a cursor operation that acknowledges it is durable: nothing is lost.
//! - I2  Shared and Key_Shared: an entry lies with at most one consumer (`shared`, `pending`).
//! - I3  Key_Shared: the entries of a key go out in log order and never to two consumers at once (`route`, `draining`).
//! - I4  Exclusive and Failover: entries go out in log order to one consumer (`single_active`).
//! - I5  nothing is sent without permits, to a full connection or beyond a dispatch limit (`deliver`, `pace`).
//! - I6  acknowledgements are answered when they are durable, in order (`cursor_ops`).
//! - I7  all consumers are of one type, and of one Key_Shared mode.
//!
//! **Not here**  Creating and deleting cursors, start positions, permissions, the limits' values (`topic`); storage
//! (`managed`).
//!
//! **Tests**  `tests*.rs` here: cases per type, and random runs against a reference model over a real managed ledger.

mod acks;
mod consumer;
mod cursor_ops;
mod deliver;
mod draining;
mod key_shared;
mod meters;
mod moves;
mod numbers;
mod pace;
mod pending;
mod replay;
mod roster;
mod route;
mod shared;
mod single_active;

#[cfg(test)]
mod tests_acks;
#[cfg(test)]
mod tests_bed;
#[cfg(test)]
mod tests_deliver;
#[cfg(test)]
mod tests_key_shared;
#[cfg(test)]
mod tests_model;
#[cfg(test)]
mod tests_moves;
#[cfg(test)]
mod tests_parts;
#[cfg(test)]
mod tests_shared;
#[cfg(test)]
mod tests_single;
#[cfg(test)]
mod tests_stats;

pub use consumer::{ConsumerKey, ConsumerSpec, KeyOrder, KeySharedMode, KeySharedSpec, SubType};
pub use key_shared::{KeyRanges, RangeError, SlotRange};
pub use moves::MoveReply;

use crate::admin_command::Force;
use crate::env::{Env, SubId};
use crate::outbox::Note;
use base::{Mono, Position, SubscriptionName, earliest};
use consumer::{Consumers, PERMITS_MAX};
use cursor_ops::{CursorOps, Site};
use deliver::{Members, mark_delete};
use managed::{CursorId, Entry, ReadError, ReadId};
use meters::SubscriptionMeters;
use pending::RedeliveryCounts;
use route::Split;
use shared::Shared;
use single_active::SingleActive;
use wire::commands::{close_consumer, position};
use wire::pulsar::{CommandRedeliverUnacknowledgedMessages, ServerError};

/// Whether the subscription outlives its consumers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Durable,
    Volatile,
}

/// Limits of one subscription; 0 stands for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Messages sent to one Shared or Key_Shared consumer and not acknowledged.
    pub unacked_max_per_consumer: u32,
    /// The same for all consumers together.
    pub unacked_max_per_subscription: u32,
}

/// Why a consumer's command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SubscribeError {
    pub code: ServerError,
    pub message: String,
}

/// A Flow that would give a consumer more permits than can be counted; its connection deserves to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consumer {consumer_id} asks for {asked} more permits and has {held}; at most {permits_max} can be counted")]
pub struct FlowError {
    pub consumer_id: u64,
    pub asked: u32,
    pub held: i64,
    pub permits_max: i64,
}

/// How entries are given to consumers.
#[derive(Debug)]
enum Dispatcher {
    /// Nobody is connected.
    Idle,
    Single(Box<SingleActive>),
    Shared(Box<Shared>),
}

/// One subscription of a topic.
#[derive(Debug)]
pub struct Subscription {
    id: SubId,
    name: SubscriptionName,
    cursor: CursorId,
    durability: Durability,
    options: SubscriptionOptions,
    /// The type of the last consumers.
    kind: Option<SubType>,
    consumers: Consumers,
    dispatcher: Dispatcher,
    redeliveries: RedeliveryCounts,
    ops: CursorOps,
    resetting: bool,
    terminated: bool,
    mark_delete_seen: Position,
    meters: Box<SubscriptionMeters>,
}

impl Subscription {
    /// A subscription without consumers on a cursor that exists already.
    pub fn new(
        id: SubId,
        name: SubscriptionName,
        cursor: CursorId,
        durability: Durability,
        options: SubscriptionOptions,
    ) -> Self {
        Self {
            id,
            name,
            cursor,
            durability,
            options,
            kind: None,
            consumers: Consumers::default(),
            dispatcher: Dispatcher::Idle,
            redeliveries: RedeliveryCounts::default(),
            ops: CursorOps::default(),
            resetting: false,
            terminated: false,
            mark_delete_seen: Position::EARLIEST,
            meters: Box::default(),
        }
    }

    /// Takes a consumer. The caller pushes Success right after `Ok` and then calls [`Self::after_added`].
    ///
    /// # Errors
    /// [`SubscribeError`] with the code to answer; nothing changed.
    pub fn add_consumer(&mut self, spec: ConsumerSpec, env: &mut Env<'_>) -> Result<(), SubscribeError> {
        self.check_joining(&spec)?;
        let (key, kind) = (spec.key, spec.sub_type);
        if self.consumers.is_empty() {
            self.dispatcher = self.dispatcher_for(&spec, env);
        }
        let read_from = self.read_position().unwrap_or_else(|| mark_delete(env, self.cursor).next());
        if let Dispatcher::Shared(shared) = &mut self.dispatcher
            && let Err(error) = shared.add(&spec)
        {
            self.rest_when_alone();
            return Err(refused(ServerError::ConsumerAssignError, error.to_string()));
        }
        self.consumers.insert(spec, read_from);
        self.kind = Some(kind);
        if let (Dispatcher::Single(single), members) = self.split() {
            single.add(key, &members, env);
        }
        Ok(())
    }

    /// Pushes what follows the Success of a new consumer.
    pub fn after_added(&mut self, env: &mut Env<'_>) {
        if let (Dispatcher::Single(single), members) = self.split() {
            single.announce(&members, env);
        }
        self.tell_end(env);
        self.dispatch(env);
    }

    pub fn has_consumer(&self, key: ConsumerKey) -> bool {
        self.consumers.contains(key)
    }

    /// The consumer closed or its connection is gone: what lay with it goes to others.
    pub fn remove_consumer(&mut self, key: ConsumerKey, env: &mut Env<'_>) {
        if self.consumers.remove(key).is_none() {
            return;
        }
        match self.split() {
            (Dispatcher::Idle, _) => {}
            (Dispatcher::Single(single), mut members) => single.remove(key, &mut members, env),
            (Dispatcher::Shared(shared), mut members) => shared.remove(key, &mut members, env),
        }
        self.rest_when_alone();
    }

    /// Gives a consumer more permits. Unknown consumers are ignored.
    ///
    /// # Errors
    /// [`FlowError`]: nothing changed.
    pub fn handle_flow(&mut self, key: ConsumerKey, permits: u32, env: &mut Env<'_>) -> Result<(), FlowError> {
        let Some(consumer) = self.consumers.get_mut(key) else { return Ok(()) };
        let held = consumer.permits;
        if held + i64::from(permits) > PERMITS_MAX {
            return Err(FlowError { consumer_id: key.consumer_id, asked: permits, held, permits_max: PERMITS_MAX });
        }
        consumer.permits += i64::from(permits);
        consumer.meters.last_flow_ms = env.now.wall_ms;
        self.meters.traffic.last_flow_ms = env.now.wall_ms;
        self.dispatch(env);
        Ok(())
    }

    /// A consumer gives entries back. Without ids: all that it has not acknowledged; Exclusive and Failover always.
    pub fn handle_redeliver(
        &mut self,
        key: ConsumerKey,
        command: CommandRedeliverUnacknowledgedMessages,
        env: &mut Env<'_>,
    ) {
        if !self.consumers.contains(key) {
            return;
        }
        let named = (!command.message_ids.is_empty()).then(|| command.message_ids.iter().map(position).collect());
        match self.split() {
            (Dispatcher::Idle, _) => {}
            (Dispatcher::Single(single), mut members) => {
                single.redeliver(key, command.consumer_epoch, &mut members, env)
            }
            (Dispatcher::Shared(shared), mut members) => shared.redeliver(key, named, &mut members, env),
        }
    }

    /// The outcome of a read that this subscription asked for.
    pub fn handle_read_done(&mut self, read: ReadId, result: Result<Vec<Entry>, ReadError>, env: &mut Env<'_>) {
        match self.split() {
            (Dispatcher::Idle, _) => {}
            (Dispatcher::Single(single), mut members) => single.handle_read(read, result, &mut members, env),
            (Dispatcher::Shared(shared), mut members) => shared.handle_read(read, result, &mut members, env),
        }
    }

    /// New entries are confirmed, a connection became writable, or dispatch limits changed.
    pub fn wake(&mut self, env: &mut Env<'_>) {
        match self.split() {
            (Dispatcher::Idle, _) => {}
            (Dispatcher::Single(single), mut members) => single.dispatch(&mut members, env),
            (Dispatcher::Shared(shared), mut members) => shared.wake(&mut members, env),
        }
    }

    /// When [`Self::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Mono> {
        let dispatch = match &self.dispatcher {
            _ if self.resetting => None,
            Dispatcher::Idle => None,
            Dispatcher::Single(single) => single.next_deadline(),
            Dispatcher::Shared(shared) => shared.next_deadline(),
        };
        earliest(self.ops.next_deadline(), dispatch)
    }

    /// A dispatch limit allows more, delayed messages are due, or the log may be less busy.
    pub fn on_deadline(&mut self, env: &mut Env<'_>) {
        self.ops.submit(self.site(), env);
        self.ops.answer_finished(env);
        self.dispatch(env);
    }

    /// The topic takes no more messages: consumers hear of it once they have acknowledged everything.
    pub fn handle_terminated(&mut self, env: &mut Env<'_>) {
        self.terminated = true;
        self.tell_end(env);
    }

    /// Ends every consumer from the broker's side; their clients come back.
    pub fn disconnect_all(&mut self, env: &mut Env<'_>) {
        for ConsumerKey { conn, consumer_id } in self.consumers.keys() {
            env.out.command(conn, &close_consumer(consumer_id));
            env.out.note(Note::ConsumerGone { conn, consumer_id });
        }
        self.consumers = Consumers::default();
        self.rest_when_alone();
    }

    /// Whether this consumer may delete the subscription: it is the only one, or insists.
    ///
    /// # Errors
    /// [`SubscribeError`] with the code to answer.
    pub fn can_unsubscribe(&self, key: ConsumerKey, force: Force) -> Result<(), SubscribeError> {
        if !self.consumers.contains(key) {
            return Err(refused(ServerError::MetadataError, "Consumer not found".to_owned()));
        }
        if self.consumers.len() > 1 && force == Force::No {
            let others = self.consumers.len() - 1;
            let words = format!(
                "subscription '{}' has {others} other connected consumers; close them or unsubscribe with force",
                self.name
            );
            return Err(refused(ServerError::MetadataError, words));
        }
        Ok(())
    }

    /// New limits take effect at once.
    pub fn set_options(&mut self, options: SubscriptionOptions, env: &mut Env<'_>) {
        self.options = options;
        self.dispatch(env);
    }

    pub fn id(&self) -> SubId {
        self.id
    }

    pub fn name(&self) -> &SubscriptionName {
        &self.name
    }

    pub fn cursor(&self) -> CursorId {
        self.cursor
    }

    pub fn durability(&self) -> Durability {
        self.durability
    }

    pub fn consumer_count(&self) -> usize {
        self.consumers.len()
    }

    /// Whether anybody is connected.
    pub fn is_active(&self) -> bool {
        !self.consumers.is_empty()
    }

    /// The type that the last consumers gave it; `None` before the first.
    pub fn kind(&self) -> Option<SubType> {
        self.kind
    }

    /// The connected consumers, in key order.
    pub fn consumer_keys(&self) -> Vec<ConsumerKey> {
        self.consumers.keys()
    }

    /// Where the next read of the log starts; `None` while nobody is connected.
    pub fn read_position(&self) -> Option<Position> {
        match &self.dispatcher {
            Dispatcher::Idle => None,
            Dispatcher::Single(single) => Some(single.read_from()),
            Dispatcher::Shared(shared) => Some(shared.read_from()),
        }
    }

    /// Sends what may be sent.
    fn dispatch(&mut self, env: &mut Env<'_>) {
        match self.split() {
            (Dispatcher::Idle, _) => {}
            (Dispatcher::Single(single), mut members) => single.dispatch(&mut members, env),
            (Dispatcher::Shared(shared), mut members) => shared.dispatch(&mut members, env),
        }
    }

    /// The dispatcher beside everything that it may use.
    fn split(&mut self) -> (&mut Dispatcher, Members<'_>) {
        let members = Members {
            id: self.id,
            cursor: self.cursor,
            options: self.options,
            paused: self.resetting,
            consumers: &mut self.consumers,
            redeliveries: &mut self.redeliveries,
            meters: &mut self.meters,
            ops: &self.ops,
        };
        (&mut self.dispatcher, members)
    }

    fn site(&self) -> Site {
        Site { sub: self.id, cursor: self.cursor }
    }

    /// Without consumers nothing but the counters stays in memory.
    fn rest_when_alone(&mut self) {
        if self.consumers.is_empty() {
            self.dispatcher = Dispatcher::Idle;
        }
    }

    fn dispatcher_for(&mut self, first: &ConsumerSpec, env: &Env<'_>) -> Dispatcher {
        let (_, members) = self.split();
        match first.sub_type {
            SubType::Exclusive | SubType::Failover => {
                Dispatcher::Single(Box::new(SingleActive::new(first.sub_type, &members, env)))
            }
            SubType::Shared | SubType::KeyShared => Dispatcher::Shared(Box::new(Shared::new(first, &members, env))),
        }
    }

    /// I7: whether a consumer fits those that are connected.
    fn check_joining(&self, spec: &ConsumerSpec) -> Result<(), SubscribeError> {
        let busy = |why: String| Err(refused(ServerError::ConsumerBusy, why));
        if self.consumers.contains(spec.key) {
            return busy(format!("consumer id {} is in use on this connection", spec.key.consumer_id));
        }
        let key_shared = spec.key_shared.clone().unwrap_or_default();
        if spec.sub_type == SubType::Exclusive && key_shared.mode != KeySharedMode::AutoSplit {
            let words = "key hash ranges on an Exclusive subscription are not built; use Key_Shared in sticky mode";
            return Err(refused(ServerError::NotAllowedError, words.to_owned()));
        }
        if self.consumers.is_empty() {
            return Ok(());
        }
        if spec.sub_type == SubType::Exclusive && self.kind == Some(SubType::Exclusive) {
            return busy(format!("Exclusive consumer is already connected to subscription '{}'", self.name));
        }
        if self.kind != Some(spec.sub_type) {
            return busy(format!("Subscription is of different type: '{}' is in use with another type", self.name));
        }
        if let Dispatcher::Shared(shared) = &self.dispatcher
            && let Some(by_key) = shared.route.by_key()
            && (by_key.split() != Split::of(&key_shared.mode) || by_key.order() != key_shared.order)
        {
            let words = "its consumers use another Key_Shared mode or another rule for out-of-order delivery";
            return busy(format!("Subscription is of different type: '{}': {words}", self.name));
        }
        Ok(())
    }
}

fn refused(code: ServerError, message: String) -> SubscribeError {
    SubscribeError { code, message }
}
