//! Dispatch to one consumer at a time: Exclusive and Failover.
//!
//! **What**  The active consumer gets the log in order from the entry after the mark-delete. Whoever becomes active starts
//! there again, so that what the former one got and did not acknowledge comes once more, in order.
//!
//! **States**  Idle → Reading → Idle;  Handover (Failover only): the former active consumer is still connected and may
//! still acknowledge what it was sent, so the new one waits until it has, at most [`HANDOVER_WAIT`].
//!
//! **Invariants**
//! - I1  entries go out in log order: the next one sent is the first not acknowledged at or after `read_from`.
//! - I2  only the active consumer is sent anything, and it is a connected one.
//! - I3  the outcome of a read that a rewind made void is ignored.
//!
//! **Not here**  Redelivery of single entries, which these types do not have: they rewind.
//!
//! **Tests**  `tests_single.rs`, `tests_model.rs`.

use super::consumer::{Consumer, ConsumerKey, Consumers, SubType};
use super::deliver::{Members, mark_delete, pass_over_acked};
use super::pace::{CALL_ENTRIES_MAX, Pace, window};
use crate::env::Env;
use base::{Mono, Position, earliest};
use managed::{Entry, Read, ReadError, ReadId};
use std::time::Duration;
use wire::commands::{consumer_active, consumer_inactive};

/// How long a new active consumer waits for the acknowledgements of the former one that is still connected.
pub(super) const HANDOVER_WAIT: Duration = Duration::from_secs(1);
/// The first protocol version that knows ActiveConsumerChange.
const ACTIVE_CHANGE_VERSION: i32 = 12;

/// The dispatcher.
#[derive(Debug)]
pub(super) struct SingleActive {
    sub_type: SubType,
    active: Option<ConsumerKey>,
    read_from: Position,
    reading: Option<ReadId>,
    pace: Pace,
    handover: Option<Handover>,
    /// Who has to be told which consumer is active.
    unannounced: Vec<ConsumerKey>,
}

#[derive(Clone, Copy, Debug)]
struct Handover {
    from: ConsumerKey,
    until: Mono,
    /// The last entry that the former active consumer was sent.
    sent: Position,
}

impl SingleActive {
    pub(super) fn new(sub_type: SubType, members: &Members<'_>, env: &Env<'_>) -> Self {
        let read_from = mark_delete(env, members.cursor).next();
        let (active, reading, handover, unannounced) = (None, None, None, Vec::new());
        Self { sub_type, active, read_from, reading, pace: Pace::new(), handover, unannounced }
    }

    /// A consumer was added to `members`. What it must hear is pushed by [`Self::announce`].
    pub(super) fn add(&mut self, key: ConsumerKey, members: &Members<'_>, env: &Env<'_>) {
        self.unannounced.push(key);
        self.elect(members, env);
    }

    /// A consumer was removed from `members`.
    pub(super) fn remove(&mut self, key: ConsumerKey, members: &mut Members<'_>, env: &mut Env<'_>) {
        self.unannounced.retain(|waiting| *waiting != key);
        self.handover = self.handover.filter(|handover| handover.from != key);
        self.elect(members, env);
        self.announce(members, env);
        self.dispatch(members, env);
    }

    pub(super) fn active(&self) -> Option<ConsumerKey> {
        self.active
    }

    pub(super) fn read_from(&self) -> Position {
        self.read_from
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        earliest(self.pace.next_deadline(), self.handover.map(|handover| handover.until))
    }

    /// Starts again after the mark-delete.
    pub(super) fn rewind(&mut self, members: &Members<'_>, env: &Env<'_>) {
        self.reading = None;
        self.read_from = mark_delete(env, members.cursor).next();
    }

    /// Redelivers everything that is not acknowledged when the active consumer asks for it.
    pub(super) fn redeliver(
        &mut self,
        key: ConsumerKey,
        epoch: Option<u64>,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
    ) {
        if self.active != Some(key) {
            return;
        }
        if let (Some(consumer), Some(epoch)) = (members.consumers.get_mut(key), epoch) {
            consumer.spec.epoch = Some(epoch);
        }
        self.rewind(members, env);
        self.dispatch(members, env);
    }

    /// Tells whoever must know which consumer is active.
    pub(super) fn announce(&mut self, members: &Members<'_>, env: &mut Env<'_>) {
        for key in std::mem::take(&mut self.unannounced) {
            let knows = |consumer: &Consumer| consumer.spec.protocol_version >= ACTIVE_CHANGE_VERSION;
            if self.sub_type != SubType::Failover || !members.consumers.get(key).is_some_and(knows) {
                continue;
            }
            let is_active = self.active == Some(key);
            let command = if is_active { consumer_active(key.consumer_id) } else { consumer_inactive(key.consumer_id) };
            env.out.command(key.conn, &command);
        }
    }

