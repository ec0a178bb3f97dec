//! The UDP socket and the limits of QUIC itself.
//!
//! **What**  Windows sized for the WAN and every one of them finite; large socket buffers, since a burst that the kernel
//! drops costs more than any window; no datagrams, no migration, no streams but the unidirectional ones in use.

use crate::config::STREAMS_MAX;
use crate::{Congestion, OpenError, QuicConfig, QuicLimits};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, ServerConfig, TransportConfig, VarInt};
use rustix::net::sockopt;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

/// What is asked of the kernel for each direction, in bytes; less than [`SOCKET_BUFFER_BYTES_MIN`] is worth a warning.
const SOCKET_BUFFER_BYTES: usize = 16 << 20;
const SOCKET_BUFFER_BYTES_MIN: usize = 8 << 20;
/// Largest UDP payload sought and accepted, in bytes. Fewer and larger packets cost less processor time where the path
/// (jumbo frames, loopback) carries them; what it does not carry, the search for its limit finds out. quinn hands the kernel
/// up to ten packets in one call, and all ten together must fit one IP packet: a larger burst would be lost in silence.
const UDP_PAYLOAD_BYTES_MAX: u16 = 6_500;
/// Packets that quinn 0.11 hands over in one call, and the most that one IPv4 packet carries, in bytes.
const BURST_PACKETS_MAX: u32 = 10;
const IP_PAYLOAD_BYTES_MAX: u32 = 65_507;
const _: () = assert!(UDP_PAYLOAD_BYTES_MAX as u32 * BURST_PACKETS_MAX <= IP_PAYLOAD_BYTES_MAX);
/// Packets of connections that wait to be accepted, in bytes: each and all.
const INCOMING_BYTES_MAX: u64 = 16 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 1 << 20;

/// Opens the socket and asks for large buffers.
pub(crate) fn open_socket(config: &QuicConfig) -> Result<UdpSocket, OpenError> {
    let bind = config.bind;
    let socket = UdpSocket::bind(bind).map_err(|source| OpenError::Bind { bind, source })?;
    // With the privilege the system's bound does not count; without it, what the bound allows.
    if sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
        let _ = sockopt::set_socket_recv_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    }
    if sockopt::set_socket_send_buffer_size_force(&socket, SOCKET_BUFFER_BYTES).is_err() {
        let _ = sockopt::set_socket_send_buffer_size(&socket, SOCKET_BUFFER_BYTES);
    }
    let receive_bytes = sockopt::socket_recv_buffer_size(&socket).unwrap_or(0);
    let send_bytes = sockopt::socket_send_buffer_size(&socket).unwrap_or(0);
    if receive_bytes.min(send_bytes) < SOCKET_BUFFER_BYTES_MIN {
        tracing::warn!(
            receive_bytes,
            send_bytes,
            "the kernel grants small UDP buffers, replication over a WAN will be slow: raise net.core.rmem_max and \
             net.core.wmem_max to {SOCKET_BUFFER_BYTES}"
        );
    }
    Ok(socket)
}

/// Limits of every connection.
pub(crate) fn transport_config(limits: &QuicLimits) -> Arc<TransportConfig> {
    let mut search = MtuDiscoveryConfig::default();
    search.upper_bound(UDP_PAYLOAD_BYTES_MAX);
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(u32::from(STREAMS_MAX) + 1))
        .stream_receive_window(VarInt::from_u32(limits.stream_window_bytes))
        .receive_window(VarInt::from_u32(limits.connection_window_bytes))
        .send_window(limits.send_window_bytes)
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(search))
        .max_idle_timeout(IdleTimeout::try_from(limits.idle_timeout).ok())
        .keep_alive_interval(Some(limits.keep_alive));
    match limits.congestion {
        Congestion::Bbr => transport.congestion_controller_factory(Arc::new(BbrConfig::default())),
        Congestion::Cubic => transport.congestion_controller_factory(Arc::new(CubicConfig::default())),
    };
    Arc::new(transport)
}

/// Limits of the listener.
pub(crate) fn server_config(
    crypto: quinn::crypto::rustls::QuicServerConfig,
    limits: &QuicLimits,
    transport: Arc<TransportConfig>,
) -> ServerConfig {
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(transport)
        .migration(false)
        .max_incoming(limits.handshakes_max)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    server
}

/// Opens quinn's endpoint on the socket; call within a tokio runtime.
pub(crate) fn open_endpoint(config: &QuicConfig, server: ServerConfig) -> Result<quinn::Endpoint, OpenError> {
    let socket = open_socket(config)?;
    let refuse = |source| OpenError::Bind { bind: config.bind, source };
    let mut udp = EndpointConfig::default();
    udp.max_udp_payload_size(UDP_PAYLOAD_BYTES_MAX).map_err(|error| refuse(io::Error::other(error)))?;
    let runtime = Arc::new(quinn::TokioRuntime);
    quinn::Endpoint::new(udp, Some(server), socket, runtime).map_err(refuse)
}
