//! The way between this node's broker and other regions, when one node of the region speaks for all (ADR 0010).
//!
//! **What**  On the gateway: tells every node which regions are connected, sends what nodes want sent, and passes what
//! arrives to the node that it concerns. On the others: the same words, through the gateway. A node alone in its region
//! is its own gateway.
//!
//! **States**  no gateway ⇄ this node ⇄ another node
//!
//! **Invariants**
//! - I1  this node's broker takes a region as connected exactly while the present gateway says so and can be reached. What a
//!   node said stays true while it cannot be reached: its own way here may never have ended, and then it does not repeat it.
//! - I2  a link route ends with its node, its region's connection, or its link; the other side is told of the first, so that
//!   it opens the link again.
//!
//! **Not here**  Who the gateway is (`cluster`), what frames mean (`broker`, `link`), who owns a topic (asked for).

use base::{NodeId, RegionName, TopicName};
use link::link_number;
use std::collections::{BTreeMap, BTreeSet};
use wire::cluster::ClusterFrame;
use wire::region::RegionFrame;

/// Links of one direction that a gateway routes; beyond that an `Open` is refused and asked again later.
const ROUTES_MAX: usize = 1_000_000;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// For this node's broker.
    RegionUp {
        region: RegionName,
    },
    RegionDown {
        region: RegionName,
        reason: String,
    },
    Broker {
        from: RegionName,
        frame: RegionFrame,
    },
    /// For another region, over this node's own connection.
    Region {
        to: RegionName,
        group: u64,
        frame: RegionFrame,
    },
    /// For another node of this region.
    Node {
        to: NodeId,
        frame: ClusterFrame,
    },
    /// Whether this node is to hold connections to other regions.
    Connect {
        active: bool,
    },
}

/// A link as the gateway knows it: whose it is, and its last `link` field.
#[derive(Clone, Copy, Debug)]
struct Route {
    node: NodeId,
    link: u64,
}

type Routes = BTreeMap<(RegionName, u64), Route>;

/// The machine.
#[derive(Debug)]
pub(crate) struct Gateway {
    me: NodeId,
    gateway: Option<NodeId>,
    /// Other nodes that can be reached.
    nodes: BTreeSet<NodeId>,
    /// Other nodes that could be reached once and cannot now.
    lost: BTreeSet<NodeId>,
    /// Which regions are connected, by the node that says so.
    said: BTreeMap<NodeId, BTreeSet<RegionName>>,
    /// What the broker believes.
    up: BTreeSet<RegionName>,
    /// Links on which nodes of this region send.
    sending: Routes,
    /// Links on which nodes of this region receive.
    receiving: Routes,
}

