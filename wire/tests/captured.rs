//! What an official client really sends is understood, and nothing of it is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, unreachable_pub, reason = "a library in its own workspace, of which one check is used here")]
#[path = "../fuzz/src/lib.rs"]
mod checks;
mod support;

use bytes::{Bytes, BytesMut};
use support::{golden, to_hex};
use wire::frame::{FrameLimits, FrameSplitter, decode_command, encode_command};
use wire::payload::{BatchView, PayloadHints, PayloadView, key_hash, murmur3_32};
use wire::pulsar::{CompressionType, base_command};

const CAPTURED: &str = include_str!("../conformance/captured.txt");

/// Command and payload of each captured frame.
fn captured() -> Vec<(&'static str, Bytes, Option<Bytes>)> {
    let split = |bytes: &[u8]| {
        let mut buf = BytesMut::from(bytes);
        let frame = FrameSplitter::new(FrameLimits::HANDSHAKE).next(&mut buf).unwrap().unwrap();
        assert!(buf.is_empty());
        frame
    };
    let frames = golden(CAPTURED).into_iter().map(|(name, bytes)| (name, split(&bytes)));
    frames.map(|(name, frame)| (name, frame.command, frame.payload)).collect()
}

/// The body of a captured SEND, decoded both ways.
fn send(name: &str) -> (PayloadHints, PayloadView) {
    let (_, _, body) = captured().into_iter().find(|(found, _, _)| *found == name).unwrap();
    let body = body.unwrap();
    let view = PayloadView::parse(&body).unwrap();
    assert!(view.had_checksum);
    (PayloadHints::scan(&body).unwrap(), view)
}

#[test]
fn a_real_clients_commands_decode_and_encode_to_the_same_bytes() {
    for (name, command, payload) in captured() {
        let decoded = decode_command(&command).unwrap();
        let kind = base_command::Type::try_from(decoded.r#type).unwrap();
        assert_eq!(name.split(' ').next().unwrap(), kind.as_str_name());
        assert_eq!(payload.is_some(), kind == base_command::Type::Send, "{name}");
        assert_eq!(to_hex(&encode_command(&decoded)[8..]), to_hex(&command), "{name}: a field is unknown to us");
    }
}

#[test]
fn a_real_clients_single_message_shows_its_key() {
    let (hints, view) = send("SEND one message with key, ordering key and properties");
    checks::compare(&hints, &view.metadata, &view.payload);
    assert_eq!((hints.is_batch, &*view.payload), (false, &b"hello"[..]));
    assert_eq!((hints.partition_key.as_deref(), hints.event_time_ms), (Some(&b"k"[..]), Some(5)));
    assert_eq!(key_hash(&hints), murmur3_32(b"o") & 0x7fff_ffff);
}

#[test]
fn a_real_clients_batches_open_unless_they_are_compressed() {
    let (hints, view) = send("SEND a batch of two");
    checks::compare(&hints, &view.metadata, &view.payload);
    assert_eq!((hints.is_batch, hints.num_messages, hints.compression), (true, 2, CompressionType::None as i32));
    let messages: Vec<_> = BatchView::new(view.payload, hints.num_messages).map(Result::unwrap).collect();
    assert_eq!(messages.iter().map(|message| &*message.payload).collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    assert_eq!(messages[0].metadata.partition_key(), "k1");
    let (hints, _) = send("SEND a batch of two, LZ4");
    assert_eq!((hints.is_batch, hints.num_messages, hints.compression), (true, 2, CompressionType::Lz4 as i32));
}
