//! The way between the admin API, the broker, and the admin APIs of the region's other nodes.

use super::balance::heard;
use super::{ADMIN_OWNER, Node, Output, Step};
use admin::{AdminApi, AdminEffect, Asker};
use base::{Effects, NodeId, Now, RequestId};
use broker::Broker;
use broker::io::BrokerInput;
use wire::cluster::ClusterFrame;

impl Node {
    pub(super) fn with_admin(&mut self, act: impl FnOnce(&mut AdminApi, &Broker, &mut Effects<AdminEffect>)) {
        let mut fx = Effects::new();
        act(&mut self.admin, &self.broker, &mut fx);
        self.steps.extend(fx.take().into_iter().map(Step::Admin));
    }

    pub(super) fn route_admin(&mut self, now: Now, effect: AdminEffect, out: &mut Vec<Output>) {
        match effect {
            AdminEffect::Reply { id, response } => out.push(Output::Http { id, response }),
            AdminEffect::Meta { id, request } => out.push(Output::Meta { id, request }),
            AdminEffect::Broker { id, command } => self.tell(now, BrokerInput::Admin { id, command }),
            AdminEffect::Ask { to, id, content } => {
                let incarnation = self.broker.core().options.incarnation;
                out.push(Output::ClusterFrame { to, frame: ClusterFrame::Ask { incarnation, id, content } });
            }
            AdminEffect::Answer { to: Asker { node: to, incarnation, id }, content } => {
                out.push(Output::ClusterFrame { to, frame: ClusterFrame::Answer { incarnation, id, content } });
            }
        }
    }

    /// A frame of another node: what it serves, what an operator wants, or something about other regions.
    pub(super) fn take_cluster_frame(&mut self, now: Now, from: NodeId, frame: ClusterFrame) {
        match frame {
            ClusterFrame::Load { units, read_only, bundles } => {
                self.broker.set_load(from, heard(units, read_only, bundles));
                self.audit(|auditor, view, _| auditor.handle_view(now, view));
            }
            ClusterFrame::Ask { incarnation, id, content } => {
                let asker = Asker { node: from, incarnation, id };
                self.with_admin(|admin, broker, fx| admin.handle_ask(now, asker, &content, broker, fx));
            }
            ClusterFrame::Answer { incarnation, id, content } => {
                // Nobody waits for what an earlier process under this number has asked.
                if incarnation == self.broker.core().options.incarnation {
                    self.with_admin(|admin, broker, fx| admin.handle_answer(now, from, id, &content, broker, fx));
                }
            }
            frame => self.with_gateway(|gateway, passes| gateway.handle_node_frame(from, frame, passes)),
        }
    }

    /// Whether what could not be sent was a question of the admin API, which is answered then.
    pub(super) fn take_unsent_ask(&mut self, now: Now, to: NodeId, id: RequestId) -> bool {
        if id.owner == ADMIN_OWNER {
            self.with_admin(|admin, broker, fx| admin.handle_unsent(now, to, id.seq, broker, fx));
        }
        id.owner == ADMIN_OWNER
    }
}
