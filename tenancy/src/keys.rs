//! The one place that knows how metadata keys are laid out; that of a ledger, which storage needs as well, is `LedgerId::key`.
//!
//! **What**  Builders (`tenant_key`, `topic_key`, …), prefixes for range reads and watches, and [`Key::parse`], which reads
//! a key back. Local topic names are percent-encoded, so that a slash always separates parts.
//!
//! ```text
//! /tenants/T                      /clusters/C                      /namespaces/T/N
//! /partitioned/T/N/DOMAIN/LOCAL   /topics/T/N/DOMAIN/LOCAL         /topic-policies/T/N/DOMAIN/LOCAL
//! /ml/T/N/DOMAIN/LOCAL            /ledgers/ID                      /counters/ledger
//! /schemas/T/N/LOCAL              /schemas/T/N/LOCAL/VERSION       /dynamic-config/NAME
//! /nodes/ID                       /alive/ID                        /owners/T/N/BUNDLE
//! /cookies/HEX                    /stamps/ID                       /counters/node
//! ```
//!
//! **Invariants**
//! - I1  a key that parses prints to the same text: no two texts name one object.
//!
//! **Not here**  What the values hold; who reads or writes them.

use crate::BundleRange;
use base::{Domain, LedgerId, NamespaceName, NodeId, RegionName, TenantName, TopicName};
use std::fmt::Write;

pub const TENANTS: &str = "/tenants/";
pub const CLUSTERS: &str = "/clusters/";
pub const NAMESPACES: &str = "/namespaces/";
pub const PARTITIONED: &str = "/partitioned/";
pub const TOPICS: &str = "/topics/";
pub const TOPIC_POLICIES: &str = "/topic-policies/";
pub const MANAGED_LEDGERS: &str = "/ml/";
pub const LEDGERS: &str = LedgerId::KEYS;
pub const SCHEMAS: &str = "/schemas/";
pub const DYNAMIC_CONFIG: &str = "/dynamic-config/";
/// What each node of the region is and where it is reached.
pub const NODES: &str = "/nodes/";
/// Which nodes count as alive, with the incarnation that does.
pub const ALIVE: &str = "/alive/";
/// Which node serves each bundle.
pub const OWNERS: &str = "/owners/";
/// Node numbers by the cookie of the disk that asked for one.
pub const COOKIES: &str = "/cookies/";
/// How far the life of a node's disk has come.
pub const STAMPS: &str = "/stamps/";
/// The counter of ledger numbers, for `MetaRequest::Reserve`.
pub const LEDGER_COUNTER: &str = "/counters/ledger";
/// The counter of node numbers, for `MetaRequest::Reserve`.
pub const NODE_COUNTER: &str = "/counters/node";

/// The prefixes that a [`crate::Directory`] must be fed with.
pub const DIRECTORY_PREFIXES: [&str; 7] =
    [TENANTS, CLUSTERS, NAMESPACES, PARTITIONED, TOPICS, TOPIC_POLICIES, DYNAMIC_CONFIG];

/// A key, read back. Families that only their owners read (`/ml/`, `/schemas/`) are parsed as far as others need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Tenant(TenantName),
    Cluster(RegionName),
    Namespace(NamespaceName),
    Partitioned(TopicName),
    Topic(TopicName),
    TopicPolicies(TopicName),
    ManagedLedger(TopicName),
    Ledger(LedgerId),
    LedgerCounter,
    DynamicConfig(String),
    Node(NodeId),
    Alive(NodeId),
    Owner(NamespaceName, BundleRange),
    Cookie(u64),
    Stamp(NodeId),
    NodeCounter,
}

impl Key {
    /// Reads a key; `None` for every text that no builder here makes.
    pub fn parse(text: &str) -> Option<Self> {
        let key = Self::read(text)?;
        // I1: a second spelling (an over-encoded byte, a zero before a number) is no key.
        (key.text() == text).then_some(key)
    }

    fn read(text: &str) -> Option<Self> {
        if text == LEDGER_COUNTER {
            return Some(Self::LedgerCounter);
        }
        if text == NODE_COUNTER {
            return Some(Self::NodeCounter);
        }
        let (family, rest) = text.strip_prefix('/')?.split_once('/')?;
        Some(match family {
            "tenants" => Self::Tenant(TenantName::parse(rest).ok()?),
            "clusters" => Self::Cluster(RegionName::parse(rest).ok()?),
            "namespaces" => Self::Namespace(NamespaceName::parse(rest).ok()?),
            "partitioned" => Self::Partitioned(read_topic(rest)?),
            "topics" => Self::Topic(read_topic(rest)?),
            "topic-policies" => Self::TopicPolicies(read_topic(rest)?),
            "ml" => Self::ManagedLedger(read_topic(rest)?),
            "ledgers" => Self::Ledger(LedgerId(rest.parse().ok()?)),
            "dynamic-config" => Self::DynamicConfig(decode(rest)?),
            "nodes" => Self::Node(NodeId(rest.parse().ok()?)),
            "alive" => Self::Alive(NodeId(rest.parse().ok()?)),
            "owners" => {
                let (namespace, bundle) = rest.rsplit_once('/')?;
                Self::Owner(NamespaceName::parse(namespace).ok()?, BundleRange::parse(bundle)?)
            }
            "cookies" => Self::Cookie(u64::from_str_radix(rest, 16).ok()?),
            "stamps" => Self::Stamp(NodeId(rest.parse().ok()?)),
            _ => return None,
        })
    }

