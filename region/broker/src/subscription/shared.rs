//! Dispatch to many consumers at once: Shared and Key_Shared.
//!
//! **What**  The log is read once, ahead of acknowledgements. An entry goes to the consumer that `route` chooses; one that
//! cannot go yet, comes back or is due later waits as a position in [`Replay`] or [`Delayed`] and is read again when its turn
//! comes. Waiting entries go before new ones.
//!
//! **Invariants**
//! - I1  every entry before `read_from` and after the mark-delete is acknowledged (or its acknowledgement came and is
//!   not answered yet) or in exactly one of: pending with a consumer, replay, delayed.
//! - I2  an entry is pending from the moment it is sent until its acknowledgement is durable, its consumer gives it back
//!   or is gone.
//! - I3  no consumer is sent more while it has `unacked_max_per_consumer` messages, nor anybody while all together have
//!   `unacked_max_per_subscription`.
//! - I4  at most one read is under way.
//! - I5  (Key_Shared) at most [`LOOK_AHEAD_MAX`] entries wait in replay before reading ahead stops.
//!
//! **Not here**  Who is chosen (`route`), acknowledgement (`acks`).
//!
//! **Tests**  `tests_shared.rs`, `tests_key_shared.rs`, `tests_model.rs`.

use super::SubscriptionOptions;
use super::consumer::{ConsumerKey, ConsumerSpec};
use super::deliver::{Members, Unacked, cursor, mark_delete, pass_over_acked};
use super::key_shared::RangeError;
use super::pace::{CALL_ENTRIES_MAX, Pace, READ_BYTES_MAX, READ_ENTRIES_MAX, window};
use super::pending::{ENTRIES_MAX, Pending, PendingEntry};
use super::replay::{Delayed, Replay};
use super::route::{Route, Source};
use crate::env::Env;
use base::{Mono, Position, earliest};
use managed::{Entry, Read, ReadError, ReadId};
use std::time::Duration;
use wire::payload::{PayloadHints, key_hash, sticky_key_slot};

/// Key_Shared entries that may wait for their consumers before reading ahead stops.
pub(super) const LOOK_AHEAD_MAX: usize = 20_000;
/// The same per consumer.
pub(super) const LOOK_AHEAD_PER_CONSUMER_MAX: usize = 2_000;
/// Waiting entries that stand at most this far apart are fetched by one read.
const RUN_GAP_MAX: i64 = 4;

/// The dispatcher.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) route: Route,
    pub(super) replay: Replay,
    pub(super) delayed: Delayed,
    pub(super) pending: Pending,
    read_from: Position,
    reading: Option<Reading>,
    pace: Pace,
    delayed_due: Option<Mono>,
    /// Nobody has permits and room: new entries alone change nothing.
    starved: bool,
}

/// The read under way.
#[derive(Debug)]
enum Reading {
    Log(ReadId),
    /// The waiting positions that it is for.
    Replay(ReadId, Vec<Position>),
}

/// What became of an entry that was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offer {
    /// It was sent, put aside or not needed.
    Done,
    /// Nothing can be done with it now.
    Hold,
}

/// How much all consumers together can take.
#[derive(Clone, Copy, Debug)]
struct Room {
    permits: i64,
    bytes: u64,
}

impl Shared {
    pub(super) fn new(first: &ConsumerSpec, members: &Members<'_>, env: &Env<'_>) -> Self {
        Self {
            route: Route::for_first(first),
            replay: Replay::default(),
            delayed: Delayed::default(),
            pending: Pending::default(),
            read_from: mark_delete(env, members.cursor).next(),
            reading: None,
            pace: Pace::new(),
            delayed_due: None,
            starved: false,
        }
    }

    /// Takes a consumer in, before it is added to the members.
    ///
    /// # Errors
    /// [`RangeError`] when it gets no key range.
    pub(super) fn add(&mut self, spec: &ConsumerSpec) -> Result<(), RangeError> {
        self.route.add(spec, &self.replay)
    }

    /// A consumer was removed from `members`: what lay with it goes to others.
    pub(super) fn remove(&mut self, key: ConsumerKey, members: &mut Members<'_>, env: &mut Env<'_>) {
        for (position, entry) in self.pending.take_consumer(key) {
            self.route.release(entry.slot, key, &self.replay);
            self.enqueue(position, entry.slot);
        }
        self.route.remove(key, &self.replay);
        self.dispatch(members, env);
    }

