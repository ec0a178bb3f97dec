//! A view fed by a store in memory.

use super::{BundleId, Owner, View, ViewChange};
use crate::{AliveRecord, NodeLoad, NodeRecord, OwnerRecord};
use base::{NamespaceName, NodeId};
use meta_api::{MetaRequest, MetaResponse, MetaState, Write};
use std::collections::BTreeMap;
use tenancy::{BundleRange, keys};

fn bundle(lower: u32) -> BundleId {
    (NamespaceName::parse("a/b").unwrap(), BundleRange { lower, upper: lower + 1 })
}

fn apply(store: &mut MetaState, views: &mut [&mut View], request: &MetaRequest) -> MetaResponse {
    let (response, events) = store.apply(request);
    for event in events {
        for view in views.iter_mut() {
            view.apply(&event.key, event.revision, event.value.as_deref());
        }
    }
    response
}

fn put(key: String, value: bytes::Bytes) -> MetaRequest {
    MetaRequest::Txn { compare: Vec::new(), writes: vec![Write::Put { key, value }] }
}

fn join(store: &mut MetaState, views: &mut [&mut View], node: u64) {
    let record = NodeRecord { incarnation: 1, ..NodeRecord::default() };
    apply(store, views, &put(keys::node_key(NodeId(node)), record.encode()));
    apply(store, views, &put(keys::alive_key(NodeId(node)), AliveRecord { incarnation: 1 }.encode()));
}

#[test]
fn i1_i3_bundles_go_to_the_node_that_serves_the_fewest_and_back_to_nobody_with_its_death() {
    let (mut store, mut one, mut two) = (MetaState::new(), View::new(NodeId(1), 1), View::new(NodeId(2), 1));
    assert_eq!(one.assign(&bundle(0), &BTreeMap::new()), None, "no node is alive yet");
    join(&mut store, &mut [&mut one, &mut two], 1);
    join(&mut store, &mut [&mut one, &mut two], 2);
    for lower in 0..4 {
        let request = one.assign(&bundle(lower), &BTreeMap::new()).unwrap().request;
        assert!(matches!(apply(&mut store, &mut [&mut one, &mut two], &request), MetaResponse::Committed { .. }));
    }
    assert_eq!((one.ours().count(), two.ours().count()), (2, 2));
    assert!(matches!(one.owner(&bundle(0)), Owner::Us { epoch: 1, .. }));
    assert_eq!(two.owner(&bundle(0)), Owner::By(NodeId(1)));
    let down =
        MetaRequest::Txn { compare: Vec::new(), writes: vec![Write::Delete { key: keys::alive_key(NodeId(1)) }] };
    apply(&mut store, &mut [&mut one, &mut two], &down);
    assert_eq!((one.owner(&bundle(0)), two.owner(&bundle(0))), (Owner::Nobody, Owner::Nobody), "I1");
    assert_eq!(two.orphans().count(), 2);
    let taken = two.assign(&bundle(0), &BTreeMap::new()).unwrap();
    assert_eq!((taken.record.node, taken.record.epoch), (NodeId(2), 2), "I3");
    assert_eq!(one.guard(&bundle(0)), None);
}

#[test]
fn an_assignment_made_on_a_stale_picture_is_refused() {
    let (mut store, mut one, mut two) = (MetaState::new(), View::new(NodeId(1), 1), View::new(NodeId(2), 1));
    join(&mut store, &mut [&mut one, &mut two], 1);
    join(&mut store, &mut [&mut one, &mut two], 2);
    let (left, right) = (one.give(&bundle(0), NodeId(1)).unwrap(), two.give(&bundle(0), NodeId(2)).unwrap());
    assert!(matches!(apply(&mut store, &mut [&mut one], &left.request), MetaResponse::Committed { .. }));
    assert!(matches!(apply(&mut store, &mut [&mut one], &right.request), MetaResponse::Conflict { index: 0, .. }));
    // Its own answer goes in before the event: the event then changes nothing (I2).
    let version = one.guard(&bundle(0)).unwrap();
    assert!(matches!(version, meta_api::Compare::Version { .. }));
    let key = keys::owner_key(&bundle(0).0, bundle(0).1);
    assert_eq!(one.apply(&key, 1, None), ViewChange::Nothing, "I2");
}

