//! Acknowledgements: durable before answered, merged, refused with words.

use super::SubType;
use super::tests_bed::{Bed, Cache, OPTIONS, key};
use base::{LedgerId, Position};
use wire::commands::message_id;
use wire::pulsar::command_ack::AckType;
use wire::pulsar::{CommandAck, MessageIdData, ServerError};

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
