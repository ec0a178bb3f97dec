//! Order and bounds.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod region;

use base::Position;
use quic::{QuicEvent, QuicLimits, Sent};
use region::{connected, entry, limits};
use std::collections::BTreeMap;
use wire::region::RegionFrame;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_of_each_group_arrive_in_order_in_both_directions() {
    const GROUPS: u64 = 50;
    const EACH: i64 = 200;
    let (a, mut ra, b, mut rb) = connected(limits()).await;
    for number in 0..EACH {
        for group in 0..GROUPS {
            let bytes = (group as usize * 37 + number as usize) % 3_000;
            ra.endpoint.send(&b.name, group, entry(group, number, bytes)).unwrap();
            rb.endpoint.send(&a.name, group, entry(group, number, bytes)).unwrap();
        }
    }
    for running in [&mut ra, &mut rb] {
        let mut next: BTreeMap<u64, i64> = BTreeMap::new();
        for _ in 0..GROUPS * EACH as u64 {
            let RegionFrame::Entry { link, position, data, .. } = running.until_frame().await else {
                panic!("only entries were sent");
            };
            let expected = next.entry(link).or_default();
            assert_eq!(position.entry.0, *expected, "group {link}");
            assert!(data.body.iter().all(|b| *b == *expected as u8));
            *expected += 1;
        }
    }
}

/// What one of this test's entries takes from a bound.
const COST: u64 = 1_004 + 128;

fn small_bounds() -> QuicLimits {
    QuicLimits {
        queue_bytes_max: 100_000,
        inbound_bytes_max: 50_000,
        stream_window_bytes: 40_000,
        connection_window_bytes: 60_000,
        send_window_bytes: 50_000,
        ..limits()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_lets_nothing_go_stops_the_sender_and_answers_still_pass() {
    let (_a, mut ra, b, mut rb) = connected(small_bounds()).await;
    // Everything that queues, windows and buffers can hold is far below this.
    let sent_max = 600;
    let (mut sent, mut full) = (0, false);
    // The receiver takes as many frames as its bound allows and keeps them: then no bulk frame can be handed out any more,
    // and the sender is told to stop.
    let mut held = Vec::new();
    let mut is_stuck = false;
    while !is_stuck {
        if !full {
            full = push(&ra, &b.name, &mut sent);
        }
        while let Ok(event) = ra.events.try_recv() {
            full &= !matches!(event, QuicEvent::Writable { .. });
        }
        while let Ok(event) = rb.events.try_recv() {
            held.push(event);
        }
        is_stuck = full && (held.len() as u64 + 1) * COST > 50_000;
        tokio::task::yield_now().await;
    }
    assert!(sent < sent_max, "{sent} frames were taken");
    let ack = RegionFrame::Ack { link: 1, position: Position::EARLIEST, credit_bytes: 1 };
    ra.endpoint.send(&b.name, 3, ack.clone()).unwrap();
    assert_eq!(rb.until_frame().await, ack, "an answer waits for no bulk frame");
    // Once the owner lets go, everything arrives and the sender is told.
    let taken = held.len() as i64;
    held.clear();
    for number in taken..sent {
        assert_eq!(rb.until_frame().await, entry(1, number, 1_000));
    }
    ra.until(|event| matches!(event, QuicEvent::Writable { .. }).then_some(())).await;
    assert_eq!(ra.endpoint.send(&b.name, 3, entry(1, sent, 1_000)), Ok(Sent::Room));
}

/// Sends the next entry; answers whether the queue is full.
fn push(from: &region::Running, to: &base::RegionName, sent: &mut i64) -> bool {
    let outcome = from.endpoint.send(to, 3, entry(1, *sent, 1_000)).unwrap();
    *sent += 1;
    outcome == Sent::Full
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_larger_than_the_inbound_bound_passes_alone() {
    let (_a, ra, b, mut rb) = connected(small_bounds()).await;
    ra.endpoint.send(&b.name, 3, entry(1, 0, 300_000)).unwrap();
    assert_eq!(rb.until_frame().await, entry(1, 0, 300_000));
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_the_connection_with_the_reason() {
    let (_a, mut ra, b, mut rb) = connected(QuicLimits { frame_bytes_max: 10_000, ..limits() }).await;
    ra.endpoint.send(&b.name, 3, entry(1, 0, 20_000)).unwrap();
    let reason = rb.until_down().await;
    assert!(reason.contains("more than the 10000 allowed"), "{reason}");
    assert!(ra.until_down().await.contains("more than the 10000 allowed"));
    ra.until_up().await;
}
