//! Two regions of some nodes, the ways between them, clients, and everything that goes wrong, from one seed.
//!
//! **What**  [`World::run`] takes one event after the other from the queue. All randomness comes from forks of the seed.
//!
//! **States**  connecting (until every subscription exists) → faults → healed → at rest, or out of time; where there were
//! takeovers everything is read back before the end.
//!
//! **Invariants**
//! - I1  the same seed and bug give the same trace.
//! - I2  after the faults every region runs, the way is open, and nothing is killed any more.
//!
//! **Not here**  Judging (`check`), what a seed decides (`options`).

mod clients;
mod copies;
mod nemesis;
mod owners;
mod peers;
mod plan;
mod progress;
mod server;
mod store;
mod takeover;

use crate::bugs::Bug;
use crate::client::Client;
use crate::history::{History, Life};
use crate::host::Host;
use crate::net::Net;
use crate::options::Options;
use crate::queue::{MS, Queue, SECOND, Time};
use crate::region::Region;
use crate::shell_bugs::Mistakes;
use crate::trace::{Keep, Trace};
use base::{NodeId, Rng};
use bookie::disk::DiskOp;
use broker::io::ConnId;
use bytes::Bytes;
use clients::Conn;
use meta_api::MetaRequest;
use node::Input;
use peers::{PeerFrame, Peers};
use std::collections::BTreeMap;
use store::{Leading, MetaAsked};
use wire::region::RegionFrame;

pub use nemesis::Fault;

/// A world that is not at rest so long after the faults is stuck.
const REST_WITHIN: Time = 240 * SECOND;
/// Subscribing takes at most so long without faults.
const CONNECT_WITHIN: Time = 60 * SECOND;
/// More events than this mean that something runs in circles.
const EVENTS_MAX: u64 = 3_000_000;

/// What can happen. `boot` names the life of the process that it is meant for.
enum Event {
    /// A completion or a change for the node.
    Input {
        host: usize,
        boot: u64,
        input: Box<Input>,
    },
    Timer {
        host: usize,
        boot: u64,
    },
    DiskWritten {
        host: usize,
        boot: u64,
    },
    DiskRead {
        host: usize,
        boot: u64,
        op: DiskOp,
    },
    /// A process starts, if it reaches the metadata.
    Start {
        host: usize,
    },
    Meta {
        host: usize,
        boot: u64,
        asked: MetaAsked,
    },
    /// A write whose outcome nobody learned happens after all.
    LateWrite {
        region: usize,
        by: Option<Life>,
        request: MetaRequest,
    },
    Watch {
        host: usize,
        boot: u64,
        up_to: usize,
    },
    StoreTick,
    PeerFrame {
        from: usize,
        to: usize,
        conn: u64,
        number: u64,
        frame: Box<PeerFrame>,
    },
    PeerTick,
    /// Bytes of a client reach its server.
    ToNode {
        conn: ConnId,
        bytes: Bytes,
    },
    /// Bytes of a server reach a client.
    ToClient {
        conn: ConnId,
        bytes: Bytes,
        left: crate::client::Left,
    },
    /// A client notices that its connection is gone.
    ClientClosed {
        conn: ConnId,
    },
    Wake {
        client: usize,
    },
    Dial {
        client: usize,
    },
    Frame {
        to: usize,
        conn: u64,
        frame: RegionFrame,
    },
    SideUp {
        side: usize,
        conn: u64,
    },
    SideDown {
        side: usize,
        conn: u64,
    },
    Connect,
    Fault(Fault),
    /// Looks whether the world may go on to the next state.
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Faults {
        until: Time,
    },
    Healed {
        since: Time,
    },
    /// Everything is read once more.
    ReadBack {
        since: Time,
    },
    Over,
}

/// What a run leaves behind.
pub struct Outcome {
    pub history: History,
    pub trace: Trace,
    /// Events that were handled.
    pub events: u64,
    /// Simulated time.
    pub time: Time,
    /// What the servers wanted operators to hear.
    pub alarms: Vec<String>,
    /// The server failed in itself.
    pub broken: Option<String>,
}

/// Everything.
pub struct World {
    options: Options,
    now: Time,
    /// Counts what happens, for [`crate::history`].
    step: u64,
    queue: Queue<Event>,
    regions: Vec<Region>,
    hosts: Vec<Host>,
    /// Of regions with several nodes, every start of every node: [`life`] → what it is.
    lives: BTreeMap<u64, Life>,
    leading: Vec<Leading>,
    /// Host → when it hears the last of who leads.
    leader_news_at: Vec<Time>,
    peers: Peers,
    net: Net,
    clients: Vec<Client>,
    /// Client → its connection.
    conn_of: BTreeMap<usize, ConnId>,
    conns: BTreeMap<ConnId, Conn>,
    /// Client → the node that it was sent to.
    targets: BTreeMap<usize, usize>,
    /// Client → its one alarm: a newer one replaces it.
    wakes: BTreeMap<usize, Time>,
    last_conn: u64,
    http_ids: u64,
    history: History,
    late: plan::Late,
    progress: progress::Progress,
    mistakes: Mistakes,
    trace: Trace,
    phase: Phase,
    alarms: Vec<String>,
    broken: Option<String>,
    rng: Rngs,
    seed: Rng,
}

/// One generator per purpose.
struct Rngs {
    disk: Rng,
    meta: Rng,
    link: Rng,
    net: Rng,
    clients: Rng,
    nemesis: Rng,
    peers: Rng,
}

/// One number for one life of one server.
fn life(host: usize, boot: u64) -> u64 {
    (host as u64) << 32 | boot
}