    /// The cursor was moved before anything was sent: starts after the mark-delete.
    pub(super) fn restart(&mut self, members: &Members<'_>, env: &Env<'_>) {
        assert!(self.pending.len() + self.replay.len() == 0, "Shared I1: restarted with entries under way");
        self.reading = None;
        self.read_from = mark_delete(env, members.cursor).next();
    }

    pub(super) fn read_from(&self) -> Position {
        self.read_from
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        earliest(self.pace.next_deadline(), self.delayed_due)
    }

    /// The consumer gives entries back: those named, or all that lie with it.
    pub(super) fn redeliver(
        &mut self,
        key: ConsumerKey,
        positions: Option<Vec<Position>>,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
    ) {
        for position in positions.unwrap_or_else(|| self.pending.entries_of(key)) {
            if members.is_acked(env, position) || self.pending.holder(position) != Some(key) {
                continue; // An acknowledgement is under way, or the entry lies with somebody else.
            }
            if let Some(slot) = self.take_back(position) {
                members.redeliveries.increment(position);
                self.enqueue(position, slot);
            }
        }
        self.dispatch(members, env);
    }

    /// The cursor knows more about this entry, or it is trimmed: frees what is acknowledged. Answers who is credited with how many
    /// messages.
    pub(super) fn settle(
        &mut self,
        position: Position,
        members: &mut Members<'_>,
        env: &Env<'_>,
    ) -> Option<(ConsumerKey, u64)> {
        let cursor = cursor(env, members.cursor)?;
        if cursor.is_acked(position) || position < env.ledger.first_position() {
            members.redeliveries.forget(position);
            self.dequeue(position);
            let (key, entry) = self.pending.remove(position)?;
            self.route.release(entry.slot, key, &self.replay);
            return Some((key, u64::from(entry.messages)));
        }
        let left = cursor.batch_ack(position)?.unacked();
        self.pending.shrink(position, left).map(|(key, less)| (key, u64::from(less)))
    }

    /// Everything up to `mark_delete` was acknowledged at once.
    pub(super) fn forget_up_to(&mut self, mark_delete: Position) {
        for position in self.pending.up_to(mark_delete) {
            self.take_back(position);
        }
        for position in self.replay.up_to(mark_delete) {
            self.dequeue(position);
        }
        self.delayed.forget_up_to(mark_delete);
    }

    /// New entries or other news that help only if somebody can take them.
    pub(super) fn wake(&mut self, members: &mut Members<'_>, env: &mut Env<'_>) {
        if !self.starved {
            self.dispatch(members, env);
        }
    }

