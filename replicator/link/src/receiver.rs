//! Takes the entries of one link into the topic's copy and acknowledges what is durable.
//!
//! **States**  Streaming ⇄ Rewinding (asked for the entry after the watermark), Streaming | Rewinding → Refused (the topic
//! had no room; asks after a pause) → Rewinding.
//!
//! **Invariants**
//! - I1  an entry is stored only as the exact successor of the tracker's accepted watermark.
//! - I2  no acknowledgement exceeds the tracker's durable watermark.
//! - I3  one `Rewind` per watermark: what is in flight behind a gap is dropped in silence.
//! - I4  accepted and not yet durable bytes ≤ the credit, or one entry alone.
//!
//! **Not here**  Opening the topic and refusing regions that may not replicate into it (the broker); timeouts (the sender's).
//!
//! **Tests**  `receiver_tests.rs`, `tests/lossy.rs`.

use crate::seeded::Planted;
use crate::{OriginTracker, ReceiverOptions, SeededBug, Verdict, entry_cost, link_number};
use base::{Effects, EntryData, Mono, Now, Position, RegionId};
use std::collections::VecDeque;
use wire::region::RegionFrame;
use wire::stored::Origin;

/// What a receiver wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiverEffect {
    /// Send this frame to the region the link comes from.
    Send(RegionFrame),
}

/// What the owner does with an entry, at once and before the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum EntryVerdict {
    /// Append it to the log, with its origin inside the record; then call `handle_added` or `handle_refused`.
    Store,
    /// Nothing: it was a duplicate or came out of turn.
    Drop,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Streaming,
    /// Asked for what follows this watermark.
    Rewinding {
        asked: Option<Position>,
    },
    /// The topic took no entry; asks again at this instant.
    Refused {
        ask_at: Mono,
    },
}

/// The receiving end of one link.
#[derive(Debug)]
pub struct LinkReceiver {
    link: u64,
    region: RegionId,
    options: ReceiverOptions,
    phase: Phase,
    /// Judged `Store`, and the owner has not said what became of it.
    judged: Option<Position>,
    /// Accepted through this link and not yet durable: position and cost, ascending.
    pending: VecDeque<(Position, u64)>,
    pending_bytes: u64,
    /// The last position acknowledged on this link.
    acked: Option<Position>,
    planted: Planted,
}

impl LinkReceiver {
    /// Answers an `Open` once the topic's log is open: `incarnation` is the number of this copy of the topic, drawn at
    /// random when the copy was created. The watermark told is the durable one, so that nothing rests on what a crash
    /// may still take away.
    pub fn open(
        link: u64,
        region: RegionId,
        incarnation: u64,
        options: ReceiverOptions,
        tracker: &OriginTracker,
        fx: &mut Effects<ReceiverEffect>,
    ) -> Self {
        let watermark = tracker.durable(region);
        let credit_bytes = options.credit_bytes;
        fx.push(ReceiverEffect::Send(RegionFrame::Opened { link, incarnation, watermark, credit_bytes }));
        Self {
            link,
            region,
            options,
            phase: Phase::Streaming,
            judged: None,
            pending: VecDeque::new(),
            pending_bytes: 0,
            acked: watermark,
            planted: Planted::default(),
        }
    }

    /// Plants a bug, to prove that the checkers see it.
    #[cfg(feature = "seeded-bugs")]
    pub fn plant_bug(&mut self, bug: SeededBug) {
        self.planted.plant(bug);
    }

    /// Judges one `Entry` frame of this link.
    pub fn handle_entry(
        &mut self,
        now: Now,
        tracker: &OriginTracker,
        previous: Position,
        position: Position,
        data: &EntryData,
        fx: &mut Effects<ReceiverEffect>,
    ) -> EntryVerdict {
        assert!(self.judged.is_none(), "LinkReceiver I1: {:?} was judged and its end never told", self.judged);
        match self.check(tracker, previous, position) {
            Verdict::Duplicate => self.answer_duplicate(tracker, position, fx),
            Verdict::Next => return self.take_next(now, position, data),
            Verdict::Gap { watermark } => self.ask_for_rewind(watermark, fx),
        }
        EntryVerdict::Drop
    }

    /// The entry last judged [`EntryVerdict::Store`] was handed to the log.
    pub fn handle_added(&mut self, tracker: &mut OriginTracker, position: Position, data: &EntryData) {
        assert_eq!(self.judged.take(), Some(position), "LinkReceiver I1: only what was judged is added");
        tracker.accept(Origin { region: self.region, position });
        self.pending.push_back((position, entry_cost(data)));
        self.pending_bytes += entry_cost(data);
        assert!(
            self.pending_bytes <= self.options.credit_bytes || self.pending.len() == 1,
            "LinkReceiver I4: pending bytes within the credit"
        );
    }

    /// The topic did not take the entry last judged [`EntryVerdict::Store`] (queue full, quota): after a pause it will be
    /// asked for again.
    pub fn handle_refused(&mut self, now: Now) {
        self.judged = None;
        self.phase = Phase::Refused { ask_at: now.mono + self.options.refused_retry };
    }

