//! Shared subscriptions.

use super::tests_bed::{Bed, Cache, Draft, OPTIONS, key, positions};
use super::{ConsumerSpec, SubType, SubscriptionOptions};
use base::Position;
use std::collections::BTreeSet;
use wire::commands::message_id;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandRedeliverUnacknowledgedMessages, MessageIdData};

#[test]
fn entries_go_round_among_consumers_and_to_one_only() {
    let mut bed = Bed::new();
    for conn in 1..=3 {
        bed.consumer(conn, SubType::Shared, 100);
    }
    for _ in 0..9 {
        bed.publish(1);
    }
    assert!((1..=3).all(|conn| bed.got(conn).len() == 3));
    assert_eq!(positions(&bed.delivered), bed.published);
}

#[test]
fn a_backlog_is_shared_in_turns() {
    let mut bed = Bed::new();
    bed.publish(80);
    bed.consumer(1, SubType::Shared, 0);
    bed.consumer(2, SubType::Shared, 0);
    for conn in [1, 2] {
        bed.act(|sub, env| sub.handle_flow(key(conn), 10, env)).unwrap();
    }
    assert_eq!((bed.got(1).len(), bed.got(2).len()), (10, 10));
    bed.flow(1, 1000);
    assert_eq!(positions(&bed.delivered), bed.published);
}

#[test]
fn lower_priorities_get_only_what_nobody_above_can_take() {
    let mut bed = Bed::new();
    bed.join(ConsumerSpec { priority_level: 1, ..Bed::spec(1, SubType::Shared) }).unwrap();
    bed.join(Bed::spec(2, SubType::Shared)).unwrap();
    bed.flow(2, 4);
    bed.flow(1, 10);
    bed.publish(6);
    assert_eq!(bed.got(2), bed.published[..4]);
    assert_eq!(bed.got(1), bed.published[4..]);
}

#[test]
fn what_a_leaver_held_goes_to_the_others_and_is_not_counted_as_redelivered() {
    for cache in [Cache::Warm, Cache::Cold] {
        let mut bed = Bed::with(OPTIONS, cache);
        bed.publish(10);
        bed.consumer(1, SubType::Shared, 10);
        bed.pass(1000);
        let acked = bed.published[3..6].to_vec();
        bed.ack(1, &acked);
        bed.taken();
        bed.consumer(2, SubType::Shared, 100);
        bed.leave(1);
        bed.pass(1000);
        let left: Vec<Position> = [0, 1, 2, 6, 7, 8, 9].map(|n| bed.published[n]).to_vec();
        assert_eq!(bed.got(2), left);
        assert!(bed.delivered.iter().all(|d| d.redeliveries == 0));
    }
}

#[test]
fn entries_given_back_come_again_before_new_ones_and_are_counted() {
    let mut bed = Bed::new();
    bed.publish(6);
    bed.consumer(1, SubType::Shared, 4);
    let all = bed.published.clone();
    bed.give_back(1, &[all[2], all[0]]);
    bed.taken();
    bed.flow(1, 3);
    assert_eq!(bed.got(1), vec![all[0], all[2], all[4]]);
    assert_eq!(bed.delivered.iter().map(|d| d.redeliveries).collect::<Vec<_>>(), vec![1, 1, 0]);
    bed.give_back(1, &[all[0]]);
    bed.flow(1, 1);
    assert_eq!(bed.delivered.last().map(|d| (d.position, d.redeliveries)), Some((all[0], 2)));
}

#[test]
fn redelivery_counts_survive_consumers() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Shared, 2);
    bed.give_back(1, &[]);
    bed.leave(1);
    bed.taken();
    bed.consumer(2, SubType::Shared, 10);
    assert_eq!(bed.delivered.iter().map(|d| d.redeliveries).collect::<Vec<_>>(), vec![1, 1]);
}

#[test]
fn only_the_holder_can_give_an_entry_back() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Shared, 2);
    bed.consumer(2, SubType::Shared, 2);
    bed.taken();
    bed.give_back(2, &bed.published.clone());
    assert_eq!(positions(&bed.delivered), vec![]);
}

