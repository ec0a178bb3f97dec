//! What a server is told (interface.md §1).
//!
//! **What**  [`ServerConfig`] is the checked result; [`Settings`] puts it together from a Pulsar `broker.conf`, a TOML file,
//! the environment and flags, the later ones winning. The one list of setting names is in `settings`.

mod broker_conf;
mod file;
mod settings;
#[cfg(test)]
mod tests;

pub use settings::{Settings, read_key};

use auth::{Authenticator, Providers, TlsLogin, TokenKey, TokenVerifier, TokenVerifierConfig};
use base::{NamespaceName, RegionId, RegionName};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use tenancy::Authorization;

/// Who may connect and do what.
#[derive(Clone, Debug, Default)]
pub struct AuthConfig {
    pub authentication_enabled: bool,
    pub authorization_enabled: bool,
    /// Whether `/metrics` asks who is reading.
    pub authenticate_metrics: bool,
    pub super_user_roles: BTreeSet<String>,
    pub anonymous_user_role: Option<String>,
    /// Keys that verify tokens.
    pub token_keys: Vec<TokenKey>,
    pub token_auth_claim: Option<String>,
    pub token_audience_claim: Option<String>,
    pub token_audience: Option<String>,
    /// Content of an htpasswd file.
    pub basic_users: Option<String>,
}

/// What makes this process one node of several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeConfig {
    /// Node-to-node addresses (`host:port`) of the nodes that found the region together, the same list on each of them.
    pub founders: Vec<String>,
    /// Node-to-node addresses of nodes to join, for a node that comes later.
    pub join: Vec<String>,
    /// TCP port for the other nodes of the region.
    pub peer_port: u16,
    /// Rack or availability zone: the copies of an entry are spread over as many as there are.
    pub zone: Option<String>,
    /// How long a voter of the metadata may be down before a node that is not down takes its vote, in seconds.
    pub voter_grace_s: u64,
    /// The folder of the region's certificate authority, the same on every node; `DATA/identity` when `None`.
    pub identity: Option<PathBuf>,
    /// Whether entries travel encrypted between the nodes of the region.
    pub encrypt_entries: bool,
    /// How long a node may be down before others take the places of its bookie, seconds.
    pub lost_after_s: u64,
    /// How fast lost copies are made again, bytes per second.
    pub repair_bytes_per_s: u64,
    /// After how long a process that stands still is killed, milliseconds; 0: never.
    pub watchdog_ms: u64,
    pub balance: BalanceConfig,
}

/// How bundles are spread over the nodes of a region; Pulsar's `loadBalancer…` settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalanceConfig {
    /// Off: neither of the two below happens.
    pub enabled: bool,
    /// Bundles move away from hot nodes and to nodes that serve few.
    pub shedding: bool,
    /// Namespaces whose bundles do not move for that.
    pub excluded: BTreeSet<NamespaceName>,
    /// How often nodes compare what they serve, seconds.
    pub interval_s: u64,
    /// Bundles beyond one of the limits are divided.
    pub split: bool,
    pub bundle_topics_max: u64,
    /// Messages per second, in and out.
    pub bundle_messages_max: u64,
    /// MiB per second, in and out.
    pub bundle_mebibytes_max: u64,
    /// Bundles of a namespace beyond which none is divided.
    pub bundles_max: u64,
}

impl Default for BalanceConfig {
    fn default() -> Self {
        let limits = broker::SplitLimits::standard();
        Self {
            enabled: true,
            shedding: true,
            excluded: BTreeSet::new(),
            interval_s: 10,
            split: limits.enabled,
            bundle_topics_max: limits.topics,
            bundle_messages_max: limits.messages_per_s,
            bundle_mebibytes_max: limits.mebibytes_per_s,
            bundles_max: limits.bundles,
        }
    }
}

impl NodeConfig {
    /// Whether the region may have other nodes.
    pub fn is_of_several(&self) -> bool {
        !self.founders.is_empty() || !self.join.is_empty()
    }
}

/// Everything that a server needs to start.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    pub data: PathBuf,
    pub region: RegionName,
    /// `None`: derived from the region's name at the first start, and kept.
    pub region_number: Option<RegionId>,
    pub bind: IpAddr,
    /// Name or address that clients are told; the bind address when `None`.
    pub advertised: Option<String>,
    pub pulsar_port: u16,
    pub http_port: u16,
    pub quic_port: u16,
    /// Listen on other addresses than loopback although nobody is asked who they are.
    pub insecure: bool,
    /// Tenant `public` and its like at the first start.
    pub create_defaults: bool,
    pub auth: AuthConfig,
    pub message_bytes_max: u32,
    /// Credentials are looked at this often, seconds.
    pub auth_check_s: u64,
    pub keep_alive_s: u64,
    pub node: NodeConfig,
}

/// A setting that cannot be used: which one, why, what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {rule}")]
pub struct ConfigError {
    pub setting: String,
    pub rule: String,
}

impl ConfigError {
    pub fn new(setting: &str, rule: impl Into<String>) -> Self {
        Self { setting: setting.to_owned(), rule: rule.into() }
    }
}

