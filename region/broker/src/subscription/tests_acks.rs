//! Acknowledgements: durable before answered, merged, refused with words.

use super::SubType;
use super::cursor_ops::ACK_OPS_MAX;
use super::tests_bed::{Bed, Cache, Draft, OPTIONS, key};
use base::{LedgerId, Position};
use wire::commands::message_id;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandAck, CommandRedeliverUnacknowledgedMessages, MessageIdData, ServerError};

#[test]
fn an_acknowledgement_is_answered_only_when_it_is_durable() {
    let mut bed = Bed::new();
    bed.publish(1);
    bed.consumer(1, SubType::Shared, 10);
    let request = bed.send_ack(1, AckType::Individual, vec![message_id(bed.published[0])]);
    assert_eq!(bed.ack_response(request), None);
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 1, "it lies with the consumer until then");
    bed.settle();
    let response = bed.ack_response(request).unwrap();
    assert_eq!((response.consumer_id, response.error, response.message), (10, None, None));
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 0);
}

#[test]
fn a_second_acknowledgement_of_the_same_entry_waits_for_the_first() {
    let mut bed = Bed::new();
    bed.publish(1);
    bed.consumer(1, SubType::Exclusive, 10);
    let first = bed.send_ack(1, AckType::Cumulative, vec![message_id(bed.published[0])]);
    let second = bed.send_ack(1, AckType::Cumulative, vec![message_id(bed.published[0])]);
    let third = bed.send_ack(1, AckType::Individual, vec![message_id(bed.published[0])]);
    assert!([first, second, third].iter().all(|request| bed.ack_response(*request).is_none()));
    bed.settle();
    assert!([first, second, third].iter().all(|request| bed.ack_response(*request).unwrap().error.is_none()));
}

#[test]
fn many_acknowledgements_are_merged_and_all_are_answered() {
    let mut bed = Bed::new();
    bed.publish(200);
    bed.consumer(1, SubType::Shared, 1000);
    let all = bed.published.clone();
    let requests: Vec<u64> =
        all.iter().rev().map(|p| bed.send_ack(1, AckType::Individual, vec![message_id(*p)])).collect();
    bed.settle();
    assert!(requests.iter().all(|request| bed.ack_response(*request).unwrap().error.is_none()));
    assert_eq!((bed.backlog(), bed.mark_delete()), (0, all[199]));
}

#[test]
fn acknowledgements_survive_a_busy_log() {
    let mut bed = Bed::with(OPTIONS, Cache::Cold);
    bed.publish(100);
    bed.consumer(1, SubType::Shared, 1000);
    for _ in 0..50 {
        bed.pass(1000);
    }
    assert_eq!(bed.got(1).len(), 100);
    for position in bed.published.clone() {
        bed.send_ack(1, AckType::Individual, vec![message_id(position)]);
        bed.settle();
    }
    for _ in 0..50 {
        bed.pass(1000);
    }
    assert_eq!(bed.backlog(), 0);
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 0);
    assert_eq!(bed.sub.next_deadline(), None);
}

#[test]
fn an_id_that_names_nothing_fails_the_answer_and_not_the_other_ids() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.consumer(1, SubType::Shared, 10);
    let foreign = Position::new(LedgerId(u64::MAX >> 2), 4);
    let response = bed.ack(1, &[bed.published[0], foreign, bed.published[1]]);
    assert_eq!(response.error, Some(ServerError::MetadataError as i32));
    assert!(response.message.unwrap().contains(&foreign.to_string()));
    bed.settle();
    assert_eq!(bed.mark_delete(), bed.published[1]);
    bed.leave(1);
    bed.consumer(2, SubType::Exclusive, 10);
    assert_eq!(bed.ack_up_to(2, foreign).error, Some(ServerError::MetadataError as i32));
    assert_eq!(bed.backlog(), 1);
}

