//! Records that live in several regions: policies of namespaces and topics, and how many partitions a topic has.
//!
//! **What**  A record that was written here is sent to every region that its namespace replicates to, and all of them when a
//! region comes up. Of two policy records the newer wins by version, then by writer; of two partition counts the larger,
//! because partitions are only ever added. So regions agree whatever order records arrive in.
//!
//! **Invariants**
//! - I1  a record is stored only for a namespace that replicates with the region it came from.
//! - I2  a record replaces exactly the one that it was compared with; when another came between, it is compared again.
//! - I3  what is one region's own (`LocalPolicies`, the bundles, the properties of a partitioned topic) stays its own.
//!
//! **Not here**  Creating tenants: who may use a region is said in that region. Deleting: each region deletes for itself.
//!
//! **Tests**  `policy_sync/tests.rs`; `chaos/live` (two regions see each other's records).

#[cfg(test)]
mod tests;

use crate::broker::Broker;
use crate::io::BrokerEffect;
use crate::session::waiting::Waiter;
use base::{NamespaceName, RegionName, TopicName};
use bytes::Bytes;
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use std::collections::BTreeMap;
use tenancy::keys::{self, Key};
use tenancy::{PartitionedRecord, PolicyRecord, TopicPolicyRecord};
use wire::region::RegionFrame;

/// Records that wait for something here; more are dropped, and come again when the regions meet the next time.
const WAITING_MAX: usize = 10_000;

/// A record on its way into the metadata.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    from: RegionName,
    key: String,
    value: Bytes,
    /// Version of the key that the record was compared with; `None`: there was none.
    compared: Option<u64>,
}

/// What is known of the records' keys, for I2.
#[derive(Debug, Default)]
pub(crate) struct PolicySync {
    /// Key → version of what the directory shows.
    versions: BTreeMap<String, u64>,
    /// Key → a record that waits for the directory to show what came between, or its namespace. One per key: the newest.
    waiting: BTreeMap<String, Arrived>,
}

impl PolicySync {
    /// The version of a record that the directory shows; only records that live in several regions have one.
    pub(crate) fn version_of(&self, key: &str) -> Option<u64> {
        self.versions.get(key).copied()
    }
}

impl Broker {
    /// A change of the metadata is in the directory: notes its version, sends what was written here, and takes up what waited.
    pub(crate) fn note_record(&mut self, key: &str, version: u64, gone: bool) {
        let Some(parsed @ (Key::Namespace(_) | Key::TopicPolicies(_) | Key::Partitioned(_))) = Key::parse(key) else {
            return;
        };
        if gone {
            self.policy_sync.versions.remove(key);
        } else {
            self.policy_sync.versions.insert(key.to_owned(), version);
            self.send_record(&parsed, None);
        }
        let concerned = match &parsed {
            Key::Namespace(namespace) => self.keys_of(namespace, self.policy_sync.waiting.keys()),
            _ => Vec::new(),
        };
        for key in concerned.into_iter().chain([key.to_owned()]) {
            if let Some(Arrived { from, key, value, .. }) = self.policy_sync.waiting.remove(&key) {
                self.take_record(&from, key, Some(value));
            }
        }
    }

