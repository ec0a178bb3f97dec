//! What clients really send (facts/pulsar-admin-rest.md §9).

use super::bed::Bed;
use crate::Method::{Delete, Post, Put};
use serde_json::json;

#[test]
fn numbers_arrive_as_texts_and_objects_as_nothing() {
    let mut bed = Bed::furnished();
    let base = "/admin/v2/persistent/acme/orders";
    for (topic, body) in
        [("rs", "\"2\""), ("node", "2"), ("go", r#"{"properties":null,"partitions":2}"#), ("text", "2 ")]
    {
        assert_eq!(bed.ok(Put, &format!("{base}/{topic}/partitions"), body).status, 204, "{body}");
        assert_eq!(bed.get(&format!("{base}/{topic}/partitions"))["partitions"], json!(2));
        assert_eq!(bed.ok(Delete, &format!("{base}/{topic}/partitions"), "{}").status, 204);
    }
    for (topic, body) in [("a", ""), ("b", "null"), ("c", "{}"), ("d", r#"{"k":"v"}"#)] {
        assert_eq!(bed.ok(Put, &format!("{base}/{topic}"), body).status, 204, "{body}");
        assert_eq!(bed.ok(Delete, &format!("{base}/{topic}"), "null").status, 204);
    }
}

#[test]
fn namespaces_take_partial_policies() {
    let mut bed = Bed::furnished();
    let body =
        r#"{"auth_policies":{"namespace_auth":{"anonymous":["produce","consume"]}},"replication_clusters":["east"]}"#;
    bed.ok(Put, "/admin/v2/namespaces/acme/py", body);
    assert_eq!(bed.get("/admin/v2/namespaces/acme/py/permissions"), json!({"anonymous": ["produce", "consume"]}));
}

#[test]
fn old_names_and_quoted_values_of_policies_are_taken() {
    let mut bed = Bed::furnished();
    let base = "/admin/v2/namespaces/acme/orders";
    bed.ok(Post, &format!("{base}/backlogQuota"), r#"{"limit":"10240","policy":"consumer_backlog_eviction"}"#);
    assert_eq!(bed.get(&format!("{base}/backlogQuotaMap"))["destination_storage"]["limitSize"], json!(10240));
    for (policy, body, value) in [
        ("deduplication", "true", json!(true)),
        ("deduplication", "\"false\"", json!(false)),
        ("messageTTL", "\"60\"", json!(60)),
    ] {
        bed.ok(Post, &format!("{base}/{policy}"), body);
        assert_eq!(bed.get(&format!("{base}/{policy}")), value);
    }
    bed.ok(Post, &format!("{base}/publishRate"), r#"{"publishThrottlingRateInMsg":"10"}"#);
    assert_eq!(bed.get(&format!("{base}/publishRate"))["publishThrottlingRateInMsg"], json!(10));
}
