//! How entries flow within one attempt: read, sent or skipped, acknowledged, asked for again.

use super::window::Item;
use super::{Fx, LinkSender, Phase};
use crate::number::frame_link;
use crate::{Forward, LinkEffect, LinkEntry, SeededBug, Transport, entry_cost};
use base::{Now, Position, RequestId};
use std::ops::ControlFlow;
use wire::region::RegionFrame;

/// Entries read at a time while looking for skipped ones without a link to send on.
const SCAN_ENTRIES_MAX: u32 = 64;

impl LinkSender {
    pub(super) fn handle_ack(&mut self, now: Now, incarnation: u64, position: Position, fx: &mut Fx) {
        if position > self.log_end() {
            return self.break_off(now, "it acknowledged what was never sent", fx);
        }
        self.settle(now, Some((incarnation, position)));
    }

    /// The end of the log as far as this end knows it: the remote cannot have got more.
    fn log_end(&self) -> Position {
        self.reader.after().max(self.log.last_confirmed).max(self.last_sent)
    }

    pub(super) fn handle_rewind(&mut self, now: Now, watermark: Position, fx: &mut Fx) {
        if self.planted.has(SeededBug::RewindIgnored) {
            return;
        }
        self.stats.rewinds += 1;
        if watermark < self.acked() {
            // Late, or the remote lost what it acknowledged: its answer to a new attempt tells which.
            return self.back_off(now);
        }
        if watermark > self.log_end() {
            return self.break_off(now, "it asked to go back to what was never sent", fx);
        }
        if watermark > self.reader.after() {
            return; // A later question than the last, of what went out before that: what is sent again includes it.
        }
        self.window.truncate_after(watermark);
        self.reader.seek(watermark.max(self.durable.mark_delete));
        self.last_sent = watermark;
        if self.rewinds_in_row > 0 {
            // Asked again and nothing was taken meanwhile: the remote has no room, so do not press.
            self.reader.pause_until(now.mono + self.patience.next_pause(&self.options));
        }
        self.rewinds_in_row += 1;
    }

    pub(super) fn take_entries(&mut self, entries: Vec<LinkEntry>, fx: &mut Fx) {
        for entry in entries {
            self.log.last_confirmed = self.log.last_confirmed.max(entry.position);
            let taken = match entry.forward {
                Forward::Skip => self.take_skipped(&entry),
                Forward::Yes => self.take_forwarded(entry, fx),
            };
            if taken.is_break() {
                return;
            }
        }
    }

    pub(super) fn take_skipped(&mut self, entry: &LinkEntry) -> ControlFlow<()> {
        self.reader.advance(entry.position);
        self.window.push(Item {
            position: entry.position,
            messages_end: entry.messages_end,
            published_ms: entry.published_ms,
            cost: None,
        });
        if self.planted.has(SeededBug::SkipPassesUnacked) {
            self.durable.mark_delete = entry.position;
            self.unreported = true;
        }
        ControlFlow::Continue(())
    }

    /// Sends an entry, or breaks when it must wait; it is read again when its time comes.
    pub(super) fn take_forwarded(&mut self, entry: LinkEntry, fx: &mut Fx) -> ControlFlow<()> {
        let Phase::Streaming { .. } = self.phase else {
            self.reader.block(entry.published_ms);
            return ControlFlow::Break(());
        };
        let cost = entry_cost(&entry.data);
        let fits = self.window.takes(cost, self.options.window_bytes_max);
        if !fits && !self.planted.has(SeededBug::CreditIgnored) {
            self.reader.wait_for_room(cost); // I3
            return ControlFlow::Break(());
        }
        assert!(entry.position > self.last_sent, "LinkSender I2: {} after {}", entry.position, self.last_sent);
        self.reader.advance(entry.position);
        self.window.push(Item {
            position: entry.position,
            messages_end: entry.messages_end,
            published_ms: entry.published_ms,
            cost: Some(cost),
        });
        self.stats.entries_sent += 1;
        self.stats.bytes_sent += entry.data.len() as u64;
        fx.push(LinkEffect::Send(RegionFrame::Entry {
            link: frame_link(self.number, self.attempt),
            previous: self.last_sent,
            position: entry.position,
            data: entry.data,
        }));
        self.last_sent = entry.position;
        ControlFlow::Continue(())
    }

    /// Moves the cursor over what is dealt with: I1.
    pub(super) fn settle(&mut self, now: Now, acked: Option<(u64, Position)>) {
        let settled = self.window.settle(acked.map(|(_, position)| position));
        let Some(last) = settled.last else { return };
        assert!(
            last.position > self.durable.mark_delete || self.planted.has(SeededBug::SkipPassesUnacked),
            "LinkSender I1: the cursor moves forward, {} to {}",
            self.durable.mark_delete,
            last.position
        );
        self.durable.mark_delete = self.durable.mark_delete.max(last.position);
        self.durable.messages_done = last.messages_end;
        self.behind_since_ms = self.behind_since_ms.map(|ms| ms.max(last.published_ms));
        self.patience.restart_clock(now.mono);
        if let (Some(last_sent), Some((incarnation, _))) = (settled.last_sent, acked) {
            self.durable.last_forwarded = Some(last_sent);
            self.durable.incarnation = Some(incarnation);
            self.stats.entries_acked += settled.sent;
            self.patience.note_progress(now.mono);
            self.rewinds_in_row = 0;
        }
        self.unreported = true;
    }

    pub(super) fn read_on(&mut self, now: Now, fx: &mut Fx) {
        let bytes_max = self.read_bytes_max();
        let has_room = |cost| self.window.takes(cost, self.options.window_bytes_max);
        if bytes_max == 0
            || !self.reader.room_needed().is_none_or(has_room)
            || self.reader.retry_at().is_some_and(|at| now.mono < at)
        {
            return;
        }
        let Some(seq) = self.reader.begin(self.log.last_confirmed) else { return };
        let entries_max = match self.phase {
            Phase::Streaming { .. } => self.options.read_entries_max,
            _ => self.options.read_entries_max.min(SCAN_ENTRIES_MAX),
        };
        let id = RequestId::new(self.owner, seq);
        fx.push(LinkEffect::ReadFrom { id, from: self.reader.after().next(), entries_max, bytes_max });
    }

    /// How much is worth reading now, in bytes.
    pub(super) fn read_bytes_max(&self) -> u64 {
        match (self.phase, self.transport) {
            (Phase::Streaming { .. }, Transport::Writable) => {
                self.window.room(self.options.window_bytes_max).min(self.options.read_bytes_max)
            }
            (Phase::Offline | Phase::BackingOff { .. } | Phase::Halted { .. }, _) => self.options.read_bytes_max,
            (Phase::Streaming { .. } | Phase::Opening { .. } | Phase::Closed, _) => 0,
        }
    }
}
