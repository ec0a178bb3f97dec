//! One node: what survives its process, and the process, made as the server makes it.

use crate::bugs::Bug;
use crate::disk::{Platter, SimDisk};
use crate::options::Options;
use crate::queue::{MS, Time};
use crate::region::{Region, url_of};
use admin::{AdminApi, AdminOptions};
use base::{Mono, NodeId, Now, Rng};
use bookie::layout::LayoutOptions;
use bookie::{Bookie, BookieOptions};
use broker::io::ConnId;
use broker::{Broker, BrokerOptions, Core, Rehearsal};
use node::{ADMIN_OWNER, Input, Node, Output};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tenancy::BrokerDefaults;
use wire::commands::BrokerUrls;

/// What the wall clocks show at the start.
const WALL_START_MS: u64 = 1_800_000_000_000;
/// How often nodes say what they serve; more often than in production, so that bundles move for balance too.
const BEAT: Duration = Duration::from_secs(1);
/// How long an orphaned ledger stays on the disk of a node that has others beside it, as the server has it.
const ORPHAN_GRACE: Duration = Duration::from_secs(3600);

/// A node, running or not.
pub(crate) struct Host {
    pub(crate) region: usize,
    pub(crate) node: NodeId,
    platter: Platter,
    /// What the wall clock shows beyond the true time, in milliseconds.
    wall_offset_ms: i64,
    /// Until when the disk takes its time.
    pub(crate) slow_until: Time,
    /// Counts the lives of the process.
    pub(crate) boot: u64,
    /// The process is there, but has no metadata yet.
    pub(crate) booting: bool,
    pub(crate) process: Option<Process>,
}

/// A running server.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) disk: SimDisk,
    pub(crate) started: Time,
    pub(crate) incarnation: u64,
    pub(crate) frozen: bool,
    /// What came while the process was frozen.
    pub(crate) inbox: VecDeque<Input>,
    /// The earliest timer that is planned.
    pub(crate) timer: Option<Time>,
    /// Changes of the metadata that it was told of.
    pub(crate) watched: usize,
    /// It is to hold the connection to the other region.
    pub(crate) active: bool,
    /// Who leads the metadata, as it was told.
    pub(crate) leadership: (Option<NodeId>, u64),
    pub(crate) conns: BTreeSet<ConnId>,
}

impl Host {
    pub(crate) fn new(region: usize, node: NodeId) -> Self {
        Self {
            region,
            node,
            platter: Platter::default(),
            wall_offset_ms: 0,
            slow_until: 0,
            boot: 0,
            booting: false,
            process: None,
        }
    }

    /// Whether its process runs and takes its turns.
    pub(crate) fn is_awake(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.frozen)
    }

    /// The clocks of the process that was started at `started`.
    pub(crate) fn clocks(&self, started: Time, at: Time) -> Now {
        let wall_ms = (WALL_START_MS + at / MS).saturating_add_signed(self.wall_offset_ms);
        Now { mono: Mono(at - started), wall_ms }
    }

    pub(crate) fn wall_jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// Starts the process as `server::boot` does.
    ///
    /// # Errors
    /// When the log does not open.
    pub(crate) fn start(
        &mut self,
        region: &mut Region,
        at: Time,
        options: &Options,
        bug: Option<Bug>,
        rng: &Rng,
    ) -> Result<Vec<Output>, String> {
        self.boot += 1;
        let layout = LayoutOptions { file_bytes: options.file_bytes, group_bytes_max: 1 << 20 };
        let (disk, log) =
            SimDisk::open(std::mem::take(&mut self.platter), layout, bug).map_err(|error| error.to_string())?;
        let shared = options.nodes > 1;
        let mut listing = region.list_ledgers();
        let incarnation = if shared { region.take_incarnation(self.node, bug) } else { 0 };
        let core = Core::new(
            self.broker_options(region, incarnation, options, bug),
            BrokerDefaults::standalone(),
            auth::Authenticator::Off,
            tenancy::Authorization::Off,
        );
        let name = match shared {
            true => format!("broker {} {} {}", region.name, self.node.0, self.boot),
            false => format!("broker {} {}", region.name, self.boot),
        };
        let broker = Broker::new(core, rng.fork(&name));
        let standard = BookieOptions { scrub_pass: None, ..BookieOptions::standard() };
        let bookie_options = if shared { BookieOptions { orphan_grace: ORPHAN_GRACE, ..standard } } else { standard };
        let bookie = Bookie::new(self.node, bookie_options, log);
        let admin = AdminApi::new(AdminOptions { owner: ADMIN_OWNER, authenticate_metrics: false });
        let started = at;
        let now = self.clocks(started, at);
        if bug == Some(Bug::OrphansByMistake) {
            listing.known.clear();
        }
        let mut out = Vec::new();
        let mut node = Node::new(now, self.node, broker, bookie, admin, &listing, &mut out);
        node.set_balance_options(cluster::BalanceOptions::every(BEAT));
        let space = bookie::disk::DiskEvent::Space { free_bytes: 100 << 30, total_bytes: 100 << 30 };
        node.handle(now, Input::Disk(space), &mut out);
        node.handle(now, Input::MetaEvents(region.snapshot()), &mut out);
        self.process = Some(Process {
            node,
            disk,
            started,
            incarnation,
            frozen: false,
            inbox: VecDeque::new(),
            timer: None,
            watched: region.changes(),
            active: false,
            leadership: (None, 0),
            conns: BTreeSet::new(),
        });
        Ok(out)
    }

    fn broker_options(&self, region: &Region, incarnation: u64, options: &Options, bug: Option<Bug>) -> BrokerOptions {
        BrokerOptions {
            node: self.node,
            incarnation,
            shared: options.nodes > 1,
            region_name: region.name.clone(),
            region: region.number,
            urls: BrokerUrls { plain: Some(url_of(&region.name, self.node)), tls: None },
            http_url: format!("http://{}-{}:8080", region.name, self.node.0),
            server_version: "sim".to_owned(),
            message_bytes_max: 5 << 20,
            keep_alive: Duration::from_secs(30),
            auth_check: Duration::from_secs(60),
            pending_bytes_max: 64 << 20,
            topic_cache_bytes: 64 << 10,
            cache_bytes_max: 128 << 10,
            connections_max: 1000,
            rehearsal: Some(Rehearsal {
                ledger_entries_max: options.ledger_entries,
                cursor_log_bytes_max: options.cursor_log_bytes,
                checkpoint_entries: options.checkpoint_entries,
                managed: bug.map_or(managed::Seeded::NONE, Bug::managed),
                link: bug.and_then(Bug::link),
            }),
        }
    }

    /// The process dies; the connections that it had are given back.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> BTreeSet<ConnId> {
        self.booting = false;
        let Some(process) = self.process.take() else { return BTreeSet::new() };
        self.platter = process.disk.crash(rng);
        process.conns
    }
}
