//! Operations on the cursor that are under way, acknowledgements that wait for them, and who hears of the outcome.
//!
//! **What**  At most [`ACK_OPS_MAX`] acknowledgement operations are under way; what comes meanwhile is merged into the next.
//! Merging is sound because acknowledgements commute: an entry once acknowledged stays so, sets of a batch intersect.
//!
//! **Invariants**
//! - I1  an answer is given only when its operation and every one begun before it are durable or have failed. So an
//!   acknowledgement that changes nothing waits for the one that already covers it.
//! - I2  what waits and what is under way costs at most [`ACK_COST_MAX`].
//! - I3  an operation that was refused because the log was busy is tried again, and its answer waits; an acknowledgement
//!   refused because the cursor has too many ranges is answered with that error, and tried again all the same.
//!
//! **Not here**  What becomes of consumers when an operation is done (`acks`, `moves`).

use super::deliver::mark_delete;
use super::moves::MoveReply;
use crate::env::{Env, SubId};
use crate::io::ConnId;
use base::{ErrorClass, Mono, Position};
use managed::{AckSet, CursorError, CursorId};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::commands::{ack_failed, ack_response};
use wire::pulsar::ServerError;

/// Acknowledgement operations under way at once.
pub(super) const ACK_OPS_MAX: usize = 8;
/// Positions and words of ack sets that may wait or be under way.
pub(super) const ACK_COST_MAX: usize = 400_000;
/// The same of one operation (and one position in any case).
const OP_COST_MAX: usize = 20_000;
/// Resets and decrees that wait for a busy log; more are answered with the refusal.
const REFUSED_MAX: usize = 16;
/// An operation that is done as soon as everything before it is.
const NOTHING: Op = Op::AckEach(Vec::new());
/// How long to wait after the log was busy.
const BUSY_WAIT: Duration = Duration::from_millis(100);

/// Whose operations these are, and on which cursor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub sub: SubId,
    pub cursor: CursorId,
}

/// The client that wants to hear of its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckReply {
    pub conn: ConnId,
    pub consumer_id: u64,
    pub request_id: u64,
}

/// Who hears of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack(AckReply),
    Move(MoveReply),
}

/// One operation on the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    AckEach(Vec<(Position, Option<AckSet>)>),
    AckUpTo(Position, Option<AckSet>),
    /// Everything up to a position is acknowledged by decree; `expired` entries of it because of their age.
    Advance {
        up_to: Position,
        expired: u64,
    },
    /// The mark-delete is set; then the entry after it, named in `partial`, is acknowledged so far that its set remains.
    Reset {
        to: Position,
        partial: Option<(Position, AckSet)>,
    },
    /// The second half of a reset with `partial`.
    ResetPartial {
        next: Position,
        left: Option<AckSet>,
    },
}

#[derive(Debug)]
struct UnderWay {
    op: Op,
    answers: Vec<Answer>,
    outcome: Option<Result<(), CursorError>>,
}

/// Acknowledgements merged while others are under way.
#[derive(Debug, Default)]
struct Waiting {
    each: BTreeMap<Position, Option<AckSet>>,
    each_answers: Vec<Answer>,
    up_to: Option<(Position, Option<AckSet>)>,
    up_to_answers: Vec<Answer>,
}

impl Waiting {
    fn each_is_empty(&self) -> bool {
        self.each.is_empty() && self.each_answers.is_empty()
    }

    fn up_to_is_empty(&self) -> bool {
        self.up_to.is_none() && self.up_to_answers.is_empty()
    }
}

/// The book of all of them.
#[derive(Debug)]
pub(super) struct CursorOps {
    /// By context, which grows.
    under_way: BTreeMap<u64, UnderWay>,
    waiting: Waiting,
    /// Resets and decrees that were refused because the log was busy, oldest first.
    refused: Vec<(Op, Vec<Answer>)>,
    /// Of what waits and what is under way.
    cost: usize,
    /// Cost that the next operation may have. When the cursor has no room for more ranges, operations become single
    /// acknowledgements, so that the one that makes room is not refused together with others.
    op_cost: usize,
    retry_at: Option<Mono>,
}

