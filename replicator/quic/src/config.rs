//! What an endpoint is told: its own address and identity, its limits, its peers.

use crate::{Identity, OpenError, Trust};
use base::{RegionId, RegionName};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

/// Streams that a peer may open to us: its control stream and up to this many for data.
pub(crate) const STREAMS_MAX: u16 = 256;

/// One endpoint. There is one per process.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// UDP address to listen on and to dial from.
    pub bind: SocketAddr,
    /// This region's name and number, told to every peer.
    pub region: RegionName,
    pub number: RegionId,
    pub identity: Identity,
    /// A random number, new in every process: tells a restarted peer from a second connection of the same one, and
    /// seeds the jitter of reconnecting.
    pub instance: u64,
    pub limits: QuicLimits,
}

/// How the sending rate follows the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Congestion {
    /// Keeps its rate under random loss; what a WAN needs.
    Bbr,
    Cubic,
}

/// Bounds and times of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuicLimits {
    /// Ordered streams for link frames in each direction, 1 to 256; groups are spread over them.
    pub streams: u16,
    /// Frames queued for one peer before `send` reports [`crate::Sent::Full`], in bytes. Up to twice this is
    /// accepted, of answers and policies three times.
    pub queue_bytes_max: u64,
    /// Frames of one peer handed out and not yet dropped by the owner, in bytes (a frame counts for 1 KiB at least); then
    /// its streams are not read. Answers and policies have 8 MiB of their own.
    pub inbound_bytes_max: u32,
    /// Largest accepted frame, in bytes.
    pub frame_bytes_max: u32,
    /// Received and not yet read, per stream and per connection, in bytes.
    pub stream_window_bytes: u32,
    pub connection_window_bytes: u32,
    /// Sent and not yet acknowledged by the peer's transport, per connection, in bytes.
    pub send_window_bytes: u64,
    /// Handshakes under way before new ones must prove their address, and before they are refused.
    pub handshakes_before_retry: usize,
    pub handshakes_max: usize,
    pub congestion: Congestion,
    /// A connection that hears nothing for this long is gone.
    pub idle_timeout: Duration,
    pub keep_alive: Duration,
    /// TLS and the exchange of `Hello` take at most this long.
    pub handshake_timeout: Duration,
    /// First pause between attempts to connect; doubled up to `backoff_max`, with ± 50 % jitter.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
}

impl QuicLimits {
    /// Sized for 1 Gbit/s over 100 ms: windows of twice the bandwidth-delay product and more.
    pub fn standard() -> Self {
        Self {
            streams: 32,
            queue_bytes_max: 16 << 20,
            inbound_bytes_max: 32 << 20,
            frame_bytes_max: 8 << 20,
            stream_window_bytes: 32 << 20,
            connection_window_bytes: 64 << 20,
            send_window_bytes: 64 << 20,
            handshakes_before_retry: 64,
            handshakes_max: 256,
            congestion: Congestion::Bbr,
            idle_timeout: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
        }
    }

    /// Refuses what would never work.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let rules = [
            ((1..=STREAMS_MAX).contains(&self.streams), "streams is from 1 to 256"),
            (self.queue_bytes_max > 0 && self.inbound_bytes_max > 0, "the bounds of queues are above 0"),
            (self.keep_alive < self.idle_timeout, "keep-alive is shorter than the idle timeout"),
            (self.connection_window_bytes < 1 << 30, "windows are below 1 GiB"),
            (self.stream_window_bytes <= self.connection_window_bytes, "a stream's window fits the connection's"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(OpenError::Limits { rule }),
            None => Ok(()),
        }
    }
}

/// A region to stay connected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub region: RegionName,
    pub number: RegionId,
    /// Tried in turn. Empty: this region never dials and waits for the peer to do so.
    pub urls: Vec<PeerAddress>,
    pub trust: Trust,
}

/// `host:port` of a peer; the host is a name or an IP address and is resolved anew for every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress(String);

/// A replicator URL that names no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replicator address '{text}': {rule}; write quic://host:port[,host:port]")]
pub struct PeerAddressError {
    pub text: String,
    pub rule: &'static str,
}

impl PeerAddress {
    /// Reads a `replicatorUrl`: `quic://host:port[,host:port]`.
    ///
    /// # Errors
    /// [`PeerAddressError`] naming the first part that is no address.
    pub fn parse_url(url: &str) -> Result<Vec<Self>, PeerAddressError> {
        let refuse = |rule| PeerAddressError { text: url.chars().take(200).collect(), rule };
        let list = url.strip_prefix("quic://").ok_or_else(|| refuse("it does not start with quic://"))?;
        list.trim_end_matches('/').split(',').map(str::parse).collect()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeerAddress {
    type Err = PeerAddressError;

    fn from_str(text: &str) -> Result<Self, PeerAddressError> {
        let refuse = |rule| PeerAddressError { text: text.chars().take(200).collect(), rule };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| refuse("the port is missing"))?;
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        if port.parse::<u16>().is_err() {
            return Err(refuse("the port is not a number from 0 to 65535"));
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(refuse("an IPv6 address stands in brackets"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicator_url_names_one_or_more_addresses() {
        let one: Vec<_> = PeerAddress::parse_url("quic://geo.example.com:6660").unwrap();
        assert_eq!(one.iter().map(PeerAddress::as_str).collect::<Vec<_>>(), ["geo.example.com:6660"]);
        let two = PeerAddress::parse_url("quic://10.0.0.1:6660,[::1]:6661/").unwrap();
        assert_eq!(two.iter().map(PeerAddress::as_str).collect::<Vec<_>>(), ["10.0.0.1:6660", "[::1]:6661"]);
    }

    #[test]
    fn a_replicator_url_that_names_no_address_is_refused_with_the_rule() {
        for (url, rule) in [
            ("pulsar://a:1", "it does not start with quic://"),
            ("quic://a", "the port is missing"),
            ("quic://:1", "the host is missing"),
            ("quic://a:70000", "the port is not a number from 0 to 65535"),
            ("quic://::1:6660", "an IPv6 address stands in brackets"),
        ] {
            assert_eq!(PeerAddress::parse_url(url).unwrap_err().rule, rule, "{url}");
        }
    }
}
