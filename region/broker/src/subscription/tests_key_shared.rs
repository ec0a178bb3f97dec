//! Key_Shared subscriptions.

use super::tests_bed::{Bed, Cache, Draft, OPTIONS, key, positions};
use super::{ConsumerSpec, KeyOrder, KeySharedMode, KeySharedSpec, SubType, SubscribeError};
use base::Position;
use std::collections::BTreeMap;
use wire::payload::{murmur3_32, sticky_key_slot};
use wire::pulsar::ServerError;

fn keyed(name: &str) -> Draft {
    Draft { key: Some(name.into()), ..Draft::default() }
}

fn slot(name: &str) -> i32 {
    i32::from(sticky_key_slot(murmur3_32(name.as_bytes())))
}

fn spec(conn: u64, mode: KeySharedMode, order: KeyOrder) -> ConsumerSpec {
    ConsumerSpec { key_shared: Some(KeySharedSpec { mode, order }), ..Bed::spec(conn, SubType::KeyShared) }
}

fn refused(result: Result<(), SubscribeError>) -> ServerError {
    result.unwrap_err().code
}

/// A name whose slot lies in the lower (or the upper) half of all slots.
fn name_in(half: std::ops::Range<i32>, nth: usize) -> String {
    (0..).map(|n| format!("k{n}")).filter(|name| half.contains(&slot(name))).nth(nth).unwrap()
}

const LOW: std::ops::Range<i32> = 0..32768;
const HIGH: std::ops::Range<i32> = 32768..65536;

#[test]
fn every_key_has_one_consumer_and_stays_in_order() {
    let mut bed = Bed::new();
    for conn in 1..=3 {
        bed.consumer(conn, SubType::KeyShared, 1000);
    }
    let mut by_key: BTreeMap<Position, String> = BTreeMap::new();
    for n in 0..120 {
        let name = format!("key-{}", n % 17);
        let position = bed.publish_one(&keyed(&name));
        by_key.insert(position, name);
    }
    assert_eq!(positions(&bed.delivered), bed.published);
    let mut owners = BTreeMap::new();
    for delivered in &bed.delivered {
        let owner = owners.entry(by_key[&delivered.position].clone()).or_insert(delivered.to);
        assert_eq!(*owner, delivered.to);
    }
    assert!((1..=3).all(|conn| !bed.got(conn).is_empty()));
}

#[test]
fn a_key_waits_for_its_former_owner_and_others_do_not_wait_for_it() {
    let mut bed = Bed::new();
    let (moving, staying) = (name_in(HIGH, 0), name_in(LOW, 0));
    bed.consumer(1, SubType::KeyShared, 1000);
    let first = bed.publish_one(&keyed(&moving));
    bed.consumer(2, SubType::KeyShared, 1000);
    let second = bed.publish_one(&keyed(&moving));
    let other = bed.publish_one(&keyed(&staying));
    assert_eq!((bed.got(1), bed.got(2)), (vec![first, other], vec![]));
    let draining = bed.sub.stats(&bed.log, bed.now).draining;
    assert_eq!((draining.draining_hashes_count, draining.draining_hashes_unacked_messages), (1, 1));
    bed.ack(1, &[first]);
    assert_eq!(bed.got(2), vec![second]);
    let draining = bed.sub.stats(&bed.log, bed.now).draining;
    assert_eq!((draining.draining_hashes_count, draining.draining_hashes_cleared_total), (0, 1));
}

#[test]
fn a_key_is_not_released_before_its_acknowledgement_is_durable() {
    let mut bed = Bed::new();
    let moving = name_in(HIGH, 0);
    bed.consumer(1, SubType::KeyShared, 1000);
    let first = bed.publish_one(&keyed(&moving));
    bed.consumer(2, SubType::KeyShared, 1000);
    bed.publish_one(&keyed(&moving));
    bed.taken();
    bed.send_ack(1, wire::pulsar::command_ack::AckType::Individual, vec![wire::commands::message_id(first)]);
    bed.act(|sub, env| sub.wake(env));
    assert_eq!(bed.got(2), vec![], "the acknowledgement is under way");
    bed.settle();
    assert_eq!(bed.got(2).len(), 1);
}

