//! The routing table.

mod balance;
mod bookies;
mod operators;

use crate::gateway::{Gateway, Pass};
use crate::requests::Requests;
use admin::{AdminApi, AdminEffect, HttpId, HttpRequest, HttpResponse};
use base::{Effects, Mono, NodeId, Now, OwnerId, RegionName, RequestId, TopicName, earliest};
use bookie::disk::{DiskEvent, DiskOp};
use bookie::{Bookie, BookieEffect, LedgerListing};
use broker::Broker;
use broker::io::{BrokerEffect, BrokerInput, ConnId, ConnInfo, Outgoing};
use cluster::{Auditor, AuditorEffect, AuditorOptions, BalanceOptions, Balancer};
use cluster::{Controller, ControllerEffect, ControllerInput, Owner, View};
use meta_api::{MetaEvent, MetaRequest, MetaResponse};
use std::collections::VecDeque;
use wire::bookie::{BookieRequest, BookieResponse};
use wire::cluster::ClusterFrame;
use wire::frame::RawFrame;
use wire::region::RegionFrame;

/// The owner of the admin API's metadata requests; below every topic's slot.
pub const ADMIN_OWNER: OwnerId = OwnerId(8);
/// The owner of the controller's metadata requests.
pub const CONTROLLER_OWNER: OwnerId = OwnerId(9);

/// The owner of the auditor's requests to the metadata and to bookies.
pub(crate) const AUDITOR_OWNER: OwnerId = OwnerId(10);
/// The owner of the bookie's questions to the metadata; their numbers are those of ledgers.
pub(crate) const BOOKIE_OWNER: OwnerId = OwnerId(11);
/// The owner of the balancer's metadata requests.
pub(crate) const BALANCER_OWNER: OwnerId = OwnerId(12);

/// Everything that can happen to a node.
#[derive(Debug)]
pub enum Input {
    ConnOpened {
        conn: ConnId,
        info: ConnInfo,
    },
    Frame {
        conn: ConnId,
        frame: RawFrame,
    },
    Garbage {
        conn: ConnId,
        reason: String,
    },
    ConnClosed {
        conn: ConnId,
    },
    Written {
        conn: ConnId,
        bytes: u64,
    },
    Disk(DiskEvent),
    Meta {
        id: RequestId,
        response: MetaResponse,
    },
    MetaEvents(Vec<MetaEvent>),
    RegionUp {
        region: RegionName,
    },
    RegionDown {
        region: RegionName,
        reason: String,
    },
    Region {
        from: RegionName,
        frame: RegionFrame,
    },
    Http {
        id: HttpId,
        request: HttpRequest,
    },
    /// Another node of the region asks this node's bookie.
    PeerRequest {
        from: NodeId,
        request: BookieRequest,
    },
    /// Another node's bookie answers.
    PeerResponse {
        from: NodeId,
        response: BookieResponse,
    },
    /// The transport could not take a request to another node's bookie, or a question to its admin API.
    PeerUnsent {
        to: NodeId,
        id: RequestId,
    },
    /// Another node leads the metadata, or nobody is known to; `apart`: this node has lost the majority of its region.
    Leadership {
        leader: Option<NodeId>,
        term: u64,
        apart: bool,
    },
    /// Who votes on the metadata, and who only has it.
    Members {
        voters: Vec<NodeId>,
        learners: Vec<NodeId>,
    },
    /// A connection with this start of another node exists.
    PeerUp {
        node: NodeId,
        incarnation: u64,
    },
    /// The connection ended; `refused`: nobody listens at the node's address.
    PeerDown {
        node: NodeId,
        refused: bool,
    },
    /// The other node sent something.
    PeerHeard {
        node: NodeId,
    },
    /// A frame from the broker or the admin API of another node of the region.
    ClusterFrame {
        from: NodeId,
        frame: ClusterFrame,
    },
}

/// Everything that a node wants from the world.
#[derive(Debug)]
pub enum Output {
    Send {
        conn: ConnId,
        bytes: Outgoing,
    },
    Authenticated {
        conn: ConnId,
    },
    Close {
        conn: ConnId,
        reason: String,
    },
    PauseReads {
        conn: ConnId,
    },
    ResumeReads {
        conn: ConnId,
    },
    Disk(DiskOp),
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
    /// A write of the metadata's leader, which is not made while this node does not lead.
    Decide {
        id: RequestId,
        request: MetaRequest,
    },
    Region {
        to: RegionName,
        group: u64,
        frame: RegionFrame,
    },
    Http {
        id: HttpId,
        response: HttpResponse,
    },
    PeerRequest {
        to: NodeId,
        request: BookieRequest,
    },
    PeerResponse {
        to: NodeId,
        response: BookieResponse,
    },
    /// A frame for the broker or the admin API of another node of the region.
    ClusterFrame {
        to: NodeId,
        frame: ClusterFrame,
    },
    /// Whether this node is to hold connections to other regions.
    ConnectRegions {
        active: bool,
    },
    /// An operator must hear this.
    Alarm {
        text: String,
    },
}

