//! Starting a server, in the order in which its parts need each other, and stopping it.

use crate::clock::Clock;
use crate::config::{ConfigError, ServerConfig};
use crate::geo::{self, GeoHandle};
use crate::lock::DataLock;
use crate::shard::{Executors, NodeHandle, Shard, ShardInput};
use crate::watch::{feed_snapshot, watch};
use crate::{conn, http, stop, task};
use admin::{AdminApi, AdminOptions};
use base::{LedgerId, NodeId, RegionId, RegionName, Rng};
use bookie::{Bookie, BookieOptions};
use broker::io::ConnId;
use broker::{Broker, BrokerOptions, Core};
use disk::{DiskOptions, LogDevice};
use meta::{MetaHandle, MetaOptions, MetaStore, Watch};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use node::{ADMIN_OWNER, Node};
use quic::{Identity, QuicConfig, QuicLimits};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;
use tenancy::keys::{self, Key};
use tenancy::{BrokerDefaults, ClusterData, Policies, PolicyRecord, TenantInfo};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use wire::commands::BrokerUrls;

/// The only node of its region so far.
const NODE: NodeId = NodeId(1);
/// Keys read at once.
const PAGE: u32 = 1000;

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
    known_ledgers: BTreeSet<LedgerId>,
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
        std::fs::create_dir_all(&config.data)
            .map_err(io_error(format!("create the data folder {}", config.data.display())))?;
        let lock = DataLock::take(&config.data)
            .map_err(io_error(format!("lock the data folder {}", config.data.display())))?
            .ok_or_else(|| BootError::Busy(config.data.clone()))?;
        let pool = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("meridian-io")
            .enable_all()
            .build()
            .map_err(io_error("start threads"))?;
        let clock = Clock::start();
        let listeners = pool.block_on(listen(&config))?;
        let (node, inputs) = NodeHandle::channel();
        let device_node = node.clone();
        let (device, log) = LogDevice::open(
            &config.data.join("log"),
            DiskOptions::standard(),
            move |event| device_node.send_blocking(ShardInput::Disk(event)),
            |error| stop::storage_failed("the message log", &error),
        )
        .map_err(|error| BootError::Storage(error.to_string()))?;
        let identity = Identity::load_or_create(&config.data.join("identity"), &config.region)
            .map_err(|error| BootError::Storage(error.to_string()))?;
        let storage = pool.block_on(open_metadata(&config, &identity, &listeners, clock.now().wall_ms))?;
        let seed = seed_of(clock.now().wall_ms, std::process::id());
        let (geo, geo_events) = pool.block_on(async { open_quic(&config, storage.number, identity, seed) })?;
        let urls = Urls::of(&config, &listeners, geo.local_addr());
        pool.block_on(publish_own_cluster(&storage.meta.handle(), &config, &urls))?;

        let core = Core::new(
            broker_options(&config, &urls, storage.number),
            defaults(&config),
            authenticator,
            config.authorization(),
        );
        let broker = Broker::new(core, Rng::new(seed).fork("broker"));
        let bookie = Bookie::new(NODE, BookieOptions::standard(), log);
        let admin = AdminApi::new(AdminOptions { owner: ADMIN_OWNER });
        let mut first = Vec::new();
        let mut machines = Node::new(clock.now(), NODE, broker, bookie, admin, &storage.known_ledgers, &mut first);
        let clusters = feed_snapshot(&mut machines, clock, &storage.watch, &mut first);
        geo.set_peers(&config.region, &clusters);

        let executors = Executors {
            clock,
            device,
            meta: storage.meta.handle(),
            geo: geo.clone(),
            pool: pool.handle().clone(),
            node: node.clone(),
        };
        let shard = Shard::new(machines, executors, first);
        let thread = spawn_node(shard, inputs)?;
        let server_pool = pool.handle();
        task::spawn(server_pool, "quic-events", geo::pump(geo.clone(), geo_events, node.clone()));
        task::spawn(
            server_pool,
            "meta-watch",
            watch(storage.watch, node.clone(), geo, config.region.clone(), clusters),
        );
        task::spawn(server_pool, "http", http::serve(listeners.http, node.clone(), pool.handle().clone()));
        let accept = accept(listeners.pulsar, node.clone(), pool.handle().clone(), config.message_bytes_max);
        task::spawn(server_pool, "pulsar", accept);
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

