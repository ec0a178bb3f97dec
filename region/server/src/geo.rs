//! Glue between the node and the QUIC endpoint: who the peers are, frames out, frames in.
//!
//! **Invariants**
//! - I1  frames of one region leave in the order in which the node gave them; while the endpoint is full they wait here,
//!   bounded by [`WAITING_FRAMES_MAX`]. Beyond that frames are dropped: the link protocol notices the gap and rewinds.

use crate::shard::{NodeHandle, ShardInput};
use base::RegionName;
use quic::{Peer, PeerAddress, QuicConfig, QuicEndpoint, QuicEvent, SendRefusal, Sent, Trust};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tenancy::ClusterData;
use tokio::sync::mpsc;
use wire::region::RegionFrame;

/// Frames that wait for one region while its connection is full.
const WAITING_FRAMES_MAX: usize = 100_000;
/// Events of the endpoint that wait to be passed on; the endpoint's permits bound their bytes.
const EVENTS_MAX: usize = 65_536;

#[derive(Debug, Default)]
struct Outgoing {
    full: bool,
    waiting: VecDeque<(u64, RegionFrame)>,
}

/// Whom to connect to, and whether at all: only the gateway of a region does (ADR 0010).
#[derive(Debug, Default)]
struct Peers {
    known: Vec<Peer>,
    active: bool,
}

/// Sends frames to other regions, from the node thread.
#[derive(Clone, Debug)]
pub(crate) struct GeoHandle {
    endpoint: Arc<QuicEndpoint>,
    peers: Arc<Mutex<Peers>>,
    regions: Arc<Mutex<BTreeMap<RegionName, Outgoing>>>,
}

impl GeoHandle {
    /// Opens the endpoint; what it reports is handed to [`pump`].
    ///
    /// # Errors
    /// As [`QuicEndpoint::open`].
    pub(crate) fn open(config: QuicConfig) -> Result<(Self, mpsc::Receiver<QuicEvent>), quic::OpenError> {
        let (events, receiver) = mpsc::channel(EVENTS_MAX);
        let endpoint = QuicEndpoint::open(config, move |event| {
            // Bounded by the endpoint's own permits; a full queue means that the node hangs, and then losing a frame is
            // harmless: links rewind.
            let _ = events.try_send(event);
        })?;
        Ok((Self { endpoint: Arc::new(endpoint), peers: Arc::default(), regions: Arc::default() }, receiver))
    }

    pub(crate) fn local_addr(&self) -> std::net::SocketAddr {
        self.endpoint.local_addr()
    }

    /// Sends a frame or keeps it until there is room.
    pub(crate) fn send(&self, to: &RegionName, group: u64, frame: RegionFrame) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let out = regions.entry(to.clone()).or_default();
        if !out.waiting.is_empty() || out.full {
            if out.waiting.len() < WAITING_FRAMES_MAX {
                out.waiting.push_back((group, frame));
            }
            return;
        }
        out.full = self.pass(to, group, frame, &mut out.waiting);
    }

    /// Hands one frame over; true when the endpoint wants no more.
    fn pass(
        &self,
        to: &RegionName,
        group: u64,
        frame: RegionFrame,
        waiting: &mut VecDeque<(u64, RegionFrame)>,
    ) -> bool {
        match self.endpoint.send(to, group, frame) {
            Ok(Sent::Room) => false,
            Ok(Sent::Full) => true,
            Err(refused) => match refused.refusal {
                // Links send again when the region is back.
                SendRefusal::Down => false,
                SendRefusal::Overflow => {
                    waiting.push_front((group, *refused.frame));
                    true
                }
            },
        }
    }

    fn handle_writable(&self, region: &RegionName) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(out) = regions.get_mut(region) else { return };
        out.full = false;
        while !out.full
            && let Some((group, frame)) = out.waiting.pop_front()
        {
            out.full = self.pass(region, group, frame, &mut out.waiting);
        }
    }

    fn handle_down(&self, region: &RegionName) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.remove(region);
    }

    /// Whether this node holds the region's connections to others.
    pub(crate) fn set_active(&self, active: bool) {
        self.change_peers(|peers| peers.active = active);
    }

    fn change_peers(&self, change: impl FnOnce(&mut Peers)) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut peers);
        self.endpoint.set_peers(if peers.active { peers.known.clone() } else { Vec::new() });
    }

    /// Notes the regions that are registered as clusters with a replicator; the gateway connects to them.
    pub(crate) fn set_peers(&self, own: &RegionName, clusters: &BTreeMap<RegionName, ClusterData>) {
        let peers =
            clusters.iter().filter(|(name, _)| *name != own).filter_map(|(name, data)| peer(name, data)).collect();
        self.change_peers(|held| held.known = peers);
    }
}

fn peer(name: &RegionName, data: &ClusterData) -> Option<Peer> {
    let (url, trust, number) = (data.replicator_url.as_ref()?, data.replicator_trust.as_ref()?, data.number?);
    let urls = match PeerAddress::parse_url(url) {
        Ok(urls) => urls,
        Err(error) => {
            tracing::warn!("region {name} is not connected: {error}");
            return None;
        }
    };
    match Trust::parse(trust) {
        Ok(trust) => Some(Peer { region: name.clone(), number, urls, trust }),
        Err(error) => {
            tracing::warn!("region {name} is not connected: {error}");
            None
        }
    }
}

/// Passes the endpoint's events to the node.
pub(crate) async fn pump(geo: GeoHandle, mut events: mpsc::Receiver<QuicEvent>, node: NodeHandle) {
    while let Some(event) = events.recv().await {
        let input = match event {
            QuicEvent::Up { region, .. } => {
                tracing::info!("region {region} is connected");
                ShardInput::RegionUp { region }
            }
            QuicEvent::Down { region, reason } => {
                tracing::info!("region {region} is disconnected: {reason}");
                geo.handle_down(&region);
                ShardInput::RegionDown { region, reason }
            }
            QuicEvent::Frame { region, frame, permit } => ShardInput::Region { from: region, frame, permit },
            QuicEvent::Writable { region } => {
                geo.handle_writable(&region);
                continue;
            }
            QuicEvent::Unreachable { region, reason } => {
                tracing::info!("region {region} cannot be reached: {reason}");
                continue;
            }
        };
        if node.send(input).await.is_err() {
            return;
        }
    }
}
