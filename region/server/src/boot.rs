//! Starting a server, in the order in which its parts need each other, and stopping it.

pub(crate) mod folders;
mod records;
pub(crate) mod urls;

use crate::clock::Clock;
use crate::cluster::entry::{Entry, Me};
use crate::config::{ConfigError, ServerConfig};
use crate::conn::ConnContext;
use crate::entrance::{Entrance, EntranceLimits};
use crate::geo::{self, GeoHandle};
use crate::lock::DataLock;
use crate::shard::{Executors, NodeHandle, Shard, ShardInput};
use crate::watch::{feed_snapshot, watch};
use crate::{cluster, conn, http, stop, task};
use admin::{AdminApi, AdminOptions};
use base::{NodeId, RegionId, RegionName, Rng};
use bookie::{Bookie, BookieOptions, LedgerListing};
use broker::io::ConnId;
use broker::{Broker, BrokerOptions, Core, SplitLimits};
use disk::{DiskOptions, LogDevice};
use folders::Folders;
use meta::{MetaHandle, MetaOptions, MetaStore, Watch};
use node::{ADMIN_OWNER, Node};
use peer::Near;
use quic::{Identity, QuicConfig, QuicLimits};
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tenancy::BrokerDefaults;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use urls::Urls;
use wire::commands::BrokerUrls;

/// A node that is alone in its region.
const SOLE: NodeId = NodeId(1);
/// How long an orphaned ledger stays on the disk of a node that has others beside it.
const ORPHAN_GRACE: Duration = Duration::from_secs(3600);
/// Connections before the handshake; more than a restart makes of all its clients at once.
const PULSAR_GUESTS: EntranceLimits = EntranceLimits { guests_max: 4096, per_address_max: 1024 };

/// Turns that connections get on the node's thread when the node has ended.
const LAST_TURNS: u32 = 64;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("another server is running on the data folder {}: stop it, or choose another folder with --data", .0.display())]
    Busy(PathBuf),
    #[error("cannot {what}: {source}")]
    Io {
        what: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{0}")]
    Storage(String),
}

impl BootError {
    /// The exit code of interface.md §3.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Config(_) => 78,
            Self::Busy(_) => 75,
            Self::Io { .. } | Self::Storage(_) => stop::EXIT_IO,
        }
    }
}

