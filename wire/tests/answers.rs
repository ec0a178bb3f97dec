//! Golden bytes of every constructor of `wire::commands`, and of whole frames with a payload.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use base::Position;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use support::{from_hex, golden, to_hex};
use wire::commands::{self, BrokerUrls, Listing};
use wire::frame::{FrameLimits, FrameSplitter, decode_command, encode_command, encode_message, encode_send};
use wire::payload::{BatchBuilder, BatchView, Checksum, PayloadHints, PayloadView, build_body};
use wire::pulsar::{
    BaseCommand, CommandSend, FeatureFlags, MessageIdData, MessageMetadata, Schema, ServerError, SingleMessageMetadata,
    schema,
};

const ANSWERS: &str = include_str!("../conformance/answers.txt");
const FRAMES: &str = include_str!("../conformance/frames.txt");

fn position() -> Position {
    Position::new(base::LedgerId(12), 34)
}

fn urls() -> BrokerUrls {
    BrokerUrls { plain: Some("pulsar://h:6650".to_owned()), tls: None }
}

fn hash() -> String {
    "0a0b0c0d".to_owned()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|&name| name.to_owned()).collect()
}

fn handshake_lookup_and_producers() -> Vec<(&'static str, BaseCommand)> {
    let flags = FeatureFlags {
        supports_topic_watchers: Some(false),
        supports_get_partitioned_metadata_without_auto_creation: Some(true),
        ..FeatureFlags::default()
    };
    let both = BrokerUrls { tls: Some("pulsar+ssl://h:6651".to_owned()), ..urls() };
    vec![
        ("connected", commands::connected("Meridian", 21, 5 * 1024 * 1024, flags)),
        ("auth_challenge", commands::auth_challenge("Meridian", 21, "token", Bytes::from_static(b"refreshing"))),
        ("ping", commands::ping()),
        ("pong", commands::pong()),
        ("success", commands::success(11)),
        ("error", commands::error(11, ServerError::TopicNotFound, "no topic t")),
        ("unsolicited_error", commands::unsolicited_error(ServerError::ServiceNotReady, "starting")),
        ("lookup_connect", commands::lookup_connect(11, urls())),
        ("lookup_redirect", commands::lookup_redirect(11, both)),
        ("lookup_failed", commands::lookup_failed(11, ServerError::ServiceNotReady, "later")),
        ("partition_metadata", commands::partition_metadata(11, 4)),
        ("partition_metadata_failed", commands::partition_metadata_failed(11, ServerError::TopicNotFound, "")),
        ("producer_success", commands::producer_success(11, "p-1", -1, Some(3), Some(2))),
        ("producer_queued", commands::producer_queued(11, "p-1")),
        ("send_receipt", commands::send_receipt(3, 7, Some(8), Some(position()))),
        ("send_receipt of a duplicate", commands::send_receipt(3, 7, None, None)),
        ("send_error", commands::send_error(3, 7, ServerError::ChecksumError, "damaged")),
        ("close_producer", commands::close_producer(3)),
    ]
}

