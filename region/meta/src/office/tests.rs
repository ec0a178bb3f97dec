//! Three voters, some of whose logs have an end.

use crate::wal::FileOptions;
use crate::{
    Leadership, MetaHandle, MetaOptions, MetaStore, PeerError, PeerFuture, PeerRequest, PeerResponse, PeerTransport,
    Reached, Start, WatchClosed,
};
use base::NodeId;
use bytes::Bytes;
use meta_api::{MetaRequest, MetaResponse, Write};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

const SMALL: u64 = 512 << 10;
const LARGE: u64 = 64 << 20;
/// More than a small log holds.
const WRITES: u64 = 600;
const WRITERS: u64 = 24;
const MOVES: u32 = 3;

#[derive(Default)]
struct Board {
    nodes: Mutex<BTreeMap<NodeId, MetaHandle>>,
    /// Writes on their way to another node stay there while this is set.
    hold: watch::Sender<bool>,
    held: watch::Sender<usize>,
}

struct Plug(Arc<Board>);

impl PeerTransport for Plug {
    fn exchange(&self, to: NodeId, request: PeerRequest) -> PeerFuture<'_> {
        let node = self.0.nodes.lock().unwrap().get(&to).cloned();
        Box::pin(async move {
            let node = node.ok_or_else(|| PeerError::not_sent(to, "it is down"))?;
            if matches!(request, PeerRequest::Write(_)) && *self.0.hold.borrow() {
                self.0.held.send_modify(|held| *held += 1);
                self.0.hold.subscribe().wait_for(|hold| !hold).await.unwrap();
            }
            let response: PeerResponse = node.answer_peer(request).await?;
            Ok(response)
        })
    }
}

struct Region {
    dir: TempDir,
    board: Arc<Board>,
    stores: BTreeMap<u64, MetaStore>,
}

impl Region {
    /// Three voters with logs of at most so many bytes; node 1 leads.
    async fn new(sizes: [u64; 3]) -> Self {
        let mut region = Self { dir: tempfile::tempdir().unwrap(), board: Arc::default(), stores: BTreeMap::new() };
        region.start(1, sizes[0]).await;
        for node in [2, 3] {
            region.start(node, sizes[usize::try_from(node).unwrap() - 1]).await;
            region.node(1).add_learner(NodeId(node)).await.unwrap();
            region.node(1).promote(NodeId(node)).await.unwrap();
        }
        for node in 1..=3 {
            region.reaches(node, &[]);
        }
        region
    }

    async fn start(&mut self, node: u64, file_bytes_max: u64) {
        let start = if node == 1 { Start::Found } else { Start::Join };
        let transport: Arc<dyn PeerTransport> = Arc::new(Plug(Arc::clone(&self.board)));
        let options = MetaOptions { node: NodeId(node), start, transport: Some(transport) };
        let files = FileOptions { ahead_bytes: 256 << 10, rewrite_bytes_min: 1 << 30, file_bytes_max };
        let fatal = move |cause| panic!("a full disk is not fatal to node {node}: {cause}");
        let store = MetaStore::open_with(&self.dir.path().join(node.to_string()), options, files, fatal).await.unwrap();
        self.board.nodes.lock().unwrap().insert(NodeId(node), store.handle());
        self.stores.insert(node, store);
    }

    async fn stop(&mut self, node: u64) {
        self.board.nodes.lock().unwrap().remove(&NodeId(node));
        self.stores.remove(&node).unwrap().close().await;
    }

    fn node(&self, node: u64) -> MetaHandle {
        self.stores[&node].handle()
    }

    /// Tells `node` that the others are there, except for those that are gone.
    fn reaches(&self, node: u64, gone: &[u64]) {
        let nodes =
            |is_gone| (1..=3).filter(move |other| *other != node && gone.contains(other) == is_gone).map(NodeId);
        self.node(node).set_reached(Reached { here: nodes(false).collect(), gone: nodes(true).collect() });
    }

    /// Returns when `node` knows such a leader.
    async fn led_by(&self, node: u64, is_awaited: impl Fn(NodeId) -> bool) {
        let mut leadership = self.node(node).leadership();
        leadership.wait_for(|known| known.leader.is_some_and(&is_awaited)).await.unwrap();
    }

    fn leadership(&self, node: u64) -> Leadership {
        *self.node(node).leadership().borrow()
    }
}

fn write(number: u64) -> MetaRequest {
    let write = Write::Put { key: format!("/k/{number}"), value: Bytes::from(vec![7; 1000]) };
    MetaRequest::Txn { compare: vec![], writes: vec![write] }
}

