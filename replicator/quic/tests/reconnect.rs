//! A connection comes back by itself, and there is only ever one.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod region;

use quic::QuicEvent;
use region::{Region, Relay, connected, entry, limits};

#[tokio::test]
async fn the_connection_comes_back_after_the_peer_restarts() {
    let (a, mut ra, mut b, rb) = connected(limits()).await;
    let address = rb.address();
    rb.endpoint.close().await;
    assert!(ra.until_down().await.contains("region us closed"));
    let mut rb = b.start_at(address, limits());
    rb.endpoint.set_peers(vec![a.as_peer(None)]);
    ra.until_up().await;
    ra.endpoint.send(&b.name, 1, entry(1, 1, 10)).unwrap();
    assert_eq!(rb.until_frame().await, entry(1, 1, 10));
}

#[tokio::test]
async fn a_path_that_goes_silent_is_noticed_and_the_connection_comes_back_when_it_heals() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let (mut ra, mut rb) = (a.start(limits()), b.start(limits()));
    let relay = Relay::to(rb.address()).await;
    rb.endpoint.set_peers(vec![a.as_peer(None)]);
    ra.endpoint.set_peers(vec![b.as_peer(Some(relay.address))]);
    ra.until_up().await;
    rb.until_up().await;
    relay.set_open(false);
    assert!(ra.until_down().await.contains("does not answer"));
    assert!(rb.until_down().await.contains("does not answer"));
    relay.set_open(true);
    ra.until_up().await;
    rb.until_up().await;
    ra.endpoint.send(&b.name, 1, entry(1, 1, 10)).unwrap();
    assert_eq!(rb.until_frame().await, entry(1, 1, 10));
}

/// The peer dies without a word and comes back under another address; the old connection still looks alive here.
#[tokio::test]
async fn a_restarted_peer_that_dials_replaces_its_dead_connection_at_once() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let patient = quic::QuicLimits { idle_timeout: std::time::Duration::from_secs(60), ..limits() };
    let (mut ra, mut rb) = (a.start(patient), b.start(patient));
    let relay = Relay::to(ra.address()).await;
    ra.endpoint.set_peers(vec![b.as_peer(None)]);
    rb.endpoint.set_peers(vec![a.as_peer(Some(relay.address))]);
    ra.until_up().await;
    relay.set_open(false);
    drop(rb);
    rb = b.start(patient);
    rb.endpoint.set_peers(vec![a.as_peer(Some(ra.address()))]);
    assert!(ra.until_down().await.contains("replaces this one"));
    ra.until_up().await;
    rb.until_up().await;
}

#[tokio::test]
async fn regions_that_dial_each_other_settle_on_one_connection() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    for _ in 0..5 {
        let (mut ra, mut rb) = (a.start(limits()), b.start(limits()));
        ra.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
        rb.endpoint.set_peers(vec![a.as_peer(Some(ra.address()))]);
        // Whatever crossed, in the end a frame of each side's latest connection reaches the other.
        let (mut got_a, mut got_b, mut up_a, mut up_b) = (false, false, 0, 0);
        while !(got_a && got_b) {
            tokio::select! {
                event = ra.next() => settle(event, &ra, &b, &mut up_a, &mut got_a),
                event = rb.next() => settle(event, &rb, &a, &mut up_b, &mut got_b),
            }
        }
        assert_eq!((up_a, up_b), (1, 1));
        assert!(ra.endpoint.status()[0].connected && rb.endpoint.status()[0].connected);
    }
}

fn settle(event: QuicEvent, running: &region::Running, other: &Region, up: &mut i32, got: &mut bool) {
    match event {
        QuicEvent::Up { .. } => {
            *up += 1;
            running.endpoint.send(&other.name, 0, entry(1, 1, 1)).unwrap();
        }
        QuicEvent::Down { .. } => *up -= 1,
        QuicEvent::Frame { .. } => *got = true,
        QuicEvent::Writable { .. } | QuicEvent::Unreachable { .. } => (),
    }
}

#[tokio::test]
async fn a_peer_without_an_address_is_waited_for() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let (mut ra, rb) = (a.start(limits()), b.start(limits()));
    ra.endpoint.set_peers(vec![b.as_peer(None)]);
    rb.endpoint.set_peers(vec![a.as_peer(Some(ra.address()))]);
    ra.until_up().await;
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_unreachable_and_tried_again() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let quick = quic::QuicLimits { handshake_timeout: std::time::Duration::from_millis(500), ..limits() };
    let rb = b.start(quick);
    let address = rb.address();
    rb.endpoint.close().await;
    let mut ra = a.start(quick);
    ra.endpoint.set_peers(vec![b.as_peer(Some(address))]);
    assert!(ra.until_unreachable().await.contains("does not answer"));
    let rb = b.start_at(address, quick);
    rb.endpoint.set_peers(vec![a.as_peer(None)]);
    ra.until_up().await;
}