#[test]
fn what_a_leaver_held_comes_in_order_before_newer_messages_of_the_key() {
    for cache in [Cache::Warm, Cache::Cold] {
        let mut bed = Bed::with(OPTIONS, cache);
        bed.consumer(1, SubType::KeyShared, 1000);
        bed.consumer(2, SubType::KeyShared, 0);
        let name = name_in(LOW, 0);
        (0..4).for_each(|_| bed.add(&keyed(&name)));
        bed.pass(1000);
        let conn = if bed.got(1).is_empty() { 2 } else { 1 };
        assert_eq!(conn, 1, "the first consumer keeps the lower half");
        bed.leave(1);
        bed.add(&keyed(&name));
        bed.settle();
        assert_eq!(bed.got(2), vec![]);
        bed.flow(2, 1000);
        bed.pass(1000);
        assert_eq!(bed.got(2), bed.published);
    }
}

#[test]
fn an_entry_given_back_holds_up_later_ones_of_its_key_only() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::KeyShared, 2);
    let (a, b) = (name_in(LOW, 0), name_in(LOW, 1));
    let first = bed.publish_one(&keyed(&a));
    let second = bed.publish_one(&keyed(&b));
    bed.give_back(1, &[first]);
    let third = bed.publish_one(&keyed(&a));
    bed.taken();
    bed.flow(1, 1);
    assert_eq!(bed.got(1), vec![first]);
    bed.flow(1, 1);
    assert_eq!(bed.got(1), vec![first, third]);
    bed.ack(1, &[first, second, third]);
    assert_eq!(bed.backlog(), 0);
}

#[test]
fn a_slow_consumer_does_not_hold_up_the_keys_of_others() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::KeyShared, 0);
    bed.consumer(2, SubType::KeyShared, 10_000);
    let (slow, fast) = (name_in(LOW, 0), name_in(HIGH, 0));
    let mut expected = Vec::new();
    for n in 0..300 {
        let position = bed.publish_one(&keyed(if n % 3 == 0 { &fast } else { &slow }));
        if n % 3 == 0 {
            expected.push(position);
        }
    }
    assert_eq!(bed.got(2), expected);
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.msg_in_replay, 200);
    bed.flow(1, 10_000);
    let rest: Vec<Position> = bed.published.iter().copied().filter(|p| !expected.contains(p)).collect();
    assert_eq!(bed.got(1), rest);
}

#[test]
fn reading_ahead_of_a_slow_consumer_is_bounded_and_nothing_is_lost() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::KeyShared, 0);
    bed.consumer(2, SubType::KeyShared, 100_000);
    let (slow, fast) = (name_in(LOW, 0), name_in(HIGH, 0));
    (0..5000).for_each(|_| bed.add(&keyed(&slow)));
    bed.add(&keyed(&fast));
    bed.settle();
    let waiting = bed.sub.stats(&bed.log, bed.now).backlog.msg_in_replay;
    assert_eq!(waiting, 4000, "2000 for each consumer");
    assert_eq!(bed.got(2), vec![]);
    bed.flow(1, 100_000);
    assert_eq!((bed.got(1).len(), bed.got(2).len()), (5000, 1));
    assert_eq!(bed.got(1), bed.published[..5000]);
}

#[test]
fn out_of_order_delivery_waives_the_wait() {
    let mut bed = Bed::new();
    let moving = name_in(HIGH, 0);
    bed.join(spec(1, KeySharedMode::AutoSplit, KeyOrder::Waived)).unwrap();
    bed.flow(1, 100);
    bed.publish_one(&keyed(&moving));
    bed.join(spec(2, KeySharedMode::AutoSplit, KeyOrder::Waived)).unwrap();
    bed.flow(2, 100);
    let second = bed.publish_one(&keyed(&moving));
    assert_eq!(bed.got(2), vec![second]);
    assert!(bed.sub.stats(&bed.log, bed.now).allow_out_of_order_delivery);
}

