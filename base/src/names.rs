//! Names of tenants, namespaces, topics, subscriptions and regions, parsed once and compared as typed values.
//!
//! **What**  Rules of facts/pulsar-wire.md §17: four-part names `domain://tenant/namespace/local`, short names, the
//! `-partition-N` suffix. A name that parsed is valid everywhere; two spellings of one name give equal values.
//!
//! **Not here**  Percent-decoding (the HTTP side does it once), authorisation.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Longest accepted name part, in bytes.
const PART_BYTES_MAX: usize = 256;
/// Longest accepted full topic name, in bytes.
const TOPIC_BYTES_MAX: usize = 1024;

/// Why a text is not a name: which kind of object, which text, which rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid {kind} '{text}': {rule}")]
pub struct NameError {
    pub kind: &'static str,
    pub text: String,
    pub rule: &'static str,
}

fn refuse(kind: &'static str, text: &str, rule: &'static str) -> NameError {
    NameError { kind, text: text.chars().take(200).collect(), rule }
}

/// Tenants, clusters and namespaces: `[-=:.\w]+`.
fn check_part(kind: &'static str, text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(refuse(kind, text, "it is empty"));
    }
    if text.len() > PART_BYTES_MAX {
        return Err(refuse(kind, text, "it is longer than 256 bytes"));
    }
    if !text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '=' | ':' | '.' | '_')) {
        return Err(refuse(kind, text, "only letters, digits and - = : . _ are allowed"));
    }
    if text == "." || text == ".." {
        return Err(refuse(kind, text, "'.' and '..' are reserved"));
    }
    Ok(())
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

text_name! {
    /// A tenant, such as `public`.
    TenantName
}
text_name! {
    /// A region (a cluster in Pulsar's words), such as `standalone`.
    RegionName
}
text_name! {
    /// A subscription. Any text but the reserved prefixes is allowed, as in Pulsar.
    SubscriptionName
}

impl TenantName {
    /// # Errors
    /// [`NameError`] naming the broken rule.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_part("tenant name", text)?;
        Ok(Self(text.into()))
    }
}

impl RegionName {
    /// # Errors
    /// [`NameError`] naming the broken rule.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_part("region name", text)?;
        Ok(Self(text.into()))
    }
}

impl SubscriptionName {
    /// # Errors
    /// [`NameError`] when empty, longer than 256 bytes, with a control character, or with a prefix that Meridian keeps
    /// for itself (`pulsar.repl`, `pulsar.dedup`).
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const KIND: &str = "subscription name";
        if text.is_empty() {
            return Err(refuse(KIND, text, "it is empty"));
        }
        if text.len() > PART_BYTES_MAX {
            return Err(refuse(KIND, text, "it is longer than 256 bytes"));
        }
        if text.chars().any(char::is_control) {
            return Err(refuse(KIND, text, "control characters are not allowed"));
        }
        if text.starts_with("pulsar.repl") || text.starts_with("pulsar.dedup") {
            return Err(refuse(KIND, text, "the prefixes pulsar.repl and pulsar.dedup are reserved"));
        }
        Ok(Self(text.into()))
    }
}

/// A namespace, `tenant/namespace`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamespaceName {
    tenant: TenantName,
    local: Arc<str>,
}

impl NamespaceName {
    /// # Errors
    /// [`NameError`] unless `text` is `tenant/namespace`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((tenant, local)) => Self::new(tenant, local),
            None => Err(refuse("namespace name", text, "it must be tenant/namespace")),
        }
    }

    /// # Errors
    /// [`NameError`] when a part breaks a rule.
    pub fn new(tenant: &str, local: &str) -> Result<Self, NameError> {
        check_part("namespace name", local)?;
        Ok(Self { tenant: TenantName::parse(tenant)?, local: local.into() })
    }

    pub fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    /// The part after the slash.
    pub fn local(&self) -> &str {
        &self.local
    }
}

impl fmt::Display for NamespaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.local)
    }
}

impl TryFrom<String> for NamespaceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<NamespaceName> for String {
    fn from(name: NamespaceName) -> Self {
        name.to_string()
    }
}

/// Whether a topic's messages are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Domain {
    Persistent,
    NonPersistent,
}

impl Domain {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::NonPersistent => "non-persistent",
        }
    }

    /// `persistent` or `non-persistent`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "persistent" => Some(Self::Persistent),
            "non-persistent" => Some(Self::NonPersistent),
            _ => None,
        }
    }
}

/// A topic or one partition of a partitioned topic. Cheap to clone. Its text is always the full form
/// `persistent://tenant/namespace/local`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName {
    domain: Domain,
    namespace: NamespaceName,
    local: Arc<str>,
}

