//! A leader's balancer on a store in memory, and owners that hand over what they are asked to.

use super::{BalanceEffect, BalanceOptions, Balancer, GAIN_PERCENT, HOT_MIN, HOT_PERCENT, NodeLoad, SAMPLES};
use crate::{AliveRecord, BUNDLES_SAID_MAX, BundleId, NodeRecord, Owner, View};
use base::{Effects, Mono, NamespaceName, NodeId, Now, OwnerId, Rng};
use meta_api::{MetaRequest, MetaState, Write};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::time::Duration;
use tenancy::{BundleRange, keys};

const BEAT: Duration = Duration::from_secs(10);

struct World {
    store: MetaState,
    view: View,
    balancer: Balancer,
    now: Now,
    traffic: BTreeMap<BundleId, u64>,
    read_only: Option<NodeId>,
    moves: Vec<(BundleId, NodeId)>,
}

fn bundle(index: usize) -> BundleId {
    let lower = u32::try_from(index).unwrap();
    (NamespaceName::parse("a/b").unwrap(), BundleRange { lower, upper: lower + 1 })
}

impl World {
    /// Nodes from 1 on, with bundles that carry so much each.
    fn new(nodes: &[&[u64]]) -> Self {
        let mut world = Self {
            store: MetaState::new(),
            view: View::new(NodeId(1), 1),
            balancer: Balancer::new(OwnerId(12), BalanceOptions::standard()),
            now: Now { mono: Mono(1_000_000_000), wall_ms: 0 },
            traffic: BTreeMap::new(),
            read_only: None,
            moves: Vec::new(),
        };
        for node in 1..=nodes.len() as u64 {
            world.set_node(node, false);
            world.set_alive(node, true);
        }
        for (node, loads) in (1..).zip(nodes) {
            for units in *loads {
                let bundle = bundle(world.traffic.len());
                world.traffic.insert(bundle.clone(), *units);
                let request = world.view.give(&bundle, NodeId(node)).unwrap().request;
                world.apply(&request);
            }
        }
        world.balancer.set_leading(world.now, true);
        world
    }

    fn apply(&mut self, request: &MetaRequest) {
        for event in self.store.apply(request).1 {
            self.view.apply(&event.key, event.revision, event.value.as_deref());
        }
    }

    fn set_node(&mut self, node: u64, draining: bool) {
        let value = NodeRecord { incarnation: 1, draining, ..NodeRecord::default() }.encode();
        let write = Write::Put { key: keys::node_key(NodeId(node)), value };
        self.apply(&MetaRequest::Txn { compare: Vec::new(), writes: vec![write] });
    }

    fn set_alive(&mut self, node: u64, alive: bool) {
        let key = keys::alive_key(NodeId(node));
        let value = AliveRecord { incarnation: 1 }.encode();
        let write = if alive { Write::Put { key, value } } else { Write::Delete { key } };
        self.apply(&MetaRequest::Txn { compare: Vec::new(), writes: vec![write] });
    }

    fn of(&self, node: u64) -> Vec<(BundleId, u64)> {
        let owner = |bundle: &BundleId| self.view.owner(bundle);
        let serves = |bundle: &&BundleId| match owner(bundle) {
            Owner::Us { .. } => node == 1,
            Owner::By(by) => by == NodeId(node),
            Owner::Nobody => false,
        };
        self.traffic.keys().filter(serves).map(|bundle| (bundle.clone(), self.traffic[bundle])).collect()
    }

    fn counts(&self, nodes: u64) -> Vec<usize> {
        (1..=nodes).map(|node| self.of(node).len()).collect()
    }

    fn units(&self, node: u64) -> u64 {
        self.of(node).iter().map(|(_, units)| units).sum()
    }

    fn say(&mut self, node: u64) {
        let mut bundles = self.of(node);
        bundles.retain(|(_, units)| *units > 0);
        bundles.sort_by_key(|(_, units)| std::cmp::Reverse(*units));
        bundles.truncate(BUNDLES_SAID_MAX);
        let read_only = self.read_only == Some(NodeId(node));
        self.view.set_load(NodeId(node), NodeLoad { units: self.units(node), read_only, bundles });
    }

    /// Everybody says what it serves, the leader decides, and the owner does as it is asked.
    fn beat(&mut self) {
        for node in self.view.live_nodes().map(|node| node.0).collect::<Vec<_>>() {
            self.say(node);
        }
        self.decide();
    }

