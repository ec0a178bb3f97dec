//! Namespaces and everything that is set on them.

use super::bed::Bed;
use crate::Method::{Delete, Get, Post, Put};
use crate::namespace_policies::TABLE;
use crate::policy::{Setter, Shape};
use serde_json::{Value, json};

const NS: &str = "/admin/v2/namespaces/acme/orders";

#[test]
fn namespaces_are_created_listed_read_and_deleted() {
    let mut bed = Bed::furnished();
    bed.ok(Put, "/admin/v2/namespaces/acme/more", r#"{"bundles":{"numBundles":2},"unknown":1}"#);
    assert_eq!(bed.get("/admin/v2/namespaces/acme"), json!(["acme/more", "acme/orders"]));
    let policies = bed.get("/admin/v2/namespaces/acme/more");
    assert_eq!(policies["replication_clusters"], json!(["east"]));
    assert_eq!(policies["bundles"]["numBundles"], json!(2));
    assert_eq!(policies["schema_compatibility_strategy"], json!("UNDEFINED"));
    assert!(policies.as_object().unwrap().contains_key("retention_policies"));
    assert_eq!(bed.refused(Put, "/admin/v2/namespaces/acme/more", "").0, 409);
    assert_eq!(bed.refused(Put, "/admin/v2/namespaces/nobody/x", "").0, 404);
    assert_eq!(bed.refused(Put, "/admin/v2/namespaces/acme/x", r#"{"replication_clusters":["nowhere"]}"#).0, 412);
    bed.ok(Delete, "/admin/v2/namespaces/acme/more", "");
    assert_eq!(bed.refused(Get, "/admin/v2/namespaces/acme/more", "").0, 404);
    assert_eq!(bed.refused(Delete, "/admin/v2/namespaces/acme/more", "").0, 404);
}

#[test]
fn a_namespace_with_topics_goes_only_by_force() {
    let mut bed = Bed::furnished();
    bed.ok(Put, "/admin/v2/persistent/acme/orders/t", "");
    bed.ok(Put, "/admin/v2/persistent/acme/orders/t/subscription/s", "");
    bed.ok(Put, "/admin/v2/persistent/acme/orders/p/partitions", "3");
    bed.ok(Post, "/admin/v2/persistent/acme/orders/t/maxProducers", "3");
    let (status, reason) = bed.refused(Delete, NS, "");
    assert_eq!(status, 409);
    assert!(reason.contains("acme/orders") && reason.contains("force"), "{reason}");
    bed.ok(Delete, &format!("{NS}?force=true"), "");
    assert_eq!(bed.get("/admin/v2/namespaces/acme"), json!([]));
    for family in ["/topics/", "/partitioned/", "/topic-policies/", "/schemas/", "/ml/", "/namespaces/"] {
        let prefix = format!("{family}acme/");
        let left: Vec<&str> = bed.meta.iter_prefix(&prefix).map(|(key, _)| key).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn every_write_raises_the_version_and_names_the_writer() {
    let mut bed = Bed::furnished();
    let record = |bed: &Bed| -> Value {
        serde_json::from_slice(&bed.meta.get("/namespaces/acme/orders").unwrap().value).unwrap()
    };
    let before = record(&bed)["version"].as_u64().unwrap();
    bed.ok(Post, &format!("{NS}/messageTTL"), "60");
    bed.ok(Delete, &format!("{NS}/messageTTL"), "");
    assert_eq!(record(&bed)["version"], json!(before + 2));
    assert_eq!(record(&bed)["writer"], json!("east"));
}

/// A value that each policy takes.
fn sample(path: &str, shape: Shape) -> Value {
    match (path, shape) {
        ("subscriptionAuthMode", _) => json!("Prefix"),
        ("schemaCompatibilityStrategy", _) => json!("FULL"),
        ("autoTopicCreation", _) => {
            json!({"allowAutoTopicCreation": true, "topicType": "partitioned", "defaultNumPartitions": 3})
        }
        ("persistence", _) => json!({
            "bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 1, "bookkeeperAckQuorum": 1,
            "managedLedgerMaxMarkDeleteRate": 0.0
        }),
        ("retention", _) => json!({"retentionTimeInMinutes": 10, "retentionSizeInMB": 20}),
        (_, Shape::Number { .. }) => json!(7),
        (_, Shape::Flag) => json!(true),
        (_, Shape::Text) => json!("text"),
        (_, Shape::List) => json!(["Exclusive", "Shared"]),
        (_, Shape::Object) => json!({}),
    }
}

#[test]
fn every_policy_is_unset_set_read_and_removed() {
    let mut bed = Bed::furnished();
    for policy in TABLE {
        let path = format!("{NS}/{}", policy.path);
        let unset = bed.ok(Get, &path, "");
        let value = sample(policy.path, policy.shape);
        let (setter, other) = if policy.setter == Setter::Post { (Post, Put) } else { (Put, Post) };
        assert_eq!(bed.refused(other, &path, &value.to_string()).0, 405, "{path}");
        assert_eq!(bed.ok(setter, &path, &value.to_string()).status, 204, "{path}");
        let read = bed.get(&path);
        match (&read, &value) {
            (Value::Object(read), Value::Object(value)) => {
                assert!(value.iter().all(|(key, own)| read.get(key) == Some(own)), "{path}: {read:?}");
            }
            _ => assert_eq!(read, value, "{path}"),
        }
        assert_eq!(bed.ok(Delete, &path, "").status, 204, "{path}");
        assert_eq!(bed.ok(Get, &path, ""), unset, "{path}");
    }
    assert_eq!(bed.refused(Get, &format!("{NS}/nonsense"), "").0, 404);
}

#[test]
fn the_texts_that_clients_compare_are_literal() {
    let mut bed = Bed::furnished();
    let creation =
        |detail: &str| format!("Invalid configuration for autoTopicCreationOverride. the detail is {detail}");
    let path = format!("{NS}/autoTopicCreation");
    for (body, detail) in [
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"partitioned"}"#,
            "[defaultNumPartitions] cannot be null when the type is partitioned.",
        ),
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"partitioned","defaultNumPartitions":0}"#,
            "[defaultNumPartitions] cannot be less than 1 for partition type.",
        ),
        (
            r#"{"allowAutoTopicCreation":true,"topicType":"non-partitioned","defaultNumPartitions":1}"#,
            "[defaultNumPartitions] is not allowed to be set when the type is non-partition.",
        ),
    ] {
        assert_eq!(bed.refused(Post, &path, body), (400, creation(detail)));
    }
    bed.ok(Post, &path, r#"{"allowAutoTopicCreation":false,"topicType":""}"#);
    for (tenant, text) in [("acme/none", "Namespace does not exist"), ("none/none", "Tenant does not exist")] {
        let base = format!("/admin/v2/namespaces/{tenant}");
        let body = r#"{"allowAutoTopicCreation":false}"#;
        assert_eq!(bed.refused(Post, &format!("{base}/autoTopicCreation"), body), (404, text.to_owned()));
        assert_eq!(
            bed.refused(Put, &format!("{base}/schemaCompatibilityStrategy"), "\"FULL\""),
            (404, text.to_owned())
        );
    }
    for (method, policy, body, text) in [
        (Post, "subscriptionExpirationTime", "-1", "Invalid value for subscription expiration time"),
        (Put, "offloadThresholdInSeconds", "-2", "Invalid value for offloadThresholdInSecond"),
        (Post, "maxTopicsPerNamespace", "-1", "maxTopicsPerNamespace must be 0 or more"),
    ] {
        assert_eq!(bed.refused(method, &format!("{NS}/{policy}"), body), (412, text.to_owned()));
    }
}

#[test]
fn values_that_cannot_hold_are_refused() {
    let mut bed = Bed::furnished();
    let quorum = r#"{"bookkeeperEnsemble":1,"bookkeeperWriteQuorum":2,"bookkeeperAckQuorum":1}"#;
    assert_eq!(bed.refused(Post, &format!("{NS}/persistence"), quorum).0, 412);
    assert_eq!(bed.refused(Post, &format!("{NS}/deduplication"), "7").0, 412);
    assert_eq!(bed.refused(Post, &format!("{NS}/subscriptionTypesEnabled"), r#"["Odd"]"#).0, 412);
    bed.ok(Post, &format!("{NS}/retention"), r#"{"retentionTimeInMinutes":10,"retentionSizeInMB":1}"#);
    assert_eq!(bed.refused(Post, &format!("{NS}/backlogQuota"), r#"{"limitSize":2097152}"#).0, 412);
    bed.ok(Post, &format!("{NS}/backlogQuota"), r#"{"limitSize":1024,"policy":"producer_exception"}"#);
    let quotas = bed.get(&format!("{NS}/backlogQuotaMap"));
    assert_eq!(quotas["destination_storage"]["policy"], json!("producer_exception"));
    bed.ok(Post, &format!("{NS}/backlogQuota?backlogQuotaType=message_age"), r#"{"limitTime":60}"#);
    bed.ok(Delete, &format!("{NS}/backlogQuota"), "");
    let quotas = bed.get(&format!("{NS}/backlogQuotaMap"));
    assert!(quotas.get("destination_storage").is_none() && quotas["message_age"]["limitTime"] == json!(60), "{quotas}");
    assert_eq!(bed.refused(Post, &format!("{NS}/backlogQuota?backlogQuotaType=x"), "{}").0, 412);
}

#[test]
fn replication_stays_within_known_and_allowed_clusters() {
    let mut bed = Bed::furnished();
    let path = format!("{NS}/replication");
    assert_eq!(bed.refused(Post, &path, r#"["west"]"#).0, 412);
    assert_eq!(bed.refused(Post, &path, "[]").0, 412);
    bed.ok(Put, "/admin/v2/clusters/west", r#"{"regionNumber":2}"#);
    let (status, reason) = bed.refused(Post, &path, r#"["east","west"]"#);
    assert_eq!(status, 403);
    assert!(reason.contains("[west]") && reason.contains("allowedClusters"), "{reason}");
    bed.ok(Post, "/admin/v2/tenants/acme", r#"{"adminRoles":["boss"],"allowedClusters":["east","west"]}"#);
    bed.become_role(Some("boss"));
    bed.ok(Post, &path, r#"["east","west"]"#);
    assert_eq!(bed.get(&path), json!(["east", "west"]));
    assert_eq!(bed.refused(Post, &format!("{NS}/allowedClusters"), r#"["east"]"#).0, 400);
    bed.ok(Post, &format!("{NS}/allowedClusters"), r#"["east","west"]"#);
    assert_eq!(bed.get(&format!("{NS}/allowedClusters")), json!(["east", "west"]));
}

#[test]
fn grants_take_effect_at_once_and_go_away() {
    let mut bed = Bed::furnished();
    let stats = "/lookup/v2/topic/persistent/acme/orders/t";
    bed.become_role(Some("newcomer"));
    assert_eq!(bed.refused(Get, stats, "").0, 403);
    bed.become_role(Some("boss"));
    bed.ok(Post, &format!("{NS}/permissions/newcomer"), r#"["produce","consume"]"#);
    assert_eq!(bed.get(&format!("{NS}/permissions"))["newcomer"], json!(["produce", "consume"]));
    bed.become_role(Some("newcomer"));
    bed.get(stats);
    bed.become_role(Some("boss"));
    bed.ok(Delete, &format!("{NS}/permissions/newcomer"), "null");
    bed.become_role(Some("newcomer"));
    assert_eq!(bed.refused(Get, stats, "").0, 403);
    bed.become_role(Some("boss"));
    assert_eq!(bed.refused(Post, &format!("{NS}/permissions/x"), r#"["fly"]"#).0, 400);
    bed.ok(Post, &format!("{NS}/permissions/subscription/s"), r#"["consumer"]"#);
    assert_eq!(bed.get(&format!("{NS}/permissions/subscription")), json!({"s": ["consumer"]}));
    bed.ok(Delete, &format!("{NS}/permissions/s/consumer"), "");
    assert_eq!(bed.get(&format!("{NS}/permissions/subscription")), json!({"s": []}));
}

#[test]
fn properties_and_settings_of_this_region_are_kept() {
    let mut bed = Bed::furnished();
    bed.ok(Put, &format!("{NS}/properties"), r#"{"a":"1","b":"2"}"#);
    bed.ok(Put, &format!("{NS}/property/c/x%2Fy"), "");
    assert_eq!(bed.get(&format!("{NS}/property/c")), json!("x/y"));
    bed.ok(Delete, &format!("{NS}/property/a"), "");
    assert_eq!(bed.get(&format!("{NS}/properties")), json!({"b": "2", "c": "x/y"}));
    bed.ok(Delete, &format!("{NS}/properties"), "");
    assert_eq!(bed.get(&format!("{NS}/properties")), json!({}));
    let affinity = format!("{NS}/persistence/bookieAffinity");
    assert_eq!(bed.ok(Get, &affinity, "").status, 204);
    bed.ok(Post, &affinity, r#"{"bookkeeperAffinityGroupPrimary":"a"}"#);
    assert_eq!(bed.get(&affinity)["bookkeeperAffinityGroupPrimary"], json!("a"));
    bed.ok(Delete, &affinity, "");
    assert_eq!(bed.ok(Get, &affinity, "").status, 204);
    bed.ok(Post, &format!("{NS}/antiAffinity"), "group");
    assert_eq!(bed.get(&format!("{NS}/antiAffinity")), json!("group"));
    bed.ok(Post, &format!("{NS}/resourcegroup/rg"), "");
    assert_eq!(bed.get(&format!("{NS}/resourcegroup")), json!("rg"));
    assert_eq!(bed.get(&format!("{NS}/bundles"))["numBundles"], json!(4));
}

#[test]
fn work_on_all_topics_of_a_namespace_reaches_them() {
    let mut bed = Bed::furnished();
    for topic in ["a", "b"] {
        bed.ok(Put, &format!("/admin/v2/persistent/acme/orders/{topic}"), "");
        bed.ok(Put, &format!("/admin/v2/persistent/acme/orders/{topic}/subscription/s"), "");
    }
    bed.ok(Post, &format!("{NS}/clearBacklog"), "");
    bed.ok(Post, &format!("{NS}/clearBacklog/s"), "");
    bed.ok(Put, &format!("{NS}/unload"), "");
    bed.ok(Put, &format!("{NS}/0x00000000_0xffffffff/unload"), "");
    bed.ok(Post, &format!("{NS}/unsubscribe/s"), "");
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders/b/subscriptions"), json!([]));
}
