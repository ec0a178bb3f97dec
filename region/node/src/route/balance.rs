//! What the leader of a region decides about its nodes, and what every node tells the others for that.

use super::{Node, Output, Step};
use base::{Effects, Now};
use cluster::{BalanceEffect, BalanceOptions, ControllerInput, NodeLoad};
use tenancy::BundleRange;
use wire::cluster::{BundleUnits, ClusterFrame};

impl Node {
    /// Whether and how fast bundles move; before the first input.
    pub fn set_balance_options(&mut self, options: BalanceOptions) {
        self.balancer.set_options(options);
    }

    /// When bundles are divided without being asked for; before the first input.
    pub fn set_split_limits(&mut self, limits: broker::SplitLimits) {
        self.broker.set_split_limits(limits);
    }

    pub(super) fn control(&mut self, now: Now, input: ControllerInput) {
        let Some(view) = self.broker.core().cluster.view() else { return };
        let mut fx = Effects::new();
        self.controller.handle(now, input, view, &mut fx);
        self.steps.extend(fx.take().into_iter().map(Step::Controller));
    }

    pub(super) fn control_deadline(&mut self, now: Now) {
        if self.controller.next_deadline().is_some_and(|at| at <= now.mono)
            && let Some(view) = self.broker.core().cluster.view()
        {
            let mut fx = Effects::new();
            self.controller.on_deadline(now, view, &mut fx);
            self.steps.extend(fx.take().into_iter().map(Step::Controller));
        }
    }

    /// Says what this node serves, when it is time to.
    pub(super) fn beat(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.view().is_none() || self.balancer.next_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        let own = NodeLoad { read_only: self.bookie.is_read_only(), ..self.broker.sample_load(now) };
        self.collect();
        self.broker.set_load(self.id, own.clone());
        self.audit(|auditor, view, _| auditor.handle_view(now, view));
        self.balancer.set_excluded(self.broker.core().directory.dynamic_config(cluster::SHEDDING_EXCLUDED));
        let Some(view) = self.broker.core().cluster.view() else { return };
        let mut fx = Effects::new();
        self.balancer.on_beat(now, own, view, &mut fx);
        for effect in fx.take() {
            match effect {
                BalanceEffect::Say(load) => {
                    let frame = said(load);
                    self.with_gateway(|gateway, passes| gateway.tell_nodes(&frame, passes));
                }
                BalanceEffect::Meta { id, request } => out.push(Output::Decide { id, request }),
            }
        }
    }
}

fn said(load: NodeLoad) -> ClusterFrame {
    let bundle = |((namespace, range), units): (cluster::BundleId, u64)| BundleUnits {
        namespace,
        lower: range.lower,
        upper: range.upper,
        units,
    };
    let bundles = load.bundles.into_iter().map(bundle).collect();
    ClusterFrame::Load { units: load.units, read_only: load.read_only, bundles }
}

/// What another node said.
pub(super) fn heard(units: u64, read_only: bool, bundles: Vec<BundleUnits>) -> NodeLoad {
    let range = |said: &BundleUnits| BundleRange { lower: said.lower, upper: said.upper };
    let bundles = bundles.into_iter().map(|said| ((said.namespace.clone(), range(&said)), said.units)).collect();
    NodeLoad { units, read_only, bundles }
}
