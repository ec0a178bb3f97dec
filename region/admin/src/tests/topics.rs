//! Topics, their subscriptions, policies, properties and schemas.

use super::bed::Bed;
use crate::Method::{Delete, Get, Post, Put};
use crate::policy::{Setter, Shape};
use crate::topic_policies::TABLE;
use serde_json::{Value, json};

const TP: &str = "/admin/v2/persistent/acme/orders/t";

fn bed_with_topic() -> Bed {
    let mut bed = Bed::furnished();
    bed.ok(Put, TP, "");
    bed
}

#[test]
fn a_topic_is_created_listed_looked_into_and_deleted() {
    let mut bed = bed_with_topic();
    let full = "persistent://acme/orders/t";
    assert_eq!(bed.get("/admin/v2/namespaces/acme/orders/topics"), json!([full]));
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders"), json!([full]));
    assert_eq!(bed.get("/admin/v2/non-persistent/acme/orders"), json!([]));
    assert_eq!(bed.refused(Put, TP, "").0, 409);
    assert_eq!(bed.get(&format!("{TP}/stats"))["publishers"], json!([]));
    assert!(bed.get(&format!("{TP}/internalStats"))["ledgers"].is_array());
    assert_eq!(bed.get(&format!("{TP}/partitions")), json!({"partitions": 0, "deleted": false}));
    let last = bed.get(&format!("{TP}/lastMessageId"));
    assert_eq!((&last["ledgerId"], &last["entryId"]), (&json!(-1), &json!(-1)));
    assert_eq!(bed.refused(Get, &format!("{TP}/messageid/0"), "").0, 404);
    bed.ok(Put, &format!("{TP}/unload"), "");
    bed.ok(Delete, TP, "");
    assert_eq!(bed.refused(Get, &format!("{TP}/stats"), "").0, 404);
    assert_eq!(bed.refused(Delete, TP, "").0, 404);
    assert_eq!(bed.refused(Get, "/admin/v2/namespaces/acme/none/topics", "").0, 404);
}

#[test]
fn a_partitioned_topic_grows_and_goes() {
    let mut bed = Bed::furnished();
    let path = format!("{TP}/partitions");
    bed.ok(Put, &path, "2");
    assert_eq!(bed.get(&path), json!({"partitions": 2, "deleted": false}));
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders/partitioned"), json!(["persistent://acme/orders/t"]));
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders").as_array().unwrap().len(), 2);
    assert_eq!(bed.refused(Put, &path, "2").0, 409);
    assert_eq!(bed.refused(Put, TP, "").0, 409);
    assert_eq!(bed.refused(Post, &path, "2").0, 409);
    bed.ok(Post, &path, "4");
    bed.ok(Post, &format!("{TP}/createMissedPartitions"), "");
    bed.ok(Put, &format!("{TP}/subscription/s"), "");
    let stats = bed.get(&format!("{TP}/partitioned-stats"));
    assert_eq!(stats["metadata"]["partitions"], json!(4));
    assert_eq!(stats["partitions"].as_object().unwrap().len(), 4);
    assert_eq!(bed.get(&format!("{TP}/partitioned-stats?perPartition=false"))["partitions"], json!({}));
    assert_eq!(bed.get(&format!("{TP}/subscriptions")), json!(["s"]));
    assert_eq!(bed.refused(Get, &format!("{TP}/stats"), "").0, 404);
    assert_eq!(bed.refused(Get, &format!("{TP}/lastMessageId"), "").0, 405);
    assert_eq!(bed.refused(Delete, TP, "").0, 409);
    assert_eq!(bed.refused(Delete, &path, "").0, 412, "a subscription stands in the way");
    bed.ok(Delete, &format!("{TP}/subscription/s"), "");
    bed.ok(Delete, &path, "{}");
    assert_eq!(bed.refused(Get, &path, "").0, 404);
    assert!(bed.meta.iter_prefix("/topics/").next().is_none());
}

