//! Tests of the origin tracker.

use super::*;

const A: RegionId = RegionId(1);
const B: RegionId = RegionId(2);

fn at(entry: i64) -> Position {
    Position::new(LedgerId::compose(A, 7), entry)
}

fn origin(entry: i64) -> Origin {
    Origin { region: A, position: at(entry) }
}

#[test]
fn only_the_exact_successor_is_next() {
    let mut tracker = OriginTracker::new();
    assert_eq!(tracker.check(A, at(0), at(1)), Verdict::Gap { watermark: None });
    assert_eq!(tracker.check(A, Position::EARLIEST, at(3)), Verdict::Next);
    tracker.accept(origin(3));
    assert_eq!(tracker.check(A, at(3), at(9)), Verdict::Next);
    assert_eq!(tracker.check(A, at(4), at(9)), Verdict::Gap { watermark: Some(at(3)) });
    assert_eq!(tracker.check(A, at(2), at(9)), Verdict::Gap { watermark: Some(at(3)) });
    assert_eq!(tracker.check(A, Position::EARLIEST, at(9)), Verdict::Gap { watermark: Some(at(3)) });
}

#[test]
fn what_is_at_or_below_the_watermark_is_a_duplicate_whatever_its_previous() {
    let mut tracker = OriginTracker::new();
    tracker.accept(origin(3));
    for previous in [Position::EARLIEST, at(2), at(3)] {
        assert_eq!(tracker.check(A, previous, at(3)), Verdict::Duplicate);
        assert_eq!(tracker.check(A, previous, at(1)), Verdict::Duplicate);
    }
}

#[test]
fn origins_do_not_disturb_each_other() {
    let mut tracker = OriginTracker::new();
    tracker.accept(origin(3));
    assert_eq!(tracker.check(B, Position::EARLIEST, at(1)), Verdict::Next);
}

#[test]
fn acceptance_alone_is_not_durability() {
    let mut tracker = OriginTracker::new();
    tracker.accept(origin(3));
    tracker.accept(origin(4));
    tracker.persisted(origin(3));
    assert_eq!((tracker.accepted(A), tracker.durable(A)), (Some(at(4)), Some(at(3))));
}

#[test]
#[should_panic(expected = "OriginTracker I1")]
fn accepting_an_older_entry_is_a_bug() {
    let mut tracker = OriginTracker::new();
    tracker.accept(origin(3));
    tracker.accept(origin(3));
}

#[test]
fn a_checkpoint_holds_the_durable_watermarks_and_the_log_completes_it() {
    let mut tracker = OriginTracker::new();
    tracker.observe(origin(3));
    tracker.observe(Origin { region: B, position: at(1) });
    tracker.accept(origin(4));
    let mut restored = OriginTracker::decode(&tracker.encode()).unwrap();
    assert_eq!(restored.accepted(A), Some(at(3)));
    assert_eq!(restored.durable(B), Some(at(1)));
    restored.observe(origin(2));
    assert_eq!(restored.accepted(A), Some(at(3)), "entries before the checkpoint change nothing");
    restored.observe(origin(4));
    assert_eq!(restored.durable(A), Some(at(4)));
}

#[test]
fn the_checkpoint_bytes_are_fixed() {
    let mut tracker = OriginTracker::new();
    tracker.observe(Origin { region: A, position: Position::new(LedgerId(0x0102), 5) });
    assert_eq!(tracker.encode(), [1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 5]);
}

#[test]
fn damaged_checkpoints_are_refused() {
    assert_eq!(OriginTracker::decode(&[]), Err(TrackerError::WrongLength { found: 0, expected: 1 }));
    assert_eq!(OriginTracker::decode(&[9]), Err(TrackerError::UnknownFormat { found: 9 }));
    assert_eq!(OriginTracker::decode(&[1, 1]), Err(TrackerError::WrongLength { found: 2, expected: 18 }));
    let mut tracker = OriginTracker::new();
    tracker.observe(origin(1));
    let mut twice = tracker.encode();
    twice.extend_from_within(1..);
    assert_eq!(OriginTracker::decode(&twice), Err(TrackerError::WrongOrder(A)));
}
