//! The matrix of operations × principals × objects, and what refusals may reveal.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use auth::{Action, AuthMethod, Grants, Principal};
use base::{NamespaceName, RegionName, SubscriptionName, TenantName, TopicName};
use proptest::prelude::{prop_assert_eq, proptest};
use proptest::sample::select;
use std::collections::BTreeSet;
use tenancy::keys;
use tenancy::{
    Authorization, BrokerDefaults, Denied, Directory, Object, Operation, Policies, PolicyRecord, SubscriptionAuthMode,
    TenantInfo, authorize,
};

/// Who asks. `Other…` hold the same rights, in another tenant or namespace.
const ROLES: [&str; 9] = [
    "super",
    "boss",
    "producer",
    "consumer",
    "topic-producer",
    "topic-consumer",
    "other-boss",
    "other-consumer",
    "nobody",
];

fn topic(text: &str) -> TopicName {
    TopicName::parse(text).unwrap()
}

fn subscription(text: &str) -> SubscriptionName {
    SubscriptionName::parse(text).unwrap()
}

fn principal(role: &str) -> Principal {
    Principal::new(role, AuthMethod::Token)
}

fn rules() -> Authorization {
    Authorization::Enforced { super_users: BTreeSet::from(["super".to_owned()]) }
}

fn put_namespace(directory: &mut Directory, name: &str, policies: Policies) {
    let record = PolicyRecord { policies, ..PolicyRecord::default() };
    let key = keys::namespace_key(&NamespaceName::parse(name).unwrap());
    directory.apply(&key, Some(&serde_json::to_vec(&record).unwrap()));
}

fn put_tenant(directory: &mut Directory, name: &str, admin: &str) {
    let info = TenantInfo { admin_roles: BTreeSet::from([admin.to_owned()]), ..TenantInfo::default() };
    let key = keys::tenant_key(&TenantName::parse(name).unwrap());
    directory.apply(&key, Some(&serde_json::to_vec(&info).unwrap()));
}

fn actions(one: Action) -> BTreeSet<Action> {
    BTreeSet::from([one])
}

fn world() -> Directory {
    let mut directory = Directory::new(RegionName::parse("east").unwrap(), BrokerDefaults::standalone());
    put_tenant(&mut directory, "acme", "boss");
    put_tenant(&mut directory, "globex", "other-boss");
    put_tenant(&mut directory, "pulsar", "boss");
    let mut grants = Grants::default();
    grants.grant_namespace("producer", actions(Action::Produce));
    grants.grant_namespace("consumer", actions(Action::Consume));
    grants.grant_namespace("packager", actions(Action::Packages));
    grants.grant_topic(&topic("acme/orders/t"), "topic-producer", actions(Action::Produce));
    grants.grant_topic(&topic("acme/orders/t"), "topic-consumer", actions(Action::Consume));
    grants.restrict_subscription(&subscription("closed"), BTreeSet::from(["somebody".to_owned()]));
    put_namespace(&mut directory, "acme/orders", Policies { grants, ..Policies::default() });
    let mut others = Grants::default();
    others.grant_namespace("other-consumer", actions(Action::Consume));
    put_namespace(&mut directory, "acme/other", Policies { grants: others, ..Policies::default() });
    put_namespace(&mut directory, "pulsar/system", Policies::default());
    directory
}

fn ask(directory: &Directory, role: &str, what: Operation, on: Object<'_>) -> Result<(), Denied> {
    authorize(directory, Some(&principal(role)), &rules(), what, on)
}

/// Which of [`ROLES`] may do `what` on the topic `acme/orders/t`, its subscription `s`, its namespace, tenant, cluster.
/// Exhaustive: a new operation does not compile without its row.
fn allowed(what: Operation) -> &'static [&'static str] {
    const ADMINS: &[&str] = &["super", "boss"];
    const PRODUCERS: &[&str] = &["super", "boss", "producer", "topic-producer"];
    const CONSUMERS: &[&str] = &["super", "boss", "consumer", "topic-consumer"];
    const EITHER: &[&str] = &["super", "boss", "producer", "topic-producer", "consumer", "topic-consumer"];
    use Operation as O;
    match what {
        O::Produce | O::PutSchema => PRODUCERS,
        O::Lookup | O::GetSchema | O::ReadStats => EITHER,
        O::ListTopics => &["super", "boss", "producer", "consumer"],
        O::Consume
        | O::Unsubscribe
        | O::Seek
        | O::ListSubscriptions
        | O::CreateSubscription
        | O::Peek
        | O::ReadMessages
        | O::SkipMessages
        | O::ExpireMessages
        | O::ResetCursor => CONSUMERS,
        O::CreateTopic
        | O::DeleteTopic
        | O::UpdateTopic
        | O::UnloadTopic
        | O::TerminateTopic
        | O::TruncateTopic
        | O::CompactTopic
        | O::OffloadTopic
        | O::DeleteSchema
        | O::ReadTopicPolicies
        | O::WriteTopicPolicies
        | O::ReadTopicPermissions
        | O::WriteTopicPermissions
        | O::CreateNamespace
        | O::DeleteNamespace
        | O::UnloadNamespace
        | O::ReadNamespacePolicies
        | O::WriteNamespacePolicies
        | O::ReadNamespacePermissions
        | O::WriteNamespacePermissions
        | O::ClearNamespaceBacklog
        | O::ListNamespaces
        | O::ReadTenant => ADMINS,
        O::ListClusters => &ROLES,
        O::WriteTenant | O::ListTenants | O::ReadCluster | O::WriteCluster | O::ReadBroker | O::WriteBroker => {
            &["super"]
        }
    }
}

