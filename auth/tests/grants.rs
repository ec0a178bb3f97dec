//! Grants: names, JSON, and what may never be allowed.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use auth::{Access, Action, Grants};
use base::{SubscriptionName, TopicName};
use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
use proptest::sample::select;
use std::collections::{BTreeMap, BTreeSet};

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn subscription(text: &str) -> SubscriptionName {
    SubscriptionName::parse(text).unwrap()
}

fn produce() -> BTreeSet<Action> {
    BTreeSet::from([Action::Produce])
}

#[test]
fn nothing_is_granted_by_default() {
    let grants = Grants::default();
    for action in Action::ALL {
        assert!(!grants.allows_namespace("r", action) && !grants.allows_topic("r", action, &topic("a/b/c")));
    }
}

#[test]
fn a_namespace_grant_covers_its_topics_and_only_its_action() {
    let mut grants = Grants::default();
    grants.grant_namespace("r", produce());
    assert!(grants.allows_topic("r", Action::Produce, &topic("a/b/c")));
    assert!(!grants.allows_topic("r", Action::Consume, &topic("a/b/c")));
    assert!(!grants.allows_topic("R", Action::Produce, &topic("a/b/c")), "roles are whole texts");
    assert!(!grants.allows_topic("*", Action::Produce, &topic("a/b/c")));
    assert!(grants.revoke_namespace("r") && !grants.revoke_namespace("r"));
    assert!(!grants.allows_namespace("r", Action::Produce));
}

#[test]
fn a_star_role_is_no_wildcard() {
    let mut grants = Grants::default();
    grants.grant_namespace("*", produce());
    grants.grant_namespace("app-*", produce());
    assert!(!grants.allows_namespace("app-1", Action::Produce));
}

#[test]
fn a_grant_on_a_partitioned_topic_covers_its_partitions_but_not_the_reverse() {
    let mut grants = Grants::default();
    grants.grant_topic(&topic("a/b/c"), "whole", produce());
    grants.grant_topic(&topic("a/b/c-partition-1"), "part", produce());
    let allows = |role, name| grants.allows_topic(role, Action::Produce, &topic(name));
    assert!(allows("whole", "a/b/c") && allows("whole", "a/b/c-partition-0"));
    assert!(allows("part", "a/b/c-partition-1"));
    assert!(!allows("part", "a/b/c") && !allows("part", "a/b/c-partition-0"));
    assert!(!allows("whole", "a/b/c-partition-00"), "that is another topic, not a partition");
    assert!(!allows("whole", "non-persistent://a/b/c") && !allows("whole", "a/x/c"));
}

#[test]
fn granting_replaces_and_an_empty_grant_removes() {
    let mut grants = Grants::default();
    let name = topic("a/b/c");
    grants.grant_topic(&name, "r", produce());
    grants.grant_topic(&name, "r", BTreeSet::from([Action::Consume]));
    assert!(!grants.allows_topic("r", Action::Produce, &name));
    grants.grant_topic(&name, "r", BTreeSet::new());
    assert_eq!(grants, Grants::default());
    grants.grant_topic(&name, "r", produce());
    assert!(grants.revoke_topic(&name, "r") && !grants.revoke_topic(&name, "r"));
    assert_eq!(grants, Grants::default());
}

#[test]
fn revoking_the_last_role_of_a_subscription_locks_it() {
    let mut grants = Grants::default();
    let name = subscription("s");
    assert_eq!(grants.subscription_access("b", &name), Access::Open);
    grants.restrict_subscription(&name, BTreeSet::from(["a".to_owned()]));
    assert_eq!(grants.subscription_access("a", &name), Access::Open);
    assert_eq!(grants.subscription_access("b", &name), Access::Restricted);
    assert!(grants.revoke_subscription(&name, "a"));
    for role in ["a", "b"] {
        assert_eq!(grants.subscription_access(role, &name), Access::Restricted, "I2: not open to everybody");
    }
    assert!(!grants.revoke_subscription(&name, "a"));
    grants.restrict_subscription(&name, BTreeSet::new());
    assert_eq!(grants.subscription_access("b", &name), Access::Open);
}

