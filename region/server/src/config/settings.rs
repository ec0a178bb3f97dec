//! The one table of settings: their names in TOML, in the environment and in Pulsar's files, and what each one sets.
//!
//! **Invariants**
//! - I1  a name that is in no row is refused (TOML, environment) or listed (Pulsar's files), never dropped silently.
//! - I2  a value is applied in one place, whatever it was written in.

use super::{ConfigError, ServerConfig, broker_conf, file};
use auth::{KeySource, PublicAlg, TokenKey};
use base::{RegionId, RegionName};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Prefix of environment variables: `MERIDIAN_SECTION__KEY`.
const ENV_PREFIX: &str = "MERIDIAN_";

/// A server's configuration while it is put together. Call the sources in order of rising precedence.
#[derive(Debug)]
pub struct Settings {
    pub(super) config: ServerConfig,
    keys: Keys,
    ignored: Vec<String>,
}

/// Places of keys and files, read once everything is known.
#[derive(Debug, Default)]
pub(super) struct Keys {
    secret: Option<String>,
    public: Option<String>,
    public_alg: Option<String>,
    basic: Option<String>,
}

type Apply = fn(&mut Settings, &str) -> Result<(), String>;

/// One row of the table.
pub(super) struct Setting {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    /// The name in Pulsar's files; empty when Pulsar has no such setting.
    pub(super) pulsar: &'static str,
    apply: Apply,
}

macro_rules! settings {
    ($($section:literal $key:literal $pulsar:literal $apply:expr;)*) => {
        &[$(Setting { section: $section, key: $key, pulsar: $pulsar, apply: $apply }),*]
    };
}

/// Every setting that a server has.
pub(super) const SETTINGS: &[Setting] = settings! {
    "server" "data" "" |s, v| { s.config.data = PathBuf::from(v); Ok(()) };
    "server" "region" "clusterName" |s, v| put(&mut s.config.region, RegionName::parse(v));
    "server" "region_number" "" |s, v| { s.config.region_number = Some(region_number(v)?); Ok(()) };
    "server" "bind" "bindAddress" |s, v| put(&mut s.config.bind, ip_address(v));
    "server" "advertised" "advertisedAddress" |s, v| { s.config.advertised = text(v); Ok(()) };
    "server" "pulsar_port" "brokerServicePort" |s, v| number(&mut s.config.pulsar_port, v);
    "server" "http_port" "webServicePort" |s, v| number(&mut s.config.http_port, v);
    "server" "quic_port" "" |s, v| number(&mut s.config.quic_port, v);
    "server" "insecure" "" |s, v| flag(&mut s.config.insecure, v);
    "server" "create_defaults" "" |s, v| flag(&mut s.config.create_defaults, v);
    "server" "max_message_size" "maxMessageSize" |s, v| number(&mut s.config.message_bytes_max, v);
    "server" "keep_alive_interval_seconds" "keepAliveIntervalSeconds" |s, v| number(&mut s.config.keep_alive_s, v);
    "auth" "authentication_enabled" "authenticationEnabled" |s, v| flag(&mut s.config.auth.authentication_enabled, v);
    "auth" "authorization_enabled" "authorizationEnabled" |s, v| flag(&mut s.config.auth.authorization_enabled, v);
    "auth" "authenticate_metrics_endpoint" "authenticateMetricsEndpoint" |s, v| flag(&mut s.config.auth.authenticate_metrics, v);
    "auth" "authentication_providers" "authenticationProviders" |_, v| providers(v);
    "auth" "super_user_roles" "superUserRoles" |s, v| { s.config.auth.super_user_roles = list(v).collect(); Ok(()) };
    "auth" "anonymous_user_role" "anonymousUserRole" |s, v| { s.config.auth.anonymous_user_role = text(v); Ok(()) };
    "auth" "token_secret_key" "tokenSecretKey" |s, v| { s.keys.secret = text(v); Ok(()) };
    "auth" "token_public_key" "tokenPublicKey" |s, v| { s.keys.public = text(v); Ok(()) };
    "auth" "token_public_alg" "tokenPublicAlg" |s, v| { s.keys.public_alg = text(v); Ok(()) };
    "auth" "token_auth_claim" "tokenAuthClaim" |s, v| { s.config.auth.token_auth_claim = text(v); Ok(()) };
    "auth" "token_audience_claim" "tokenAudienceClaim" |s, v| { s.config.auth.token_audience_claim = text(v); Ok(()) };
    "auth" "token_audience" "tokenAudience" |s, v| { s.config.auth.token_audience = text(v); Ok(()) };
    "auth" "basic_auth_conf" "basicAuthConf" |s, v| { s.keys.basic = text(v); Ok(()) };
    "auth" "authentication_refresh_check_seconds" "authenticationRefreshCheckSeconds" |s, v| number(&mut s.config.auth_check_s, v);
    "node" "founders" "" |s, v| { s.config.node.founders = list(v).collect(); Ok(()) };
    "node" "join" "" |s, v| { s.config.node.join = list(v).collect(); Ok(()) };
    "node" "peer_port" "" |s, v| number(&mut s.config.node.peer_port, v);
    "node" "zone" "" |s, v| { s.config.node.zone = text(v); Ok(()) };
    "node" "encrypt_entries" "" |s, v| flag(&mut s.config.node.encrypt_entries, v);
    "node" "voter_grace_seconds" "" |s, v| number(&mut s.config.node.voter_grace_s, v);
    "node" "lost_bookie_recovery_delay_seconds" "lostBookieRecoveryDelay" |s, v| number(&mut s.config.node.lost_after_s, v);
    "node" "re_replication_bytes_per_second" "" |s, v| number(&mut s.config.node.repair_bytes_per_s, v);
    "node" "watchdog_ms" "" |s, v| number(&mut s.config.node.watchdog_ms, v);
    "node" "load_balancer_enabled" "loadBalancerEnabled" |s, v| flag(&mut s.config.node.balance.enabled, v);
    "node" "load_balancer_shedding_enabled" "loadBalancerSheddingEnabled" |s, v| flag(&mut s.config.node.balance.shedding, v);
    "node" "load_balancer_shedding_excluded_namespaces" "loadBalancerSheddingExcludedNamespaces" |s, v| put(&mut s.config.node.balance.excluded, ::cluster::namespaces(v).collect());
    "node" "load_balancer_interval_seconds" "" |s, v| number(&mut s.config.node.balance.interval_s, v);
    "node" "auto_bundle_split_enabled" "loadBalancerAutoBundleSplitEnabled" |s, v| flag(&mut s.config.node.balance.split, v);
    "node" "bundle_max_topics" "loadBalancerNamespaceBundleMaxTopics" |s, v| number(&mut s.config.node.balance.bundle_topics_max, v);
    "node" "bundle_max_msg_rate" "loadBalancerNamespaceBundleMaxMsgRate" |s, v| number(&mut s.config.node.balance.bundle_messages_max, v);
    "node" "bundle_max_bandwidth_mbytes" "loadBalancerNamespaceBundleMaxBandwidthMbytes" |s, v| number(&mut s.config.node.balance.bundle_mebibytes_max, v);
    "node" "namespace_max_bundles" "loadBalancerNamespaceMaximumBundles" |s, v| number(&mut s.config.node.balance.bundles_max, v);
    "node" "identity" "" |s, v| { s.config.node.identity = text(v).map(PathBuf::from); Ok(()) };
    "tls" "certificate_file" "tlsCertificateFilePath" |_, v| unbuilt_tls(v);
    "tls" "key_file" "tlsKeyFilePath" |_, v| unbuilt_tls(v);
    "tls" "trust_certs_file" "tlsTrustCertsFilePath" |_, v| unbuilt_tls(v);
    "tls" "pulsar_port" "brokerServicePortTls" |_, v| unbuilt_tls(v);
    "tls" "https_port" "webServicePortTls" |_, v| unbuilt_tls(v);
    "tls" "require_client_certificate" "tlsRequireTrustedClientCertOnConnect" |_, v| unbuilt_tls_flag(v);
};

