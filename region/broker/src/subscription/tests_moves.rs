//! Seek, reset, skip, expiry, unsubscribe.

use super::tests_bed::{Bed, Draft, key};
use super::{MoveReply, SubType};
use crate::admin_command::{AdminReply, Force};
use crate::io::{AdminId, ConnId};
use crate::outbox::Note;
use base::Position;
use managed::AckSet;
use wire::commands::message_id;
use wire::pulsar::ServerError;
use wire::pulsar::base_command::Command;
use wire::pulsar::command_ack::AckType;

const CLIENT: MoveReply = MoveReply::Client { conn: ConnId(1), request_id: 99 };
const ADMIN: MoveReply = MoveReply::Admin(AdminId(7));

/// What connections were told, in order, as short words.
fn told(bed: &Bed) -> Vec<String> {
    let words = |(conn, command): &(ConnId, wire::pulsar::BaseCommand)| {
        let what = match command.command.as_ref().unwrap() {
            Command::CloseConsumer(close) => format!("close {}", close.consumer_id),
            Command::Success(success) => format!("success {}", success.request_id),
            Command::Error(error) => format!("error {} {}", error.request_id, error.message),
            other => format!("{other:?}"),
        };
        format!("{} {what}", conn.0)
    };
    bed.commands.iter().map(words).collect()
}

#[test]
fn a_reset_disconnects_everybody_before_success_and_reads_from_its_target() {
    let mut bed = Bed::new();
    bed.publish(10);
    bed.consumer(1, SubType::Shared, 100);
    bed.consumer(2, SubType::Shared, 100);
    let acked = bed.published[..8].to_vec();
    bed.ack(1, &acked);
    bed.commands.clear();
    bed.taken();
    bed.reset(bed.published[3], None, CLIENT);
    assert_eq!(told(&bed), vec!["1 close 10", "2 close 20"]);
    assert!(matches!(
        bed.notes[..],
        [Note::ConsumerGone { consumer_id: 10, .. }, Note::ConsumerGone { consumer_id: 20, .. }]
    ));
    assert!(bed.sub.is_resetting() && !bed.sub.is_active());
    bed.settle();
    assert_eq!(told(&bed).last().unwrap(), "1 success 99");
    assert!(!bed.sub.is_resetting());
    bed.consumer(1, SubType::Shared, 100);
    assert_eq!(bed.got(1), bed.published[4..]);
}

#[test]
fn a_consumer_that_returns_during_a_reset_is_served_after_success() {
    for kind in [SubType::Exclusive, SubType::Failover, SubType::Shared, SubType::KeyShared] {
        let mut bed = Bed::new();
        bed.publish(5);
        bed.consumer(1, kind, 100);
        bed.taken();
        bed.reset(Position::EARLIEST, None, CLIENT);
        bed.join(Bed::spec(1, kind)).unwrap();
        bed.act(|sub, env| sub.handle_flow(key(1), 100, env)).unwrap();
        bed.act(|sub, env| sub.wake(env));
        assert_eq!(bed.got(1), vec![], "the cursor has not moved yet");
        bed.settle();
        assert_eq!(bed.got(1), bed.published);
        assert!(told(&bed).contains(&"1 success 99".to_owned()));
    }
}

#[test]
fn a_reset_into_a_batch_skips_its_first_messages() {
    let mut bed = Bed::new();
    bed.publish(2);
    let batch = bed.publish_one(&Draft { batch: 4, ..Draft::default() });
    bed.reset(bed.published[1], Some(AckSet::from_wire(&[0b1100])), ADMIN);
    bed.settle();
    assert!(matches!(bed.admin[..], [AdminReply::Done]));
    bed.consumer(1, SubType::Exclusive, 100);
    assert_eq!(
        bed.delivered.iter().map(|d| (d.position, d.ack_set.clone())).collect::<Vec<_>>(),
        vec![(batch, vec![0b1100])]
    );
}

#[test]
fn expiry_during_a_reset_into_a_batch_acknowledges_nothing_else() {
    let mut bed = Bed::new();
    bed.publish(6);
    bed.reset(bed.published[0], Some(AckSet::default()), ADMIN);
    bed.drive();
    let up_to = bed.published[3];
    bed.act(|sub, env| sub.expire_up_to(up_to, MoveReply::Nobody, env));
    bed.settle();
    assert_eq!((bed.mark_delete(), bed.backlog()), (bed.published[3], 2));
}

#[test]
fn a_second_reset_waits_its_turn() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.reset(Position::EARLIEST, None, ADMIN);
    bed.out.open_window(ConnId(1));
    bed.reset(Position::EARLIEST, None, CLIENT);
    assert!(
        told(&bed)[0].starts_with("1 error 99 Error when resetting subscription: subscription 'sub' is being reset")
    );
    bed.settle();
    assert!(matches!(bed.admin[..], [AdminReply::Done]));
}

