//! Tests of the sender, input by input.

use super::*;
use crate::{Forward, entry_cost};
use base::{EntryData, LedgerId, RegionId};
use bytes::Bytes;
use std::time::Duration;

const OWNER: OwnerId = OwnerId(1);

fn at(entry: i64) -> Position {
    Position::new(LedgerId::compose(RegionId(1), 3), entry)
}

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall_ms: ms }
}

fn entry(number: i64, forward: Forward) -> LinkEntry {
    LinkEntry {
        position: at(number),
        data: EntryData::new(Bytes::new(), Bytes::from(vec![7; 36])), // cost 100
        forward,
        messages_end: number as u64 + 1,
        published_ms: 1_000 + number as u64,
    }
}

fn view(last: i64) -> LogView {
    LogView { trimmed_up_to: Position::EARLIEST, last_confirmed: at(last), messages_end: (last + 1) as u64 }
}

struct Bench {
    sender: LinkSender,
    fx: Fx,
}

impl Bench {
    fn new(last: i64) -> Self {
        let options = LinkOptions { window_bytes_max: 1_000, ..LinkOptions::standard() };
        let topic = TopicName::parse("persistent://acme/orders/t").unwrap();
        let resume = LinkResume::starting_after(Position::EARLIEST, 0);
        let sender = LinkSender::new(OWNER, 5, topic, resume, view(last), options, Rng::new(1));
        Self { sender, fx: Effects::new() }
    }

    /// Connected and opened by an empty copy 42 with this credit.
    fn streaming(last: i64, credit_bytes: u64) -> Self {
        let mut bench = Self::new(last);
        bench.sender.handle_connected(now(0), &mut bench.fx);
        bench.fx.take();
        bench.opened(credit_bytes);
        bench
    }

    fn link(&self) -> u64 {
        frame_link(5, self.sender.attempt)
    }

    fn opened(&mut self, credit_bytes: u64) {
        let frame = RegionFrame::Opened { link: self.link(), incarnation: 42, watermark: None, credit_bytes };
        self.sender.handle_frame(now(0), &frame, &mut self.fx);
    }

    fn ack(&mut self, ms: u64, number: i64) {
        let frame = RegionFrame::Ack { link: self.link(), position: at(number), credit_bytes: 1_000 };
        self.sender.handle_frame(now(ms), &frame, &mut self.fx);
    }

    fn rewind(&mut self, ms: u64, watermark: Option<Position>) {
        let frame = RegionFrame::Rewind { link: self.link(), watermark };
        self.sender.handle_frame(now(ms), &frame, &mut self.fx);
    }

    /// The read asked for among the effects, which are taken.
    fn read(&mut self) -> Option<(RequestId, Position)> {
        self.fx.take().into_iter().find_map(|e| match e {
            LinkEffect::ReadFrom { id, from, .. } => Some((id, from)),
            _ => None,
        })
    }

    fn answer(&mut self, entries: Vec<LinkEntry>) {
        let (id, _) = self.read().expect("a read is asked for");
        self.sender.handle_read(now(1), id, Ok(entries), &mut self.fx);
    }

    /// `(previous, position)` of the entries sent among the effects, which are taken.
    fn sent(&mut self) -> Vec<(Position, Position)> {
        let effects = self.fx.take();
        let entries = effects.into_iter().filter_map(|e| match e {
            LinkEffect::Send(RegionFrame::Entry { previous, position, .. }) => Some((previous, position)),
            _ => None,
        });
        entries.collect()
    }

    fn alarms(&mut self) -> Vec<LinkAlarm> {
        let effects = self.fx.take();
        let alarms = effects.into_iter().filter_map(|e| match e {
            LinkEffect::Alarm(alarm) => Some(alarm),
            _ => None,
        });
        alarms.collect()
    }
}

fn all(range: std::ops::Range<i64>) -> Vec<LinkEntry> {
    range.map(|n| entry(n, Forward::Yes)).collect()
}

#[test]
fn skipped_entries_leave_no_trace_in_what_is_sent() {
    let mut bench = Bench::streaming(3, 1_000);
    bench.answer(vec![
        entry(0, Forward::Yes),
        entry(1, Forward::Skip),
        entry(2, Forward::Skip),
        entry(3, Forward::Yes),
    ]);
    assert_eq!(bench.sent(), [(Position::EARLIEST, at(0)), (at(0), at(3))]);
}

