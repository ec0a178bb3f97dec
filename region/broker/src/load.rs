//! What this node serves, for the balance of its region, and bundles that have become too large for one node.
//!
//! **What**  At each beat the topics are counted by their bundles. A bundle of ours that stays beyond a limit is divided between
//! its topics, and its parts are served apart (`ownership::split`). A node alone in its region divides nothing by itself: there
//! is nobody to serve the parts.
//!
//! **Invariants**
//! - I1  at most one division of this node's own accord begins in a beat, and of a bundle that was too large for [`SAMPLES`] in a row.
//! - I2  none begins while the disk is full: where the metadata log has no room either, this node would not hear of its own division, and
//!   open no new topic of the bundle until there is space.
//!
//! **Not here**  Which bundle moves where (`cluster::Balancer`).

use crate::admin_command::SplitHow;
use crate::broker::Broker;
use crate::topic::Topic;
use base::{NamespaceName, NodeId, Now};
use cluster::{BUNDLES_SAID_MAX, BundleId, NodeLoad};
use std::collections::BTreeMap;
use tenancy::BundleRange;

/// Beats in a row for which a bundle is too large before it is divided.
const SAMPLES: u32 = 3;
const KIB: f64 = 1024.0;
const MIB: f64 = 1024.0 * 1024.0;

/// When a bundle is too large; Pulsar's `loadBalancerNamespaceBundle…` settings.
#[derive(Clone, Copy, Debug)]
pub struct SplitLimits {
    /// Off: bundles are divided by hand only.
    pub enabled: bool,
    pub topics: u64,
    /// In and out.
    pub messages_per_s: u64,
    /// In and out.
    pub mebibytes_per_s: u64,
    /// Bundles of a namespace beyond which none is divided.
    pub bundles: u64,
}

impl SplitLimits {
    /// Pulsar's defaults.
    pub fn standard() -> Self {
        Self { enabled: true, topics: 1_000, messages_per_s: 30_000, mebibytes_per_s: 100, bundles: 128 }
    }
}

/// What one bundle carries.
#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    topics: u64,
    messages: f64,
    bytes: f64,
}

impl Carried {
    fn units(&self) -> u64 {
        (self.messages + self.bytes / KIB).round() as u64
    }

    fn is_over(&self, limits: &SplitLimits) -> bool {
        let hot = self.messages > limits.messages_per_s as f64 || self.bytes > limits.mebibytes_per_s as f64 * MIB;
        self.topics > 1 && (self.topics > limits.topics || hot)
    }
}

/// What is remembered from beat to beat.
#[derive(Debug)]
pub(crate) struct BundleWatch {
    limits: SplitLimits,
    /// Bundles that are too large, and for how many beats in a row.
    over: BTreeMap<BundleId, u32>,
}

impl Default for BundleWatch {
    fn default() -> Self {
        Self { limits: SplitLimits::standard(), over: BTreeMap::new() }
    }
}

impl Broker {
    /// When bundles are divided without being asked for; before the first input.
    pub fn set_split_limits(&mut self, limits: SplitLimits) {
        self.bundle_watch.limits = limits;
    }

    /// Another node, or this one, said what it serves.
    pub fn set_load(&mut self, node: NodeId, load: NodeLoad) {
        if let cluster::Ownership::Shared(view) = &mut self.core.cluster {
            view.set_load(node, load);
        }
    }

    /// What this node serves now. A bundle that has been too large for some beats begins to be divided.
    pub fn sample_load(&mut self, now: Now) -> NodeLoad {
        let carried = self.carried(now);
        self.split_largest(now, &carried);
        self.settle(now);
        let mut bundles: Vec<(BundleId, u64)> =
            carried.into_iter().map(|(bundle, carried)| (bundle, carried.units())).collect();
        bundles.retain(|(_, units)| *units > 0);
        bundles.sort_by(|(one, more), (other, less)| less.cmp(more).then_with(|| one.cmp(other)));
        let units = bundles.iter().map(|(_, units)| units).sum();
        bundles.truncate(BUNDLES_SAID_MAX);
        NodeLoad { units, read_only: false, bundles }
    }

    /// The bundle of a namespace with the most traffic, as far as its owners have said; `None` without any traffic.
    pub fn hottest_bundle(&self, now: Now, namespace: &NamespaceName) -> Option<BundleRange> {
        let own = self.carried(now).into_iter().map(|(bundle, carried)| (carried.units(), bundle));
        let view = self.core.cluster.view();
        let others = view.into_iter().flat_map(|view| view.live_nodes().filter_map(|node| view.load(node)));
        let others = others.flat_map(|load| load.bundles.iter().map(|(bundle, units)| (*units, bundle.clone())));
        let known = self.core.directory.namespace(namespace)?;
        let exists = |range: BundleRange| known.bundles.ranges().any(|own| own == range);
        let of_it =
            own.chain(others).filter(|(units, bundle)| *units > 0 && bundle.0 == *namespace && exists(bundle.1));
        of_it.max().map(|(_, bundle)| bundle.1)
    }

    fn carried(&self, now: Now) -> BTreeMap<BundleId, Carried> {
        let mut carried: BTreeMap<BundleId, Carried> = BTreeMap::new();
        for topic in self.topics.by_slot.values() {
            let Some(bundle) = self.core.bundle_of(&topic.name) else { continue };
            let sum = carried.entry(bundle).or_default();
            let (messages, bytes) = topic.traffic(now);
            sum.topics += 1;
            sum.messages += messages;
            sum.bytes += bytes;
        }
        carried
    }

    fn split_largest(&mut self, now: Now, carried: &BTreeMap<BundleId, Carried>) {
        let BundleWatch { limits, over } = &mut self.bundle_watch;
        let shared = self.core.cluster.view().is_some_and(|view| !view.is_apart());
        if !limits.enabled || !shared || self.core.is_bookie_full() {
            return over.clear(); // I2
        }
        over.retain(|bundle, _| carried.get(bundle).is_some_and(|carried| carried.is_over(limits)));
        for (bundle, _) in carried.iter().filter(|(_, carried)| carried.is_over(limits)) {
            *over.entry(bundle.clone()).or_default() += 1;
        }
        let few = |bundle: &BundleId| {
            let policies = self.core.directory.namespace(&bundle.0);
            policies.is_some_and(|policies| (policies.bundles.ranges().count() as u64) < limits.bundles)
        };
        let ripe = over.iter().filter(|(bundle, beats)| **beats >= SAMPLES && few(bundle)).map(|(bundle, _)| bundle);
        let weight = |bundle: &BundleId| carried.get(bundle).map_or((0, 0), |c| (c.units(), c.topics));
        let Some(bundle) = ripe.max_by_key(|bundle| weight(bundle)).cloned() else { return };
        over.remove(&bundle); // I1
        self.split_bundle(now, None, bundle, SplitHow::TopicCount, true);
    }
}

impl Topic {
    /// Messages and bytes per second, in and out.
    fn traffic(&self, now: Now) -> (f64, f64) {
        let own = (self.meters.messages_in.rate(now.mono), self.meters.bytes_in.rate(now.mono));
        self.subs.by_id.values().fold(own, |(messages, bytes), sub| {
            let (more, larger) = sub.sent_rates(now);
            (messages + more, bytes + larger)
        })
    }
}
