//! Calls and frames between nodes that trust each other.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod node;

use base::NodeId;
use bytes::Bytes;
use node::{Echo, PATIENCE, Region, limits};
use peer::{Answer, Answerer, CallError, FrameKind, Hello, PeerEvent, PeerLimits, Sent};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_call_is_answered_and_the_answerer_knows_who_asks() {
    let (a, b) = Region::new("eu").pair().await;
    for size in [0, 1, 100_000, 5 << 20] {
        let question = Bytes::from(vec![7; size]);
        assert_eq!(a.endpoint.call(NodeId(2), question.clone(), PATIENCE).await, Ok(question));
    }
    assert_eq!(b.endpoint.call(NodeId(1), Bytes::from_static(b"who"), PATIENCE).await.unwrap(), "Some(NodeId(2))");
    let refused = a.endpoint.call(NodeId(2), Bytes::from_static(b"fail"), PATIENCE).await;
    assert_eq!(refused, Err(CallError::Failed("this node does not want to".to_owned())));
    assert_eq!(a.endpoint.call(NodeId(9), Bytes::new(), PATIENCE).await, Err(CallError::Down));
    let large = Bytes::from(vec![0; (16 << 20) + 1]);
    assert!(matches!(a.endpoint.call(NodeId(2), large, PATIENCE).await, Err(CallError::TooLarge { .. })));
}

#[tokio::test]
async fn a_node_without_a_number_may_ask_an_address_and_is_dialled_once_it_has_joined() {
    let region = Region::new("eu");
    let mut member = region.start(1);
    let newcomer = Hello { node: None, ..region.hello(0) };
    let mut joining = region.start_with(newcomer, "127.0.0.1:0".parse().unwrap(), limits(), Arc::new(Echo));
    let at = member.address().to_string();
    let asked = joining.endpoint.call_address(&at, Bytes::from_static(b"who"), PATIENCE).await;
    assert_eq!(asked, Ok((region.hello(1), Bytes::from_static(b"None"))));
    joining.dial(&[(1, member.address())]);
    assert_eq!(joining.endpoint.send(NodeId(1), FrameKind::Cluster, Bytes::new()), Sent::Down);
    joining.endpoint.set_hello(region.hello(2));
    joining.until_up(1).await;
    member.dial(&[(2, joining.address())]);
    assert_eq!(member.until_up(2).await, region.hello(2));
}

#[tokio::test]
async fn a_node_that_knows_nobody_knows_where_those_are_who_dialled_it() {
    let region = Region::new("eu");
    let (a, mut b) = (region.start(1), region.start(2));
    assert_eq!(a.endpoint.callers(), BTreeMap::new());
    b.dial(&[(1, a.address())]);
    b.until_up(1).await;
    assert_eq!(a.endpoint.callers(), BTreeMap::from([(NodeId(2), region.hello(2).address)]));
    assert_eq!(b.endpoint.callers(), BTreeMap::new(), "nobody has dialled it");
}

#[tokio::test]
async fn an_address_where_nobody_listens_refuses_the_call() {
    let region = Region::new("eu");
    let a = region.start(1);
    let at = node::nobody().to_string();
    let asked = a.endpoint.call_address(&at, Bytes::new(), PATIENCE).await.unwrap_err();
    assert!(matches!(asked, CallError::Unreachable { refused: true, .. }), "{asked:?}");
}

#[tokio::test]
async fn frames_of_a_kind_arrive_whole_and_in_order_with_who_sent_them() {
    let (a, mut b) = Region::new("eu").pair().await;
    let kinds = [FrameKind::BookieRequest, FrameKind::BookieResponse, FrameKind::Cluster];
    // Sizes around those of records, of small frames and of buffers.
    let sizes = [0, 1, 1024, 1025, 8191, 8192, 16_384, 32_768, 65_536, 131_072, 300_000];
    let count = 330;
    let body = |number: usize| Bytes::from(vec![number as u8; sizes[number % sizes.len()]]);
    let numbered = |number: usize| vec![Bytes::from(number.to_be_bytes().to_vec()), body(number), body(number)];
    for number in 0..count {
        assert_eq!(a.endpoint.send(NodeId(2), kinds[number % 3], numbered(number)), Sent::Queued);
    }
    let mut next = [0, 1, 2];
    for _ in 0..count {
        let (from, kind, bytes) = b.until_frame().await;
        assert_eq!(from, NodeId(1));
        let lane = kinds.iter().position(|k| *k == kind).unwrap();
        let number = next[lane];
        next[lane] += 3;
        assert_eq!(bytes, numbered(number).concat(), "frame {number}");
    }
    let sent = a.endpoint.status()[0].sent_bytes;
    assert!(sent > 0 && b.endpoint.status()[0].received_bytes >= sent / 2);
}