#[test]
fn giving_back_what_is_being_acknowledged_changes_nothing() {
    let mut bed = Bed::new();
    bed.publish(1);
    bed.consumer(1, SubType::Shared, 10);
    let entry = bed.published[0];
    bed.send_ack(1, AckType::Individual, vec![message_id(entry)]);
    let command = CommandRedeliverUnacknowledgedMessages {
        consumer_id: 10,
        message_ids: vec![message_id(entry)],
        consumer_epoch: None,
    };
    bed.act(|sub, env| sub.handle_redeliver(key(1), command, env));
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 1, "until the acknowledgement is durable");
    bed.settle();
    assert_eq!((bed.delivered.len(), bed.backlog()), (1, 0));
}

#[test]
fn an_acknowledgement_by_another_consumer_counts() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.consumer(1, SubType::Shared, 3);
    bed.consumer(2, SubType::Shared, 0);
    assert_eq!(bed.ack(2, &bed.published.clone()).error, None);
    assert_eq!(bed.backlog(), 0);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!((stats.backlog.unacked_messages, stats.consumers[0].unacked_messages), (0, 0));
}

#[test]
fn a_cumulative_acknowledgement_changes_nothing_and_succeeds() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.consumer(1, SubType::Shared, 3);
    let response = bed.ack_up_to(1, bed.published[2]);
    assert_eq!((response.error, response.message), (None, None));
    assert_eq!(bed.backlog(), 3);
}

#[test]
fn unacknowledged_messages_stop_a_consumer_at_its_limit_and_others_go_on() {
    let mut bed = Bed::with(SubscriptionOptions { unacked_max_per_consumer: 3, ..OPTIONS }, Cache::Warm);
    bed.publish(10);
    bed.consumer(1, SubType::Shared, 100);
    assert_eq!(bed.got(1), bed.published[..3]);
    assert!(bed.sub.stats(&bed.log, bed.now).consumers[0].blocked_consumer_on_unacked_msgs);
    bed.consumer(2, SubType::Shared, 100);
    assert_eq!(bed.got(2), bed.published[3..6]);
    let acked = bed.published[..2].to_vec();
    bed.ack(1, &acked);
    assert_eq!(bed.got(1).len(), 5);
    bed.give_back(2, &[]);
    assert_eq!(bed.got(2).len(), 6, "what is given back makes room");
}

#[test]
fn unacknowledged_messages_of_all_together_stop_the_subscription() {
    let options = SubscriptionOptions { unacked_max_per_subscription: 5, unacked_max_per_consumer: 0 };
    let mut bed = Bed::with(options, Cache::Warm);
    bed.publish(10);
    bed.consumer(1, SubType::Shared, 100);
    bed.consumer(2, SubType::Shared, 100);
    assert_eq!(bed.delivered.len(), 5);
    assert!(bed.sub.stats(&bed.log, bed.now).backlog.blocked_subscription_on_unacked_msgs);
    let acked = bed.published[..4].to_vec();
    bed.ack(1, &acked);
    assert_eq!(bed.delivered.len(), 9);
    let off = SubscriptionOptions { unacked_max_per_subscription: 0, unacked_max_per_consumer: 0 };
    bed.act(|sub, env| sub.set_options(off, env));
    bed.settle();
    assert_eq!(bed.delivered.len(), 10);
}

#[test]
fn a_batch_counts_its_messages_and_shrinks_as_they_are_acknowledged() {
    let mut bed = Bed::with(SubscriptionOptions { unacked_max_per_consumer: 8, ..OPTIONS }, Cache::Warm);
    let first = bed.publish_one(&Draft { batch: 8, ..Draft::default() });
    let second = bed.publish_one(&Draft { batch: 8, ..Draft::default() });
    bed.consumer(1, SubType::Shared, 100);
    assert_eq!(bed.got(1), vec![first]);
    bed.send_ack(1, AckType::Individual, vec![MessageIdData { ack_set: vec![0b1111_0000], ..message_id(first) }]);
    bed.settle();
    assert_eq!(bed.got(1), vec![first, second]);
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 12);
    bed.taken();
    bed.give_back(1, &[first]);
    bed.ack(1, &[second]);
    assert_eq!(
        bed.delivered.iter().map(|d| (d.position, d.ack_set.clone())).collect::<Vec<_>>(),
        vec![(first, vec![0xf0])]
    );
}

