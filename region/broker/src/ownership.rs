//! Which topics this node serves, when its region has several nodes (ADR 0009).
//!
//! **What**  The topics of a bundle that is lost end at once; a bundle that is given away is closed first
//! and then handed over or left to whoever is asked next.
//!
//! **States**  A bundle: not ours → ours → leaving (its topics close) → not ours, or divided (`split`).
//!
//! **Invariants**
//! - I1  a topic is loaded only while its bundle is ours and not leaving, under the owner record's present version.
//! - I3  a bundle is given up only when none of its topics is loaded.
//!
//! **Not here**  Lookups and assignments (`lookups`); dividing a bundle (`split`). The picture of nodes and owners, and what a
//! compare-and-put holds (`cluster`); who is alive (`node`).

use crate::broker::Broker;
use crate::core::{Core, Members};
use crate::session::auth::Refusal;
use crate::session::waiting::Waiter;
use crate::topic::open::CreateTopic;
use base::{NodeId, Now, OwnerId, TopicName};
use cluster::{BundleId, Owner, Ownership, ViewChange};
use meta_api::{Compare, MetaRequest, MetaResponse};
use std::collections::{BTreeMap, BTreeSet};
use wire::commands::BrokerUrls;
use wire::pulsar::ServerError;

/// What the broker keeps of bundles beside the view.
#[derive(Debug, Default)]
pub(crate) struct Bundles {
    /// Bundles that were ours after the last change, with the versions of their records.
    ours: BTreeMap<BundleId, u64>,
    /// Bundles that we give away; true once the record's change is under way.
    leaving: BTreeMap<BundleId, bool>,
    /// Bundles that are divided.
    splitting: BTreeMap<BundleId, split::Split>,
    /// Lookups that wait for somebody to serve their bundle.
    lookups: lookups::Lookups,
    /// The node ends: everything leaves.
    draining: bool,
}

mod lookups;
pub(crate) mod proof;
mod split;

impl Core {
    /// The bundle that holds a topic; `None` when its namespace does not exist.
    pub(crate) fn bundle_of(&self, topic: &TopicName) -> Option<BundleId> {
        let policies = self.directory.namespace(topic.namespace())?;
        Some((topic.namespace().clone(), policies.bundles.range_of(topic)))
    }

    /// Which node serves a topic; topics of no namespace are nobody's, and the sole node's.
    pub fn owner_of(&self, topic: &TopicName) -> Owner {
        match (&self.cluster, self.bundle_of(topic)) {
            (Ownership::Sole, _) => Owner::Us { version: 0, epoch: 0, moving_to: None },
            (Ownership::Shared(view), Some(bundle)) => view.owner(&bundle),
            (Ownership::Shared(_), None) => Owner::Nobody,
        }
    }

    /// What every change of the topic's log must find unchanged (ADR 0009 §6).
    pub(crate) fn guard_of(&self, topic: &TopicName) -> Option<Compare> {
        self.cluster.view()?.guard(&self.bundle_of(topic)?)
    }

    /// Where clients reach another node.
    pub fn urls_of(&self, node: NodeId) -> BrokerUrls {
        let url = self.cluster.view().and_then(|view| view.node(node)).map(|record| record.pulsar_url.clone());
        match url {
            Some(url) if url.starts_with("pulsar+ssl:") => BrokerUrls { plain: None, tls: Some(url) },
            plain => BrokerUrls { plain, tls: None },
        }
    }
}

/// Pulsar's words for a topic that another broker serves.
fn not_ours(topic: &TopicName) -> Refusal {
    let text = format!(
        "Namespace bundle for topic ({topic}) not served by this instance. Please redo the lookup. Request is denied: \
         namespace={}",
        topic.namespace()
    );
    (ServerError::ServiceNotReady, text)
}

impl Broker {
    /// Whether a topic may be loaded here (I1).
    ///
    /// # Errors
    /// ServiceNotReady: the client looks the topic up again.
    pub(crate) fn require_ours(&self, topic: &TopicName) -> Result<(), Refusal> {
        let Ownership::Shared(view) = &self.core.cluster else { return Ok(()) };
        let Some(bundle) = self.core.bundle_of(topic) else { return Err(not_ours(topic)) };
        match view.owner(&bundle) {
            Owner::Us { moving_to: None, .. } if !self.bundles.leaving.contains_key(&bundle) => Ok(()),
            Owner::Us { .. } | Owner::By(_) | Owner::Nobody => Err(not_ours(topic)),
        }
    }

