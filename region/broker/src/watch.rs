//! Changes of the metadata: the view is updated, and whoever they concern reacts.

use crate::broker::Broker;
use base::{NamespaceName, Now, OwnerId, TopicName};
use meta_api::MetaEvent;
use std::collections::BTreeSet;
use tenancy::keys::{self, Key};
use tenancy::{Bundles, Change};

impl Broker {
    /// Metadata prefixes whose changes a broker must be fed with, after one snapshot of them.
    pub fn watched_prefixes() -> Vec<&'static str> {
        let mut prefixes = keys::DIRECTORY_PREFIXES.to_vec();
        prefixes.push(keys::SCHEMAS);
        prefixes.extend(cluster::VIEW_PREFIXES);
        prefixes
    }

    pub(crate) fn handle_meta_events(&mut self, now: Now, events: Vec<MetaEvent>) {
        let (mut namespaces, mut divided) = (BTreeSet::new(), BTreeSet::new());
        self.begin_batch();
        for event in events {
            let before = self.bundles_at(&event.key);
            self.metadata_revision = self.metadata_revision.max(event.revision);
            if event.key.starts_with(keys::SCHEMAS) {
                self.schemas.apply(&event.key, event.value.as_deref());
                continue;
            }
            if self.handle_cluster_event(now, &event.key, event.revision, event.value.as_deref()) {
                continue;
            }
            let gone = event.value.is_none();
            let change = self.core.directory.apply(&event.key, event.value.as_deref());
            self.note_record(&event.key, event.revision, gone);
            match change {
                Change::Cluster(_) => {
                    self.core.refresh_regions();
                    self.refresh_topics(now, |_| true);
                }
                Change::Tenant(tenant) => self.refresh_topics(now, |name| *name.tenant() == tenant),
                Change::Namespace(namespace) => {
                    self.handle_namespace_changed(now, &namespace, gone);
                    if before.is_some() && before != self.bundles_at(&event.key) {
                        divided.insert(namespace.clone());
                    }
                    namespaces.insert(namespace);
                }
                Change::TopicPolicies(topic) => {
                    self.refresh_topics(now, |name| name.partitioned() == topic.partitioned());
                }
                Change::Damaged { key, reason } => {
                    let text = format!("metadata record {key} cannot be read and counts as absent: {reason}");
                    self.out.effect(crate::io::BrokerEffect::Alarm { text });
                }
                Change::Partitioned(_) | Change::Topic(_) | Change::DynamicConfig(_) | Change::Unrelated => (),
            }
        }
        for namespace in divided {
            self.load_divided(now, &namespace);
        }
        self.end_batch(now, &namespaces);
    }

    /// The bundles of the namespace whose record has this key.
    fn bundles_at(&self, key: &str) -> Option<Bundles> {
        if !key.starts_with(keys::NAMESPACES) {
            return None;
        }
        let Some(Key::Namespace(namespace)) = Key::parse(key) else { return None };
        self.core.directory.namespace(&namespace).map(|policies| policies.bundles.clone())
    }

    fn handle_namespace_changed(&mut self, now: Now, namespace: &NamespaceName, gone: bool) {
        if gone {
            return self.close_namespace(now, namespace);
        }
        self.send_records_of(namespace);
        self.refresh_topics(now, |name| name.namespace() == namespace);
    }

    fn refresh_topics(&mut self, now: Now, concerns: impl Fn(&TopicName) -> bool) {
        let slots: Vec<OwnerId> =
            self.topics.by_name.iter().filter(|(name, _)| concerns(name)).map(|(_, slot)| *slot).collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| topic.handle_policies_changed(env));
        }
    }
}