fn consumers_listings_and_schemas() -> Vec<(&'static str, BaseCommand)> {
    let last = MessageIdData { batch_index: Some(9), ..commands::message_id_in(position(), Some(2)) };
    let none = commands::message_id(Position::EARLIEST);
    let mark_delete = commands::message_id(Position::new(base::LedgerId(12), -1));
    let json = Schema {
        name: "s".to_owned(),
        schema_data: Bytes::from_static(b"{}"),
        r#type: schema::Type::Json as i32,
        properties: Vec::new(),
    };
    vec![
        ("ack_response", commands::ack_response(5, 11)),
        ("ack_failed", commands::ack_failed(5, 11, ServerError::NotAllowedError, "no")),
        ("close_consumer", commands::close_consumer(5)),
        ("consumer_active", commands::consumer_active(5)),
        ("consumer_inactive", commands::consumer_inactive(5)),
        ("reached_end_of_topic", commands::reached_end_of_topic(5)),
        ("last_message_id", commands::last_message_id(11, last, mark_delete)),
        ("last_message_id of an empty topic", commands::last_message_id(11, none.clone(), none)),
        ("consumer_stats_failed", commands::consumer_stats_failed(11, ServerError::ConsumerNotFound, "no consumer 5")),
        ("topics_of_namespace", commands::topics_of_namespace(11, names(&["a", "b"]), Listing::Filtered, hash())),
        ("topics_unchanged", commands::topics_unchanged(11, Listing::Whole, hash())),
        ("watch_topic_list_success", commands::watch_topic_list_success(11, 4, names(&["a"]), hash())),
        ("watch_topic_update", commands::watch_topic_update(4, names(&["b"]), names(&["a"]), hash())),
        ("schema", commands::schema(11, json, 0)),
        ("schema_failed", commands::schema_failed(11, ServerError::TopicNotFound, "no schema")),
        ("schema_registered", commands::schema_registered(11, 258)),
        ("schema_not_registered", commands::schema_not_registered(11, ServerError::IncompatibleSchema, "other type")),
    ]
}

#[test]
fn every_constructor_builds_its_golden_bytes() {
    let mut table: BTreeMap<&str, Vec<u8>> = golden(ANSWERS).into_iter().collect();
    for (name, command) in handshake_lookup_and_producers().into_iter().chain(consumers_listings_and_schemas()) {
        let bytes = table.remove(name).unwrap_or_else(|| panic!("no golden bytes of {name}"));
        assert_eq!(to_hex(&encode_command(&command)[8..]), to_hex(&bytes), "wire I3: {name}");
        assert_eq!(decode_command(&Bytes::from(bytes)).unwrap(), command, "wire I3: {name}");
    }
    assert!(table.is_empty(), "no constructor for {:?}", table.keys());
}

fn frame(name: &str) -> Bytes {
    let found = golden(FRAMES).into_iter().find(|(meaning, _)| *meaning == name);
    Bytes::from(found.unwrap_or_else(|| panic!("no golden bytes of {name}")).1)
}

fn metadata() -> MessageMetadata {
    MessageMetadata {
        producer_name: "p-1".to_owned(),
        sequence_id: 7,
        publish_time: 1_700_000_000_123,
        partition_key: Some("key".to_owned()),
        ..MessageMetadata::default()
    }
}

#[test]
fn a_body_is_checksum_metadata_and_payload() {
    let golden = frame("body of one message");
    assert_eq!(to_hex(&build_body(&metadata(), b"hello")), to_hex(&golden));
    let view = PayloadView::parse(&golden).unwrap();
    assert_eq!((view.metadata, &*view.payload, view.had_checksum), (metadata(), &b"hello"[..], true));
    let bare = frame("body of one message without checksum");
    let view = PayloadView::parse(&bare).unwrap();
    assert_eq!((view.metadata, &*view.payload, view.had_checksum), (metadata(), &b"hello"[..], false));
    assert_eq!(wire::payload::verify_checksum(&bare), Ok(Checksum::Absent));
    assert_eq!(wire::payload::ensure_checksum(&bare).unwrap(), golden);
}

#[test]
fn a_batch_repeats_single_metadata_and_payload() {
    let golden = frame("body of a batch of two");
    let mut batch = BatchBuilder::default();
    batch.push(SingleMessageMetadata { sequence_id: Some(7), ..SingleMessageMetadata::default() }, b"one");
    batch.push(SingleMessageMetadata { sequence_id: Some(8), ..SingleMessageMetadata::default() }, b"");
    let outer = MessageMetadata {
        partition_key: None,
        num_messages_in_batch: Some(2),
        highest_sequence_id: Some(8),
        ..metadata()
    };
    assert_eq!(to_hex(&build_body(&outer, &batch.finish())), to_hex(&golden));
    let hints = PayloadHints::scan(&golden).unwrap();
    assert_eq!((hints.num_messages, hints.is_batch, hints.last_sequence_id()), (2, true, 8));
    let view = PayloadView::parse(&golden).unwrap();
    let messages: Vec<_> = BatchView::new(view.payload, hints.num_messages).map(Result::unwrap).collect();
    assert_eq!(messages.iter().map(|message| &*message.payload).collect::<Vec<_>>(), [&b"one"[..], b""]);
}

