//! What comes from outside the peers, or from a broken peer: refused, bounded, and harming nobody else.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod region;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use region::{PATIENCE, Region, Relay, Running, connected, entry, limits};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::net::SocketAddr;
use std::sync::Arc;

/// A client that believes anybody.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Whatever identity and protocol name.
fn client_config(identity: Option<&Region>, alpn: &str) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(region) => {
            let file = |name: &str| std::fs::read(region.dir.path().join("geo").join(name)).unwrap();
            let certificate = CertificateDer::from_pem_slice(&file("cert.pem")).unwrap();
            let key = PrivateKeyDer::from_pem_slice(&file("key.pem")).unwrap();
            builder.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

/// Connects; what comes of it shows on the connection.
async fn connect(to: SocketAddr, identity: Option<&Region>, alpn: &str) -> Result<Connection, ConnectionError> {
    let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.connect_with(client_config(identity, alpn), to, "any.example").unwrap().await
}

/// Why the connection ended.
async fn end_of(connection: Result<Connection, ConnectionError>) -> String {
    match connection {
        Err(error) => error.to_string(),
        Ok(connection) => tokio::time::timeout(PATIENCE, connection.closed()).await.expect("it ends").to_string(),
    }
}

/// The peers are still connected and served.
async fn check_unharmed(ra: &Running, b: &Region, rb: &mut Running) {
    ra.endpoint.send(&b.name, 1, entry(9, 9, 9)).unwrap();
    assert_eq!(rb.until_frame().await, entry(9, 9, 9));
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_in_the_handshake() {
    let (_a, ra, b, mut rb) = connected(limits()).await;
    let reason = end_of(connect(rb.address(), None, "meridian-geo/1").await).await;
    assert!(reason.contains("cryptographic handshake failed"), "{reason}");
    check_unharmed(&ra, &b, &mut rb).await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused_in_the_handshake() {
    let (a, ra, b, mut rb) = connected(limits()).await;
    let reason = end_of(connect(rb.address(), Some(&a), "h3").await).await;
    assert!(reason.contains("cryptographic handshake failed"), "{reason}");
    check_unharmed(&ra, &b, &mut rb).await;
}

#[tokio::test]
async fn a_proven_region_that_greets_with_garbage_is_told_and_dropped() {
    let (a, ra, b, mut rb) = connected(limits()).await;
    for (bytes, words) in [
        (vec![0x55; 64], "does not greet as a Meridian region does"),
        ([b"MRDNGEO1".as_slice(), &[0; 8], &[0xff; 64]].concat(), "greeting cannot be read"),
        (b"MRDN".to_vec(), "greeting broke off"),
    ] {
        let connection = connect(rb.address(), Some(&a), "meridian-geo/1").await.unwrap();
        let mut stream = connection.open_uni().await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.finish().unwrap();
        let reason = end_of(Ok(connection)).await;
        assert!(reason.contains(words), "{reason}");
    }
    check_unharmed(&ra, &b, &mut rb).await;
}

#[tokio::test]
async fn a_proven_region_that_says_nothing_is_dropped_after_the_handshake_timeout() {
    let quick = quic::QuicLimits { handshake_timeout: std::time::Duration::from_millis(300), ..limits() };
    let (a, ra, b, mut rb) = connected(quick).await;
    let connection = connect(rb.address(), Some(&a), "meridian-geo/1").await.unwrap();
    end_of(Ok(connection)).await;
    check_unharmed(&ra, &b, &mut rb).await;
}

#[tokio::test]
async fn a_flood_of_half_open_handshakes_takes_few_places_and_lets_peers_in() {
    let tight = quic::QuicLimits { handshakes_before_retry: 4, handshakes_max: 8, ..limits() };
    let (mut a, ra, b, mut rb) = connected(tight).await;
    // Strangers whose address is false: they never see an answer, so they cannot prove it.
    let relay = Relay::to(rb.address()).await;
    relay.drop_answers();
    let config = client_config(Some(&a), "meridian-geo/1");
    let flood = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    let strangers: Vec<_> =
        (0..200).map(|_| flood.connect_with(config.clone(), relay.address, "any.example").unwrap()).collect();
    // A peer that was restarted gets in all the same.
    ra.endpoint.close().await;
    rb.until_down().await;
    let mut ra = a.start(tight);
    ra.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
    rb.until_up().await;
    ra.until_up().await;
    check_unharmed(&ra, &b, &mut rb).await;
    drop(strangers);
}
