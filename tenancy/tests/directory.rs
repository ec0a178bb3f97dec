//! The local view of the metadata.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::{Domain, NamespaceName, RegionName, TenantName, TopicName};
use proptest::prelude::{Strategy, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};
use tenancy::keys;
use tenancy::{
    BrokerDefaults, Change, Directory, PartitionedRecord, Policies, PolicyRecord, PublishRate, TenantInfo,
    TopicPolicies, TopicPolicyRecord,
};

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn namespace(text: &str) -> NamespaceName {
    NamespaceName::parse(text).unwrap()
}

fn tenant(text: &str) -> TenantName {
    TenantName::parse(text).unwrap()
}

fn empty() -> Directory {
    Directory::new(RegionName::parse("east").unwrap(), BrokerDefaults::standalone())
}

fn put(directory: &mut Directory, key: &str, record: &impl serde::Serialize) -> Change {
    directory.apply(key, Some(&serde_json::to_vec(record).unwrap()))
}

fn put_namespace(directory: &mut Directory, name: &str, policies: Policies) {
    let record = PolicyRecord { policies, ..PolicyRecord::default() };
    let changed = put(directory, &keys::namespace_key(&namespace(name)), &record);
    assert_eq!(changed, Change::Namespace(namespace(name)));
}

#[test]
fn records_appear_change_and_go() {
    let mut directory = empty();
    let info = TenantInfo { admin_roles: BTreeSet::from(["boss".to_owned()]), ..TenantInfo::default() };
    assert_eq!(put(&mut directory, "/tenants/acme", &info), Change::Tenant(tenant("acme")));
    assert_eq!(directory.tenant(&tenant("acme")), Some(&info));
    put(&mut directory, "/tenants/acme", &TenantInfo::default());
    assert_eq!(directory.tenant(&tenant("acme")), Some(&TenantInfo::default()));
    assert_eq!(directory.apply("/tenants/acme", None), Change::Tenant(tenant("acme")));
    assert_eq!(directory.tenant(&tenant("acme")), None);
    assert_eq!(directory.apply("/tenants/acme", None), Change::Tenant(tenant("acme")), "twice is as good as once");
    assert_eq!(directory.apply("/dynamic-config/a", Some(b"5")), Change::DynamicConfig("a".to_owned()));
    assert_eq!(directory.dynamic_config("a"), Some("5"));
}

#[test]
fn other_families_are_left_alone() {
    let mut directory = empty();
    let generation = directory.generation();
    for key in ["/ledgers/5", "/counters/ledger", "/ml/a/b/persistent/c", "/schemas/a/b/c", "/unknown", ""] {
        assert_eq!(directory.apply(key, Some(b"{}")), Change::Unrelated, "{key}");
    }
    assert_eq!(directory.generation(), generation);
}

#[test]
fn a_damaged_record_counts_as_absent_and_is_reported() {
    let mut directory = empty();
    put_namespace(&mut directory, "a/b", Policies::default());
    let generation = directory.generation();
    let change = directory.apply("/namespaces/a/b", Some(b"{not json"));
    assert!(matches!(&change, Change::Damaged { key, .. } if key == "/namespaces/a/b"), "{change:?}");
    assert!(directory.namespace(&namespace("a/b")).is_none(), "I2");
    assert!(directory.generation() > generation, "answers kept elsewhere are old now");
    assert!(matches!(directory.apply("/dynamic-config/a", Some(b"\xff")), Change::Damaged { .. }));
    assert_eq!(directory.dynamic_config("a"), None);
}

#[test]
fn namespaces_of_a_tenant_are_its_own_sorted() {
    let mut directory = empty();
    for name in ["a/b", "a/-", "a/zz", "a-/x", "a.b/x", "aa/x", "A/x", "a/:"] {
        put_namespace(&mut directory, name, Policies::default());
    }
    let own: Vec<String> = directory.namespaces_of(&tenant("a")).map(|(name, _)| name.to_string()).collect();
    assert_eq!(own, ["a/-", "a/:", "a/b", "a/zz"]);
    assert_eq!(directory.namespaces_of(&tenant("none")).count(), 0);
    assert_eq!(directory.namespaces().count(), 8);
}

#[test]
fn a_topic_may_come_before_its_namespace_and_outlive_it() {
    let mut directory = empty();
    let name = topic("a/b/c");
    assert_eq!(directory.apply(&keys::topic_key(&name), Some(b"{}")), Change::Topic(name.clone()));
    assert!(directory.has_topic(&name) && directory.effective(&name).is_none());
    put_namespace(&mut directory, "a/b", Policies::default());
    assert!(directory.effective(&name).is_some());
    directory.apply("/namespaces/a/b", None);
    assert!(directory.has_topic(&name), "I1");
    directory.apply(&keys::topic_key(&name), None);
    assert!(!directory.has_topic(&name));
    assert_eq!(directory.topic_count(&namespace("a/b")), 0);
}

