//! Sends one topic's log to one remote region.
//!
//! **States**
//! ```text
//! Offline ──connected──▶ Opening ──Opened──▶ Streaming ──Refused, stall, broken rule──▶ BackingOff ──▶ Opening
//!                          │  └──Refused, timeout──▶ BackingOff            Opened ──history gone──▶ Halted ──▶ Opening
//! any ──disconnected──▶ Offline        any ──close, positions reused──▶ Closed (terminal)
//! ```
//! While Offline and BackingOff the log is still read as far as entries are not to be forwarded, so that a topic that only
//! receives shows no backlog and the age of the oldest waiting entry is known.
//!
//! **Invariants**
//! - I1  the cursor covers a forwarded entry only when the remote acknowledged it as durable, and a skipped one only when
//!   it covers everything before.
//! - I2  an entry names as `previous` the entry sent before it in this attempt, or the watermark that was resumed from.
//! - I3  bytes under way ≤ min(window, credit), or one entry alone.
//! - I4  at most one read is outstanding; frames and reads of an earlier attempt are ignored.
//! - I5  the incarnation is known exactly when `last_forwarded` is.
//! - I6  while streaming, nothing between what was read and what comes next has been trimmed.
//!
//! **Not here**  Where to resume (`plan`), what is under way (`window`), how the log is read (`reader`), how long to wait
//! (`patience`); which entries are forwarded and making the cursor durable (the owner).
//!
//! **Tests**  `tests/lossy.rs`, `tests/remote_loss.rs`, `tests/seeded_bugs.rs`, `sender/tests.rs`.

mod attempt;
mod flow;
mod patience;
mod plan;
mod reader;
mod window;

use crate::effect::{LinkEffect, LinkEntry, LinkLag, LinkPhase, LinkStats, ReadFailed, Transport};
use crate::number::frame_link;
use crate::seeded::Planted;
use crate::{LinkAlarm, LinkOptions, LinkResume, LogView};
use base::{Effects, Mono, Now, OwnerId, Position, RequestId, Rng, TopicName, earliest};
use patience::Patience;
use plan::RemoteCopy;
use reader::Reader;
use window::Window;
use wire::region::RegionFrame;

type Fx = Effects<LinkEffect>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    Opening { until: Mono },
    Streaming { incarnation: u64 },
    BackingOff { until: Mono },
    Halted { until: Mono },
    Closed,
}

/// The sending end of one link.
#[derive(Debug)]
pub struct LinkSender {
    owner: OwnerId,
    number: u64,
    topic: TopicName,
    options: LinkOptions,
    planted: Planted,
    phase: Phase,
    attempt: u32,
    transport: Transport,
    log: LogView,
    /// What the owner was last told to make durable, or is to be told next.
    durable: LinkResume,
    /// The furthest mark-delete that the cursor ever held: what stands after it is retained.
    cursor_high: Position,
    /// `durable` moved forward since the last `Acked`.
    unreported: bool,
    /// Before this moment nothing more is reported while streaming.
    report_after: Mono,
    /// I2: the `previous` of the next entry.
    last_sent: Position,
    /// The remote's watermark when it was beyond the end of this log; the log must not grow at or below it.
    remote_ahead: Option<Position>,
    window: Window,
    reader: Reader,
    patience: Patience,
    /// Rewinds since something was last acknowledged.
    rewinds_in_row: u32,
    /// Since when something waits of which no publish time is known, Unix milliseconds.
    behind_since_ms: Option<u64>,
    stats: LinkStats,
}

impl LinkSender {
    /// A sender that waits for `handle_connected` or `handle_disconnected`, whichever is true.
    ///
    /// `number` is unique among the senders of this process and below 2^40; frames carry it with an attempt, see
    /// [`crate::link_number`].
    pub fn new(
        owner: OwnerId,
        number: u64,
        topic: TopicName,
        resume: LinkResume,
        log: LogView,
        options: LinkOptions,
        rng: Rng,
    ) -> Self {
        Self {
            owner,
            number,
            topic,
            options,
            planted: Planted::default(),
            phase: Phase::Offline,
            attempt: 0,
            transport: Transport::Writable,
            log,
            durable: resume,
            cursor_high: resume.mark_delete,
            unreported: false,
            report_after: Mono(0),
            last_sent: Position::EARLIEST,
            remote_ahead: None,
            window: Window::default(),
            reader: Reader::new(resume.mark_delete),
            patience: Patience::new(rng),
            rewinds_in_row: 0,
            behind_since_ms: None,
            stats: LinkStats::default(),
        }
    }

