//! Controllers on one store: what they declare, and that two at once do no harm.

use super::{Controller, ControllerEffect, ControllerInput, LISTENED_MIN, PULSE, SILENCE_MAX};
use crate::{NodeRecord, OwnerRecord, View};
use base::{Effects, Mono, NamespaceName, NodeId, Now, OwnerId, Rng};
use meta_api::{MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use proptest::prelude::{any, prop_assert, proptest};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use tenancy::{Bundles, keys};

struct Seat {
    controller: Controller,
    view: View,
    asked: VecDeque<ControllerEffect>,
    events: VecDeque<MetaEvent>,
}

struct World {
    store: MetaState,
    now: Now,
    seats: Vec<Seat>,
    /// The owners that each bundle had, in order.
    owners: BTreeMap<String, Vec<OwnerRecord>>,
}

impl World {
    /// Nodes 1 to `nodes`, each with a controller and a view.
    fn new(nodes: u64) -> Self {
        let seat = |node| Seat {
            controller: Controller::new(NodeId(node), OwnerId(9)),
            view: View::new(NodeId(node), 1),
            asked: VecDeque::new(),
            events: VecDeque::new(),
        };
        let now = Now { mono: Mono(10_000_000_000), wall_ms: 0 };
        let mut world =
            Self { store: MetaState::new(), now, seats: (1..=nodes).map(seat).collect(), owners: BTreeMap::new() };
        for node in 1..=nodes {
            let value = NodeRecord { incarnation: 1, ..NodeRecord::default() }.encode();
            world.write(vec![Write::Put { key: keys::node_key(NodeId(node)), value }]);
        }
        world.deliver_all();
        world
    }

    fn write(&mut self, writes: Vec<Write>) {
        self.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
    }

    fn apply(&mut self, request: &MetaRequest) -> MetaResponse {
        let (response, events) = self.store.apply(request);
        for event in &events {
            if let (true, Some(value)) = (event.key.starts_with(keys::OWNERS), &event.value) {
                self.owners.entry(event.key.clone()).or_default().push(OwnerRecord::decode(value).unwrap());
            }
        }
        self.seats.iter_mut().for_each(|seat| seat.events.extend(events.iter().cloned()));
        response
    }

    fn tell(&mut self, seat: usize, input: ControllerInput) {
        let (mut fx, Seat { controller, view, .. }) = (Effects::new(), &mut self.seats[seat]);
        controller.handle(self.now, input, view, &mut fx);
        self.seats[seat].asked.extend(fx.take());
    }

    /// One request of a seat reaches the store, and its answer the seat.
    fn answer(&mut self, seat: usize) -> bool {
        let Some(ControllerEffect { id, request }) = self.seats[seat].asked.pop_front() else { return false };
        let response = self.apply(&request);
        self.tell(seat, ControllerInput::Meta { id, response });
        true
    }

    fn event(&mut self, seat: usize) -> bool {
        let Some(event) = self.seats[seat].events.pop_front() else { return false };
        self.seats[seat].view.apply(&event.key, event.revision, event.value.as_deref());
        self.tell(seat, ControllerInput::ViewChanged);
        true
    }

    /// Time passes, and nobody stands still.
    fn tick(&mut self, by: Duration) {
        let mut left = by;
        while left > PULSE {
            self.jump(PULSE);
            left -= PULSE;
        }
        self.jump(left);
    }

    /// Time passes, and everybody stands still meanwhile.
    fn jump(&mut self, by: Duration) {
        self.now.mono = self.now.mono + by;
        for seat in 0..self.seats.len() {
            let (mut fx, Seat { controller, view, .. }) = (Effects::new(), &mut self.seats[seat]);
            controller.on_deadline(self.now, view, &mut fx);
            self.seats[seat].asked.extend(fx.take());
        }
    }

    fn deliver_all(&mut self) {
        loop {
            let some = (0..self.seats.len()).any(|seat| self.answer(seat) || self.event(seat));
            if !some {
                return;
            }
        }
    }

    fn lead(&mut self, seat: usize, term: u64) {
        let leader = Some(NodeId(seat as u64 + 1));
        self.tell(seat, ControllerInput::Leadership { leader, term });
        for peer in (1..=self.seats.len() as u64).filter(|peer| *peer != seat as u64 + 1) {
            self.tell(seat, ControllerInput::PeerUp { node: NodeId(peer), incarnation: 1 });
        }
    }

    /// Every bundle of one namespace is assigned, as lookups would have it.
    fn assign_all(&mut self, bundles: u32) {
        for range in Bundles::even(bundles).ranges() {
            let bundle = (NamespaceName::parse("a/b").unwrap(), range);
            let request = self.seats[0].view.assign(&bundle, &BTreeMap::new()).unwrap().request;
            self.apply(&request);
            self.deliver_all();
        }
    }

    fn alive(&self) -> Vec<u64> {
        self.seats[0].view.live_nodes().map(|node| node.0).collect()
    }
}

#[test]
fn i1_a_leader_declares_itself_and_those_it_hears_and_a_follower_nobody() {
    let mut world = World::new(3);
    world.tell(0, ControllerInput::PeerUp { node: NodeId(2), incarnation: 1 });
    world.deliver_all();
    assert_eq!(world.alive(), [0; 0], "I1");
    world.lead(0, 1);
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2, 3]);
}