async fn put(handle: &MetaHandle, number: u64) -> MetaResponse {
    handle.request(write(number)).await
}

/// Reads until there is an answer.
async fn has(handle: &MetaHandle, number: u64) -> bool {
    loop {
        match handle.request(MetaRequest::Get { key: format!("/k/{number}") }).await {
            MetaResponse::Value(value) => return value.is_some(),
            MetaResponse::Unavailable { .. } => (),
            other => panic!("{other:?}"),
        }
    }
}

/// All writes at all nodes and many at a time, and at some nodes reads between them.
async fn write_everywhere(region: &Region, readers: RangeInclusive<u64>) {
    let mut writers = JoinSet::new();
    for first in 0..WRITERS {
        let node = 1 + first % 3;
        let (handle, reads) = (region.node(node), readers.contains(&node));
        writers.spawn(async move {
            for number in (first..WRITES).step_by(usize::try_from(WRITERS).unwrap()) {
                let mut answer = put(&handle, number).await;
                while matches!(&answer, MetaResponse::Unavailable { reason } if reason.contains("lost its leadership"))
                {
                    answer = put(&handle, number).await; // It was under way when its leader lost the lead.
                }
                assert!(matches!(answer, MetaResponse::Committed { .. }), "write {number}: {answer:?}");
                if reads {
                    let read = handle.request(MetaRequest::Get { key: format!("/k/{number}") }).await;
                    assert!(matches!(read, MetaResponse::Value(Some(_))), "read {number}: {read:?}");
                }
            }
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn a_leader_whose_log_is_full_leaves_the_lead_and_every_write_goes_through() {
    let mut region = Region::new([SMALL, LARGE, LARGE]).await;
    assert_eq!(region.leadership(2).leader, Some(NodeId(1)));
    write_everywhere(&region, 2..=3).await;
    let led = region.leadership(2);
    assert_ne!(led.leader, Some(NodeId(1)));
    assert!(has(&region.node(3), WRITES - 1).await);
    region.stop(1).await;
    region.start(1, LARGE).await;
    assert!(has(&region.node(1), WRITES - 1).await, "with room it gets what it missed");
    assert_eq!(region.leadership(2).term, led.term, "nobody was disturbed");
}

#[tokio::test]
async fn the_lead_moves_under_load_and_no_request_is_refused() {
    let region = Region::new([LARGE, LARGE, LARGE]).await;
    let moves = async {
        for round in 0..MOVES {
            let leader = region.leadership(2).leader.unwrap().0;
            // It stays when the others do not agree on one in time; then it is asked again.
            while !region.node(leader).parts.office.leave().await {}
            region.led_by(2, |now| now.0 != leader).await;
            // Not before the last move was good for something: no write waits for a leader for ever.
            let answer = put(&region.node(2), WRITES + u64::from(round)).await;
            assert!(matches!(answer, MetaResponse::Committed { .. }), "after move {round}: {answer:?}");
        }
    };
    tokio::join!(write_everywhere(&region, 1..=3), moves);
}

#[tokio::test]
async fn two_nodes_that_take_each_other_for_the_leader_do_not_wait_for_each_other() {
    let region = Region::new([LARGE, LARGE, LARGE]).await;
    region.board.hold.send_replace(true);
    let mut held = region.board.held.subscribe();
    let mut writes = JoinSet::new();
    let mut send = |node| {
        let handle = region.node(node);
        writes.spawn(async move { put(&handle, node).await });
    };
    // To node 1, which leads.
    (2..=3).for_each(&mut send);
    held.wait_for(|held| *held == 2).await.unwrap();
    while !region.node(1).parts.office.leave().await {}
    region.led_by(1, |leader| leader != NodeId(1)).await;
    send(1);
    held.wait_for(|held| *held == 3).await.unwrap();
    region.board.hold.send_replace(false);
    for answer in writes.join_all().await {
        assert!(matches!(answer, MetaResponse::Committed { .. }), "WriteQueue I5: {answer:?}");
    }
}

#[tokio::test]
async fn only_the_leader_decides() {
    let region = Region::new([LARGE, LARGE, LARGE]).await;
    let answer = region.node(2).decide(write(1)).await;
    assert!(matches!(&answer, MetaResponse::Unavailable { reason } if reason.contains("does not lead")), "{answer:?}");
    let answer = region.node(1).decide(write(2)).await;
    assert!(matches!(answer, MetaResponse::Committed { .. }), "{answer:?}");
    assert!(!has(&region.node(3), 1).await, "WriteQueue I5: it was not passed on");
    assert!(has(&region.node(3), 2).await);
}

#[tokio::test]
async fn a_new_leader_decides_while_its_own_writes_are_still_on_their_way_to_the_old_one() {
    let region = Region::new([LARGE, LARGE, LARGE]).await;
    region.board.hold.send_replace(true);
    let mut held = region.board.held.subscribe();
    let mut writes = JoinSet::new();
    for node in [2, 3] {
        let handle = region.node(node);
        writes.spawn(async move { put(&handle, node).await });
    }
    held.wait_for(|held| *held == 2).await.unwrap();
    while !region.node(1).parts.office.leave().await {}
    region.led_by(1, |leader| leader != NodeId(1)).await;
    let leader = region.leadership(1).leader.unwrap();
    region.led_by(leader.0, |known| known == leader).await;
    let answer = region.node(leader.0).decide(write(4)).await;
    assert!(matches!(answer, MetaResponse::Committed { .. }), "WriteQueue I5: {answer:?}");
    region.board.hold.send_replace(false);
    for answer in writes.join_all().await {
        assert!(matches!(answer, MetaResponse::Committed { .. }), "{answer:?}");
    }
}

#[tokio::test]
async fn a_follower_whose_log_is_full_stores_nothing_disturbs_nobody_and_comes_back() {
    let mut region = Region::new([LARGE, SMALL, LARGE]).await;
    let led = region.leadership(3);
    for number in 0..WRITES {
        let answer = put(&region.node(1), number).await;
        assert!(matches!(answer, MetaResponse::Committed { .. }), "write {number}: {answer:?}");
    }
    assert!(region.node(2).metrics().keys < WRITES, "it has no room for all");
    assert!(has(&region.node(2), WRITES - 1).await, "the leader answers its reads");
    assert_eq!(region.node(2).watch(&["/k"]).await.unwrap_err(), WatchClosed::Behind, "events would have a gap");
    assert!(matches!(put(&region.node(2), WRITES).await, MetaResponse::Committed { .. }));
    assert!(has(&region.node(2), WRITES).await, "it reads what it has written");
    assert_eq!(region.leadership(3), led);
    region.stop(2).await;
    region.start(2, LARGE).await;
    assert!(has(&region.node(2), WRITES - 1).await);
    assert_eq!(region.leadership(3), led);
}

#[tokio::test]
async fn where_nobody_has_room_the_leader_stays_and_answers_reads() {
    let region = Region::new([SMALL, SMALL, SMALL]).await;
    let mut refused = None;
    for number in 0..WRITES {
        if let MetaResponse::Unavailable { reason } = put(&region.node(1), number).await {
            refused = Some((number, reason));
            break;
        }
    }
    let (number, reason) = refused.unwrap();
    assert!(reason.contains("the disk is full"), "{reason}");
    assert!(has(&region.node(1), number - 1).await);
    assert!(!has(&region.node(1), number).await);
}

/// The leader's last heartbeat is at most 100 ms old when it stops, and raft's own timer takes 900 ms at least. A machine that
/// stands still may spoil a round, but not five.
#[tokio::test]
async fn a_leader_that_is_gone_is_followed_sooner_than_by_a_timer() {
    let mut rounds = Vec::new();
    while rounds.iter().all(|pause| *pause >= Duration::from_millis(780)) {
        assert!(rounds.len() < 5, "each round took as long as a timer: {rounds:?}");
        let mut region = Region::new([LARGE; 3]).await;
        assert!(matches!(put(&region.node(1), 1).await, MetaResponse::Committed { .. }));
        let begun = Instant::now();
        region.stop(1).await;
        for node in [2, 3] {
            region.reaches(node, &[1]);
        }
        region.led_by(2, |leader| leader != NodeId(1)).await;
        rounds.push(begun.elapsed());
        region.led_by(3, |leader| leader != NodeId(1)).await;
        assert!(has(&region.node(3), 1).await);
    }
}

/// As where a firewall refuses connections in one direction: terms must not rise.
#[tokio::test]
async fn a_leader_that_is_refused_and_speaks_all_the_same_stays() {
    let region = Region::new([LARGE; 3]).await;
    let led = region.leadership(3);
    let begun = Instant::now();
    for node in [2, 3] {
        region.node(node).set_reached(Reached {
            here: (1..=3).filter(|other| *other != node).map(NodeId).collect(),
            gone: [NodeId(1)].into(),
        });
    }
    let mut number = 0;
    while begun.elapsed() < Duration::from_millis(1200) {
        let answer = put(&region.node(1), number % 64).await;
        assert!(matches!(answer, MetaResponse::Committed { .. }), "write {number}: {answer:?}");
        number += 1;
    }
    assert_eq!([2, 3].map(|node| region.leadership(node)), [led, led]);
}