    /// Sends what may be sent.
    pub(super) fn dispatch(&mut self, members: &mut Members<'_>, env: &mut Env<'_>) {
        if members.paused {
            return;
        }
        self.pace.begin(env.now.mono);
        self.starved = false;
        while let Some((position, slot)) = self.delayed.take_due(env.now.wall_ms) {
            self.enqueue(position, slot);
        }
        let mut left = CALL_ENTRIES_MAX;
        while self.step(members, env, &mut left) {
            if left == 0 {
                self.pace.let_others_run(env.now.mono);
                break;
            }
        }
        self.route.end_turn();
        let wait_ms = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(env.now.wall_ms));
        self.delayed_due = self.delayed.next_due_ms().map(|due_ms| env.now.mono + wait_ms(due_ms));
    }

    /// The outcome of a read.
    pub(super) fn handle_read(
        &mut self,
        read: ReadId,
        result: Result<Vec<Entry>, ReadError>,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
    ) {
        match (self.reading.take(), result) {
            (Some(Reading::Log(id)), Ok(entries)) if id == read => self.offer_new(&entries, members, env),
            (Some(Reading::Replay(id, run)), Ok(entries)) if id == read => self.offer_run(&run, &entries, members, env),
            (Some(Reading::Log(id) | Reading::Replay(id, _)), Err(error)) if id == read => {
                self.pace.wait_after(&error, env.now.mono);
            }
            (other, _) => {
                self.reading = other;
                return;
            }
        }
        self.dispatch(members, env);
    }

    /// One read and what it brings; false when nothing more can be done now.
    fn step(&mut self, members: &mut Members<'_>, env: &mut Env<'_>, left: &mut u32) -> bool {
        if self.reading.is_some() || self.is_full(members.options) || !self.pace.may_go_on(env) {
            return false;
        }
        let Some(room) = self.room(members, env) else {
            self.starved = !self.waits_for_window(members);
            return false;
        };
        let permits = |key| if self.can_take(members, env, key) { permits_of(members, key) } else { 0 };
        let waiting = self.route.candidates(&self.replay, READ_ENTRIES_MAX as usize, permits);
        if !waiting.is_empty() {
            return self.send_waiting(waiting, room, members, env, left);
        }
        if self.delayed.is_full() || self.replay.len() >= look_ahead(members) {
            return false;
        }
        self.read_from = pass_over_acked(self.read_from, members.cursor, env);
        match env.read(members.id, self.read_from, self.pace.entries(room.permits), room.bytes) {
            Read::Ready(entries) => {
                *left = left.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                self.offer_new(&entries, members, env);
                !entries.is_empty()
            }
            Read::Pending(read) => {
                self.reading = Some(Reading::Log(read));
                false
            }
            Read::AtTail => false,
            Read::Busy => {
                self.pace.wait_for_log(env.now.mono);
                false
            }
        }
    }

    /// Reads waiting entries run by run and offers them; false when a read is under way or nothing may be sent.
    fn send_waiting(
        &mut self,
        waiting: Vec<Position>,
        room: Room,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
        left: &mut u32,
    ) -> bool {
        for run in runs(&waiting) {
            if *left == 0 || self.is_full(members.options) || !self.pace.may_go_on(env) {
                return true; // The next step, or the end of the call, says why.
            }
            *left = left.saturating_sub(u32::try_from(run.len()).unwrap_or(u32::MAX));
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let span = u32::try_from(last.entry.0 - first.entry.0 + 1).unwrap_or(u32::MAX);
            let entries_max = span.min(READ_ENTRIES_MAX);
            match env.read(members.id, *first, entries_max, room.bytes) {
                Read::Ready(entries) => self.offer_run(run, &entries, members, env),
                Read::Pending(read) => {
                    self.reading = Some(Reading::Replay(read, run.to_vec()));
                    return false;
                }
                Read::AtTail => self.offer_run(run, &[], members, env),
                Read::Busy => {
                    self.pace.wait_for_log(env.now.mono);
                    return false;
                }
            }
        }
        true
    }

    /// Offers entries that were read for the waiting positions `run`. Those that the log passed over are gone from it.
    fn offer_run(&mut self, run: &[Position], entries: &[Entry], members: &mut Members<'_>, env: &mut Env<'_>) {
        let end = entries.last().map_or(Position::LATEST, |entry| entry.position);
        let mut found = entries.iter().peekable();
        for position in run.iter().filter(|position| **position <= end) {
            while found.peek().is_some_and(|entry| entry.position < *position) {
                found.next();
            }
            match found.peek() {
                Some(entry) if entry.position == *position => self.offer_waiting(entry, members, env),
                _ => drop(self.dequeue(*position)),
            }
        }
    }

    /// Sends one waiting entry if it may go now.
    fn offer_waiting(&mut self, entry: &Entry, members: &mut Members<'_>, env: &mut Env<'_>) {
        let Some(slot) = self.replay.slot(entry.position) else { return };
        let Some(unacked) = members.unacked(env, entry) else {
            self.dequeue(entry.position);
            return;
        };
        if let Some(key) = self.choose(slot, Source::Replay(entry.position), members, env) {
            self.dequeue(entry.position);
            self.hand_out(key, slot, entry, unacked, members, env);
        }
    }

    /// Offers entries that come next in the log; what cannot be used is read again later.
    fn offer_new(&mut self, entries: &[Entry], members: &mut Members<'_>, env: &mut Env<'_>) {
        let mut used = 0;
        for entry in entries {
            assert!(entry.position >= self.read_from, "Shared I1: {} read before {}", entry.position, self.read_from);
            if self.offer_next(entry, members, env) == Offer::Hold {
                break;
            }
            self.read_from = entry.position.next();
            used += 1;
        }
        self.pace.learn(entries.len(), used);
    }

    fn offer_next(&mut self, entry: &Entry, members: &mut Members<'_>, env: &mut Env<'_>) -> Offer {
        let Some(unacked) = members.unacked(env, entry) else { return Offer::Done };
        let hints = PayloadHints::scan(&entry.data.body).unwrap_or_default();
        let slot = if self.route.by_key().is_some() { sticky_key_slot(key_hash(&hints)) } else { 0 };
        let due_ms = hints.deliver_at_ms.and_then(|at| u64::try_from(at).ok()).unwrap_or(0);
        if due_ms > env.now.wall_ms {
            if self.delayed.is_full() {
                return Offer::Hold;
            }
            self.delayed.insert(due_ms, entry.position, slot);
            return Offer::Done;
        }
        if let Some(key) = self.choose(slot, Source::Log, members, env) {
            self.hand_out(key, slot, entry, unacked, members, env);
            return Offer::Done;
        }
        let others_can =
            self.route.by_key().is_some() && self.may_send(members, env) && self.room(members, env).is_some();
        if !others_can || self.replay.len() >= look_ahead(members) {
            return Offer::Hold;
        }
        self.enqueue(entry.position, slot);
        Offer::Done
    }

    /// Who gets the entry now, if it may go at all.
    fn choose(&mut self, slot: u16, source: Source, members: &Members<'_>, env: &Env<'_>) -> Option<ConsumerKey> {
        if !self.may_send(members, env) {
            return None;
        }
        let (pending, options) = (&self.pending, members.options);
        let can_take = |key| {
            let max = u64::from(options.unacked_max_per_consumer);
            members.can_take(env, key) && (max == 0 || pending.unacked(key) < max)
        };
        self.route.choose(slot, source, &self.replay, can_take)
    }

    fn hand_out(
        &mut self,
        key: ConsumerKey,
        slot: u16,
        entry: &Entry,
        unacked: Unacked,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
    ) {
        let messages = unacked.messages;
        self.pending.insert(key, entry.position, PendingEntry { messages, slot });
        self.route.take(slot, key, &self.replay);
        members.send(env, key, entry, unacked);
    }

    /// Takes an entry from the consumer with whom it lies; answers its slot.
    fn take_back(&mut self, position: Position) -> Option<u16> {
        let (key, entry) = self.pending.remove(position)?;
        self.route.release(entry.slot, key, &self.replay);
        Some(entry.slot)
    }

    fn enqueue(&mut self, position: Position, slot: u16) {
        assert!(self.pending.holder(position).is_none(), "Shared I1: {position} waits while it lies with a consumer");
        self.replay.insert(position, slot);
        self.route.refresh(slot, &self.replay);
    }

    fn dequeue(&mut self, position: Position) -> Option<u16> {
        let slot = self.replay.remove(position)?;
        self.route.refresh(slot, &self.replay);
        Some(slot)
    }

    fn may_send(&mut self, members: &Members<'_>, env: &Env<'_>) -> bool {
        !self.is_full(members.options) && self.pace.may_go_on(env)
    }

    /// Whether the limit of all consumers together is reached (I3).
    pub(super) fn is_full(&self, options: SubscriptionOptions) -> bool {
        let max = u64::from(options.unacked_max_per_subscription);
        (max > 0 && self.pending.unacked_total() >= max) || self.pending.len() >= ENTRIES_MAX
    }

    fn can_take(&self, members: &Members<'_>, env: &Env<'_>, key: ConsumerKey) -> bool {
        members.can_take(env, key) && self.below_limit(members, key)
    }

    fn below_limit(&self, members: &Members<'_>, key: ConsumerKey) -> bool {
        let max = u64::from(members.options.unacked_max_per_consumer);
        max == 0 || self.pending.unacked(key) < max
    }

    /// How much all consumers together can take, as far as one read can use it; `None` when nobody can take anything.
    fn room(&self, members: &Members<'_>, env: &Env<'_>) -> Option<Room> {
        let mut room = Room { permits: 0, bytes: 0 };
        for consumer in members.consumers.iter() {
            if self.can_take(members, env, consumer.spec.key) {
                room.permits += consumer.permits;
                room.bytes = READ_BYTES_MAX.min(room.bytes + window(env, consumer.spec.key.conn));
            }
            if room.permits >= i64::from(READ_ENTRIES_MAX) && room.bytes >= READ_BYTES_MAX {
                break;
            }
        }
        (room.permits > 0).then_some(room)
    }

    /// Whether somebody could take entries if its connection were faster.
    fn waits_for_window(&self, members: &Members<'_>) -> bool {
        members.consumers.iter().any(|c| c.permits > 0 && self.below_limit(members, c.spec.key))
    }
}

fn permits_of(members: &Members<'_>, key: ConsumerKey) -> usize {
    members.consumers.get(key).map_or(0, |consumer| usize::try_from(consumer.permits).unwrap_or(0))
}

/// I5: how many entries may wait before reading ahead stops.
fn look_ahead(members: &Members<'_>) -> usize {
    (members.consumers.len() * LOOK_AHEAD_PER_CONSUMER_MAX).min(LOOK_AHEAD_MAX)
}

/// Splits ascending positions into runs that one read each can fetch.
fn runs(positions: &[Position]) -> impl Iterator<Item = &[Position]> + '_ {
    positions.chunk_by(|a, b| a.ledger == b.ledger && b.entry.0 - a.entry.0 <= RUN_GAP_MAX)
}
