//! A consumer that acknowledges what it gets, sometimes late, and wants to hear that it was done.
//!
//! **States**  Down → Dialing → Subscribing → Ready → (connection lost) Down

use super::{Io, PATIENCE, messages_of};
use crate::history::{AckAnswered, Delivered, SubKey};
use crate::queue::{MS, Time};
use base::Position;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wire::pulsar::base_command::Command;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::command_subscribe::{InitialPosition, SubType};
use wire::pulsar::{CommandAck, CommandFlow, CommandMessage, CommandSubscribe};

/// How a consumer acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acking {
    /// Some entries at a time, in any order.
    Individual,
    /// Everything up to an entry.
    Cumulative,
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
    unacked: BTreeSet<Position>,
    /// Acknowledgements that were not answered yet, by request.
    asked: BTreeMap<u64, Vec<Position>>,
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
            unacked: BTreeSet::new(),
            asked: BTreeMap::new(),
            permits: 0,
            last_heard: 0,
        }
    }

    /// Everything it got is acknowledged and answered.
    pub fn is_quiet(&self) -> bool {
        self.unacked.is_empty() && self.asked.is_empty()
    }

    /// For people who wonder why a run does not end.
    pub fn status(&self) -> String {
        let (sub, unacked, asked) = (&self.plan.sub, self.unacked.len(), self.asked.len());
        format!(
            "{} of {}/{}/{} {:?}, {unacked} unacked, {asked} unanswered acks, {} permits",
            self.plan.name, sub.region, sub.topic, sub.name, self.state, self.permits
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
        self.unacked.clear();
        self.asked.clear();
        self.permits = 0;
    }

    pub(super) fn on_wake(&mut self, io: &mut Io<'_>) {
        let waiting = !self.asked.is_empty() || matches!(self.state, State::Dialing | State::Subscribing);
        if self.state == State::Down {
            io.dial = true;
        } else if waiting && io.now - self.last_heard > PATIENCE {
            io.close = true;
            return;
        } else if self.state == State::Ready {
            self.acknowledge(io);
        }
        io.wake_within(self.plan.pause_max);
    }

    fn acknowledge(&mut self, io: &mut Io<'_>) {
        if self.unacked.is_empty() {
            return;
        }
        if self.asked.is_empty() {
            self.last_heard = io.now;
        }
        let all: Vec<Position> = self.unacked.iter().copied().collect();
        let (ack_type, done) = match self.plan.acking {
            Acking::Individual => {
                let chosen: Vec<Position> = all.iter().filter(|_| io.rng.percent(60)).copied().collect();
                (AckType::Individual, chosen)
            }
            Acking::Cumulative => {
                let up_to = usize::try_from(io.rng.below(all.len() as u64)).unwrap_or(0);
                (AckType::Cumulative, all[..=up_to].to_vec())
            }
        };
        let ids: Vec<_> = match ack_type {
            AckType::Individual => done.iter().map(|position| wire::commands::message_id(*position)).collect(),
            AckType::Cumulative => {
                done.last().map(|position| wire::commands::message_id(*position)).into_iter().collect()
            }
        };
        if ids.is_empty() {
            return;
        }
        for position in &done {
            self.unacked.remove(position);
        }
        self.requests += 1;
        io.command(CommandAck {
            consumer_id: 1,
            ack_type: ack_type as i32,
            message_id: ids,
            request_id: Some(self.requests),
            ..CommandAck::default()
        });
        self.asked.insert(self.requests, done);
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
            Command::Connected(_) => self.subscribe(io),
            Command::CloseConsumer(_) => self.subscribe(io),
            Command::Success(_) if self.state == State::Subscribing => {
                self.state = State::Ready;
                self.was_ready = true;
                self.grant(io);
            }
            Command::Error(_) => io.close = true,
            Command::Message(message) => self.on_message(&message, body, io),
            Command::AckResponse(answer) => {
                let Some(positions) = self.asked.remove(&answer.request_id()) else { return };
                if answer.error.is_some() {
                    self.unacked.extend(positions);
                } else {
                    let sub = self.plan.sub.clone();
                    io.history.answered.push(AckAnswered { sub, positions, step: io.left.step });
                }
            }
            _ => (),
        }
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
        io.history.delivered.push(Delivered {
            sub: self.plan.sub.clone(),
            session: self.index << 32 | self.sessions,
            position,
            messages,
            redelivery: message.redelivery_count(),
            step: io.left.step,
        });
        self.unacked.insert(position);
        self.grant(io);
    }
}
