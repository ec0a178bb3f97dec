//! One attempt to reach a peer.

use crate::arbiter::{ConnectionFacts, DialledBy};
use crate::close::{CloseCode, close, explain};
use crate::greeting::{self, Candidate, Greeting, GreetingError};
use crate::shared::Shared;
use crate::{Peer, PeerAddress, tls};
use quinn::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Waits, then tries the peer's addresses, beginning with number `attempt` modulo their count.
///
/// # Errors
/// A sentence that says what failed and how to mend it.
pub(crate) async fn dial(
    shared: Arc<Shared>,
    peer: Peer,
    pause: Duration,
    attempt: usize,
) -> Result<Candidate, String> {
    tokio::time::sleep(pause).await;
    let mut reason = format!("region {} has no address", peer.region);
    for offset in 0..peer.urls.len() {
        let url = &peer.urls[(attempt + offset) % peer.urls.len()];
        match dial_url(&shared, &peer, url).await {
            Ok(candidate) => return Ok(candidate),
            Err(text) => reason = format!("{url}: {text}"),
        }
    }
    Err(reason)
}

async fn dial_url(shared: &Shared, peer: &Peer, url: &PeerAddress) -> Result<Candidate, String> {
    let resolved = tokio::net::lookup_host(url.as_str()).await;
    let addresses: Vec<SocketAddr> = resolved.map_err(|error| format!("the name does not resolve: {error}"))?.collect();
    let mut reason = "the name resolves to no address".to_owned();
    for address in addresses {
        let attempt = tokio::time::timeout(shared.config.limits.handshake_timeout, connect(shared, peer, address));
        match attempt.await {
            Ok(Ok(candidate)) => return Ok(candidate),
            Ok(Err(text)) => reason = text,
            Err(_) => reason = format!("region {} does not answer", peer.region),
        }
    }
    Err(reason)
}

async fn connect(shared: &Shared, peer: &Peer, address: SocketAddr) -> Result<Candidate, String> {
    let config = &shared.config;
    let say = |error: &quinn::ConnectionError| explain(error, &peer.region, &config.identity.fingerprint());
    let mut client = ClientConfig::new(Arc::new(tls::client_config(&config.identity, &peer.region, &peer.trust)?));
    client.transport_config(Arc::clone(&shared.transport));
    let connecting = shared
        .endpoint
        .connect_with(client, address, &identity::region_host(&peer.region))
        .map_err(|error| error.to_string())?;
    let connection = connecting.await.map_err(|error| say(&error))?;
    let own = Greeting { instance: config.instance, region: config.region.clone(), number: config.number };
    let control_send = greeting::send(&connection, own).await.map_err(|error| match error {
        quinn::WriteError::ConnectionLost(error) => say(&error),
        other => other.to_string(),
    })?;
    let (greeting, control_recv, leftover) = match greeting::receive(&connection).await {
        Ok(received) => received,
        Err(GreetingError::Connection(error)) => return Err(say(&error)),
        Err(GreetingError::Said(reason)) => {
            close(&connection, CloseCode::WrongHello, &reason);
            return Err(reason);
        }
    };
    if (&greeting.region, greeting.number) != (&peer.region, peer.number) {
        let reason = format!(
            "region {} number {} was dialled, and {} number {} answered",
            peer.region, peer.number, greeting.region, greeting.number
        );
        close(&connection, CloseCode::WrongHello, &reason);
        return Err(reason);
    }
    let facts = ConnectionFacts { dialled_by: DialledBy::Us, peer_instance: greeting.instance };
    Ok(Candidate { connection, facts, control_send: Some(control_send), control_recv, leftover })
}