    /// Plants a bug, to prove that the checkers see it.
    #[cfg(feature = "seeded-bugs")]
    pub fn plant_bug(&mut self, bug: crate::SeededBug) {
        self.planted.plant(bug);
    }

    /// The remote region is connected (again): nothing that was under way counts.
    pub fn handle_connected(&mut self, now: Now, fx: &mut Fx) {
        if self.phase == Phase::Closed {
            return;
        }
        self.transport = Transport::Writable;
        self.open(now, fx);
        self.finish(now, fx);
    }

    /// The connection to the remote region is gone.
    pub fn handle_disconnected(&mut self, now: Now, fx: &mut Fx) {
        if self.phase == Phase::Closed {
            return;
        }
        self.drop_attempt();
        self.phase = Phase::Offline;
        self.finish(now, fx);
    }

    /// One of `Opened`, `Refused`, `Ack`, `Rewind` whose `link_number` is this sender's. Others are ignored.
    pub fn handle_frame(&mut self, now: Now, frame: &RegionFrame, fx: &mut Fx) {
        self.start_stall_clock(now);
        let current = frame_link(self.number, self.attempt);
        match (frame, self.phase) {
            (RegionFrame::Opened { link, incarnation, watermark, credit_bytes }, Phase::Opening { .. })
                if *link == current =>
            {
                self.window.set_credit(*credit_bytes);
                self.handle_opened(now, RemoteCopy { incarnation: *incarnation, watermark: *watermark }, fx);
            }
            (RegionFrame::Refused { link, retry, reason }, Phase::Opening { .. } | Phase::Streaming { .. })
                if *link == current =>
            {
                self.handle_refused(now, *retry, reason, fx);
            }
            (RegionFrame::Ack { link, position, credit_bytes }, Phase::Streaming { incarnation })
                if *link == current =>
            {
                self.window.set_credit(*credit_bytes);
                self.handle_ack(now, incarnation, *position, fx);
            }
            (RegionFrame::Rewind { link, watermark }, Phase::Streaming { .. }) if *link == current => {
                self.handle_rewind(now, watermark.unwrap_or(Position::EARLIEST), fx);
            }
            _ => (), // I4: late, of an earlier attempt, or not for a sender.
        }
        self.finish(now, fx);
    }

    /// The answer to a `ReadFrom`; entries ascend.
    pub fn handle_read(&mut self, now: Now, id: RequestId, result: Result<Vec<LinkEntry>, ReadFailed>, fx: &mut Fx) {
        if id.owner != self.owner {
            return;
        }
        self.start_stall_clock(now);
        match &result {
            Ok(entries) if entries.is_empty() => self.reader.note_exhausted(id.seq),
            Ok(_) | Err(ReadFailed) => (),
        }
        if !self.reader.finish(id.seq) {
            return; // I4
        }
        match result {
            Ok(entries) => self.take_entries(entries, fx),
            Err(ReadFailed) => self.reader.pause_until(now.mono + self.patience.next_pause(&self.options)),
        }
        self.settle(now, None);
        self.finish(now, fx);
    }

    /// The log grew or was trimmed. Told before any read or frame that rests on it.
    pub fn handle_log(&mut self, now: Now, log: LogView, fx: &mut Fx) {
        self.start_stall_clock(now);
        if !self.is_behind() && log.last_confirmed > self.reader.after() {
            self.behind_since_ms = Some(now.wall_ms);
        }
        let grew = log.last_confirmed > self.log.last_confirmed;
        // A read may have seen the log's end before it was told.
        self.log = LogView { last_confirmed: log.last_confirmed.max(self.log.last_confirmed), ..log };
        if let Some(watermark) = self.remote_ahead.filter(|w| grew && log.last_confirmed <= *w) {
            let last_confirmed = log.last_confirmed;
            fx.push(LinkEffect::Alarm(LinkAlarm::PositionsReused { last_confirmed, watermark }));
            return self.close("positions were used twice", fx);
        }
        if let Phase::Streaming { .. } = self.phase
            && self.known().lacks_history_after(self.reader.after())
        {
            let (acked, watermark) = (self.acked(), self.durable.last_forwarded);
            let trimmed_up_to = log.trimmed_up_to;
            self.halt(now, LinkAlarm::Halted { acked, watermark, trimmed_up_to }, fx); // I6
        }
        self.finish(now, fx);
    }

    /// The connection filled up or has room again.
    pub fn handle_transport(&mut self, now: Now, transport: Transport, fx: &mut Fx) {
        self.start_stall_clock(now);
        self.transport = transport;
        self.finish(now, fx);
    }