fn io_error(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> BootError {
    let what = what.into();
    move |source| BootError::Io { what, source }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    pub region: RegionName,
    pub pulsar: SocketAddr,
    pub http: SocketAddr,
    pub quic: SocketAddr,
    pub data: PathBuf,
    node: NodeHandle,
    thread: JoinHandle<LogDevice>,
    meta: MetaStore,
    pool: Runtime,
    _lock: DataLock,
}

struct Listeners {
    pulsar: TcpListener,
    http: TcpListener,
}

struct Storage {
    meta: MetaStore,
    number: RegionId,
    ledgers: LedgerListing,
    watch: Watch,
}

impl Server {
    /// Starts a server and returns when it answers.
    ///
    /// # Errors
    /// [`BootError`] with its exit code.
    pub fn start(config: ServerConfig) -> Result<Self, BootError> {
        config.check()?;
        let authenticator = config.authenticator()?;
        let (lock, folders) = take_folder(&config)?;
        let pool = io_threads().map_err(io_error("start threads"))?;
        let clock = Clock::start();
        let listeners = pool.block_on(listen(&config))?;
        let (node, inputs) = NodeHandle::channel();
        let (device, log) = open_log(&config, folders, node.clone())?;
        let identity = load_identity(&config)?;
        let seed = seed_of(clock.now().wall_ms, std::process::id());
        let mut entry = match config.node.is_of_several() {
            true => Some(pool.block_on(Entry::find(&config, &identity, cookie(), folders))?),
            false => None,
        };
        let storage = pool.block_on(open_metadata(&config, &identity, entry.as_mut()))?;
        if entry.is_none() {
            folders.check_entries(&config, storage.ledgers.known.len())?;
        }
        let (geo, geo_events) = pool.block_on(async { open_quic(&config, storage.number, identity, seed) })?;
        let urls = Urls::of(&config, &listeners, geo.local_addr());
        let meta = storage.meta.handle();
        let me = match &mut entry {
            Some(entry) => pool.block_on(entry.take_office(&meta, &config, &urls))?,
            None => Me { node: SOLE, incarnation: 0, shared: false },
        };
        pool.block_on(records::publish_own_cluster(&meta, &config, &urls, me.shared))?;

        let core = Core::new(
            broker_options(&config, &urls, storage.number, me),
            defaults(&config),
            authenticator,
            config.authorization(),
        );
        let broker = Broker::new(core, Rng::new(seed).fork("broker"));
        let bookie = Bookie::new(me.node, bookie_options(me), log);
        let admin =
            AdminApi::new(AdminOptions { owner: ADMIN_OWNER, authenticate_metrics: config.auth.authenticate_metrics });
        let mut first = Vec::new();
        let mut machines = Node::new(clock.now(), me.node, broker, bookie, admin, &storage.ledgers, &mut first);
        set_options(&mut machines, &config);
        let clusters = feed_snapshot(&mut machines, clock, &storage.watch, &mut first);
        geo.set_peers(&config.region, &clusters);

        let executors = Executors {
            clock,
            device,
            meta: storage.meta.handle(),
            geo: geo.clone(),
            pool: pool.handle().clone(),
            node: node.clone(),
            peers: entry.as_ref().map(|entry| Arc::clone(&entry.endpoint)),
        };
        let shard = Shard::new(machines, executors, first);
        let (thread, connections) = spawn_node(shard, inputs, node.clone(), config.message_bytes_max)?;
        let server_pool = pool.handle();
        task::spawn(server_pool, "quic-events", geo::pump(geo.clone(), geo_events, node.clone()));
        let contacts = entry.as_ref().map(|entry| (entry.contacts.clone(), me));
        let view = watch(storage.watch, node.clone(), geo, config.region.clone(), clusters, contacts);
        task::spawn(server_pool, "meta-watch", view);
        if let Some(entry) = entry {
            take_part(entry, &config, &meta, &connections, server_pool);
            pool.block_on(cluster::voters::until_founded(&meta, config.node.founders.len()));
        }
        task::spawn(server_pool, "http", http::serve(listeners.http, node.clone(), pool.handle().clone()));
        task::spawn(server_pool, "pulsar", accept(listeners.pulsar, server_pool.clone(), connections));
        let (pulsar, http, quic) = (urls.pulsar, urls.http, urls.quic);
        let (region, data) = (config.region, config.data);
        Ok(Self { region, pulsar, http, quic, data, node, thread, meta: storage.meta, pool, _lock: lock })
    }

    /// The line that says that the server answers (interface.md §1).
    pub fn ready_line(&self) -> String {
        format!(
            "ready region={} pulsar={} http={} quic={} data={}",
            self.region,
            self.pulsar,
            self.http,
            self.quic,
            self.data.display()
        )
    }

    /// Waits for SIGTERM or SIGINT. `announce` says that the server answers: only then, because whoever reads it may
    /// stop the server at once.
    ///
    /// # Errors
    /// When signals cannot be waited for, or those of `announce`.
    pub fn wait_for_signal(&self, announce: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<()> {
        self.pool.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            let mut interrupt = signal(SignalKind::interrupt())?;
            announce()?;
            tokio::select! {
                _ = terminate.recv() => (),
                _ = interrupt.recv() => (),
            }
            Ok(())
        })
    }

    /// Closes topics, writes what is queued, ends the threads; at most 8 s.
    pub fn stop(self) {
        self.node.send_blocking(ShardInput::Shutdown);
        let (done, finished) = std::sync::mpsc::sync_channel(1);
        let thread = self.thread;
        let waiter = std::thread::Builder::new().name("meridian-stop".to_owned()).spawn(move || {
            if let Ok(device) = thread.join() {
                device.close();
            }
            // Nobody listens any more when the wait below gave up.
            let _ = done.send(());
        });
        if waiter.is_ok() && finished.recv_timeout(Duration::from_secs(8)).is_err() {
            tracing::warn!("topics did not close within 8 s; ending all the same: nothing answered is lost");
        }
        drop(self.meta);
        self.pool.shutdown_timeout(Duration::from_secs(1));
    }
}

