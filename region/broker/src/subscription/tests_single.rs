//! Exclusive and Failover.

use super::tests_bed::{Bed, Cache, Draft, OPTIONS, key, positions};
use super::{ConsumerSpec, FlowError, SubType};
use base::Position;
use managed::AckSet;
use std::time::Duration;
use wire::commands::message_id;
use wire::pulsar::base_command::Command;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandRedeliverUnacknowledgedMessages, MessageIdData, ServerError};

/// `(conn, is_active)` of every ActiveConsumerChange so far; forgets them.
fn active_changes(bed: &mut Bed) -> Vec<(u64, bool)> {
    let commands = std::mem::take(&mut bed.commands);
    let change = |(conn, command): &(crate::io::ConnId, wire::pulsar::BaseCommand)| match &command.command {
        Some(Command::ActiveConsumerChange(change)) => Some((conn.0, change.is_active.unwrap_or(false))),
        _ => None,
    };
    commands.iter().filter_map(change).collect()
}

fn failover(conn: u64, priority_level: i32, name: &str) -> ConsumerSpec {
    ConsumerSpec { priority_level, name: name.into(), ..Bed::spec(conn, SubType::Failover) }
}

#[test]
fn an_exclusive_consumer_gets_everything_in_order_as_far_as_its_permits_go() {
    for cache in [Cache::Warm, Cache::Cold] {
        let mut bed = Bed::with(OPTIONS, cache);
        bed.publish(20);
        bed.consumer(1, SubType::Exclusive, 5);
        bed.pass(1000);
        assert_eq!(bed.got(1), bed.published[..5]);
        bed.flow(1, 100);
        bed.pass(1000);
        assert_eq!(bed.got(1), bed.published);
        bed.publish(3);
        bed.pass(1000);
        assert_eq!(bed.got(1), bed.published);
        assert!(bed.delivered.iter().all(|d| d.redeliveries == 0 && d.epoch.is_none() && d.partition == -1));
    }
}

#[test]
fn a_batch_costs_as_many_permits_as_it_has_messages_and_may_overdraw_once() {
    let mut bed = Bed::new();
    (0..3).for_each(|_| bed.add(&Draft { batch: 10, ..Draft::default() }));
    bed.settle();
    bed.consumer(1, SubType::Exclusive, 11);
    assert_eq!(bed.got(1).len(), 2, "11 permits pay for one batch and begin a second");
    bed.flow(1, 9);
    assert_eq!(bed.got(1).len(), 2, "the debt is paid first");
    bed.flow(1, 1);
    assert_eq!(bed.got(1).len(), 3);
}

#[test]
fn a_second_exclusive_consumer_and_other_types_are_refused() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Exclusive, 0);
    for other in [SubType::Exclusive, SubType::Shared, SubType::Failover, SubType::KeyShared] {
        let error = bed.join(Bed::spec(2, other)).unwrap_err();
        assert_eq!(error.code, ServerError::ConsumerBusy);
    }
    assert_eq!(bed.sub.consumer_count(), 1);
    bed.leave(1);
    bed.join(Bed::spec(2, SubType::Shared)).unwrap();
    assert_eq!(bed.sub.kind(), Some(SubType::Shared));
}

#[test]
fn permits_that_cannot_be_counted_are_refused() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Exclusive, 1_000_000);
    let error = bed.act(|sub, env| sub.handle_flow(key(1), i32::MAX as u32, env)).unwrap_err();
    assert_eq!(
        error,
        FlowError { consumer_id: 10, asked: i32::MAX as u32, held: 1_000_000, permits_max: i64::from(i32::MAX) }
    );
    bed.act(|sub, env| sub.handle_flow(key(9), 1, env)).unwrap();
}

#[test]
fn what_was_not_acknowledged_comes_again_in_order_to_the_next_consumer() {
    let mut bed = Bed::new();
    bed.publish(10);
    bed.consumer(1, SubType::Exclusive, 100);
    let all = bed.published.clone();
    bed.ack_up_to(1, all[2]);
    bed.ack(1, &[all[4], all[5]]);
    bed.leave(1);
    assert_eq!(bed.sub.read_position(), None);
    bed.taken();
    bed.consumer(2, SubType::Exclusive, 100);
    let left: Vec<Position> = [3, 6, 7, 8, 9].map(|n| all[n]).to_vec();
    assert_eq!(bed.got(2), left);
}

