//! The nodes of a region: shown, removed; and what concerns all of them.

use super::bed::Bed;
use crate::Method::{Delete, Put};
use base::{NamespaceName, NodeId};
use cluster::{NodeRecord, OwnerRecord};
use meta_api::{MetaRequest, MetaResponse};
use serde_json::json;
use tenancy::{BundleRange, keys};

fn owner_key(lower: u32) -> String {
    let namespace = NamespaceName::parse("acme/orders").unwrap();
    keys::owner_key(&namespace, BundleRange { lower, upper: lower + 0x4000_0000 })
}

fn give(bed: &mut Bed, lower: u32, node: u64) {
    let record = OwnerRecord { node: NodeId(node), incarnation: 1, epoch: 1, moving_to: None };
    bed.put(owner_key(lower), record.encode());
}

fn found(bed: &mut Bed, key: String) -> Option<bytes::Bytes> {
    let answer = bed.meta.read(&MetaRequest::Get { key });
    let Some(MetaResponse::Value(found)) = answer else { panic!("{answer:?}") };
    found.map(|found| found.value)
}

#[test]
fn the_status_shows_what_each_node_is_to_the_region() {
    let mut bed = Bed::of_nodes(3);
    give(&mut bed, 0, 2);
    bed.delete(keys::alive_key(NodeId(3)));
    bed.broker.set_members(vec![NodeId(1), NodeId(3)], vec![NodeId(2)]);
    let status = bed.get("/admin/v2/cluster/status");
    let shown = |key: &str| (0..3).map(|at| status["nodes"][at][key].clone()).collect::<Vec<_>>();
    assert_eq!(shown("id"), [1, 2, 3]);
    assert_eq!(shown("up"), [true, true, false]);
    assert_eq!(shown("metadata"), ["leader", "learner", "voter"]);
    assert_eq!(shown("gateway"), [true, false, false]);
    assert_eq!(shown("bundles"), [0, 1, 0]);
    assert_eq!(shown("zone"), ["z1", "z2", "z3"]);
    let alone = Bed::furnished().get("/admin/v2/cluster/status");
    assert_eq!(alone["nodes"][0]["metadata"], json!("leader"));
}

#[test]
fn a_node_that_is_up_is_removed_only_by_force_or_when_it_is_drained() {
    let mut bed = Bed::of_nodes(4);
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/4", "");
    assert!(status == 412 && reason.contains("node 4 is up: stop it first"), "{status} {reason}");
    give(&mut bed, 0, 4);
    let draining = NodeRecord { incarnation: 1, draining: true, ..NodeRecord::default() };
    bed.put(keys::node_key(NodeId(4)), draining.encode());
    assert_eq!(bed.refused(Delete, "/admin/v2/cluster/nodes/4", "").0, 412, "it still serves");
    bed.delete(owner_key(0));
    bed.ok(Delete, "/admin/v2/cluster/nodes/4", "");
    bed.ok(Delete, "/admin/v2/cluster/nodes/3?force=true", "");
    for node in [3, 4] {
        assert_eq!(found(&mut bed, keys::node_key(NodeId(node))), None);
        assert_eq!(found(&mut bed, keys::alive_key(NodeId(node))), None);
    }
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/4", "");
    assert!(status == 404 && reason.contains("no node 4"), "{status} {reason}");
    assert_eq!(bed.refused(Delete, "/admin/v2/cluster/nodes/four", "").0, 412);
    assert_eq!(Bed::furnished().refused(Delete, "/admin/v2/cluster/nodes/1?force=true", "").0, 404);
}

#[test]
fn a_node_that_is_down_is_removed_unless_the_metadata_would_lose_its_majority() {
    let mut bed = Bed::of_nodes(3);
    bed.delete(keys::alive_key(NodeId(3)));
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/2?force=true", "");
    assert!(status == 412 && reason.contains("these voters are down: 3"), "{status} {reason}");
    bed.ok(Delete, "/admin/v2/cluster/nodes/3", "");
    bed.broker.set_members(vec![NodeId(1), NodeId(2)], Vec::new());
    bed.ok(Delete, "/admin/v2/cluster/nodes/2?force=true", "");
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/1?force=true", "");
    assert!(status == 412 && reason.contains("the only one"), "{status} {reason}");
}

#[test]
fn a_namespace_is_unloaded_at_every_owner_and_its_owner_records_go_with_it() {
    let mut bed = Bed::of_nodes(2);
    bed.ok(Put, "/admin/v2/clusters/east", r#"{"serviceUrl":"http://127.0.0.1:8080","regionNumber":1}"#);
    bed.ok(Put, "/admin/v2/tenants/acme", r#"{"allowedClusters":["east"]}"#);
    bed.ok(Put, "/admin/v2/namespaces/acme/orders", "");
    give(&mut bed, 0, 2);
    give(&mut bed, 0x4000_0000, 2);
    assert_eq!(bed.call(Put, "/admin/v2/namespaces/acme/orders/unload", ""), None, "node 2 has to hand over");
    for lower in [0, 0x4000_0000] {
        let record = OwnerRecord::decode(&found(&mut bed, owner_key(lower)).unwrap()).unwrap();
        let to = record.moving_to.unwrap();
        bed.put(owner_key(lower), OwnerRecord { node: to, epoch: 2, moving_to: None, ..record }.encode());
    }
    assert_eq!(bed.answers.len(), 1);
    assert_eq!(bed.answers[0].1.status, 204);
    bed.ok(Delete, "/admin/v2/namespaces/acme/orders", "");
    assert_eq!(found(&mut bed, owner_key(0)), None);
}