#[test]
fn acknowledgements_from_before_a_reset_do_not_touch_what_comes_after() {
    let mut bed = Bed::new();
    bed.publish(30);
    bed.consumer(1, SubType::Shared, 100);
    for position in bed.published.clone() {
        bed.send_ack(1, AckType::Individual, vec![message_id(position)]);
    }
    bed.reset(Position::EARLIEST, None, CLIENT);
    bed.settle();
    assert_eq!(bed.backlog(), 30);
    bed.taken();
    bed.consumer(1, SubType::Shared, 100);
    assert_eq!(bed.got(1), bed.published);
}

#[test]
fn a_reset_starts_redelivery_counts_anew() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::Shared, 2);
    bed.give_back(1, &[]);
    bed.reset(Position::EARLIEST, None, CLIENT);
    bed.settle();
    bed.taken();
    bed.consumer(1, SubType::Shared, 2);
    assert!(bed.delivered.iter().all(|d| d.redeliveries == 0));
}

#[test]
fn skipping_counts_only_entries_that_are_not_acknowledged() {
    let mut bed = Bed::new();
    bed.publish(20);
    bed.consumer(1, SubType::Shared, 100);
    let all = bed.published.clone();
    bed.ack(1, &[all[1], all[2], all[8], all[9]]);
    for (nth, expected) in [(1, 0), (2, 3), (6, 7), (7, 10), (16, 19)] {
        assert_eq!(bed.sub.nth_unacked(nth, &bed.log), Some(all[expected]), "the {nth}th");
    }
    assert_eq!((bed.sub.nth_unacked(17, &bed.log), bed.sub.nth_unacked(0, &bed.log)), (None, None));
    bed.act(|sub, env| sub.skip(7, ADMIN, env));
    bed.settle();
    assert_eq!((bed.mark_delete(), bed.backlog()), (all[10], 9));
    assert_eq!(bed.sub.stats(&bed.log, bed.now).backlog.unacked_messages, 9, "what was skipped lies with nobody");
    bed.act(|sub, env| sub.skip(u64::MAX, ADMIN, env));
    bed.settle();
    assert_eq!(bed.backlog(), 0);
    assert_eq!(bed.admin.len(), 2);
}

#[test]
fn expiry_acknowledges_and_counts_and_disconnects_nobody() {
    let mut bed = Bed::new();
    bed.publish(10);
    bed.consumer(1, SubType::Shared, 4);
    let all = bed.published.clone();
    bed.ack(1, &[all[2]]);
    bed.act(|sub, env| sub.expire_up_to(all[5], MoveReply::Nobody, env));
    bed.settle();
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!((stats.traffic.total_msg_expired, stats.backlog.unacked_messages), (5, 0));
    assert_eq!(stats.times.last_expire_timestamp, bed.now.wall_ms);
    assert_eq!(bed.sub.consumer_count(), 1);
    bed.taken();
    bed.flow(1, 100);
    assert_eq!(bed.got(1), all[6..]);
}

#[test]
fn a_mark_delete_beyond_the_log_stops_at_its_end() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.consumer(1, SubType::Exclusive, 1);
    bed.act(|sub, env| sub.mark_delete_to(Position::LATEST, ADMIN, env));
    bed.settle();
    assert_eq!((bed.mark_delete(), bed.backlog()), (bed.published[2], 0));
    bed.publish(1);
    bed.flow(1, 5);
    assert_eq!(bed.got(1), vec![bed.published[0], bed.published[3]]);
}

#[test]
fn only_a_sole_consumer_may_unsubscribe_unless_it_insists() {
    let mut bed = Bed::new();
    bed.consumer(1, SubType::Shared, 0);
    assert_eq!(bed.sub.can_unsubscribe(key(1), Force::No), Ok(()));
    assert_eq!(bed.sub.can_unsubscribe(key(2), Force::Yes).unwrap_err().message, "Consumer not found");
    bed.consumer(2, SubType::Shared, 0);
    assert_eq!(bed.sub.can_unsubscribe(key(1), Force::No).unwrap_err().code, ServerError::MetadataError);
    assert_eq!(bed.sub.can_unsubscribe(key(1), Force::Yes), Ok(()));
}

#[test]
fn disconnecting_all_closes_every_consumer_and_keeps_the_backlog() {
    let mut bed = Bed::new();
    bed.publish(3);
    bed.consumer(1, SubType::KeyShared, 10);
    bed.consumer(2, SubType::KeyShared, 10);
    bed.commands.clear();
    bed.act(|sub, env| sub.disconnect_all(env));
    assert_eq!(told(&bed), vec!["1 close 10", "2 close 20"]);
    assert_eq!((bed.sub.consumer_count(), bed.backlog(), bed.sub.next_deadline()), (0, 3, None));
    bed.taken();
    bed.consumer(3, SubType::Exclusive, 10);
    assert_eq!(bed.got(3), bed.published);
}
