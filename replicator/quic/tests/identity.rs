//! Who may connect: both sides prove themselves, and a refusal says what is wrong and how to mend it.
#![allow(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

mod region;

use quic::{Peer, Trust};
use region::{Region, connected, entry, limits};
use wire::region::RegionFrame;

#[tokio::test]
async fn regions_that_trust_each_other_exchange_frames_both_ways() {
    let (a, mut ra, b, mut rb) = connected(limits()).await;
    ra.endpoint.send(&b.name, 7, entry(1, 5, 100)).unwrap();
    assert_eq!(rb.until_frame().await, entry(1, 5, 100));
    rb.endpoint.send(&a.name, 7, entry(2, 6, 0)).unwrap();
    assert_eq!(ra.until_frame().await, entry(2, 6, 0));
    let status = ra.endpoint.status();
    assert_eq!((status.len(), status[0].connected, &status[0].region), (1, true, &b.name));
}

#[tokio::test]
async fn a_fingerprint_of_the_ca_is_as_good_as_its_pem() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let (mut ra, mut rb) = (a.start(limits()), b.start(limits()));
    let by_fingerprint =
        |r: &Region, peer: Peer| Peer { trust: Trust::parse(&r.identity.fingerprint()).unwrap(), ..peer };
    rb.endpoint.set_peers(vec![by_fingerprint(&a, a.as_peer(None))]);
    ra.endpoint.set_peers(vec![by_fingerprint(&b, b.as_peer(Some(rb.address())))]);
    ra.until_up().await;
    rb.until_up().await;
}

#[tokio::test]
async fn a_peer_whose_certificate_comes_from_another_ca_is_refused_by_the_dialler() {
    let (mut a, mut b, other) = (Region::new("eu", 1), Region::new("us", 2), Region::new("us", 2));
    let (mut ra, rb) = (a.start(limits()), b.start(limits()));
    rb.endpoint.set_peers(vec![a.as_peer(None)]);
    ra.endpoint.set_peers(vec![other.as_peer(Some(rb.address()))]);
    let reason = ra.until_unreachable().await;
    assert!(reason.contains("the certificate presented is not one of region us"), "{reason}");
    assert!(reason.contains("must match the region's replicatorTrust"), "{reason}");
    assert_eq!(ra.endpoint.status()[0].reason, Some(reason));
}

#[tokio::test]
async fn a_dialler_whose_certificate_comes_from_another_ca_is_told_what_to_register() {
    let (mut a, mut b, other) = (Region::new("eu", 1), Region::new("us", 2), Region::new("eu", 1));
    let (mut ra, rb) = (a.start(limits()), b.start(limits()));
    rb.endpoint.set_peers(vec![other.as_peer(None)]);
    ra.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
    let reason = ra.until_unreachable().await;
    assert!(reason.contains("region us refused this region's certificate"), "{reason}");
    assert!(reason.contains(&a.identity.fingerprint()), "{reason}");
}

#[tokio::test]
async fn a_wrong_region_number_is_refused_by_name() {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let (mut ra, rb) = (a.start(limits()), b.start(limits()));
    rb.endpoint.set_peers(vec![Peer { number: base::RegionId(9), ..a.as_peer(None) }]);
    ra.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
    let reason = ra.until_unreachable().await;
    assert!(reason.contains("region eu has number 9 here and calls itself 1"), "{reason}");
}

#[tokio::test]
async fn a_region_cannot_speak_in_the_name_of_another_even_when_both_are_peers() {
    let (mut a, mut b, c) = (Region::new("eu", 1), Region::new("us", 2), Region::new("asia", 3));
    // `eu` calls itself `asia`; its certificate says otherwise.
    let mut impostor = Region::new("asia", 3);
    impostor.identity = a.identity.clone();
    let (mut ri, rb) = (impostor.start(limits()), b.start(limits()));
    rb.endpoint.set_peers(vec![a.as_peer(None), c.as_peer(None)]);
    ri.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
    let reason = ri.until_unreachable().await;
    assert!(reason.contains("the certificate is not one of region asia"), "{reason}");
    drop(a.start(limits()));
}

#[tokio::test]
async fn a_region_that_is_no_longer_a_peer_is_disconnected_and_both_are_told() {
    let (a, mut ra, _b, mut rb) = connected(limits()).await;
    rb.endpoint.set_peers(Vec::new());
    assert!(rb.until_down().await.contains("leaving"));
    assert!(ra.until_down().await.contains("region us closed"));
    let refused = rb.endpoint.send(&a.name, 1, entry(1, 1, 1)).unwrap_err();
    assert_eq!((refused.refusal, *refused.frame), (quic::SendRefusal::Down, entry(1, 1, 1)));
    assert!(ra.until_unreachable().await.contains("refused this region's certificate"));
}

#[tokio::test]
async fn policies_and_links_of_one_connection_all_arrive() {
    let (_a, ra, b, mut rb) = connected(limits()).await;
    let policy = RegionFrame::Policy {
        key: "acme/orders".to_owned(),
        version: 3,
        writer: base::RegionId(1),
        value: Some(bytes::Bytes::from_static(b"{}")),
    };
    ra.endpoint.send(&b.name, 0, policy.clone()).unwrap();
    assert_eq!(rb.until_frame().await, policy);
}