/// Work between two machines of this node.
enum Step {
    Broker(BrokerEffect),
    Bookie(BookieEffect),
    Admin(AdminEffect),
    Controller(ControllerEffect),
    Auditor(AuditorEffect),
    Pass(Pass),
}

/// The machines of one process.
pub struct Node {
    id: NodeId,
    broker: Broker,
    bookie: Bookie,
    admin: AdminApi,
    controller: Controller,
    auditor: Auditor,
    balancer: Balancer,
    gateway: Gateway,
    /// What the auditor of a region's only node sees.
    alone: Option<View>,
    /// What other nodes' bookies were asked.
    requests: Requests,
    steps: VecDeque<Step>,
}

impl Node {
    /// `listing` is what the metadata lists at start: what else the bookie holds of earlier ledgers is an orphan.
    pub fn new(
        now: Now,
        id: NodeId,
        broker: Broker,
        bookie: Bookie,
        admin: AdminApi,
        listing: &LedgerListing,
        out: &mut Vec<Output>,
    ) -> Self {
        let mut node = Self {
            id,
            broker,
            bookie,
            admin,
            controller: Controller::new(id, CONTROLLER_OWNER),
            auditor: Auditor::new(AUDITOR_OWNER, AuditorOptions::standard()),
            balancer: Balancer::new(BALANCER_OWNER, BalanceOptions::standard()),
            gateway: Gateway::new(id),
            alone: None,
            requests: Requests::default(),
            steps: VecDeque::new(),
        };
        if node.view().is_none() {
            node.with_gateway(|gateway, passes| gateway.set_gateway(Some(id), passes));
            node.alone = Some(bookies::view_of_one(id));
            node.audit(|auditor, view, _| auditor.set_alone(now, view));
        }
        let mut fx = Effects::new();
        node.bookie.retain_ledgers(now, listing, &mut fx);
        node.steps.extend(fx.take().into_iter().map(Step::Bookie));
        node.route(now, out);
        node
    }

    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// How lost copies are given back; before the first input.
    pub fn set_auditor_options(&mut self, options: AuditorOptions) {
        self.auditor.set_options(options);
    }

    pub fn bookie(&self) -> &Bookie {
        &self.bookie
    }