    /// Whether the region has as many nodes as the namespace's policy wants copies on. Nodes that are down for now count.
    ///
    /// # Errors
    /// PersistenceError, which names the policy.
    pub(crate) fn require_copies(&self, topic: &TopicName) -> Result<(), Refusal> {
        let Ownership::Shared(view) = &self.core.cluster else { return Ok(()) };
        let policies = self.core.directory.namespace(topic.namespace());
        let wanted = policies.and_then(|policies| policies.persistence).map_or(0, |copies| copies.bookkeeper_ensemble);
        let nodes = view.nodes().count();
        if usize::try_from(wanted).is_ok_and(|wanted| wanted <= nodes) {
            return Ok(());
        }
        let text = format!(
            "the persistence policy of namespace {} wants {wanted} bookies and the region has {nodes} nodes: lower \
             bookkeeperEnsemble or add nodes",
            topic.namespace()
        );
        Err((ServerError::PersistenceError, text))
    }

    /// An operator unloads a bundle. The sole node closes its topics and opens them again on use.
    pub(crate) fn unload_bundle(&mut self, now: Now, bundle: BundleId) {
        match self.core.cluster {
            Ownership::Sole => self.close_bundle(now, &bundle),
            Ownership::Shared(_) if self.bundles.ours.contains_key(&bundle) => self.leave_bundle(now, bundle),
            Ownership::Shared(_) => (),
        }
    }

    /// Takes what a compare-and-put wrote, or what stood in its way, into the view; `Some`: what was wrong.
    fn take_written(&mut self, now: Now, request: &MetaRequest, response: MetaResponse) -> Option<String> {
        let (changes, version) = match response {
            MetaResponse::Committed { revision } => (cluster::written(request), revision),
            MetaResponse::Conflict { index: 0, actual: Some(actual) } => {
                let key = cluster::written(request).into_iter().map(|(key, _)| key);
                (key.map(|key| (key, Some(actual.value.clone()))).collect(), actual.version)
            }
            // The view is behind; the change that it lacks is on its way.
            MetaResponse::Conflict { .. } => return None,
            MetaResponse::Unavailable { reason } => return Some(format!("the metadata is unavailable: {reason}")),
            other => return Some(format!("the metadata answered {other:?}")),
        };
        for (key, value) in changes {
            self.handle_cluster_event(now, &key, version, value.as_deref());
        }
        None
    }

    // ---- changes of the view ----

    /// A record of nodes or owners changed; true when the key was one.
    pub(crate) fn handle_cluster_event(&mut self, now: Now, key: &str, version: u64, value: Option<&[u8]>) -> bool {
        if !cluster::VIEW_PREFIXES.iter().any(|prefix| key.starts_with(prefix)) {
            return false;
        }
        let Ownership::Shared(view) = &mut self.core.cluster else { return true };
        let me = view.me();
        match view.apply(key, version, value) {
            ViewChange::Owner(bundle) => {
                self.refresh_bundle(now, bundle.clone());
                self.look_again(now, &bundle);
            }
            ViewChange::Node(_) => self.refresh_bookies(now),
            ViewChange::Alive(node) => {
                self.refresh_bookies(now);
                if node == me {
                    self.refresh_bundles(now);
                }
                self.look_all_again(now);
            }
            ViewChange::Damaged => {
                let text = format!("metadata record {key} cannot be read and counts as absent");
                self.out.effect(crate::io::BrokerEffect::Alarm { text });
                self.refresh_bundles(now);
            }
            ViewChange::Nothing => (),
        }
        true
    }

    fn refresh_bundles(&mut self, now: Now) {
        let Ownership::Shared(view) = &self.core.cluster else { return };
        let all: BTreeSet<BundleId> =
            view.ours().map(|(bundle, _)| bundle).chain(self.bundles.ours.keys()).cloned().collect();
        for bundle in all {
            self.refresh_bundle(now, bundle);
        }
    }

