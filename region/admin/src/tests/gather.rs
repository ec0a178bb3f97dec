//! Requests about topics of several owners, made at any node.

use super::town::{Letter, Says, Town};
use crate::Method::{Delete, Get, Post, Put};
use crate::asks::ASK_TIME_MAX;
use base::{NodeId, Rng};
use serde_json::json;
use std::time::Duration;

const TP: &str = "/admin/v2/persistent/acme/orders/t";
const NAMESPACE: &str = "/admin/v2/namespaces/acme/orders";
const NODES: [u64; 3] = [1, 2, 3];

fn partition(index: u32) -> String {
    format!("persistent://acme/orders/t-partition-{index}")
}

/// Three nodes that serve one, one and two of four bundles, and a topic of so many partitions on all of them.
fn spread(partitions: u32, seed: u64) -> Town {
    let mut town = Town::of(3, seed);
    for (bundle, node) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
        town.give(bundle, node, 1);
    }
    town.ok(1, Put, &format!("{TP}/partitions"), &partitions.to_string());
    // Each node creates what it serves.
    for node in NODES {
        town.ok(node, Post, &format!("{TP}/createMissedPartitions"), "");
    }
    town
}

fn asked(letters: &[Letter]) -> Vec<u64> {
    let mut nodes: Vec<u64> = letters.iter().map(|letter| letter.to.0).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

#[test]
fn every_node_answers_for_all_partitions_whoever_serves_them() {
    for node in NODES {
        let mut town = spread(8, node);
        let (sub, one) = (format!("{TP}/subscription/s"), partition(5));
        town.ok(node, Put, &sub, "");
        assert_eq!(town.ask(node, Put, &sub, "").status, 409, "it exists everywhere");
        assert_eq!(town.ok(node, Get, &format!("{TP}/subscriptions"), "").json(), json!(["s"]));
        let stats = town.ok(node, Get, &format!("{TP}/partitioned-stats"), "").json();
        assert_eq!(stats["metadata"]["partitions"], json!(8));
        assert_eq!(stats["partitions"].as_object().unwrap().len(), 8);
        assert!(stats["partitions"][&one]["subscriptions"]["s"].is_object(), "{stats}");
        let sum = town.ok(node, Get, &format!("{TP}/partitioned-stats?perPartition=false"), "").json();
        assert_eq!(sum["partitions"], json!({}));
        assert_eq!(sum["subscriptions"]["s"]["isDurable"], json!(true));
        let inside = town.ok(node, Get, &format!("{TP}/partitioned-internalStats"), "").json();
        assert_eq!(inside["metadata"], json!({"partitions": 8, "deleted": false}));
        assert_eq!(inside["partitions"].as_object().unwrap().len(), 8);
        assert!(inside["partitions"][&one]["cursors"]["s"].is_object(), "{inside}");
        for path in ["skip_all", "expireMessages/1", "resetcursor/0"] {
            town.ok(node, Post, &format!("{sub}/{path}"), "");
        }
        town.ok(node, Post, &format!("{TP}/all_subscription/expireMessages/1"), "");
        town.ok(node, Put, &format!("{TP}/unload"), "");
        assert_eq!(town.ask(node, Post, &format!("{sub}/skip/1"), "").status, 405, "as in Pulsar");
        assert_eq!(town.ask(node, Delete, &format!("{TP}/partitions"), "").status, 412, "a subscription is in the way");
        town.ok(node, Delete, &sub, "");
        assert_eq!(town.ask(node, Delete, &sub, "").status, 404);
        town.ok(node, Delete, &format!("{TP}/partitions"), "");
        assert_eq!(town.ask(node, Get, &format!("{TP}/partitioned-stats"), "").status, 404);
        assert!(town.sent > 100, "others were asked: {}", town.sent);
    }
}

#[test]
fn a_namespace_is_worked_on_at_all_its_owners() {
    for node in NODES {
        let mut town = spread(8, node);
        for name in ["s", "other"] {
            town.ok(node, Put, &format!("{TP}/subscription/{name}"), "");
        }
        town.ok(node, Post, &format!("{NAMESPACE}/clearBacklog"), "");
        town.ok(node, Post, &format!("{NAMESPACE}/clearBacklog/s"), "");
        town.ok(node, Post, &format!("{NAMESPACE}/unsubscribe/s"), "");
        assert_eq!(town.ok(node, Get, &format!("{TP}/subscriptions"), "").json(), json!(["other"]));
    }
}

#[test]
fn one_topic_is_still_redirected_and_several_of_one_other_owner_are() {
    let mut town = spread(8, 1);
    town.give(0, 2, 2);
    town.give(2, 2, 2);
    town.give(3, 2, 2);
    let answer = town.ask(1, Get, &format!("{TP}/partitioned-stats"), "");
    let there = format!("http://10.0.0.2:8080{TP}/partitioned-stats");
    assert_eq!((answer.status, answer.headers[0].1.clone()), (307, there));
    let answer = town.ask(3, Get, &format!("{TP}-partition-1/stats?getPreciseBacklog=true"), "");
    let there = format!("http://10.0.0.2:8080{TP}-partition-1/stats?getPreciseBacklog=true");
    assert_eq!((answer.status, answer.headers[0].1.clone()), (307, there));
    town.ok(2, Get, &format!("{TP}/partitioned-stats"), "");
}

#[test]
fn a_failure_of_one_partition_names_it() {
    for node in NODES {
        let mut town = spread(8, node);
        let sub = format!("{TP}/subscription/s");
        town.ok(node, Put, &sub, "");
        let alone = format!("{TP}-partition-5/subscription/s");
        assert!(NODES.into_iter().any(|owner| town.ask(owner, Delete, &alone, "").status == 204));
        let answer = town.ask(node, Post, &format!("{sub}/skip_all"), "");
        assert_eq!(answer.status, 404);
        assert!(answer.reason().contains(&partition(5)), "{}", answer.reason());
        // What is there only in part can be deleted, and created again.
        town.ok(node, Put, &sub, "");
        town.ok(node, Post, &format!("{sub}/skip_all"), "");
        assert!(NODES.into_iter().any(|owner| town.ask(owner, Delete, &alone, "").status == 204));
        town.ok(node, Delete, &sub, "");
    }
}

#[test]
fn whoever_may_not_is_refused_before_anybody_is_asked() {
    let mut town = spread(8, 1);
    town.become_role(Some("stranger"));
    let before = town.sent;
    for (method, path) in [
        (Get, format!("{TP}/partitioned-stats")),
        (Delete, format!("{TP}/subscription/s")),
        (Post, format!("{NAMESPACE}/clearBacklog")),
        (Delete, format!("{TP}/partitions")),
    ] {
        assert_eq!(town.ask(1, method, &path, "").status, 403, "{path}");
    }
    assert_eq!(town.sent, before);
}

#[test]
fn an_owner_that_is_lost_unreachable_or_silent_is_named_with_the_remedy() {
    let waits = |town: &mut Town| {
        let id = town.start(1, Get, &format!("{TP}/partitioned-stats"), "");
        assert_eq!(asked(&town.letters), [2, 3]);
        let letters = std::mem::take(&mut town.letters);
        let (two, three) = letters.into_iter().partition(|letter| letter.to == NodeId(2));
        town.letters = three;
        town.settle();
        assert!(town.answer_to(1, id).is_none());
        (id, two)
    };
    let refused = |town: &mut Town, id| {
        let answer = town.answer_to(1, id).unwrap();
        let reason = answer.reason();
        assert_eq!(answer.status, 503);
        assert!(reason.contains("node 2 at http://10.0.0.2:8080") && reason.contains("try again"), "{reason}");
        assert!(reason.starts_with("persistent://acme/orders/t-partition-"), "{reason}");
        reason
    };
    let mut town = spread(8, 7);
    let (id, _) = waits(&mut town);
    town.lose(1, 2);
    assert!(refused(&mut town, id).contains("was lost before it answered"));

    let mut town = spread(8, 7);
    let (id, letters): (_, Vec<Letter>) = waits(&mut town);
    letters.iter().for_each(|letter| town.send_back(letter));
    assert!(refused(&mut town, id).contains("nothing was done there"));

    let mut town = spread(8, 7);
    let (id, letters) = waits(&mut town);
    town.pass(ASK_TIME_MAX);
    assert!(refused(&mut town, id).contains("gave no answer within 15 s"));
    // Nobody waits for what comes later.
    town.letters = letters;
    town.settle();
    town.ok(1, Get, &format!("{TP}/partitioned-stats"), "");
}

#[test]
fn a_thousand_partitions_are_asked_for_a_few_at_a_time() {
    let mut town = spread(1000, 3);
    let id = town.start(1, Get, &format!("{TP}/partitioned-stats"), "");
    let mut most = 0;
    while town.step() {
        most = most.max(town.letters.len());
    }
    let stats = town.answer_to(1, id).unwrap().json();
    assert_eq!(stats["partitions"].as_object().unwrap().len(), 1000);
    assert!((2..=64).contains(&most), "{most} at once");
}

/// Bundles change hands while a request goes about, and nodes hear of it in any order.
#[test]
fn what_moves_meanwhile_is_asked_for_where_it_is_then() {
    let mut whole = 0;
    for seed in 0..150 {
        let mut town = spread(8, seed);
        town.ok(2, Put, &format!("{TP}/subscription/s"), "");
        let mut rng = Rng::new(seed);
        let node = 1 + rng.below(3);
        let path = format!("{TP}/partitioned-stats");
        let id = town.start(node, Get, &path, "");
        for epoch in 2..=1 + rng.below(3) {
            for _ in 0..rng.below(20) {
                town.step();
            }
            let bundle = u32::try_from(rng.below(4)).unwrap();
            town.hand(bundle, 1 + rng.below(3), epoch);
        }
        town.settle();
        let answer = town.answer_to(node, id).unwrap_or_else(|| panic!("seed {seed}: no answer"));
        if answer.status == 200 {
            whole += 1;
            let stats = answer.json();
            assert_eq!(stats["partitions"].as_object().unwrap().len(), 8, "seed {seed}");
            assert!(stats["partitions"].as_object().unwrap().values().all(|one| one["subscriptions"]["s"].is_object()));
        } else {
            assert_eq!(answer.status, 503, "seed {seed}: {}", answer.body);
        }
        let again = town.ask(node, Get, &path, "");
        assert!([200, 307].contains(&again.status), "seed {seed}: {} {}", again.status, again.body);
    }
    assert!(whole > 120, "{whole} of 150 were answered in full");
}

#[test]
fn a_topic_of_no_namespace_is_not_looked_for_for_ever() {
    let mut town = Town::of(2, 1);
    for path in ["lastMessageId", "stats", "messageid/0"] {
        let answer = town.ask(1, Get, &format!("/admin/v2/persistent/acme/none/t/{path}"), "");
        assert!([404, 503].contains(&answer.status), "{path}: {} {}", answer.status, answer.body);
    }
}

#[test]
fn answers_count_only_from_the_node_that_was_asked_and_once() {
    let mut town = spread(8, 4);
    let id = town.start(1, Get, &format!("{TP}/partitioned-stats"), "");
    let Letter { from, says: Says::Ask { id: number, .. }, .. } = town.letters[0].clone() else {
        panic!("no question")
    };
    let wrong = if town.letters[0].to == NodeId(2) { NodeId(3) } else { NodeId(2) };
    let asker = crate::Asker { node: from, incarnation: 1, id: number };
    let lie = Letter { from: wrong, to: from, says: Says::Answer { asker, content: "\"Done\"".into() } };
    town.letters.extend([lie.clone(), lie]);
    town.settle();
    let stats = town.answer_to(1, id).unwrap();
    assert_eq!((stats.status, stats.json()["partitions"].as_object().unwrap().len()), (200, 8));
    town.pass(Duration::from_secs(60));
}