    /// The key's text.
    pub fn text(&self) -> String {
        match self {
            Self::Tenant(name) => tenant_key(name),
            Self::Cluster(name) => cluster_key(name),
            Self::Namespace(name) => namespace_key(name),
            Self::Partitioned(topic) => partitioned_key(topic),
            Self::Topic(topic) => topic_key(topic),
            Self::TopicPolicies(topic) => topic_policies_key(topic),
            Self::ManagedLedger(topic) => managed_ledger_key(topic),
            Self::Ledger(id) => id.key(),
            Self::LedgerCounter => LEDGER_COUNTER.to_owned(),
            Self::DynamicConfig(name) => dynamic_config_key(name),
            Self::Node(node) => node_key(*node),
            Self::Alive(node) => alive_key(*node),
            Self::Owner(namespace, bundle) => owner_key(namespace, *bundle),
            Self::Cookie(cookie) => cookie_key(*cookie),
            Self::Stamp(node) => stamp_key(*node),
            Self::NodeCounter => NODE_COUNTER.to_owned(),
        }
    }
}

pub fn tenant_key(tenant: &TenantName) -> String {
    format!("{TENANTS}{tenant}")
}

pub fn cluster_key(cluster: &RegionName) -> String {
    format!("{CLUSTERS}{cluster}")
}

pub fn namespace_key(namespace: &NamespaceName) -> String {
    format!("{NAMESPACES}{namespace}")
}

/// The prefix under which a tenant's namespaces stand.
pub fn namespaces_prefix(tenant: &TenantName) -> String {
    format!("{NAMESPACES}{tenant}/")
}

/// The record of a partitioned topic: its number of partitions.
pub fn partitioned_key(topic: &TopicName) -> String {
    topic_text(PARTITIONED, topic)
}

pub fn partitioned_prefix(namespace: &NamespaceName) -> String {
    format!("{PARTITIONED}{namespace}/")
}

/// The record that a topic, or one partition, exists.
pub fn topic_key(topic: &TopicName) -> String {
    topic_text(TOPICS, topic)
}

pub fn topics_prefix(namespace: &NamespaceName) -> String {
    format!("{TOPICS}{namespace}/")
}

pub fn topic_policies_key(topic: &TopicName) -> String {
    topic_text(TOPIC_POLICIES, topic)
}

pub fn topic_policies_prefix(namespace: &NamespaceName) -> String {
    format!("{TOPIC_POLICIES}{namespace}/")
}

/// The managed ledger of a topic: its chain of ledgers.
pub fn managed_ledger_key(topic: &TopicName) -> String {
    topic_text(MANAGED_LEDGERS, topic)
}

pub fn managed_ledgers_prefix(namespace: &NamespaceName) -> String {
    format!("{MANAGED_LEDGERS}{namespace}/")
}

/// The schema record of a topic. All partitions and both domains of a name share one schema, as in Pulsar.
pub fn schema_key(topic: &TopicName) -> String {
    format!("{SCHEMAS}{}/{}", topic.namespace(), encode(topic.partitioned().local()))
}

/// One version of a topic's schema; versions sort as numbers.
pub fn schema_version_key(topic: &TopicName, version: u64) -> String {
    format!("{}/{version:020}", schema_key(topic))
}

pub fn schemas_prefix(namespace: &NamespaceName) -> String {
    format!("{SCHEMAS}{namespace}/")
}

/// A setting changed at run time.
pub fn dynamic_config_key(name: &str) -> String {
    format!("{DYNAMIC_CONFIG}{}", encode(name))
}

/// What a node is and where it is reached.
pub fn node_key(node: NodeId) -> String {
    format!("{NODES}{node}")
}

/// Which incarnation of a node counts as alive; absent: none does.
pub fn alive_key(node: NodeId) -> String {
    format!("{ALIVE}{node}")
}

/// Which node serves a bundle.
pub fn owner_key(namespace: &NamespaceName, bundle: BundleRange) -> String {
    format!("{OWNERS}{namespace}/{bundle}")
}

/// The owner records of one namespace.
pub fn owners_prefix(namespace: &NamespaceName) -> String {
    format!("{OWNERS}{namespace}/")
}

/// The node number that was given to the disk with this cookie, so that asking twice gives one number.
pub fn cookie_key(cookie: u64) -> String {
    format!("{COOKIES}{cookie:016x}")
}

/// A number that a running node raises every few seconds, here and on its disk: a copy of the disk stays behind.
pub fn stamp_key(node: NodeId) -> String {
    format!("{STAMPS}{node}")
}

fn topic_text(prefix: &str, topic: &TopicName) -> String {
    format!("{prefix}{}/{}/{}", topic.namespace(), topic.domain().as_str(), encode(topic.local()))
}

fn read_topic(rest: &str) -> Option<TopicName> {
    let mut parts = rest.split('/');
    let (tenant, namespace, domain, local) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    TopicName::new(Domain::parse(domain)?, NamespaceName::new(tenant, namespace).ok()?, &decode(local)?).ok()
}

/// Percent-encodes every byte but letters, digits and `- . _ ~`, with capital hexadecimal digits.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Undoes [`encode`]; `None` for a broken escape or a text that is not UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let (high, low) = (hex_digit(*after.first()?)?, hex_digit(*after.get(1)?)?);
        bytes.push(high << 4 | low);
        rest = after.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
