//! Moving the cursor by decree: seek and reset, skip, expiry.
//!
//! **Invariants**
//! - I1  a reset disconnects every consumer before the cursor moves; nothing is sent until it has moved, and Success goes
//!   out before anything that is sent afterwards.
//! - I2  at most one reset is under way.

use super::Subscription;
use super::cursor_ops::{Answer, Op};
use super::deliver::mark_delete;
use crate::admin_command::{AdminFailure, AdminReply, FailureKind};
use crate::env::Env;
use crate::io::{AdminId, BrokerEffect, ConnId};
use base::{ErrorClass, Position};
use managed::{AckSet, CursorError, ManagedLedger};
use wire::commands::{error, success};
use wire::pulsar::ServerError;

/// Who waits for a cursor to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveReply {
    /// A client's command: answered with Success or Error.
    Client {
        conn: ConnId,
        request_id: u64,
    },
    /// An operator's command: answered with [`BrokerEffect::Admin`].
    Admin(AdminId),
    Nobody,
}

impl MoveReply {
    /// Answers success or the failure with its words.
    pub(super) fn send(self, failure: Option<&CursorError>, env: &mut Env<'_>) {
        let kind = |failure: &CursorError| match failure.class() {
            ErrorClass::Retry { .. } => FailureKind::Unavailable,
            ErrorClass::Reject => FailureKind::Precondition,
            ErrorClass::Fatal => FailureKind::Internal,
        };
        self.answer(failure.map(|failure| (kind(failure), failure.to_string())), env);
    }

    fn answer(self, failure: Option<(FailureKind, String)>, env: &mut Env<'_>) {
        match (self, failure) {
            (Self::Client { conn, request_id }, None) => env.out.command(conn, &success(request_id)),
            (Self::Client { conn, request_id }, Some((_, words))) => {
                let words = format!("Error when resetting subscription: {words}");
                env.out.command(conn, &error(request_id, ServerError::UnknownError, &words));
            }
            (Self::Admin(id), None) => env.out.effect(BrokerEffect::Admin { id, reply: AdminReply::Done }),
            (Self::Admin(id), Some((kind, words))) => {
                let reply = AdminReply::Failed(AdminFailure::new(kind, words));
                env.out.effect(BrokerEffect::Admin { id, reply });
            }
            (Self::Nobody, _) => {}
        }
    }
}

impl Subscription {
    /// Disconnects every consumer, moves the mark-delete to `to` in either direction, then answers. With `partial`, the
    /// entry after `to` counts as acknowledged so far that `partial` remains. Consumers that connect meanwhile are served
    /// once the cursor has moved.
    pub fn begin_reset(&mut self, to: Position, partial: Option<AckSet>, reply: MoveReply, env: &mut Env<'_>) {
        if self.resetting {
            let words = format!("subscription '{}' is being reset already; try again when that is done", self.name);
            return reply.answer(Some((FailureKind::Unavailable, words)), env);
        }
        self.disconnect_all(env);
        self.ops.refuse_waiting(env);
        self.redeliveries.clear();
        self.resetting = true;
        // The entry is named now: until the cursor has moved, expiry may move it on.
        let partial = partial.map(|left| (env.ledger.next_position(to), left));
        self.ops.start(self.site(), Op::Reset { to, partial }, vec![Answer::Move(reply)], env);
    }

    /// Whether a reset is under way: a volatile subscription without consumers must then be kept.
    pub fn is_resetting(&self) -> bool {
        self.resetting
    }

    /// Acknowledges the next `entries` entries that are not acknowledged, or all when there are fewer.
    pub fn skip(&mut self, entries: u64, reply: MoveReply, env: &mut Env<'_>) {
        let up_to = match entries {
            0 => mark_delete(env, self.cursor),
            _ => self.nth_unacked(entries, env.ledger).unwrap_or_else(|| env.ledger.last_confirmed()),
        };
        self.mark_delete_to(up_to, reply, env);
    }