#[test]
fn send_and_message_frames_pass_the_body_on_without_copying_it() {
    let body = frame("body of one message");
    let mut pieces = Vec::new();
    encode_send(
        &CommandSend { producer_id: 3, sequence_id: 7, num_messages: Some(1), ..CommandSend::default() },
        &body,
        &mut pieces,
    );
    let id = MessageIdData { partition: Some(-1), ..commands::message_id(position()) };
    encode_message(&commands::message(5, id, 2, vec![-2], Some(9)), &body, &mut pieces);
    for (pieces, name) in pieces.chunks(2).zip(["SEND", "MESSAGE"]) {
        assert_eq!(to_hex(&pieces.concat()), to_hex(&frame(name)), "wire I3: {name}");
        assert_eq!(pieces[1].as_ptr(), body.as_ptr(), "{name}: the body was copied");
        let mut buf = BytesMut::from(&*frame(name));
        let raw = FrameSplitter::new(FrameLimits::HANDSHAKE).next(&mut buf).unwrap().unwrap();
        assert_eq!(raw.payload, Some(body.clone()), "{name}");
        decode_command(&raw.command).unwrap();
    }
    assert_eq!(to_hex(&encode_command(&commands::ping())), to_hex(&frame("PING")));
}

#[test]
fn an_unknown_command_is_told_from_garbage() {
    use wire::frame::FrameError;
    let unknown = Bytes::from(from_hex("0852920500"));
    assert_eq!(decode_command(&unknown), Err(FrameError::UnknownCommand(82)));
    for garbage in ["", "08", "0812ff", "1200", "ffffffffffffffffffffff", "0b"] {
        let error = decode_command(&Bytes::from(from_hex(garbage))).unwrap_err();
        assert!(matches!(error, FrameError::MalformedCommand { .. }), "{garbage}: {error}");
    }
    // A PING that carries nothing, one that carries a PONG, and one that carries both.
    for mismatch in ["0812", "08129a0100", "08129201009a0100"] {
        let error = decode_command(&Bytes::from(from_hex(mismatch))).unwrap_err();
        assert!(matches!(error, FrameError::CommandMismatch(_)), "{mismatch}: {error}");
    }
    let mut later_field = BytesMut::from(&from_hex("0812920100")[..]);
    later_field.put_slice(&from_hex("920500"));
    assert_eq!(decode_command(&later_field.freeze()), Ok(commands::ping()), "fields of later versions are ignored");
}

#[test]
fn the_ends_of_a_topic_have_their_wire_forms() {
    let earliest = MessageIdData { ledger_id: u64::MAX, entry_id: u64::MAX, ..MessageIdData::default() };
    assert_eq!(commands::message_id(Position::EARLIEST), earliest);
    assert_eq!(commands::position(&earliest), Position::EARLIEST);
    let latest = MessageIdData { ledger_id: (1 << 63) - 1, entry_id: (1 << 63) - 1, ..MessageIdData::default() };
    assert_eq!(commands::position(&latest), Position::LATEST);
    let strange = MessageIdData { ledger_id: 3, entry_id: 1 << 63, ..MessageIdData::default() };
    assert_eq!(commands::position(&strange), Position::new(base::LedgerId(3), -1));
    assert_eq!(commands::schema_version(&commands::schema_version_bytes(Some(258))), Some(258));
    assert_eq!(commands::schema_version(&commands::schema_version_bytes(None)), None);
}
