//! Who may connect: both sides prove themselves, and a refusal names rule and remedy.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod node;

use base::{NodeId, RegionName};
use bytes::Bytes;
use identity::Identity;
use node::{Echo, PATIENCE, Region, limits};
use peer::{CallError, Hello, OpenError, PeerConfig, PeerEndpoint, PeerLimits};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_with_the_remedy() {
    let (own, foreign) = (Region::new("eu"), Region::new("eu"));
    let (mut a, b) = (own.start(1), foreign.start(2));
    a.dial(&[(2, b.address())]);
    let (reason, refused) = a.until_down(2).await;
    assert!(reason.contains("comes from another authority than that of region eu"), "{reason}");
    assert!(reason.contains("copy the directory of a member"), "{reason}");
    assert!(!refused, "somebody is there");
    let asked = b.endpoint.call_address(&a.address().to_string(), Bytes::new(), PATIENCE).await;
    assert!(matches!(asked, Err(CallError::Unreachable { refused: false, foreign: true, .. })), "{asked:?}");
}

/// Writes the certificate of a region under an authority that several regions share.
fn issue(dir: &Path, region: &RegionName, ca: &str, issuer: &Issuer<'_, KeyPair>) -> Identity {
    let mut params = CertificateParams::new(vec![identity::region_host(region)]).unwrap();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, issuer).unwrap();
    std::fs::create_dir_all(dir).unwrap();
    for (name, text) in [("ca.pem", ca), ("cert.pem", &cert.pem()), ("key.pem", &key.serialize_pem())] {
        std::fs::write(dir.join(name), text).unwrap();
    }
    Identity::load_or_create(dir, region).unwrap()
}

#[tokio::test]
async fn another_region_under_the_same_authority_is_refused_by_name() {
    let mut params = CertificateParams::new(Vec::default()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let dir = tempfile::tempdir().unwrap();
    let start = |name: &str, node: u64| {
        let region = RegionName::parse(name).unwrap();
        let identity = issue(&dir.path().join(name), &region, &ca, &issuer);
        let hello = Hello {
            region: region.clone(),
            node: Some(NodeId(node)),
            incarnation: 1,
            cookie: node,
            address: String::new(),
        };
        let bind = "127.0.0.1:0".parse().unwrap();
        let (tx, events) = tokio::sync::mpsc::channel(1000);
        let config = PeerConfig { bind, region, identity, encrypt_bulk: true, limits: limits(), hello };
        let endpoint = PeerEndpoint::open(config, Arc::new(Echo), move |event| drop(tx.try_send(event))).unwrap();
        node::Node { endpoint, events }
    };
    let (mut a, b) = (start("eu", 1), start("us", 2));
    a.dial(&[(2, b.address())]);
    let (reason, _) = a.until_down(2).await;
    assert!(reason.contains("the certificate presented is of another region than eu"), "{reason}");
}

#[tokio::test]
async fn a_number_with_another_cookie_is_refused_on_both_sides() {
    let region = Region::new("eu");
    let (mut a, mut b) = (region.start(1), region.start(2));
    // Node 1 does not believe whoever listens.
    a.endpoint.expect(NodeId(2), 7);
    a.dial(&[(2, b.address())]);
    let (reason, _) = a.until_down(2).await;
    assert!(reason.contains("node 2 joined with cookie"), "{reason}");
    assert!(reason.contains("start it with the disk of node 2"), "{reason}");
    // Nor when it is dialled by it, which is told.
    b.dial(&[(1, a.address())]);
    let (reason, _) = b.until_down(1).await;
    assert!(reason.contains("the other node refused: node 2 joined with cookie"), "{reason}");
    // The expectation was wrong: the next attempts succeed.
    a.endpoint.expect(NodeId(2), region.hello(2).cookie);
    a.until_up(2).await;
    b.until_up(1).await;
    // And it counts for connections in use.
    a.endpoint.expect(NodeId(2), 8);
    assert!(a.until_down(2).await.0.contains("node 2 joined with cookie"));
    b.until_down(1).await;
}

#[tokio::test]
async fn a_node_that_is_not_the_one_dialled_is_refused() {
    let region = Region::new("eu");
    let (mut a, b) = (region.start(1), region.start(2));
    a.dial(&[(3, b.address())]);
    let (reason, _) = a.until_down(3).await;
    assert!(reason.contains("node 3 was dialled and node 2 at node-2:1 answered: correct the address"), "{reason}");
}

#[tokio::test]
async fn strangers_are_bounded_in_number_and_time() {
    let region = Region::new("eu");
    let few = PeerLimits { strangers_max: 2, handshake_timeout: std::time::Duration::from_millis(500), ..limits() };
    let b = region.start_with(region.hello(2), "127.0.0.1:0".parse().unwrap(), few, Arc::new(Echo));
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(TcpStream::connect(b.address()).await.unwrap());
    }
    // The third is closed because the first two say nothing, and those when their time is over.
    for stream in silent.iter_mut().rev() {
        let ended = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)));
    }
    let mut a = region.start(1);
    a.dial(&[(2, b.address())]);
    a.until_up(2).await;
}

#[tokio::test]
async fn an_endpoint_that_could_not_work_is_not_opened() {
    let region = Region::new("eu");
    let open = |hello: Hello, limits: PeerLimits| {
        let (bind, name) = ("127.0.0.1:0".parse().unwrap(), region.name.clone());
        let config =
            PeerConfig { bind, region: name, identity: region.identity.clone(), encrypt_bulk: true, limits, hello };
        PeerEndpoint::open(config, Arc::new(Echo), |_| ()).unwrap_err()
    };
    let other = Hello { region: RegionName::parse("us").unwrap(), ..region.hello(1) };
    assert!(matches!(open(other, limits()), OpenError::Region { .. }));
    let slow = PeerLimits { ping_interval: limits().silence_max, ..limits() };
    assert!(matches!(open(region.hello(1), slow), OpenError::Limits { .. }));
}