#[test]
fn a_cumulative_acknowledgement_between_two_ledgers_covers_the_earlier_one() {
    let mut bed = Bed::new();
    bed.publish(10);
    bed.consumer(1, SubType::Exclusive, 100);
    let first_of_second = *bed.published.iter().find(|p| p.ledger != bed.published[0].ledger).unwrap();
    let response = bed.ack_up_to(1, first_of_second.previous());
    assert_eq!(response.error, None);
    assert_eq!(bed.mark_delete(), bed.published[6]);
}

#[test]
fn transactions_and_oversized_ack_sets_are_refused() {
    let mut bed = Bed::new();
    bed.publish(1);
    bed.consumer(1, SubType::Shared, 10);
    let id = message_id(bed.published[0]);
    let ack = CommandAck {
        consumer_id: 10,
        message_id: vec![id.clone()],
        txnid_most_bits: Some(1),
        txnid_least_bits: Some(2),
        request_id: Some(77),
        ..CommandAck::default()
    };
    bed.act(|sub, env| sub.handle_ack(key(1), ack, env));
    let response = bed.ack_response(77).unwrap();
    assert_eq!(response.error, Some(ServerError::NotAllowedError as i32));
    assert_eq!(response.message.as_deref(), Some("Transactions are not enabled."));
    let request = bed.send_ack(1, AckType::Individual, vec![MessageIdData { ack_set: vec![-1; 1000], ..id }]);
    assert_eq!(bed.ack_response(request).unwrap().error, Some(ServerError::MetadataError as i32));
    bed.settle();
    assert_eq!(bed.backlog(), 1);
}

#[test]
fn acknowledgements_of_unknown_consumers_are_dropped_without_an_answer() {
    let mut bed = Bed::new();
    bed.publish(1);
    let request = bed.send_ack(5, AckType::Individual, vec![message_id(bed.published[0])]);
    bed.settle();
    assert_eq!((bed.ack_response(request), bed.backlog()), (None, 1));
}

#[test]
fn ids_without_a_request_are_acknowledged_silently() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Shared, 10);
    let ids = bed.published.iter().map(|p| message_id(*p)).collect();
    let ack = CommandAck { consumer_id: 10, message_id: ids, ..CommandAck::default() };
    bed.act(|sub, env| sub.handle_ack(key(1), ack, env));
    bed.settle();
    assert_eq!((bed.commands.len(), bed.backlog()), (0, 0));
}

#[test]
fn the_sets_of_one_batch_meet() {
    let mut bed = Bed::new();
    let batch = bed.publish_one(&super::tests_bed::Draft { batch: 4, ..Default::default() });
    bed.consumer(1, SubType::Shared, 10);
    for left in [0b1110, 0b1101, 0b1011, 0b0111] {
        bed.send_ack(1, AckType::Individual, vec![MessageIdData { ack_set: vec![left], ..message_id(batch) }]);
    }
    bed.settle();
    assert_eq!(bed.backlog(), 0);
}

/// Two members: one acknowledges more often than operations may be under way, so its last acknowledgement waits to begin.
fn bed_with_a_waiting_ack(sub_type: SubType) -> (Bed, Position) {
    let mut bed = Bed::new();
    bed.publish(ACK_OPS_MAX + 3);
    bed.consumer(1, sub_type, 100);
    bed.taken();
    for index in 0..=ACK_OPS_MAX {
        bed.send_ack(1, AckType::Individual, vec![message_id(bed.published[index])]);
    }
    let waiting = bed.published[ACK_OPS_MAX];
    bed.join(Bed::spec(2, sub_type)).unwrap();
    bed.act(|sub, env| sub.handle_flow(key(2), 100, env)).unwrap();
    (bed, waiting)
}