/// What runs for the region beside the machines.
fn take_part(entry: Entry, config: &ServerConfig, meta: &MetaHandle, near: &ConnContext, pool: &Handle) {
    let (node, load) = (&near.node, near.load.clone());
    entry.endpoint.set_near(Near::new(near.thread.clone(), move || load.is_busy()));
    task::spawn(&near.thread, "peer-events", cluster::pump::pump(entry.events, node.clone(), meta.clone()));
    task::spawn(pool, "leadership", cluster::pump::leadership(meta.clone(), node.clone()));
    let grace = Duration::from_secs(config.node.voter_grace_s);
    task::spawn(pool, "voters", cluster::voters::keep_voters(meta.clone(), node.clone(), grace));
    let (data, passport) = (config.data.clone(), entry.place.passport);
    task::spawn(pool, "stamps", cluster::stamps::keep_stamping(meta.clone(), data, entry.contacts, passport));
}

fn io_threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).thread_name("meridian-io").enable_all().build()
}

/// Makes the data folder, takes it for this process alone, and sees whether what it holds belongs together.
fn take_folder(config: &ServerConfig) -> Result<(DataLock, Folders), BootError> {
    let data = config.data.display();
    std::fs::create_dir_all(&config.data).map_err(io_error(format!("create the data folder {data}")))?;
    let lock = DataLock::take(&config.data).map_err(io_error(format!("lock the data folder {data}")))?;
    let lock = lock.ok_or_else(|| BootError::Busy(config.data.clone()))?;
    let folders = Folders::look(&config.data)?;
    folders.check(config)?;
    Ok((lock, folders))
}

fn open_log(
    config: &ServerConfig,
    folders: Folders,
    node: NodeHandle,
) -> Result<(LogDevice, bookie::RecoveredLog), BootError> {
    let opened = LogDevice::open(
        &config.data.join("log"),
        DiskOptions::standard(),
        move |event| node.send_blocking(ShardInput::Disk(event)),
        |error| stop::storage_failed("the message log", &error),
    );
    let (device, log) = opened.map_err(|error| BootError::Storage(error.to_string()))?;
    if !config.node.is_of_several() {
        folders.check_names(config, folders::kept_ledgers(&log))?; // Folders I3
    }
    Ok((device, log))
}

async fn listen(config: &ServerConfig) -> Result<Listeners, BootError> {
    let bind = |port: u16, what: &'static str| async move {
        let address = SocketAddr::new(config.bind, port);
        let text = format!("listen on {address} for {what}; is another server running? choose another port");
        TcpListener::bind(address).await.map_err(io_error(text))
    };
    Ok(Listeners {
        pulsar: bind(config.pulsar_port, "Pulsar clients (--pulsar-port)").await?,
        http: bind(config.http_port, "HTTP (--http-port)").await?,
    })
}

/// The region's identity: of this data folder, or the one that all of its nodes share.
fn load_identity(config: &ServerConfig) -> Result<Identity, BootError> {
    let folder = config.node.identity.clone().unwrap_or_else(|| config.data.join("identity"));
    if config.node.is_of_several() && !folder.join("key.pem").exists() {
        let rule = format!(
            "{} holds no identity: all nodes of a region share one. Make it once with `meridian identity create \
             --region {} --out DIR` and copy it to every node",
            folder.display(),
            config.region
        );
        return Err(ConfigError::new("[node] identity", rule).into());
    }
    Identity::load_or_create(&folder, &config.region).map_err(|error| BootError::Storage(error.to_string()))
}

/// A number that no other node draws: the standard library keys its hashers with the system's entropy.
fn cookie() -> u64 {
    RandomState::new().hash_one(0) | 1
}

fn seed_of(wall_ms: u64, process: u32) -> u64 {
    // Not for secrets: names, jitter and incarnation numbers only have to differ between starts.
    wall_ms.rotate_left(20) ^ u64::from(process)
}

fn open_quic(
    config: &ServerConfig,
    number: RegionId,
    identity: Identity,
    instance: u64,
) -> Result<(GeoHandle, tokio::sync::mpsc::Receiver<quic::QuicEvent>), BootError> {
    let quic = QuicConfig {
        bind: SocketAddr::new(config.bind, config.quic_port),
        region: config.region.clone(),
        number,
        identity,
        instance,
        limits: QuicLimits::standard(),
    };
    GeoHandle::open(quic).map_err(|error| BootError::Storage(error.to_string()))
}