impl Default for CursorOps {
    fn default() -> Self {
        let (under_way, waiting) = (BTreeMap::new(), Waiting::default());
        Self { under_way, waiting, refused: Vec::new(), cost: 0, op_cost: OP_COST_MAX, retry_at: None }
    }
}

/// Too many acknowledgements wait for storage (I2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{ACK_COST_MAX} acknowledgements of this subscription wait for storage; this one was dropped, acknowledge again later"
)]
pub(super) struct TooManyAcks;

fn cost(set: Option<&AckSet>) -> usize {
    1 + set.map_or(0, |set| set.to_wire().len())
}

impl Op {
    fn cost(&self) -> usize {
        match self {
            Self::AckEach(acks) => acks.iter().map(|(_, left)| cost(left.as_ref())).sum(),
            Self::AckUpTo(..) | Self::Advance { .. } | Self::Reset { .. } | Self::ResetPartial { .. } => 0,
        }
    }
}

/// What remains of an entry when everything up to `last` is acknowledged, and that one so far that `left` remains.
fn left_up_to(position: Position, last: Position, left: Option<&AckSet>) -> Option<Option<AckSet>> {
    (position <= last).then(|| left.filter(|_| position == last).cloned())
}

/// What remains unacknowledged after both.
fn met(one: Option<AckSet>, other: Option<AckSet>) -> Option<AckSet> {
    let both = one?.intersect(&other?);
    (!both.is_empty()).then_some(both)
}

impl CursorOps {
    /// Acknowledges one entry, or so far that `left` remains, with the next operation.
    ///
    /// # Errors
    /// [`TooManyAcks`]: nothing changed.
    pub(super) fn add_each(&mut self, position: Position, left: Option<AckSet>) -> Result<(), TooManyAcks> {
        if self.cost + cost(left.as_ref()) > ACK_COST_MAX {
            return Err(TooManyAcks);
        }
        self.merge_each(position, left);
        Ok(())
    }

    fn merge_each(&mut self, position: Position, left: Option<AckSet>) {
        let merged = match self.waiting.each.remove(&position) {
            Some(before) => {
                self.cost -= cost(before.as_ref());
                met(before, left)
            }
            None => left,
        };
        self.cost += cost(merged.as_ref());
        self.waiting.each.insert(position, merged);
    }

    /// What acknowledgements of this entry that are not answered yet will leave of it: `Some(None)` nothing, `None` when there
    /// is none. Also of those under way: the cursor does not know one that its log refuses. Such a one is tried again while the topic is
    /// open (I3), so an entry that is passed over because of it comes to rest.
    pub(super) fn asked(&self, position: Position) -> Option<Option<AckSet>> {
        let under_way = self.under_way.values().filter(|under_way| under_way.outcome.is_none());
        let under_way = under_way.filter_map(|under_way| match &under_way.op {
            Op::AckEach(acks) => {
                let found = acks.binary_search_by_key(&position, |(acked, _)| *acked).ok()?;
                acks.get(found).map(|(_, left)| left.clone())
            }
            Op::AckUpTo(last, left) => left_up_to(position, *last, left.as_ref()),
            Op::Advance { .. } | Op::Reset { .. } | Op::ResetPartial { .. } => None,
        });
        let each = self.waiting.each.get(&position).cloned();
        let up_to = self.waiting.up_to.as_ref();
        let up_to = up_to.and_then(|(last, left)| left_up_to(position, *last, left.as_ref()));
        under_way.chain(each).chain(up_to).reduce(met)
    }

    /// Acknowledges everything up to `position`, of which `left` remains, with the next operation.
    pub(super) fn add_up_to(&mut self, position: Position, left: Option<AckSet>) {
        let merged = match self.waiting.up_to.take() {
            Some((before, set)) if before > position => (before, set),
            Some((before, set)) if before == position => (position, met(set, left)),
            Some(_) | None => (position, left),
        };
        self.waiting.up_to = Some(merged);
    }

