//! A consumer that acknowledges what it gets, sometimes late or in parts, gives some back, and wants to hear that it was done.
//!
//! **States**  Down → Dialing → Subscribing → Ready → (connection lost) Down
//!
//! **Not here**  What it does with entries that it holds (`holding`).

use super::holding::{Asked, Held};
use super::{Io, PATIENCE, messages_of};
use crate::history::{AckAnswered, Delivered, Ended, Released, Seek, SubKey};
use crate::queue::{MS, Time};
use base::Position;
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::pulsar::base_command::Command;
use wire::pulsar::command_subscribe::{InitialPosition, SubType};
use wire::pulsar::{
    CommandAckResponse, CommandFlow, CommandMessage, CommandRedeliverUnacknowledgedMessages, CommandSeek,
    CommandSubscribe,
};

/// How a consumer acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acking {
    /// Some entries at a time, in any order.
    Individual,
    /// The same, and of batches some messages at a time.
    Partial,
    /// Everything up to an entry.
    Cumulative,
    /// Nothing: all of it comes again.
    Never,
}

/// What a consumer is.
#[derive(Clone, Debug)]
pub struct ConsumerPlan {
    pub region: usize,
    pub sub: SubKey,
    pub name: String,
    pub sub_type: SubType,
    pub acking: Acking,
    pub permits: u32,
    /// Longest pause between two rounds of acknowledging.
    pub pause_max: Time,
    /// Of a hundred rounds, so many give entries back.
    pub nacks: u64,
    /// How often it goes back.
    pub seeks: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Dialing,
    Subscribing,
    Ready,
}

/// One consumer.
#[derive(Debug)]
pub struct Consumer {
    pub plan: ConsumerPlan,
    /// It was subscribed at least once.
    pub was_ready: bool,
    state: State,
    sessions: u64,
    index: u64,
    requests: u64,
    pub(super) held: BTreeMap<Position, Held>,
    /// Acknowledgements that were not answered yet, by request.
    asked: BTreeMap<u64, Asked>,
    /// A seek under way: its request, and its place in the history.
    seeking: Option<(u64, usize)>,
    /// The newest entry that ever came, and the newest since the last seek.
    newest: Option<Position>,
    newest_now: Option<Position>,
    permits: i64,
    last_heard: Time,
}

impl Consumer {
    pub fn new(index: usize, plan: ConsumerPlan) -> Self {
        Self {
            plan,
            was_ready: false,
            state: State::Down,
            sessions: 0,
            index: index as u64,
            requests: 0,
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            seeking: None,
            newest: None,
            newest_now: None,
            permits: 0,
            last_heard: 0,
        }
    }

    /// Everything it got is acknowledged and answered, and what it went back to came again.
    pub fn is_quiet(&self) -> bool {
        let holds = !self.held.is_empty() && self.plan.acking != Acking::Never;
        !holds && self.asked.is_empty() && self.is_back()
    }

    /// What it went back to came again.
    pub fn is_back(&self) -> bool {
        self.seeking.is_none() && self.newest == self.newest_now
    }

    /// For people who wonder why a run does not end.
    pub fn status(&self) -> String {
        let (sub, held, asked) = (&self.plan.sub, self.held.len(), self.asked.len());
        format!(
            "{} of {}/{}/{} {:?}, {held} unacked, {asked} unanswered acks, {} permits, newest {:?}, since a seek {:?}",
            self.plan.name, sub.region, sub.topic, sub.name, self.state, self.permits, self.newest, self.newest_now
        )
    }

    pub(super) fn on_open(&mut self, io: &mut Io<'_>) {
        self.last_heard = io.now;
        self.state = State::Dialing;
    }

    pub(super) fn on_closed(&mut self, io: &mut Io<'_>) {
        self.forget();
        self.state = State::Down;
        io.wake_within(500 * MS);
    }

    fn forget(&mut self) {
        self.held.clear();
        self.asked.clear();
        self.permits = 0;
    }

    pub(super) fn on_wake(&mut self, io: &mut Io<'_>) {
        let subscribing = matches!(self.state, State::Dialing | State::Subscribing);
        let waiting = !self.asked.is_empty() || self.seeking.is_some() || subscribing;
        if self.state == State::Down {
            io.dial = true;
        } else if waiting && io.now - self.last_heard > PATIENCE {
            io.close = true;
            return;
        } else if self.state == State::Ready {
            self.work(io);
        }
        io.wake_within(self.plan.pause_max);
    }

    fn work(&mut self, io: &mut Io<'_>) {
        if self.held.is_empty() || self.seeking.is_some() || self.plan.acking == Acking::Never {
            return;
        }
        if self.asked.is_empty() {
            self.last_heard = io.now;
        }
        if self.plan.seeks > 0 && io.rng.percent(10) {
            self.seek(io);
        } else if io.rng.percent(self.plan.nacks) {
            self.give_back(io);
        } else {
            self.acknowledge(io);
        }
    }

    fn acknowledge(&mut self, io: &mut Io<'_>) {
        self.requests += 1;
        let Some((command, asked)) = self.choose_acks(self.requests, io.rng) else { return };
        for position in &asked.positions {
            self.held.remove(position);
            self.release(*position, io);
        }
        io.command(command);
        self.asked.insert(self.requests, asked);
    }