#[test]
fn what_a_leaver_has_acknowledged_goes_to_nobody_though_storage_has_not_begun_with_it() {
    for sub_type in [SubType::Shared, SubType::KeyShared] {
        let (mut bed, waiting) = bed_with_a_waiting_ack(sub_type);
        bed.act(|sub, env| sub.remove_consumer(key(1), env));
        let rest = bed.published[ACK_OPS_MAX + 1..].to_vec();
        assert_eq!(bed.got(2), rest, "{sub_type:?}: {waiting} is acknowledged");
        bed.settle();
        assert_eq!((bed.got(2), bed.backlog(), bed.mark_delete()), (rest, 2, waiting));
    }
}

#[test]
fn an_entry_given_back_after_it_was_acknowledged_is_not_sent_again() {
    let (mut bed, waiting) = bed_with_a_waiting_ack(SubType::Shared);
    let command = CommandRedeliverUnacknowledgedMessages {
        consumer_id: 10,
        message_ids: vec![message_id(waiting)],
        consumer_epoch: None,
    };
    bed.act(|sub, env| sub.handle_redeliver(key(1), command, env));
    assert_eq!(bed.taken(), []);
    bed.settle();
    assert_eq!((bed.taken(), bed.backlog()), (vec![], 2));
}

#[test]
fn messages_of_a_batch_whose_acknowledgement_waits_are_not_sent_again() {
    let mut bed = Bed::new();
    bed.publish(ACK_OPS_MAX);
    let batch = bed.publish_one(&Draft { batch: 4, ..Draft::default() });
    bed.consumer(1, SubType::Shared, 100);
    for index in 0..ACK_OPS_MAX {
        bed.send_ack(1, AckType::Individual, vec![message_id(bed.published[index])]);
    }
    bed.send_ack(1, AckType::Individual, vec![MessageIdData { ack_set: vec![0b0110], ..message_id(batch) }]);
    bed.taken();
    bed.join(Bed::spec(2, SubType::Shared)).unwrap();
    bed.act(|sub, env| sub.handle_flow(key(2), 100, env)).unwrap();
    bed.act(|sub, env| sub.remove_consumer(key(1), env));
    let sent: Vec<_> = bed.taken().into_iter().map(|d| (d.to, d.position, d.ack_set)).collect();
    assert_eq!(sent, [(key(2), batch, vec![0b0110])]);
}

#[test]
fn what_a_failover_consumer_has_acknowledged_at_once_is_not_sent_to_the_next() {
    let mut bed = Bed::new();
    bed.publish(ACK_OPS_MAX + 3);
    bed.consumer(1, SubType::Failover, 100);
    bed.consumer(2, SubType::Failover, 100);
    for index in 0..=ACK_OPS_MAX {
        bed.send_ack(1, AckType::Cumulative, vec![message_id(bed.published[index])]);
    }
    bed.taken();
    bed.act(|sub, env| sub.remove_consumer(key(1), env));
    assert_eq!(bed.got(2), bed.published[ACK_OPS_MAX + 1..]);
}

#[test]
fn what_was_acknowledged_goes_to_nobody_while_a_busy_log_refuses_the_acknowledgement() {
    let mut bed = Bed::with(OPTIONS, Cache::Busy);
    bed.publish(ACK_OPS_MAX + 2);
    bed.consumer(1, SubType::Shared, 100);
    bed.taken();
    for index in 0..ACK_OPS_MAX {
        bed.send_ack(1, AckType::Individual, vec![message_id(bed.published[index])]);
    }
    bed.join(Bed::spec(2, SubType::Shared)).unwrap();
    bed.act(|sub, env| sub.handle_flow(key(2), 100, env)).unwrap();
    bed.act(|sub, env| sub.remove_consumer(key(1), env));
    let rest = bed.published[ACK_OPS_MAX..].to_vec();
    assert_eq!(bed.got(2), rest, "the others are acknowledged, though the log has refused some");
    for _ in 0..ACK_OPS_MAX {
        bed.pass(100);
    }
    assert_eq!((bed.got(2), bed.backlog()), (rest, 2));
}
