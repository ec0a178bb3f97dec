//! The life of one attempt of the sender: opening, resuming, giving up.
//!
//! **What**  Every attempt has a number of its own in its frames, starts from the durable cursor and is dropped whole.

use super::plan::{Decision, Known, RemoteCopy, Resumption, decide};
use super::{Fx, LinkSender, Phase};
use crate::number::frame_link;
use crate::{LinkAlarm, LinkEffect, SeededBug};
use base::Now;
use wire::region::RegionFrame;

impl LinkSender {
    pub(super) fn open(&mut self, now: Now, fx: &mut Fx) {
        self.drop_attempt();
        self.attempt = self.attempt.wrapping_add(1);
        self.stats.opens += 1;
        self.phase = Phase::Opening { until: now.mono + self.options.open_timeout };
        let link = frame_link(self.number, self.attempt);
        fx.push(LinkEffect::Send(RegionFrame::Open { link, topic: self.topic.clone() }));
    }

    pub(super) fn handle_opened(&mut self, now: Now, mut remote: RemoteCopy, fx: &mut Fx) {
        if self.planted.has(SeededBug::IncarnationIgnored) {
            remote.incarnation = self.durable.incarnation.unwrap_or(remote.incarnation);
        }
        let mut known = self.known();
        if self.planted.has(SeededBug::ForgottenLastForwarded) {
            known.durable.last_forwarded = None;
        }
        match decide(known, remote) {
            Decision::Resume(resumption) => self.stream(now, remote, resumption, fx),
            Decision::Halt(alarm) => self.halt(now, alarm, fx),
        }
    }

    pub(super) fn stream(&mut self, now: Now, remote: RemoteCopy, resumption: Resumption, fx: &mut Fx) {
        let Resumption { after, previous, resume, alarms } = resumption;
        for alarm in alarms {
            fx.push(LinkEffect::Alarm(alarm));
        }
        if resume.mark_delete < self.durable.mark_delete {
            fx.push(LinkEffect::Rewound(resume));
            self.unreported = false;
        } else {
            self.unreported |= resume != self.durable;
        }
        self.durable = resume;
        self.remote_ahead = remote.watermark.filter(|w| *w > self.log.last_confirmed);
        self.last_sent = previous;
        self.reader.seek(after);
        assert!(!self.known().lacks_history_after(after), "LinkSender I6: nothing after {after} has been trimmed");
        self.patience.restart_clock(now.mono);
        self.phase = Phase::Streaming { incarnation: remote.incarnation };
    }

    pub(super) fn handle_refused(&mut self, now: Now, retry: bool, reason: &str, fx: &mut Fx) {
        if retry {
            return self.back_off(now);
        }
        fx.push(LinkEffect::Alarm(LinkAlarm::Refused { reason: reason.to_owned() }));
        self.drop_attempt();
        self.phase = Phase::Halted { until: now.mono + self.options.halted_retry };
    }

    /// The remote broke a rule: start anew, loudly.
    pub(super) fn break_off(&mut self, now: Now, rule: &'static str, fx: &mut Fx) {
        fx.push(LinkEffect::Alarm(LinkAlarm::ProtocolViolation { rule }));
        self.back_off(now);
    }

    pub(super) fn back_off(&mut self, now: Now) {
        self.drop_attempt();
        self.phase = Phase::BackingOff { until: now.mono + self.patience.next_pause(&self.options) };
    }

    pub(super) fn halt(&mut self, now: Now, alarm: LinkAlarm, fx: &mut Fx) {
        self.send_close("the sender halted", fx);
        fx.push(LinkEffect::Alarm(alarm));
        self.drop_attempt();
        self.phase = Phase::Halted { until: now.mono + self.options.halted_retry };
    }

    pub(super) fn send_close(&self, reason: &str, fx: &mut Fx) {
        if let Phase::Opening { .. } | Phase::Streaming { .. } = self.phase {
            let link = frame_link(self.number, self.attempt);
            fx.push(LinkEffect::Send(RegionFrame::Close { link, reason: reason.to_owned() }));
        }
    }

    pub(super) fn known(&self) -> Known {
        Known { durable: self.durable, log: self.log, cursor_high: self.cursor_high }
    }

    /// Nothing of this attempt counts any more; what waits unacknowledged keeps its age.
    pub(super) fn drop_attempt(&mut self) {
        self.behind_since_ms = self.oldest_waiting_ms();
        self.window.clear();
        self.reader.seek(self.durable.mark_delete);
        self.rewinds_in_row = 0;
    }
}