#[test]
fn sticky_consumers_get_their_ranges_and_uncovered_keys_wait() {
    let mut bed = Bed::new();
    let (low, high) = (name_in(LOW, 0), name_in(HIGH, 0));
    bed.join(spec(1, KeySharedMode::Sticky(vec![(0, 32767)]), KeyOrder::Kept)).unwrap();
    bed.flow(1, 100);
    let covered = bed.publish_one(&keyed(&low));
    let uncovered = bed.publish_one(&keyed(&high));
    assert_eq!(positions(&bed.delivered), vec![covered]);
    bed.join(spec(2, KeySharedMode::Sticky(vec![(slot(&high), slot(&high))]), KeyOrder::Kept)).unwrap();
    bed.flow(2, 100);
    assert_eq!(bed.got(2), vec![uncovered]);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!(stats.key_shared_mode.as_deref(), Some("STICKY"));
    assert_eq!(stats.consumers[0].key_hash_ranges, Some(vec!["[0, 32767]".to_owned()]));
}

#[test]
fn bad_ranges_and_other_modes_are_refused() {
    let mut bed = Bed::new();
    let sticky = |ranges: &[(i32, i32)]| KeySharedMode::Sticky(ranges.to_vec());
    for bad in [&[][..], &[(7, 3)], &[(0, 70_000)], &[(0, 5), (5, 9)]] {
        assert_eq!(refused(bed.join(spec(1, sticky(bad), KeyOrder::Kept))), ServerError::ConsumerAssignError);
        assert!(!bed.sub.is_active() && bed.sub.read_position().is_none());
    }
    bed.join(spec(1, sticky(&[(0, 9)]), KeyOrder::Kept)).unwrap();
    assert_eq!(refused(bed.join(spec(2, sticky(&[(9, 12)]), KeyOrder::Kept))), ServerError::ConsumerAssignError);
    assert_eq!(refused(bed.join(spec(2, KeySharedMode::AutoSplit, KeyOrder::Kept))), ServerError::ConsumerBusy);
    assert_eq!(refused(bed.join(spec(2, sticky(&[(10, 12)]), KeyOrder::Waived))), ServerError::ConsumerBusy);
    bed.join(spec(2, sticky(&[(10, 12)]), KeyOrder::Kept)).unwrap();
    let reader = ConsumerSpec {
        key_shared: spec(3, sticky(&[(0, 1)]), KeyOrder::Kept).key_shared,
        ..Bed::spec(3, SubType::Exclusive)
    };
    bed.leave(1);
    bed.leave(2);
    assert_eq!(refused(bed.join(reader)), ServerError::NotAllowedError);
}

#[test]
fn messages_without_a_key_are_spread_and_each_is_delivered_once() {
    let mut bed = Bed::new();
    for conn in 1..=2 {
        bed.consumer(conn, SubType::KeyShared, 1000);
    }
    bed.publish(60);
    let mut all = [bed.got(1), bed.got(2)].concat();
    assert!(!bed.got(1).is_empty() && !bed.got(2).is_empty());
    all.sort();
    assert_eq!(all, bed.published);
}

#[test]
fn a_delayed_message_of_a_key_does_not_hold_up_the_key() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::KeyShared, 1000);
    let due = i64::try_from(bed.now.wall_ms).unwrap() + 500;
    let delayed = bed.publish_one(&Draft { deliver_at_ms: Some(due), ..keyed("a") });
    let prompt = bed.publish_one(&keyed("a"));
    assert_eq!(bed.got(1), vec![prompt]);
    bed.pass(500);
    assert_eq!(bed.got(1), vec![prompt, delayed]);
    assert_eq!(bed.delivered[1].to, key(1));
}