/// Addresses that are known once the listeners are open.
struct Urls {
    host: String,
    pulsar: SocketAddr,
    http: SocketAddr,
    quic: SocketAddr,
}

impl Urls {
    fn of(config: &ServerConfig, listeners: &Listeners, quic: SocketAddr) -> Self {
        let unknown = SocketAddr::new(config.bind, 0);
        let host = config.advertised.clone().unwrap_or_else(|| config.bind.to_string());
        Self {
            host,
            pulsar: listeners.pulsar.local_addr().unwrap_or(unknown),
            http: listeners.http.local_addr().unwrap_or(unknown),
            quic,
        }
    }

    fn pulsar_url(&self) -> String {
        format!("pulsar://{}:{}", self.host, self.pulsar.port())
    }

    fn http_url(&self) -> String {
        format!("http://{}:{}", self.host, self.http.port())
    }

    fn quic_url(&self) -> String {
        format!("quic://{}:{}", self.host, self.quic.port())
    }
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

fn broker_options(config: &ServerConfig, urls: &Urls, number: RegionId) -> BrokerOptions {
    BrokerOptions {
        node: NODE,
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

fn defaults(config: &ServerConfig) -> BrokerDefaults {
    BrokerDefaults { max_message_bytes: config.message_bytes_max, ..BrokerDefaults::standalone() }
}

fn spawn_node(
    shard: Shard,
    inputs: tokio::sync::mpsc::Receiver<ShardInput>,
) -> Result<JoinHandle<LogDevice>, BootError> {
    let runtime = Builder::new_current_thread().enable_time().build().map_err(io_error("start the node thread"))?;
    std::thread::Builder::new()
        .name("meridian-node".to_owned())
        .spawn(move || runtime.block_on(shard.run(inputs)))
        .map_err(io_error("start the node thread"))
}

async fn accept(listener: TcpListener, node: NodeHandle, pool: tokio::runtime::Handle, message_bytes_max: u32) {
    let mut last = 0;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                last += 1;
                let serve = conn::serve(stream, ConnId(last), node.clone(), message_bytes_max);
                task::spawn(&pool, "connection", serve);
            }
            Err(error) => {
                tracing::warn!("a connection could not be accepted: {error}");
                // Out of file descriptors: others must close first.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

// ---- metadata ----

async fn open_metadata(
    config: &ServerConfig,
    identity: &Identity,
    listeners: &Listeners,
    wall_ms: u64,
) -> Result<Storage, BootError> {
    let fatal = |error: meta::MetaFatal| stop::storage_failed("the metadata log", &error);
    let meta = MetaStore::open(&config.data.join("meta"), MetaOptions::single(NODE), fatal)
        .await
        .map_err(|error| BootError::Storage(error.to_string()))?;
    let handle = meta.handle();
    let number = own_number(&handle, config, identity).await?;
    if config.create_defaults {
        create_defaults(&handle, &config.region).await?;
    }
    let _ = (listeners, wall_ms);
    let known_ledgers = known_ledgers(&handle).await?;
    let prefixes = Broker::watched_prefixes();
    let watch = handle.watch(&prefixes).await.map_err(|error| BootError::Storage(error.to_string()))?;
    Ok(Storage { meta, number, known_ledgers, watch })
}

async fn get<T: serde::de::DeserializeOwned>(meta: &MetaHandle, key: &str) -> Result<Option<(T, u64)>, BootError> {
    match meta.request(MetaRequest::Get { key: key.to_owned() }).await {
        MetaResponse::Value(None) => Ok(None),
        MetaResponse::Value(Some(found)) => {
            let value = serde_json::from_slice(&found.value)
                .map_err(|error| BootError::Storage(format!("metadata record {key} is damaged: {error}")))?;
            Ok(Some((value, found.version)))
        }
        other => Err(BootError::Storage(format!("metadata record {key} cannot be read: {other:?}"))),
    }
}

async fn put_if_absent<T: serde::Serialize>(meta: &MetaHandle, key: String, value: &T) -> Result<(), BootError> {
    let value = serde_json::to_vec(value).map_err(|error| BootError::Storage(error.to_string()))?;
    let compare = vec![Compare::Absent { key: key.clone() }];
    let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key: key.clone(), value: value.into() }] };
    match meta.request(request).await {
        MetaResponse::Committed { .. } | MetaResponse::Conflict { .. } => Ok(()),
        other => Err(BootError::Storage(format!("metadata record {key} cannot be written: {other:?}"))),
    }
}

/// The number of this region: what was agreed at the first start, or chosen now.
async fn own_number(meta: &MetaHandle, config: &ServerConfig, identity: &Identity) -> Result<RegionId, BootError> {
    let key = keys::cluster_key(&config.region);
    if let Some((known, _)) = get::<ClusterData>(meta, &key).await?
        && let Some(number) = known.number
    {
        if config.region_number.is_some_and(|wanted| wanted != number) {
            let rule =
                format!("region {} has number {number} on this data folder; numbers never change", config.region);
            return Err(ConfigError::new("--region-number", rule).into());
        }
        return Ok(number);
    }
    let number = config.region_number.unwrap_or_else(|| number_of(&config.region));
    let data = ClusterData {
        number: Some(number),
        replicator_trust: Some(identity.ca_pem().to_owned()),
        ..ClusterData::default()
    };
    put_if_absent(meta, key, &data).await?;
    Ok(number)
}

/// 1 to 255 from the name, the same on every machine.
fn number_of(region: &RegionName) -> RegionId {
    let hash = region
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    RegionId(u8::try_from(hash % 255).unwrap_or(0) + 1)
}

async fn create_defaults(meta: &MetaHandle, region: &RegionName) -> Result<(), BootError> {
    for tenant in ["public", "pulsar"] {
        let Ok(name) = base::TenantName::parse(tenant) else { continue };
        let info = TenantInfo { allowed_clusters: BTreeSet::from([region.clone()]), ..TenantInfo::default() };
        put_if_absent(meta, keys::tenant_key(&name), &info).await?;
    }
    for (tenant, local) in [("public", "default"), ("pulsar", "system")] {
        let Ok(name) = base::NamespaceName::new(tenant, local) else { continue };
        let policies = Policies::default().at_creation(region);
        let record = PolicyRecord { policies, version: 1, writer: Some(region.clone()), ..PolicyRecord::default() };
        put_if_absent(meta, keys::namespace_key(&name), &record).await?;
    }
    Ok(())
}

/// Writes down where this region is reached now.
async fn publish_own_cluster(meta: &MetaHandle, config: &ServerConfig, urls: &Urls) -> Result<(), BootError> {
    let key = keys::cluster_key(&config.region);
    let Some((mut data, version)) = get::<ClusterData>(meta, &key).await? else { return Ok(()) };
    let before = data.clone();
    data.service_url = Some(urls.http_url());
    data.broker_service_url = Some(urls.pulsar_url());
    data.replicator_url = Some(urls.quic_url());
    if data == before {
        return Ok(());
    }
    let value = serde_json::to_vec(&data).map_err(|error| BootError::Storage(error.to_string()))?;
    let compare = vec![Compare::Version { key: key.clone(), version }];
    let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key, value: value.into() }] };
    match meta.request(request).await {
        MetaResponse::Committed { .. } => Ok(()),
        other => Err(BootError::Storage(format!("the region's own cluster record cannot be written: {other:?}"))),
    }
}

async fn known_ledgers(meta: &MetaHandle) -> Result<BTreeSet<LedgerId>, BootError> {
    let mut known = BTreeSet::new();
    let mut after = None;
    loop {
        let request = MetaRequest::Range { prefix: keys::LEDGERS.to_owned(), after: after.clone(), limit: PAGE };
        let MetaResponse::Range { items, more } = meta.request(request).await else {
            return Err(BootError::Storage("the list of ledgers cannot be read from the metadata".to_owned()));
        };
        for (key, _) in &items {
            if let Some(Key::Ledger(ledger)) = Key::parse(key) {
                known.insert(ledger);
            }
        }
        match items.into_iter().next_back() {
            Some((key, _)) if more => after = Some(key),
            _ => return Ok(known),
        }
    }
}
