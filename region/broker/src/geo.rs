//! Frames between regions on their way to topics, and policies that travel with them.
//!
//! **What**  Entries and link control go to the topic that a link number names. Namespace and topic policies are sent to every
//! region that the namespace replicates to; the newer record wins by version, then by writer.
//!
//! **Invariants**
//! - I1  a frame reaches a topic only when the namespace replicates with the region it came from (`Topic::handle_link_open`).
//! - I2  a policy record is stored only when it is newer than ours, by compare-and-put.

use crate::broker::Broker;
use crate::io::BrokerEffect;
use crate::session::waiting::Waiter;
use crate::topic::call::TopicCall;
use crate::topic::links::RegionState;
use base::{NamespaceName, Now, OwnerId, RegionId, RegionName};
use bytes::Bytes;
use meta_api::{Compare, MetaRequest, Write};
use tenancy::PolicyRecord;
use tenancy::keys::{self, Key};
use wire::region::RegionFrame;

impl Broker {
    pub(crate) fn handle_region_up(&mut self, now: Now, region: RegionName) {
        self.core.regions_up.insert(region.clone());
        self.tell_topics(now, &region, RegionState::Up);
        let namespaces: Vec<NamespaceName> = self.core.directory.namespaces().map(|(name, _)| name.clone()).collect();
        for namespace in namespaces {
            self.send_policy(&namespace, Some(&region));
        }
    }

    pub(crate) fn handle_region_down(&mut self, now: Now, region: &RegionName) {
        self.core.regions_up.remove(region);
        self.routes.receiving.retain(|(from, _), _| from != region);
        self.tell_topics(now, region, RegionState::Down);
    }

    fn tell_topics(&mut self, now: Now, region: &RegionName, state: RegionState) {
        let slots: Vec<OwnerId> = self.topics.by_slot.keys().copied().collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| topic.handle_region(region, state, env));
        }
    }

    pub(crate) fn handle_region_frame(&mut self, now: Now, from: &RegionName, frame: RegionFrame) {
        match frame {
            RegionFrame::Hello { .. } => (),
            RegionFrame::Policy { key, version, writer, value } => self.take_policy(from, key, version, writer, value),
            RegionFrame::Open { link, topic } => match self.creation_rule_for_link(&topic, from) {
                Ok(create) => self.call(now, &topic, create, TopicCall::LinkOpen { from: from.clone(), link }),
                Err(reason) => {
                    let frame = RegionFrame::Refused { link, retry: true, reason };
                    self.out.effect(BrokerEffect::Region { to: from.clone(), group: link::link_number(link), frame });
                }
            },
            RegionFrame::Entry { link, previous, position, data } => {
                let route = (from.clone(), link::link_number(link));
                if let Some(slot) = self.routes.receiving.get(&route).copied() {
                    self.with_topic(slot, now, |topic, env| {
                        topic.handle_link_entry(from, link, previous, position, data, env);
                    });
                }
            }
            RegionFrame::Close { link, .. }
                if self.routes.receiving.contains_key(&(from.clone(), link::link_number(link))) =>
            {
                let route = (from.clone(), link::link_number(link));
                if let Some(slot) = self.routes.receiving.remove(&route) {
                    self.with_topic(slot, now, |topic, _| topic.handle_link_closed(from, link));
                }
            }
            RegionFrame::Opened { link, .. }
            | RegionFrame::Refused { link, .. }
            | RegionFrame::Ack { link, .. }
            | RegionFrame::Rewind { link, .. }
            | RegionFrame::Close { link, .. } => {
                if let Some(slot) = self.routes.sending.get(&link::link_number(link)).copied() {
                    self.with_topic(slot, now, |topic, env| topic.handle_sender_frame(from, &frame, env));
                }
            }
        }
    }

    /// A remote region may create the topics of a namespace that replicates with it.
    fn creation_rule_for_link(
        &self,
        topic: &base::TopicName,
        from: &RegionName,
    ) -> Result<crate::topic::open::CreateTopic, String> {
        let policies = self.core.directory.effective(topic).filter(|p| p.replication_clusters.contains(from));
        if policies.is_none() {
            return Err(format!(
                "namespace {} does not exist here or does not replicate with {from}",
                topic.namespace()
            ));
        }
        if self.core.directory.has_topic(topic) || self.topics.by_name.contains_key(topic) {
            return Ok(crate::topic::open::CreateTopic::Never);
        }
        Ok(crate::topic::open::CreateTopic::IfAbsent { properties: Default::default() })
    }

    /// Sends a namespace's policies to the regions that it replicates to, or to one of them.
    pub(crate) fn send_policy(&mut self, namespace: &NamespaceName, only: Option<&RegionName>) {
        let Some(record) = self.core.directory.namespace_record(namespace) else { return };
        let own = self.core.directory.cluster_name();
        let number = self.core.options.region;
        let Ok(value) = serde_json::to_vec(record) else { return };
        let value = Bytes::from(value);
        let targets: Vec<RegionName> = record
            .policies
            .replication_clusters
            .iter()
            .filter(|region| {
                *region != own && only.is_none_or(|only| only == *region) && self.core.is_region_up(region)
            })
            .cloned()
            .collect();
        let (key, version) = (keys::namespace_key(namespace), record.version);
        for to in targets {
            let frame = RegionFrame::Policy { key: key.clone(), version, writer: number, value: Some(value.clone()) };
            self.out.effect(BrokerEffect::Region { to, group: 0, frame });
        }
    }

    fn take_policy(&mut self, from: &RegionName, key: String, _version: u64, _writer: RegionId, value: Option<Bytes>) {
        let (Some(Key::Namespace(namespace)), Some(value)) = (Key::parse(&key), value) else { return };
        let Ok(theirs) = serde_json::from_slice::<PolicyRecord>(&value) else {
            let text = format!("region {from} sent a policy record of namespace {namespace} that cannot be read");
            return self.out.effect(BrokerEffect::Alarm { text });
        };
        if !theirs.policies.replication_clusters.contains(from) {
            return;
        }
        if self.core.directory.tenant(namespace.tenant()).is_none() {
            let text = format!(
                "region {from} replicates namespace {namespace}, but its tenant does not exist here; create it"
            );
            return self.out.effect(BrokerEffect::Alarm { text });
        }
        let mut merged = theirs;
        let compare = match self.core.directory.namespace_record(&namespace) {
            Some(ours) if !merged.is_newer_than(ours) => return, // I2
            Some(ours) => {
                merged.local = ours.local.clone();
                vec![Compare::Exists { key: key.clone() }]
            }
            None => vec![Compare::Absent { key: key.clone() }],
        };
        let Ok(value) = serde_json::to_vec(&merged) else { return };
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key: key.clone(), value: value.into() }] };
        self.ask_meta(request, Waiter::Policy { key });
    }
}