#[tokio::test]
async fn a_frame_above_the_bound_is_not_taken() {
    let (a, _b) = Region::new("eu").pair().await;
    let large = Bytes::from(vec![0; (16 << 20) + 1]);
    assert_eq!(a.endpoint.send(NodeId(2), FrameKind::BookieRequest, large), Sent::TooLarge);
}

#[tokio::test]
async fn a_node_is_heard_while_it_says_nothing() {
    let (mut a, _b) = Region::new("eu").pair().await;
    for _ in 0..3 {
        let heard = a.until(|event| matches!(event, PeerEvent::Heard { .. }).then_some(event)).await;
        assert!(matches!(heard, PeerEvent::Heard { node: NodeId(2) }));
    }
}

/// Answers nothing until told.
struct Waiting(Arc<Semaphore>);

impl Answerer for Waiting {
    fn answer(&self, _from: Option<NodeId>, bytes: Bytes) -> Answer<'_> {
        Box::pin(async move {
            self.0.acquire().await.map_err(|error| error.to_string())?.forget();
            Ok(bytes)
        })
    }
}

#[tokio::test]
async fn calls_are_bounded_on_both_sides_and_end_at_their_deadline() {
    let region = Region::new("eu");
    let go = Arc::new(Semaphore::new(0));
    let (few, bind) = (PeerLimits { calls_max: 3, answers_max: 2, ..limits() }, "127.0.0.1:0".parse().unwrap());
    let mut a = region.start_with(region.hello(1), bind, few, Arc::new(Echo));
    let b = region.start_with(region.hello(2), bind, few, Arc::new(Waiting(Arc::clone(&go))));
    a.dial(&[(2, b.address())]);
    a.until_up(2).await;
    let call = |timeout| a.endpoint.call(NodeId(2), Bytes::from_static(b"x"), timeout);
    let brief = Duration::from_millis(200);
    let (first, second, third, fourth) = tokio::join!(call(brief), call(PATIENCE), call(PATIENCE), async {
        let full = call(PATIENCE).await;
        go.add_permits(2);
        full
    });
    assert_eq!(fourth, Err(CallError::Full));
    assert!(matches!(first, Ok(_) | Err(CallError::Timeout(_))));
    assert_eq!(second, Ok(Bytes::from_static(b"x")));
    assert!(matches!(third, Err(CallError::Failed(reason)) if reason.contains("come again")));
}

#[tokio::test]
async fn bulk_that_nobody_takes_is_bounded_and_delays_neither_calls_nor_cluster_frames() {
    let region = Region::new("eu");
    let bind = "127.0.0.1:0".parse().unwrap();
    let small = PeerLimits {
        frame_bytes_max: 1 << 20,
        queue_bytes_max: 2 << 20,
        inbound_bytes_max: 2 << 20,
        control_inbound_bytes_max: 2 << 20,
        ..limits()
    };
    let mut a = region.start_with(region.hello(1), bind, small, Arc::new(Echo));
    let mut b = region.start_with(region.hello(2), bind, small, Arc::new(Echo));
    a.dial(&[(2, b.address())]);
    a.until_up(2).await;
    // The receiver keeps every permit, so it stops reading, and then the sender's queue fills.
    let mut held = Vec::new();
    let frame = Bytes::from(vec![1; 100_000]);
    let mut sent = 0_usize;
    let mut fulls = 0;
    while fulls < 20 {
        match a.endpoint.send(NodeId(2), FrameKind::BookieRequest, frame.clone()) {
            Sent::Queued => (sent, fulls) = (sent + 1, 0),
            Sent::Full => {
                // Bulk stands still: a call still comes through, and gives the rest time to move.
                let answer = a.endpoint.call(NodeId(2), Bytes::from_static(b"x"), PATIENCE).await;
                assert_eq!(answer, Ok(Bytes::from_static(b"x")));
                fulls += 1;
            }
            other => panic!("{other:?}"),
        }
        while let Ok(event) = b.events.try_recv() {
            held.extend(matches!(event, PeerEvent::Frame { .. }).then_some(event));
        }
    }
    assert!(held.len() <= 20, "{} frames of 100 kB were handed out against 2 MiB", held.len());
    let queued = a.endpoint.status()[0].queued_bytes;
    assert!(queued <= (2 << 20) + 100_100, "{queued} bytes queued");
    let before = held.len();
    drop(held);
    for _ in before..sent {
        assert_eq!(b.until_frame().await.2, frame);
    }
}

#[tokio::test]
async fn nodes_that_left_make_room_for_others() {
    let region = Region::new("eu");
    let two = PeerLimits { nodes_max: 2, ..limits() };
    let mut a = region.start_with(region.hello(1), "127.0.0.1:0".parse().unwrap(), two, Arc::new(Echo));
    let others: Vec<_> = (2..6).map(|number| region.start(number)).collect();
    for (number, other) in (2..6).zip(&others) {
        a.dial(&[(number, other.address())]);
        a.until_up(number).await;
        a.dial(&[]);
        a.until_down(number).await;
    }
}
