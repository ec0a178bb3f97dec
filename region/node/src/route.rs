//! The routing table.

use admin::{AdminApi, AdminEffect, HttpId, HttpRequest, HttpResponse};
use base::{Effects, Mono, NodeId, Now, OwnerId, RegionName, RequestId, earliest};
use bookie::disk::{DiskEvent, DiskOp};
use bookie::{Bookie, BookieEffect, BookieStats, LedgerListing};
use broker::Broker;
use broker::io::{BrokerEffect, BrokerInput, ConnId, ConnInfo, Outgoing};
use meta_api::{MetaEvent, MetaRequest, MetaResponse};
use std::collections::VecDeque;
use wire::bookie::{BookieRequest, BookieResponse};
use wire::frame::RawFrame;
use wire::region::RegionFrame;

/// The owner of the admin API's metadata requests; below every topic's slot.
pub const ADMIN_OWNER: OwnerId = OwnerId(8);

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
}

/// The machines of one process.
pub struct Node {
    id: NodeId,
    broker: Broker,
    bookie: Bookie,
    admin: AdminApi,
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
        let mut node = Self { id, broker, bookie, admin, steps: VecDeque::new() };
        let mut fx = Effects::new();
        node.bookie.retain_ledgers(now, listing, &mut fx);
        node.steps.extend(fx.take().into_iter().map(Step::Bookie));
        node.route(now, out);
        node
    }

    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    pub fn bookie_stats(&self) -> BookieStats {
        self.bookie.stats()
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
            Input::Meta { id, response } if id.owner == ADMIN_OWNER => {
                self.with_admin(|admin, broker, fx| admin.handle_meta(now, id, response, broker, fx));
            }
            Input::Meta { id, response } => self.tell(now, BrokerInput::Meta { id, response }),
            Input::MetaEvents(events) => {
                self.tell(now, BrokerInput::MetaEvents(events));
                self.with_admin(|admin, broker, fx| admin.poll(now, broker, fx));
            }
            Input::RegionUp { region } => self.tell(now, BrokerInput::RegionUp { region }),
            Input::RegionDown { region, reason } => self.tell(now, BrokerInput::RegionDown { region, reason }),
            Input::Region { from, frame } => self.tell(now, BrokerInput::Region { from, frame }),
            Input::Http { id, request } => {
                self.with_admin(|admin, broker, fx| admin.handle_http(now, id, request, broker, fx));
            }
            Input::PeerRequest { from, request } => {
                self.with_bookie(|bookie, fx| bookie.handle_request(now, from, request, fx));
            }
            Input::PeerResponse { from, response } => self.tell(now, BrokerInput::Bookie { from, response }),
        }
        self.route(now, out);
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        earliest(self.broker.next_deadline(), self.bookie.next_deadline())
    }

    pub fn on_deadline(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.broker.next_deadline().is_some_and(|at| at <= now.mono) {
            self.broker.on_deadline(now);
            self.collect();
        }
        if self.bookie.next_deadline().is_some_and(|at| at <= now.mono) {
            self.with_bookie(|bookie, fx| bookie.on_deadline(now, fx));
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
            self.collect();
        }
    }

    fn with_admin(&mut self, act: impl FnOnce(&mut AdminApi, &Broker, &mut Effects<AdminEffect>)) {
        let mut fx = Effects::new();
        act(&mut self.admin, &self.broker, &mut fx);
        self.steps.extend(fx.take().into_iter().map(Step::Admin));
    }

    /// Passes effects on, first come first served, until only outputs are left (I1, I2).
    fn route(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Broker(effect) => self.route_broker(now, effect, out),
                Step::Bookie(BookieEffect::Disk(op)) => out.push(Output::Disk(op)),
                Step::Bookie(BookieEffect::Damaged(damage)) => {
                    out.push(Output::Alarm { text: format!("{damage}; repair it from another copy") });
                }
                Step::Bookie(BookieEffect::Respond { to, response }) if to == self.id => {
                    self.tell(now, BrokerInput::Bookie { from: self.id, response });
                }
                Step::Bookie(BookieEffect::Respond { to, response }) => out.push(Output::PeerResponse { to, response }),
                Step::Admin(AdminEffect::Reply { id, response }) => out.push(Output::Http { id, response }),
                Step::Admin(AdminEffect::Meta { id, request }) => out.push(Output::Meta { id, request }),
                Step::Admin(AdminEffect::Broker { id, command }) => self.tell(now, BrokerInput::Admin { id, command }),
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
            BrokerEffect::Bookie { to, request } if to == self.id => {
                let from = self.id;
                self.with_bookie(|bookie, fx| bookie.handle_request(now, from, request, fx));
            }
            BrokerEffect::Bookie { to, request } => out.push(Output::PeerRequest { to, request }),
            BrokerEffect::Meta { id, request } => out.push(Output::Meta { id, request }),
            BrokerEffect::Region { to, group, frame } => out.push(Output::Region { to, group, frame }),
            BrokerEffect::Admin { id, reply } => {
                self.with_admin(|admin, broker, fx| admin.handle_broker(now, id, reply, broker, fx));
            }
            BrokerEffect::Alarm { text } => out.push(Output::Alarm { text }),
        }
    }
}
