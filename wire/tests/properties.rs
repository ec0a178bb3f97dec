//! Properties of every codec: what goes in comes out, chunks change nothing, any bytes are survived, memory follows what
//! has arrived.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(unreachable_pub, reason = "a library in its own workspace")]
#[path = "../fuzz/src/lib.rs"]
mod checks;
mod strategies;

use bytes::{BufMut, Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use strategies::{body_bytes, metadata, region_frame, request, response, single_message, stored_head};
use wire::PeerFrameError;
use wire::bookie::{BookieFrameSplitter, decode_request, decode_response, encode_request, encode_response};
use wire::frame::{FrameError, FrameLimits, FrameSplitter, RawFrame, encode_send};
use wire::payload::{BatchBuilder, BatchView, PayloadHints, PayloadView, build_body};
use wire::pulsar::CommandSend;
use wire::region::{RegionFrameSplitter, encode};
use wire::stored::StoredHead;

/// Feeds a stream in chunks of the given lengths (over and over) and collects the frames.
fn split(stream: &[u8], chunks: &[usize], limits: FrameLimits) -> Result<Vec<RawFrame>, FrameError> {
    let mut splitter = FrameSplitter::new(limits);
    let mut buf = BytesMut::new();
    let mut frames = Vec::new();
    let mut rest = stream;
    for chunk in chunks.iter().cycle() {
        let (now, later) = rest.split_at((*chunk).min(rest.len()));
        buf.extend_from_slice(now);
        rest = later;
        while let Some(frame) = splitter.next(&mut buf)? {
            frames.push(frame);
        }
        if rest.is_empty() {
            break;
        }
    }
    assert!(buf.is_empty(), "every byte belongs to a frame");
    Ok(frames)
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_chunks(
        bodies in vec(body_bytes(), 0..20),
        chunks in vec(1usize..200, 1..10),
    ) {
        let mut stream = Vec::new();
        for (number, body) in (1u64..).zip(&bodies) {
            let send = CommandSend { producer_id: 1, sequence_id: number, ..CommandSend::default() };
            let mut pieces = Vec::new();
            encode_send(&send, body, &mut pieces);
            stream.extend_from_slice(&pieces.concat());
        }
        let frames = split(&stream, &chunks, FrameLimits::connected(1024)).unwrap();
        let whole = split(&stream, &[stream.len().max(1)], FrameLimits::connected(1024)).unwrap();
        prop_assert_eq!(&frames, &whole, "frame I2");
        let found: Vec<Bytes> = frames.into_iter().map(|frame| frame.payload.unwrap_or_default()).collect();
        prop_assert_eq!(found, bodies);
    }

    #[test]
    fn any_bytes_are_survived_by_every_decoder(data in vec(any::<u8>(), 0..300)) {
        checks::frame_splitter(&data);
        checks::base_command(&data);
        checks::payload_view(&data);
        checks::region_frames(&data);
        checks::bookie_frames(&data);
        if let Ok(head) = StoredHead::decode(&data) {
            let mut out = BytesMut::new();
            head.encode(&mut out);
            prop_assert_eq!(&out, &data, "a stored head has one form");
        }
    }

    #[test]
    fn a_declared_size_reserves_no_more_than_what_arrived_and_a_step(
        size in 1024u32..=64 << 20,
        arrived in 0usize..300_000,
    ) {
        let limits = FrameLimits { frame_max: 64 << 20, command_max: 64 << 20 };
        let arrived = arrived.min(usize::try_from(size).unwrap() - 8);
        let mut buf = BytesMut::new();
        buf.put_u32(size);
        buf.put_u32(4);
        for chunk in vec![0u8; arrived].chunks(4096) {
            buf.extend_from_slice(chunk);
            prop_assert_eq!(FrameSplitter::new(limits).next(&mut buf), Ok(None));
            prop_assert_eq!(RegionFrameSplitter::new(size).next(&mut buf), Ok(None));
            prop_assert_eq!(BookieFrameSplitter::new(size).next(&mut buf), Ok(None));
            prop_assert!(buf.capacity() <= 4 * buf.len() + 512 * 1024, "wire I2: {} bytes", buf.capacity());
        }
    }

    #[test]
    fn sizes_above_a_limit_are_refused_before_their_bytes_arrive(frame in 17u32.., command in 9u32..) {
        let limits = FrameLimits { frame_max: 16, command_max: 8 };
        let mut too_large = BytesMut::from(&frame.to_be_bytes()[..]);
        let refused = FrameSplitter::new(limits).next(&mut too_large);
        prop_assert_eq!(refused, Err(FrameError::FrameTooLarge { size: frame, max: 16 }), "frame I1");
        let mut wide = BytesMut::from(&16u32.to_be_bytes()[..]);
        wide.put_u32(command);
        let refused = FrameSplitter::new(limits).next(&mut wide);
        prop_assert!(refused.is_err(), "frame I1: a command of {} bytes", command);
        let refused = RegionFrameSplitter::new(16).next(&mut too_large);
        prop_assert_eq!(refused, Err(PeerFrameError::FrameTooLarge { size: frame, max: 16 }));
    }

    #[test]
    fn bodies_and_hints_agree_with_what_was_built(metadata in metadata(), payload in body_bytes()) {
        let body = build_body(&metadata, &payload);
        let view = PayloadView::parse(&body).unwrap();
        prop_assert_eq!((&view.metadata, &view.payload, view.had_checksum), (&metadata, &payload, true));
        checks::compare(&PayloadHints::scan(&body).unwrap(), &metadata, &payload);
    }

    #[test]
    fn a_damaged_body_is_noticed(metadata in metadata(), payload in body_bytes(), place in any::<usize>(), bit in 0u8..8) {
        let body = build_body(&metadata, &payload);
        let mut damaged = body.to_vec();
        // The magic itself is not covered: without it the body claims to have no checksum.
        let place = 2 + place % (damaged.len() - 2);
        damaged[place] ^= 1u8 << bit;
        prop_assert!(PayloadView::parse(&damaged.into()).is_err());
    }

    #[test]
    fn batches_come_out_as_they_went_in(messages in vec(single_message(), 1..30)) {
        let mut batch = BatchBuilder::default();
        for (metadata, payload) in &messages {
            batch.push(metadata.clone(), payload);
        }
        let count = batch.messages();
        let batch = batch.finish();
        let found: Vec<_> = BatchView::new(batch.clone(), count)
            .map(|message| message.map(|message| (message.metadata, message.payload)))
            .collect::<Result<_, _>>()
            .unwrap();
        prop_assert_eq!(found, messages);
        let short = BatchView::new(batch.clone(), count + 1).last();
        prop_assert!(short.unwrap().is_err(), "a batch with fewer messages than declared");
        let long = BatchView::new(batch, count - 1).last();
        prop_assert!(long.unwrap().is_err(), "a batch with more messages than declared");
    }

    #[test]
    fn stored_heads_come_out_as_they_went_in(head in stored_head()) {
        let mut out = BytesMut::new();
        head.encode(&mut out);
        prop_assert_eq!(StoredHead::decode(&out), Ok(head), "wire I3");
    }

    #[test]
    fn region_frames_come_out_as_they_went_in(frames in vec(region_frame(), 1..10), chunk in 1usize..100) {
        let mut pieces = Vec::new();
        for frame in &frames {
            encode(frame, &mut pieces);
        }
        let mut splitter = RegionFrameSplitter::new(1 << 20);
        let mut buf = BytesMut::new();
        let mut found = Vec::new();
        for chunk in pieces.concat().chunks(chunk) {
            buf.extend_from_slice(chunk);
            while let Some(frame) = splitter.next(&mut buf).unwrap() {
                found.push(frame);
            }
        }
        prop_assert_eq!(found, frames, "wire I3");
    }

    #[test]
    fn a_damaged_region_frame_is_noticed(frame in region_frame(), place in any::<usize>(), bit in 0u8..8) {
        let mut pieces = Vec::new();
        encode(&frame, &mut pieces);
        let mut damaged = pieces.concat();
        let place = 4 + place % (damaged.len() - 4);
        damaged[place] ^= 1u8 << bit;
        let result = RegionFrameSplitter::new(1 << 20).next(&mut BytesMut::from(&damaged[..]));
        prop_assert!(result.is_err(), "peer I1: {:?}", result);
    }

    #[test]
    fn bookie_frames_come_out_as_they_went_in(request in request(), response in response()) {
        let mut pieces = Vec::new();
        encode_request(&request, &mut pieces);
        encode_response(&response, &mut pieces);
        let mut buf = BytesMut::from(&pieces.concat()[..]);
        let mut splitter = BookieFrameSplitter::new(1 << 20);
        prop_assert_eq!(decode_request(&splitter.next(&mut buf).unwrap().unwrap()), Ok(request), "wire I3");
        prop_assert_eq!(decode_response(&splitter.next(&mut buf).unwrap().unwrap()), Ok(response), "wire I3");
        prop_assert!(buf.is_empty());
    }
}
