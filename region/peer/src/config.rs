//! What an endpoint is told: its address, its region's identity, its limits, and what it says of itself.

use base::{NodeId, RegionName};
use identity::Identity;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// One endpoint. There is one per process.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// TCP address to listen on.
    pub bind: SocketAddr,
    pub region: RegionName,
    /// The region's certificates, the same on all its nodes.
    pub identity: Identity,
    /// Whether frames travel encrypted. They do unless both nodes of a connection say no: then it is opened with TLS and the
    /// certificates of both, and goes on without. Pings and calls always travel encrypted.
    pub encrypt_bulk: bool,
    pub limits: PeerLimits,
    /// What this node says of itself until [`crate::PeerEndpoint::set_hello`] changes it.
    pub hello: Hello,
}

/// What a node says of itself when a connection opens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub region: RegionName,
    /// `None`: it has not joined yet, so it may ask and nothing else.
    pub node: Option<NodeId>,
    /// One more with each start of the node.
    pub incarnation: u64,
    /// The secret of the node's disk; see [`crate::PeerEndpoint::expect`].
    pub cookie: u64,
    /// `host:port` where others reach it.
    pub address: String,
}

/// Bounds and times of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerLimits {
    /// Largest frame, call or answer, in bytes.
    pub frame_bytes_max: u32,
    /// Queued for one connection before frames are refused, in bytes; one frame may exceed it.
    pub queue_bytes_max: u64,
    /// Bookie frames of one node handed out and not yet let go, in bytes (a frame counts for 1 KiB at least).
    pub inbound_bytes_max: u32,
    /// The same for calls. A node that lets none of them go for `silence_max` appears silent.
    pub control_inbound_bytes_max: u32,
    /// Calls of ours to one node that wait for their answers.
    pub calls_max: usize,
    /// Calls of one node that are being answered here; more are told to come again.
    pub answers_max: usize,
    /// Connections whose certificate or hello is not yet known.
    pub strangers_max: usize,
    /// Connections of nodes that ask before they have a number.
    pub askers_max: usize,
    /// Nodes that may be connected.
    pub nodes_max: usize,
    /// TCP, TLS and hello of one attempt take at most this long.
    pub handshake_timeout: Duration,
    pub ping_interval: Duration,
    /// A node that is heard nothing of for this long is down.
    pub silence_max: Duration,
    /// First pause between attempts to connect, at most 250 ms; doubled up to `backoff_max`, at most 1 s.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl PeerLimits {
    /// For nodes in one data centre or in neighbouring ones.
    pub fn standard() -> Self {
        Self {
            frame_bytes_max: 16 << 20,
            queue_bytes_max: 64 << 20,
            inbound_bytes_max: 64 << 20,
            control_inbound_bytes_max: 32 << 20,
            calls_max: 1024,
            answers_max: 256,
            strangers_max: 64,
            askers_max: 64,
            nodes_max: 256,
            handshake_timeout: Duration::from_secs(3),
            ping_interval: Duration::from_millis(200),
            silence_max: Duration::from_secs(1),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
        }
    }

    /// Refuses what would never work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let frame = self.frame_bytes_max;
        let rules = [
            ((1..=16 << 20).contains(&frame), "a frame has 1 byte to 16 MiB"),
            (self.queue_bytes_max > 0, "the bound of queues is above 0"),
            (self.inbound_bytes_max >= frame, "inbound_bytes_max holds one frame"),
            (self.control_inbound_bytes_max >= frame, "control_inbound_bytes_max holds one frame"),
            (self.inbound_bytes_max <= 1 << 30, "inbound_bytes_max is at most 1 GiB"),
            (self.control_inbound_bytes_max <= 1 << 30, "control_inbound_bytes_max is at most 1 GiB"),
            (self.strangers_max > 0 && self.askers_max > 0 && self.nodes_max > 0, "somebody may connect"),
            (self.calls_max > 0 && self.answers_max > 0, "at least one call is allowed"),
            (self.ping_interval > Duration::ZERO, "pings have a pace"),
            (self.ping_interval < self.silence_max, "pings come more often than silence_max"),
            (self.backoff_min <= Duration::from_millis(250), "backoff_min is at most 250 ms"),
            (self.backoff_max <= Duration::from_secs(1), "backoff_max is at most 1 s"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(OpenError::Limits { rule }),
            None => Ok(()),
        }
    }
}

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot listen on {bind} (TCP)")]
    Bind {
        bind: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("region identity: {rule}")]
    Identity { rule: String },
    #[error("peer limits: {rule}")]
    Limits { rule: &'static str },
    #[error("the endpoint is of region {region} and its hello says {said}")]
    Region { region: RegionName, said: RegionName },
    #[error("no tokio runtime to run in")]
    NoRuntime,
}