    fn refresh_bundle(&mut self, now: Now, bundle: BundleId) {
        let before = self.bundles.ours.get(&bundle).copied();
        match self.core.cluster.owner(&bundle) {
            Owner::Us { version, moving_to, .. } => {
                self.bundles.ours.insert(bundle.clone(), version);
                if before.is_some_and(|before| before != version) {
                    // Their guards carry the version of before (I1).
                    self.close_bundle(now, &bundle);
                }
                if moving_to.is_some() || self.bundles.draining {
                    self.leave_bundle(now, bundle);
                } else if before.is_none() {
                    self.load_replicated(now, &bundle);
                }
            }
            Owner::By(_) | Owner::Nobody => {
                if self.bundles.leaving.remove(&bundle) != Some(true) {
                    self.give_up_split(&bundle);
                }
                if self.bundles.ours.remove(&bundle).is_some() {
                    self.lose_bundle(now, &bundle);
                }
            }
        }
    }

    fn slots_of(&self, bundle: &BundleId) -> Vec<OwnerId> {
        let here = |name: &TopicName| *name.namespace() == bundle.0 && bundle.1.contains(tenancy::topic_hash(name));
        self.topics.by_name.iter().filter(|(name, _)| here(name)).map(|(_, slot)| *slot).collect()
    }

    /// This node lost the majority of its region, or has it again. Alone it serves nothing: others take its bundles over.
    pub(crate) fn note_apart(&mut self, now: Now, apart: bool) {
        if let Ownership::Shared(view) = &mut self.core.cluster
            && view.set_apart(apart)
        {
            self.refresh_bundles(now);
            self.look_all_again(now);
        }
    }

    /// Ends a bundle's topics that others serve now. What is pending cannot be stored any more, and nobody waits for it.
    fn lose_bundle(&mut self, now: Now, bundle: &BundleId) {
        for slot in self.slots_of(bundle) {
            let reason = "another node serves the topic now; look it up again";
            self.with_topic(slot, now, |topic, env| topic.give_up(reason.to_owned(), env));
        }
    }

    fn close_bundle(&mut self, now: Now, bundle: &BundleId) {
        for slot in self.slots_of(bundle) {
            self.with_topic(slot, now, |topic, env| topic.begin_close(env));
        }
    }

    /// Topics that forward to other regions go on without a client that asks for them.
    fn load_replicated(&mut self, now: Now, bundle: &BundleId) {
        let own = self.core.directory.cluster_name();
        let forwards = |name: &TopicName| {
            let policies = self.core.directory.effective(name);
            policies.is_some_and(|policies| policies.replication_clusters.iter().any(|region| region != own))
        };
        // A part of a bundle may be known as ours before the directory shows that the bundle was divided.
        let here = |name: &TopicName| self.core.bundle_of(name).as_ref() == Some(bundle);
        let topics = self.core.directory.topics_of(&bundle.0, base::Domain::Persistent, None, usize::MAX);
        for name in topics.into_iter().filter(|name| here(name) && forwards(name)).collect::<Vec<_>>() {
            if !self.topics.by_name.contains_key(&name) {
                self.load(now, &name, CreateTopic::Never);
            }
        }
    }

    fn refresh_bookies(&mut self, now: Now) {
        let Ownership::Shared(view) = &self.core.cluster else { return };
        let bookies: Vec<NodeId> = view.open_nodes().collect();
        let (zones, nodes) = (view.zones().collect(), view.nodes().count());
        if bookies == self.core.bookies && zones == self.core.zones && nodes == self.core.nodes {
            return;
        }
        (self.core.bookies, self.core.zones, self.core.nodes) = (bookies, zones, nodes);
        let slots: Vec<OwnerId> = self.topics.by_slot.keys().copied().collect();
        for slot in slots {
            self.with_topic(slot, now, |topic, env| topic.handle_bookies_changed(env));
        }
    }

    // ---- giving bundles away ----

