//! The nodes of a region: shown, removed; and what concerns all of them.

use super::bed::Bed;
use crate::Method::{Delete, Put};
use base::{EntryId, LedgerId, NamespaceName, NodeId};
use cluster::{AliveRecord, NodeRecord, OwnerRecord};
use ledger::{LedgerMetadata, LedgerState, ReplicationConfig};
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
fn a_node_with_the_only_copies_within_reach_is_removed_only_by_force() {
    let mut bed = Bed::of_nodes(4);
    [3, 4].into_iter().for_each(|node| bed.delete(keys::alive_key(NodeId(node))));
    let mut alone = Bed::furnished();
    // More ledgers than are asked for at once; the last one has no copy elsewhere.
    for (ledger, bookies) in (1..=600).map(|ledger| (ledger, [1, 3, 4])).chain([(601, [3, 4, 0])]) {
        let replication = ReplicationConfig::new(3, 3, 2).unwrap();
        let metadata = LedgerMetadata::new(replication, bookies.map(NodeId).to_vec(), 0).unwrap();
        let closed = LedgerMetadata { state: LedgerState::Closed { last_entry: EntryId(9), length: 0 }, ..metadata };
        bed.put(LedgerId(ledger).key(), serde_json::to_vec(&closed).unwrap().into());
        alone.put(LedgerId(ledger).key(), serde_json::to_vec(&closed).unwrap().into());
    }
    assert_eq!(alone.refused(Delete, "/admin/v2/cluster/nodes/1", "").0, 404, "whatever its ledgers say");
    let (_, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/1", "");
    assert!(reason.contains("node 1 is up: stop it first"), "{reason}");
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/3", "");
    assert!(status == 412 && reason.contains("ledger 601") && reason.contains("--force"), "{status} {reason}");
    bed.put(keys::alive_key(NodeId(4)), AliveRecord { incarnation: 1 }.encode());
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    let open = LedgerMetadata::new(replication, [3, 4, 5].map(NodeId).to_vec(), 0).unwrap();
    bed.put(LedgerId(602).key(), serde_json::to_vec(&open).unwrap().into());
    let (status, reason) = bed.refused(Delete, "/admin/v2/cluster/nodes/3", "");
    assert!(status == 412 && reason.contains("ledger 602"), "it may be on 3 and 5 alone: {status} {reason}");
    let open = LedgerMetadata::new(replication, [3, 4, 2].map(NodeId).to_vec(), 0).unwrap();
    bed.put(LedgerId(602).key(), serde_json::to_vec(&open).unwrap().into());
    bed.ok(Delete, "/admin/v2/cluster/nodes/3", "");
    bed.ok(Delete, "/admin/v2/cluster/nodes/4?force=true", "");
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

/// Two nodes and the namespace `acme/orders` with two topics in its first bundle, which node 1 serves.
fn with_bundles() -> Bed {
    let mut bed = Bed::of_nodes(2);
    bed.ok(Put, "/admin/v2/clusters/east", r#"{"serviceUrl":"http://127.0.0.1:8080","regionNumber":1}"#);
    bed.ok(Put, "/admin/v2/tenants/acme", r#"{"allowedClusters":["east"]}"#);
    bed.ok(Put, "/admin/v2/namespaces/acme/orders", "");
    bed
}

const SPLIT: &str = "/admin/v2/namespaces/acme/orders/0x00000000_0x40000000/split";

#[test]
fn a_bundle_is_split_at_its_owner_and_the_parts_have_owners_at_once() {
    for (query, second) in [("", 1), ("?unload=true&splitAlgorithmName=range_equally_divide", 2)] {
        let mut bed = with_bundles();
        give(&mut bed, 0, 1);
        let before = bed.meta.get("/namespaces/acme/orders").cloned().unwrap();
        bed.ok(Put, &format!("{SPLIT}{query}"), "");
        let bundles = bed.get("/admin/v2/namespaces/acme/orders/bundles");
        let expected = ["0x00000000", "0x20000000", "0x40000000", "0x80000000", "0xc0000000", "0xffffffff"];
        assert_eq!(bundles["boundaries"], json!(expected));
        assert_eq!(found(&mut bed, owner_key(0)), None);
        let namespace = NamespaceName::parse("acme/orders").unwrap();
        for (lower, node) in [(0, 1), (0x2000_0000, second)] {
            let key = keys::owner_key(&namespace, BundleRange { lower, upper: lower + 0x2000_0000 });
            let owner = OwnerRecord { node: NodeId(node), incarnation: 1, epoch: 2, moving_to: None };
            assert_eq!(OwnerRecord::decode(&found(&mut bed, key).unwrap()), Some(owner));
        }
        let read = |value: &[u8]| serde_json::from_slice::<tenancy::PolicyRecord>(value).unwrap().version;
        let after = bed.meta.get("/namespaces/acme/orders").unwrap();
        assert_eq!(read(&after.value), read(&before.value), "other regions have bundles of their own");
    }
}

#[test]
fn a_bundle_that_another_node_serves_is_split_there_and_one_without_an_owner_here() {
    let mut bed = with_bundles();
    give(&mut bed, 0, 2);
    let answer = bed.ask(Put, &format!("{SPLIT}?unload=false"), "");
    assert_eq!(answer.status, 307);
    let there = format!("http://10.0.0.2:8080{SPLIT}?unload=false&splitAlgorithmName=");
    assert!(answer.headers.contains(&("Location".to_owned(), there)), "{:?}", answer.headers);
    bed.delete(owner_key(0));
    bed.ok(Put, SPLIT, "");
    assert_eq!(bed.get("/admin/v2/namespaces/acme/orders/bundles")["numBundles"], 5);
}

#[test]
fn a_split_that_cannot_be_says_why() {
    let mut bed = Bed::furnished();
    for (path, status, word) in [
        ("acme/orders/0x00000000_0x10000000/split", 412, "bundle 0x00000000_0x10000000 does not exist"),
        ("acme/orders/all/split", 412, "a bundle is written"),
        ("acme/orders/0x00000000_0x40000000/split?splitAlgorithmName=by_feeling", 412, "Unsupported namespace bundle"),
        (
            "acme/orders/0x00000000_0x40000000/split?splitAlgorithmName=topic_count_equally_divide",
            412,
            "fewer than two",
        ),
        ("acme/orders/0x00000000_0x40000000/split?splitAlgorithmName=specified_positions_divide", 412, "boundaries"),
        ("acme/nothing/0x00000000_0x40000000/split", 404, "Namespace does not exist"),
    ] {
        let (code, reason) = bed.refused(Put, &format!("/admin/v2/namespaces/{path}"), "");
        assert!(code == status && reason.contains(word), "{path}: {code} {reason}");
    }
    bed.ok(Put, &format!("{SPLIT}?splitAlgorithmName=specified_positions_divide"), "[1]");
    let smallest = "/admin/v2/namespaces/acme/orders/0x00000000_0x00000001/split";
    let (code, reason) = bed.refused(Put, smallest, "");
    assert!(code == 412 && reason.contains("the smallest there is"), "{code} {reason}");
    bed.become_role(Some("producer"));
    assert_eq!(bed.refused(Put, SPLIT, "").0, 403);
}

#[test]
fn the_only_node_of_a_region_divides_the_largest_bundle_between_its_topics() {
    let mut bed = Bed::furnished();
    for at in 0..12 {
        bed.ok(Put, &format!("/admin/v2/persistent/acme/orders/t{at}"), "");
    }
    bed.ok(
        Put,
        "/admin/v2/namespaces/acme/orders/LARGEST/split?splitAlgorithmName=topic_count_equally_divide&unload=true",
        "",
    );
    assert_eq!(bed.get("/admin/v2/namespaces/acme/orders/bundles")["numBundles"], 5);
    bed.ok(Put, "/admin/v2/namespaces/acme/orders/LARGEST/split", "");
    assert_eq!(bed.get("/admin/v2/namespaces/acme/orders/bundles")["numBundles"], 6);
}

#[test]
fn a_bundle_moves_to_the_broker_that_an_operator_names() {
    let unload = "/admin/v2/namespaces/acme/orders/0x00000000_0x40000000/unload";
    let mut bed = with_bundles();
    give(&mut bed, 0, 1);
    bed.ok(Put, &format!("{unload}?destinationBroker=10.0.0.2:8080"), "");
    let owner = OwnerRecord { node: NodeId(2), incarnation: 1, epoch: 2, moving_to: None };
    assert_eq!(OwnerRecord::decode(&found(&mut bed, owner_key(0)).unwrap()), Some(owner));
    bed.ok(Put, &format!("{unload}?destinationBroker=2"), "");
    let (code, reason) = bed.refused(Put, &format!("{unload}?destinationBroker=10.0.0.9:8080"), "");
    assert!(code == 404 && reason.contains("no broker 10.0.0.9:8080"), "{code} {reason}");
    bed.delete(keys::alive_key(NodeId(1)));
    let (code, reason) = bed.refused(Put, &format!("{unload}?destinationBroker=1"), "");
    assert!(code == 412 && reason.contains("down or draining"), "{code} {reason}");
}
