//! One subscription: everything between a cursor and its consumers.
#![expect(
    clippy::unimplemented,
    unused_variables,
    clippy::needless_pass_by_value,
    reason = "signatures land before their bodies"
)]

mod consumer;

pub use consumer::{ConsumerKey, ConsumerSpec, KeyOrder, KeySharedMode, KeySharedSpec, SubType};

use crate::admin_command::Force;
use crate::env::{Env, SubId};
use crate::io::ConnId;
use crate::stats::SubscriptionStats;
use base::{Mono, Now, Position, SubscriptionName};
use managed::{AckSet, CursorError, CursorId, Entry, ManagedLedger, ReadError, ReadId};
use wire::pulsar::{CommandAck, CommandConsumerStatsResponse, CommandRedeliverUnacknowledgedMessages, ServerError};

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

/// Why a consumer was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SubscribeError {
    pub code: ServerError,
    pub message: String,
}

/// A Flow that would give a consumer more permits than can be counted; its connection deserves to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consumer {consumer_id} asked for {asked} more permits while it has {held}; at most {max} are allowed")]
pub struct FlowError {
    pub consumer_id: u64,
    pub asked: u32,
    pub held: i64,
    pub max: i64,
}

/// Who waits for a cursor to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveReply {
    /// A client's command: answered with Success or Error.
    Client {
        conn: ConnId,
        request_id: u64,
    },
    /// An operator's command: answered with [`crate::io::BrokerEffect::Admin`].
    Admin(crate::io::AdminId),
    Nobody,
}

#[derive(Debug)]
pub struct Subscription {
    id: SubId,
}

impl Subscription {
    /// `cursor` exists already.
    pub fn new(
        id: SubId,
        name: SubscriptionName,
        cursor: CursorId,
        durability: Durability,
        options: SubscriptionOptions,
    ) -> Self {
        Self { id }
    }

    /// Takes a consumer. The caller pushes Success right after `Ok` and then calls [`Self::after_added`].
    ///
    /// # Errors
    /// [`SubscribeError`] with the code to answer; nothing changed.
    pub fn add_consumer(&mut self, spec: ConsumerSpec, env: &mut Env<'_>) -> Result<(), SubscribeError> {
        unimplemented!()
    }

    /// Pushes what follows the Success of a new consumer.
    pub fn after_added(&mut self, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// The consumer closed or its connection is gone.
    pub fn remove_consumer(&mut self, key: ConsumerKey, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// # Errors
    /// [`FlowError`]: nothing changed.
    pub fn handle_flow(&mut self, key: ConsumerKey, permits: u32, env: &mut Env<'_>) -> Result<(), FlowError> {
        unimplemented!()
    }

    pub fn handle_ack(&mut self, key: ConsumerKey, ack: CommandAck, env: &mut Env<'_>) {
        unimplemented!()
    }

    pub fn handle_redeliver(
        &mut self,
        key: ConsumerKey,
        command: CommandRedeliverUnacknowledgedMessages,
        env: &mut Env<'_>,
    ) {
        unimplemented!()
    }

    pub fn handle_cursor_done(&mut self, ctx: u64, result: Result<(), CursorError>, env: &mut Env<'_>) {
        unimplemented!()
    }

    pub fn handle_read_done(&mut self, read: ReadId, result: Result<Vec<Entry>, ReadError>, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// New entries are confirmed, a connection became writable, or limits changed.
    pub fn wake(&mut self, env: &mut Env<'_>) {
        unimplemented!()
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        unimplemented!()
    }

    pub fn on_deadline(&mut self, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// The topic takes no more messages: consumers hear of it once they have acknowledged everything.
    pub fn handle_terminated(&mut self, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// Ends every consumer from the broker's side.
    pub fn disconnect_all(&mut self, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// Disconnects everybody, moves the cursor, then answers. With `partial`, the entry after `to` counts as acknowledged
    /// so far that `partial` remains.
    pub fn begin_reset(&mut self, to: Position, partial: Option<AckSet>, reply: MoveReply, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// Whether a reset is under way: a volatile subscription without consumers must then be kept.
    pub fn is_resetting(&self) -> bool {
        unimplemented!()
    }

    /// Acknowledges the next `entries` entries that are not acknowledged.
    pub fn skip(&mut self, entries: u64, reply: MoveReply, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// Acknowledges everything up to `position` because it is too old.
    pub fn expire_up_to(&mut self, position: Position, reply: MoveReply, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// Acknowledges everything up to `position` because an operator says so.
    pub fn mark_delete_to(&mut self, position: Position, reply: MoveReply, env: &mut Env<'_>) {
        unimplemented!()
    }

    /// # Errors
    /// [`SubscribeError`] with the code to answer.
    pub fn can_unsubscribe(&self, key: ConsumerKey, force: Force) -> Result<(), SubscribeError> {
        unimplemented!()
    }

    pub fn id(&self) -> SubId {
        self.id
    }

    pub fn name(&self) -> &SubscriptionName {
        unimplemented!()
    }

    pub fn cursor(&self) -> CursorId {
        unimplemented!()
    }

    pub fn durability(&self) -> Durability {
        unimplemented!()
    }

    pub fn set_options(&mut self, options: SubscriptionOptions) {
        unimplemented!()
    }

    pub fn consumer_count(&self) -> usize {
        unimplemented!()
    }

    /// Whether anybody is connected.
    pub fn is_active(&self) -> bool {
        unimplemented!()
    }

    /// The type that the consumers gave it; `None` before the first.
    pub fn kind(&self) -> Option<SubType> {
        unimplemented!()
    }

    /// The connected consumers, in key order.
    pub fn consumer_keys(&self) -> Vec<ConsumerKey> {
        unimplemented!()
    }

    /// Where the next read starts; `None` while nobody is connected.
    pub fn read_position(&self) -> Option<Position> {
        unimplemented!()
    }

    /// The `nth` (from 1) entry that is not acknowledged.
    pub fn nth_unacked(&self, nth: u64, ledger: &ManagedLedger) -> Option<Position> {
        unimplemented!()
    }

    /// Entries not acknowledged.
    pub fn backlog(&self, ledger: &ManagedLedger) -> u64 {
        unimplemented!()
    }

    pub fn stats(&self, ledger: &ManagedLedger, now: Now) -> SubscriptionStats {
        unimplemented!()
    }

    /// The answer to ConsumerStats, also when there is no such consumer.
    pub fn consumer_stats(
        &self,
        key: ConsumerKey,
        request_id: u64,
        ledger: &ManagedLedger,
        now: Now,
    ) -> CommandConsumerStatsResponse {
        unimplemented!()
    }
}