#[test]
fn a_skipped_entry_moves_the_cursor_only_when_all_before_it_is_acknowledged() {
    let mut bench = Bench::streaming(2, 1_000);
    bench.answer(vec![entry(0, Forward::Yes), entry(1, Forward::Skip), entry(2, Forward::Yes)]);
    assert_eq!(bench.sender.resume().mark_delete, Position::EARLIEST);
    bench.ack(2, 0);
    let resume = bench.sender.resume();
    assert_eq!((resume.mark_delete, resume.last_forwarded, resume.incarnation), (at(1), Some(at(0)), Some(42)));
    assert!(bench.fx.iter().any(|e| *e == LinkEffect::Acked(resume)));
}

#[test]
fn the_cursor_of_a_stream_is_reported_at_once_and_then_at_most_once_in_a_while() {
    let mut bench = Bench::streaming(3, 1_000);
    bench.answer(all(0..4));
    (0..4).for_each(|entry| bench.ack(2, entry));
    let reported = |bench: &Bench| bench.fx.iter().filter(|e| matches!(e, LinkEffect::Acked(_))).count();
    assert_eq!(reported(&bench), 1, "the first of the four");
    let at = bench.sender.next_deadline().unwrap();
    bench.sender.on_deadline(Now { mono: at, wall_ms: 0 }, &mut bench.fx);
    let last = LinkEffect::Acked(bench.sender.resume());
    assert!(reported(&bench) == 2 && bench.fx.iter().any(|e| *e == last), "the rest together");
    assert_eq!(bench.sender.next_deadline(), None);
}

#[test]
fn the_window_bounds_what_is_under_way_and_an_ack_opens_it() {
    let mut bench = Bench::streaming(9, 350);
    bench.answer(all(0..10));
    assert_eq!(bench.sent().len(), 3);
    assert_eq!(bench.sender.lag(now(1)).unacked_bytes, 300);
    assert_eq!(bench.read(), None, "no use reading while nothing fits");
    bench.ack(2, 0);
    assert_eq!(bench.read().map(|(_, from)| from), Some(at(3)));
}

#[test]
fn an_entry_larger_than_the_window_goes_alone() {
    let mut bench = Bench::streaming(1, 50);
    bench.answer(all(0..2));
    assert_eq!(bench.sent().len(), 1);
    bench.ack(2, 0);
    bench.answer(all(1..2));
    assert_eq!(bench.sent(), [(at(0), at(1))]);
}

#[test]
fn no_credit_means_nothing_is_sent_until_an_ack_brings_some() {
    let mut bench = Bench::streaming(1, 0);
    assert_eq!(bench.read(), None);
    let frame = RegionFrame::Ack { link: bench.link(), position: Position::EARLIEST, credit_bytes: 500 };
    bench.sender.handle_frame(now(1), &frame, &mut bench.fx);
    bench.answer(all(0..2));
    assert_eq!(bench.sent().len(), 2);
}

#[test]
fn a_rewind_sends_again_from_after_the_watermark() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..5));
    bench.fx.take();
    bench.rewind(2, Some(at(1)));
    bench.answer(all(2..5));
    assert_eq!(bench.sent(), [(at(1), at(2)), (at(2), at(3)), (at(3), at(4))]);
    bench.ack(3, 4);
    assert_eq!(bench.sender.resume().mark_delete, at(4));
}

#[test]
fn a_rewind_to_what_was_sent_before_an_earlier_rewind_breaks_no_rule() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..5));
    bench.fx.take();
    bench.rewind(2, Some(at(1)));
    bench.rewind(3, Some(at(3)));
    assert_eq!(bench.sender.phase(), LinkPhase::Streaming);
    bench.answer(all(2..5));
    assert_eq!(bench.sent(), [(at(1), at(2)), (at(2), at(3)), (at(3), at(4))]);
}

#[test]
fn a_rewind_during_a_read_makes_its_answer_stale() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..2));
    let (stale, from) = bench.read().unwrap();
    assert_eq!(from, at(2));
    bench.rewind(2, None);
    let (fresh, from) = bench.read().unwrap();
    assert_eq!(from, Position::EARLIEST.next());
    bench.sender.handle_read(now(3), stale, Ok(all(2..5)), &mut bench.fx);
    assert_eq!(bench.sent(), []);
    bench.sender.handle_read(now(3), fresh, Ok(all(0..5)), &mut bench.fx);
    assert_eq!(bench.sent().first(), Some(&(Position::EARLIEST, at(0))));
}

#[test]
fn a_rewind_below_what_was_acknowledged_asks_the_remote_anew_instead_of_guessing() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..5));
    bench.ack(2, 3);
    bench.rewind(3, Some(at(1)));
    assert_eq!(bench.sender.phase(), LinkPhase::BackingOff);
    assert_eq!(bench.sender.resume().mark_delete, at(3));
}

