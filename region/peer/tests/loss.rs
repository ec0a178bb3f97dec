//! Nodes that go, fall silent and come back.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod node;

use base::NodeId;
use bytes::Bytes;
use node::{Echo, PATIENCE, Region, Relay, limits};
use peer::{Answer, Answerer, CallError, FrameKind, Hello, PeerLimits, Sent};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn a_node_that_is_gone_is_reported_as_refused_long_before_silence_would_tell() {
    let (mut a, b) = Region::new("eu").pair().await;
    let began = Instant::now();
    drop(b);
    let (reason, mut refused) = a.until_down(2).await;
    if !refused {
        // The system may have ended the connection in order; the next attempt is refused.
        (_, refused) = a.until_down(2).await;
    }
    assert!(refused, "{reason}");
    assert!(began.elapsed() < limits().silence_max);
    assert_eq!(a.endpoint.send(NodeId(2), FrameKind::BookieRequest, Bytes::new()), Sent::Down);
    assert_eq!(a.endpoint.call(NodeId(2), Bytes::new(), PATIENCE).await, Err(CallError::Down));
    assert!(a.endpoint.status()[0].reason.is_some());
}

#[tokio::test]
async fn a_node_that_never_was_there_is_reported_once_as_refused() {
    let region = Region::new("eu");
    let mut a = region.start(1);
    a.dial(&[(2, node::nobody())]);
    let (reason, refused) = a.until_down(2).await;
    assert!(refused && reason.contains("is the node running?"), "{reason}");
}

#[tokio::test]
async fn a_node_that_starts_again_on_its_port_is_connected_again() {
    let region = Region::new("eu");
    let (mut a, mut b) = region.pair().await;
    let at = b.address();
    for incarnation in 2..5 {
        drop(b);
        a.until_down(2).await;
        let hello = Hello { incarnation, ..region.hello(2) };
        b = region.start_with(hello.clone(), at, limits(), Arc::new(Echo));
        assert_eq!(a.until_up(2).await, hello);
        b.dial(&[(1, a.address())]);
        b.until_up(1).await;
        assert_eq!(b.endpoint.send(NodeId(1), FrameKind::BookieResponse, Bytes::from_static(b"back")), Sent::Queued);
        assert_eq!(a.until_frame().await, (NodeId(2), FrameKind::BookieResponse, Bytes::from_static(b"back")));
    }
}

#[tokio::test]
async fn a_silent_node_is_reported_after_silence_max_and_taken_back_when_it_speaks() {
    let region = Region::new("eu");
    let silence = Duration::from_secs(1);
    let quick = PeerLimits { silence_max: silence, handshake_timeout: silence, ..limits() };
    let bind = "127.0.0.1:0".parse().unwrap();
    let mut a = region.start_with(region.hello(1), bind, quick, Arc::new(Echo));
    let b = region.start(2);
    let relay = Relay::to(b.address()).await;
    a.dial(&[(2, relay.address)]);
    a.until_up(2).await;
    relay.stall(true);
    let began = Instant::now();
    let (reason, refused) = a.until_down(2).await;
    assert!(!refused && reason.contains("node 2 was silent for 1s"), "{reason}");
    // The last pong may have come up to two pings before the stall.
    assert!(began.elapsed() > silence / 2, "{:?}", began.elapsed());
    relay.stall(false);
    a.until_up(2).await;
}

#[tokio::test]
async fn a_node_with_another_address_is_dialled_there_at_once() {
    let region = Region::new("eu");
    let (mut a, b) = region.pair().await;
    let moved = region.start_with(
        Hello { incarnation: 2, ..region.hello(2) },
        "127.0.0.1:0".parse().unwrap(),
        limits(),
        Arc::new(Echo),
    );
    a.dial(&[(2, moved.address())]);
    let (reason, refused) = a.until_down(2).await;
    assert!(!refused && reason.contains("its address changed"), "{reason}");
    assert_eq!(a.until_up(2).await.incarnation, 2);
    drop(b);
}

#[tokio::test]
async fn a_node_that_left_the_region_is_given_up() {
    let (mut a, _b) = Region::new("eu").pair().await;
    a.dial(&[]);
    let (reason, refused) = a.until_down(2).await;
    assert!(!refused && reason.contains("no longer of this region"), "{reason}");
    assert_eq!(a.endpoint.status(), []);
    assert_eq!(a.endpoint.send(NodeId(2), FrameKind::Cluster, Bytes::new()), Sent::Down);
}

/// Never answers.
struct Mute;

impl Answerer for Mute {
    fn answer(&self, _from: Option<NodeId>, _bytes: Bytes) -> Answer<'_> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn calls_under_way_end_with_the_connection() {
    let region = Region::new("eu");
    let mut a = region.start(1);
    let b = region.start_with(region.hello(2), "127.0.0.1:0".parse().unwrap(), limits(), Arc::new(Mute));
    a.dial(&[(2, b.address())]);
    a.until_up(2).await;
    let call = a.endpoint.call(NodeId(2), Bytes::from_static(b"x"), PATIENCE);
    let gone = async {
        // The call has been sent when a later one has timed out.
        let brief = Duration::from_millis(100);
        let timed_out = a.endpoint.call(NodeId(2), Bytes::from_static(b"y"), brief).await;
        assert_eq!(timed_out, Err(CallError::Timeout(brief)));
        drop(b);
    };
    let (answer, ()) = tokio::join!(call, gone);
    assert_eq!(answer, Err(CallError::Lost));
}
