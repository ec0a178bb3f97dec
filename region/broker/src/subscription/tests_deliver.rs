//! Tests of what a consumer gets: the bytes of a message from here and from elsewhere, and delays that outlive the topic.

use super::SubType;
use super::tests_bed::{Bed, Draft};
use base::{EntryId, LedgerId, Position, RegionId, RegionName};
use bytes::Bytes;
use wire::payload::{PayloadHints, PayloadView};
use wire::stored::Origin;

/// A bed whose entries come from region 2, which is called "east".
fn replicated() -> Bed {
    let mut bed = Bed::new();
    bed.regions.insert(RegionId(2), RegionName::parse("east").unwrap());
    let position = Position { ledger: LedgerId::compose(RegionId(2), 5), entry: EntryId(3) };
    bed.origin = Some(Origin { region: RegionId(2), position });
    bed
}

/// The body of the entry at `at` as it is stored.
fn stored(bed: &mut Bed, at: Position) -> Bytes {
    let read = bed.act(|_, env| env.ledger.read(env.now, at, 1, 1 << 20, env.ledger_fx));
    let managed::Read::Ready(entries) = read else { panic!("{at} is in the cache: {read:?}") };
    entries[0].data.body.clone()
}

#[test]
fn a_message_that_was_published_here_goes_out_as_it_came() {
    let mut bed = replicated();
    bed.origin = None;
    let at = bed.publish_one(&Draft { key: Some("k".into()), bytes: 300, ..Draft::default() });
    bed.consumer(1, SubType::Exclusive, 10);
    let stored = stored(&mut bed, at);
    assert_eq!(bed.bodies, [stored], "deliver I3");
}

#[test]
fn a_message_from_another_region_names_it_and_differs_in_nothing_else() {
    for (sub_type, batch) in [(SubType::Exclusive, 0), (SubType::Shared, 0), (SubType::KeyShared, 5)] {
        let mut bed = replicated();
        let at = bed.publish_one(&Draft { key: Some("k".into()), batch, bytes: 1000, ..Draft::default() });
        bed.consumer(1, sub_type, 10);
        let before = PayloadView::parse(&stored(&mut bed, at)).unwrap();
        assert_eq!(before.metadata.replicated_from, None);
        let mut after = PayloadView::parse(&bed.bodies[0]).unwrap();
        assert_eq!(after.metadata.replicated_from.take().as_deref(), Some("east"), "deliver I3");
        assert_eq!(after, before, "deliver I3");
    }
}

#[test]
fn a_message_from_a_region_that_is_no_longer_registered_goes_out_as_it_came() {
    let mut bed = replicated();
    bed.regions.clear();
    let at = bed.publish_one(&Draft::default());
    bed.consumer(1, SubType::Exclusive, 10);
    let stored = stored(&mut bed, at);
    assert_eq!(bed.bodies, [stored]);
}

#[test]
fn a_delayed_message_from_another_region_waits_for_its_time_even_when_the_topic_is_opened_anew() {
    for sub_type in [SubType::Shared, SubType::KeyShared] {
        let mut bed = replicated();
        let due = i64::try_from(bed.now.wall_ms).unwrap() + 500;
        let delayed = bed.publish_one(&Draft { deliver_at_ms: Some(due), ..Draft::default() });
        let prompt = bed.publish_one(&Draft::default());
        bed.consumer(1, sub_type, 10);
        assert_eq!(bed.got(1), [prompt]);
        bed.ack(1, &[prompt]);
        bed.pass(100);
        bed.reopen();
        bed.consumer(2, sub_type, 10);
        bed.pass(399);
        assert_eq!(bed.got(2), []);
        let waiting = bed.sub.stats(&bed.log, bed.now).backlog;
        assert_eq!((waiting.msg_delayed, waiting.msg_backlog), (1, 1));
        bed.pass(1);
        assert_eq!(bed.got(2), [delayed]);
        let body = bed.bodies.last().unwrap();
        assert_eq!(PayloadHints::scan(body).unwrap().deliver_at_ms, Some(due));
        assert_eq!(PayloadView::parse(body).unwrap().metadata.replicated_from.as_deref(), Some("east"));
    }
}

#[test]
fn a_delayed_message_waits_on_after_the_consumer_that_waited_for_it_left() {
    let mut bed = Bed::new();
    let due = i64::try_from(bed.now.wall_ms).unwrap() + 500;
    let delayed = bed.publish_one(&Draft { deliver_at_ms: Some(due), ..Draft::default() });
    bed.consumer(1, SubType::Shared, 10);
    bed.leave(1);
    bed.pass(499);
    bed.consumer(2, SubType::Shared, 10);
    assert_eq!(bed.got(2), []);
    bed.pass(1);
    assert_eq!(bed.got(2), [delayed]);
}
