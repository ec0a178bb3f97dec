//! What the model allows to be sent and answered.

use super::{Known, World};
use crate::admin_command::AdminReply;
use crate::subscription::tests_bed::Delivered;
use crate::subscription::{KeyOrder, SubType};
use base::Position;
use wire::pulsar::base_command::Command;

impl World {
    /// Compares what was sent with what may be sent.
    pub(super) fn check(&mut self) {
        self.note_readable();
        for (conn, command) in std::mem::take(&mut self.bed.commands) {
            match command.command {
                Some(Command::AckResponse(response)) => {
                    let named = self.asking.remove(&response.request_id.unwrap());
                    assert!(named.is_none() || response.error.is_none(), "{response:?}");
                    named.into_iter().flatten().for_each(|(position, left)| self.acked(position, left));
                }
                Some(Command::ActiveConsumerChange(change)) => {
                    if change.is_active == Some(true) && self.active != Some(conn.0) {
                        self.rewound(Some(conn.0));
                    }
                }
                Some(Command::Success(_)) => self.resetting = false,
                Some(Command::CloseConsumer(_)) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        for reply in std::mem::take(&mut self.bed.admin) {
            assert!(matches!(reply, AdminReply::Done), "{reply:?}");
            let position = self.advancing.pop_front().unwrap();
            let passed: Vec<Position> = self.entries.range(..=position).map(|(p, _)| *p).collect();
            passed.into_iter().for_each(|position| self.acked(position, 0));
        }
        for delivered in self.bed.taken() {
            self.check_delivery(&delivered);
        }
    }

    fn acked(&mut self, position: Position, left: u64) {
        let known = self.entries.get_mut(&position).unwrap();
        known.left &= left;
        if known.left == 0 {
            known.holder = None;
        }
    }

    fn check_delivery(&mut self, sent: &Delivered) {
        let id = sent.to.conn.0;
        let known = self.entries.get(&sent.position).cloned().expect("only what was published is sent");
        let bits = match sent.ack_set.as_slice() {
            [] => known.all,
            [word] => word.cast_unsigned(),
            more => panic!("{more:?} for a small batch"),
        };
        assert!(!self.resetting, "nothing is sent while the cursor is reset");
        assert!(bits & !known.left == 0, "{sent:?} was acknowledged: {known:?}");
        assert!(known.unasked & !bits == 0, "{sent:?} leaves out what nobody acknowledged: {known:?}");
        let client = self.clients.get_mut(&id).expect("only connected consumers get anything");
        assert!(client.permits > 0 && !client.stalled, "{sent:?} without permits: {client:?}");
        client.permits -= i64::from(bits.count_ones());
        assert!(client.permits > -8, "at most one batch is overdrawn");
        assert_eq!(sent.epoch, Some(client.epoch));
        client.got.push(sent.position);
        self.delivered += 1;
        if self.is_single() {
            self.check_order(sent);
        } else {
            self.check_sharing(sent, id, &known);
            self.entries.get_mut(&sent.position).unwrap().holder = Some(id);
        }
    }

    /// Exclusive and Failover: the active consumer, in log order, nothing left out.
    fn check_order(&mut self, sent: &Delivered) {
        assert_eq!(self.active, Some(sent.to.conn.0), "only the active consumer gets anything");
        let from = self.last_sent.map_or(Position::EARLIEST, Position::next);
        assert!(from <= sent.position, "{sent:?} comes after {:?}", self.last_sent);
        for (position, passed) in self.entries.range(from..sent.position) {
            assert_eq!(passed.unasked, 0, "{position} was left out before {}", sent.position);
        }
        self.last_sent = Some(sent.position);
    }

    /// Shared and Key_Shared: with one consumer at a time; a key in order and with one consumer at a time.
    fn check_sharing(&self, sent: &Delivered, id: u64, known: &Known) {
        assert_eq!(known.holder, None, "{sent:?} lies with another consumer");
        assert_eq!(sent.redeliveries, known.given_back, "{sent:?}");
        let max = self.setup.unacked_max;
        let held = self.entries.values().filter(|k| k.holder == Some(id)).map(|k| k.unasked.count_ones()).sum::<u32>();
        assert!(max == 0 || held < max, "{sent:?} beyond the limit: {held}");
        if self.setup.kind != SubType::KeyShared || self.setup.order == KeyOrder::Waived {
            return;
        }
        for (position, other) in self.entries.iter().filter(|(_, other)| other.slot == known.slot && other.unasked > 0)
        {
            let elsewhere = other.holder.is_some_and(|holder| holder != id);
            assert!(!elsewhere, "{sent:?}: {position} of the same key lies with {:?}", other.holder);
            let skipped = *position < sent.position && other.holder != Some(id) && !other.delayed;
            assert!(!skipped, "{sent:?}: {position} of the same key comes first");
        }
        if self.setup.sticky {
            assert_eq!(u64::from(known.slot / 16384) + 1, id, "sticky ranges");
        }
    }
}
