//! Order and bounds.

mod region;

use base::Position;
use quic::{QuicEvent, QuicLimits, SendRefusal, Sent};
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

/// Takes frames without letting go of their permits, until there are no more for now; gives back what it holds.
async fn hold_frames(running: &mut region::Running, bound: u64) -> Vec<QuicEvent> {
    let (mut held, mut bytes) = (Vec::new(), 0);
    while bytes + 1_200 <= bound {
        let event = running.next().await;
        if let QuicEvent::Frame { .. } = event {
            bytes += 1_132;
            held.push(event);
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_takes_nothing_stops_the_sender_within_bounds_and_answers_still_pass() {
    let small = QuicLimits {
        queue_bytes_max: 100_000,
        inbound_bytes_max: 50_000,
        stream_window_bytes: 40_000,
        connection_window_bytes: 60_000,
        send_window_bytes: 50_000,
        ..limits()
    };
    let (_a, mut ra, b, mut rb) = connected(small).await;
    let (mut sent, mut full) = (0, false);
    loop {
        match ra.endpoint.send(&b.name, 3, entry(1, sent, 1_000)) {
            Ok(Sent::Room) => (),
            Ok(Sent::Full) => full = true,
            Err(refused) => {
                assert_eq!(refused.refusal, SendRefusal::Overflow);
                if full && ra.endpoint.status()[0].queued_bytes >= 200_000 {
                    break;
                }
                tokio::task::yield_now().await;
                continue;
            }
        }
        sent += 1;
    }
    let mut held = hold_frames(&mut rb, 50_000).await;
    assert!(ra.endpoint.status()[0].queued_bytes <= 201_200, "{:?}", ra.endpoint.status());
    // All bulk data stands still; an acknowledgement goes through.
    let ack = RegionFrame::Ack { link: 1, position: Position::EARLIEST, credit_bytes: 1 };
    let answered = loop {
        match ra.endpoint.send(&b.name, 3, ack.clone()) {
            Ok(_) => break true,
            Err(_) if held.is_empty() => break false,
            Err(_) => {
                // The queue itself was full to the brim: let one entry go.
                drop(held.remove(0));
                held.push(rb.next().await);
            }
        }
    };
    assert!(answered);
    let mut next = held.len() as i64;
    let mut got_ack = false;
    held.clear();
    let mut seen = 0;
    while next + seen < sent || !got_ack {
        match rb.until_frame().await {
            RegionFrame::Entry { .. } => seen += 1,
            frame => {
                assert_eq!(frame, ack);
                got_ack = true;
            }
        }
        if next + seen > sent {
            next -= 1;
        }
    }
    ra.until(|event| matches!(event, QuicEvent::Writable { .. }).then_some(())).await;
    assert_eq!(ra.endpoint.send(&b.name, 3, entry(1, sent, 1_000)), Ok(Sent::Room));
}
