//! The way between the machines that ask bookies, the broker and the auditor, and this node's bookie and the others.
//!
//! **Invariants**
//! - I1  an answer of another node's bookie reaches a machine only if this life of this node has asked for it: machines number
//!   their requests alike in every life, and a slow bookie may answer the life before.

use super::{AUDITOR_OWNER, BOOKIE_OWNER, Node, Output};
use base::{Effects, LedgerId, NodeId, Now, OwnerId, RequestId};
use bookie::{BookieEffect, LedgerProof};
use broker::io::BrokerInput;
use cluster::{AliveRecord, Auditor, AuditorEffect, NodeRecord, View};
use meta_api::{MetaRequest, MetaResponse};
use tenancy::keys;
use wire::bookie::{BookieRequest, BookieResponse};

/// The only node of a region, as its auditor sees it.
pub(super) fn view_of_one(me: NodeId) -> View {
    let mut view = View::new(me, 1);
    let node = NodeRecord { incarnation: 1, ..NodeRecord::default() };
    view.apply(&keys::node_key(me), 1, Some(&node.encode()));
    view.apply(&keys::alive_key(me), 1, Some(&AliveRecord { incarnation: 1 }.encode()));
    view
}

/// Where the name of a request to another node says which life has asked (I1); owners leave these bits free.
const LIFE: u64 = 0x7fff_ffff << 32;

impl Node {
    fn life(&self) -> u64 {
        (self.broker.core().options.incarnation << 32) & LIFE
    }

    /// What this node calls a request that another node knows by this name; `None`: an earlier life has asked.
    pub(super) fn own_name(&self, id: RequestId) -> Option<RequestId> {
        let OwnerId(owner) = id.owner;
        (owner & LIFE == self.life()).then_some(RequestId { owner: OwnerId(owner & !LIFE), ..id })
    }

    /// Another node's bookie has answered.
    pub(super) fn take_peer_answer(&mut self, now: Now, from: NodeId, mut response: BookieResponse) {
        let Some(id) = self.own_name(response.id()) else { return }; // I1
        response.set_id(id);
        self.requests.answered(from, id);
        self.take_bookie_answer(now, from, response);
    }

    pub(super) fn audit(&mut self, act: impl FnOnce(&mut Auditor, &View, &mut Effects<AuditorEffect>)) {
        let Some(view) = self.broker.core().cluster.view().or(self.alone.as_ref()) else { return };
        let mut fx = Effects::new();
        act(&mut self.auditor, view, &mut fx);
        self.steps.extend(fx.take().into_iter().map(super::Step::Auditor));
        self.broker.set_audit(self.auditor.stats());
    }

    /// To whoever asked.
    pub(super) fn take_bookie_answer(&mut self, now: Now, from: NodeId, response: BookieResponse) {
        if response.id().owner == AUDITOR_OWNER {
            self.audit(|auditor, view, fx| auditor.handle_bookie(now, from, response, view, fx));
        } else {
            self.tell(now, BrokerInput::Bookie { from, response });
        }
    }

    pub(super) fn ask_bookie(&mut self, now: Now, to: NodeId, mut request: BookieRequest, out: &mut Vec<Output>) {
        let from = self.id;
        if to == from {
            return self.with_bookie(|bookie, fx| bookie.handle_request(now, from, request, fx));
        }
        self.requests.sent(to, &request);
        let id = request.id();
        assert!(id.owner.0 & LIFE == 0, "Bookies I1: owner {} leaves room for the life", id.owner.0);
        request.set_id(RequestId { owner: OwnerId(id.owner.0 | self.life()), ..id });
        out.push(Output::PeerRequest { to, request });
    }

    pub(super) fn route_bookie(&mut self, now: Now, effect: BookieEffect, out: &mut Vec<Output>) {
        match effect {
            BookieEffect::Disk(op) => out.push(Output::Disk(op)),
            BookieEffect::Damaged(damage) => {
                out.push(Output::Alarm {
                    text: format!("{damage}; it will be written again from another copy, if there is one"),
                });
            }
            BookieEffect::Respond { to, response } if to == self.id => self.take_bookie_answer(now, to, response),
            BookieEffect::Respond { to, response } => out.push(Output::PeerResponse { to, response }),
            BookieEffect::Prove { ledger } => {
                let request = MetaRequest::Get { key: ledger.key() };
                out.push(Output::Meta { id: RequestId::new(BOOKIE_OWNER, ledger.0), request });
            }
        }
    }

    /// What the metadata says of a ledger that the bookie has asked for.
    pub(super) fn take_proof(&mut self, id: RequestId, response: &MetaResponse) {
        let proof = match response {
            MetaResponse::Value(Some(_)) => LedgerProof::Exists,
            MetaResponse::Value(None) => LedgerProof::Gone,
            _ => LedgerProof::Unknown,
        };
        self.with_bookie(|bookie, fx| bookie.handle_proof(LedgerId(id.seq), proof, fx));
    }
}
