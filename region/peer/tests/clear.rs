//! Frames in clear: only where both nodes say so, and only frames.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod node;

use base::NodeId;
use bytes::Bytes;
use node::{Echo, Node, PATIENCE, Region, Relay, limits};
use peer::{FrameKind, Hello, Sent};
use std::sync::Arc;

const FRAME: &[u8] = b"what a bookie is to keep";
const CALL: &[u8] = b"what the metadata is to know";

/// A node that dials another one through a relay which writes down what comes by.
async fn tapped(encrypted: [bool; 2]) -> (Region, Node, Node, Relay) {
    let mut region = Region::new("eu");
    region.encrypt_bulk = encrypted[0];
    let mut a = region.start(1);
    region.encrypt_bulk = encrypted[1];
    let b = region.start(2);
    let relay = Relay::to(b.address()).await;
    a.dial(&[(2, relay.address)]);
    a.until_up(2).await;
    (region, a, b, relay)
}

fn has_seen(relay: &Relay, words: &[u8]) -> bool {
    relay.seen.lock().unwrap().windows(words.len()).any(|seen| seen == words)
}

/// Frames of all sizes, each with the marker somewhere in it.
async fn exchange(a: &Node, b: &mut Node) {
    let sizes = [0, 1, 1024, 8191, 16_384, 32_768, 131_072, 1_000_000];
    let frame = |number: usize| {
        let filler = Bytes::from(vec![number as u8; sizes[number % sizes.len()]]);
        vec![Bytes::from(number.to_be_bytes().to_vec()), filler.clone(), Bytes::from_static(FRAME), filler]
    };
    for number in 0..100 {
        assert_eq!(a.endpoint.send(NodeId(2), FrameKind::BookieRequest, frame(number)), Sent::Queued);
    }
    assert_eq!(a.endpoint.call(NodeId(2), Bytes::from_static(CALL), PATIENCE).await.unwrap(), CALL);
    for number in 0..100 {
        let (from, kind, bytes) = b.until_frame().await;
        assert_eq!((from, kind), (NodeId(1), FrameKind::BookieRequest));
        assert_eq!(bytes, frame(number).concat(), "frame {number}");
    }
}

#[tokio::test]
async fn frames_travel_in_clear_only_where_both_nodes_say_so_and_calls_never() {
    for encrypted in [[true, true], [true, false], [false, true], [false, false]] {
        let (_region, a, mut b, relay) = tapped(encrypted).await;
        exchange(&a, &mut b).await;
        assert_eq!(has_seen(&relay, FRAME), encrypted == [false, false], "{encrypted:?}");
        assert!(!has_seen(&relay, CALL), "{encrypted:?}");
    }
}

#[tokio::test]
async fn a_node_in_clear_that_starts_again_is_connected_again() {
    let (region, mut a, b, relay) = tapped([false, false]).await;
    drop((b, relay));
    a.until_down(2).await;
    let hello = Hello { incarnation: 2, ..region.hello(2) };
    let mut b = region.start_with(hello.clone(), "127.0.0.1:0".parse().unwrap(), limits(), Arc::new(Echo));
    let relay = Relay::to(b.address()).await;
    a.dial(&[(2, relay.address)]);
    assert_eq!(a.until_up(2).await, hello);
    exchange(&a, &mut b).await;
    assert!(has_seen(&relay, FRAME));
}

#[tokio::test]
async fn a_node_in_clear_needs_the_certificates_of_the_region_all_the_same() {
    let (mut own, mut foreign) = (Region::new("eu"), Region::new("eu"));
    (own.encrypt_bulk, foreign.encrypt_bulk) = (false, false);
    let (mut a, b) = (own.start(1), foreign.start(2));
    a.dial(&[(2, b.address())]);
    let (reason, _) = a.until_down(2).await;
    assert!(reason.contains("comes from another authority than that of region eu"), "{reason}");
}
