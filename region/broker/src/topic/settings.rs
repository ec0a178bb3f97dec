//! What the policies mean for one topic.

use crate::core::Core;
use crate::subscription::SubscriptionOptions;
use base::{RegionName, TopicName};
use ledger::ReplicationConfig;
use managed::{CheckpointRule, ManagedOptions, Retention};
use std::collections::BTreeSet;
use std::time::Duration;
use tenancy::EffectivePolicies;

/// The policies of one topic and what follows from them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TopicSettings {
    pub policies: EffectivePolicies,
    /// Regions that this topic is forwarded to.
    pub remote_regions: BTreeSet<RegionName>,
}

impl TopicSettings {
    /// The settings that hold now. A namespace that is gone leaves the broker's defaults; its topics are closing anyway.
    pub(crate) fn resolve(name: &TopicName, core: &Core) -> Self {
        let policies = core.directory.effective(name).unwrap_or_else(|| core.default_policies());
        let own = core.directory.cluster_name();
        let remote_regions = policies.replication_clusters.iter().filter(|region| *region != own).cloned().collect();
        Self { policies, remote_regions }
    }

    /// Whether the topic derives state from its log that a restart must rebuild.
    pub(crate) fn derives_state(&self) -> bool {
        self.policies.deduplication_enabled || !self.remote_regions.is_empty()
    }

    /// Whether entries of `region` are welcome here.
    pub(crate) fn replicates_with(&self, region: &RegionName) -> bool {
        self.remote_regions.contains(region)
    }

    pub(crate) fn subscription_options(&self) -> SubscriptionOptions {
        let limits = &self.policies.limits;
        SubscriptionOptions {
            unacked_max_per_consumer: limits.unacked_messages_per_consumer.unwrap_or(0),
            unacked_max_per_subscription: limits.unacked_messages_per_subscription.unwrap_or(0),
        }
    }

    pub(crate) fn retention(&self) -> Retention {
        let retention = self.policies.storage.retention;
        let time = u64::try_from(retention.minutes).ok().map(|minutes| Duration::from_secs(minutes * 60));
        let bytes = u64::try_from(retention.megabytes).ok().map(|megabytes| megabytes << 20);
        // Pulsar: either of the two at 0 while the other is unlimited still means "keep by the other".
        match (bytes, time) {
            (Some(0), None) => Retention { bytes: None, time: None },
            (bytes, time) => Retention { bytes, time },
        }
    }

    /// How the topic's log is kept.
    pub(crate) fn managed_options(&self, name: &TopicName, core: &Core) -> ManagedOptions {
        let mut options = ManagedOptions::new(core.options.region, self.replication(core));
        options.guard = core.guard_of(name);
        options.retention = self.retention();
        options.cache_bytes_max = core.options.topic_cache_bytes;
        if let Some(rehearsal) = core.options.rehearsal {
            options.ledger_entries_max = rehearsal.ledger_entries_max;
            options.cursor_log_bytes_max = rehearsal.cursor_log_bytes_max;
            options.seeded = rehearsal.managed;
        }
        if self.derives_state() {
            options.checkpoint = CheckpointRule::Required;
        }
        options
    }

    /// As many copies as the policies ask for and the region has nodes, whether they are up or down: a ledger that begins while
    /// one is down has its seat vacant.
    pub(crate) fn replication(&self, core: &Core) -> ReplicationConfig {
        let copies = self.policies.storage.persistence;
        let nodes = u32::try_from(core.nodes.max(core.bookies.len())).unwrap_or(u32::MAX).max(1);
        let write_quorum = copies.bookkeeper_write_quorum.clamp(1, nodes);
        let ensemble = copies.bookkeeper_ensemble.clamp(write_quorum, nodes);
        let ack_quorum = copies.bookkeeper_ack_quorum.clamp(1, write_quorum);
        ReplicationConfig::new(ensemble, write_quorum, ack_quorum).unwrap_or(ReplicationConfig::SINGLE)
    }
}

impl crate::topic::Topic {
    /// Other bookies take entries from now on: the next ledger, and copies that must be replaced, go to them.
    pub(crate) fn handle_bookies_changed(&mut self, env: &mut crate::topic::TopicEnv<'_>) {
        if self.is_gone() {
            return;
        }
        self.ledger.set_replication(self.settings.replication(env.core));
        self.ledger.set_zones(env.core.zones.clone());
        self.ledger.set_bookies(env.now, env.core.bookies.clone(), &mut self.ledger_fx);
    }

    /// A policy that concerns this topic changed: rates, limits, retention and links follow at once.
    pub(crate) fn handle_policies_changed(&mut self, env: &mut crate::topic::TopicEnv<'_>) {
        let derived = self.settings.derives_state();
        self.settings = TopicSettings::resolve(&self.name, env.core);
        env.limits.reconfigure(self.slot, &self.settings.policies.rates);
        if !self.is_ready() {
            return;
        }
        if self.settings.derives_state() && !derived {
            // What was stored so far must be replayed before deduplication or replication can be exact.
            return self.begin_close(env);
        }
        self.ledger.set_retention(env.now, self.settings.retention(), &mut self.ledger_fx);
        let options = self.settings.subscription_options();
        let subs: Vec<crate::env::SubId> = self.subs.by_id.keys().copied().collect();
        for id in subs {
            self.with_sub(id, env, |sub, sub_env| sub.set_options(options, sub_env));
        }
        self.reconcile_links(env);
        self.arm_backlog(env);
        self.wake_all(env);
    }
}
