//! A broker and an admin API on in-memory metadata and storage.

use crate::{AdminApi, AdminEffect, AdminOptions, Asker, HttpId, HttpRequest, HttpResponse, Method};
use auth::{Authenticator, Providers, TlsLogin};
use base::{Effects, Mono, NodeId, Now, OwnerId, RegionId, RegionName, Rng};
use broker::io::{BrokerEffect, BrokerInput};
use broker::{Broker, BrokerOptions, Core};
use bytes::Bytes;
use cluster::{AliveRecord, NodeRecord};
use managed::ManagedEffect;
use managed::testing::{Answer, Executed, Storage};
use meta_api::{MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use serde_json::Value;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tenancy::{Authorization, BrokerDefaults, keys};
use wire::commands::BrokerUrls;

const OWNER: OwnerId = OwnerId(8);

/// In which order a commit's answer and its events reach the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    ResponseFirst,
    EventsFirst,
    /// Events stay away until [`Bed::release_events`].
    EventsHeld,
}

pub(crate) struct Bed {
    pub broker: Broker,
    pub api: AdminApi,
    pub meta: MetaState,
    pub now: Now,
    pub order: Order,
    pub answers: Vec<(HttpId, HttpResponse)>,
    /// Answers the next transactions get instead of being applied.
    pub meta_faults: VecDeque<MetaResponse>,
    /// What was committed here, for other nodes.
    pub committed: Vec<MetaEvent>,
    /// What is for other nodes.
    pub out: Vec<AdminEffect>,
    pub storage: Storage,
    held: Vec<MetaEvent>,
    http_ids: u64,
    role: Option<String>,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    pub status: u16,
    pub body: String,
    pub headers: Vec<(String, String)>,
}

impl Answered {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"].as_str().unwrap().to_owned()
    }
}

fn options() -> BrokerOptions {
    BrokerOptions {
        node: NodeId(1),
        incarnation: 0,
        shared: false,
        region_name: RegionName::parse("east").unwrap(),
        region: RegionId(1),
        urls: BrokerUrls { plain: Some("pulsar://127.0.0.1:6650".to_owned()), tls: None },
        http_url: "http://127.0.0.1:8080".to_owned(),
        server_version: "Meridian-test".to_owned(),
        message_bytes_max: 5 << 20,
        keep_alive: Duration::from_secs(30),
        auth_check: Duration::from_secs(60),
        pending_bytes_max: 1 << 30,
        topic_cache_bytes: 1 << 20,
        cache_bytes_max: 16 << 20,
        connections_max: 100,
        rehearsal: None,
    }
}

impl Bed {
    /// An empty region `east` with authentication by certificate; requests are made as `super` until told otherwise.
    pub(crate) fn empty() -> Self {
        Self::with(options())
    }

    /// The same as node 1 of so many, all of them up and voting; node 1 leads.
    pub(crate) fn of_nodes(count: u64) -> Self {
        let mut bed = Self::node(1, count);
        for write in Self::records(count) {
            bed.write(write);
        }
        bed
    }

    /// One node of so many that has not heard of any; node 1 leads.
    pub(crate) fn node(node: u64, count: u64) -> Self {
        let mut bed = Self::with(BrokerOptions { node: NodeId(node), incarnation: 1, shared: true, ..options() });
        bed.broker.set_members((1..=count).map(NodeId).collect(), Vec::new());
        bed.broker.set_leader(Some(NodeId(1)));
        bed
    }

    /// What the metadata says of so many nodes that are up.
    pub(crate) fn records(count: u64) -> Vec<Write> {
        let mut writes = Vec::new();
        for node in (1..=count).map(NodeId) {
            let record = NodeRecord {
                incarnation: 1,
                http_url: format!("http://10.0.0.{}:8080", node.0),
                zone: Some(format!("z{}", node.0)),
                ..NodeRecord::default()
            };
            writes.push(Write::Put { key: keys::node_key(node), value: record.encode() });
            let value = AliveRecord { incarnation: 1 }.encode();
            writes.push(Write::Put { key: keys::alive_key(node), value });
        }
        writes
    }

    /// Somebody else writes a record.
    pub(crate) fn put(&mut self, key: String, value: Bytes) {
        self.write(Write::Put { key, value });
    }

    /// Somebody else deletes a record.
    pub(crate) fn delete(&mut self, key: String) {
        self.write(Write::Delete { key });
    }

    pub(crate) fn write(&mut self, write: Write) {
        let (_, events) = self.meta.apply(&MetaRequest::Txn { compare: Vec::new(), writes: vec![write] });
        self.committed.extend(events.iter().cloned());
        self.hear(events);
    }

    /// The metadata changed.
    pub(crate) fn hear(&mut self, events: Vec<MetaEvent>) {
        let mut fx = Effects::new();
        self.feed_events(events, &mut fx);
        self.settle(fx);
    }

    // ── Other nodes

