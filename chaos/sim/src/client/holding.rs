//! What a consumer holds and has not acknowledged, and which of it to acknowledge next.

use super::consumer::{Acking, Consumer};
use base::{Position, Rng};
use managed::AckSet;
use std::collections::BTreeSet;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandAck, MessageIdData};

/// One entry.
#[derive(Clone, Debug)]
pub(super) struct Held {
    messages: u32,
    /// Messages of it that are not acknowledged.
    left: BTreeSet<u32>,
}

/// An acknowledgement that waits for its answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) positions: Vec<Position>,
    pub(super) parts: Vec<(Position, u32)>,
}

impl Held {
    /// An entry as it came; `ack_set` is empty when all of it is unacknowledged.
    pub(super) fn new(messages: usize, ack_set: &[i64]) -> Self {
        let messages = u32::try_from(messages).unwrap_or(0);
        let unacked = |index: &u32| match ack_set.get(*index as usize / 64) {
            Some(word) => word >> (index % 64) & 1 == 1,
            None => ack_set.is_empty(),
        };
        Self { messages, left: (0..messages).filter(unacked).collect() }
    }

    /// The messages that were acknowledged before.
    pub(super) fn absent(&self) -> Vec<u32> {
        (0..self.messages).filter(|index| !self.left.contains(index)).collect()
    }

    /// Takes some of the messages; `None` when nothing would be left.
    fn take_some(&mut self, rng: &mut Rng) -> Option<(Vec<u32>, Vec<i64>)> {
        let some: Vec<u32> = self.left.iter().filter(|_| rng.percent(50)).copied().collect();
        if some.is_empty() || some.len() == self.left.len() {
            return None;
        }
        self.left.retain(|index| !some.contains(index));
        let mut words = vec![0_u64; self.messages.div_ceil(64) as usize];
        for index in &self.left {
            words[*index as usize / 64] |= 1 << (index % 64);
        }
        Some((some, words.into_iter().map(u64::cast_signed).collect()))
    }
}

impl Consumer {
    /// An acknowledgement of some of what is held.
    pub(super) fn choose_acks(&mut self, request_id: u64, rng: &mut Rng) -> Option<(CommandAck, Asked)> {
        let mut asked = Asked::default();
        let mut ids: Vec<MessageIdData> = Vec::new();
        let cumulative = self.plan.acking == Acking::Cumulative;
        let up_to = rng.below(self.held.len() as u64);
        for ((position, held), index) in self.held.iter_mut().zip(0..) {
            if if cumulative { index > up_to } else { !rng.percent(60) } {
                continue;
            }
            let mut id = wire::commands::message_id(*position);
            let part = if self.plan.acking == Acking::Partial { held.take_some(rng) } else { None };
            match part {
                Some((some, ack_set)) => {
                    asked.parts.extend(some.into_iter().map(|index| (*position, index)));
                    id.batch_size = i32::try_from(held.messages).ok();
                    id.ack_set = AckSet::from_wire(&ack_set).to_wire();
                }
                None => asked.positions.push(*position),
            }
            ids.push(id);
        }
        if cumulative {
            ids = ids.pop().into_iter().collect();
        }
        let ack_type = if cumulative { AckType::Cumulative } else { AckType::Individual };
        let request_id = Some(request_id);
        let command = CommandAck {
            consumer_id: 1,
            ack_type: ack_type as i32,
            message_id: ids,
            request_id,
            ..CommandAck::default()
        };
        (!command.message_id.is_empty()).then_some((command, asked))
    }
}
