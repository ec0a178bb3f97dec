//! What all tasks of an endpoint share.

use crate::config::{Hello, PeerConfig, PeerLimits};
use crate::event::{Answerer, PeerEvent};
use crate::face::Face;
use crate::near::Near;
use crate::{OpenError, greeting};
use base::{NodeId, RegionName};
use identity::{Identity, RegionVerifier, Trust};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

/// Chosen by both sides in the handshake; anything else is no node of a region.
const PROTOCOL: &[u8] = b"meridian-peer/1";
/// Refused strangers are logged at most this often; the others are counted.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct Shared {
    pub(crate) region: RegionName,
    pub(crate) limits: PeerLimits,
    pub(crate) client: Arc<rustls::ClientConfig>,
    pub(crate) server: Arc<rustls::ServerConfig>,
    /// Of the region's certificate authority.
    pub(crate) fingerprint: String,
    pub(crate) encrypt_bulk: bool,
    pub(crate) hello: watch::Sender<Arc<Hello>>,
    pub(crate) answerer: Arc<dyn Answerer>,
    pub(crate) askers: Arc<Semaphore>,
    /// Calls of ours to addresses.
    pub(crate) asking: Semaphore,
    pub(crate) near: OnceLock<Near>,
    events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    expected: Mutex<BTreeMap<NodeId, u64>>,
    faces: Mutex<BTreeMap<NodeId, Arc<Face>>>,
    sessions: AtomicU64,
    complaints: Mutex<Complaints>,
}

#[derive(Default)]
struct Complaints {
    last: Option<Instant>,
    unsaid: u64,
}

impl Shared {
    pub(crate) fn new(
        config: PeerConfig,
        answerer: Arc<dyn Answerer>,
        events: Box<dyn Fn(PeerEvent) + Send + Sync>,
    ) -> Result<Self, OpenError> {
        let PeerConfig { bind: _, region, identity, encrypt_bulk, limits, hello } = config;
        limits.check()?;
        if hello.region != region {
            return Err(OpenError::Region { region, said: hello.region });
        }
        let unusable = |rule| OpenError::Identity { rule };
        let (client, server) = tls_configs(&identity, &region).map_err(unusable)?;
        Ok(Self {
            region,
            client: Arc::new(client),
            server: Arc::new(server),
            fingerprint: identity.fingerprint(),
            encrypt_bulk,
            hello: watch::Sender::new(Arc::new(hello)),
            answerer,
            askers: Arc::new(Semaphore::new(limits.askers_max)),
            asking: Semaphore::new(limits.askers_max),
            near: OnceLock::new(),
            events,
            expected: Mutex::default(),
            faces: Mutex::default(),
            sessions: AtomicU64::new(1),
            complaints: Mutex::default(),
            limits,
        })
    }

    pub(crate) fn emit(&self, event: PeerEvent) {
        (self.events)(event);
    }

    /// Tells that a node was heard, unless that was just told.
    pub(crate) fn heard(&self, node: NodeId, face: &Face) {
        if face.is_news() {
            self.emit(PeerEvent::Heard { node });
        }
    }

    pub(crate) fn hello(&self) -> Arc<Hello> {
        Arc::clone(&self.hello.borrow())
    }

    /// The number of a new session, larger than all before in this process.
    pub(crate) fn next_session(&self) -> u64 {
        self.sessions.fetch_add(1, Ordering::Relaxed)
    }

    /// What is kept of a node; `None` when there are too many.
    pub(crate) fn face(&self, node: NodeId) -> Option<Arc<Face>> {
        let mut faces = lock(&self.faces);
        if let Some(face) = faces.get(&node) {
            return Some(Arc::clone(face));
        }
        if faces.len() >= self.limits.nodes_max {
            // Of nodes that nobody dials and that are not connected nothing has to be kept.
            faces.retain(|_, face| Arc::strong_count(face) > 1);
        }
        if faces.len() >= self.limits.nodes_max {
            return None;
        }
        let face = Arc::new(Face::new(&self.limits));
        faces.insert(node, Arc::clone(&face));
        Some(face)
    }

    /// The nodes that have dialled this one and are still there, and where they say that they listen.
    pub(crate) fn callers(&self) -> BTreeMap<NodeId, String> {
        lock(&self.faces).iter().filter_map(|(node, face)| Some((*node, face.caller()?))).collect()
    }

    pub(crate) fn expect(&self, node: NodeId, cookie: u64) {
        lock(&self.expected).insert(node, cookie);
        let face = lock(&self.faces).get(&node).cloned();
        if let Some(face) = face {
            face.expel(cookie);
        }
    }

    /// Whether the other side may speak as what its hello says.
    ///
    /// # Errors
    /// A sentence with rule and remedy.
    pub(crate) fn admit(&self, hello: &Hello) -> Result<(), String> {
        let expected = hello.node.and_then(|node| lock(&self.expected).get(&node).copied());
        greeting::admit(&self.hello(), hello, expected)
    }

    /// Logs why somebody was refused.
    pub(crate) fn complain(&self, from: SocketAddr, reason: &str) {
        let now = Instant::now();
        let mut complaints = lock(&self.complaints);
        if complaints.last.is_some_and(|last| now - last < COMPLAINT_INTERVAL) {
            complaints.unsaid += 1;
            return;
        }
        complaints.last = Some(now);
        let unsaid = std::mem::take(&mut complaints.unsaid);
        drop(complaints);
        tracing::warn!(%from, unsaid, reason, "peer: a connection was refused");
    }
}

fn tls_configs(
    identity: &Identity,
    region: &RegionName,
) -> Result<(rustls::ClientConfig, rustls::ServerConfig), String> {
    let trust = Trust::parse(identity.ca_pem()).map_err(|error| error.to_string())?;
    let verifier = RegionVerifier::new(region.clone(), trust);
    let client = identity::client_config(identity, verifier.clone(), PROTOCOL)?;
    let server = identity::server_config(identity, Arc::new(verifier), PROTOCOL)?;
    Ok((client, server))
}

/// The maps stay whole even if a holder panicked: single insertions do not.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