    /// Acknowledges everything up to `position` because it is too old.
    pub fn expire_up_to(&mut self, position: Position, reply: MoveReply, env: &mut Env<'_>) {
        let position = position.min(env.ledger.last_confirmed());
        let expired = self.unacked_up_to(position, env.ledger);
        self.advance(position, expired, reply, env);
    }

    /// Acknowledges everything up to `position` because an operator says so.
    pub fn mark_delete_to(&mut self, position: Position, reply: MoveReply, env: &mut Env<'_>) {
        self.advance(position.min(env.ledger.last_confirmed()), 0, reply, env);
    }

    fn advance(&mut self, up_to: Position, expired: u64, reply: MoveReply, env: &mut Env<'_>) {
        self.ops.start(self.site(), Op::Advance { up_to, expired }, vec![Answer::Move(reply)], env);
    }

    /// The mark-delete was moved forward by decree.
    pub(super) fn handle_advanced(&mut self, expired: u64, env: &mut Env<'_>) {
        let mark_delete = mark_delete(env, self.cursor);
        if expired > 0 {
            self.meters.expired.record(env.now.mono, expired);
            self.meters.expired_total += expired;
            self.meters.last_expired_ms = env.now.wall_ms;
        }
        if let super::Dispatcher::Shared(shared) = &mut self.dispatcher {
            shared.forget_up_to(mark_delete);
        }
    }

    /// The first half of a reset is done.
    pub(super) fn handle_reset(&mut self, ctx: u64, partial: Option<(Position, AckSet)>, env: &mut Env<'_>) {
        match partial.filter(|(next, _)| env.ledger.contains(*next)) {
            Some((next, left)) => {
                let answers = self.ops.take_answers(ctx);
                let left = (!left.is_empty()).then_some(left);
                self.ops.start(self.site(), Op::ResetPartial { next, left }, answers, env);
            }
            None => self.end_reset(env),
        }
    }

    /// The cursor stands where it shall, or the reset failed and it stands where it stood.
    pub(super) fn end_reset(&mut self, env: &Env<'_>) {
        self.resetting = false;
        let (dispatcher, members) = self.split();
        match dispatcher {
            super::Dispatcher::Idle => {}
            super::Dispatcher::Single(single) => single.rewind(&members, env),
            super::Dispatcher::Shared(shared) => shared.restart(&members, env),
        }
    }

    /// The `nth` (from 1) entry that is not acknowledged.
    pub fn nth_unacked(&self, nth: u64, ledger: &ManagedLedger) -> Option<Position> {
        let cursor = ledger.cursor(self.cursor)?;
        let mut left = nth.checked_sub(1)?;
        let mut at = ledger.next_position(cursor.mark_delete());
        for (acked_in, first, last) in cursor.individually_acked() {
            let gap_end = Position::new(acked_in, first);
            let gap = entries_between(at, gap_end, ledger);
            if left < gap {
                return ledger.position_at(at, left);
            }
            left -= gap;
            at = Position::new(acked_in, last).next();
        }
        ledger.position_at(at, left)
    }

    /// Entries up to `position` that are not acknowledged.
    fn unacked_up_to(&self, position: Position, ledger: &ManagedLedger) -> u64 {
        let Some(cursor) = ledger.cursor(self.cursor) else { return 0 };
        let all = entries_between(cursor.mark_delete().next(), position.next(), ledger);
        let acked: u64 = cursor
            .individually_acked()
            .map(|(ledger_id, first, last)| (Position::new(ledger_id, first), Position::new(ledger_id, last)))
            .take_while(|(first, _)| *first <= position)
            .map(|(first, last)| entries_between(first, last.min(position).next(), ledger))
            .sum();
        all.saturating_sub(acked)
    }
}

/// Entries at or after `from` and before `to`.
fn entries_between(from: Position, to: Position, ledger: &ManagedLedger) -> u64 {
    ledger.entries_after(from.previous()).saturating_sub(ledger.entries_after(to.previous()))
}
