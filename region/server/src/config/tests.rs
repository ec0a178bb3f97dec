//! How settings are read, and what is said about those that cannot be.

use super::file::distance;
use super::{ServerConfig, Settings};
use base::RegionName;
use std::path::PathBuf;

fn settings() -> Settings {
    Settings::new(ServerConfig::standalone(PathBuf::from("data"), RegionName::parse("standalone").unwrap()))
}

fn file(name: &str, content: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    (dir, path)
}

fn toml_error(content: &str) -> String {
    let (_dir, path) = file("node.toml", content);
    let error = settings().toml(&path).unwrap_err().to_string();
    error.rsplit_once('/').unwrap().1.to_owned()
}

#[test]
fn a_toml_file_sets_keys_in_snake_or_kebab_case() {
    let (_dir, path) = file(
        "node.toml",
        "region = \"east\"\ncreate_defaults = false\n[server]\npulsar-port = 7000\n[auth]\nsuper-user-roles = [\"a\", \"b\"]\n",
    );
    let mut settings = settings();
    settings.toml(&path).unwrap();
    let (config, ignored) = settings.finish().unwrap();
    assert_eq!((config.region.as_str(), config.pulsar_port, config.create_defaults), ("east", 7000, false));
    assert_eq!(config.auth.super_user_roles.len(), 2);
    assert!(ignored.is_empty());
}

#[test]
fn an_unknown_toml_key_is_named_with_its_line_and_what_was_meant() {
    assert_eq!(
        toml_error("region = \"east\"\n\n[auth]\ntokn_secret_key = \"x\"\n"),
        "node.toml:4: auth.tokn_secret_key: unknown setting; did you mean auth.token_secret_key?"
    );
    assert_eq!(toml_error("pulsarport = 1\n"), "node.toml:1: pulsarport: unknown setting; did you mean pulsar_port?");
}

#[test]
fn a_bad_toml_value_is_named_with_its_line_and_rule() {
    assert_eq!(
        toml_error("[server]\npulsar_port = 70000\n"),
        "node.toml:2: server.pulsar_port: '70000' is not a whole number of at most 16 bits"
    );
    assert_eq!(toml_error("[server]\nregion = 1.5\n").split(": ").next(), Some("node.toml:2"));
    assert_eq!(toml_error("a = \n").split(':').nth(1), Some("1"));
}

#[test]
fn the_environment_wins_over_the_file_and_unknown_names_are_refused() {
    let (_dir, path) = file("node.toml", "[server]\nhttp_port = 1\n");
    let mut settings = settings();
    settings.toml(&path).unwrap();
    let variables = [("MERIDIAN_SERVER__HTTP_PORT", "2"), ("MERIDIAN_HOME", "/x"), ("PATH", "/bin")];
    settings.env(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter()).unwrap();
    let typo = [("MERIDIAN_SERVER__HTP_PORT".to_owned(), "3".to_owned())];
    let error = settings.env(typo.into_iter()).unwrap_err().to_string();
    assert_eq!(error, "MERIDIAN_SERVER__HTP_PORT: unknown setting; did you mean server.http_port?");
    assert_eq!(settings.finish().unwrap().0.http_port, 2);
}

#[test]
fn a_broker_conf_gives_what_is_known_and_lists_the_rest() {
    let conf = "# comment\nclusterName=west\nauthenticateMetricsEndpoint=true\nbrokerServicePort=6700\nauthenticationEnabled=true\nauthorizationEnabled=true\n\
                tokenSecretKey=data:;base64,MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\nsuperUserRoles=admin, ops\n\
                zookeeperServers=zk:2181\nauthenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken\n";
    let (_dir, path) = file("broker.conf", conf);
    let mut settings = settings();
    settings.broker_conf(&path).unwrap();
    let (config, ignored) = settings.finish().unwrap();
    assert_eq!((config.region.as_str(), config.pulsar_port), ("west", 6700));
    assert!(config.auth.authenticate_metrics);
    assert_eq!(config.auth.token_keys.len(), 1);
    assert_eq!(config.auth.super_user_roles.iter().map(String::as_str).collect::<Vec<_>>(), ["admin", "ops"]);
    assert_eq!(ignored, ["zookeeperServers"]);
}

#[test]
fn tls_settings_say_that_they_are_not_built() {
    let (_dir, path) = file("broker.conf", "brokerServicePortTls=6651\n");
    let error = settings().broker_conf(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("broker.conf:1: brokerServicePortTls: TLS listeners are not built yet: leave this setting out")
    );
}

#[test]
fn distance_counts_single_letters() {
    assert_eq!(distance("", ""), 0);
    assert_eq!(distance("region", "region"), 0);
    assert_eq!(distance("regoin", "region"), 2);
    assert_eq!(distance("port", "ports"), 1);
    assert_eq!(distance("abc", ""), 3);
}

fn several(founders: &[&str]) -> ServerConfig {
    let region = RegionName::parse("east").unwrap();
    let mut config = ServerConfig::standalone(PathBuf::from("data"), region);
    config.node.founders = founders.iter().map(|address| (*address).to_owned()).collect();
    config
}

#[test]
fn founders_are_addresses_that_differ_and_name_this_node() {
    assert!(several(&["127.0.0.1:6655", "127.0.0.1:6665", "127.0.0.1:6675"]).check().is_ok());
    let refused = [
        (vec!["127.0.0.1:6655"], "one founder is a region of one node"),
        (vec!["127.0.0.1:6655", "127.0.0.1:6655"], "names an address twice"),
        (vec!["127.0.0.1:6655", "nowhere"], "'nowhere' is no address of a node"),
        (vec!["127.0.0.1:6665", "127.0.0.1:6675"], "lacks this node, whose address is 127.0.0.1:6655"),
    ];
    for (founders, words) in refused {
        let error = several(&founders).check().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_node_founds_or_joins_and_not_both() {
    let mut config = several(&["127.0.0.1:6655", "127.0.0.1:6665"]);
    config.node.join = vec!["127.0.0.1:6665".to_owned()];
    assert!(config.check().unwrap_err().to_string().contains("set only one of founders and join"));
}
