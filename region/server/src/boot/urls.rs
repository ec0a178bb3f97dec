//! Where this process is reached.

use super::Listeners;
use crate::config::ServerConfig;
use std::net::SocketAddr;

/// Addresses that are known once the listeners are open.
pub(crate) struct Urls {
    host: String,
    pub(super) pulsar: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) quic: SocketAddr,
}

impl Urls {
    pub(super) fn of(config: &ServerConfig, listeners: &Listeners, quic: SocketAddr) -> Self {
        let unknown = SocketAddr::new(config.bind, 0);
        let host = config.advertised.clone().unwrap_or_else(|| config.bind.to_string());
        Self {
            host,
            pulsar: listeners.pulsar.local_addr().unwrap_or(unknown),
            http: listeners.http.local_addr().unwrap_or(unknown),
            quic,
        }
    }

    pub(crate) fn pulsar_url(&self) -> String {
        format!("pulsar://{}:{}", self.host, self.pulsar.port())
    }

    pub(crate) fn http_url(&self) -> String {
        format!("http://{}:{}", self.host, self.http.port())
    }

    pub(crate) fn quic_url(&self) -> String {
        format!("quic://{}:{}", self.host, self.quic.port())
    }
}