    pub(crate) fn asked_by(&mut self, asker: Asker, content: &Bytes) {
        let mut fx = Effects::new();
        self.api.handle_ask(self.now, asker, content, &self.broker, &mut fx);
        self.settle(fx);
    }

    pub(crate) fn answered_by(&mut self, from: NodeId, id: u64, content: &Bytes) {
        let mut fx = Effects::new();
        self.api.handle_answer(self.now, from, id, content, &self.broker, &mut fx);
        self.settle(fx);
    }

    pub(crate) fn sent_back(&mut self, to: NodeId, id: u64) {
        let mut fx = Effects::new();
        self.api.handle_unsent(self.now, to, id, &self.broker, &mut fx);
        self.settle(fx);
    }

    pub(crate) fn lose(&mut self, node: NodeId) {
        let mut fx = Effects::new();
        self.broker.set_peer(self.now, node, false);
        self.api.handle_node_down(self.now, node, &self.broker, &mut fx);
        self.settle(fx);
    }

    fn with(options: BrokerOptions) -> Self {
        let providers = Providers { token: None, basic: None, tls: TlsLogin::Offered, anonymous_role: None };
        let rules = Authorization::Enforced { super_users: BTreeSet::from(["super".to_owned()]) };
        let core = Core::new(options, BrokerDefaults::standalone(), Authenticator::On(providers), rules);
        Self {
            broker: Broker::new(core, Rng::new(7)),
            api: AdminApi::new(AdminOptions { owner: OWNER, authenticate_metrics: false }),
            meta: MetaState::new(),
            now: Now { mono: Mono(1_000_000_000), wall_ms: 1_700_000_000_000 },
            order: Order::ResponseFirst,
            answers: Vec::new(),
            meta_faults: VecDeque::new(),
            committed: Vec::new(),
            out: Vec::new(),
            storage: Storage::new(1),
            held: Vec::new(),
            http_ids: 0,
            role: Some("super".to_owned()),
        }
    }

