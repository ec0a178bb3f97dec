//! Policies and the other records: what Pulsar's tools send is read, every key is written.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::RegionName;
use proptest::prelude::{prop_assert_eq, proptest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tenancy::{
    AutoTopicCreation, BacklogPolicy, BacklogQuota, BacklogQuotaType, Persistence, Policies, PolicyRecord, PublishRate,
    Retention, SubscriptionKind, TenantInfo, TopicPolicies,
};

/// Every key of facts/pulsar-admin-rest.md §4.
const KEYS: [&str; 51] = [
    "auth_policies",
    "replication_clusters",
    "allowed_clusters",
    "bundles",
    "backlog_quota_map",
    "clusterDispatchRate",
    "topicDispatchRate",
    "subscriptionDispatchRate",
    "replicatorDispatchRate",
    "clusterSubscribeRate",
    "publishMaxMessageRate",
    "persistence",
    "retention_policies",
    "delayed_delivery_policies",
    "inactive_topic_policies",
    "offload_policies",
    "entryFilters",
    "deduplicationEnabled",
    "autoTopicCreationOverride",
    "autoSubscriptionCreationOverride",
    "is_allow_auto_update_schema",
    "replicate_subscription_state",
    "latency_stats_sample_rate",
    "properties",
    "message_ttl_in_seconds",
    "subscription_expiration_time_minutes",
    "max_producers_per_topic",
    "max_consumers_per_topic",
    "max_consumers_per_subscription",
    "max_unacked_messages_per_consumer",
    "max_unacked_messages_per_subscription",
    "max_subscriptions_per_topic",
    "max_topics_per_namespace",
    "deduplicationSnapshotIntervalSeconds",
    "compaction_threshold",
    "offload_deletion_lag_ms",
    "offload_threshold",
    "offload_threshold_in_seconds",
    "deleted",
    "encryption_required",
    "schema_validation_enforced",
    "migrated",
    "subscription_auth_mode",
    "schema_auto_update_compatibility_strategy",
    "schema_compatibility_strategy",
    "subscription_types_enabled",
    "resource_group_name",
    "dispatcherPauseOnAckStatePersistentEnabled",
    // Ours appear only when set; these two stand here for the test of absence.
    "namespacePublishRate",
    "namespaceDispatchRate",
    "unknown",
];

fn read(value: Value) -> Policies {
    serde_json::from_value(value).unwrap()
}

#[test]
fn every_pulsar_key_is_written_with_its_default_and_ours_only_when_set() {
    let written = serde_json::to_value(Policies::default()).unwrap();
    for key in &KEYS[..48] {
        assert!(written.get(key).is_some(), "{key} is missing");
    }
    assert_eq!(written.as_object().unwrap().len(), 48, "and no other key");
    for (key, value) in [
        ("auth_policies", json!({"namespace_auth": {}, "destination_auth": {}, "subscription_auth_roles": {}})),
        ("message_ttl_in_seconds", Value::Null),
        ("persistence", Value::Null),
        ("offload_threshold", json!(-1)),
        ("offload_threshold_in_seconds", json!(-1)),
        ("subscription_auth_mode", json!("None")),
        ("schema_compatibility_strategy", json!("UNDEFINED")),
        ("subscription_types_enabled", json!([])),
        ("encryption_required", json!(false)),
        ("properties", json!({})),
    ] {
        assert_eq!(written[key], value, "{key}");
    }
    let rate = PublishRate { publish_throttling_rate_in_msg: 100, ..PublishRate::default() };
    let ours = Policies { namespace_publish_rate: Some(rate), ..Policies::default() };
    let written = serde_json::to_value(ours).unwrap();
    let expected = json!({"publishThrottlingRateInMsg": 100, "publishThrottlingRateInByte": -1});
    assert_eq!(written["namespacePublishRate"], expected);
}

#[test]
fn nulls_texts_for_numbers_and_unknown_keys_are_accepted() {
    let mut nulls = json!({});
    for key in KEYS {
        nulls[key] = Value::Null;
    }
    assert_eq!(read(nulls), Policies::default());
    let lenient = read(json!({
        "message_ttl_in_seconds": "3600",
        "max_producers_per_topic": 5.0,
        "max_consumers_per_topic": "",
        "deduplicationEnabled": "true",
        "encryption_required": "false",
        "offload_threshold": "12",
        "backlog_quota_map": {"destination_storage": {"limit": "10240", "policy": "producer_exception"}},
        "persistence": {"bookkeeperEnsemble": "3", "bookkeeperWriteQuorum": 3, "bookkeeperAckQuorum": "2",
            "managedLedgerMaxMarkDeleteRate": "0.5"},
        "publishMaxMessageRate": {"standalone": {"publishThrottlingRateInMsg": "7"}},
        "subscription_types_enabled": ["Exclusive", "Key_Shared"],
        "something_new": [1, 2, 3],
    }));
    assert_eq!(lenient.message_ttl_s, Some(3600));
    assert_eq!(lenient.max_producers_per_topic, Some(5));
    assert_eq!(lenient.max_consumers_per_topic, None);
    assert_eq!(lenient.deduplication_enabled, Some(true));
    assert_eq!(lenient.offload_threshold_bytes, 12);
    let quota = lenient.backlog_quotas[&BacklogQuotaType::DestinationStorage];
    assert_eq!((quota.limit_bytes, quota.policy), (Some(10_240), BacklogPolicy::ProducerException));
    assert_eq!(lenient.persistence.unwrap().bookkeeper_ensemble, 3);
    assert_eq!(lenient.topic_publish_rate["standalone"].rate().messages, Some(7));
    let kinds = BTreeSet::from([SubscriptionKind::Exclusive, SubscriptionKind::KeyShared]);
    assert_eq!(lenient.subscription_types_enabled, kinds);
}

#[test]
fn values_out_of_range_or_of_another_kind_are_refused_and_not_wrapped() {
    for bad in [
        json!({"message_ttl_in_seconds": 4_294_967_296_u64}),
        json!({"message_ttl_in_seconds": "many"}),
        json!({"message_ttl_in_seconds": [1]}),
        json!({"message_ttl_in_seconds": 1e300}),
        json!({"deduplicationEnabled": "maybe"}),
        json!({"subscription_auth_mode": "Suffix"}),
        json!({"subscription_types_enabled": ["Everything"]}),
        json!({"replication_clusters": ["../x"]}),
        json!({"auth_policies": {"namespace_auth": {"r": ["all"]}}}),
        json!({"bundles": {"boundaries": ["0x5"]}}),
        json!("text"),
    ] {
        assert!(serde_json::from_value::<Policies>(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn a_backlog_quota_keeps_old_and_new_names() {
    let quota: BacklogQuota = serde_json::from_value(json!({"limitSize": -1, "limitTime": "60"})).unwrap();
    assert_eq!(
        quota,
        BacklogQuota { limit_bytes: None, limit_s: Some(60), policy: BacklogPolicy::ProducerRequestHold }
    );
    let written = serde_json::to_value(BacklogQuota { limit_bytes: Some(5), ..BacklogQuota::default() }).unwrap();
    assert_eq!(written, json!({"limit": 5, "limitSize": 5, "limitTime": -1, "policy": "producer_request_hold"}));
    let zero: BacklogQuota = serde_json::from_value(json!({"limit": 0, "policy": null})).unwrap();
    assert_eq!(zero, BacklogQuota::default(), "0 is no limit");
}

#[test]
fn a_new_namespace_lives_at_least_where_it_was_created() {
    let east = RegionName::parse("east").unwrap();
    let west = RegionName::parse("west").unwrap();
    assert_eq!(Policies::default().at_creation(&east).replication_clusters, BTreeSet::from([east.clone()]));
    let given = Policies { replication_clusters: BTreeSet::from([west.clone()]), ..Policies::default() };
    assert_eq!(given.at_creation(&east).replication_clusters, BTreeSet::from([west]));
}

#[test]
fn of_two_records_every_region_keeps_the_same() {
    let record = |version, writer: &str| PolicyRecord {
        version,
        writer: Some(RegionName::parse(writer).unwrap()),
        ..PolicyRecord::default()
    };
    assert!(record(2, "east").is_newer_than(&record(1, "west")));
    assert!(
        record(2, "west").is_newer_than(&record(2, "east")) && !record(2, "east").is_newer_than(&record(2, "west"))
    );
    assert!(!record(2, "east").is_newer_than(&record(2, "east")));
}

#[test]
fn tenants_are_pulsars_and_our_limits_stay_out_until_set() {
    let text = r#"{"adminRoles":["a"],"allowedClusters":["east"]}"#;
    let mut tenant: TenantInfo = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&tenant).unwrap(), text);
    assert_eq!(serde_json::from_str::<TenantInfo>(r#"{"adminRoles":null,"x":1}"#).unwrap(), TenantInfo::default());
    let with_limits =
        r#"{"adminRoles":[],"allowedClusters":[],"maxTopics":"9","publishRate":{"publishThrottlingRateInMsg":5}}"#;
    tenant = serde_json::from_str(with_limits).unwrap();
    assert_eq!(tenant.limits().topics_max, Some(9));
    assert_eq!(tenant.publish_rate.unwrap().rate().messages, Some(5));
    let again: TenantInfo = serde_json::from_str(&serde_json::to_string(&tenant).unwrap()).unwrap();
    assert_eq!(again, tenant);
}

#[test]
fn refused_values_get_the_texts_that_clients_compare() {
    let check = |allow, kind: Option<&str>, count| {
        let own = AutoTopicCreation {
            allow_auto_topic_creation: allow,
            topic_type: kind.map(str::to_owned),
            default_num_partitions: count,
        };
        own.check().map_err(|error| error.to_string())
    };
    let text = |detail: &str| {
        Err(format!(
            "Invalid configuration for autoTopicCreationOverride. the detail is [defaultNumPartitions] {detail}"
        ))
    };
    assert_eq!(check(true, Some("partitioned"), None), text("cannot be null when the type is partitioned."));
    assert_eq!(check(true, Some("partitioned"), Some(0)), text("cannot be less than 1 for partition type."));
    let set = text("is not allowed to be set when the type is non-partition.");
    assert_eq!(check(true, Some("non-partitioned"), Some(3)), set);
    assert_eq!(check(true, Some("partitioned"), Some(3)), Ok(()));
    assert_eq!(check(false, Some(""), None), Ok(()));
    assert!(check(true, None, None).is_err());
}

#[test]
fn quorums_and_retention_are_checked() {
    let quorum = |ensemble, write, ack| Persistence {
        bookkeeper_ensemble: ensemble,
        bookkeeper_write_quorum: write,
        bookkeeper_ack_quorum: ack,
        managed_ledger_max_mark_delete_rate: 0.0,
    };
    assert_eq!(quorum(3, 3, 2).check(), Ok(()));
    for bad in [quorum(2, 3, 2), quorum(3, 2, 3), quorum(3, 3, 0)] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    for (minutes, megabytes, good) in [(0, 0, true), (-1, -1, true), (5, -1, true), (0, 5, false), (-2, 5, false)] {
        assert_eq!(Retention { minutes, megabytes }.check().is_ok(), good, "{minutes} {megabytes}");
    }
}

#[test]
fn a_backlog_quota_stays_below_a_bounded_retention() {
    let quotas = |limit_bytes, limit_s| {
        [(BacklogQuotaType::DestinationStorage, BacklogQuota { limit_bytes, limit_s, ..BacklogQuota::default() })]
            .into()
    };
    let bounded = Retention { minutes: 10, megabytes: 1 };
    assert_eq!(bounded.check_against(&quotas(Some((1 << 20) - 1), Some(599))), Ok(()));
    assert!(bounded.check_against(&quotas(Some(1 << 20), None)).is_err());
    assert!(bounded.check_against(&quotas(None, Some(600))).is_err());
    for unbounded in [Retention { minutes: -1, megabytes: -1 }, Retention::default()] {
        assert_eq!(unbounded.check_against(&quotas(Some(u64::MAX), Some(u64::MAX))), Ok(()));
    }
}

#[test]
fn topic_policies_hold_only_what_is_set() {
    assert_eq!(serde_json::to_string(&TopicPolicies::default()).unwrap(), "{}");
    let own = TopicPolicies { max_producers: Some(3), ..TopicPolicies::default() };
    assert_eq!(serde_json::to_string(&own).unwrap(), r#"{"maxProducers":3}"#);
    assert!(TopicPolicies::default().is_empty() && !own.is_empty());
}

proptest! {
    #[test]
    fn policies_survive_writing_and_reading(
        ttl in proptest::option::of(0i32..100_000),
        dedup in proptest::option::of(proptest::bool::ANY),
        clusters in proptest::collection::btree_set("[a-z]{1,6}", 0..4),
        limit in proptest::option::of(1u64..1 << 40),
        count in 1u32..=128,
    ) {
        let policies = Policies {
            message_ttl_s: ttl,
            deduplication_enabled: dedup,
            replication_clusters: clusters.iter().map(|name| RegionName::parse(name).unwrap()).collect(),
            bundles: tenancy::Bundles::even(count),
            backlog_quotas: [(BacklogQuotaType::MessageAge, BacklogQuota { limit_s: limit, ..BacklogQuota::default() })].into(),
            ..Policies::default()
        };
        let record = PolicyRecord { policies, version: 9, ..PolicyRecord::default() };
        let text = serde_json::to_vec(&record).unwrap();
        prop_assert_eq!(serde_json::from_slice::<PolicyRecord>(&text).unwrap(), record);
    }
}