    /// Closes a bundle's topics, and then gives it up: to the node that its record names, or to whoever is asked next.
    pub(crate) fn leave_bundle(&mut self, now: Now, bundle: BundleId) {
        self.close_bundle(now, &bundle);
        self.bundles.leaving.entry(bundle).or_insert(false);
    }

    /// Gives up the bundles whose last topic has closed (I3); true when something was asked for.
    pub(crate) fn release_bundles(&mut self) {
        let ready: Vec<BundleId> =
            self.bundles.leaving.iter().filter(|(_, asked)| !**asked).map(|(bundle, _)| bundle.clone()).collect();
        for bundle in ready {
            if !self.slots_of(&bundle).is_empty() {
                continue;
            }
            let Ownership::Shared(view) = &self.core.cluster else { return };
            let to = match view.owner(&bundle) {
                Owner::Us { moving_to, .. } => moving_to,
                Owner::By(_) | Owner::Nobody => None,
            };
            if self.bundles.splitting.contains_key(&bundle) && to.is_none() && !self.bundles.draining {
                self.bundles.leaving.insert(bundle.clone(), true);
                self.read_for_split(bundle);
                continue;
            }
            self.give_up_split(&bundle);
            let Ownership::Shared(view) = &self.core.cluster else { return };
            let handed = to.and_then(|to| view.give(&bundle, to)).map(|assignment| assignment.request);
            match handed.or_else(|| view.release(&bundle)) {
                Some(request) => {
                    self.bundles.leaving.insert(bundle.clone(), true);
                    self.ask_meta(request.clone(), Waiter::Released { bundle, request });
                }
                None => {
                    self.bundles.leaving.remove(&bundle);
                }
            }
        }
    }

    /// The owner record of a bundle that we give up was answered.
    pub(crate) fn handle_released(
        &mut self,
        now: Now,
        bundle: BundleId,
        request: &MetaRequest,
        response: MetaResponse,
    ) {
        let trouble = self.take_written(now, request, response);
        if let Some(trouble) = trouble {
            // Still ours; whoever asks for it finds that nothing changed.
            let text = format!("bundle {}/{} could not be given up: {trouble}", bundle.0, bundle.1);
            self.out.effect(crate::io::BrokerEffect::Alarm { text });
        }
        self.bundles.leaving.remove(&bundle);
        match self.core.cluster.owner(&bundle) {
            // Unloaded and kept: no other node takes bundles.
            Owner::Us { moving_to: None, .. } => self.load_replicated(now, &bundle),
            // The node that was to have it does not count as alive any more: whoever is asked next assigns it.
            Owner::Us { moving_to: Some(_), .. } => {
                let Some(request) = self.core.cluster.view().and_then(|view| view.release(&bundle)) else { return };
                self.bundles.leaving.insert(bundle.clone(), true);
                self.ask_meta(request.clone(), Waiter::Released { bundle, request });
            }
            Owner::By(_) | Owner::Nobody => (),
        }
    }

    /// The node ends: nobody assigns to it any more, and its bundles leave.
    pub(crate) fn drain_bundles(&mut self, now: Now) {
        self.bundles.draining = true;
        let Ownership::Shared(view) = &self.core.cluster else { return };
        if let Some(request) = view.drain() {
            self.ask_meta(request.clone(), Waiter::Drained { request });
        }
        for bundle in self.bundles.ours.keys().cloned().collect::<Vec<_>>() {
            self.leave_bundle(now, bundle);
        }
    }

    pub(crate) fn handle_drained(&mut self, now: Now, request: &MetaRequest, response: MetaResponse) {
        if let Some(trouble) = self.take_written(now, request, response) {
            let text = format!("other nodes do not know that this one ends: {trouble}");
            self.out.effect(crate::io::BrokerEffect::Alarm { text });
        }
    }

    /// The members of the metadata changed.
    pub fn set_members(&mut self, voters: Vec<NodeId>, learners: Vec<NodeId>) {
        let (voters, learners) = (voters.into_iter().collect(), learners.into_iter().collect());
        self.core.members = Members { voters, learners };
    }

    /// Whether a bundle still leaves.
    pub(crate) fn is_leaving_bundles(&self) -> bool {
        !self.bundles.leaving.is_empty()
    }
}

#[cfg(test)]
mod tests;