impl Settings {
    /// Starts from the embedded defaults.
    pub fn new(defaults: ServerConfig) -> Self {
        Self { config: defaults, keys: Keys::default(), ignored: Vec::new() }
    }

    /// Takes the keys that Meridian knows from a Pulsar `broker.conf` or `standalone.conf` and remembers the others.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and key for a value that cannot be used.
    pub fn broker_conf(&mut self, path: &Path) -> Result<(), ConfigError> {
        let source = path.display().to_string();
        let content = read_text(path)?;
        for entry in broker_conf::entries(&content) {
            match SETTINGS.iter().find(|setting| setting.pulsar == entry.key) {
                // An empty value is how Pulsar's file writes "the default".
                Some(_) if entry.value.is_empty() => (),
                Some(setting) => {
                    self.apply(setting, &entry.value, &format!("{source}:{}: {}", entry.line, entry.key))?
                }
                None => self.ignored.push(entry.key),
            }
        }
        Ok(())
    }

    /// Takes a TOML file. Keys may be written in snake_case or kebab-case, and at the top or in their section.
    ///
    /// # Errors
    /// [`ConfigError`] with file, line and key for bad syntax, an unknown key or a value that cannot be used.
    pub fn toml(&mut self, path: &Path) -> Result<(), ConfigError> {
        let content = read_text(path)?;
        for entry in file::entries(&path.display().to_string(), &content)? {
            self.apply(entry.setting, &entry.value, &entry.place)?;
        }
        Ok(())
    }

