//! What leaves at once, what waits, and in which order.

use super::*;
use crate::entrance::{Entrance, EntranceLimits};
use std::net::IpAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

fn outlet() -> Arc<Outlet> {
    let entrance = Entrance::new("test", EntranceLimits { guests_max: 1, per_address_max: 1 });
    Outlet::new(entrance.admit(IpAddr::from([127, 0, 0, 1])))
}

fn one(bytes: usize) -> Outgoing {
    Outgoing::One(Bytes::from(vec![7; bytes]))
}

/// A socket and its peer's.
async fn pair() -> (Arc<TcpStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (Arc::new(near), listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn a_small_answer_leaves_at_once_through_a_lent_socket() {
    let (near, mut far) = pair().await;
    let outlet = outlet();
    assert!(outlet.lend(&near));
    let two = Outgoing::Two(Bytes::from_static(b"head"), Bytes::from_static(b"body"));
    assert_eq!(outlet.push_all([one(3), two].into_iter()), 11);
    let mut seen = [0; 11];
    far.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"\x07\x07\x07headbody");
    assert!(outlet.is_at_rest());
}

#[tokio::test]
async fn a_socket_is_not_lent_while_the_writer_holds_bytes() {
    let (near, _far) = pair().await;
    let outlet = outlet();
    assert_eq!(outlet.push_all([one(1)].into_iter()), 0);
    assert!(!outlet.lend(&near), "Outlet I2: a byte waits");
    assert_eq!(outlet.take().len(), 1);
    assert!(!outlet.lend(&near), "Outlet I2: the writer has not come back");
    assert!(outlet.take().is_empty() && outlet.lend(&near));
    assert_eq!(outlet.push_all([one(1)].into_iter()), 1);
}

#[tokio::test]
async fn what_is_large_waits_and_nothing_overtakes_it() {
    let (near, _far) = pair().await;
    let outlet = outlet();
    assert!(outlet.lend(&near));
    assert_eq!(outlet.push_all([one(1 << 20)].into_iter()), 0);
    assert_eq!(outlet.push_all([one(1)].into_iter()), 0, "Outlet I2");
    outlet.take_back();
    assert_eq!(outlet.take().len(), 2);
}

#[tokio::test]
async fn a_peer_that_takes_nothing_costs_no_time_and_is_cut_beyond_the_bound() {
    let (near, _far) = pair().await;
    let outlet = outlet();
    assert!(outlet.lend(&near));
    let mut left = 0;
    while outlet.is_at_rest() {
        left += outlet.push_all([one(16 << 10)].into_iter());
    }
    assert!(left > 0, "the socket's buffer took some");
    let _ = outlet.push_all([one(WAITING_BYTES_MAX as usize - (16 << 10))].into_iter());
    assert!(!outlet.is_cut());
    let _ = outlet.push_all([one(16 << 10), one(1)].into_iter());
    assert!(outlet.is_cut(), "Outlet I1");
}