    /// Cluster `east`, tenants `acme` (admin `boss`) and `globex` (admin `other-boss`), namespaces `acme/orders` (open to
    /// `producer` and `consumer`) and `globex/events`.
    pub(crate) fn furnished() -> Self {
        let mut bed = Self::empty();
        bed.ok(Method::Put, "/admin/v2/clusters/east", r#"{"serviceUrl":"http://127.0.0.1:8080","regionNumber":1}"#);
        for (tenant, admin) in [("acme", "boss"), ("globex", "other-boss")] {
            let info = format!(r#"{{"adminRoles":["{admin}"],"allowedClusters":["east"]}}"#);
            bed.ok(Method::Put, &format!("/admin/v2/tenants/{tenant}"), &info);
        }
        bed.ok(Method::Put, "/admin/v2/namespaces/acme/orders", "");
        bed.ok(Method::Put, "/admin/v2/namespaces/globex/events", "null");
        bed.ok(Method::Post, "/admin/v2/namespaces/acme/orders/permissions/producer", r#"["produce"]"#);
        bed.ok(Method::Post, "/admin/v2/namespaces/acme/orders/permissions/consumer", r#"["consume"]"#);
        bed
    }

    /// From now on `/metrics` asks who is reading.
    pub(crate) fn authenticate_metrics(&mut self) {
        self.api = AdminApi::new(AdminOptions { owner: OWNER, authenticate_metrics: true });
    }

    /// From now on requests come from this role; `None`: without credentials.
    pub(crate) fn become_role(&mut self, role: Option<&str>) {
        self.role = role.map(str::to_owned);
    }

    /// Makes a request and answers it when the machine does without being waited for.
    pub(crate) fn call(&mut self, method: Method, path: &str, body: &str) -> Option<Answered> {
        let id = self.start(method, path, body);
        self.answer_to(id)
    }

    pub(crate) fn start(&mut self, method: Method, path: &str, body: &str) -> HttpId {
        self.http_ids += 1;
        let id = HttpId(self.http_ids);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let request = HttpRequest {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            authorization: None,
            tls_common_name: self.role.clone(),
            body: Bytes::from(body.to_owned()),
        };
        let mut fx = Effects::new();
        self.api.handle_http(self.now, id, request, &self.broker, &mut fx);
        self.settle(fx);
        id
    }

    pub(crate) fn answer_to(&mut self, id: HttpId) -> Option<Answered> {
        let place = self.answers.iter().position(|(own, _)| *own == id)?;
        let (_, response) = self.answers.remove(place);
        assert!(!self.answers.iter().any(|(own, _)| *own == id), "AdminApi I1: one answer each");
        let body = String::from_utf8(response.body.to_vec()).unwrap();
        Some(Answered { status: response.status, body, headers: response.headers })
    }

    /// A request that must be answered at once.
    pub(crate) fn ask(&mut self, method: Method, path: &str, body: &str) -> Answered {
        self.call(method, path, body).unwrap_or_else(|| panic!("{method:?} {path} was not answered"))
    }

    /// A request that must succeed.
    pub(crate) fn ok(&mut self, method: Method, path: &str, body: &str) -> Answered {
        let answer = self.ask(method, path, body);
        assert!((200..300).contains(&answer.status), "{method:?} {path} {body}: {} {}", answer.status, answer.body);
        answer
    }

    pub(crate) fn get(&mut self, path: &str) -> Value {
        let answer = self.ok(Method::Get, path, "");
        assert_eq!(answer.status, 200, "{path}");
        answer.json()
    }

    /// The status of a request, and its reason.
    pub(crate) fn refused(&mut self, method: Method, path: &str, body: &str) -> (u16, String) {
        let answer = self.ask(method, path, body);
        assert!(answer.status >= 400, "{method:?} {path} {body}: {} {}", answer.status, answer.body);
        let reason = answer.reason();
        (answer.status, reason)
    }

    pub(crate) fn release_events(&mut self) {
        let events = std::mem::take(&mut self.held);
        let mut fx = Effects::new();
        self.feed_events(events, &mut fx);
        self.settle(fx);
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        let mut fx = Effects::new();
        self.api.poll(self.now, &self.broker, &mut fx);
        if self.api.next_deadline().is_some_and(|at| at <= self.now.mono) {
            self.api.on_deadline(self.now, &self.broker, &mut fx);
        }
        self.settle(fx);
    }

    fn feed_events(&mut self, events: Vec<MetaEvent>, fx: &mut Effects<AdminEffect>) {
        let watched = Broker::watched_prefixes();
        let events: Vec<MetaEvent> =
            events.into_iter().filter(|event| watched.iter().any(|prefix| event.key.starts_with(prefix))).collect();
        if events.is_empty() {
            return;
        }
        self.broker.handle(self.now, BrokerInput::MetaEvents(events));
        self.api.poll(self.now, &self.broker, fx);
    }

    /// Applies a request; answers what the asker hears now.
    fn apply(&mut self, request: &MetaRequest, fx: &mut Effects<AdminEffect>) -> (MetaResponse, Vec<MetaEvent>) {
        let (response, events) = self.meta.apply(request);
        self.committed.extend(events.iter().cloned());
        match self.order {
            Order::ResponseFirst => (response, events),
            Order::EventsFirst => {
                self.feed_events(events, fx);
                (response, Vec::new())
            }
            Order::EventsHeld => {
                self.held.extend(events);
                (response, Vec::new())
            }
        }
    }

    /// Executes effects of both machines until nothing is left to do.
    fn settle(&mut self, mut fx: Effects<AdminEffect>) {
        loop {
            for effect in fx.take() {
                self.execute(effect, &mut fx);
            }
            for effect in self.broker.take_effects() {
                self.execute_broker(effect, &mut fx);
            }
            self.run_deadlines();
            if fx.is_empty() && self.broker.next_deadline().is_none_or(|at| at > self.now.mono) {
                let rest = self.broker.take_effects();
                if rest.is_empty() {
                    return;
                }
                for effect in rest {
                    self.execute_broker(effect, &mut fx);
                }
            }
        }
    }

    fn run_deadlines(&mut self) {
        if self.broker.next_deadline().is_some_and(|at| at <= self.now.mono) {
            self.broker.on_deadline(self.now);
        }
    }

    fn execute(&mut self, effect: AdminEffect, fx: &mut Effects<AdminEffect>) {
        match effect {
            AdminEffect::Reply { id, response } => self.answers.push((id, response)),
            AdminEffect::Broker { id, command } => self.broker.handle(self.now, BrokerInput::Admin { id, command }),
            AdminEffect::Ask { .. } | AdminEffect::Answer { .. } => self.out.push(effect),
            AdminEffect::Meta { id, request } => {
                assert_eq!(id.owner, OWNER);
                let fault = if request.is_write() { self.meta_faults.pop_front() } else { None };
                let (response, events) = match fault {
                    Some(response) => (response, Vec::new()),
                    None => self.apply(&request, fx),
                };
                self.api.handle_meta(self.now, id, response, &self.broker, fx);
                self.feed_events(events, fx);
            }
        }
    }

    fn execute_broker(&mut self, effect: BrokerEffect, fx: &mut Effects<AdminEffect>) {
        match effect {
            BrokerEffect::Admin { id, reply } => self.api.handle_broker(self.now, id, reply, &self.broker, fx),
            BrokerEffect::Meta { id, request } => {
                let (response, events) = self.apply(&request, fx);
                self.broker.handle(self.now, BrokerInput::Meta { id, response });
                self.feed_events(events, fx);
            }
            BrokerEffect::Bookie { to, request } => {
                if let Executed::Answer(Answer::Bookie { from, response }) =
                    self.storage.execute(ManagedEffect::Bookie { to, request })
                {
                    self.broker.handle(self.now, BrokerInput::Bookie { from, response });
                }
            }
            BrokerEffect::Alarm { text } => panic!("alarm: {text}"),
            _ => (),
        }
    }
}
