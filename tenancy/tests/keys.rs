//! Metadata keys: every object has one key, every key one object.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use base::{Domain, LedgerId, NamespaceName, NodeId, RegionName, TenantName, TopicName};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use tenancy::BundleRange;
use tenancy::keys::{self, Key};

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

#[test]
fn the_layout_is_the_documented_one() {
    let namespace = NamespaceName::parse("acme/orders").unwrap();
    let name = topic("persistent://acme/orders/a b%č");
    let encoded = "acme/orders/persistent/a%20b%25%C4%8D";
    for (key, text) in [
        (Key::Tenant(TenantName::parse("acme").unwrap()), "/tenants/acme".to_owned()),
        (Key::Cluster(RegionName::parse("east").unwrap()), "/clusters/east".to_owned()),
        (Key::Namespace(namespace.clone()), "/namespaces/acme/orders".to_owned()),
        (Key::Partitioned(name.clone()), format!("/partitioned/{encoded}")),
        (Key::Topic(name.clone()), format!("/topics/{encoded}")),
        (Key::TopicPolicies(name.clone()), format!("/topic-policies/{encoded}")),
        (Key::ManagedLedger(name.clone()), format!("/ml/{encoded}")),
        (Key::Ledger(LedgerId(1 << 40 | 7)), "/ledgers/1099511627783".to_owned()),
        (Key::LedgerCounter, "/counters/ledger".to_owned()),
        (Key::DynamicConfig("a/b".to_owned()), "/dynamic-config/a%2Fb".to_owned()),
        (Key::Node(NodeId(7)), "/nodes/7".to_owned()),
        (Key::Alive(NodeId(7)), "/alive/7".to_owned()),
        (
            Key::Owner(namespace, BundleRange { lower: 0, upper: 0x4000_0000 }),
            "/owners/acme/orders/0x00000000_0x40000000".to_owned(),
        ),
        (Key::Cookie(0xab), "/cookies/00000000000000ab".to_owned()),
        (Key::Stamp(NodeId(7)), "/stamps/7".to_owned()),
        (Key::NodeCounter, "/counters/node".to_owned()),
    ] {
        assert_eq!(key.text(), text);
        assert_eq!(Key::parse(&text), Some(key));
    }
    assert_eq!(keys::schema_key(&name.with_partition(3)), "/schemas/acme/orders/a%20b%25%C4%8D");
    let version = keys::schema_version_key(&topic("t"), 12);
    assert_eq!(version, "/schemas/public/default/t/00000000000000000012");
}

#[test]
fn texts_that_no_builder_makes_are_no_keys() {
    for bad in [
        "",
        "/",
        "tenants/a",
        "/tenants",
        "/tenants/",
        "/tenants/a/b",
        "/tenants/a b",
        "/tenants/..",
        "/namespaces/a",
        "/topics/a/b/persistent",
        "/topics/a/b/persistent/",
        "/topics/a/b/persistent/c/d",
        "/topics/a/b/topic/c",
        "/topics/a/b/persistent/%41",
        "/topics/a/b/persistent/%c4%8d",
        "/topics/a/b/persistent/%",
        "/topics/a/b/persistent/%2",
        "/topics/a/b/persistent/%FF",
        "/topics/a/b/persistent/a b",
        "/topics/a/b/persistent/%2F",
        "/ledgers/07",
        "/ledgers/+7",
        "/ledgers/x",
        "/counters/other",
        "/nodes/",
        "/nodes/01",
        "/alive/x",
        "/owners/a/b",
        "/owners/a/b/0x0_0x1",
        "/owners/a/b/0x00000000_0x40000000/c",
        "/owners/a/b/0x40000000_0x00000000",
        "/cookies/ab",
        "/cookies/00000000000000AB",
        "/unknown/a",
    ] {
        assert_eq!(Key::parse(bad), None, "I1: {bad}");
    }
}

#[test]
fn a_prefix_covers_its_own_namespace_and_no_neighbour() {
    let namespace = NamespaceName::parse("a/b").unwrap();
    let inside = topic("non-persistent://a/b/c");
    let neighbour = topic("persistent://a/b2/c");
    for (prefix, key) in [
        (keys::topics_prefix(&namespace), keys::topic_key as fn(&TopicName) -> String),
        (keys::partitioned_prefix(&namespace), keys::partitioned_key),
        (keys::topic_policies_prefix(&namespace), keys::topic_policies_key),
        (keys::managed_ledgers_prefix(&namespace), keys::managed_ledger_key),
        (keys::schemas_prefix(&namespace), keys::schema_key),
    ] {
        assert!(key(&inside).starts_with(&prefix));
        assert!(!key(&neighbour).starts_with(&prefix));
    }
    let tenant = TenantName::parse("a").unwrap();
    assert!(keys::namespace_key(&namespace).starts_with(&keys::namespaces_prefix(&tenant)));
    let longer = NamespaceName::parse("a2/b").unwrap();
    assert!(!keys::namespace_key(&longer).starts_with(&keys::namespaces_prefix(&tenant)));
}

fn name() -> impl Strategy<Value = TopicName> {
    let domain = select(vec![Domain::Persistent, Domain::NonPersistent]);
    (domain, "[a-z0-9.:=_-]{1,8}", "[a-z0-9.:=_-]{1,8}", "\\PC{1,24}").prop_filter_map(
        "no topic name",
        |(domain, tenant, namespace, local)| {
            TopicName::new(domain, NamespaceName::new(&tenant, &namespace).ok()?, &local).ok()
        },
    )
}

proptest! {
    #[test]
    fn every_topic_has_one_key_and_every_key_one_topic(left in name(), right in name()) {
        for make in [Key::Topic, Key::Partitioned, Key::TopicPolicies, Key::ManagedLedger] {
            let text = make(left.clone()).text();
            prop_assert_eq!(Key::parse(&text), Some(make(left.clone())));
            prop_assert_eq!(text == make(right.clone()).text(), left == right);
            prop_assert!(text.is_ascii() && !text.contains("//"));
        }
    }

    #[test]
    fn no_text_panics_the_parser_and_parsing_is_canonical(text in "/(topics|ledgers|tenants)/[a-z%0-9A-F/]{0,30}|.{0,40}") {
        if let Some(key) = Key::parse(&text) {
            prop_assert_eq!(key.text(), text, "I1");
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding(text in any::<String>()) {
        prop_assert_eq!(keys::decode(&keys::encode(&text)), Some(text));
    }
}