impl TopicName {
    /// Parses a full (`domain://tenant/ns/local`) or short name (`local`, `tenant/ns/local`).
    ///
    /// # Errors
    /// [`NameError`] naming the broken rule; the old four-part form with a cluster is refused.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        const KIND: &str = "topic name";
        if text.len() > TOPIC_BYTES_MAX {
            return Err(refuse(KIND, text, "it is longer than 1024 bytes"));
        }
        let (domain, rest) = match text.split_once("://") {
            Some((domain, rest)) => {
                let domain = Domain::parse(domain)
                    .ok_or_else(|| refuse(KIND, text, "the domain must be persistent or non-persistent"))?;
                (domain, rest)
            }
            None => (Domain::Persistent, text),
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match (parts.as_slice(), text.contains("://")) {
            ([tenant, namespace, local], _) => Self::new(domain, NamespaceName::new(tenant, namespace)?, local),
            ([local], false) => Self::new(domain, NamespaceName::new("public", "default")?, local),
            _ => Err(refuse(KIND, text, "it must be domain://tenant/namespace/topic, tenant/namespace/topic or topic")),
        }
    }

    /// Puts a name together from its parts.
    ///
    /// # Errors
    /// [`NameError`] when the local name is empty, too long, or holds a slash or a control character.
    pub fn new(domain: Domain, namespace: NamespaceName, local: &str) -> Result<Self, NameError> {
        const KIND: &str = "topic name";
        if local.is_empty() {
            return Err(refuse(KIND, local, "the part after the namespace is empty"));
        }
        if local.len() > TOPIC_BYTES_MAX {
            return Err(refuse(KIND, local, "it is longer than 1024 bytes"));
        }
        if local.chars().any(|c| c == '/' || c.is_control()) {
            return Err(refuse(KIND, local, "slashes and control characters are not allowed"));
        }
        Ok(Self { domain, namespace, local: local.into() })
    }

    pub fn domain(&self) -> Domain {
        self.domain
    }

    pub fn is_persistent(&self) -> bool {
        self.domain == Domain::Persistent
    }

    pub fn namespace(&self) -> &NamespaceName {
        &self.namespace
    }

    pub fn tenant(&self) -> &TenantName {
        self.namespace.tenant()
    }

    /// The part after the namespace, with the partition suffix if there is one.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The partition index when the name ends in `-partition-N` (decimal, no leading zero).
    pub fn partition(&self) -> Option<u32> {
        self.split_partition().map(|(_, index)| index)
    }

    fn split_partition(&self) -> Option<(&str, u32)> {
        let (base, digits) = self.local.rsplit_once("-partition-")?;
        let canonical = digits == "0" || (!digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()));
        if base.is_empty() || !canonical { None } else { Some((base, digits.parse().ok()?)) }
    }

    /// The partitioned topic that this partition belongs to; itself when it is no partition.
    pub fn partitioned(&self) -> Self {
        match self.split_partition() {
            Some((base, _)) => Self { local: base.into(), ..self.clone() },
            None => self.clone(),
        }
    }

    /// Partition `index` of this topic.
    pub fn with_partition(&self, index: u32) -> Self {
        Self { local: format!("{}-partition-{index}", self.local).into(), ..self.clone() }
    }

    /// Topics that Meridian or its clients keep for themselves (facts/pulsar-wire.md §17); left out of listings.
    pub fn is_system(&self) -> bool {
        let local = self.partitioned();
        let local = local.local();
        local == "__change_events"
            || local.starts_with("__transaction_")
            || local.ends_with("__transaction_pending_ack")
            || local == "transaction_coordinator_assign"
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.domain.as_str(), self.namespace, self.local)
    }
}

impl TryFrom<String> for TopicName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::parse(&text)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert_eq, proptest};

    #[test]
    fn short_names_and_full_names_are_one_name() {
        let full = TopicName::parse("persistent://public/default/t").unwrap();
        assert_eq!(TopicName::parse("t").unwrap(), full);
        assert_eq!(TopicName::parse("public/default/t").unwrap(), full);
        assert_eq!(full.to_string(), "persistent://public/default/t");
    }

    #[test]
    fn bad_names_are_refused_with_the_rule() {
        for bad in ["", "a/b", "persistent://a/b", "persistent://a/b/", "p://a/b/c", "persistent://a/b/c/d", "a b/c/d"]
        {
            assert!(TopicName::parse(bad).is_err(), "{bad}");
        }
        let error = TopicName::parse("persistent://a b/c/d").unwrap_err();
        assert_eq!(error.to_string(), "invalid tenant name 'a b': only letters, digits and - = : . _ are allowed");
        assert!(NamespaceName::parse("../x").is_err());
        assert!(SubscriptionName::parse("pulsar.repl.west").is_err());
    }

    #[test]
    fn partition_suffixes_are_canonical_decimals() {
        let topic = TopicName::parse("t").unwrap();
        assert_eq!(topic.with_partition(12).partition(), Some(12));
        assert_eq!(topic.with_partition(12).partitioned(), topic);
        for not in ["t-partition-01", "t-partition--1", "t-partition-", "t-partition-x", "-partition-1"] {
            assert_eq!(TopicName::parse(not).unwrap().partition(), None, "{not}");
        }
    }

    proptest! {
        #[test]
        fn a_parsed_name_prints_to_a_text_that_parses_to_the_same_name(text in "[a-z:/.%_ -]{0,40}") {
            if let Ok(name) = TopicName::parse(&text) {
                prop_assert_eq!(TopicName::parse(&name.to_string()).unwrap(), name);
            }
        }
    }
}