impl World {
    pub fn new(options: Options, bug: Option<Bug>, keep: Keep) -> Self {
        let seed = Rng::new(options.seed);
        let rng = Rngs {
            disk: seed.fork("disk"),
            meta: seed.fork("meta"),
            link: seed.fork("link"),
            net: seed.fork("net"),
            clients: seed.fork("clients"),
            nemesis: seed.fork("nemesis"),
            peers: seed.fork("peers"),
        };
        let regions: Vec<Region> = (0..2).map(|index| Region::new(index, &options, bug)).collect();
        let nodes = || (1..=options.nodes).map(NodeId);
        let places = (0..2).flat_map(|region| nodes().map(move |node| (region, node)));
        let hosts: Vec<Host> =
            places.zip(&options.clocks).map(|((region, node), clocks)| Host::new(region, node, *clocks)).collect();
        let history = History {
            regions: 2,
            quota: options.quota,
            // Only regions of one node have a quota.
            quota_clocks: options.clocks.iter().map(|clocks| clocks.mono).collect(),
            answer_delay: 2 * options.disk_delay,
            charge_max: options.charge_max(),
            ..History::default()
        };
        let mut world = Self {
            now: 0,
            step: 0,
            queue: Queue::default(),
            leading: vec![Leading::default(); regions.len()],
            leader_news_at: vec![0; hosts.len()],
            peers: Peers::default(),
            regions,
            hosts,
            lives: BTreeMap::new(),
            net: Net::default(),
            clients: Vec::new(),
            conn_of: BTreeMap::new(),
            conns: BTreeMap::new(),
            targets: BTreeMap::new(),
            wakes: BTreeMap::new(),
            last_conn: 0,
            http_ids: 0,
            history,
            late: plan::Late::default(),
            progress: progress::Progress::default(),
            mistakes: Mistakes::new(bug),
            trace: Trace::new(keep),
            phase: Phase::Connecting,
            alarms: Vec::new(),
            broken: None,
            rng,
            seed,
            options,
        };
        world.add_clients();
        world
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        for host in 0..self.hosts.len() {
            self.start_host(host);
        }
        if self.options.nodes > 1 {
            self.queue.plan(0, Event::StoreTick);
            self.queue.plan(0, Event::PeerTick);
        }
        self.queue.plan(MS, Event::Connect);
        self.queue.plan(100 * MS, Event::Look);
        let mut events = 0;
        while self.phase != Phase::Over && self.broken.is_none() {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.step += 1;
            events += 1;
            if events > EVENTS_MAX {
                self.broken = Some(format!("{EVENTS_MAX} events and no end: something runs in circles"));
            }
            self.happen(event);
        }
        let Self { history, trace, now, alarms, broken, .. } = self;
        Outcome { history, trace, events, time: now, alarms, broken }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Input { host, boot, input } => self.feed(host, boot, *input),
            Event::Timer { host, boot } => self.on_timer(host, boot),
            Event::DiskWritten { host, boot } => self.on_disk_written(host, boot),
            Event::DiskRead { host, boot, op } => self.on_disk_read(host, boot, &op),
            Event::Start { host } => self.start_host(host),
            Event::Meta { host, boot, asked } => self.on_meta(host, boot, asked),
            Event::LateWrite { region, by, request } => drop(self.apply(region, by, &request)),
            Event::Watch { host, boot, up_to } => self.on_watch(host, boot, up_to),
            Event::StoreTick => self.on_store_tick(),
            Event::PeerFrame { from, to, conn, number, frame } => self.on_peer_frame(from, to, conn, number, *frame),
            Event::PeerTick => self.on_peer_tick(),
            Event::ToNode { conn, bytes } => self.on_bytes_to_node(conn, &bytes),
            Event::ToClient { conn, bytes, left } => self.on_bytes_to_client(conn, &bytes, left),
            Event::ClientClosed { conn } => self.on_client_closed(conn),
            Event::Wake { client } => self.on_wake(client),
            Event::Dial { client } => self.dial(client),
            Event::Frame { to, conn, frame } => self.on_frame(to, conn, frame),
            Event::SideUp { side, conn } => self.on_side_up(side, conn),
            Event::SideDown { side, conn } => self.on_side_down(side, conn),
            Event::Connect => self.on_connect(),
            Event::Fault(fault) => self.on_fault(fault),
            Event::Look => self.look(),
        }
    }

    fn look(&mut self) {
        let rest = match self.phase {
            Phase::Healed { .. } => self.is_at_rest() && self.lacking_copy().is_none(),
            Phase::ReadBack { .. } => self.has_read_back(),
            _ => false,
        };
        match self.phase {
            Phase::Connecting if self.subscribed() => {
                let until = self.now + self.options.faults_for;
                self.phase = Phase::Faults { until };
                self.trace.note(self.now, format_args!("phase faults"));
                self.plan_faults(until);
                self.plan_late(until);
                for client in 0..self.clients.len() {
                    if !self.late.waits(client) {
                        self.wake_at(client, self.now);
                    }
                }
            }
            Phase::Connecting if self.now > CONNECT_WITHIN => self.give_up("subscribing did not end"),
            Phase::Faults { until } if self.now >= until => {
                self.trace.note(self.now, format_args!("phase healed"));
                self.phase = Phase::Healed { since: self.now };
            }
            Phase::Healed { .. } if rest && self.options.cluster.takeovers.is_some() => self.begin_read_back(),
            Phase::Healed { .. } | Phase::ReadBack { .. } if rest => self.phase = Phase::Over,
            Phase::Healed { since } | Phase::ReadBack { since } if self.now - since > REST_WITHIN => {
                self.give_up("the world did not come to rest")
            }
            _ => (),
        }
        if self.phase != Phase::Connecting {
            self.look_for_late();
        }
        self.queue.plan(self.now + 100 * MS, Event::Look);
    }
}