    fn decide(&mut self) {
        self.now.mono = self.now.mono + BEAT;
        let mut fx = Effects::new();
        self.balancer.on_beat(self.now, NodeLoad::default(), &self.view, &mut fx);
        let effects = fx.take();
        assert!(effects.len() <= 2, "I1: one move at a time: {effects:?}");
        for effect in effects {
            let BalanceEffect::Meta { id, request } = effect else { continue };
            let response = self.store.apply(&request);
            response.1.iter().for_each(|e| {
                self.view.apply(&e.key, e.revision, e.value.as_deref());
            });
            self.balancer.handle_meta(id, &response.0);
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        let asked = self.view.bundles().find_map(|(bundle, record)| Some((bundle.clone(), record.moving_to?)));
        let (bundle, to) = asked.unwrap();
        self.moves.push((bundle.clone(), to));
        let request = self.view.give(&bundle, to).unwrap().request;
        self.apply(&request);
    }

    fn beats(&mut self, count: u32) {
        (0..count).for_each(|_| self.beat());
    }
}

#[test]
fn i3_a_node_that_stays_hot_sheds_until_it_is_not_and_a_short_peak_moves_nothing() {
    let mut world = World::new(&[&[3_000, 3_000, 3_000, 3_000], &[100, 0, 0, 0], &[100, 0, 0, 0]]);
    world.beats(SAMPLES - 1);
    assert_eq!(world.moves, [], "I3");
    let peak = world.traffic.clone();
    world.traffic.values_mut().for_each(|units| *units = 10);
    world.beat();
    world.traffic = peak;
    world.beats(SAMPLES - 1);
    assert_eq!(world.moves, [], "I3: it was not hot in between");
    world.beats(100);
    assert_eq!(world.moves.len(), 2, "{:?}", world.moves);
    assert!(
        (1..=3).all(|node| world.units(node) <= 6_000),
        "{:?}",
        (1..=3).map(|node| world.units(node)).collect::<Vec<_>>()
    );
}

#[test]
fn i3_one_bundle_that_is_the_whole_traffic_stays_where_it_is() {
    let mut world = World::new(&[&[90_000], &[0], &[0]]);
    world.beats(500);
    assert_eq!(world.moves, [], "I3");
    let mut world = World::new(&[&[90_000, 0, 0, 0], &[], &[]]);
    world.beats(500);
    assert_eq!(world.units(1), 90_000, "only idle ones moved: {:?}", world.moves);
    assert_eq!(world.counts(3), [2, 1, 1]);
}

#[test]
fn a_node_that_was_away_gets_bundles_again_one_after_the_other() {
    let mut world = World::new(&[&[0; 6], &[0; 6], &[]]);
    world.beats(SAMPLES);
    assert_eq!(world.moves.len(), 1);
    world.beat();
    assert_eq!(world.moves.len(), 2);
    world.beats(100);
    assert_eq!((world.counts(3), world.moves.len()), (vec![4, 4, 4], 4));
}

#[test]
fn i2_nothing_goes_to_a_node_that_is_down_draining_read_only_or_unheard_of() {
    for what in ["down", "draining", "read-only", "silent"] {
        let mut world = World::new(&[&[2_000; 4], &[0], &[]]);
        match what {
            "down" => world.set_alive(3, false),
            "draining" => world.set_node(3, true),
            "read-only" => world.read_only = Some(NodeId(3)),
            _ => {
                for _ in 0..100 {
                    world.say(1);
                    world.say(2);
                    world.decide();
                }
                assert_eq!(world.moves, [], "I2: node 3 has said nothing");
                continue;
            }
        }
        world.beats(100);
        assert!(!world.moves.is_empty(), "{what}");
        assert!(world.moves.iter().all(|(_, to)| *to != NodeId(3)), "I2: {what}: {:?}", world.moves);
    }
}

#[test]
fn i2_nothing_leaves_a_node_that_is_read_only() {
    for loads in [[3_000; 4], [0; 4]] {
        let mut world = World::new(&[&[0], &loads, &[]]);
        world.read_only = Some(NodeId(2));
        world.beats(100);
        assert_eq!(world.moves, [], "I2");
        world.read_only = None;
        world.beats(100);
        assert!(!world.moves.is_empty(), "with room it gives what it has too much of");
    }
}

#[test]
fn i1_who_does_not_lead_or_is_switched_off_moves_nothing() {
    for leads in [true, false] {
        let mut world = World::new(&[&[5_000; 4], &[]]);
        if leads {
            world.balancer.set_options(BalanceOptions { enabled: false, ..BalanceOptions::standard() });
        } else {
            world.balancer.set_leading(world.now, false);
        }
        world.beats(100);
        assert_eq!(world.moves, [], "I1");
    }
}

/// What an operator says of `a/b`, where all bundles of these tests are, and of another namespace.
#[test]
fn i5_bundles_of_an_excluded_namespace_stay_until_it_is_excluded_no_more() {
    for (nodes, moves) in [(&[&[3_000; 4][..], &[100], &[100]][..], 2), (&[&[0; 4][..], &[0], &[]][..], 2)] {
        for said in ["a/b", " c/d ,, a/b ", "no name, a/b"] {
            let mut world = World::new(nodes);
            world.balancer.set_excluded(Some(said));
            world.beats(100);
            assert_eq!(world.moves, [], "I5: {said}");
            world.balancer.set_excluded(Some("c/d"));
            world.beats(100);
            assert_eq!(world.moves.len(), moves, "{:?}", world.moves);
        }
    }
}

#[test]
fn i5_what_the_options_exclude_holds_until_something_else_is_said() {
    let mut world = World::new(&[&[3_000; 4], &[100]]);
    let excluded = super::namespaces("a/b").collect::<Result<_, _>>().unwrap();
    world.balancer.set_options(BalanceOptions { excluded, ..BalanceOptions::standard() });
    world.beats(50);
    world.balancer.set_excluded(None);
    world.beats(50);
    assert_eq!(world.moves, [], "I5");
    world.balancer.set_excluded(Some(""));
    world.beats(50);
    assert!(!world.moves.is_empty());
}

#[test]
fn i5_excluded_bundles_count_and_others_make_way_for_them() {
    let mut world = World::new(&[&[0; 2], &[], &[]]);
    for index in 100..106 {
        let bundle = (NamespaceName::parse("c/d").unwrap(), BundleRange { lower: index, upper: index + 1 });
        world.traffic.insert(bundle.clone(), 0);
        let request = world.view.give(&bundle, NodeId(2)).unwrap().request;
        world.apply(&request);
    }
    world.balancer.set_excluded(Some("c/d"));
    world.beats(100);
    assert!(world.moves.iter().all(|(bundle, _)| bundle.0.to_string() == "a/b"), "I5: {:?}", world.moves);
    assert_eq!(world.counts(3), [1, 6, 1], "node 2 keeps what is excluded, the others share the rest");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any bundles on any nodes with steady traffic: it comes to rest soon, and stays there.
    #[test]
    fn steady_traffic_comes_to_rest(seed in any::<u64>()) {
        let mut rng = Rng::new(seed);
        let nodes = rng.range(2, 5);
        let mut loads: Vec<Vec<u64>> = vec![Vec::new(); usize::try_from(nodes).unwrap()];
        let scale = *rng.pick(&[10, 500, 5_000, 100_000]).unwrap();
        let bundles = rng.range(1, 40);
        for _ in 0..bundles {
            let node = usize::try_from(rng.below(nodes)).unwrap();
            let units = if rng.percent(40) { 0 } else { rng.below(scale) };
            loads[node].push(if rng.percent(10) { units * 10 } else { units });
        }
        let mut world = World::new(&loads.iter().map(Vec::as_slice).collect::<Vec<_>>());
        world.beats(600);
        let moves = world.moves.len();
        prop_assert!(moves as u64 <= 2 * bundles, "{moves} moves of {bundles} bundles: {:?}", world.moves);
        world.beats(100);
        prop_assert_eq!(world.moves.len(), moves, "it rests");
        // At rest no move makes a hot node cooler.
        let units: Vec<u64> = (1..=nodes).map(|node| world.units(node)).collect();
        let (total, coolest) = (units.iter().sum::<u64>(), *units.iter().min().unwrap());
        for (node, units) in (1..).zip(&units) {
            if *units > (total / nodes * HOT_PERCENT / 100).max(HOT_MIN) {
                for (bundle, own) in world.of(node) {
                    let after = (units - own).max(coolest + own);
                    prop_assert!(after * 100 > units * (100 - GAIN_PERCENT), "{bundle:?} should leave node {node}");
                }
            }
        }
        if total <= HOT_MIN {
            let counts = world.counts(nodes);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
        }
    }
}
