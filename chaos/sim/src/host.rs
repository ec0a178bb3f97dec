//! One node: what survives its process, and the process, made as the server makes it.

use crate::bugs::Bug;
use crate::clocks::Clocks;
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
    /// A copy that somebody made of it.
    copy: Option<Platter>,
    /// The disk that belongs here, while the copy is in its place.
    aside: Option<Platter>,
    /// When it last reached the metadata: what it knows by itself is at least so old, and not much older.
    pub(crate) informed_at: Time,
    /// How fast its clocks run.
    clocks: Clocks,
    /// What the wall clock has jumped, in milliseconds.
    wall_offset_ms: i64,
    /// Until when the disk takes its time.
    pub(crate) slow_until: Time,
    /// Counts the lives of the process.
    pub(crate) boot: u64,
    /// The process is there, but has no metadata yet.
    pub(crate) booting: bool,
    pub(crate) process: Option<Process>,
}

/// Why a process does not start.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The region has seen a later start of this node than this disk has: `server::cluster` refuses it.
    OldCopy,
    Log(String),
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
    pub(crate) fn new(region: usize, node: NodeId, clocks: Clocks) -> Self {
        Self {
            region,
            node,
            platter: Platter::default(),
            copy: None,
            aside: None,
            informed_at: 0,
            clocks,
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

    /// What the clocks show to the process that was started at `started`.
    pub(crate) fn clocks(&self, started: Time, at: Time) -> Now {
        let wall_ms = WALL_START_MS + self.clocks.wall.counts(at) / MS;
        Now { mono: Mono(self.waited(started, at)), wall_ms: wall_ms.saturating_add_signed(self.wall_offset_ms) }
    }

    /// How long the time between two instants is for this node.
    pub(crate) fn waited(&self, since: Time, at: Time) -> Time {
        self.clocks.mono.counts(at - since)
    }

    /// When the clock of the process that was started at `started` shows `deadline`.
    pub(crate) fn due(&self, started: Time, deadline: Mono) -> Time {
        started.saturating_add(self.clocks.mono.takes(deadline.0))
    }

    pub(crate) fn wall_jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    /// Somebody copies the disk of a running process.
    pub(crate) fn copy_disk(&mut self) {
        self.copy = self.process.as_ref().map(|process| process.disk.copy());
    }

    /// Somebody puts the copy, if there is one, in the place of the disk of a node that does not run.
    pub(crate) fn put_old_disk(&mut self) {
        if let Some(copy) = self.copy.take().filter(|_| self.process.is_none()) {
            self.aside = Some(std::mem::replace(&mut self.platter, copy));
        }
    }

    /// The disk that belongs here is put back.
    fn put_right_disk(&mut self) {
        if let Some(disk) = self.aside.take() {
            self.platter = disk;
        }
    }

    /// Starts the process as `server::boot` does.
    ///
    /// # Errors
    /// [`StartError`].
    pub(crate) fn start(
        &mut self,
        region: &mut Region,
        at: Time,
        options: &Options,
        bug: Option<Bug>,
        rng: &Rng,
    ) -> Result<Vec<Output>, StartError> {
        let shared = options.nodes > 1;
        let mut incarnation = 0;
        if shared {
            let Some(taken) = region.take_incarnation(self.node, self.platter.incarnation, bug) else {
                self.put_right_disk();
                return Err(StartError::OldCopy);
            };
            incarnation = taken;
        }
        (self.aside, self.platter.incarnation) = (None, incarnation);
        self.boot += 1;
        let layout = LayoutOptions { file_bytes: options.file_bytes, group_bytes_max: 1 << 20 };
        let (disk, log) = SimDisk::open(std::mem::take(&mut self.platter), layout, bug)
            .map_err(|error| StartError::Log(error.to_string()))?;
        let stale = (bug == Some(Bug::StaleReads)).then_some(self.informed_at);
        let mut listing = region.list_ledgers(stale);
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
        let orphan_grace = options.cluster.takeovers.map_or(ORPHAN_GRACE, |t| Duration::from_nanos(t.orphan_grace));
        let bookie_options = if shared { BookieOptions { orphan_grace, ..standard } } else { standard };
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