#[test]
fn bad_counts_and_names_of_partitioned_topics_are_refused() {
    let mut bed = bed_with_topic();
    assert_eq!(bed.refused(Put, &format!("{TP}/partitions"), "2").0, 409);
    for (topic, body, status) in [("p", "0", 406), ("p", "10001", 406), ("p", "{}", 412), ("p-partition-1", "2", 412)] {
        let path = format!("/admin/v2/persistent/acme/orders/{topic}/partitions");
        assert_eq!(bed.refused(Put, &path, body).0, status, "{topic} {body}");
    }
    assert_eq!(bed.refused(Put, "/admin/v2/persistent/acme/none/p/partitions", "2").0, 404);
    assert_eq!(bed.refused(Put, "/admin/v2/non-persistent/acme/orders/p/partitions", "2").0, 405);
}

#[test]
fn the_check_for_automatic_creation_follows_the_namespace() {
    let mut bed = Bed::furnished();
    let path = format!("{TP}/partitions?checkAllowAutoCreation=true");
    assert_eq!(bed.refused(Get, &format!("{TP}/partitions"), "").0, 404);
    assert_eq!(bed.get(&path)["partitions"], json!(0));
    let creation = "/admin/v2/namespaces/acme/orders/autoTopicCreation";
    bed.ok(Post, creation, r#"{"allowAutoTopicCreation":true,"topicType":"partitioned","defaultNumPartitions":3}"#);
    assert_eq!(bed.get(&path)["partitions"], json!(3));
    assert_eq!(bed.get(&format!("{TP}/partitions"))["partitions"], json!(3));
    bed.ok(Post, creation, r#"{"allowAutoTopicCreation":false}"#);
    assert_eq!(
        bed.refused(Get, "/admin/v2/persistent/acme/orders/u/partitions?checkAllowAutoCreation=true", "").0,
        404
    );
}

#[test]
fn limits_on_topics_hold() {
    let mut bed = bed_with_topic();
    bed.ok(Post, "/admin/v2/namespaces/acme/orders/maxTopicsPerNamespace", "1");
    let (status, reason) = bed.refused(Put, "/admin/v2/persistent/acme/orders/u", "");
    assert_eq!(status, 412);
    assert!(reason.starts_with("Exceed maximum number of topics in namespace"), "{reason}");
    assert_eq!(bed.refused(Put, "/admin/v2/persistent/acme/orders/p/partitions", "1").0, 412);
}

#[test]
fn subscriptions_are_created_moved_and_deleted() {
    let mut bed = bed_with_topic();
    let path = format!("{TP}/subscription/my%2520sub");
    bed.ok(Put, &path, r#"{"ledgerId":-1,"entryId":-1,"partitionIndex":-1}"#);
    assert_eq!(bed.get(&format!("{TP}/subscriptions")), json!(["my sub"]));
    assert_eq!(bed.refused(Put, &path, "").0, 409);
    assert_eq!(bed.refused(Put, &format!("{TP}/subscription/x"), r#"{"ledgerId":"a"}"#).0, 400);
    bed.ok(Post, &format!("{path}/skip_all"), "");
    bed.ok(Post, &format!("{path}/skip/1"), "");
    bed.ok(Post, &format!("{path}/resetcursor"), r#"{"ledgerId":9223372036854775807,"entryId":9223372036854775807}"#);
    bed.ok(Post, &format!("{path}/resetcursor/1600000000000"), "");
    bed.ok(Post, &format!("{path}/expireMessages/1"), "");
    bed.ok(Post, &format!("{TP}/all_subscription/expireMessages/1"), "");
    assert_eq!(bed.refused(Get, &format!("{path}/position/1"), "").0, 404);
    assert_eq!(bed.refused(Get, &format!("{path}/position/0"), "").0, 412);
    assert_eq!(bed.refused(Post, &format!("{TP}/subscription/none/skip_all"), "").0, 404);
    assert_eq!(bed.refused(Delete, TP, "").0, 412);
    bed.ok(Delete, &path, "");
    assert_eq!(bed.refused(Delete, &path, "").0, 404);
}

#[test]
fn stats_of_an_idle_subscription_are_whole_numbers_and_can_leave_consumers_out() {
    let mut bed = bed_with_topic();
    bed.ok(Put, &format!("{TP}/subscription/s"), "");
    let stats = bed.get(&format!("{TP}/stats?excludeConsumers=true&excludePublishers=true"));
    let sub = &stats["subscriptions"]["s"];
    assert_eq!((&sub["msgBacklog"], &sub["isDurable"], &sub["consumers"]), (&json!(0), &json!(true), &json!([])));
    assert!(sub["lastConsumedTimestamp"].is_u64());
}

#[test]
fn a_terminated_topic_answers_its_last_id() {
    let mut bed = bed_with_topic();
    assert_eq!(bed.ok(Post, &format!("{TP}/terminate"), "").status, 200);
}

/// Also those that nobody has used yet; a second time changes nothing. As Apache Pulsar 4.2 does.
#[test]
fn all_partitions_are_terminated_by_one_request() {
    let mut bed = bed_with_topic();
    let parts = "/admin/v2/persistent/acme/orders/parts";
    bed.ok(Put, &format!("{parts}/partitions"), "3");
    for _ in 0..2 {
        let answer: Value = bed.ok(Post, &format!("{parts}/terminate/partitions"), "").json();
        for index in ["0", "1", "2"] {
            assert_eq!(answer[index]["entryId"], -1, "{answer}");
        }
    }
    let stats: Value = bed.ok(Get, &format!("{parts}/partitioned-internalStats"), "").json();
    assert_eq!(stats["partitions"].as_object().unwrap().len(), 3);
    for other in [TP.to_owned(), format!("{parts}-partition-0")] {
        assert_eq!(bed.refused(Post, &format!("{other}/terminate/partitions"), "").0, 405, "{other}");
    }
}

#[test]
fn every_topic_policy_is_unset_set_read_and_removed() {
    let mut bed = bed_with_topic();
    for own in TABLE {
        let path = format!("{TP}/{}", own.policy.path);
        assert_eq!(bed.ok(Get, &path, "").status, 204, "{path}");
        let value: Value = match (own.policy.path, own.policy.shape) {
            ("persistence", _) => {
                json!({"bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 1, "bookkeeperAckQuorum": 1})
            }
            ("schemaCompatibilityStrategy", _) => json!("BACKWARD"),
            ("replication", _) => json!(["east"]),
            (_, Shape::Number { .. }) => json!(5),
            (_, Shape::Flag) => json!(true),
            (_, Shape::Text) => json!("text"),
            (_, Shape::List) => json!(["Shared"]),
            (_, Shape::Object) => json!({}),
        };
        let setter = if own.policy.setter == Setter::Post { Post } else { Put };
        bed.ok(setter, &path, &value.to_string());
        let read = bed.get(&path);
        assert!(read == value || (read.is_object() && value.is_object()), "{path}: {read}");
        bed.ok(Delete, &path, "");
        assert_eq!(bed.ok(Get, &path, "").status, 204, "{path}");
    }
    assert_eq!(bed.refused(Get, &format!("{TP}/nonsense"), "").0, 404);
    let missing = "/admin/v2/persistent/acme/orders/none/maxUnackedMessagesOnConsumer";
    assert_eq!(bed.refused(Get, missing, "").0, 404);
    assert_eq!(bed.refused(Post, missing, "1").0, 404);
}

#[test]
fn applied_falls_back_to_the_namespace_and_the_broker() {
    let mut bed = bed_with_topic();
    let applied = |policy: &str| format!("{TP}/{policy}?applied=true");
    assert_eq!(bed.get(&applied("maxUnackedMessagesOnConsumer")), json!(50_000));
    assert_eq!(bed.get(&applied("schemaCompatibilityStrategy")), json!("FULL"));
    bed.ok(Post, "/admin/v2/namespaces/acme/orders/maxUnackedMessagesPerConsumer", "9");
    assert_eq!(bed.get(&applied("maxUnackedMessagesOnConsumer")), json!(9));
    bed.ok(Post, &format!("{TP}/messageTTL?messageTTL=30"), "");
    assert_eq!(bed.get(&format!("{TP}/messageTTL")), json!(30));
    assert_eq!(bed.get(&applied("replication")), json!(["east"]));
    bed.ok(Post, "/admin/v2/namespaces/acme/orders/backlogQuota", r#"{"limitSize":10}"#);
    assert_eq!(bed.get(&applied("backlogQuotaMap"))["destination_storage"]["limitSize"], json!(10));
    assert_eq!(bed.get(&format!("{TP}/backlogQuotaMap")), json!({}));
    bed.ok(Post, &format!("{TP}/backlogQuota"), r#"{"limitSize":11}"#);
    assert_eq!(bed.get(&format!("{TP}/backlogQuotaMap"))["destination_storage"]["limitSize"], json!(11));
    bed.ok(Delete, &format!("{TP}/backlogQuota"), "");
    bed.ok(Post, &format!("{TP}/s/dispatchRate"), r#"{"dispatchThrottlingRateInMsg":3}"#);
    assert_eq!(bed.get(&format!("{TP}/s/dispatchRate"))["dispatchThrottlingRateInMsg"], json!(3));
    bed.ok(Delete, &format!("{TP}/s/dispatchRate"), "");
    assert_eq!(bed.ok(Get, &format!("{TP}/s/dispatchRate"), "").status, 204);
}

#[test]
fn grants_of_a_deleted_topic_do_not_return_with_its_name() {
    let mut bed = bed_with_topic();
    bed.ok(Post, &format!("{TP}/permissions/guest"), r#"["consume"]"#);
    assert_eq!(bed.get(&format!("{TP}/permissions"))["guest"], json!(["consume"]));
    bed.ok(Delete, TP, "");
    bed.ok(Put, TP, "");
    assert!(bed.get(&format!("{TP}/permissions")).get("guest").is_none());
    assert_eq!(bed.refused(Delete, &format!("{TP}/permissions/guest"), "").0, 412);
}

#[test]
fn properties_of_topics_are_kept() {
    let mut bed = Bed::furnished();
    bed.ok(Put, TP, r#"{"a":"1"}"#);
    bed.ok(Put, &format!("{TP}/properties"), r#"{"b":"2"}"#);
    assert_eq!(bed.get(&format!("{TP}/properties")), json!({"a": "1", "b": "2"}));
    bed.ok(Delete, &format!("{TP}/properties?key=a"), "");
    assert_eq!(bed.get(&format!("{TP}/properties")), json!({"b": "2"}));
    bed.get(&format!("{TP}/stats"));
    bed.ok(Put, "/admin/v2/persistent/acme/orders/p/partitions", r#"{"partitions":2,"properties":{"x":"y"}}"#);
    assert_eq!(bed.get("/admin/v2/persistent/acme/orders/p/properties"), json!({"x": "y"}));
}

#[test]
fn schemas_are_registered_read_and_deleted() {
    let mut bed = bed_with_topic();
    let base = "/admin/v2/schemas/acme/orders/t";
    let schema = format!("{base}/schema");
    assert_eq!(bed.refused(Get, &schema, "").0, 404);
    let first =
        r#"{"type":"AVRO","schema":"{\"type\":\"record\",\"name\":\"a\",\"fields\":[]}","properties":{"k":"v"}}"#;
    assert_eq!(bed.ok(Post, &schema, first).json(), json!({"version": {"version": 0}}));
    assert_eq!(bed.ok(Post, &schema, first).json(), json!({"version": {"version": 0}}));
    let second = r#"{"type":"AVRO","schema":"{}"}"#;
    assert_eq!(bed.ok(Post, &schema, second).json(), json!({"version": {"version": 1}}));
    assert_eq!(bed.refused(Post, &schema, r#"{"type":"JSON","schema":"{}"}"#).0, 409);
    assert_eq!(bed.refused(Post, &schema, r#"{"type":"ODD","schema":"{}"}"#).0, 422);
    let read = bed.get(&format!("{schema}/0"));
    assert_eq!((&read["type"], &read["version"], &read["properties"]), (&json!("AVRO"), &json!(0), &json!({"k": "v"})));
    assert_eq!(bed.get(&format!("{base}/schemas"))["getSchemaResponses"].as_array().unwrap().len(), 2);
    assert_eq!(bed.ok(Post, &format!("{base}/version"), second).json(), json!({"version": 1}));
    let fits = bed.ok(Post, &format!("{base}/compatibility"), second).json();
    assert_eq!(fits, json!({"compatibility": true, "schemaCompatibilityStrategy": "FULL"}));
    bed.ok(Delete, &schema, "");
    assert_eq!(bed.refused(Get, &schema, "").0, 404);
    let pair = r#"{"type":"KEY_VALUE","schema":"{\"key\":{\"type\":\"string\"},\"value\":\"\"}"}"#;
    bed.ok(Post, "/admin/v2/schemas/acme/orders/kv/schema", pair);
    let data = bed.get("/admin/v2/schemas/acme/orders/kv/schema")["data"].as_str().unwrap().to_owned();
    assert_eq!(data, r#"{"key":{"type":"string"},"value":""}"#);
}