#[test]
fn the_grants_shown_for_a_topic_join_all_that_apply() {
    let mut grants = Grants::default();
    grants.grant_namespace("n", produce());
    grants.grant_topic(&topic("a/b/c"), "w", produce());
    grants.grant_topic(&topic("a/b/c-partition-1"), "n", BTreeSet::from([Action::Consume]));
    let shown = grants.topic_grants(&topic("a/b/c-partition-1"));
    let both = BTreeSet::from([Action::Produce, Action::Consume]);
    assert_eq!(shown, BTreeMap::from([("n".to_owned(), both), ("w".to_owned(), produce())]));
}

#[test]
fn pulsars_json_is_read_and_written() {
    let text = r#"{"namespace_auth":{"r":["produce","consume"]},
        "destination_auth":{"persistent://a/b/c":{"t":["consume"]}},"subscription_auth_roles":{"s":["x"]}}"#;
    let grants: Grants = serde_json::from_str(text).unwrap();
    assert!(grants.allows_namespace("r", Action::Consume));
    assert!(grants.allows_topic("t", Action::Consume, &topic("a/b/c")));
    assert_eq!(grants.subscription_access("y", &subscription("s")), Access::Restricted);
    let written: String = text.split_whitespace().collect();
    assert_eq!(serde_json::to_string(&grants).unwrap(), written);
    let empty = r#"{"namespace_auth":{},"destination_auth":{},"subscription_auth_roles":{}}"#;
    assert_eq!(serde_json::to_string(&Grants::default()).unwrap(), empty);
    for lenient in ["{}", r#"{"namespace_auth":null,"destination_auth":null,"unknown":1}"#] {
        assert_eq!(serde_json::from_str::<Grants>(lenient).unwrap(), Grants::default());
    }
    assert!(serde_json::from_str::<Grants>(r#"{"namespace_auth":{"r":["everything"]}}"#).is_err());
}

#[test]
fn two_spellings_of_a_topic_in_json_are_one_topic() {
    let short: Grants = serde_json::from_str(r#"{"destination_auth":{"a/b/c":{"r":["produce"]}}}"#).unwrap();
    let full: Grants =
        serde_json::from_str(r#"{"destination_auth":{"persistent://a/b/c":{"r":["produce"]}}}"#).unwrap();
    assert_eq!(short, full);
}

/// Names that are easily confused with each other.
fn local() -> impl Strategy<Value = String> {
    let parts = vec![
        "c",
        "C",
        "c-partition-0",
        "c-partition-1",
        "c-partition-00",
        "c%2F",
        "c.",
        "č",
        "c-partition-0-partition-0",
    ];
    select(parts).prop_map(str::to_owned)
}

fn name() -> impl Strategy<Value = TopicName> {
    let head = select(vec!["persistent://a/b/", "non-persistent://a/b/", "persistent://a/c/", "persistent://b/b/"]);
    (head, local()).prop_map(|(head, local)| topic(&format!("{head}{local}")))
}

proptest! {
    #[test]
    fn every_spelling_of_a_name_gets_the_same_answer(granted in name(), asked in name(), role in "[ab]") {
        let mut grants = Grants::default();
        grants.grant_topic(&granted, "a", produce());
        let direct = grants.allows_topic(&role, Action::Produce, &asked);
        let respelled = TopicName::parse(&asked.to_string()).unwrap();
        prop_assert_eq!(direct, grants.allows_topic(&role, Action::Produce, &respelled));
        let through_json: Grants = serde_json::from_str(&serde_json::to_string(&grants).unwrap()).unwrap();
        prop_assert_eq!(direct, through_json.allows_topic(&role, Action::Produce, &asked));
        let covered = granted == asked || (asked.partition().is_some() && granted == asked.partitioned());
        prop_assert_eq!(direct, role == "a" && covered, "I1, I3: {} for {}", granted, asked);
    }

    #[test]
    fn what_was_granted_and_revoked_leaves_nothing_behind(names in proptest::collection::vec(name(), 0..8)) {
        let mut grants = Grants::default();
        for name in &names {
            grants.grant_topic(name, "r", produce());
            prop_assert!(grants.allows_topic("r", Action::Produce, name));
        }
        for name in &names {
            grants.revoke_topic(name, "r");
            prop_assert!(names.iter().any(|other| other != name) || !grants.allows_topic("r", Action::Produce, name));
        }
        prop_assert_eq!(grants, Grants::default());
    }
}