    /// Who hears when everything added so far by [`Self::add_each`] is durable.
    pub(super) fn answer_each(&mut self, reply: Option<AckReply>) {
        self.waiting.each_answers.extend(reply.map(Answer::Ack));
    }

    /// Who hears when everything added so far by [`Self::add_up_to`] is durable.
    pub(super) fn answer_up_to(&mut self, reply: Option<AckReply>) {
        self.waiting.up_to_answers.extend(reply.map(Answer::Ack));
    }

    /// Begins an operation.
    pub(super) fn start(&mut self, at: Site, op: Op, answers: Vec<Answer>, env: &mut Env<'_>) {
        let ctx = env.requests.context(at.sub);
        let above = self.under_way.last_key_value().is_none_or(|(last, _)| *last < ctx);
        assert!(above, "CursorOps I1: contexts grow");
        let (now, cursor, log, fx) = (env.now, at.cursor, &mut *env.ledger, &mut *env.ledger_fx);
        let mut outcome = None;
        match &op {
            Op::AckEach(acks) if acks.is_empty() => outcome = Some(Ok(())),
            Op::AckEach(acks) => log.ack_each(now, cursor, acks, ctx, fx),
            Op::AckUpTo(position, left) => log.ack_up_to(now, cursor, *position, left.clone(), ctx, fx),
            Op::Advance { up_to, .. } => log.ack_up_to(now, cursor, *up_to, None, ctx, fx),
            Op::Reset { to, .. } => log.reset_cursor(now, cursor, *to, ctx, fx),
            Op::ResetPartial { next, left } => log.ack_each(now, cursor, &[(*next, left.clone())], ctx, fx),
        }
        self.under_way.insert(ctx, UnderWay { op, answers, outcome });
    }

    /// Begins what waits, as far as the bounds allow.
    pub(super) fn submit(&mut self, at: Site, env: &mut Env<'_>) {
        if self.retry_at.is_some_and(|at| at > env.now.mono) {
            return;
        }
        self.retry_at = None;
        for (op, answers) in std::mem::take(&mut self.refused) {
            self.start(at, op, answers, env);
        }
        if !self.waiting.up_to_is_empty() && self.unanswered() < ACK_OPS_MAX {
            let answers = std::mem::take(&mut self.waiting.up_to_answers);
            let op = self.waiting.up_to.take().map(|(position, left)| Op::AckUpTo(position, left));
            self.start(at, op.unwrap_or(NOTHING), answers, env);
        }
        while !self.waiting.each_is_empty() && self.unanswered() < ACK_OPS_MAX {
            self.submit_each(at, env);
        }
    }

    /// Begins one operation with the oldest that wait; who asked hears when the last of them is durable.
    fn submit_each(&mut self, at: Site, env: &mut Env<'_>) {
        let mark_delete = mark_delete(env, at.cursor);
        let mut acks = Vec::new();
        let mut room = self.op_cost;
        while let Some((position, left)) = self.waiting.each.pop_first() {
            let cost = cost(left.as_ref());
            if position > mark_delete && env.ledger.contains(position) {
                acks.push((position, left));
                room = room.saturating_sub(cost);
            } else {
                self.cost -= cost; // Nothing is left to acknowledge: it was passed or trimmed meanwhile.
            }
            if room == 0 {
                break;
            }
        }
        let all = self.waiting.each.is_empty();
        let answers = if all { std::mem::take(&mut self.waiting.each_answers) } else { Vec::new() };
        self.start(at, Op::AckEach(acks), answers, env);
    }