    /// Those of the keys that belong to topics of a namespace.
    fn keys_of<'a>(&self, namespace: &NamespaceName, keys: impl Iterator<Item = &'a String>) -> Vec<String> {
        let prefixes = [keys::topic_policies_prefix(namespace), keys::partitioned_prefix(namespace)];
        keys.filter(|key| prefixes.iter().any(|prefix| key.starts_with(prefix))).cloned().collect()
    }

    fn wait(&mut self, arrived: Arrived) {
        if self.policy_sync.waiting.len() < WAITING_MAX {
            self.policy_sync.waiting.insert(arrived.key.clone(), arrived);
        }
    }

    /// Sends everything that lives in this region too.
    pub(crate) fn send_all_records(&mut self, region: &RegionName) {
        for key in self.policy_sync.versions.keys().filter_map(|key| Key::parse(key)).collect::<Vec<_>>() {
            self.send_record(&key, Some(region));
        }
    }

    /// Sends a record that was written here to the regions that its namespace replicates to; to `only` one of them whoever wrote
    /// it.
    fn send_record(&mut self, key: &Key, only: Option<&RegionName>) {
        if !self.core.is_gateway {
            return; // It sees the same change and sends it for all.
        }
        let own = self.core.directory.cluster_name();
        let Some((namespace, writer, version, value)) = self.record(key) else { return };
        if only.is_none() && writer.as_ref().is_some_and(|writer| writer != own) {
            return;
        }
        let Some(home) = self.core.directory.namespace_record(namespace) else { return };
        let wanted = |region: &&RegionName| {
            *region != own && only.is_none_or(|only| only == *region) && self.core.is_region_up(region)
        };
        let targets: Vec<RegionName> = home.policies.replication_clusters.iter().filter(wanted).cloned().collect();
        let writer = self.core.options.region;
        for to in targets {
            let frame = RegionFrame::Policy { key: key.text(), version, writer, value: Some(value.clone()) };
            self.out.effect(BrokerEffect::Region { to, group: 0, frame });
        }
    }

    /// Namespace, writer, version and bytes of a record in the directory.
    fn record<'a>(&self, key: &'a Key) -> Option<(&'a NamespaceName, Option<RegionName>, u64, Bytes)> {
        let directory = &self.core.directory;
        let (namespace, writer, version, value) = match key {
            Key::Namespace(name) => {
                let record = directory.namespace_record(name)?;
                (name, record.writer.clone(), record.version, serde_json::to_vec(record))
            }
            Key::TopicPolicies(topic) => {
                let record = directory.topic_policies(topic)?;
                (topic.namespace(), record.writer.clone(), record.version, serde_json::to_vec(record))
            }
            Key::Partitioned(topic) => {
                let record = directory.partitioned(topic)?;
                (topic.namespace(), None, u64::from(record.partitions), serde_json::to_vec(record))
            }
            _ => return None,
        };
        Some((namespace, writer, version, value.ok()?.into()))
    }

    /// Another region has a record: stores it when it is the newer one.
    pub(crate) fn take_record(&mut self, from: &RegionName, key: String, value: Option<Bytes>) {
        let (Some(parsed), Some(value)) = (Key::parse(&key), value) else { return };
        if let Key::TopicPolicies(topic) | Key::Partitioned(topic) = &parsed
            && self.core.directory.namespace_record(topic.namespace()).is_none()
        {
            // The namespace's own record came just before, and is being stored.
            return self.wait(Arrived { from: from.clone(), key, value, compared: None });
        }
        let merged = match &parsed {
            Key::Namespace(namespace) => self.merge_namespace(from, namespace, &value),
            Key::TopicPolicies(topic) if self.is_shared(topic.namespace(), from) => self.merge_topic(topic, &value),
            Key::Partitioned(topic) if self.is_shared(topic.namespace(), from) => self.merge_partitions(topic, &value),
            _ => return,
        };
        let written = match merged {
            Ok(Some(written)) => written,
            Ok(None) => return,
            Err(reason) => {
                let text = format!("region {from} sent record {key}, which is not stored: {reason}");
                return self.out.effect(BrokerEffect::Alarm { text });
            }
        };
        let compared = self.policy_sync.versions.get(&key).copied();
        let condition = match compared {
            Some(version) => Compare::Version { key: key.clone(), version },
            None => Compare::Absent { key: key.clone() },
        };
        let writes = vec![Write::Put { key: key.clone(), value: written.into() }];
        let request = MetaRequest::Txn { compare: vec![condition], writes };
        let arrived = Arrived { from: from.clone(), key, value, compared };
        self.ask_meta(request, Waiter::Record(Box::new(arrived)));
    }

    /// Whether the namespace replicates with that region (I1).
    fn is_shared(&self, namespace: &NamespaceName, with: &RegionName) -> bool {
        let record = self.core.directory.namespace_record(namespace);
        record.is_some_and(|record| record.policies.replication_clusters.contains(with))
    }

    fn merge_namespace(
        &self,
        from: &RegionName,
        namespace: &NamespaceName,
        value: &[u8],
    ) -> Result<Option<Vec<u8>>, String> {
        let mut theirs: PolicyRecord = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if !theirs.policies.replication_clusters.contains(from) {
            return Ok(None); // I1
        }
        if self.core.directory.tenant(namespace.tenant()).is_none() {
            return Err(format!("tenant {} does not exist here; create it", namespace.tenant()));
        }
        match self.core.directory.namespace_record(namespace) {
            Some(ours) if !theirs.is_newer_than(ours) => return Ok(None),
            Some(ours) => {
                theirs.local = ours.local.clone(); // I3
                theirs.policies.bundles = ours.policies.bundles.clone();
            }
            None => (),
        }
        serde_json::to_vec(&theirs).map(Some).map_err(|error| error.to_string())
    }

    fn merge_topic(&self, topic: &TopicName, value: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let theirs: TopicPolicyRecord = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        let newer = self.core.directory.topic_policies(topic).is_none_or(|ours| theirs.is_newer_than(ours));
        Ok(newer.then(|| value.to_vec()))
    }

    fn merge_partitions(&self, topic: &TopicName, value: &[u8]) -> Result<Option<Vec<u8>>, String> {
        let theirs: PartitionedRecord = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        if self.core.directory.has_topic(topic) {
            return Err("a topic of this name that is not partitioned exists here; delete one of the two".to_owned());
        }
        let ours = self.core.directory.partitioned(topic);
        if ours.is_some_and(|ours| ours.partitions >= theirs.partitions) {
            return Ok(None);
        }
        let properties = ours.map(|ours| ours.properties.clone()).unwrap_or_default(); // I3
        let merged = PartitionedRecord { partitions: theirs.partitions, properties };
        serde_json::to_vec(&merged).map(Some).map_err(|error| error.to_string())
    }

    pub(crate) fn handle_record_stored(&mut self, arrived: Arrived, response: &MetaResponse) {
        match response {
            MetaResponse::Committed { .. } => (),
            // I2: when the directory shows what came between, now; otherwise as soon as it does.
            MetaResponse::Conflict { .. } => {
                if self.policy_sync.versions.get(&arrived.key).copied() == arrived.compared {
                    self.wait(arrived);
                } else {
                    self.take_record(&arrived.from, arrived.key, Some(arrived.value));
                }
            }
            other => {
                let text = format!("record {} of region {} could not be stored: {other:?}", arrived.key, arrived.from);
                self.out.effect(BrokerEffect::Alarm { text });
            }
        }
    }

    /// A namespace begins to replicate, or to more regions: its topics' records follow it there.
    pub(crate) fn send_records_of(&mut self, namespace: &NamespaceName) {
        for key in self.keys_of(namespace, self.policy_sync.versions.keys()) {
            if let Some(key) = Key::parse(&key) {
                self.send_record(&key, None);
            }
        }
    }
}
