//! Where the sender reads its log, one read at a time.
//!
//! **Invariants**
//! - I1  at most one read is outstanding; an answer to any other is ignored.
//! - I2  after an empty answer nothing is read until the log has grown.

use base::{Mono, Position};

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    seq: u64,
    /// The end of the log when the read was made.
    tail: Position,
}

#[derive(Debug)]
pub(crate) struct Reader {
    /// Everything up to here was read in this attempt, or need not be.
    after: Position,
    outstanding: Option<Outstanding>,
    next_seq: u64,
    /// The log ended here when a read found nothing more.
    exhausted_at: Option<Position>,
    retry_at: Option<Mono>,
    /// While not streaming: the next entry is to be forwarded and was published then (Unix ms); no use reading it yet.
    blocked_ms: Option<u64>,
    /// While streaming: the next entry needs this much room in the window; no use reading it yet.
    room_needed: Option<u64>,
}

impl Reader {
    pub(crate) fn new(after: Position) -> Self {
        Self {
            after,
            outstanding: None,
            next_seq: 0,
            exhausted_at: None,
            retry_at: None,
            blocked_ms: None,
            room_needed: None,
        }
    }

    /// Goes to another place; an answer under way is ignored when it comes.
    pub(crate) fn seek(&mut self, after: Position) {
        *self = Self { next_seq: self.next_seq, ..Self::new(after) };
    }

    /// Whether the log has something unread.
    pub(crate) fn has_more(&self, tail: Position) -> bool {
        self.after < tail && self.exhausted_at != Some(tail)
    }

    /// Begins a read if there is something to read and nothing in the way; answers its number.
    pub(crate) fn begin(&mut self, tail: Position) -> Option<u64> {
        if self.outstanding.is_some() || self.retry_at.is_some() || self.blocked_ms.is_some() || !self.has_more(tail) {
            return None;
        }
        let seq = self.next_seq;
        self.next_seq += 1;
        self.outstanding = Some(Outstanding { seq, tail });
        Some(seq)
    }

    /// Whether `seq` answers the outstanding read, which then is no longer outstanding.
    pub(crate) fn finish(&mut self, seq: u64) -> bool {
        let matches = self.outstanding.is_some_and(|o| o.seq == seq);
        if matches {
            self.outstanding = None;
        }
        matches
    }

    /// Notes that the read found nothing up to the end that the log had then.
    pub(crate) fn note_exhausted(&mut self, seq: u64) {
        if let Some(o) = self.outstanding.filter(|o| o.seq == seq) {
            self.exhausted_at = Some(o.tail);
        }
    }

    pub(crate) fn advance(&mut self, position: Position) {
        assert!(position > self.after, "LinkSender: entries ascend, {position} after {}", self.after);
        self.after = position;
        self.room_needed = None;
    }

    pub(crate) fn pause_until(&mut self, at: Mono) {
        self.retry_at = Some(at);
    }

    pub(crate) fn block(&mut self, published_ms: u64) {
        self.blocked_ms = Some(published_ms);
    }

    pub(crate) fn wait_for_room(&mut self, cost: u64) {
        self.room_needed = Some(cost);
    }

    pub(crate) fn on_deadline(&mut self, now: Mono) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
        }
    }

    pub(crate) fn after(&self) -> Position {
        self.after
    }

    pub(crate) fn room_needed(&self) -> Option<u64> {
        self.room_needed
    }

    pub(crate) fn retry_at(&self) -> Option<Mono> {
        self.retry_at
    }

    pub(crate) fn blocked_ms(&self) -> Option<u64> {
        self.blocked_ms
    }
}
