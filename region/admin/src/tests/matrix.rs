//! Every row of the table × who asks, against what the row's operation allows; and that no row is forgotten.

use super::bed::Bed;
use crate::Method;
use crate::call::segments;
use crate::routes::{Access, Found, Route, Target, all, find};
use std::collections::BTreeSet;
use tenancy::Operation;

const TOPIC: &str = "t";

/// The path of a row, all names filled in inside of `acme/orders`.
fn path_of(route: &Route) -> String {
    let words = route.pattern.split('/').map(|word| match word {
        ":cluster" => "east",
        ":tenant" => "acme",
        ":namespace" => "orders",
        ":domain" => "persistent",
        ":topic" => TOPIC,
        ":subscription" => "s",
        ":role" => "somebody",
        ":bundle" => "0x00000000_0x40000000",
        ":policy" => "retention",
        ":node" | ":time" | ":count" | ":seconds" | ":nth" | ":ledger" | ":entry" | ":version" => "1",
        "*" => "anything",
        word => word.strip_prefix(':').unwrap_or(word),
    });
    format!("/{}", words.collect::<Vec<_>>().join("/"))
}

/// Who may do what, written down a second time and apart from `tenancy`.
fn may(role: &str, access: Access) -> bool {
    use Operation as O;
    let Access::On(operation, _) = access else { return true };
    if role == "super" {
        return true;
    }
    let (super_only, anybody) = match operation {
        O::ListClusters => (false, true),
        O::WriteTenant | O::ListTenants | O::ReadCluster | O::WriteCluster | O::ReadBroker | O::WriteBroker => {
            (true, false)
        }
        _ => (false, false),
    };
    let produce =
        matches!(operation, O::Produce | O::PutSchema | O::Lookup | O::GetSchema | O::ListTopics | O::ReadStats);
    let consume = matches!(
        operation,
        O::Lookup
            | O::GetSchema
            | O::ListTopics
            | O::ReadStats
            | O::ListSubscriptions
            | O::CreateSubscription
            | O::Consume
            | O::Unsubscribe
            | O::Seek
            | O::Peek
            | O::ReadMessages
            | O::SkipMessages
            | O::ExpireMessages
            | O::ResetCursor
    );
    anybody
        || match role {
            "boss" => !super_only,
            "producer" => produce,
            "consumer" => consume,
            _ => false,
        }
}

#[test]
fn every_row_lets_in_exactly_who_may() {
    for route in all() {
        let path = path_of(route);
        for role in [None, Some("other-boss"), Some("producer"), Some("consumer"), Some("boss"), Some("super")] {
            let mut bed = Bed::furnished();
            bed.become_role(role);
            let answer = bed.ask(route.method, &path, "");
            let refused = answer.status == 401 || answer.status == 403;
            let expected = match (role, route.access) {
                (_, Access::Open | Access::Metrics) => true,
                (None, _) => false,
                (Some(role), access) => may(role, access),
            };
            assert_eq!(!refused, expected, "{:?} {path} as {role:?}: {} {}", route.method, answer.status, answer.body);
            if role.is_none() && refused {
                assert_eq!(answer.status, 401, "{:?} {path}", route.method);
            }
        }
    }
}

#[test]
fn a_refused_request_changes_nothing_and_asks_nobody() {
    for route in all().filter(|route| !matches!(route.access, Access::Open | Access::Metrics)) {
        let mut bed = Bed::furnished();
        let before = bed.meta.clone();
        for role in [None, Some("stranger")] {
            bed.become_role(role);
            bed.ask(route.method, &path_of(route), "[]");
        }
        assert_eq!(bed.meta, before, "{:?} {}", route.method, route.pattern);
        assert_eq!(bed.api.pending(), 0);
    }
}

#[test]
fn the_target_of_each_row_is_named_by_its_path() {
    for route in all() {
        let Access::On(_, target) = route.access else { continue };
        let needs: &[&str] = match target {
            Target::Broker => &[],
            Target::Cluster => &[":cluster"],
            Target::Tenant => &[":tenant"],
            Target::Namespace => &[":tenant", ":namespace"],
            Target::Topic => &[":tenant", ":namespace", ":topic"],
            Target::Subscription => &[":tenant", ":namespace", ":topic", ":subscription"],
        };
        let words: BTreeSet<&str> = route.pattern.split('/').collect();
        assert!(needs.iter().all(|name| words.contains(name)), "{}", route.pattern);
    }
}

#[test]
fn no_row_hides_behind_another() {
    for route in all() {
        let path = segments(&path_of(route)).unwrap();
        let Found::Route(found, _) = find(route.method, &path) else { panic!("{} is not found", route.pattern) };
        assert_eq!((found.method, found.pattern), (route.method, route.pattern));
    }
}

#[test]
fn the_wrong_method_is_405_and_an_unknown_path_404() {
    let mut bed = Bed::furnished();
    assert_eq!(bed.refused(Method::Post, "/metrics", "").0, 405);
    assert_eq!(bed.refused(Method::Post, "/admin/v2/tenants", "").0, 405);
    let (status, reason) = bed.refused(Method::Get, "/admin/v2/nonsense", "");
    assert_eq!(status, 404);
    assert!(reason.contains("/admin/v2/nonsense"), "{reason}");
    assert_eq!(bed.refused(Method::Get, "/admin/v2/tenants/%zz", "").0, 400);
}

#[test]
fn what_is_not_built_says_so_by_name() {
    let mut bed = Bed::furnished();
    let (status, reason) = bed.refused(Method::Put, "/admin/v2/persistent/acme/orders/t/compaction", "");
    assert_eq!(status, 501);
    assert!(reason.contains("/compaction is not built yet"), "{reason}");
    assert_eq!(bed.refused(Method::Get, "/admin/v3/functions/acme/orders", "").0, 501);
    assert_eq!(bed.refused(Method::Get, "/admin/v2/resource-quotas", "").0, 501);
}

#[test]
fn a_name_that_is_no_name_is_412_and_never_reaches_a_handler() {
    let mut bed = Bed::furnished();
    for path in
        ["/admin/v2/tenants/a%2Fb", "/admin/v2/namespaces/acme/..", "/admin/v2/persistent/acme/orders/a%2Fb/stats"]
    {
        assert_eq!(bed.refused(Method::Get, path, "").0, 412, "{path}");
    }
}