#[test]
fn frames_of_an_earlier_attempt_are_ignored() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..5));
    let old = bench.link();
    bench.sender.handle_disconnected(now(2), &mut bench.fx);
    bench.sender.handle_connected(now(3), &mut bench.fx);
    bench.opened(1_000);
    for frame in [
        RegionFrame::Ack { link: old, position: at(4), credit_bytes: 1_000 },
        RegionFrame::Refused { link: old, retry: true, reason: String::new() },
        RegionFrame::Opened { link: old, incarnation: 1, watermark: Some(at(9)), credit_bytes: 1 },
    ] {
        bench.sender.handle_frame(now(4), &frame, &mut bench.fx);
    }
    assert_eq!(bench.sender.phase(), LinkPhase::Streaming);
    assert_eq!(bench.sender.resume().mark_delete, Position::EARLIEST);
}

#[test]
fn an_ack_of_what_was_never_sent_is_an_alarm_and_moves_nothing() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.answer(all(0..5));
    bench.ack(2, 50);
    assert!(matches!(bench.alarms()[..], [LinkAlarm::ProtocolViolation { .. }]));
    assert_eq!(bench.sender.resume().mark_delete, Position::EARLIEST);
}

#[test]
fn without_a_connection_the_cursor_passes_skipped_entries_and_stops_before_the_first_other() {
    let mut bench = Bench::new(3);
    bench.sender.handle_disconnected(now(0), &mut bench.fx);
    bench.answer(vec![entry(0, Forward::Skip), entry(1, Forward::Skip), entry(2, Forward::Yes)]);
    assert_eq!(bench.sender.resume().mark_delete, at(1));
    assert_eq!(bench.sent(), []);
    let lag = bench.sender.lag(now(5_000));
    assert_eq!((lag.messages, lag.oldest_ms), (2, 5_000 - 1_002));
    bench.sender.handle_log(now(6_000), view(9), &mut bench.fx);
    assert_eq!(bench.read(), None, "it waits at an entry that needs the link");
}

#[test]
fn the_lag_ends_with_the_last_ack() {
    let mut bench = Bench::streaming(1, 1_000);
    bench.answer(all(0..2));
    assert_eq!(bench.sender.lag(now(2_000)), LinkLag { messages: 2, oldest_ms: 1_000, unacked_bytes: 200 });
    bench.ack(2, 0);
    assert_eq!(bench.sender.lag(now(2_000)), LinkLag { messages: 1, oldest_ms: 999, unacked_bytes: 100 });
    bench.ack(2, 1);
    assert_eq!(bench.sender.lag(now(2_000)), LinkLag::default());
}

#[test]
fn an_idle_link_has_no_deadline_and_reads_nothing() {
    let mut bench = Bench::streaming(1, 1_000);
    bench.answer(all(0..2));
    bench.ack(2, 1);
    assert_eq!(bench.sender.next_deadline(), None);
    assert_eq!(bench.read(), None);
}

#[test]
fn an_empty_answer_is_not_asked_again_until_the_log_grows() {
    let mut bench = Bench::streaming(1, 1_000);
    bench.answer(Vec::new());
    assert_eq!(bench.read(), None);
    bench.sender.handle_log(now(2), view(2), &mut bench.fx);
    assert!(bench.read().is_some());
}

#[test]
fn unacknowledged_entries_without_progress_are_an_alarm_and_a_new_attempt() {
    let mut bench = Bench::streaming(1, 1_000);
    bench.answer(all(0..2));
    bench.fx.take();
    let due = bench.sender.next_deadline().unwrap();
    assert_eq!(due, Mono(0) + Duration::from_secs(5));
    bench.sender.on_deadline(now(5_000), &mut bench.fx);
    assert_eq!(bench.alarms(), [LinkAlarm::Stalled { unacked_bytes: 200 }]);
    let due = bench.sender.next_deadline().unwrap();
    bench.sender.on_deadline(Now { mono: due, wall_ms: 0 }, &mut bench.fx);
    assert_eq!(bench.sender.phase(), LinkPhase::Opening);
}

#[test]
fn idleness_before_new_work_is_no_stall() {
    let mut bench = Bench::streaming(0, 1_000);
    bench.answer(all(0..1));
    bench.ack(2, 0);
    bench.sender.handle_log(now(60_000), view(1), &mut bench.fx);
    assert_eq!(bench.sender.next_deadline(), Some(now(65_000).mono));
}