#[test]
fn partitioned_topics_know_their_number_of_partitions() {
    let mut directory = empty();
    let name = topic("a/b/c");
    let record = PartitionedRecord { partitions: 4, ..PartitionedRecord::default() };
    put(&mut directory, &keys::partitioned_key(&name), &record);
    put(&mut directory, &keys::partitioned_key(&topic("non-persistent://a/b/x")), &record);
    assert_eq!(directory.partitions(&name), Some(4));
    assert_eq!(directory.partitions(&topic("non-persistent://a/b/c")), None);
    assert!(!directory.has_topic(&name), "its partitions are topics, it is none");
    let listed = directory.partitioned_of(&namespace("a/b"), Domain::Persistent, None, 10);
    assert_eq!(listed, vec![(name.clone(), 4)]);
    assert!(directory.partitioned_of(&namespace("a/b"), Domain::Persistent, Some("c"), 10).is_empty());
    directory.apply(&keys::partitioned_key(&name), None);
    assert_eq!(directory.partitions(&name), None);
}

#[test]
fn a_hundred_thousand_topics_are_listed_page_by_page_in_order() {
    let mut directory = empty();
    let names: Vec<TopicName> = (0..100_000).map(|n| topic(&format!("a/b/t{n}"))).collect();
    for name in &names {
        directory.apply(&keys::topic_key(name), Some(b"{}"));
    }
    directory.apply(&keys::topic_key(&topic("non-persistent://a/b/n")), Some(b"{}"));
    directory.apply(&keys::topic_key(&topic("a/c/other")), Some(b"{}"));
    assert_eq!(directory.topic_count(&namespace("a/b")), 100_001);
    assert_eq!(directory.topic_count_of_tenant(&tenant("a")), 100_002);
    let mut listed: Vec<TopicName> = Vec::new();
    loop {
        let after = listed.last().map(|name| name.local().to_owned());
        let page = directory.topics_of(&namespace("a/b"), Domain::Persistent, after.as_deref(), 1000);
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 1000);
        listed.extend(page);
    }
    let sorted: BTreeSet<TopicName> = names.into_iter().collect();
    assert!(listed.into_iter().eq(sorted), "every persistent topic once, in order");
    assert_eq!(
        directory.topics_of(&namespace("a/b"), Domain::NonPersistent, None, 9),
        [topic("non-persistent://a/b/n")]
    );
}

#[test]
fn topic_policies_hold_for_all_partitions_and_win_over_the_namespace() {
    let mut directory = empty();
    let rate = |messages| PublishRate { publish_throttling_rate_in_msg: messages, ..PublishRate::default() };
    let policies = Policies {
        topic_publish_rate: [("east".to_owned(), rate(10)), ("west".to_owned(), rate(99))].into(),
        max_producers_per_topic: Some(5),
        message_ttl_s: Some(60),
        namespace_publish_rate: Some(rate(100)),
        ..Policies::default()
    };
    put_namespace(&mut directory, "a/b", policies);
    let info = TenantInfo { publish_rate: Some(rate(1000)), ..TenantInfo::default() };
    put(&mut directory, "/tenants/a", &info);
    let own = TopicPolicies { publish_rate: Some(rate(3)), max_producers: Some(0), ..TopicPolicies::default() };
    let record = TopicPolicyRecord { policies: own, ..TopicPolicyRecord::default() };
    put(&mut directory, &keys::topic_policies_key(&topic("a/b/c")), &record);

    let special = directory.effective(&topic("a/b/c-partition-2")).unwrap();
    assert_eq!(special.rates.topic_publish.messages, Some(3), "the topic wins");
    assert_eq!(special.limits.producers_per_topic, None, "the topic says: no limit");
    assert_eq!(special.storage.message_ttl_s, Some(60), "the namespace where the topic is silent");
    let path = special.rates.publish_path();
    assert_eq!((path.namespace.messages, path.tenant.messages), (Some(100), Some(1000)));

    let plain = directory.effective(&topic("a/b/d")).unwrap();
    assert_eq!(plain.rates.topic_publish.messages, Some(10), "this region's rate, not the neighbour's");
    assert_eq!(plain.limits.producers_per_topic, Some(5));
    assert_eq!(plain.limits.unacked_messages_per_consumer, Some(50_000), "the broker where nobody says anything");
    assert_eq!(directory.effective_of_namespace(&namespace("a/b")), Some(plain));
    assert_eq!(directory.effective(&topic("a/none/d")), None);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0u8..12, proptest::bool::ANY).prop_map(|(n, put)| if put { Step::Put(n) } else { Step::Delete(n) });
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn it_answers_what_the_changes_said(steps in steps()) {
        let name = |n: u8| topic(&format!("{}://t/n{}/x{}", ["persistent", "non-persistent"][usize::from(n % 2)], n % 3, n / 4));
        let (mut directory, mut model) = (empty(), BTreeMap::new());
        for step in steps {
            match step {
                Step::Put(n) => {
                    directory.apply(&keys::topic_key(&name(n)), Some(b"{}"));
                    model.insert(name(n), ());
                }
                Step::Delete(n) => {
                    directory.apply(&keys::topic_key(&name(n)), None);
                    model.remove(&name(n));
                }
            }
        }
        let mut listed = Vec::new();
        for domain in [Domain::Persistent, Domain::NonPersistent] {
            for n in 0..3 {
                listed.extend(directory.topics_of(&namespace(&format!("t/n{n}")), domain, None, usize::MAX));
            }
        }
        prop_assert_eq!(directory.topic_count_of_tenant(&tenant("t")), model.len());
        prop_assert_eq!(listed, model.into_keys().collect::<Vec<_>>(), "I1");
    }
}