/// The object of each kind in `acme`, as far as the operation applies to it.
fn objects<'a>(topic: &'a TopicName, subscription: &'a SubscriptionName, cluster: &'a RegionName) -> [Object<'a>; 6] {
    [
        Object::Broker,
        Object::Cluster(cluster),
        Object::Tenant(topic.tenant()),
        Object::Namespace(topic.namespace()),
        Object::Topic(topic),
        Object::Subscription(topic, subscription),
    ]
}

#[test]
fn every_cell_of_the_matrix_is_as_written() {
    let directory = world();
    let (name, sub, cluster) = (topic("acme/orders/t"), subscription("s"), RegionName::parse("east").unwrap());
    for what in Operation::ALL {
        let fitting: Vec<_> = objects(&name, &sub, &cluster).into_iter().filter(|on| what.fits(*on)).collect();
        assert_eq!(fitting.len(), 1, "{what:?} applies to one kind of object");
        for role in ROLES {
            let answer = ask(&directory, role, *what, fitting[0]);
            assert_eq!(answer.is_ok(), allowed(*what).contains(&role), "{role} {what:?}: {answer:?}");
        }
        assert!(authorize(&directory, None, &rules(), *what, fitting[0]).is_err(), "nobody at all: {what:?}");
    }
}

#[test]
fn nothing_is_allowed_on_the_wrong_kind_of_object_not_even_to_super_users() {
    let directory = world();
    let (name, sub, cluster) = (topic("acme/orders/t"), subscription("s"), RegionName::parse("east").unwrap());
    for what in Operation::ALL {
        for on in objects(&name, &sub, &cluster).into_iter().filter(|on| !what.fits(*on)) {
            assert!(ask(&directory, "super", *what, on).is_err(), "I1: {what:?} on {on}");
        }
    }
}

#[test]
fn everything_is_allowed_while_authorization_is_off() {
    let name = topic("none/none/t");
    let directory = world();
    for what in Operation::ALL {
        assert_eq!(authorize(&directory, None, &Authorization::Off, *what, Object::Topic(&name)), Ok(()));
    }
}

#[test]
fn rights_end_at_the_topic_the_namespace_and_the_tenant() {
    let directory = world();
    let ends = [
        ("topic-producer", "acme/orders/t2", Operation::Produce),
        ("topic-producer", "non-persistent://acme/orders/t", Operation::Produce),
        ("producer", "acme/other/t", Operation::Produce),
        ("boss", "globex/x/t", Operation::Produce),
        ("boss", "globex/x/t", Operation::DeleteTopic),
        ("packager", "acme/orders/t", Operation::Lookup),
        ("nobody", "acme/orders/t", Operation::Lookup),
    ];
    for (role, name, what) in ends {
        assert!(ask(&directory, role, what, Object::Topic(&topic(name))).is_err(), "{role} {what:?} {name}");
    }
    assert!(
        ask(&directory, "topic-producer", Operation::Produce, Object::Topic(&topic("acme/orders/t-partition-3")))
            .is_ok()
    );
    assert!(
        ask(&directory, "boss", Operation::Produce, Object::Topic(&topic("acme/new/t"))).is_ok(),
        "404 comes later"
    );
}

#[test]
fn a_subscription_list_narrows_consume_but_not_the_admins() {
    let directory = world();
    let name = topic("acme/orders/t");
    let on_closed = |role| {
        let sub = subscription("closed");
        ask(&directory, role, Operation::Consume, Object::Subscription(&name, &sub))
    };
    assert!(on_closed("consumer").is_err() && on_closed("topic-consumer").is_err());
    assert!(on_closed("boss").is_ok() && on_closed("super").is_ok());
    assert!(on_closed("somebody").is_err(), "a place on the list is no grant");
}

#[test]
fn prefix_mode_demands_the_role_as_the_prefix() {
    let mut directory = world();
    let mut grants = Grants::default();
    grants.grant_namespace("app", actions(Action::Consume));
    let mode = SubscriptionAuthMode::Prefix;
    put_namespace(
        &mut directory,
        "acme/orders",
        Policies { grants, subscription_auth_mode: mode, ..Policies::default() },
    );
    let name = topic("acme/orders/t");
    let consumes = |role, sub: &str| {
        ask(&directory, role, Operation::Consume, Object::Subscription(&name, &subscription(sub))).is_ok()
    };
    assert!(consumes("app", "app-1") && !consumes("app", "other-app") && consumes("boss", "other"));
}

