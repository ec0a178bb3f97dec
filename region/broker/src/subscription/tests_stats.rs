//! What operators see.

use super::tests_bed::{Bed, Draft, key};
use super::{ConsumerSpec, SubType};
use wire::pulsar::ServerError;

#[test]
fn stats_show_what_was_sent_held_and_acknowledged() {
    let mut bed = Bed::new();
    (0..4).for_each(|_| bed.add(&Draft { batch: 5, bytes: 100, ..Draft::default() }));
    bed.settle();
    bed.consumer(1, SubType::Shared, 12);
    bed.ack(1, &[bed.published[0]]);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!(stats.sub_type.as_deref(), Some("Shared"));
    assert!(stats.is_durable && stats.durable && !stats.is_replicated);
    assert_eq!((stats.traffic.msg_out_counter, stats.backlog.unacked_messages, stats.backlog.msg_backlog), (15, 10, 3));
    assert!(stats.traffic.bytes_out_counter > 300 && stats.traffic.msg_rate_out > 0.0);
    assert_eq!(stats.times.last_acked_timestamp, bed.now.wall_ms);
    assert_eq!(stats.times.last_mark_delete_advanced_timestamp, bed.now.wall_ms);
    let consumer = &stats.consumers[0];
    assert_eq!((consumer.available_permits, consumer.unacked_messages, consumer.avg_messages_per_entry), (-3, 10, 5));
    assert_eq!(consumer.address, "/127.0.0.1:1");
    assert_eq!(consumer.client_version, "Pulsar-Test-v1");
    assert_eq!(consumer.connected_since, "2023-11-14T22:13:20.000Z");
    assert_eq!(consumer.traffic.message_ack_rate, 5.0);
}

#[test]
fn consumer_stats_answer_for_known_and_unknown_consumers() {
    let mut bed = Bed::new();
    bed.publish(2);
    bed.consumer(1, SubType::KeyShared, 1);
    let known = bed.sub.consumer_stats(key(1), 5, &bed.log, bed.now);
    assert_eq!((known.request_id, known.error_code, known.r#type.as_deref()), (5, None, Some("Key_Shared")));
    assert_eq!((known.available_permits, known.unacked_messages, known.msg_backlog), (Some(0), Some(1), Some(2)));
    let unknown = bed.sub.consumer_stats(key(2), 6, &bed.log, bed.now);
    assert_eq!(unknown.error_code, Some(ServerError::ConsumerNotFound as i32));
}

#[test]
fn the_active_consumer_is_named() {
    let mut bed = Bed::new();
    bed.join(ConsumerSpec { name: "second".into(), ..Bed::spec(2, SubType::Failover) }).unwrap();
    bed.join(ConsumerSpec { name: "first".into(), ..Bed::spec(1, SubType::Failover) }).unwrap();
    assert_eq!(bed.sub.stats(&bed.log, bed.now).active_consumer_name.as_deref(), Some("second"));
    bed.leave(2);
    bed.leave(1);
    let stats = bed.sub.stats(&bed.log, bed.now);
    assert_eq!((stats.active_consumer_name, stats.sub_type.as_deref()), (None, Some("Failover")));
}
