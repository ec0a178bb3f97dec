//! Clusters, tenants, brokers, probes, metrics, lookup.

use super::bed::Bed;
use crate::Method::{Delete, Get, Post, Put};
use serde_json::json;

#[test]
fn probes_answer_without_credentials() {
    let mut bed = Bed::furnished();
    bed.become_role(None);
    for (path, body) in [
        ("/admin/v2/brokers/health", "ok"),
        ("/admin/v2/brokers//health", "ok"),
        ("/admin/v2/brokers/ready", "ok"),
        ("/readyz", "ok"),
        ("/livez", "ok"),
        ("/status.html", "OK"),
    ] {
        assert_eq!(bed.ok(Get, path, "").body, body, "{path}");
    }
}

#[test]
fn metrics_have_one_type_line_per_family_and_the_labels_of_the_dashboards() {
    let mut bed = Bed::furnished();
    bed.ok(Put, "/admin/v2/persistent/acme/orders/a", "");
    bed.ok(Put, "/admin/v2/persistent/acme/orders/a/subscription/s", "");
    bed.ok(Put, "/admin/v2/persistent/acme/orders/b", "");
    bed.become_role(None);
    let page = bed.ok(Get, "/metrics/", "").body;
    assert!(page.contains("pulsar_version_info{cluster=\"east\",version=\"Meridian-test\"} 1\n"), "{page}");
    let topic = "cluster=\"east\",namespace=\"acme/orders\",topic=\"persistent://acme/orders/a\"";
    assert!(page.contains(&format!("pulsar_storage_size{{{topic}}} 0\n")), "{page}");
    assert!(page.contains(&format!("pulsar_subscription_back_log{{{topic},subscription=\"s\"}} 0\n")), "{page}");
    assert!(page.contains("pulsar_topics_count{cluster=\"east\",namespace=\"acme/orders\"} 2\n"), "{page}");
    let types: Vec<&str> = page.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let mut unique = types.clone();
    unique.dedup();
    assert_eq!(types, unique);
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn metrics_want_any_identity_once_the_settings_say_so() {
    let mut bed = Bed::furnished();
    bed.authenticate_metrics();
    bed.become_role(None);
    assert_eq!(bed.refused(Get, "/metrics", "").0, 401);
    assert_eq!(bed.refused(Get, "/metrics/", "").0, 401);
    bed.ok(Get, "/status.html", "");
    bed.become_role(Some("stranger"));
    assert!(bed.ok(Get, "/metrics", "").body.contains("pulsar_version_info"));
}

#[test]
fn clusters_are_created_read_changed_and_deleted() {
    let mut bed = Bed::furnished();
    let west =
        r#"{"serviceUrl":"http://w:8080","replicatorUrl":"quic://w:6660","replicatorTrust":"ab","regionNumber":"2"}"#;
    bed.ok(Put, "/admin/v2/clusters/west", west);
    assert_eq!(bed.get("/admin/v2/clusters"), json!(["east", "west"]));
    assert_eq!(bed.get("/admin/v2/clusters/west")["regionNumber"], json!(2));
    assert_eq!(bed.refused(Put, "/admin/v2/clusters/west", west).0, 409);
    // What Pulsar's tools do not know stays.
    bed.ok(Post, "/admin/v2/clusters/west", r#"{"serviceUrl":"http://w2:8080"}"#);
    let data = bed.get("/admin/v2/clusters/west");
    assert_eq!((&data["serviceUrl"], &data["replicatorUrl"]), (&json!("http://w2:8080"), &json!("quic://w:6660")));
    bed.ok(Post, "/admin/v2/clusters/west/peers", r#"["east"]"#);
    assert_eq!(bed.get("/admin/v2/clusters/west/peers"), json!(["east"]));
    assert_eq!(bed.refused(Post, "/admin/v2/clusters/west/peers", r#"["west"]"#).0, 412);
    bed.ok(Delete, "/admin/v2/clusters/west", "");
    assert_eq!(bed.refused(Get, "/admin/v2/clusters/west", "").0, 404);
    assert_eq!(bed.refused(Delete, "/admin/v2/clusters/east", "").0, 412);
}

#[test]
fn a_region_number_belongs_to_one_cluster_and_never_changes() {
    let mut bed = Bed::furnished();
    let (status, reason) = bed.refused(Put, "/admin/v2/clusters/west", r#"{"regionNumber":1}"#);
    assert_eq!(status, 409);
    assert!(reason.contains("belongs to cluster east") && reason.contains("give cluster west another"), "{reason}");
    bed.ok(Put, "/admin/v2/clusters/west", r#"{"regionNumber":2}"#);
    assert_eq!(bed.refused(Put, "/admin/v2/clusters/north", r#"{"regionNumber":2}"#).0, 409);
    assert_eq!(bed.refused(Post, "/admin/v2/clusters/west", r#"{"regionNumber":3}"#).0, 409);
    assert_eq!(bed.refused(Put, "/admin/v2/clusters/north", r#"{"regionNumber":0}"#).0, 400);
    assert_eq!(bed.refused(Put, "/admin/v2/clusters/north", r#"{"replicatorUrl":"http://x"}"#).0, 412);
}

#[test]
fn a_cluster_in_use_stays() {
    let mut bed = Bed::furnished();
    bed.ok(Put, "/admin/v2/clusters/west", r#"{"regionNumber":2}"#);
    bed.ok(Post, "/admin/v2/tenants/acme", r#"{"adminRoles":["boss"],"allowedClusters":["east","west"]}"#);
    bed.ok(Post, "/admin/v2/namespaces/acme/orders/replication", r#"["east","west"]"#);
    assert_eq!(bed.refused(Delete, "/admin/v2/clusters/west", "").0, 412);
    assert_eq!(bed.refused(Post, "/admin/v2/tenants/acme", r#"{"allowedClusters":["east"]}"#).0, 409);
}

#[test]
fn tenants_are_created_read_changed_and_deleted() {
    let mut bed = Bed::furnished();
    assert_eq!(bed.get("/admin/v2/tenants/"), json!(["acme", "globex"]));
    assert_eq!(bed.get("/admin/v2/tenants/acme"), json!({"adminRoles": ["boss"], "allowedClusters": ["east"]}));
    let good = r#"{"adminRoles":[],"allowedClusters":["east"]}"#;
    assert_eq!(bed.refused(Put, "/admin/v2/tenants/acme", good).0, 409);
    assert_eq!(bed.refused(Put, "/admin/v2/tenants/new", "{}").0, 412);
    assert_eq!(bed.refused(Put, "/admin/v2/tenants/new", r#"{"allowedClusters":["nowhere"]}"#).0, 412);
    assert_eq!(bed.refused(Post, "/admin/v2/tenants/new", good), (404, "Tenant does not exist".to_owned()));
    assert_eq!(bed.refused(Delete, "/admin/v2/tenants/acme", "").0, 409);
    bed.ok(Put, "/admin/v2/persistent/acme/orders/t", "");
    bed.ok(Delete, "/admin/v2/tenants/acme?force=true", "");
    assert_eq!(bed.get("/admin/v2/tenants"), json!(["globex"]));
    assert_eq!(bed.refused(Get, "/admin/v2/tenants/acme", "").0, 404);
    assert!(bed.meta.iter_prefix("/topics/acme/").next().is_none());
}

#[test]
fn a_tenants_admin_may_not_give_itself_more() {
    let mut bed = Bed::furnished();
    bed.become_role(Some("boss"));
    bed.get("/admin/v2/tenants/acme");
    assert_eq!(bed.refused(Post, "/admin/v2/tenants/acme", r#"{"allowedClusters":["east"]}"#).0, 401);
    assert_eq!(bed.refused(Get, "/admin/v2/tenants/globex", "").0, 403);
}

#[test]
fn lookups_name_both_urls_always() {
    let mut bed = Bed::furnished();
    bed.become_role(Some("producer"));
    let found = bed.get("/lookup/v2/topic/persistent/acme/orders/t");
    assert_eq!(found["brokerUrl"], json!("pulsar://127.0.0.1:6650"));
    assert!(found.as_object().unwrap().contains_key("brokerUrlTls"));
    let bundle = bed.ok(Get, "/lookup/v2/topic/persistent/acme/orders/t/bundle", "").body;
    assert!(tenancy::BundleRange::parse(&bundle).is_some(), "{bundle}");
    assert_eq!(bed.refused(Get, "/lookup/v2/topic/persistent/acme/orders/t?listenerName=x", "").0, 400);
    bed.become_role(Some("super"));
    assert_eq!(bed.refused(Get, "/lookup/v2/topic/persistent/acme/none/t", "").0, 404);
}

#[test]
fn brokers_tell_who_they_are_and_take_settings() {
    let mut bed = Bed::furnished();
    assert_eq!(bed.get("/admin/v2/brokers"), json!(["127.0.0.1:8080"]));
    assert_eq!(bed.get("/admin/v2/brokers/east"), json!(["127.0.0.1:8080"]));
    assert_eq!(bed.refused(Get, "/admin/v2/brokers/west", "").0, 404);
    assert_eq!(bed.get("/admin/v2/brokers/leaderBroker")["brokerId"], json!("127.0.0.1:8080"));
    assert_eq!(bed.ok(Get, "/admin/v2/brokers/version", "").body, "Meridian-test");
    assert!(bed.get("/admin/v2/brokers/internal-configuration").is_object());
    let owned = bed.get("/admin/v2/brokers/east/127.0.0.1:8080/ownedNamespaces");
    assert_eq!(owned["acme/orders/0x00000000_0x40000000"]["is_active"], json!(true));
    let set = "/admin/v2/brokers/configuration/loadBalancerSheddingExcludedNamespaces/public%2Fdefault";
    assert_eq!(bed.ok(Post, set, "").status, 200);
    let values = bed.get("/admin/v2/brokers/configuration/values");
    assert_eq!(values, json!({"loadBalancerSheddingExcludedNamespaces": "public/default"}));
    let (status, reason) = bed.refused(Post, &set.replace("default", "default,nowhere"), "");
    assert!(status == 412 && reason.contains("nowhere"), "{status} {reason}");
    assert_eq!(bed.refused(Post, "/admin/v2/brokers/configuration/nonsense/1", "").0, 412);
    bed.ok(Delete, "/admin/v2/brokers/configuration/loadBalancerSheddingExcludedNamespaces", "");
    assert_eq!(bed.get("/admin/v2/brokers/configuration/values"), json!({}));
    assert!(bed.get("/admin/v2/brokers/configuration").is_array());
    assert_eq!(bed.get("/admin/v2/brokers/configuration/runtime")["clusterName"], json!("east"));
}
