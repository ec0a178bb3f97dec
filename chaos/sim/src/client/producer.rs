//! A producer that numbers its messages, keeps a window of unanswered SENDs and repeats them after a reconnect.
//!
//! **States**  Down → Dialing → Opening → Ready → (connection lost) Down

use super::{Io, PATIENCE};
use crate::history::{Acked, Message, ProducerPlan, Sent, key_of};
use crate::queue::{MS, Time};
use crate::region::name_of;
use base::Rng;
use bytes::Bytes;
use std::collections::VecDeque;
use wire::payload::{BatchBuilder, build_body};
use wire::pulsar::base_command::Command;
use wire::pulsar::{CommandProducer, CommandSend, CommandSendReceipt, MessageMetadata, SingleMessageMetadata};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Dialing,
    Opening,
    Ready,
}

#[derive(Debug)]
struct Pending {
    command: CommandSend,
    body: Bytes,
    first: u64,
    last: u64,
}

/// Sizes and paces.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub window: usize,
    pub batch_max: u64,
    pub payload_max: u64,
    pub pause_max: Time,
}

/// One producer.
#[derive(Debug)]
pub struct Producer {
    pub region: usize,
    index: usize,
    plan: ProducerPlan,
    pace: Pace,
    state: State,
    requests: u64,
    next: u64,
    pending: VecDeque<Pending>,
    last_heard: Time,
}

impl Producer {
    pub fn new(index: usize, plan: ProducerPlan, pace: Pace) -> Self {
        Self {
            region: plan.region,
            index,
            plan,
            pace,
            state: State::Down,
            requests: 0,
            next: 0,
            pending: VecDeque::new(),
            last_heard: 0,
        }
    }

    /// Everything is published and answered.
    pub fn is_done(&self) -> bool {
        self.next == self.plan.messages && self.pending.is_empty()
    }

    /// For people who wonder why a run does not end.
    pub fn status(&self) -> String {
        let (state, next, of) = (self.state, self.next, self.plan.messages);
        format!("producer {} {state:?} {next}/{of}, {} unanswered", self.index, self.pending.len())
    }

    pub(super) fn topic(&self) -> &str {
        &self.plan.topic
    }

    pub(super) fn on_open(&mut self, io: &mut Io<'_>) {
        self.last_heard = io.now;
        self.state = State::Dialing;
    }

    pub(super) fn on_closed(&mut self, io: &mut Io<'_>) {
        self.state = State::Down;
        io.wake_within(500 * MS);
    }

    pub(super) fn on_wake(&mut self, io: &mut Io<'_>) {
        let waiting = !self.pending.is_empty() || matches!(self.state, State::Dialing | State::Opening);
        if self.state == State::Down {
            if !self.is_done() {
                io.dial = true;
            }
        } else if waiting && io.now - self.last_heard > PATIENCE {
            io.close = true;
            return;
        } else if self.state == State::Ready && self.pending.len() < self.pace.window && self.next < self.plan.messages
        {
            if self.pending.is_empty() {
                self.last_heard = io.now;
            }
            self.send_next(io);
        }
        if !self.is_done() {
            io.wake_within(self.pace.pause_max);
        }
    }

    fn send_next(&mut self, io: &mut Io<'_>) {
        let first = self.next;
        let count = io.rng.range(1, self.pace.batch_max).min(self.plan.messages - first);
        let last = first + count - 1;
        for number in first..=last {
            io.history.sent.push(Sent { message: Message { producer: self.index, number } });
        }
        let body = self.body(first, count, io.rng);
        let command = CommandSend {
            producer_id: 1,
            sequence_id: first,
            num_messages: Some(i32::try_from(count).unwrap_or(1)),
            highest_sequence_id: (count > 1).then_some(last),
            ..CommandSend::default()
        };
        self.next += count;
        wire::frame::encode_send(&command, &body, &mut io.sends);
        self.pending.push_back(Pending { command, body, first, last });
    }

    fn body(&self, first: u64, count: u64, rng: &mut Rng) -> Bytes {
        let mut payload = |number: u64| {
            let padding = usize::try_from(rng.below(self.pace.payload_max)).unwrap_or(0);
            format!("{}:{number}:{}", self.index, "x".repeat(padding))
        };
        let mut metadata = MessageMetadata {
            producer_name: self.name(),
            sequence_id: first,
            publish_time: 1,
            partition_key: Some(format!("key-{}", key_of(&Message { producer: self.index, number: first }))),
            replicate_to: if self.plan.local { vec![name_of(self.region).to_owned()] } else { Vec::new() },
            ..MessageMetadata::default()
        };
        if count == 1 {
            return build_body(&metadata, payload(first).as_bytes());
        }
        metadata.num_messages_in_batch = Some(i32::try_from(count).unwrap_or(1));
        metadata.highest_sequence_id = Some(first + count - 1);
        let mut batch = BatchBuilder::default();
        for number in first..first + count {
            let single = SingleMessageMetadata { sequence_id: Some(number), ..SingleMessageMetadata::default() };
            batch.push(single, payload(number).as_bytes());
        }
        build_body(&metadata, &batch.finish())
    }

    fn name(&self) -> String {
        format!("producer-{}", self.index)
    }

    fn open(&mut self, io: &mut Io<'_>) {
        self.state = State::Opening;
        self.requests += 1;
        io.command(CommandProducer {
            topic: self.plan.topic.clone(),
            producer_id: 1,
            request_id: self.requests,
            producer_name: Some(self.name()),
            user_provided_producer_name: Some(true),
            epoch: Some(self.requests),
            ..CommandProducer::default()
        });
    }

    pub(super) fn on_command(&mut self, command: Command, io: &mut Io<'_>) {
        self.last_heard = io.now;
        match command {
            Command::Connected(_) => self.open(io),
            Command::CloseProducer(_) => self.open(io),
            Command::ProducerSuccess(success) if success.producer_ready() => {
                self.state = State::Ready;
                for pending in &self.pending {
                    wire::frame::encode_send(&pending.command, &pending.body, &mut io.sends);
                }
            }
            Command::SendReceipt(receipt) => self.on_receipt(&receipt, io),
            // The client does not know what became of its messages: it repeats them.
            Command::SendError(_) | Command::Error(_) => io.close = true,
            _ => (),
        }
    }

    fn on_receipt(&mut self, receipt: &CommandSendReceipt, io: &mut Io<'_>) {
        if self.pending.front().is_none_or(|front| front.command.sequence_id != receipt.sequence_id) {
            return;
        }
        let Some(done) = self.pending.pop_front() else { return };
        let id = receipt.message_id.as_ref().filter(|id| id.ledger_id != u64::MAX && id.entry_id != u64::MAX);
        io.history.acked.push(Acked {
            producer: self.index,
            first: done.first,
            last: done.last,
            position: id.map(wire::commands::position),
            at: io.left.at,
            boot: io.left.boot,
        });
    }
}
