//! Frames between regions on their way to topics.
//!
//! **What**  Entries and link control go to the topic that a link number names; records go to `policy_sync`.
//!
//! **Invariants**
//! - I1  a frame reaches a topic only when the namespace replicates with the region it came from (`Topic::handle_link_open`).

use crate::broker::Broker;
use crate::io::BrokerEffect;
use crate::topic::call::TopicCall;
use crate::topic::links::RegionState;
use base::{Now, OwnerId, RegionName};
use wire::region::RegionFrame;

impl Broker {
    pub(crate) fn handle_region_up(&mut self, now: Now, region: RegionName) {
        self.core.regions_up.insert(region.clone());
        self.tell_topics(now, &region, RegionState::Up);
        self.send_all_records(&region);
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
            RegionFrame::Policy { key, value, .. } => self.take_record(from, key, value),
            RegionFrame::Open { link, topic } => match self.creation_rule_for_link(&topic, from) {
                Ok(_) if self.core.owner_of(&topic) == cluster::Owner::Nobody => {
                    // The sender asks again, and reaches the owner that is found now.
                    let assigned = self.core.bundle_of(&topic).is_some_and(|bundle| self.assign(&bundle));
                    let found = if assigned { "is being found" } else { "cannot be found: no node takes topics" };
                    let reason = format!("an owner for topic {topic} {found}");
                    let frame = RegionFrame::Refused { link, retry: true, reason };
                    self.out.effect(BrokerEffect::Region { to: from.clone(), group: link::link_number(link), frame });
                }
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
}