    /// Handles one input to its end.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::ConnOpened { conn, info } => self.tell(now, BrokerInput::ConnOpened { conn, info }),
            Input::Frame { conn, frame } => self.tell(now, BrokerInput::Frame { conn, frame }),
            Input::Garbage { conn, reason } => self.tell(now, BrokerInput::Garbage { conn, reason }),
            Input::ConnClosed { conn } => self.tell(now, BrokerInput::ConnClosed { conn }),
            Input::Written { conn, bytes } => self.tell(now, BrokerInput::Written { conn, bytes }),
            Input::Disk(event) => self.with_bookie(|bookie, fx| bookie.handle_disk(now, event, fx)),
            Input::Meta { id, response } => match id.owner {
                ADMIN_OWNER => {
                    self.with_admin(|admin, broker, fx| admin.handle_meta(now, id, response, broker, fx));
                }
                CONTROLLER_OWNER => self.control(now, ControllerInput::Meta { id, response }),
                AUDITOR_OWNER => self.audit(|auditor, view, fx| auditor.handle_meta(now, id, response, view, fx)),
                BOOKIE_OWNER => self.take_proof(id, &response),
                BALANCER_OWNER => self.balancer.handle_meta(id, &response),
                _ => self.tell(now, BrokerInput::Meta { id, response }),
            },
            Input::MetaEvents(events) => {
                self.tell(now, BrokerInput::MetaEvents(events));
                self.with_admin(|admin, broker, fx| admin.poll(now, broker, fx));
                self.control(now, ControllerInput::ViewChanged);
                self.audit(|auditor, view, _| auditor.handle_view(now, view));
            }
            Input::RegionUp { .. } | Input::RegionDown { .. } | Input::Region { .. } => self.handle_region(now, input),
            Input::Http { id, request } => {
                self.with_admin(|admin, broker, fx| admin.handle_http(now, id, request, broker, fx));
            }
            Input::PeerRequest { from, request } => {
                self.with_bookie(|bookie, fx| bookie.handle_request(now, from, request, fx));
            }
            Input::PeerResponse { from, response } => self.take_peer_answer(now, from, response),
            Input::PeerUnsent { .. }
            | Input::Leadership { .. }
            | Input::Members { .. }
            | Input::PeerUp { .. }
            | Input::PeerDown { .. }
            | Input::PeerHeard { .. }
            | Input::ClusterFrame { .. } => self.handle_peer(now, input),
        }
        self.route(now, out);
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        let leader = earliest(self.controller.next_deadline(), self.auditor.next_deadline());
        let leader = earliest(leader, earliest(self.balancer.next_deadline(), self.admin.next_deadline()));
        earliest(leader, earliest(self.broker.next_deadline(), self.bookie.next_deadline()))
    }

    pub fn on_deadline(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.broker.next_deadline().is_some_and(|at| at <= now.mono) {
            self.broker.on_deadline(now);
            self.collect();
        }
        if self.bookie.next_deadline().is_some_and(|at| at <= now.mono) {
            self.with_bookie(|bookie, fx| bookie.on_deadline(now, fx));
        }
        if self.admin.next_deadline().is_some_and(|at| at <= now.mono) {
            self.with_admin(|admin, broker, fx| admin.on_deadline(now, broker, fx));
        }
        self.control_deadline(now);
        self.beat(now, out);
        if self.auditor.next_deadline().is_some_and(|at| at <= now.mono) {
            self.audit(|auditor, view, fx| auditor.on_deadline(now, view, fx));
        }
        self.route(now, out);
    }

    /// Closes every topic in order; done when [`Node::is_idle`].
    pub fn begin_shutdown(&mut self, now: Now, out: &mut Vec<Output>) {
        self.broker.begin_shutdown(now);
        self.collect();
        self.route(now, out);
    }

    pub fn is_idle(&self) -> bool {
        self.broker.is_idle()
    }

    fn tell(&mut self, now: Now, input: BrokerInput) {
        self.broker.handle(now, input);
        self.collect();
    }

    fn collect(&mut self) {
        self.steps.extend(self.broker.take_effects().into_iter().map(Step::Broker));
    }

    fn with_bookie(&mut self, act: impl FnOnce(&mut Bookie, &mut Effects<BookieEffect>)) {
        let mut fx = Effects::new();
        act(&mut self.bookie, &mut fx);
        self.steps.extend(fx.take().into_iter().map(Step::Bookie));
        if self.broker.set_log_full(self.bookie.is_read_only()) {
            self.balancer.speak_up();
            self.collect();
        }
    }

    fn with_gateway(&mut self, act: impl FnOnce(&mut Gateway, &mut Vec<Pass>)) {
        let mut passes = Vec::new();
        act(&mut self.gateway, &mut passes);
        self.steps.extend(passes.into_iter().map(Step::Pass));
    }

    /// What this node knows of the others; `None` when it is the only one of its region.
    fn view(&self) -> Option<&View> {
        self.broker.core().cluster.view()
    }

    /// What comes from other regions: to the broker of a node that is alone, else to the gateway's machine.
    fn handle_region(&mut self, now: Now, input: Input) {
        let shared = self.view().is_some();
        match input {
            Input::RegionUp { region } if shared => {
                self.with_gateway(|gateway, passes| gateway.handle_region_up(region, passes));
            }
            Input::RegionDown { region, reason } if shared => {
                self.with_gateway(|gateway, passes| gateway.handle_region_down(&region, &reason, passes));
            }
            Input::Region { from, frame } if shared => {
                let (mut passes, me, core) = (Vec::new(), self.id, self.broker.core());
                let owner = |topic: &TopicName| match core.owner_of(topic) {
                    Owner::Us { .. } => Some(me),
                    Owner::By(node) => Some(node),
                    Owner::Nobody => None,
                };
                self.gateway.handle_region_frame(from, frame, owner, &mut passes);
                self.steps.extend(passes.into_iter().map(Step::Pass));
            }
            Input::RegionUp { region } => self.tell(now, BrokerInput::RegionUp { region }),
            Input::RegionDown { region, reason } => self.tell(now, BrokerInput::RegionDown { region, reason }),
            Input::Region { from, frame } => self.tell(now, BrokerInput::Region { from, frame }),
            _ => (),
        }
    }

    /// What other nodes of this region do.
    fn handle_peer(&mut self, now: Now, input: Input) {
        match input {
            Input::PeerUnsent { to, id } => {
                if !self.take_unsent_ask(now, to, id)
                    && let Some(response) = self.own_name(id).and_then(|id| self.requests.unsent(to, id))
                {
                    self.take_bookie_answer(now, to, response);
                }
            }
            Input::Leadership { leader, term, apart } if self.view().is_some() => {
                // Whoever led before this node was cut off may lead no more, this node itself among them.
                let leader = leader.filter(|_| !apart);
                self.broker.set_leader(leader);
                self.broker.set_apart(now, apart);
                self.collect();
                self.with_gateway(|gateway, passes| gateway.set_gateway(leader, passes));
                self.control(now, ControllerInput::Leadership { leader, term });
                let leads = leader == Some(self.id);
                self.balancer.set_leading(now, leads);
                self.audit(|auditor, view, _| auditor.set_leading(now, leads, view));
            }
            Input::Members { voters, learners } => self.broker.set_members(voters, learners),
            Input::PeerUp { node, incarnation } => {
                self.with_gateway(|gateway, passes| gateway.handle_node_up(node, passes));
                self.control(now, ControllerInput::PeerUp { node, incarnation });
                self.broker.set_peer(now, node, true);
                self.collect();
            }
            Input::PeerDown { node, refused } => {
                for response in self.requests.lost(node) {
                    self.take_bookie_answer(now, node, response);
                }
                self.with_gateway(|gateway, passes| gateway.handle_node_down(node, passes));
                self.control(now, ControllerInput::PeerDown { node, refused });
                self.broker.set_peer(now, node, false);
                self.collect();
                self.with_admin(|admin, broker, fx| admin.handle_node_down(now, node, broker, fx));
            }
            Input::PeerHeard { node } => self.control(now, ControllerInput::PeerHeard { node }),
            Input::ClusterFrame { from, frame } => self.take_cluster_frame(now, from, frame),
            _ => (),
        }
    }

    fn route_pass(&mut self, now: Now, pass: Pass, out: &mut Vec<Output>) {
        match pass {
            Pass::RegionUp { region } => self.tell(now, BrokerInput::RegionUp { region }),
            Pass::RegionDown { region, reason } => self.tell(now, BrokerInput::RegionDown { region, reason }),
            Pass::Broker { from, frame } => self.tell(now, BrokerInput::Region { from, frame }),
            Pass::Region { to, group, frame } => out.push(Output::Region { to, group, frame }),
            Pass::Node { to, frame } => out.push(Output::ClusterFrame { to, frame }),
            Pass::Connect { active } => out.push(Output::ConnectRegions { active }),
        }
    }

    /// Passes effects on, first come first served, until only outputs are left (I1, I2).
    fn route(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Broker(effect) => self.route_broker(now, effect, out),
                Step::Bookie(effect) => self.route_bookie(now, effect, out),
                Step::Controller(ControllerEffect { id, request }) => out.push(Output::Decide { id, request }),
                Step::Auditor(AuditorEffect::Meta { id, request }) => out.push(Output::Meta { id, request }),
                Step::Auditor(AuditorEffect::Alarm { text }) => out.push(Output::Alarm { text }),
                Step::Auditor(AuditorEffect::Bookie { to, request }) => self.ask_bookie(now, to, request, out),
                Step::Pass(pass) => self.route_pass(now, pass, out),
                Step::Admin(effect) => self.route_admin(now, effect, out),
            }
        }
    }

    fn route_broker(&mut self, now: Now, effect: BrokerEffect, out: &mut Vec<Output>) {
        match effect {
            BrokerEffect::Send { conn, bytes } => out.push(Output::Send { conn, bytes }),
            BrokerEffect::Authenticated { conn } => out.push(Output::Authenticated { conn }),
            BrokerEffect::Close { conn, reason } => out.push(Output::Close { conn, reason }),
            BrokerEffect::PauseReads { conn } => out.push(Output::PauseReads { conn }),
            BrokerEffect::ResumeReads { conn } => out.push(Output::ResumeReads { conn }),
            BrokerEffect::Bookie { to, request } => self.ask_bookie(now, to, request, out),
            BrokerEffect::Meta { id, request } => out.push(Output::Meta { id, request }),
            BrokerEffect::Region { to, group, frame } if self.view().is_none() => {
                out.push(Output::Region { to, group, frame });
            }
            BrokerEffect::Region { to, group, frame } => {
                self.with_gateway(|gateway, passes| gateway.send(to, group, frame, passes));
            }
            BrokerEffect::Admin { id, reply } => {
                self.with_admin(|admin, broker, fx| admin.handle_broker(now, id, reply, broker, fx));
            }
            BrokerEffect::Alarm { text } => out.push(Output::Alarm { text }),
        }
    }
}
