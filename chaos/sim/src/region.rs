//! One region: what survives its process, and the process, made as the server makes it.

use crate::bugs::Bug;
use crate::disk::{Platter, SimDisk};
use crate::options::Options;
use crate::queue::{MS, Time};
use admin::{AdminApi, AdminOptions};
use base::{LedgerId, Mono, NamespaceName, NodeId, Now, RegionId, RegionName, Rng, TenantName};
use bookie::layout::LayoutOptions;
use bookie::{Bookie, BookieOptions, LedgerListing};
use broker::io::ConnId;
use broker::{Broker, BrokerOptions, Core, Rehearsal};
use bytes::Bytes;
use meta_api::{MetaEvent, MetaRequest, MetaResponse, MetaState, Write};
use node::{ADMIN_OWNER, Input, Node, Output};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tenancy::keys::{self, Key};
use tenancy::{BrokerDefaults, ClusterData, Policies, PolicyRecord, PublishRate, TenantInfo};
use wire::commands::BrokerUrls;

/// The only node of a region.
pub(crate) const NODE: NodeId = NodeId(1);
/// What the wall clocks show at the start.
const WALL_START_MS: u64 = 1_800_000_000_000;
/// The namespace of every run.
pub(crate) const NAMESPACE: (&str, &str) = ("sim", "both");

/// A region, running or not.
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) number: RegionId,
    /// Durable at once: an ideal store. The state before the last write is kept for [`Bug::MetadataNotDurable`].
    pub(crate) meta: MetaState,
    pub(crate) meta_before: VecDeque<MetaState>,
    pub(crate) platter: Platter,
    /// What the wall clock shows beyond the true time, in milliseconds.
    wall_offset_ms: i64,
    /// Until when the disk takes its time.
    pub(crate) slow_until: Time,
    /// Counts the lives of the process.
    pub(crate) boot: u64,
    pub(crate) process: Option<Process>,
}

/// A running server.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) disk: SimDisk,
    pub(crate) started: Time,
    pub(crate) frozen: bool,
    /// What came while the process was frozen.
    pub(crate) inbox: VecDeque<Input>,
    /// The earliest timer that is planned.
    pub(crate) timer: Option<Time>,
    /// Watch events are delivered in order.
    pub(crate) watch_free_at: Time,
    pub(crate) conns: BTreeSet<ConnId>,
}

/// What a region is called.
pub(crate) fn name_of(index: usize) -> &'static str {
    ["east", "west"][index]
}

fn parse_region(index: usize) -> RegionName {
    RegionName::parse(name_of(index)).unwrap_or_else(|error| panic!("Region: its name is valid: {error}"))
}

impl Region {
    /// A region with metadata for a namespace that lives in both.
    pub(crate) fn new(index: usize, options: &Options, bug: Option<Bug>) -> Self {
        let mut region = Self {
            name: parse_region(index),
            number: RegionId(u8::try_from(index + 1).unwrap_or(1)),
            meta: MetaState::new(),
            meta_before: VecDeque::new(),
            platter: Platter::default(),
            wall_offset_ms: 0,
            slow_until: 0,
            boot: 0,
            process: None,
        };
        region.create_records(options, bug);
        region
    }

    /// The clocks of the process that was started at `started`.
    pub(crate) fn clocks(&self, started: Time, at: Time) -> Now {
        let wall_ms = (WALL_START_MS + at / MS).saturating_add_signed(self.wall_offset_ms);
        Now { mono: Mono(at - started), wall_ms }
    }

    pub(crate) fn wall_jump(&mut self, by_ms: i64) {
        self.wall_offset_ms += by_ms;
    }

    fn create_records(&mut self, options: &Options, bug: Option<Bug>) {
        let both = BTreeSet::from([parse_region(0), parse_region(1)]);
        for (number, name) in (1..).zip(&both) {
            let data = ClusterData { number: Some(RegionId(number)), ..ClusterData::default() };
            self.put(keys::cluster_key(name), &data);
        }
        let (Ok(tenant), Ok(namespace)) =
            (TenantName::parse(NAMESPACE.0), NamespaceName::new(NAMESPACE.0, NAMESPACE.1))
        else {
            panic!("Region: the names of the run are valid");
        };
        let info = TenantInfo { allowed_clusters: both.clone(), ..TenantInfo::default() };
        self.put(keys::tenant_key(&tenant), &info);
        let rate = options.quota.filter(|_| bug != Some(Bug::QuotaIgnored)).and_then(|rate| i32::try_from(rate).ok());
        let policies = Policies {
            replication_clusters: both,
            deduplication_enabled: Some(bug != Some(Bug::DeduplicationOff)),
            namespace_publish_rate: rate
                .map(|rate| PublishRate { publish_throttling_rate_in_msg: rate, ..PublishRate::default() }),
            ..Policies::default()
        };
        let record = PolicyRecord { policies, version: 1, writer: Some(parse_region(0)), ..PolicyRecord::default() };
        self.put(keys::namespace_key(&namespace), &record);
    }

