//! Golden bytes: every command and metadata message has exactly the bytes of `conformance/`.
//!
//! **What**  The tables come from an encoder of their own, so a wrong number, type, name or default in the proto file shows
//! here. An unknown field would be lost on decoding and be missing in the bytes that come back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use std::collections::BTreeSet;
use support::{golden, to_hex};
use wire::frame::{FrameLimits, FrameSplitter, decode_command, encode_command};
use wire::pulsar::{BrokerEntryMetadata, MessageMetadata, SingleMessageMetadata, base_command};

const COMMANDS: &str = include_str!("../conformance/commands.txt");
const METADATA: &str = include_str!("../conformance/metadata.txt");

#[test]
fn every_command_means_what_its_golden_bytes_say_and_encodes_to_them() {
    for (meaning, bytes) in golden(COMMANDS) {
        let decoded = decode_command(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!(format!("{:?}", decoded.command.as_ref().unwrap()), meaning);
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(bytes.len() + 4).unwrap());
        frame.put_u32(u32::try_from(bytes.len()).unwrap());
        frame.put_slice(&bytes);
        assert_eq!(to_hex(&encode_command(&decoded)), to_hex(&frame), "wire I3: {meaning}");
        let framed = FrameSplitter::new(FrameLimits::HANDSHAKE).next(&mut frame).unwrap().unwrap();
        assert_eq!((framed.command, framed.payload), (Bytes::from(bytes), None));
    }
}

#[test]
fn no_command_is_without_golden_bytes() {
    let covered: BTreeSet<i32> =
        golden(COMMANDS).into_iter().map(|(_, bytes)| decode_command(&Bytes::from(bytes)).unwrap().r#type).collect();
    let all: BTreeSet<i32> = (0..1000).filter(|number| base_command::Type::try_from(*number).is_ok()).collect();
    assert_eq!(covered, all);
}

#[test]
fn every_metadata_message_means_what_its_golden_bytes_say_and_encodes_to_them() {
    fn check<M: Message + Default + std::fmt::Debug>(meaning: &str, bytes: &[u8]) {
        let decoded = M::decode(bytes).unwrap();
        assert_eq!(format!("{decoded:?}"), meaning);
        assert_eq!(to_hex(&decoded.encode_to_vec()), to_hex(bytes), "wire I3: {meaning}");
    }
    for (meaning, bytes) in golden(METADATA) {
        match meaning.split_once(' ').unwrap().0 {
            "MessageMetadata" => check::<MessageMetadata>(meaning, &bytes),
            "SingleMessageMetadata" => check::<SingleMessageMetadata>(meaning, &bytes),
            "BrokerEntryMetadata" => check::<BrokerEntryMetadata>(meaning, &bytes),
            other => panic!("no message {other}"),
        }
    }
}

#[test]
fn a_command_is_cheap_to_move() {
    assert!(size_of::<base_command::Command>() <= 256, "{} bytes", size_of::<base_command::Command>());
}