impl ServerConfig {
    /// The embedded defaults.
    pub fn standalone(data: PathBuf, region: RegionName) -> Self {
        Self {
            data,
            region,
            region_number: None,
            bind: IpAddr::from([127, 0, 0, 1]),
            advertised: None,
            pulsar_port: 6650,
            http_port: 8080,
            quic_port: 6660,
            insecure: false,
            create_defaults: true,
            auth: AuthConfig::default(),
            message_bytes_max: 5 * 1024 * 1024,
            auth_check_s: 60,
            keep_alive_s: 30,
            node: NodeConfig {
                peer_port: 6655,
                encrypt_entries: true,
                voter_grace_s: 600,
                lost_after_s: 30,
                repair_bytes_per_s: 16 << 20,
                watchdog_ms: 500,
                ..NodeConfig::default()
            },
        }
    }

    /// Checks what the settings say together.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !self.bind.is_loopback() && !self.auth.authentication_enabled && !self.insecure {
            let rule = format!(
                "{} is not a loopback address and authentication is off: anybody who reaches it could do anything. \
                 Set authenticationEnabled, or pass --insecure if that is meant",
                self.bind
            );
            return Err(ConfigError::new("--bind", rule));
        }
        if self.auth.authorization_enabled && !self.auth.authentication_enabled {
            let rule = "authorization needs to know who is asking: set authenticationEnabled as well";
            return Err(ConfigError::new("authorizationEnabled", rule));
        }
        self.check_node()
    }

    fn check_node(&self) -> Result<(), ConfigError> {
        let node = &self.node;
        for address in node.founders.iter().chain(&node.join) {
            let port =
                address.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
            if !matches!(port, Some(Ok(1..))) {
                let rule = format!("'{address}' is no address of a node: write host:port, such as 10.0.0.1:6655");
                return Err(ConfigError::new("[node] founders/join", rule));
            }
        }
        let distinct: BTreeSet<&String> = node.founders.iter().collect();
        if distinct.len() != node.founders.len() {
            return Err(ConfigError::new("[node] founders", "it names an address twice: name each node once"));
        }
        if !node.founders.is_empty() && !node.join.is_empty() {
            let rule =
                "a node founds the region with others or joins one that exists: set only one of founders and join";
            return Err(ConfigError::new("[node] join", rule));
        }
        if node.founders.len() == 1 {
            let rule = "one founder is a region of one node: leave the setting out, or name all of the first nodes";
            return Err(ConfigError::new("[node] founders", rule));
        }
        if node.watchdog_ms != 0 && !(100..=60_000).contains(&node.watchdog_ms) {
            let rule = format!(
                "{} ms: less than 100 would kill a node that is only busy, more than 60000 nobody waits for; 0 turns it off",
                node.watchdog_ms
            );
            return Err(ConfigError::new("[node] watchdog_ms", rule));
        }
        if node.is_of_several() && node.peer_port == 0 {
            let rule = "the other nodes must know the port: name one";
            return Err(ConfigError::new("[node] peer_port", rule));
        }
        if !node.founders.is_empty() && !node.founders.contains(&self.peer_address()) {
            let rule = format!(
                "the list lacks this node, whose address is {} (advertised or bind address, and peer_port)",
                self.peer_address()
            );
            return Err(ConfigError::new("[node] founders", rule));
        }
        Ok(())
    }

    /// Where the other nodes of the region reach this one.
    pub fn peer_address(&self) -> String {
        let host = self.advertised.clone().unwrap_or_else(|| self.bind.to_string());
        format!("{host}:{}", self.node.peer_port)
    }

    pub(crate) fn authenticator(&self) -> Result<Authenticator, ConfigError> {
        if !self.auth.authentication_enabled {
            return Ok(Authenticator::Off);
        }
        let auth = &self.auth;
        let token = if auth.token_keys.is_empty() {
            None
        } else {
            let mut config = TokenVerifierConfig::new(auth.token_keys.clone());
            if let Some(claim) = &auth.token_auth_claim {
                config.claim.clone_from(claim);
            }
            config.audience_claim.clone_from(&auth.token_audience_claim);
            config.audience.clone_from(&auth.token_audience);
            let verifier = TokenVerifier::new(config);
            Some(verifier.map_err(|error| ConfigError::new("tokenSecretKey/tokenPublicKey", error.to_string()))?)
        };
        let basic = match &auth.basic_users {
            Some(text) => {
                let users = auth::BasicUsers::parse(text);
                Some(users.map_err(|error| ConfigError::new("basicAuthConf", error.to_string()))?)
            }
            None => None,
        };
        let anonymous_role = auth.anonymous_user_role.clone();
        if token.is_none() && basic.is_none() && anonymous_role.is_none() {
            let rule = "authentication is on but no way to log in is configured: set tokenSecretKey or tokenPublicKey";
            return Err(ConfigError::new("authenticationEnabled", rule));
        }
        Ok(Authenticator::On(Providers { token, basic, tls: TlsLogin::NotOffered, anonymous_role }))
    }

    pub(crate) fn authorization(&self) -> Authorization {
        if self.auth.authorization_enabled {
            Authorization::Enforced { super_users: self.auth.super_user_roles.clone() }
        } else {
            Authorization::Off
        }
    }
}
