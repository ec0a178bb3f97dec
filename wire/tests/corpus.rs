//! The fuzz targets' checks, over their corpus and over golden bytes with every single byte damaged in turn.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

#[allow(unreachable_pub, reason = "a library in its own workspace")]
#[path = "../fuzz/src/lib.rs"]
mod checks;

use std::path::Path;
use support::golden;

/// Values that each byte takes in turn: ends of ranges, sign bits, continuation bits of varints.
const DAMAGE: [u8; 7] = [0x00, 0x01, 0x02, 0x7f, 0x80, 0xfe, 0xff];

/// Runs a check over every file of its target's corpus.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files = 0;
    for file in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        check(&std::fs::read(file.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

/// Nothing may panic (wire I1). Runs a check over the bytes, over each beginning of them, and with each byte damaged.
fn damage(bytes: &[u8], check: fn(&[u8])) {
    for end in 0..=bytes.len() {
        check(&bytes[..end]);
    }
    let mut damaged = bytes.to_vec();
    for place in 0..bytes.len() {
        for value in DAMAGE {
            damaged[place] = value;
            check(&damaged);
        }
        damaged[place] = bytes[place];
    }
}

/// Golden frames as input of a target whose first byte is the length of its chunks.
fn stream(bytes: &[u8]) -> Vec<u8> {
    [&[2], bytes].concat()
}

#[test]
fn the_corpus_of_every_target_passes_its_checks() {
    replay("frame_splitter", checks::frame_splitter);
    replay("base_command", checks::base_command);
    replay("payload_view", checks::payload_view);
    replay("region_frames", checks::region_frames);
    replay("bookie_frames", checks::bookie_frames);
}

#[test]
fn damaged_commands_never_break_the_decoder() {
    for (_, bytes) in golden(include_str!("../conformance/commands.txt")) {
        damage(&bytes, checks::base_command);
    }
}

#[test]
fn damaged_frames_and_bodies_never_break_their_readers() {
    for (name, bytes) in golden(include_str!("../conformance/frames.txt")) {
        if name.starts_with("body") {
            damage(&bytes, checks::payload_view);
        } else {
            damage(&stream(&bytes), checks::frame_splitter);
        }
    }
    for (_, metadata) in golden(include_str!("../conformance/metadata.txt")) {
        let length = u32::try_from(metadata.len()).unwrap().to_be_bytes();
        damage(&[&length, &metadata[..]].concat(), checks::payload_view);
    }
}

#[test]
fn damaged_peer_frames_never_break_their_readers() {
    const BEFORE_KIND: usize = 9;
    for (_, frame) in golden(include_str!("../conformance/region.txt")) {
        damage(&stream(&frame), checks::region_frames);
        damage(&stream(&frame[BEFORE_KIND..]), checks::region_frames);
    }
    for (_, frame) in golden(include_str!("../conformance/bookie.txt")) {
        damage(&frame[4..], checks::bookie_frames);
        damage(&frame[BEFORE_KIND..], checks::bookie_frames);
    }
}