#[test]
fn refusals_back_off_within_bounds_and_final_ones_are_an_alarm() {
    let mut bench = Bench::new(0);
    bench.sender.handle_connected(now(0), &mut bench.fx);
    let mut at_ms = 0;
    for round in 0..12 {
        let frame = RegionFrame::Refused { link: bench.link(), retry: true, reason: String::new() };
        bench.sender.handle_frame(now(at_ms), &frame, &mut bench.fx);
        let due = bench.sender.next_deadline().unwrap();
        let pause = due.since(now(at_ms).mono);
        assert!(pause >= Duration::from_millis(50) && pause <= Duration::from_millis(7_500), "{round}: {pause:?}");
        at_ms = due.0 / 1_000_000 + 1;
        bench.sender.on_deadline(now(at_ms), &mut bench.fx);
    }
    bench.fx.take();
    let frame = RegionFrame::Refused { link: bench.link(), retry: false, reason: "not allowed".to_owned() };
    bench.sender.handle_frame(now(at_ms), &frame, &mut bench.fx);
    assert_eq!(bench.alarms(), [LinkAlarm::Refused { reason: "not allowed".to_owned() }]);
    assert_eq!(bench.sender.phase(), LinkPhase::Halted);
}

#[test]
fn a_receiver_that_ends_the_link_is_asked_again_and_a_close_of_the_same_number_is_not_meant_for_a_sender() {
    let mut bench = Bench::streaming(4, 1_000);
    let link = bench.link();
    bench.sender.handle_frame(now(1), &RegionFrame::Close { link, reason: String::new() }, &mut bench.fx);
    assert_eq!(bench.sender.phase(), LinkPhase::Streaming);
    let ended = RegionFrame::Refused { link, retry: true, reason: "unloaded".to_owned() };
    bench.sender.handle_frame(now(1), &ended, &mut bench.fx);
    assert_eq!(bench.sender.phase(), LinkPhase::BackingOff);
    let due = bench.sender.next_deadline().unwrap();
    bench.sender.on_deadline(Now { mono: due, wall_ms: 0 }, &mut bench.fx);
    assert_eq!(bench.sender.phase(), LinkPhase::Opening);
}

#[test]
fn a_full_connection_stops_reading_until_it_is_writable() {
    let mut bench = Bench::new(4);
    bench.sender.handle_connected(now(0), &mut bench.fx);
    bench.sender.handle_transport(now(0), Transport::Full, &mut bench.fx);
    bench.opened(1_000);
    assert_eq!(bench.read(), None);
    bench.sender.handle_transport(now(1), Transport::Writable, &mut bench.fx);
    assert!(bench.read().is_some());
}

#[test]
fn a_log_that_grows_below_what_the_remote_holds_ends_the_link_loudly() {
    let mut bench = Bench::new(4);
    bench.sender.handle_connected(now(0), &mut bench.fx);
    let frame =
        RegionFrame::Opened { link: bench.link(), incarnation: 42, watermark: Some(at(8)), credit_bytes: 1_000 };
    bench.sender.handle_frame(now(0), &frame, &mut bench.fx);
    assert_eq!(bench.alarms(), [LinkAlarm::OriginBehind { last_confirmed: at(4), watermark: at(8) }]);
    bench.sender.handle_log(now(1), view(6), &mut bench.fx);
    assert_eq!(bench.alarms(), [LinkAlarm::PositionsReused { last_confirmed: at(6), watermark: at(8) }]);
    assert_eq!(bench.sender.phase(), LinkPhase::Closed);
}

#[test]
fn closing_tells_the_remote_and_is_final() {
    let mut bench = Bench::streaming(4, 1_000);
    bench.fx.take();
    bench.sender.close("policy", &mut bench.fx);
    let close = RegionFrame::Close { link: bench.link(), reason: "policy".to_owned() };
    assert_eq!(bench.fx.take(), [LinkEffect::Send(close)]);
    bench.sender.handle_connected(now(9), &mut bench.fx);
    assert_eq!(bench.sender.phase(), LinkPhase::Closed);
    assert_eq!(bench.sender.next_deadline(), None);
}

#[test]
fn the_cursor_properties_carry_the_whole_state() {
    let resume =
        LinkResume { incarnation: Some(u64::MAX), last_forwarded: Some(at(7)), mark_delete: at(9), messages_done: 12 };
    for resume in [resume, LinkResume::starting_after(at(3), 4)] {
        let properties = resume.properties();
        let lookup = |name: &str| properties.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        assert_eq!(LinkResume::from_properties(resume.mark_delete, lookup), resume);
    }
}

#[test]
fn a_loaded_idle_link_is_small() {
    assert!(size_of::<LinkSender>() <= 800, "{}", size_of::<LinkSender>());
    assert_eq!(entry_cost(&entry(0, Forward::Yes).data), 100);
}