    fn put<T: serde::Serialize>(&mut self, key: String, value: &T) {
        let value = serde_json::to_vec(value).unwrap_or_else(|error| panic!("Region: records are JSON: {error}"));
        let writes = vec![Write::Put { key, value: Bytes::from(value) }];
        self.meta.apply(&MetaRequest::Txn { compare: Vec::new(), writes });
    }

    /// Starts the process as `server::boot` does.
    ///
    /// # Errors
    /// When the log does not open.
    pub(crate) fn start(
        &mut self,
        at: Time,
        options: &Options,
        bug: Option<Bug>,
        rng: &Rng,
    ) -> Result<Vec<Output>, String> {
        self.boot += 1;
        let layout = LayoutOptions { file_bytes: options.file_bytes, group_bytes_max: 1 << 20 };
        let (disk, log) =
            SimDisk::open(std::mem::take(&mut self.platter), layout, bug).map_err(|error| error.to_string())?;
        let core = Core::new(
            self.broker_options(options, bug),
            BrokerDefaults::standalone(),
            auth::Authenticator::Off,
            tenancy::Authorization::Off,
        );
        let broker = Broker::new(core, rng.fork(&format!("broker {} {}", self.name, self.boot)));
        let bookie = Bookie::new(NODE, BookieOptions { scrub_pass: None, ..BookieOptions::standard() }, log);
        let admin = AdminApi::new(AdminOptions { owner: ADMIN_OWNER, authenticate_metrics: false });
        let started = at;
        let now = self.clocks(started, at);
        let mut listing = self.list_ledgers();
        if bug == Some(Bug::OrphansByMistake) {
            listing.known.clear();
        }
        let mut out = Vec::new();
        let mut node = Node::new(now, NODE, broker, bookie, admin, &listing, &mut out);
        let space = bookie::disk::DiskEvent::Space { free_bytes: 100 << 30, total_bytes: 100 << 30 };
        node.handle(now, Input::Disk(space), &mut out);
        node.handle(now, Input::MetaEvents(self.snapshot()), &mut out);
        self.process = Some(Process {
            node,
            disk,
            started,
            frozen: false,
            inbox: VecDeque::new(),
            timer: None,
            watch_free_at: at,
            conns: BTreeSet::new(),
        });
        Ok(out)
    }

    fn broker_options(&self, options: &Options, bug: Option<Bug>) -> BrokerOptions {
        BrokerOptions {
            node: NODE,
            region_name: self.name.clone(),
            region: self.number,
            urls: BrokerUrls { plain: Some(format!("pulsar://{}:6650", self.name)), tls: None },
            http_url: format!("http://{}:8080", self.name),
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

    fn list_ledgers(&mut self) -> LedgerListing {
        let reserve = MetaRequest::Reserve { key: keys::LEDGER_COUNTER.to_owned(), by: 1 };
        let (MetaResponse::Reserved { first }, _) = self.meta.apply(&reserve) else {
            unreachable!("sim: the counter of ledgers is a counter");
        };
        let known = self.meta.iter_prefix(keys::LEDGERS).filter_map(|(key, _)| match Key::parse(key) {
            Some(Key::Ledger(ledger)) => Some(ledger),
            _ => None,
        });
        LedgerListing { known: known.collect(), below: LedgerId::compose(self.number, first) }
    }

    fn snapshot(&self) -> Vec<MetaEvent> {
        let mut events = Vec::new();
        for prefix in Broker::watched_prefixes() {
            events.extend(self.meta.iter_prefix(prefix).map(|(key, versioned)| MetaEvent {
                revision: versioned.version,
                key: key.to_owned(),
                value: Some(versioned.value.clone()),
            }));
        }
        events
    }

    /// The process dies; the connections that it had are given back.
    pub(crate) fn crash(&mut self, rng: &mut Rng, bug: Option<Bug>) -> BTreeSet<ConnId> {
        let Some(process) = self.process.take() else { return BTreeSet::new() };
        self.platter = process.disk.crash(rng);
        if bug == Some(Bug::MetadataNotDurable)
            && let Some(before) = self.meta_before.pop_front()
        {
            self.meta = before;
        }
        if bug == Some(Bug::ForgottenCursor) {
            self.forget_cursors();
        }
        self.meta_before.clear();
        process.conns
    }

    /// [`Bug::ForgottenCursor`]: no topic knows where its cursors stand.
    fn forget_cursors(&mut self) {
        let records: Vec<(String, serde_json::Value)> = self
            .meta
            .iter_prefix("/ml/")
            .filter_map(|(key, versioned)| Some((key.to_owned(), serde_json::from_slice(&versioned.value).ok()?)))
            .collect();
        for (key, mut record) in records {
            record["cursor_ledger"] = serde_json::Value::Null;
            self.put(key, &record);
        }
    }
}