    /// The tracker's durable watermark may have grown; call once per group of persisted entries.
    pub fn handle_persisted(&mut self, tracker: &OriginTracker, fx: &mut Effects<ReceiverEffect>) {
        let durable = tracker.durable(self.region);
        while let Some(&(position, cost)) = self.pending.front()
            && Some(position) <= durable
        {
            self.pending.pop_front();
            self.pending_bytes -= cost;
        }
        let ackable = self.ackable(tracker);
        assert!(
            ackable <= durable || self.planted.has(SeededBug::AckBeforeDurable),
            "LinkReceiver I2: acknowledged is durable"
        );
        if ackable > self.acked {
            self.send_ack(ackable, fx);
        }
    }

    /// Changes how much the sender may have under way; 0 stops it (the topic holds its producers).
    pub fn set_credit(&mut self, credit_bytes: u64, tracker: &OriginTracker, fx: &mut Effects<ReceiverEffect>) {
        if credit_bytes != self.options.credit_bytes {
            // What is pending already was within the credit when it came.
            self.options.credit_bytes = credit_bytes;
            self.send_ack(self.ackable(tracker), fx);
        }
    }

    /// The `link` field of this link's frames.
    pub fn link(&self) -> u64 {
        self.link
    }

    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Accepted through this link and not yet durable.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Whether an `Open` with this number replaces this receiver; if not, it is a late one of an earlier attempt and is
    /// ignored. Numbers of different links say nothing about which is newer: the topic may have moved to a node with a
    /// lower number. Should a late one replace a link in use, that one's sender stalls and opens it again.
    pub fn is_replaced_by(&self, link: u64) -> bool {
        link_number(link) != link_number(self.link) || link > self.link
    }

    /// Ends the link (topic unloaded or deleted); the sender opens it again by itself. Said with `Refused`, because two
    /// regions may use the same link number: `Close` always comes from a sender, `Refused` always from a receiver.
    pub fn close(&mut self, reason: &str, fx: &mut Effects<ReceiverEffect>) {
        let reason = reason.to_owned();
        fx.push(ReceiverEffect::Send(RegionFrame::Refused { link: self.link, retry: true, reason }));
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        match self.phase {
            Phase::Refused { ask_at } => Some(ask_at),
            Phase::Streaming | Phase::Rewinding { .. } => None,
        }
    }

    pub fn on_deadline(&mut self, now: Now, tracker: &OriginTracker, fx: &mut Effects<ReceiverEffect>) {
        if let Phase::Refused { ask_at } = self.phase
            && now.mono >= ask_at
        {
            self.phase = Phase::Streaming;
            self.ask_for_rewind(tracker.accepted(self.region), fx);
        }
    }

    fn check(&self, tracker: &OriginTracker, previous: Position, position: Position) -> Verdict {
        match tracker.check(self.region, previous, position) {
            Verdict::Gap { .. } if self.planted.has(SeededBug::OffByOneSuccessor) => Verdict::Next,
            verdict => verdict,
        }
    }

    fn take_next(&mut self, now: Now, position: Position, data: &EntryData) -> EntryVerdict {
        if let Phase::Refused { .. } = self.phase {
            return EntryVerdict::Drop; // It will be asked for when the pause is over.
        }
        if !self.pending.is_empty() && self.pending_bytes + entry_cost(data) > self.options.credit_bytes {
            self.handle_refused(now); // The sender went past its credit: I4 holds all the same.
            return EntryVerdict::Drop;
        }
        self.phase = Phase::Streaming;
        self.judged = Some(position);
        EntryVerdict::Store
    }

    fn answer_duplicate(&mut self, tracker: &OriginTracker, position: Position, fx: &mut Effects<ReceiverEffect>) {
        if self.planted.has(SeededBug::WatermarkAsDuplicateAck) {
            return self.send_ack(Some(position), fx);
        }
        // The acknowledgement may have been lost; while nothing is durable there is none to repeat.
        if let Some(durable) = self.ackable(tracker) {
            self.send_ack(Some(durable), fx);
        }
    }

    fn ask_for_rewind(&mut self, watermark: Option<Position>, fx: &mut Effects<ReceiverEffect>) {
        match self.phase {
            Phase::Refused { .. } => return,
            Phase::Rewinding { asked } if asked == watermark => return, // I3
            Phase::Rewinding { .. } | Phase::Streaming => (),
        }
        self.phase = Phase::Rewinding { asked: watermark };
        fx.push(ReceiverEffect::Send(RegionFrame::Rewind { link: self.link, watermark }));
    }

    /// I2: all that may be acknowledged.
    fn ackable(&self, tracker: &OriginTracker) -> Option<Position> {
        if self.planted.has(SeededBug::AckBeforeDurable) {
            return tracker.accepted(self.region);
        }
        tracker.durable(self.region)
    }

    fn send_ack(&mut self, position: Option<Position>, fx: &mut Effects<ReceiverEffect>) {
        self.acked = self.acked.max(position);
        fx.push(ReceiverEffect::Send(RegionFrame::Ack {
            link: self.link,
            position: position.unwrap_or(Position::EARLIEST),
            credit_bytes: self.options.credit_bytes,
        }));
    }
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
