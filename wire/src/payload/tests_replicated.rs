//! Tests of bodies that name the region they came from.

use super::{BatchBuilder, BatchView, Checksum, PayloadView, ReplicatedBody, build_body, verify_checksum};
use crate::pulsar::{MessageMetadata, SingleMessageMetadata};
use bytes::{Bytes, BytesMut};

fn metadata() -> MessageMetadata {
    MessageMetadata { producer_name: "p".to_owned(), sequence_id: 3, publish_time: 5, ..MessageMetadata::default() }
}

/// The whole body as a consumer gets it.
fn replicated(body: &Bytes, from: &str) -> Bytes {
    let replicated = ReplicatedBody::new(body, from).unwrap();
    let mut out = BytesMut::new();
    replicated.put_start(&mut out);
    out.extend_from_slice(&replicated.payload());
    assert_eq!(out.len(), replicated.body_bytes());
    out.freeze()
}

#[test]
fn the_field_is_there_and_the_checksum_is_right_whatever_the_lengths() {
    let lengths = [0, 1, 2, 3, 7, 8, 255, 256, 1000, 1024, 65_537, 5 << 20];
    for (length, from) in lengths.into_iter().zip(["e", "east", "a-region-with-a-long-name"].into_iter().cycle()) {
        let payload: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let body = replicated(&build_body(&metadata(), &payload), from);
        let view = PayloadView::parse(&body).unwrap();
        assert!(view.had_checksum, "replicated I1: {length} bytes");
        assert_eq!(view.metadata, MessageMetadata { replicated_from: Some(from.to_owned()), ..metadata() });
        assert_eq!(view.payload, payload);
    }
}

#[test]
fn a_region_name_of_more_than_127_bytes_has_a_longer_length() {
    let from = "r".repeat(300);
    let view = PayloadView::parse(&replicated(&build_body(&metadata(), b"x"), &from)).unwrap();
    assert_eq!(view.metadata.replicated_from, Some(from));
}

#[test]
fn the_broker_has_the_last_word_about_where_a_message_came_from() {
    let claimed = MessageMetadata { replicated_from: Some("moon".to_owned()), ..metadata() };
    let view = PayloadView::parse(&replicated(&build_body(&claimed, b"x"), "east")).unwrap();
    assert_eq!(view.metadata.replicated_from.as_deref(), Some("east"));
}

#[test]
fn batches_keep_their_messages() {
    let mut batch = BatchBuilder::default();
    for text in ["one", "two"] {
        batch.push(SingleMessageMetadata::default(), text.as_bytes());
    }
    let metadata = MessageMetadata { num_messages_in_batch: Some(2), ..metadata() };
    let view = PayloadView::parse(&replicated(&build_body(&metadata, &batch.finish()), "east")).unwrap();
    assert_eq!(view.metadata.replicated_from.as_deref(), Some("east"));
    let texts: Vec<Bytes> = BatchView::new(view.payload, 2).map(|message| message.unwrap().payload).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn the_payload_is_a_slice_of_what_is_stored() {
    let body = build_body(&metadata(), b"payload");
    let payload = ReplicatedBody::new(&body, "east").unwrap().payload();
    assert_eq!(payload.as_ptr_range().end, body.as_ptr_range().end);
}

#[test]
fn damage_stays_visible() {
    for damaged in [7, 12, 20] {
        let mut bytes = build_body(&metadata(), b"payload").to_vec();
        bytes[damaged] ^= 0x10;
        if let Ok(replicated) = ReplicatedBody::new(&Bytes::from(bytes), "east") {
            let mut out = BytesMut::new();
            replicated.put_start(&mut out);
            out.extend_from_slice(&replicated.payload());
            assert!(verify_checksum(&out).is_err(), "replicated I1: damage at {damaged}");
        }
    }
}

#[test]
fn a_body_without_checksum_gets_none() {
    let body = build_body(&metadata(), b"payload").slice(6..);
    let body = replicated(&body, "east");
    assert_eq!(verify_checksum(&body), Ok(Checksum::Absent));
    assert_eq!(PayloadView::parse(&body).unwrap().metadata.replicated_from.as_deref(), Some("east"));
}

#[test]
fn a_body_without_room_for_metadata_is_refused() {
    assert!(ReplicatedBody::new(&Bytes::from_static(&[0, 0, 0, 9, 1]), "east").is_err());
}