    /// The outcome of an operation. `None` when it is unknown or will be tried again.
    pub(super) fn finish(
        &mut self,
        ctx: u64,
        result: Result<(), CursorError>,
        now: Mono,
    ) -> Option<(Op, Result<(), CursorError>)> {
        let under_way = self.under_way.get_mut(&ctx).filter(|under_way| under_way.outcome.is_none())?;
        let op = std::mem::replace(&mut under_way.op, NOTHING);
        let is_ack = matches!(op, Op::AckEach(_) | Op::AckUpTo(..));
        match &result {
            Err(CursorError::Busy { .. }) if is_ack || self.refused.len() < REFUSED_MAX => {
                let answers = self.under_way.remove(&ctx).map(|under_way| under_way.answers).unwrap_or_default();
                self.try_again(op, answers, now);
                return None;
            }
            Err(CursorError::TooManyRanges { .. }) if is_ack => {
                under_way.outcome = Some(result.clone());
                self.op_cost = 1;
                self.try_again(op, Vec::new(), now);
                return None;
            }
            Ok(()) => self.op_cost = (self.op_cost * 2).min(OP_COST_MAX),
            Err(_) => {}
        }
        under_way.outcome = Some(result.clone());
        self.cost -= op.cost();
        Some((op, result))
    }

    /// I3: puts a refused operation back; its cost stays counted.
    fn try_again(&mut self, op: Op, answers: Vec<Answer>, now: Mono) {
        self.retry_at = Some(now + BUSY_WAIT);
        self.cost -= op.cost();
        match op {
            Op::AckEach(acks) => {
                acks.into_iter().for_each(|(position, left)| self.merge_each(position, left));
                self.waiting.each_answers.extend(answers);
            }
            Op::AckUpTo(position, left) => {
                self.add_up_to(position, left);
                self.waiting.up_to_answers.extend(answers);
            }
            Op::Advance { .. } | Op::Reset { .. } | Op::ResetPartial { .. } => self.refused.push((op, answers)),
        }
    }

    /// Gives every answer that may be given now (I1; I6 of the subscription).
    pub(super) fn answer_finished(&mut self, env: &mut Env<'_>) {
        while let Some(first) = self.under_way.first_entry().filter(|first| first.get().outcome.is_some()) {
            let finished = first.remove();
            let outcome = finished.outcome.unwrap_or(Ok(()));
            for answer in finished.answers {
                match answer {
                    Answer::Ack(reply) => reply.send(outcome.as_ref().err().map(ack_error), env),
                    Answer::Move(reply) => reply.send(outcome.as_ref().err(), env),
                }
            }
        }
    }

    /// Takes the answers of an operation that goes on as another.
    pub(super) fn take_answers(&mut self, ctx: u64) -> Vec<Answer> {
        self.under_way.get_mut(&ctx).map(|under_way| std::mem::take(&mut under_way.answers)).unwrap_or_default()
    }

    /// The cursor is about to be reset: acknowledgements that wait must not touch its new state.
    pub(super) fn refuse_waiting(&mut self, env: &mut Env<'_>) {
        let waiting = std::mem::take(&mut self.waiting);
        self.cost -= waiting.each.values().map(|left| cost(left.as_ref())).sum::<usize>();
        for answer in waiting.each_answers.into_iter().chain(waiting.up_to_answers) {
            if let Answer::Ack(reply) = answer {
                reply.send(Some((ServerError::ServiceNotReady, "the subscription is being reset".to_owned())), env);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.retry_at
    }

    fn unanswered(&self) -> usize {
        self.under_way.values().filter(|under_way| under_way.outcome.is_none()).count()
    }
}

impl AckReply {
    /// Answers success or the failure with its words.
    pub(super) fn send(self, failure: Option<(ServerError, String)>, env: &mut Env<'_>) {
        let command = match failure {
            None => ack_response(self.consumer_id, self.request_id),
            Some((code, words)) => ack_failed(self.consumer_id, self.request_id, code, &words),
        };
        env.out.command(self.conn, &command);
    }
}

fn ack_error(error: &CursorError) -> (ServerError, String) {
    let code = match error.class() {
        _ if matches!(error, CursorError::Unknown { .. }) => ServerError::PersistenceError,
        ErrorClass::Reject => ServerError::MetadataError,
        ErrorClass::Retry { .. } => ServerError::ServiceNotReady,
        ErrorClass::Fatal => ServerError::PersistenceError,
    };
    (code, error.to_string())
}