impl Gateway {
    /// Without a gateway until it is told of one.
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            gateway: None,
            nodes: BTreeSet::new(),
            lost: BTreeSet::new(),
            said: BTreeMap::new(),
            up: BTreeSet::new(),
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
        }
    }

    pub(crate) fn is_gateway(&self) -> bool {
        self.gateway == Some(self.me)
    }

    /// Another node is the gateway, or nobody.
    pub(crate) fn set_gateway(&mut self, gateway: Option<NodeId>, out: &mut Vec<Pass>) {
        if self.gateway == gateway {
            return;
        }
        let (was, is) = (self.is_gateway(), gateway == Some(self.me));
        if was {
            for region in self.said.remove(&self.me).unwrap_or_default() {
                self.tell_nodes(&ClusterFrame::RegionDown { region, reason: MOVED.to_owned() }, out);
            }
        }
        self.sending.clear();
        self.receiving.clear();
        self.gateway = gateway;
        // Even a region that both gateways hold: the links of the old one are gone.
        for region in std::mem::take(&mut self.up) {
            out.push(Pass::RegionDown { region, reason: MOVED.to_owned() });
        }
        if was != is {
            out.push(Pass::Connect { active: is });
        }
        self.refresh(MOVED, out);
    }

    /// Brings the broker's view in line with what the gateway says (I1).
    fn refresh(&mut self, reason: &str, out: &mut Vec<Pass>) {
        let gateway = self.gateway.filter(|gateway| !self.lost.contains(gateway));
        let said = gateway.and_then(|gateway| self.said.get(&gateway)).cloned().unwrap_or_default();
        for region in self.up.difference(&said) {
            out.push(Pass::RegionDown { region: region.clone(), reason: reason.to_owned() });
        }
        for region in said.difference(&self.up) {
            out.push(Pass::RegionUp { region: region.clone() });
        }
        self.up = said;
    }

    pub(crate) fn tell_nodes(&self, frame: &ClusterFrame, out: &mut Vec<Pass>) {
        out.extend(self.nodes.iter().map(|to| Pass::Node { to: *to, frame: frame.clone() }));
    }

    // ---- this node's own connections to regions ----

    pub(crate) fn handle_region_up(&mut self, region: RegionName, out: &mut Vec<Pass>) {
        self.said.entry(self.me).or_default().insert(region.clone());
        if self.is_gateway() {
            self.tell_nodes(&ClusterFrame::RegionUp { region }, out);
        }
        self.refresh("", out);
    }

    pub(crate) fn handle_region_down(&mut self, region: &RegionName, reason: &str, out: &mut Vec<Pass>) {
        if let Some(regions) = self.said.get_mut(&self.me) {
            regions.remove(region);
        }
        self.sending.retain(|(other, _), _| other != region);
        self.receiving.retain(|(other, _), _| other != region);
        if self.is_gateway() {
            let frame = ClusterFrame::RegionDown { region: region.clone(), reason: reason.to_owned() };
            self.tell_nodes(&frame, out);
        }
        self.refresh(reason, out);
    }

    /// A frame came over this node's own connection. `owner` says which node serves a topic.
    pub(crate) fn handle_region_frame(
        &mut self,
        from: RegionName,
        frame: RegionFrame,
        owner: impl FnOnce(&TopicName) -> Option<NodeId>,
        out: &mut Vec<Pass>,
    ) {
        let to = match &frame {
            RegionFrame::Hello { .. } => return,
            // Records go into the metadata, which every node sees.
            RegionFrame::Policy { .. } => Some(self.me),
            RegionFrame::Open { link, topic } => {
                // Nobody's topic is for this node's broker: it finds an owner, and the sender asks again.
                let node = owner(topic).unwrap_or(self.me);
                self.accept(&from, *link, node)
            }
            RegionFrame::Entry { link, .. } => self.receiving.get(&(from.clone(), link_number(*link))).map(|r| r.node),
            RegionFrame::Close { link, .. } => {
                self.receiving.remove(&(from.clone(), link_number(*link))).map(|route| route.node)
            }
            RegionFrame::Opened { link, .. }
            | RegionFrame::Refused { link, .. }
            | RegionFrame::Ack { link, .. }
            | RegionFrame::Rewind { link, .. } => {
                self.sending.get(&(from.clone(), link_number(*link))).map(|route| route.node)
            }
        };
        match (to, &frame) {
            (Some(node), _) => self.deliver(node, from, frame, out),
            (None, RegionFrame::Open { link, .. } | RegionFrame::Entry { link, .. }) => {
                refuse(&from, *link, "nobody receives on this link any more; open it again", out);
            }
            (None, _) => (),
        }
    }

    fn accept(&mut self, from: &RegionName, link: u64, node: NodeId) -> Option<NodeId> {
        let key = (from.clone(), link_number(link));
        if self.receiving.len() >= ROUTES_MAX && !self.receiving.contains_key(&key) {
            return None;
        }
        self.receiving.insert(key, Route { node, link });
        Some(node)
    }

    fn deliver(&self, node: NodeId, from: RegionName, frame: RegionFrame, out: &mut Vec<Pass>) {
        if node == self.me {
            out.push(Pass::Broker { from, frame });
        } else {
            out.push(Pass::Node { to: node, frame: ClusterFrame::Inbound { from, frame } });
        }
    }

    // ---- nodes ----

    /// This node's broker wants a frame sent.
    pub(crate) fn send(&mut self, to: RegionName, group: u64, frame: RegionFrame, out: &mut Vec<Pass>) {
        self.send_for(self.me, to, group, frame, out);
    }

    fn send_for(&mut self, node: NodeId, to: RegionName, group: u64, frame: RegionFrame, out: &mut Vec<Pass>) {
        if !self.is_gateway() {
            // Without a gateway no region is connected, and links wait for one.
            if let (Some(gateway), true) = (self.gateway, node == self.me) {
                out.push(Pass::Node { to: gateway, frame: ClusterFrame::Outbound { to, group, frame } });
            }
            return;
        }
        match &frame {
            RegionFrame::Open { link, .. } if self.sending.len() < ROUTES_MAX => {
                self.sending.insert((to.clone(), link_number(*link)), Route { node, link: *link });
            }
            RegionFrame::Close { link, .. } => {
                self.sending.remove(&(to.clone(), link_number(*link)));
            }
            _ => (),
        }
        out.push(Pass::Region { to, group, frame });
    }

    /// A frame came from another node.
    pub(crate) fn handle_node_frame(&mut self, from: NodeId, frame: ClusterFrame, out: &mut Vec<Pass>) {
        match frame {
            ClusterFrame::RegionUp { region } => {
                if self.gateway == Some(from) && self.up.remove(&region) {
                    // Its way here ended meanwhile, and with it the routes of this node's links.
                    out.push(Pass::RegionDown { region: region.clone(), reason: LOST.to_owned() });
                }
                self.said.entry(from).or_default().insert(region);
                self.refresh("", out);
            }
            ClusterFrame::RegionDown { region, reason } => {
                if let Some(regions) = self.said.get_mut(&from) {
                    regions.remove(&region);
                }
                self.refresh(&reason, out);
            }
            ClusterFrame::Outbound { to, group, frame } => self.send_for(from, to, group, frame, out),
            ClusterFrame::Inbound { from: region, frame } if self.gateway == Some(from) => {
                out.push(Pass::Broker { from: region, frame });
            }
            // Loads and operators' questions are not the gateway's business.
            ClusterFrame::Inbound { .. }
            | ClusterFrame::Load { .. }
            | ClusterFrame::Ask { .. }
            | ClusterFrame::Answer { .. } => (),
        }
    }

    pub(crate) fn handle_node_up(&mut self, node: NodeId, out: &mut Vec<Pass>) {
        self.nodes.insert(node);
        if self.lost.remove(&node) {
            self.refresh("", out);
        }
        if self.is_gateway() {
            let regions = self.said.get(&self.me).cloned().unwrap_or_default();
            out.extend(
                regions.into_iter().map(|region| Pass::Node { to: node, frame: ClusterFrame::RegionUp { region } }),
            );
        }
    }

    /// The node cannot be reached: its links end on both sides (I2).
    pub(crate) fn handle_node_down(&mut self, node: NodeId, out: &mut Vec<Pass>) {
        self.nodes.remove(&node);
        self.lost.insert(node);
        for ((region, number), route) in self.sending.extract_if(.., |_, route| route.node == node) {
            let frame = RegionFrame::Close { link: route.link, reason: LOST.to_owned() };
            out.push(Pass::Region { to: region, group: number, frame });
        }
        for ((region, _), route) in self.receiving.extract_if(.., |_, route| route.node == node) {
            refuse(&region, route.link, LOST, out);
        }
        self.refresh(LOST, out);
    }
}

const MOVED: &str = "the region's gateway has moved to another node";
const LOST: &str = "the node that served this link is gone";

fn refuse(to: &RegionName, link: u64, reason: &str, out: &mut Vec<Pass>) {
    let frame = RegionFrame::Refused { link, retry: true, reason: reason.to_owned() };
    out.push(Pass::Region { to: to.clone(), group: link_number(link), frame });
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