    /// Ends the link for good (policy changed, topic unloaded).
    pub fn close(&mut self, reason: &str, fx: &mut Fx) {
        self.send_close(reason, fx);
        self.drop_attempt();
        self.phase = Phase::Closed;
        self.report_cursor(fx); // Nobody comes back for it.
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        let phase = match self.phase {
            Phase::Opening { until } | Phase::BackingOff { until } | Phase::Halted { until } => Some(until),
            Phase::Streaming { .. } => self.has_work().then(|| self.patience.stall_at(&self.options)),
            Phase::Offline => None,
            Phase::Closed => return None,
        };
        let report = self.unreported.then_some(self.report_after);
        earliest(earliest(phase, self.reader.retry_at()), report)
    }

    pub fn on_deadline(&mut self, now: Now, fx: &mut Fx) {
        self.start_stall_clock(now);
        self.reader.on_deadline(now.mono);
        match self.phase {
            Phase::Opening { until } if now.mono >= until => self.back_off(now),
            Phase::BackingOff { until } | Phase::Halted { until } if now.mono >= until => self.open(now, fx),
            Phase::Streaming { .. } if self.has_work() && now.mono >= self.patience.stall_at(&self.options) => {
                fx.push(LinkEffect::Alarm(LinkAlarm::Stalled { unacked_bytes: self.window.bytes() }));
                self.patience.note_stall();
                self.back_off(now);
            }
            _ => (),
        }
        self.finish(now, fx);
    }

    /// The owner's number of this link.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn phase(&self) -> LinkPhase {
        match self.phase {
            Phase::Offline => LinkPhase::Offline,
            Phase::Opening { .. } => LinkPhase::Opening,
            Phase::Streaming { .. } => LinkPhase::Streaming,
            Phase::BackingOff { .. } => LinkPhase::BackingOff,
            Phase::Halted { .. } => LinkPhase::Halted,
            Phase::Closed => LinkPhase::Closed,
        }
    }

    /// How far the remote is behind.
    pub fn lag(&self, now: Now) -> LinkLag {
        if !self.is_behind() {
            return LinkLag::default();
        }
        let oldest = self.oldest_waiting_ms();
        LinkLag {
            messages: self.log.messages_end.saturating_sub(self.durable.messages_done),
            oldest_ms: oldest.map_or(0, |ms| now.wall_ms.saturating_sub(ms)),
            unacked_bytes: self.window.bytes(),
        }
    }

    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// The cursor as the owner was last told to keep it, or will be told within `report_every`.
    pub fn resume(&self) -> LinkResume {
        self.durable
    }

    /// Ends every input: tells the owner of the cursor, though not at every acknowledgement of a stream (each costs the owner a
    /// durable write, and a cursor that stands further back costs a few duplicates after a crash), then reads on if there is a
    /// use for it.
    fn finish(&mut self, now: Now, fx: &mut Fx) {
        assert_eq!(
            self.durable.incarnation.is_some(),
            self.durable.last_forwarded.is_some(),
            "LinkSender I5: the incarnation is known exactly when last_forwarded is"
        );
        let is_streaming = matches!(self.phase, Phase::Streaming { .. });
        if self.unreported && (!is_streaming || now.mono >= self.report_after) {
            self.report_after = now.mono + self.options.report_every;
            self.report_cursor(fx);
        }
        if !self.is_behind() {
            self.behind_since_ms = None;
        }
        self.read_on(now, fx);
    }

    fn report_cursor(&mut self, fx: &mut Fx) {
        if self.unreported {
            self.unreported = false;
            self.cursor_high = self.cursor_high.max(self.durable.mark_delete);
            fx.push(LinkEffect::Acked(self.durable));
        }
    }

    /// When the oldest entry that waits was published, as far as known, Unix milliseconds.
    fn oldest_waiting_ms(&self) -> Option<u64> {
        let known = [self.window.oldest_ms(), self.reader.blocked_ms(), self.behind_since_ms];
        known.into_iter().flatten().next()
    }

    /// Whether something waits: under way, or unread.
    fn is_behind(&self) -> bool {
        !self.window.is_empty() || self.reader.has_more(self.log.last_confirmed)
    }

    /// Whether progress is due: something unacknowledged, or unread with a connection that would take it.
    fn has_work(&self) -> bool {
        let unread = self.reader.has_more(self.log.last_confirmed) && self.transport == Transport::Writable;
        self.window.has_sent() || unread
    }

    /// Work that comes after idleness starts the stall clock anew. Called before an input changes anything.
    fn start_stall_clock(&mut self, now: Now) {
        if !self.has_work() {
            self.patience.restart_clock(now.mono);
        }
    }

    fn acked(&self) -> Position {
        self.durable.last_forwarded.unwrap_or(Position::EARLIEST)
    }
}

#[cfg(test)]
mod tests;
