//! Tests of the receiver, frame by frame.

use super::*;
use base::LedgerId;
use bytes::Bytes;
use std::time::Duration;

const A: RegionId = RegionId(1);
const LINK: u64 = 7 << 24 | 1;

fn at(entry: i64) -> Position {
    Position::new(LedgerId::compose(A, 3), entry)
}

fn now(ms: u64) -> Now {
    Now { mono: Mono(ms * 1_000_000), wall_ms: ms }
}

fn data(bytes: usize) -> EntryData {
    EntryData::new(Bytes::new(), Bytes::from(vec![0; bytes]))
}

struct Bench {
    tracker: OriginTracker,
    receiver: LinkReceiver,
    fx: Effects<ReceiverEffect>,
}

impl Bench {
    /// A receiver whose copy holds entries 0..=`held`, all durable.
    fn holding(held: Option<i64>) -> Self {
        let mut tracker = OriginTracker::new();
        if let Some(held) = held {
            tracker.observe(Origin { region: A, position: at(held) });
        }
        let options = ReceiverOptions { credit_bytes: 1_000, refused_retry: Duration::from_millis(50) };
        let mut fx = Effects::new();
        let receiver = LinkReceiver::open(LINK, A, 42, options, &tracker, &mut fx);
        Self { tracker, receiver, fx }
    }

    fn entry(&mut self, previous: Position, position: Position, bytes: usize) -> EntryVerdict {
        self.receiver.handle_entry(now(0), &self.tracker, previous, position, &data(bytes), &mut self.fx)
    }

    fn add(&mut self, previous: Position, position: Position) {
        assert_eq!(self.entry(previous, position, 10), EntryVerdict::Store);
        self.receiver.handle_added(&mut self.tracker, position, &data(10));
    }

    fn persist(&mut self, position: Position) {
        self.tracker.persisted(Origin { region: A, position });
        self.receiver.handle_persisted(&self.tracker, &mut self.fx);
    }

    fn frames(&mut self) -> Vec<RegionFrame> {
        self.fx.take().into_iter().map(|ReceiverEffect::Send(frame)| frame).collect()
    }
}

fn ack(position: Position) -> RegionFrame {
    RegionFrame::Ack { link: LINK, position, credit_bytes: 1_000 }
}

fn rewind(watermark: Option<Position>) -> RegionFrame {
    RegionFrame::Rewind { link: LINK, watermark }
}

#[test]
fn it_opens_with_the_durable_watermark_not_with_what_is_only_accepted() {
    let mut tracker = OriginTracker::new();
    tracker.observe(Origin { region: A, position: at(4) });
    tracker.accept(Origin { region: A, position: at(5) });
    let mut fx = Effects::new();
    LinkReceiver::open(LINK, A, 42, ReceiverOptions::standard(), &tracker, &mut fx);
    let opened = RegionFrame::Opened { link: LINK, incarnation: 42, watermark: Some(at(4)), credit_bytes: 16 << 20 };
    assert_eq!(fx.take(), [ReceiverEffect::Send(opened)]);
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut bench = Bench::holding(None);
    bench.frames();
    bench.add(Position::EARLIEST, at(0));
    bench.add(at(0), at(1));
    assert_eq!(bench.frames(), []);
    bench.persist(at(0));
    assert_eq!(bench.frames(), [ack(at(0))]);
    bench.persist(at(1));
    assert_eq!(bench.frames(), [ack(at(1))]);
}