#[test]
fn a_draining_node_gets_nothing_and_gives_up_what_it_has() {
    let (mut store, mut one) = (MetaState::new(), View::new(NodeId(1), 1));
    join(&mut store, &mut [&mut one], 1);
    let request = one.assign(&bundle(0), &BTreeMap::new()).unwrap().request;
    apply(&mut store, &mut [&mut one], &request);
    let drain = one.drain().unwrap();
    apply(&mut store, &mut [&mut one], &drain);
    assert_eq!((one.drain(), one.open_nodes().count(), one.live_nodes().count()), (None, 0, 1));
    assert_eq!(one.assign(&bundle(1), &BTreeMap::new()), None);
    let release = one.release(&bundle(0)).unwrap();
    apply(&mut store, &mut [&mut one], &release);
    assert_eq!(one.owner(&bundle(0)), Owner::Nobody);
}

#[test]
fn i4_a_node_without_a_majority_owns_and_assigns_nothing_until_it_is_back() {
    let (mut store, mut one) = (MetaState::new(), View::new(NodeId(1), 1));
    join(&mut store, &mut [&mut one], 1);
    let request = one.assign(&bundle(0), &BTreeMap::new()).unwrap().request;
    apply(&mut store, &mut [&mut one], &request);
    assert!(one.set_apart(true) && !one.set_apart(true), "said once");
    assert_eq!((one.owner(&bundle(0)), one.guard(&bundle(0)), one.ours().count()), (Owner::Nobody, None, 0), "I4");
    assert_eq!(one.assign(&bundle(1), &BTreeMap::new()), None, "I4");
    assert!(one.set_apart(false));
    assert!(matches!(one.owner(&bundle(0)), Owner::Us { epoch: 1, .. }));
}

#[test]
fn a_namespace_is_unloaded_by_asking_the_owners_of_its_bundles_and_of_no_others() {
    let (mut store, mut one, mut two) = (MetaState::new(), View::new(NodeId(1), 1), View::new(NodeId(2), 1));
    join(&mut store, &mut [&mut one, &mut two], 1);
    join(&mut store, &mut [&mut one, &mut two], 2);
    let namespace = bundle(0).0;
    assert_eq!(one.unload(&namespace), None, "nothing is served");
    let other = (NamespaceName::parse("a/c").unwrap(), bundle(0).1);
    for bundle in [bundle(0), bundle(1), bundle(2), other.clone()] {
        let request = one.assign(&bundle, &BTreeMap::new()).unwrap().request;
        apply(&mut store, &mut [&mut one, &mut two], &request);
    }
    let request = one.unload(&namespace).unwrap();
    assert!(matches!(apply(&mut store, &mut [&mut one, &mut two], &request), MetaResponse::Committed { .. }));
    assert!(one.is_unloading(&namespace) && !one.is_unloading(&other.0));
    assert_eq!(one.unload(&namespace), None, "it is under way");
    let mut handed = 0;
    for bundle in [bundle(0), bundle(1), bundle(2)] {
        for view in [&one.clone(), &two.clone()] {
            let Owner::Us { moving_to: Some(to), .. } = view.owner(&bundle) else { continue };
            let request = view.give(&bundle, to).unwrap().request;
            assert!(matches!(apply(&mut store, &mut [&mut one, &mut two], &request), MetaResponse::Committed { .. }));
            handed += 1;
        }
    }
    assert_eq!(handed, 3);
    assert!(!one.is_unloading(&namespace));
    assert_eq!((one.ours().count(), two.ours().count()), (2, 2), "loads stay even");
    let request = one.gather(&namespace).unwrap();
    apply(&mut store, &mut [&mut one, &mut two], &request);
    assert_eq!(one.gather(&namespace), None, "it is under way");
    for bundle in [bundle(0), bundle(1), bundle(2)] {
        if let Owner::Us { moving_to, .. } = two.owner(&bundle) {
            assert_eq!(moving_to, Some(NodeId(1)), "{bundle:?}");
        }
    }
}

