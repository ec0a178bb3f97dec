//! Frames that the owner's thread reads and writes itself.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod node;

use base::NodeId;
use bytes::Bytes;
use node::{Echo, Node, PATIENCE, Region, limits};
use peer::{FrameKind, Near, PeerConfig, PeerEndpoint, PeerEvent, PeerLimits, Sent};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

const KIND: FrameKind = FrameKind::BookieRequest;

/// On which threads frames came, in order.
type Threads = Arc<Mutex<Vec<String>>>;

/// Node 1, node 2 that is observed, and a way from 1 to 2.
async fn observed_pair(region: &Region) -> (Node, Node, Threads) {
    let threads = Threads::default();
    let (tx, events) = mpsc::channel(100_000);
    let observer = Arc::clone(&threads);
    let take = move |event| {
        if matches!(event, PeerEvent::Frame { .. }) {
            observer.lock().unwrap().push(std::thread::current().name().unwrap_or_default().to_owned());
        }
        drop(tx.try_send(event));
    };
    let config = PeerConfig {
        bind: "127.0.0.1:0".parse().unwrap(),
        region: region.name.clone(),
        identity: region.identity.clone(),
        encrypt_bulk: region.encrypt_bulk,
        limits: limits(),
        hello: region.hello(2),
    };
    let b = Node { endpoint: PeerEndpoint::open(config, Arc::new(Echo), take).unwrap(), events };
    let mut a = region.start(1);
    a.dial(&[(2, b.address())]);
    a.until_up(2).await;
    (a, b, threads)
}

/// An owner's thread that does nothing but read.
struct Owner {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    busy: Arc<AtomicBool>,
}

impl Owner {
    const NAME: &str = "owner";

    fn of(node: &Node) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let busy = Arc::new(AtomicBool::new(false));
        let look = Arc::clone(&busy);
        node.endpoint.set_near(Near::new(runtime.handle().clone(), move || look.load(Ordering::Relaxed)));
        let (end, ended) = oneshot::channel::<()>();
        let run = move || runtime.block_on(async { drop(ended.await) });
        let thread = std::thread::Builder::new().name(Self::NAME.to_owned()).spawn(run).unwrap();
        Self { end: Some(end), thread: Some(thread), busy }
    }

    fn end(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.end();
    }
}

fn frame(number: usize, bytes: usize) -> Vec<Bytes> {
    vec![Bytes::from(number.to_be_bytes().to_vec()), Bytes::from(vec![number as u8; bytes])]
}

async fn expect(b: &mut Node, numbers: std::ops::Range<usize>, bytes: usize) {
    for number in numbers {
        let (from, _, body) = b.until_frame().await;
        assert_eq!((from, body), (NodeId(1), Bytes::from(frame(number, bytes).concat())), "frame {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_keep_their_order_while_a_connection_goes_to_the_owners_thread_and_back() {
    for encrypt_bulk in [true, false] {
        let mut region = Region::new("eu");
        region.encrypt_bulk = encrypt_bulk;
        let (a, mut b, threads) = observed_pair(&region).await;
        let owner = Owner::of(&b);
        let mut next = 0;
        let mut read_near = Vec::new();
        // Small and few, large, small again, and small while the owner is busy.
        for (bytes, count, busy) in [(100, 200, false), (200_000, 40, false), (100, 300, false), (100, 200, true)] {
            owner.busy.store(busy, Ordering::Relaxed);
            for number in next..next + count {
                assert_eq!(a.endpoint.queue(NodeId(2), KIND, frame(number, bytes)), Sent::Queued);
                a.endpoint.flush(NodeId(2), number % 3 > 0);
            }
            expect(&mut b, next..next + count, bytes).await;
            next += count;
            read_near.push(threads.lock().unwrap().last().unwrap() == Owner::NAME);
        }
        assert_eq!(read_near, [true, false, true, false], "the last frame of each phase (encrypted: {encrypt_bulk})");
    }
}

#[tokio::test]
async fn a_few_small_frames_are_written_by_whoever_queued_them_and_many_bytes_are_not() {
    let (a, mut b) = Region::new("eu").pair().await;
    let queued = |a: &Node| a.endpoint.status()[0].queued_bytes;
    let mut next = 0;
    // Only this thread runs tasks: what has left before the next await was written by the flush. It writes as soon as the
    // writer, which has other things to do when a connection is new, has come to rest.
    let written_here = async {
        loop {
            assert_eq!(a.endpoint.queue(NodeId(2), KIND, frame(next, 100)), Sent::Queued);
            let before = queued(&a);
            a.endpoint.flush(NodeId(2), true);
            next += 1;
            if before > 0 && queued(&a) == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, written_here).await.unwrap();
    expect(&mut b, 0..next, 100).await;
    assert_eq!(a.endpoint.queue(NodeId(2), KIND, frame(next, 100_000)), Sent::Queued);
    a.endpoint.flush(NodeId(2), true);
    assert!(queued(&a) > 100_000, "that is the writer's");
    expect(&mut b, next..next + 1, 100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_socket_takes_only_in_part_arrives_whole_and_in_order() {
    for encrypt_bulk in [true, false] {
        let mut region = Region::new("eu");
        region.encrypt_bulk = encrypt_bulk;
        let few =
            PeerLimits { queue_bytes_max: 2 << 20, inbound_bytes_max: 2 << 20, frame_bytes_max: 1 << 20, ..limits() };
        let start = |node| region.start_with(region.hello(node), "127.0.0.1:0".parse().unwrap(), few, Arc::new(Echo));
        let (mut a, mut b) = (start(1), start(2));
        a.dial(&[(2, b.address())]);
        a.until_up(2).await;
        // The receiver keeps every permit, so it stops reading: the socket fills, then the queue.
        let (mut held, mut sent) = (Vec::new(), 0);
        while a.endpoint.queue(NodeId(2), KIND, frame(sent, 8_000)) == Sent::Queued {
            a.endpoint.flush(NodeId(2), true);
            sent += 1;
            while let Ok(event) = b.events.try_recv() {
                held.extend(matches!(event, PeerEvent::Frame { .. }).then_some(event));
            }
        }
        let mut next_expected = 0;
        for (number, event) in held.drain(..).enumerate() {
            let PeerEvent::Frame { bytes, .. } = event else { unreachable!("only frames are held") };
            assert_eq!(bytes, frame(number, 8_000).concat(), "frame {number}");
            next_expected = number + 1;
        }
        expect(&mut b, next_expected..sent, 8_000).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_with_the_owners_thread_is_opened_again_and_read_elsewhere() {
    let region = Region::new("eu");
    let (mut a, mut b, threads) = observed_pair(&region).await;
    let mut owner = Owner::of(&b);
    let is_there = || threads.lock().unwrap().last().is_some_and(|thread| thread == Owner::NAME);
    let mut next = 0;
    while !is_there() {
        a.endpoint.send(NodeId(2), KIND, frame(next, 100));
        expect(&mut b, next..next + 1, 100).await;
        next += 1;
    }
    owner.end();
    a.until_down(2).await;
    a.until_up(2).await;
    for number in next..next + 100 {
        a.endpoint.send(NodeId(2), KIND, frame(number, 100));
    }
    expect(&mut b, next..next + 100, 100).await;
    assert!(!is_there());
}