    /// Takes environment variables named `MERIDIAN_SECTION__KEY`.
    ///
    /// # Errors
    /// [`ConfigError`] for a variable of that form that names no setting, or a value that cannot be used.
    pub fn env(&mut self, variables: impl Iterator<Item = (String, String)>) -> Result<(), ConfigError> {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(ENV_PREFIX) else { continue };
            let Some((section, key)) = rest.split_once("__") else { continue };
            let setting = file::find(&section.to_lowercase(), &key.to_lowercase())
                .ok_or_else(|| ConfigError::new(&name, file::unknown(&section.to_lowercase(), &key.to_lowercase())))?;
            self.apply(setting, &value, &name)?;
        }
        Ok(())
    }

    /// Takes one value by its name in TOML, for flags. `place` is how the user knows the setting.
    ///
    /// # Errors
    /// [`ConfigError`] for a value that cannot be used.
    pub fn set(&mut self, section: &str, key: &str, value: &str, place: &str) -> Result<(), ConfigError> {
        let setting = file::find(section, key).ok_or_else(|| ConfigError::new(place, file::unknown(section, key)))?;
        self.apply(setting, value, place)
    }

    /// The one place (I2).
    fn apply(&mut self, setting: &Setting, value: &str, place: &str) -> Result<(), ConfigError> {
        (setting.apply)(self, value.trim()).map_err(|rule| ConfigError::new(place, rule))
    }

    /// Reads keys and files, checks everything together. The second part are keys of Pulsar's file that mean nothing here.
    ///
    /// # Errors
    /// [`ConfigError`] for a key that cannot be read or settings that contradict each other.
    pub fn finish(mut self) -> Result<(ServerConfig, Vec<String>), ConfigError> {
        let keys = self.keys;
        if let Some(source) = &keys.secret {
            self.config.auth.token_keys.push(TokenKey::Hmac(read_key("tokenSecretKey", source)?));
        }
        if let Some(source) = &keys.public {
            let alg = PublicAlg::parse(keys.public_alg.as_deref().unwrap_or("RS256"))
                .map_err(|error| ConfigError::new("tokenPublicAlg", error.to_string()))?;
            let pem_or_der = read_key("tokenPublicKey", source)?;
            self.config.auth.token_keys.push(TokenKey::Public { alg, pem_or_der });
        }
        if let Some(path) = &keys.basic {
            self.config.auth.basic_users = Some(read_text(Path::new(path))?);
        }
        self.config.check()?;
        Ok((self.config, self.ignored))
    }
}

/// The bytes of a key given as `file://…`, `data:;base64,…` or a plain path.
///
/// # Errors
/// [`ConfigError`] naming `setting` when the source is malformed or its file cannot be read.
pub fn read_key(setting: &str, source: &str) -> Result<Vec<u8>, ConfigError> {
    let parsed = KeySource::parse(source).map_err(|error| ConfigError::new(setting, error.to_string()))?;
    match parsed {
        KeySource::Inline(bytes) => Ok(bytes),
        KeySource::File(path) => std::fs::read(&path)
            .map_err(|error| ConfigError::new(setting, format!("cannot read the file {path}: {error}"))),
    }
}

fn read_text(path: &Path) -> Result<String, ConfigError> {
    let place = path.display().to_string();
    std::fs::read_to_string(path).map_err(|error| ConfigError::new(&place, format!("cannot read this file: {error}")))
}

fn put<T, E: std::fmt::Display>(place: &mut T, value: Result<T, E>) -> Result<(), String> {
    *place = value.map_err(|error| error.to_string())?;
    Ok(())
}

fn ip_address(value: &str) -> Result<IpAddr, String> {
    value.parse().map_err(|_| format!("'{value}' is no IP address: write one, such as 127.0.0.1, 0.0.0.0 or ::1"))
}

fn number<T: FromStr>(place: &mut T, value: &str) -> Result<(), String> {
    let limit = std::mem::size_of::<T>() * 8;
    *place = value.parse().map_err(|_| format!("'{value}' is not a whole number of at most {limit} bits"))?;
    Ok(())
}

fn flag(place: &mut bool, value: &str) -> Result<(), String> {
    *place = match value {
        "true" => true,
        "false" => false,
        _ => return Err(format!("'{value}' is neither true nor false")),
    };
    Ok(())
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn list(value: &str) -> impl Iterator<Item = String> {
    value.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned)
}

fn region_number(value: &str) -> Result<RegionId, String> {
    match value.parse::<u8>() {
        Ok(number @ 1..) => Ok(RegionId(number)),
        _ => Err(format!("'{value}' is not a region number: use 1 to 255")),
    }
}

/// Which ways of logging in are offered follows from the keys; the names are only checked.
fn providers(value: &str) -> Result<(), String> {
    for name in list(value) {
        let word = name.rsplit('.').next().unwrap_or(&name).to_lowercase();
        match word.strip_prefix("authenticationprovider").unwrap_or(&word) {
            "token" | "basic" => (),
            "tls" => return Err("logging in by TLS certificate is not built yet: use token or basic".to_owned()),
            _ => return Err(format!("'{name}' is unknown: use token or basic, or Pulsar's class names of these")),
        }
    }
    Ok(())
}

fn unbuilt_tls(_value: &str) -> Result<(), String> {
    Err("TLS listeners are not built yet: leave this setting out".to_owned())
}

fn unbuilt_tls_flag(value: &str) -> Result<(), String> {
    if value == "false" { Ok(()) } else { unbuilt_tls(value) }
}
