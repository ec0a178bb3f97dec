//! How requests wait: for the directory, for conflicts, for answers that never come.

use super::bed::{Bed, Order};
use crate::Method::{Get, Post, Put};
use meta_api::MetaResponse;
use serde_json::json;
use std::time::Duration;

const TTL: &str = "/admin/v2/namespaces/acme/orders/messageTTL";

#[test]
fn a_write_is_answered_only_when_a_read_would_show_it() {
    let mut bed = Bed::furnished();
    bed.order = Order::EventsHeld;
    let write = bed.start(Post, TTL, "60");
    assert!(bed.answer_to(write).is_none());
    assert_eq!(bed.ok(Get, TTL, "").status, 204);
    bed.release_events();
    assert_eq!(bed.answer_to(write).unwrap().status, 204);
    assert_eq!(bed.get(TTL), json!(60));
}

#[test]
fn events_may_come_before_the_answer() {
    let mut bed = Bed::furnished();
    bed.order = Order::EventsFirst;
    bed.ok(Post, TTL, "60");
    assert_eq!(bed.get(TTL), json!(60));
    bed.ok(Put, "/admin/v2/persistent/acme/orders/t", "");
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders"), json!(["persistent://acme/orders/t"]));
}

#[test]
fn a_change_that_stays_invisible_is_answered_after_a_while_for_it_is_durable() {
    let mut bed = Bed::furnished();
    bed.order = Order::EventsHeld;
    let write = bed.start(Post, TTL, "60");
    bed.pass(Duration::from_secs(6));
    assert_eq!(bed.answer_to(write).unwrap().status, 204);
    assert_eq!(bed.api.pending(), 0);
}

#[test]
fn a_conflict_repeats_the_edit_and_gives_up_after_some() {
    let mut bed = Bed::furnished();
    let conflict = MetaResponse::Conflict { index: 0, actual: None };
    bed.meta_faults.extend(vec![conflict.clone(); 3]);
    bed.ok(Post, TTL, "60");
    assert_eq!(bed.get(TTL), json!(60));
    bed.meta_faults.extend(vec![conflict; 8]);
    assert_eq!(bed.refused(Post, TTL, "61").0, 409);
    assert_eq!(bed.get(TTL), json!(60));
}

#[test]
fn an_unavailable_store_is_503() {
    let mut bed = Bed::furnished();
    bed.meta_faults.push_back(MetaResponse::Unavailable { reason: "no leader".to_owned() });
    let (status, reason) = bed.refused(Post, TTL, "60");
    assert_eq!(status, 503);
    assert!(reason.contains("no leader"), "{reason}");
}

#[test]
fn tasks_are_bounded() {
    let mut bed = Bed::furnished();
    bed.order = Order::EventsHeld;
    for _ in 0..1024 {
        bed.start(Post, TTL, "60");
    }
    assert_eq!(bed.api.pending(), 1024);
    assert_eq!(bed.refused(Post, TTL, "60").0, 503);
    bed.release_events();
    assert_eq!(bed.api.pending(), 0);
    assert_eq!(bed.answers.len(), 1024);
}