#[test]
fn i2_silence_takes_its_time_and_a_refused_connection_none() {
    let mut world = World::new(3);
    world.lead(0, 1);
    world.deliver_all();
    world.tell(0, ControllerInput::PeerDown { node: NodeId(3), refused: true });
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2], "I2");
    world.tell(0, ControllerInput::PeerDown { node: NodeId(2), refused: false });
    world.tick(SILENCE_MAX - Duration::from_millis(1));
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2]);
    assert_eq!(world.seats[0].controller.next_deadline(), Some(world.now.mono + Duration::from_millis(1)));
    world.tick(Duration::from_millis(1));
    world.deliver_all();
    assert_eq!(world.alive(), [1], "I2");
}

#[test]
fn i2_a_new_leader_gives_everybody_the_time_to_be_heard() {
    let mut world = World::new(2);
    world.lead(0, 1);
    world.deliver_all();
    world.tick(Duration::from_secs(60));
    world.seats[0].asked.clear();
    world.tell(0, ControllerInput::Leadership { leader: Some(NodeId(2)), term: 2 });
    world.tell(1, ControllerInput::Leadership { leader: Some(NodeId(2)), term: 2 });
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2], "I2");
}

#[test]
fn i2_the_silence_of_the_leader_before_counts_for_the_one_that_listened_all_along() {
    let mut world = World::new(3);
    world.lead(0, 1);
    world.deliver_all();
    world.assign_all(6);
    for peer in [1, 3] {
        world.tell(1, ControllerInput::PeerUp { node: NodeId(peer), incarnation: 1 });
    }
    // Node 1 is frozen, and an election is over after as long as a node may be silent.
    world.tell(0, ControllerInput::Leadership { leader: Some(NodeId(2)), term: 2 });
    world.tick(SILENCE_MAX);
    world.tell(1, ControllerInput::PeerHeard { node: NodeId(3) });
    world.tell(1, ControllerInput::Leadership { leader: Some(NodeId(2)), term: 2 });
    world.deliver_all();
    world.tick(LISTENED_MIN - Duration::from_millis(1));
    world.tell(1, ControllerInput::PeerHeard { node: NodeId(3) });
    world.tell(1, ControllerInput::ViewChanged);
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2, 3], "I2: what was said lies in the sockets of one that was frozen itself");
    assert_eq!(world.seats[1].controller.next_deadline(), Some(world.now.mono + Duration::from_millis(1)));
    world.tick(Duration::from_millis(1));
    world.deliver_all();
    assert_eq!(world.alive(), [2, 3], "I2");
    let left = world.owners.values().filter(|owners| owners.last().unwrap().node == NodeId(1)).count();
    assert_eq!(left, 0, "nobody waits for a node that was there and is gone");
}

#[test]
fn i3_bundles_of_a_dead_node_go_to_the_others_evenly_and_nothing_else_moves() {
    let mut world = World::new(3);
    world.lead(0, 1);
    world.deliver_all();
    world.assign_all(12);
    world.tick(SILENCE_MAX / 2);
    let before = world.owners.clone();
    world.tell(0, ControllerInput::PeerDown { node: NodeId(3), refused: true });
    world.tell(0, ControllerInput::PeerHeard { node: NodeId(2) });
    world.deliver_all();
    world.tick(SILENCE_MAX / 2);
    world.deliver_all();
    let mut loads: BTreeMap<u64, usize> = BTreeMap::new();
    for (key, owners) in &world.owners {
        let last = owners.last().unwrap();
        *loads.entry(last.node.0).or_default() += 1;
        if before[key].last().unwrap().node != NodeId(3) {
            assert_eq!(owners.len(), before[key].len(), "I3: {key} moved");
        } else {
            assert_eq!(owners.len(), before[key].len() + 1);
        }
    }
    assert_eq!(loads, BTreeMap::from([(1, 6), (2, 6)]));
}

