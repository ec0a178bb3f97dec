//! A local view of the region's metadata, from which every decision reads without waiting.
//!
//! **What**  Fed with each metadata change in order ([`Directory::apply`]); answers tenants, clusters, namespaces with
//! their policies, topics and partitioned topics at once. Topics are kept as local names only, sorted, so that a
//! namespace of 100,000 topics costs some tens of bytes each and is listed page by page.
//!
//! **Invariants**
//! - I1  what it answers is what the changes said so far; the order in which records of different families arrive does not
//!   matter (a topic may be known before its namespace).
//! - I2  a record that cannot be read counts as absent, so that nothing is allowed by it, and is reported as damaged.
//!   Nobody may delete data because a record is absent here: deletion follows the store.
//!
//! **Not here**  Reading or writing the store; deciding who may do what (`authorize`).

use crate::cluster::ClusterData;
use crate::defaults::BrokerDefaults;
use crate::effective::{EffectivePolicies, PolicySources};
use crate::keys::Key;
use crate::policies::{Policies, PolicyRecord};
use crate::tenant::TenantInfo;
use crate::topic_policies::{TopicPolicies, TopicPolicyRecord};
use base::{Domain, NamespaceName, RegionName, TenantName, TopicName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The metadata record of a partitioned topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PartitionedRecord {
    pub partitions: u32,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// The metadata record of a topic or of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TopicRecord {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

/// What an applied change was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Tenant(TenantName),
    Cluster(RegionName),
    Namespace(NamespaceName),
    Partitioned(TopicName),
    Topic(TopicName),
    TopicPolicies(TopicName),
    DynamicConfig(String),
    /// A key of a family that the directory does not hold.
    Unrelated,
    /// The record could not be read and counts as absent (I2).
    Damaged {
        key: String,
        reason: String,
    },
}

/// What a namespace holds besides its policies.
#[derive(Debug, Default)]
struct Topics {
    persistent: BTreeSet<Box<str>>,
    non_persistent: BTreeSet<Box<str>>,
    partitioned: BTreeMap<(Domain, Box<str>), PartitionedRecord>,
    policies: BTreeMap<(Domain, Box<str>), Box<TopicPolicyRecord>>,
}

impl Topics {
    fn of(&self, domain: Domain) -> &BTreeSet<Box<str>> {
        match domain {
            Domain::Persistent => &self.persistent,
            Domain::NonPersistent => &self.non_persistent,
        }
    }

    fn of_mut(&mut self, domain: Domain) -> &mut BTreeSet<Box<str>> {
        match domain {
            Domain::Persistent => &mut self.persistent,
            Domain::NonPersistent => &mut self.non_persistent,
        }
    }

    fn is_empty(&self) -> bool {
        self.persistent.is_empty()
            && self.non_persistent.is_empty()
            && self.partitioned.is_empty()
            && self.policies.is_empty()
    }
}

/// The local view of a region's metadata.
#[derive(Debug)]
pub struct Directory {
    cluster: RegionName,
    defaults: BrokerDefaults,
    tenants: BTreeMap<TenantName, TenantInfo>,
    clusters: BTreeMap<RegionName, ClusterData>,
    namespaces: BTreeMap<NamespaceName, Box<PolicyRecord>>,
    topics: BTreeMap<NamespaceName, Topics>,
    dynamic: BTreeMap<String, String>,
    generation: u64,
}

impl Directory {
    /// An empty view for the region `cluster`.
    pub fn new(cluster: RegionName, defaults: BrokerDefaults) -> Self {
        Self {
            cluster,
            defaults,
            tenants: BTreeMap::new(),
            clusters: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            topics: BTreeMap::new(),
            dynamic: BTreeMap::new(),
            generation: 0,
        }
    }

    /// Takes one change of the store: the key and its new value, `None` when it was deleted. Applying the same change
    /// again changes nothing.
    pub fn apply(&mut self, key: &str, value: Option<&[u8]>) -> Change {
        let Some(parsed) = Key::parse(key) else { return Change::Unrelated };
        let outcome = match parsed {
            Key::Tenant(name) => self.apply_tenant(name, value),
            Key::Cluster(name) => self.apply_cluster(name, value),
            Key::Namespace(name) => self.apply_namespace(name, value),
            Key::Partitioned(topic) => self.apply_partitioned(topic, value),
            Key::Topic(topic) => Ok(self.apply_topic(topic, value)),
            Key::TopicPolicies(topic) => self.apply_topic_policies(topic, value),
            Key::DynamicConfig(name) => self.apply_dynamic_config(name, value),
            Key::ManagedLedger(_)
            | Key::Ledger(_)
            | Key::LedgerCounter
            | Key::Node(_)
            | Key::Alive(_)
            | Key::Owner(..)
            | Key::Cookie(_)
            | Key::Stamp(_)
            | Key::NodeCounter => return Change::Unrelated,
        };
        outcome.unwrap_or_else(|reason| Change::Damaged { key: key.to_owned(), reason })
    }

    fn apply_tenant(&mut self, name: TenantName, value: Option<&[u8]>) -> Result<Change, String> {
        self.generation += 1;
        set(&mut self.tenants, name.clone(), value)?;
        Ok(Change::Tenant(name))
    }

    fn apply_cluster(&mut self, name: RegionName, value: Option<&[u8]>) -> Result<Change, String> {
        self.generation += 1;
        set(&mut self.clusters, name.clone(), value)?;
        Ok(Change::Cluster(name))
    }

    fn apply_namespace(&mut self, name: NamespaceName, value: Option<&[u8]>) -> Result<Change, String> {
        self.generation += 1;
        set(&mut self.namespaces, name.clone(), value)?;
        Ok(Change::Namespace(name))
    }

    fn apply_partitioned(&mut self, topic: TopicName, value: Option<&[u8]>) -> Result<Change, String> {
        let result = self.in_namespace(&topic, |topics, key| set(&mut topics.partitioned, key, value));
        result.map(|()| Change::Partitioned(topic))
    }

    fn apply_topic(&mut self, topic: TopicName, value: Option<&[u8]>) -> Change {
        self.in_namespace(&topic, |topics, (domain, local)| {
            if value.is_some() {
                topics.of_mut(domain).insert(local)
            } else {
                topics.of_mut(domain).remove(&local)
            };
        });
        Change::Topic(topic)
    }

    fn apply_topic_policies(&mut self, topic: TopicName, value: Option<&[u8]>) -> Result<Change, String> {
        self.generation += 1;
        let result = self.in_namespace(&topic, |topics, key| set(&mut topics.policies, key, value));
        result.map(|()| Change::TopicPolicies(topic))
    }

    fn apply_dynamic_config(&mut self, name: String, value: Option<&[u8]>) -> Result<Change, String> {
        self.generation += 1;
        self.dynamic.remove(&name);
        if let Some(bytes) = value {
            let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
            self.dynamic.insert(name.clone(), text.to_owned());
        }
        Ok(Change::DynamicConfig(name))
    }

    /// Changes what the topic's namespace holds; an entry that has become empty is forgotten.
    fn in_namespace<T>(&mut self, topic: &TopicName, change: impl FnOnce(&mut Topics, (Domain, Box<str>)) -> T) -> T {
        let topics = self.topics.entry(topic.namespace().clone()).or_default();
        let result = change(topics, (topic.domain(), topic.local().into()));
        if topics.is_empty() {
            self.topics.remove(topic.namespace());
        }
        result
    }

    /// Grows with every change that may alter a decision (tenants, clusters, namespaces, topic policies, dynamic
    /// configuration), so that an answer kept elsewhere is known to be old.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The region whose view this is.
    pub fn cluster_name(&self) -> &RegionName {
        &self.cluster
    }

    pub fn defaults(&self) -> &BrokerDefaults {
        &self.defaults
    }

    pub fn tenant(&self, name: &TenantName) -> Option<&TenantInfo> {
        self.tenants.get(name)
    }

    /// All tenants, sorted.
    pub fn tenants(&self) -> impl Iterator<Item = (&TenantName, &TenantInfo)> {
        self.tenants.iter()
    }

    pub fn cluster(&self, name: &RegionName) -> Option<&ClusterData> {
        self.clusters.get(name)
    }

    /// All clusters, sorted.
    pub fn clusters(&self) -> impl Iterator<Item = (&RegionName, &ClusterData)> {
        self.clusters.iter()
    }

    /// The policies of a namespace; `None` when it does not exist.
    pub fn namespace(&self, name: &NamespaceName) -> Option<&Policies> {
        self.namespaces.get(name).map(|record| &record.policies)
    }

    /// The whole record of a namespace.
    pub fn namespace_record(&self, name: &NamespaceName) -> Option<&PolicyRecord> {
        self.namespaces.get(name).map(AsRef::as_ref)
    }

    /// The tenant's namespaces, sorted.
    pub fn namespaces_of<'a>(
        &'a self,
        tenant: &'a TenantName,
    ) -> impl Iterator<Item = (&'a NamespaceName, &'a PolicyRecord)> {
        // A tenant's namespaces stand together: names compare by tenant first. '-' is the smallest allowed character.
        let from = NamespaceName::new(tenant.as_str(), "-").ok();
        let all = from.map(|from| self.namespaces.range(from..));
        all.into_iter()
            .flatten()
            .take_while(move |(name, _)| name.tenant() == tenant)
            .map(|(name, record)| (name, record.as_ref()))
    }

    /// All namespaces, sorted.
    pub fn namespaces(&self) -> impl Iterator<Item = (&NamespaceName, &PolicyRecord)> {
        self.namespaces.iter().map(|(name, record)| (name, record.as_ref()))
    }

    /// Whether the topic, or this partition, exists.
    pub fn has_topic(&self, topic: &TopicName) -> bool {
        self.topics.get(topic.namespace()).is_some_and(|topics| topics.of(topic.domain()).contains(topic.local()))
    }

    /// Topics of a namespace in `domain`, partitions one by one, sorted, those after `after` (which need not exist), at
    /// most `limit`. System topics are among them.
    pub fn topics_of(
        &self,
        namespace: &NamespaceName,
        domain: Domain,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<TopicName> {
        let Some(topics) = self.topics.get(namespace) else { return Vec::new() };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let locals = topics.of(domain).range::<str, _>((from, Bound::Unbounded)).take(limit);
        locals.filter_map(|local| TopicName::new(domain, namespace.clone(), local).ok()).collect()
    }

    /// How many topics (partitions one by one) the namespace has in both domains.
    pub fn topic_count(&self, namespace: &NamespaceName) -> usize {
        self.topics.get(namespace).map_or(0, |topics| topics.persistent.len() + topics.non_persistent.len())
    }

    /// How many topics the tenant has in all its namespaces.
    pub fn topic_count_of_tenant(&self, tenant: &TenantName) -> usize {
        let from = NamespaceName::new(tenant.as_str(), "-").ok();
        let all = from.map(|from| self.topics.range(from..));
        let own = all.into_iter().flatten().take_while(|(name, _)| name.tenant() == tenant);
        own.map(|(_, topics)| topics.persistent.len() + topics.non_persistent.len()).sum()
    }

    /// Partitioned topics of a namespace, sorted, those after `after`, at most `limit`.
    pub fn partitioned_of(
        &self,
        namespace: &NamespaceName,
        domain: Domain,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(TopicName, u32)> {
        let Some(topics) = self.topics.get(namespace) else { return Vec::new() };
        let from = match after {
            Some(local) => Bound::Excluded((domain, Box::from(local))),
            None => Bound::Included((domain, Box::from(""))),
        };
        let own = topics.partitioned.range((from, Bound::Unbounded)).take_while(|((own, _), _)| *own == domain);
        own.take(limit)
            .filter_map(|((_, local), record)| {
                Some((TopicName::new(domain, namespace.clone(), local).ok()?, record.partitions))
            })
            .collect()
    }

    /// The number of partitions of a partitioned topic; `None` when the topic is not partitioned or does not exist.
    pub fn partitions(&self, topic: &TopicName) -> Option<u32> {
        self.partitioned(topic).map(|record| record.partitions)
    }

    /// The record of a partitioned topic.
    pub fn partitioned(&self, topic: &TopicName) -> Option<&PartitionedRecord> {
        self.topics.get(topic.namespace())?.partitioned.get(&(topic.domain(), topic.local().into()))
    }

    /// The policies set on the topic, or on the partitioned topic that it is a partition of.
    pub fn topic_policies(&self, topic: &TopicName) -> Option<&TopicPolicyRecord> {
        let base = topic.partitioned();
        let own = self.topics.get(base.namespace())?.policies.get(&(base.domain(), base.local().into()));
        own.map(AsRef::as_ref)
    }

    /// The values that hold for a topic; `None` when its namespace does not exist.
    pub fn effective(&self, topic: &TopicName) -> Option<EffectivePolicies> {
        let nothing = TopicPolicies::default();
        let own = self.topic_policies(topic).map_or(&nothing, |record| &record.policies);
        self.resolve(topic.namespace(), own)
    }

    /// The values that hold in a namespace for a topic with no policies of its own.
    pub fn effective_of_namespace(&self, namespace: &NamespaceName) -> Option<EffectivePolicies> {
        self.resolve(namespace, &TopicPolicies::default())
    }

    fn resolve(&self, namespace: &NamespaceName, topic: &TopicPolicies) -> Option<EffectivePolicies> {
        Some(EffectivePolicies::resolve(PolicySources {
            cluster: &self.cluster,
            defaults: &self.defaults,
            tenant: self.tenant(namespace.tenant()),
            namespace: self.namespace(namespace)?,
            topic,
        }))
    }

    /// A setting changed at run time.
    pub fn dynamic_config(&self, name: &str) -> Option<&str> {
        self.dynamic.get(name).map(String::as_str)
    }

    /// All settings changed at run time, sorted.
    pub fn dynamic_configs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.dynamic.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Puts or removes a JSON record. A record that cannot be read is removed (I2).
fn set<K: Ord, V: DeserializeOwned>(map: &mut BTreeMap<K, V>, key: K, value: Option<&[u8]>) -> Result<(), String> {
    map.remove(&key);
    if let Some(bytes) = value {
        map.insert(key, serde_json::from_slice(bytes).map_err(|error| error.to_string())?);
    }
    Ok(())
}
