//! The handle of the owner: peers in, frames in, events out.

use crate::{Peer, QuicConfig, QuicEvent};
use base::{RegionId, RegionName};
use std::net::SocketAddr;
use wire::region::RegionFrame;

/// Why the endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("cannot listen on {bind} (UDP)")]
    Bind {
        bind: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("region identity: {rule}")]
    Identity { rule: String },
}

/// The frame was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Room,
    /// Send no more until [`QuicEvent::Writable`].
    Full,
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefusal {
    /// No connection to that region.
    Down,
    /// The sender went on long after [`Sent::Full`].
    Overflow,
}

/// A frame that was not taken comes back.
#[derive(Debug, PartialEq, Eq)]
pub struct SendRefused {
    pub refusal: SendRefusal,
    pub frame: RegionFrame,
}

/// One peer, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    pub region: RegionName,
    pub number: RegionId,
    pub connected: bool,
    /// Why not, when not.
    pub reason: Option<String>,
    pub remote_address: Option<SocketAddr>,
    pub rtt_us: u64,
    pub queued_bytes: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    pub lost_packets: u64,
}

/// The region's end of all connections to other regions. Dropping it closes them without a word; see `close`.
#[derive(Debug)]
pub struct QuicEndpoint {
    local: SocketAddr,
}

impl QuicEndpoint {
    /// Listens and starts to serve; call within a tokio runtime. `events` is called from tasks of that runtime and must
    /// not block.
    ///
    /// # Errors
    /// [`OpenError`] when the address is taken or the identity unusable.
    pub fn open(
        config: QuicConfig,
        events: impl Fn(QuicEvent) + Send + Sync + 'static,
    ) -> Result<Self, OpenError> {
        let _ = (config, events);
        unimplemented!()
    }

    /// Replaces the peers: new ones are dialled, missing ones are disconnected, changed ones are connected anew.
    pub fn set_peers(&self, peers: Vec<Peer>) {
        let _ = peers;
        unimplemented!()
    }

    /// Queues a frame for a region; frames of one `group` arrive in order. `Opened`, `Refused`, `Ack`, `Rewind` and
    /// `Policy` keep their order among themselves instead and overtake bulk data.
    ///
    /// # Errors
    /// [`SendRefused`] gives the frame back.
    pub fn send(&self, region: &RegionName, group: u64, frame: RegionFrame) -> Result<Sent, SendRefused> {
        let _ = (region, group, frame);
        unimplemented!()
    }

    /// The address in use, with the port that the system chose for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// All peers, in order of their names.
    pub fn status(&self) -> Vec<PeerStatus> {
        Vec::new()
    }

    /// Closes all connections, telling the peers, and waits briefly until they know.
    pub async fn close(self) {}
}