    /// Sends what may be sent.
    pub(super) fn dispatch(&mut self, members: &mut Members<'_>, env: &mut Env<'_>) {
        if members.paused {
            return;
        }
        self.pace.begin(env.now.mono);
        self.check_handover(members, env);
        let mut left = CALL_ENTRIES_MAX;
        while let Some(active) = self.ready(members, env) {
            if left == 0 {
                return self.pace.let_others_run(env.now.mono);
            }
            self.read_from = pass_over_acked(self.read_from, members.cursor, env);
            let permits = members.consumers.get(active).map_or(0, |consumer| consumer.permits);
            let (entries_max, bytes_max) = (self.pace.entries(permits), window(env, active.conn));
            match env.read(members.id, self.read_from, entries_max, bytes_max) {
                Read::Ready(entries) if entries.is_empty() => return,
                Read::Ready(entries) => {
                    left = left.saturating_sub(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                    self.send_all(&entries, members, env);
                }
                Read::Pending(read) => self.reading = Some(read),
                Read::AtTail => return,
                Read::Busy => return self.pace.wait_for_log(env.now.mono),
            }
        }
    }

    /// The outcome of a read.
    pub(super) fn handle_read(
        &mut self,
        read: ReadId,
        result: Result<Vec<Entry>, ReadError>,
        members: &mut Members<'_>,
        env: &mut Env<'_>,
    ) {
        if self.reading != Some(read) {
            return; // I3: a rewind made it void.
        }
        self.reading = None;
        match result {
            Ok(entries) => self.send_all(&entries, members, env),
            Err(error) => self.pace.wait_after(&error, env.now.mono),
        }
        self.dispatch(members, env);
    }

    /// The active consumer when something may be read for it now.
    fn ready(&mut self, members: &Members<'_>, env: &Env<'_>) -> Option<ConsumerKey> {
        let active = self.active.filter(|active| members.can_take(env, *active))?;
        let free = self.reading.is_none() && self.handover.is_none();
        (free && self.pace.may_go_on(env)).then_some(active)
    }

    /// Sends entries in order until one cannot be sent; the rest is read again later.
    fn send_all(&mut self, entries: &[Entry], members: &mut Members<'_>, env: &mut Env<'_>) {
        let mut used = 0;
        for entry in entries {
            assert!(
                entry.position >= self.read_from,
                "SingleActive I1: {} read before {}",
                entry.position,
                self.read_from
            );
            if let Some(unacked) = members.unacked(env, entry) {
                let Some(active) = self.ready(members, env) else { break };
                members.send(env, active, entry, unacked);
            }
            self.read_from = entry.position.next();
            used += 1;
        }
        self.pace.learn(entries.len(), used);
    }

    /// Chooses the active consumer anew; a change starts it after the mark-delete.
    fn elect(&mut self, members: &Members<'_>, env: &Env<'_>) {
        let elected = elect(members.consumers, env.partition);
        if elected == self.active {
            return;
        }
        let former = self.active.filter(|former| members.consumers.contains(*former));
        if let Some(from) = former.filter(|_| self.handover.is_none()) {
            let sent = self.read_from.previous();
            self.handover = Some(Handover { from, until: env.now.mono + HANDOVER_WAIT, sent });
        }
        self.active = elected;
        self.unannounced = members.consumers.keys();
        self.rewind(members, env);
    }

    /// Ends the handover when its time is over or the former active consumer has acknowledged everything.
    fn check_handover(&mut self, members: &Members<'_>, env: &Env<'_>) {
        let Some(handover) = self.handover else { return };
        let acked = env.ledger.next_position(mark_delete(env, members.cursor)) > handover.sent;
        if acked || env.now.mono >= handover.until {
            self.handover = None;
            self.rewind(members, env);
        }
    }
}

/// Who shall be active: among the highest priority the one that connected first, or for a partition the one that its
/// number points to in name order, so that the partitions of a topic spread over the consumers.
fn elect(consumers: &Consumers, partition: i32) -> Option<ConsumerKey> {
    let highest = consumers.iter().map(|consumer| consumer.spec.priority_level).min()?;
    let mut best: Vec<_> = consumers.iter().filter(|consumer| consumer.spec.priority_level == highest).collect();
    best.sort_by(|a, b| a.spec.name.cmp(&b.spec.name).then(a.joined.cmp(&b.joined)));
    let chosen = match usize::try_from(partition) {
        Ok(partition) => best.get(partition % best.len()),
        Err(_) => best.iter().min_by_key(|consumer| consumer.joined),
    };
    chosen.map(|consumer| consumer.spec.key)
}