#[test]
fn redelivery_rewinds_and_carries_the_new_epoch() {
    let mut bed = Bed::new();
    bed.publish(4);
    bed.join(ConsumerSpec { epoch: Some(0), ..Bed::spec(1, SubType::Exclusive) }).unwrap();
    bed.flow(1, 100);
    bed.ack_up_to(1, bed.published[0]);
    assert!(bed.taken().iter().all(|d| d.epoch == Some(0)));
    let command =
        CommandRedeliverUnacknowledgedMessages { consumer_id: 10, consumer_epoch: Some(1), ..Default::default() };
    bed.act(|sub, env| sub.handle_redeliver(key(1), command, env));
    bed.settle();
    assert_eq!(bed.got(1), bed.published[1..]);
    assert!(bed.delivered.iter().all(|d| d.epoch == Some(1) && d.redeliveries == 0));
}

#[test]
fn a_read_that_a_rewind_made_void_is_ignored() {
    let mut bed = Bed::with(OPTIONS, Cache::Cold);
    bed.publish(6);
    bed.join(Bed::spec(1, SubType::Exclusive)).unwrap();
    bed.act(|sub, env| sub.handle_flow(key(1), 100, env)).unwrap();
    bed.give_back(1, &[]);
    bed.pass(1000);
    assert_eq!(bed.got(1), bed.published);
}

#[test]
fn a_partly_acknowledged_batch_comes_again_with_what_is_left() {
    let mut bed = Bed::new();
    let batch = bed.publish_one(&Draft { batch: 4, ..Draft::default() });
    bed.consumer(1, SubType::Exclusive, 100);
    let id = MessageIdData { ack_set: vec![0b1010], ..message_id(batch) };
    bed.send_ack(1, AckType::Individual, vec![id]);
    bed.settle();
    bed.leave(1);
    bed.taken();
    bed.consumer(2, SubType::Exclusive, 100);
    assert_eq!(bed.delivered[0].ack_set, vec![0b1010]);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!(stats.consumers[0].available_permits, 98, "only what is left costs permits");
    bed.ack(2, &[batch]);
    assert_eq!(bed.backlog(), 0);
}

#[test]
fn a_cumulative_acknowledgement_inside_a_batch_keeps_its_rest() {
    let mut bed = Bed::new();
    bed.publish(2);
    let batch = bed.publish_one(&Draft { batch: 4, ..Draft::default() });
    bed.consumer(1, SubType::Exclusive, 100);
    let id = MessageIdData { ack_set: vec![0b1100], ..message_id(batch) };
    bed.send_ack(1, AckType::Cumulative, vec![id]);
    bed.settle();
    assert_eq!(bed.mark_delete(), bed.published[1]);
    let left = bed.log.cursor(bed.sub.cursor()).unwrap().batch_ack(batch).cloned();
    assert_eq!(left, Some(AckSet::from_wire(&[0b1100])));
}

#[test]
fn nothing_is_sent_to_a_full_connection_until_it_drains() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Exclusive, 100);
    bed.stall(1);
    bed.publish(5);
    assert_eq!(bed.got(1), vec![]);
    bed.unstall(1);
    bed.settle();
    assert_eq!(bed.got(1), bed.published);
}

#[test]
fn a_dispatch_limit_delays_and_loses_nothing() {
    let mut bed = Bed::new();
    bed.limit.budget = Some(3);
    bed.publish(10);
    bed.consumer(1, SubType::Exclusive, 100);
    assert_eq!(bed.got(1).len(), 3);
    let at = bed.sub.next_deadline().unwrap();
    assert_eq!(at, bed.now.mono + Duration::from_millis(10));
    bed.pass(5);
    assert_eq!(bed.got(1).len(), 3);
    for _ in 0..4 {
        bed.pass(10);
    }
    assert_eq!(bed.got(1), bed.published);
    assert_eq!(bed.sub.next_deadline(), bed.limit.blocked_until.filter(|until| *until > bed.now.mono));
    assert_eq!(bed.limit.messages, 10);
}

#[test]
fn a_long_backlog_is_sent_in_several_calls() {
    let mut bed = Bed::new();
    (0..3000).for_each(|_| bed.add(&Draft::default()));
    bed.settle();
    bed.join(Bed::spec(1, SubType::Exclusive)).unwrap();
    bed.act(|sub, env| sub.handle_flow(key(1), 5000, env)).unwrap();
    assert!(bed.delivered.len() < 1500, "one call sends a bounded share");
    assert_eq!(bed.sub.next_deadline(), Some(bed.now.mono));
    bed.settle();
    assert_eq!(bed.got(1), bed.published);
    assert_eq!(bed.sub.next_deadline(), None);
}