#[test]
fn a_node_that_started_again_is_replaced() {
    let mut world = World::new(2);
    world.lead(0, 1);
    world.deliver_all();
    let value = NodeRecord { incarnation: 2, ..NodeRecord::default() }.encode();
    world.write(vec![Write::Put { key: keys::node_key(NodeId(2)), value }]);
    world.deliver_all();
    assert_eq!(world.alive(), [1]);
    world.tell(0, ControllerInput::PeerUp { node: NodeId(2), incarnation: 2 });
    world.tick(Duration::from_millis(200));
    world.deliver_all();
    assert_eq!(world.seats[0].view.alive(NodeId(2)).map(|(incarnation, _)| incarnation), Some(2));
}

proptest! {
    /// Two nodes that both believe to lead, a third that comes and goes, answers and events in any order.
    #[test]
    fn two_controllers_at_once_never_move_a_bundle_of_a_living_owner(seed in any::<u64>()) {
        let (mut world, mut rng) = (World::new(3), Rng::new(seed));
        world.lead(0, 1);
        world.deliver_all();
        world.assign_all(6);
        world.lead(1, 1);
        for _ in 0..300 {
            let seat = usize::try_from(rng.range(0, 1)).unwrap();
            match rng.range(0, 7) {
                0 => world.tell(seat, ControllerInput::PeerDown { node: NodeId(3), refused: true }),
                1 => world.tell(seat, ControllerInput::PeerUp { node: NodeId(3), incarnation: 1 }),
                2 => world.tick(Duration::from_millis(rng.range(1, 200))),
                3 | 4 => { world.answer(seat); }
                _ => { world.event(seat); }
            }
            for (seat, peer) in [(0, 2), (1, 1)] {
                world.tell(seat, ControllerInput::PeerHeard { node: NodeId(peer) });
            }
        }
        for (key, owners) in &world.owners {
            let ascends = owners.windows(2).all(|pair| pair[0].epoch + 1 == pair[1].epoch);
            prop_assert!(ascends, "epochs of {key} ascend: {owners:?}");
            // Nodes 1 and 2 never went down: what they own stays theirs.
            let stays = owners.windows(2).all(|pair| pair[0].node == NodeId(3));
            prop_assert!(stays, "I3: {key} moved from a living owner: {owners:?}");
        }
        // Both lead on, and the region comes to rest: every bundle has a living owner.
        for seat in 0..2 {
            world.tell(seat, ControllerInput::PeerUp { node: NodeId(3), incarnation: 1 });
        }
        for _ in 0..20 {
            world.deliver_all();
            world.tick(Duration::from_millis(110));
            for (seat, peers) in [(0, [2, 3]), (1, [1, 3])] {
                for peer in peers {
                    world.tell(seat, ControllerInput::PeerHeard { node: NodeId(peer) });
                }
            }
        }
        world.deliver_all();
        prop_assert!(world.seats[0].view.orphans().next().is_none());
    }
}

#[test]
fn i2_a_leader_that_stood_still_blames_nobody_before_it_has_listened() {
    let mut world = World::new(3);
    world.lead(0, 1);
    world.deliver_all();
    world.assign_all(6);
    let before = world.owners.clone();
    // It wakes up, and the clock is first.
    world.jump(SILENCE_MAX * 5);
    world.deliver_all();
    world.tick(LISTENED_MIN - Duration::from_millis(1));
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2, 3], "I2: what was said lies in its sockets");
    world.tell(0, ControllerInput::PeerHeard { node: NodeId(2) });
    world.tick(Duration::from_millis(1));
    world.deliver_all();
    assert_eq!(world.alive(), [1, 2], "I2");
    assert!(
        before.iter().all(|(key, owners)| {
            owners.last().unwrap().node == NodeId(3) || world.owners[key].len() == owners.len()
        })
    );
}

#[test]
fn a_leader_takes_its_verdicts_back_when_it_hears_the_others_on_the_same_connections() {
    let mut world = World::new(3);
    world.lead(0, 1);
    world.deliver_all();
    assert_eq!(world.seats[0].view.live_nodes().count(), 3);
    world.tick(SILENCE_MAX);
    world.deliver_all();
    assert_eq!(world.seats[0].view.live_nodes().collect::<Vec<_>>(), [NodeId(1)]);
    for node in [2, 3] {
        world.tell(0, ControllerInput::PeerHeard { node: NodeId(node) });
    }
    world.deliver_all();
    assert_eq!(world.seats[0].view.live_nodes().count(), 3);
}