    fn give_back(&mut self, io: &mut Io<'_>) {
        let some: Vec<Position> = self.held.keys().filter(|_| io.rng.percent(40)).copied().collect();
        for position in &some {
            self.held.remove(position);
            self.release(*position, io);
        }
        if !some.is_empty() {
            io.command(CommandRedeliverUnacknowledgedMessages {
                consumer_id: 1,
                message_ids: some.iter().map(|position| wire::commands::message_id(*position)).collect(),
                ..CommandRedeliverUnacknowledgedMessages::default()
            });
        }
    }

    fn release(&self, position: Position, io: &mut Io<'_>) {
        io.history.released.push(Released { client: self.index, position, step: io.step });
    }

    /// Goes back to something that it got before, so that nothing is skipped.
    fn seek(&mut self, io: &mut Io<'_>) {
        let seen: Vec<Position> =
            io.history.delivered.iter().filter(|d| d.sub == self.plan.sub).map(|d| d.position).collect();
        let (Some(to), Some(newest)) = (io.rng.pick(&seen).copied(), self.newest) else { return };
        let oldest = self.held.keys().next().copied().unwrap_or(newest);
        self.plan.seeks -= 1;
        self.requests += 1;
        self.seeking = Some((self.requests, io.history.seeks.len()));
        self.newest_now = self.newest;
        let seek = Seek { sub: self.plan.sub.clone(), to, kept: oldest.max(to), step: None };
        io.history.seeks.push(seek);
        io.command(CommandSeek {
            consumer_id: 1,
            request_id: self.requests,
            message_id: Some(wire::commands::message_id(to)),
            ..CommandSeek::default()
        });
    }

    fn subscribe(&mut self, io: &mut Io<'_>) {
        self.forget();
        self.state = State::Subscribing;
        self.sessions += 1;
        self.requests += 1;
        io.command(CommandSubscribe {
            topic: self.plan.sub.topic.clone(),
            subscription: self.plan.sub.name.clone(),
            sub_type: self.plan.sub_type as i32,
            consumer_id: 1,
            request_id: self.requests,
            consumer_name: Some(self.plan.name.clone()),
            durable: Some(true),
            initial_position: Some(InitialPosition::Earliest as i32),
            ..CommandSubscribe::default()
        });
    }

    pub(super) fn on_command(&mut self, command: Command, body: Option<&Bytes>, io: &mut Io<'_>) {
        self.last_heard = io.now;
        match command {
            Command::Connected(_) => {
                // Whatever was asked on another connection: nobody knows.
                self.seeking = None;
                self.subscribe(io);
            }
            Command::CloseConsumer(_) => {
                let closed = Some(self.plan.sub.clone());
                io.history.ended.push(Ended { client: self.index, closed, step: io.left.step });
                self.forget();
                self.state = State::Subscribing;
                if self.seeking.is_none() {
                    self.subscribe(io);
                }
            }
            Command::ActiveConsumerChange(_) => {
                // Another order begins, and what is held comes again to whoever is active now.
                self.held.clear();
                self.sessions += 1;
            }
            Command::Success(success) if self.seeking.is_some_and(|(id, _)| id == success.request_id) => {
                if let Some(seek) = self.seeking.take().and_then(|(_, at)| io.history.seeks.get_mut(at)) {
                    seek.step = Some(io.left.step);
                    self.newest_now = None;
                }
                self.subscribe(io);
            }
            Command::Success(_) if self.state == State::Subscribing => {
                self.state = State::Ready;
                self.was_ready = true;
                self.grant(io);
            }
            Command::Error(_) => io.close = true,
            Command::Message(message) => self.on_message(&message, body, io),
            Command::AckResponse(answer) => self.on_ack_response(&answer, io),
            _ => (),
        }
    }

    fn on_ack_response(&mut self, answer: &CommandAckResponse, io: &mut Io<'_>) {
        let Some(asked) = self.asked.remove(&answer.request_id()) else { return };
        if answer.error.is_some() {
            // It did not happen, or nobody knows: start over, everything comes again.
            io.close = true;
            return;
        }
        let Asked { positions, parts } = asked;
        let (sub, step, boot) = (self.plan.sub.clone(), io.left.step, io.left.boot);
        io.history.answered.push(AckAnswered { sub, positions, parts, step, boot });
    }

    fn grant(&mut self, io: &mut Io<'_>) {
        let wanted = i64::from(self.plan.permits);
        if self.permits * 2 <= wanted
            && let Ok(more) = u32::try_from(wanted - self.permits)
        {
            self.permits = wanted;
            io.command(CommandFlow { consumer_id: 1, message_permits: more });
        }
    }

    fn on_message(&mut self, message: &CommandMessage, body: Option<&Bytes>, io: &mut Io<'_>) {
        if self.state != State::Ready {
            return;
        }
        let position = wire::commands::position(&message.message_id);
        let messages = body.and_then(messages_of).unwrap_or_default();
        self.permits -= messages.len() as i64;
        let held = Held::new(messages.len(), &message.ack_set);
        io.history.delivered.push(Delivered {
            sub: self.plan.sub.clone(),
            session: self.index << 32 | self.sessions,
            position,
            messages,
            redelivery: message.redelivery_count(),
            absent: held.absent(),
            step: io.left.step,
            boot: io.left.boot,
        });
        self.held.insert(position, held);
        self.newest = self.newest.max(Some(position));
        self.newest_now = self.newest_now.max(Some(position));
        self.grant(io);
    }
}