fn broker_options(config: &ServerConfig, urls: &Urls, number: RegionId, me: Me) -> BrokerOptions {
    BrokerOptions {
        node: me.node,
        incarnation: me.incarnation,
        shared: me.shared,
        region_name: config.region.clone(),
        region: number,
        urls: BrokerUrls { plain: Some(urls.pulsar_url()), tls: None },
        http_url: urls.http_url(),
        server_version: format!("Pulsar Server 4.2.0 (Meridian {})", env!("CARGO_PKG_VERSION")),
        message_bytes_max: config.message_bytes_max,
        keep_alive: Duration::from_secs(config.keep_alive_s),
        auth_check: Duration::from_secs(config.auth_check_s),
        pending_bytes_max: 64 << 20,
        topic_cache_bytes: 16 << 20,
        cache_bytes_max: 128 << 20,
        connections_max: 50_000,
        rehearsal: None,
    }
}

/// With others beside it a bookie is slower to forget: a ledger that nobody lists may be in the hands of a slow node.
fn bookie_options(me: Me) -> BookieOptions {
    let standard = BookieOptions::standard();
    if me.shared { BookieOptions { orphan_grace: ORPHAN_GRACE, ..standard } } else { standard }
}

/// How a region of several nodes looks after itself.
fn set_options(machines: &mut Node, config: &ServerConfig) {
    let (lost_after, rate) = (Duration::from_secs(config.node.lost_after_s), config.node.repair_bytes_per_s);
    machines.set_auditor_options(::cluster::AuditorOptions::new(lost_after, rate));
    let balance = &config.node.balance;
    let every = ::cluster::BalanceOptions::every(Duration::from_secs(balance.interval_s.max(1)));
    let enabled = balance.enabled && balance.shedding;
    let excluded = balance.excluded.clone();
    machines.set_balance_options(::cluster::BalanceOptions { enabled, excluded, ..every });
    machines.set_split_limits(SplitLimits {
        enabled: balance.enabled && balance.split,
        topics: balance.bundle_topics_max,
        messages_per_s: balance.bundle_messages_max,
        mebibytes_per_s: balance.bundle_mebibytes_max,
        bundles: balance.bundles_max,
    });
}

fn defaults(config: &ServerConfig) -> BrokerDefaults {
    BrokerDefaults { max_message_bytes: config.message_bytes_max, ..BrokerDefaults::standalone() }
}

/// Starts the node's thread; connections can be read on it, too.
fn spawn_node(
    shard: Shard,
    inputs: tokio::sync::mpsc::Receiver<ShardInput>,
    node: NodeHandle,
    message_bytes_max: u32,
) -> Result<(JoinHandle<LogDevice>, ConnContext), BootError> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(io_error("start the node thread"))?;
    let context = ConnContext { node, thread: runtime.handle().clone(), load: shard.load(), message_bytes_max };
    let run = async move {
        let device = shard.run(inputs).await;
        // Connections that are read here go back to the pool with what their peers have not taken yet.
        for _ in 0..LAST_TURNS {
            tokio::task::yield_now().await;
        }
        device
    };
    let thread = std::thread::Builder::new()
        .name("meridian-node".to_owned())
        .spawn(move || runtime.block_on(run))
        .map_err(io_error("start the node thread"))?;
    Ok((thread, context))
}

async fn accept(listener: TcpListener, pool: Handle, context: ConnContext) {
    let entrance = Entrance::new("pulsar", PULSAR_GUESTS);
    let mut last = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                last += 1;
                let guest = entrance.admit(peer.ip());
                task::spawn(&pool, "connection", conn::serve(stream, ConnId(last), guest, context.clone()));
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                // Out of file descriptors: others must close first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn open_metadata(
    config: &ServerConfig,
    identity: &Identity,
    mut entry: Option<&mut Entry>,
) -> Result<Storage, BootError> {
    let fatal = |error: meta::MetaFatal| stop::storage_failed("the metadata log", &error);
    let options = entry.as_ref().map_or_else(|| MetaOptions::single(SOLE), |entry| entry.meta_options());
    let meta = MetaStore::open(&config.data.join("meta"), options, fatal)
        .await
        .map_err(|error| BootError::Storage(error.to_string()))?;
    let handle = meta.handle();
    if let Some(entry) = &mut entry {
        entry.reach_metadata(config, &handle).await?;
    }
    let number = records::own_number(&handle, config, identity).await?;
    if config.create_defaults {
        records::create_defaults(&handle, &config.region).await?;
    }
    let ledgers = records::list_ledgers(&handle, number).await?;
    let prefixes = Broker::watched_prefixes();
    let watch = handle.watch(&prefixes).await.map_err(|error| BootError::Storage(error.to_string()))?;
    Ok(Storage { meta, number, ledgers, watch })
}