#[test]
fn the_failover_consumer_that_connected_first_is_active_and_the_next_takes_over() {
    let mut bed = Bed::new();
    bed.publish(4);
    bed.join(failover(2, 0, "b")).unwrap();
    bed.join(failover(1, 0, "a")).unwrap();
    assert_eq!(active_changes(&mut bed), vec![(2, true), (1, false)]);
    bed.flow(1, 100);
    bed.flow(2, 100);
    assert_eq!((bed.got(1), bed.got(2)), (vec![], bed.published.clone()));
    bed.ack_up_to(2, bed.published[1]);
    bed.taken();
    bed.commands.clear();
    bed.leave(2);
    assert_eq!(active_changes(&mut bed), vec![(1, true)]);
    assert_eq!(bed.got(1), bed.published[2..]);
}

#[test]
fn a_failover_newcomer_of_higher_priority_takes_over_once_the_former_has_acknowledged() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.join(failover(1, 1, "a")).unwrap();
    bed.flow(1, 100);
    bed.commands.clear();
    bed.taken();
    bed.join(failover(2, 0, "b")).unwrap();
    assert_eq!(active_changes(&mut bed), vec![(1, false), (2, true)]);
    bed.flow(2, 100);
    bed.publish(1);
    assert_eq!(positions(&bed.delivered), vec![], "the former consumer may still acknowledge");
    bed.ack_up_to(1, bed.published[2]);
    assert_eq!((bed.got(1), bed.got(2)), (vec![], bed.published[3..].to_vec()), "so nothing comes twice");
}

#[test]
fn a_failover_handover_does_not_wait_for_ever_nor_for_one_who_left() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.join(failover(1, 1, "a")).unwrap();
    bed.flow(1, 100);
    bed.join(failover(2, 0, "b")).unwrap();
    bed.flow(2, 100);
    assert_eq!(bed.got(2), vec![]);
    bed.pass(999);
    assert_eq!(bed.got(2), vec![]);
    bed.pass(1);
    assert_eq!(bed.got(2), bed.published);
    bed.join(failover(3, -1, "c")).unwrap();
    bed.flow(3, 100);
    assert_eq!(bed.got(3), vec![]);
    bed.leave(2);
    assert_eq!(bed.got(3), bed.published);
}

#[test]
fn the_partitions_of_a_topic_spread_over_the_failover_consumers_of_the_highest_priority() {
    for (partition, expected) in [(0, 3), (1, 1), (2, 3), (3, 1)] {
        let mut bed = Bed::new();
        bed.partition = partition;
        bed.join(failover(1, 0, "z")).unwrap();
        bed.join(failover(2, 5, "a")).unwrap();
        bed.join(failover(3, 0, "b")).unwrap();
        (1..=3).for_each(|conn| bed.flow(conn, 10));
        bed.publish(1);
        assert_eq!(bed.delivered[0].to, key(expected), "partition {partition}");
        assert_eq!(bed.delivered[0].partition, partition);
    }
}

#[test]
fn clients_that_do_not_know_active_consumer_changes_are_not_told() {
    let mut bed = Bed::new();
    bed.join(ConsumerSpec { protocol_version: 11, ..Bed::spec(1, SubType::Failover) }).unwrap();
    bed.join(Bed::spec(2, SubType::Failover)).unwrap();
    assert_eq!(active_changes(&mut bed), vec![(2, false)]);
}

#[test]
fn only_the_active_failover_consumer_can_ask_for_redelivery() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Failover, 10);
    bed.consumer(2, SubType::Failover, 10);
    bed.taken();
    bed.give_back(2, &[]);
    assert_eq!(positions(&bed.delivered), vec![]);
    let first = bed.published[0];
    bed.give_back(1, &[first]);
    assert_eq!(bed.got(1), bed.published, "single ids rewind as well");
}

#[test]
fn an_idle_subscription_holds_no_dispatcher_and_wants_no_deadline() {
    let mut bed = Bed::new();
    bed.publish(5);
    assert_eq!((bed.sub.read_position(), bed.sub.next_deadline(), bed.sub.is_active()), (None, None, false));
    assert_eq!(bed.backlog(), 5);
    assert!(std::mem::size_of::<super::Subscription>() < 512, "{}", std::mem::size_of::<super::Subscription>());
}

#[test]
fn consumers_of_a_terminated_topic_hear_of_the_end_once_everything_is_acknowledged() {
    let told = |bed: &Bed| {
        let ended =
            |command: &wire::pulsar::BaseCommand| matches!(command.command, Some(Command::ReachedEndOfTopic(_)));
        bed.commands.iter().filter(|(_, command)| ended(command)).map(|(conn, _)| conn.0).collect::<Vec<_>>()
    };
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Failover, 10);
    bed.act(|sub, env| sub.handle_terminated(env));
    assert_eq!(told(&bed), Vec::<u64>::new());
    bed.ack_up_to(1, bed.published[1]);
    assert_eq!(told(&bed), vec![1]);
    bed.consumer(2, SubType::Failover, 10);
    assert_eq!(told(&bed), vec![1, 2], "newcomers hear of it too, others not again");
}