#[test]
fn i5_a_divided_bundle_has_owners_again_in_the_same_transaction_and_its_old_guard_fails() {
    for spread in [false, true] {
        let (mut store, mut one, mut two) = (MetaState::new(), View::new(NodeId(1), 1), View::new(NodeId(2), 1));
        join(&mut store, &mut [&mut one, &mut two], 1);
        join(&mut store, &mut [&mut one, &mut two], 2);
        let whole = (NamespaceName::parse("a/b").unwrap(), BundleRange { lower: 0, upper: 90 });
        let parts = whole.1.parts(&[30, 60]);
        let nobodys = one.split(&whole, &parts, spread).unwrap();
        assert!(nobodys.writes.is_empty(), "who has no owner is divided without one: {nobodys:?}");
        let request = one.assign(&whole, &BTreeMap::new()).unwrap().request;
        apply(&mut store, &mut [&mut one, &mut two], &request);
        assert_eq!(two.split(&whole, &parts, spread), None, "only the owner divides it");
        let guard = one.guard(&whole).unwrap();
        let change = one.split(&whole, &parts, spread).unwrap();
        let request = MetaRequest::Txn { compare: change.compare, writes: change.writes };
        assert!(matches!(apply(&mut store, &mut [&mut one, &mut two], &request), MetaResponse::Committed { .. }), "I5");
        let owners: Vec<Owner> = parts.iter().map(|part| two.owner(&(whole.0.clone(), *part))).collect();
        let (first, us) = (Owner::By(NodeId(1)), |owner: &Owner| matches!(owner, Owner::Us { epoch: 2, .. }));
        assert_eq!(owners[0], first);
        assert_eq!(owners[1..].iter().filter(|owner| us(owner)).count(), usize::from(spread), "{owners:?}");
        assert_eq!(one.owner(&whole), Owner::Nobody);
        let late = MetaRequest::Txn { compare: vec![guard], writes: Vec::new() };
        assert!(matches!(store.apply(&late).0, MetaResponse::Conflict { .. }));
    }
}

#[test]
fn a_node_whose_disk_is_full_gets_no_bundle_and_no_part_of_one_while_another_has_room() {
    let (mut store, mut one) = (MetaState::new(), View::new(NodeId(1), 1));
    (1..=2).for_each(|node| join(&mut store, &mut [&mut one], node));
    let full = |units, read_only| NodeLoad { units, read_only, ..NodeLoad::default() };
    one.set_load(NodeId(1), full(50_000, false));
    one.set_load(NodeId(2), full(0, true));
    let whole = (bundle(0).0, BundleRange { lower: 0, upper: 90 });
    let assignment = one.assign(&whole, &BTreeMap::new()).unwrap();
    assert_eq!(assignment.record.node, NodeId(1));
    apply(&mut store, &mut [&mut one], &assignment.request);
    let change = one.split(&whole, &whole.1.parts(&[30]), true).unwrap();
    let parts = change.writes.iter().filter_map(|write| match write {
        Write::Put { value, .. } => Some(OwnerRecord::decode(value).unwrap().node),
        Write::Delete { .. } => None,
    });
    assert_eq!(parts.collect::<Vec<_>>(), [NodeId(1), NodeId(1)]);
    one.set_load(NodeId(1), full(50_000, true));
    assert_eq!(one.assign(&bundle(1), &BTreeMap::new()).unwrap().record.node, NodeId(2), "all are full");
}

#[test]
fn a_bundle_goes_to_the_node_with_the_least_traffic_and_a_chosen_one_where_it_is_wanted() {
    let (mut store, mut one) = (MetaState::new(), View::new(NodeId(1), 1));
    for node in 1..=3 {
        join(&mut store, &mut [&mut one], node);
    }
    let load = |units| NodeLoad { units, ..NodeLoad::default() };
    one.set_load(NodeId(1), load(50_000));
    one.set_load(NodeId(2), load(20_000));
    let assignment = one.assign(&bundle(0), &BTreeMap::new()).unwrap();
    assert_eq!(assignment.record.node, NodeId(3));
    apply(&mut store, &mut [&mut one], &assignment.request);
    assert_eq!(one.move_bundle(&bundle(0), NodeId(3)), None, "it is there");
    assert_eq!(one.move_bundle(&bundle(0), NodeId(4)), None, "no such node");
    assert_eq!(one.move_bundle(&bundle(1), NodeId(1)), None, "nobody could hand it over");
    let request = one.move_bundle(&bundle(0), NodeId(1)).unwrap();
    apply(&mut store, &mut [&mut one], &request);
    assert!(one.is_unloading(&bundle(0).0));
    assert_eq!(one.move_bundle(&bundle(0), NodeId(2)), None, "it moves already");
}