#[test]
fn delayed_messages_wait_for_their_time_and_let_others_pass() {
    let mut bed = Bed::new();
    let due = i64::try_from(bed.now.wall_ms).unwrap() + 500;
    let delayed = bed.publish_one(&Draft { deliver_at_ms: Some(due), ..Draft::default() });
    let later = bed.publish_one(&Draft { deliver_at_ms: Some(due + 500), ..Draft::default() });
    let past = bed.publish_one(&Draft { deliver_at_ms: Some(due - 600), ..Draft::default() });
    bed.publish(1);
    bed.consumer(1, SubType::Shared, 100);
    assert_eq!(bed.got(1), vec![past, bed.published[3]]);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!((stats.backlog.msg_delayed, stats.backlog.msg_backlog, stats.backlog.msg_backlog_no_delayed), (2, 4, 2));
    bed.pass(499);
    assert_eq!(bed.got(1).len(), 2);
    bed.pass(1);
    assert_eq!(bed.got(1).last(), Some(&delayed));
    bed.pass(500);
    assert_eq!(bed.got(1).last(), Some(&later));
    assert!(bed.delivered.iter().all(|d| d.redeliveries == 0));
    assert_eq!(bed.sub.next_deadline(), None);
}

#[test]
fn exclusive_consumers_get_delayed_messages_at_once() {
    let mut bed = Bed::new();
    let due = i64::try_from(bed.now.wall_ms).unwrap() + 500;
    let delayed = bed.publish_one(&Draft { deliver_at_ms: Some(due), ..Draft::default() });
    bed.consumer(1, SubType::Exclusive, 10);
    assert_eq!(bed.got(1), vec![delayed]);
}

#[test]
fn a_full_connection_gets_nothing_and_the_others_get_all() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Shared, 100);
    bed.consumer(2, SubType::Shared, 100);
    bed.stall(1);
    bed.publish(10);
    assert_eq!(bed.got(2), bed.published);
    bed.stall(2);
    bed.publish(1);
    assert_eq!(bed.delivered.len(), 10);
    bed.unstall(1);
    bed.settle();
    assert_eq!(bed.got(1), bed.published[10..]);
}

#[test]
fn new_entries_wake_nobody_when_nobody_has_permits() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Shared, 1);
    bed.publish(3);
    assert_eq!(bed.got(1), bed.published[..1]);
    bed.flow(1, 1);
    assert_eq!(bed.got(1), bed.published[..2]);
    bed.publish(1);
    bed.flow(1, 10);
    assert_eq!(bed.got(1), bed.published);
}

#[test]
fn a_dispatch_limit_holds_for_redeliveries_too() {
    let mut bed = Bed::new();
    bed.publish(9);
    bed.consumer(1, SubType::Shared, 9);
    bed.taken();
    bed.flow(1, 100);
    bed.limit.budget = Some(3);
    bed.give_back(1, &[]);
    assert_eq!(bed.delivered.len(), 3);
    bed.pass(10);
    bed.pass(10);
    assert_eq!(positions(&bed.delivered), bed.published);
}

#[test]
fn thousands_of_entries_come_back_in_order_without_gaps() {
    let mut bed = Bed::new();
    (0..2500).for_each(|_| bed.add(&Draft::default()));
    bed.settle();
    bed.consumer(1, SubType::Shared, 5000);
    assert_eq!(bed.delivered.len(), 2500);
    bed.consumer(2, SubType::Shared, 5000);
    bed.taken();
    bed.leave(1);
    assert_eq!(bed.got(2), bed.published);
    let distinct: BTreeSet<Position> = bed.got(2).into_iter().collect();
    assert_eq!(distinct.len(), 2500);
}