#[test]
fn system_topics_are_open_to_super_users_only() {
    let mut directory = world();
    let mut grants = Grants::default();
    grants.grant_namespace("consumer", actions(Action::Consume));
    grants.grant_topic(&topic("acme/orders/__change_events"), "consumer", actions(Action::Produce));
    put_namespace(&mut directory, "acme/orders", Policies { grants: grants.clone(), ..Policies::default() });
    put_namespace(&mut directory, "pulsar/system", Policies { grants, ..Policies::default() });
    let names = [
        "acme/orders/__change_events",
        "acme/orders/__change_events-partition-0",
        "acme/orders/__transaction_buffer_snapshot",
        "acme/orders/t-sub__transaction_pending_ack",
        "pulsar/system/anything",
    ];
    let sub = subscription("s");
    for name in names.map(topic) {
        for role in ["boss", "consumer", "nobody"] {
            let operations =
                [Operation::Lookup, Operation::Produce, Operation::WriteTopicPolicies, Operation::DeleteTopic];
            for what in operations {
                assert!(ask(&directory, role, what, Object::Topic(&name)).is_err(), "I3: {role} {what:?} {name}");
            }
            assert!(ask(&directory, role, Operation::Consume, Object::Subscription(&name, &sub)).is_err());
        }
        assert!(ask(&directory, "super", Operation::Consume, Object::Subscription(&name, &sub)).is_ok());
    }
}

#[test]
fn a_revoked_grant_ends_at_once() {
    let mut directory = world();
    let name = topic("acme/orders/t");
    let may = |directory: &Directory| ask(directory, "producer", Operation::Produce, Object::Topic(&name)).is_ok();
    assert!(may(&directory));
    let generation = directory.generation();
    put_namespace(&mut directory, "acme/orders", Policies::default());
    assert!(!may(&directory) && directory.generation() > generation);
}

#[test]
fn unknown_and_forbidden_answer_alike() {
    let directory = world();
    // What exists and is forbidden, and the same question about what does not exist.
    let pairs = [("globex/x/t", "nosuch/x/t"), ("acme/other/t", "acme/none/t"), ("acme/orders/t", "acme/orders/none")];
    for (existing, missing) in pairs {
        let (existing, missing) = (topic(existing), topic(missing));
        for what in [Operation::Lookup, Operation::Produce, Operation::DeleteTopic, Operation::ReadStats] {
            let text = |name: &TopicName| {
                let denied = ask(&directory, "nobody", what, Object::Topic(name)).unwrap_err().to_string();
                denied
                    .replace(name.namespace().to_string().as_str(), "NAMESPACE")
                    .replace(&format!("/{}", name.local()), "/LOCAL")
                    .replace(&format!("tenant {}", name.tenant()), "tenant TENANT")
                    .replace(&format!("update {}", name.tenant()), "update TENANT")
            };
            assert_eq!(text(&existing), text(&missing), "I2");
        }
    }
}

#[test]
fn a_refusal_says_who_what_why_and_how_to_change_it() {
    let directory = world();
    let name = topic("acme/orders/t");
    let denied = ask(&directory, "consumer", Operation::Produce, Object::Topic(&name)).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "role 'consumer' may not produce on topic persistent://acme/orders/t: it needs produce on the topic or the \
         namespace; an admin of the tenant grants it with `meridian admin namespaces grant-permission acme/orders \
         --role consumer --actions produce`"
    );
    let denied =
        ask(&directory, "consumer", Operation::DeleteNamespace, Object::Namespace(name.namespace())).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "role 'consumer' may not delete namespace acme/orders: it needs to be an admin role of tenant acme; a super user \
         adds it with `meridian admin tenants update acme --admin-roles consumer`"
    );
    let denied = ask(&directory, "boss", Operation::WriteBroker, Object::Broker).unwrap_err();
    assert_eq!(
        denied.to_string(),
        "role 'boss' may not change the settings of the region: it needs to be a super user; add the role to \
         superUserRoles of the server"
    );
    let nobody = authorize(&directory, None, &rules(), Operation::Lookup, Object::Topic(&name)).unwrap_err();
    assert_eq!(
        nobody.to_string(),
        "an unknown caller may not look up topic persistent://acme/orders/t: it has no proven identity; authenticate first"
    );
}

proptest! {
    #[test]
    fn every_spelling_of_a_topic_gets_the_same_answer(
        role in select(ROLES.to_vec()),
        text in "(persistent://)?(acme|globex|Acme|acme\\.)/(orders|other)/(t|T|t-partition-[0-9]|t-partition-01|%74|__change_events)",
        what in select(vec![Operation::Lookup, Operation::Produce, Operation::DeleteTopic, Operation::ReadMessages]),
    ) {
        let directory = world();
        let name = topic(&text);
        let direct = ask(&directory, role, what, Object::Topic(&name));
        let full = TopicName::parse(&name.to_string()).unwrap();
        prop_assert_eq!(&direct, &ask(&directory, role, what, Object::Topic(&full)));
        let built = TopicName::new(name.domain(), name.namespace().clone(), name.local()).unwrap();
        prop_assert_eq!(&direct, &ask(&directory, role, what, Object::Topic(&built)));
    }
}