/// The reference once acknowledged an entry as a duplicate because a later one had moved its watermark: the first of
/// several entries fails, the later ones are stored, the first comes again.
#[test]
fn an_entry_that_failed_behind_stored_ones_is_never_taken_for_a_duplicate() {
    let mut bench = Bench::holding(Some(0));
    bench.frames();
    assert_eq!(bench.entry(at(0), at(1), 10), EntryVerdict::Store);
    bench.receiver.handle_refused(now(0));
    assert_eq!(bench.entry(at(1), at(2), 10), EntryVerdict::Drop, "not the successor of what is held");
    assert_eq!(bench.entry(at(2), at(3), 10), EntryVerdict::Drop);
    assert_eq!(bench.receiver.next_deadline(), Some(Mono(50_000_000)));
    bench.receiver.on_deadline(now(50), &bench.tracker, &mut bench.fx);
    assert_eq!(bench.frames(), [rewind(Some(at(0)))]);
    bench.add(at(0), at(1));
    bench.add(at(1), at(2));
    bench.persist(at(2));
    assert_eq!(bench.frames(), [ack(at(2))]);
}

#[test]
fn a_gap_asks_once_and_drops_what_is_in_flight_until_the_successor_comes() {
    let mut bench = Bench::holding(Some(0));
    bench.frames();
    for entry in 2..6 {
        assert_eq!(bench.entry(at(entry - 1), at(entry), 10), EntryVerdict::Drop);
    }
    assert_eq!(bench.frames(), [rewind(Some(at(0)))]);
    bench.add(at(0), at(1));
    assert_eq!(bench.entry(at(2), at(3), 10), EntryVerdict::Drop);
    assert_eq!(bench.frames(), [rewind(Some(at(1)))], "a new gap is asked about anew");
}

#[test]
fn duplicates_repeat_the_acknowledgement_of_what_is_durable_and_of_nothing_else() {
    let mut bench = Bench::holding(None);
    bench.frames();
    bench.add(Position::EARLIEST, at(0));
    assert_eq!(bench.entry(Position::EARLIEST, at(0), 10), EntryVerdict::Drop);
    assert_eq!(bench.frames(), [], "nothing is durable yet");
    bench.persist(at(0));
    bench.add(at(0), at(1));
    bench.frames();
    assert_eq!(bench.entry(at(0), at(1), 10), EntryVerdict::Drop);
    assert_eq!(bench.frames(), [ack(at(0))]);
}

#[test]
fn a_sender_that_ignores_its_credit_costs_no_more_memory_than_the_credit() {
    let mut bench = Bench::holding(None);
    bench.frames();
    assert_eq!(bench.entry(Position::EARLIEST, at(0), 900), EntryVerdict::Store);
    bench.receiver.handle_added(&mut bench.tracker, at(0), &data(900));
    assert_eq!(bench.entry(at(0), at(1), 900), EntryVerdict::Drop);
    assert!(bench.receiver.pending_bytes() <= 1_000);
    bench.persist(at(0));
    bench.receiver.on_deadline(now(50), &bench.tracker, &mut bench.fx);
    assert_eq!(bench.frames(), [ack(at(0)), rewind(Some(at(0)))]);
}

#[test]
fn an_entry_larger_than_the_credit_is_taken_alone() {
    let mut bench = Bench::holding(None);
    assert_eq!(bench.entry(Position::EARLIEST, at(0), 5_000), EntryVerdict::Store);
    bench.receiver.handle_added(&mut bench.tracker, at(0), &data(5_000));
}

#[test]
fn changing_the_credit_tells_the_sender_at_once() {
    let mut bench = Bench::holding(None);
    bench.frames();
    bench.receiver.set_credit(0, &bench.tracker, &mut bench.fx);
    bench.receiver.set_credit(0, &bench.tracker, &mut bench.fx);
    let told = RegionFrame::Ack { link: LINK, position: Position::EARLIEST, credit_bytes: 0 };
    assert_eq!(bench.frames(), [told]);
}

#[test]
fn only_a_later_open_replaces_a_receiver() {
    let bench = Bench::holding(None);
    assert!(bench.receiver.is_replaced_by(LINK + 1));
    assert!(!bench.receiver.is_replaced_by(LINK));
    assert!(!bench.receiver.is_replaced_by(LINK - 1));
    let other_node = LINK - (1 << crate::ATTEMPT_BITS);
    assert!(bench.receiver.is_replaced_by(other_node), "the topic moved to a node with a lower number");
}
