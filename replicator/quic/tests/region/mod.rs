//! A region's endpoint for tests on loopback, and a relay that can be cut.
#![allow(dead_code, reason = "each test file uses a part")]

use base::{EntryData, LedgerId, Position, RegionId, RegionName};
use bytes::Bytes;
use quic::{Identity, Peer, PeerAddress, QuicConfig, QuicEndpoint, QuicEvent, QuicLimits, Trust};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use wire::region::RegionFrame;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A region with its identity on disk.
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) number: RegionId,
    pub(crate) identity: Identity,
    pub(crate) dir: TempDir,
    instances: u64,
}

/// Its endpoint while it runs.
pub(crate) struct Running {
    pub(crate) endpoint: QuicEndpoint,
    pub(crate) events: mpsc::Receiver<QuicEvent>,
}

pub(crate) fn limits() -> QuicLimits {
    QuicLimits {
        streams: 4,
        idle_timeout: Duration::from_secs(2),
        keep_alive: Duration::from_millis(400),
        backoff_max: Duration::from_millis(500),
        ..QuicLimits::standard()
    }
}

impl Region {
    pub(crate) fn new(name: &str, number: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = RegionName::parse(name).unwrap();
        let identity = Identity::load_or_create(&dir.path().join("geo"), &name).unwrap();
        Self { name, number: RegionId(number), identity, dir, instances: 0 }
    }

    pub(crate) fn start(&mut self, limits: QuicLimits) -> Running {
        self.start_at("127.0.0.1:0".parse().unwrap(), limits)
    }

    pub(crate) fn start_at(&mut self, bind: SocketAddr, limits: QuicLimits) -> Running {
        self.instances += 1;
        let config = QuicConfig {
            bind,
            region: self.name.clone(),
            number: self.number,
            identity: self.identity.clone(),
            instance: u64::from(self.number.0) << 32 | self.instances,
            limits,
        };
        let (tx, events) = mpsc::channel(200_000);
        let endpoint = QuicEndpoint::open(config, move |event| drop(tx.try_send(event))).unwrap();
        Running { endpoint, events }
    }

    /// This region as a peer of another one.
    pub(crate) fn as_peer(&self, address: Option<SocketAddr>) -> Peer {
        Peer {
            region: self.name.clone(),
            number: self.number,
            urls: address.map(PeerAddress::from).into_iter().collect(),
            trust: Trust::parse(self.identity.ca_pem()).unwrap(),
        }
    }
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    pub(crate) async fn next(&mut self) -> QuicEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("an endpoint")
    }

    /// Skips events until one of this kind.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(QuicEvent) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn until_up(&mut self) {
        self.until(|event| matches!(event, QuicEvent::Up { .. }).then_some(())).await;
    }

    pub(crate) async fn until_down(&mut self) -> String {
        self.until(|event| match event {
            QuicEvent::Down { reason, .. } => Some(reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_unreachable(&mut self) -> String {
        self.until(|event| match event {
            QuicEvent::Unreachable { reason, .. } => Some(reason),
            QuicEvent::Up { .. } => panic!("connected"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn until_frame(&mut self) -> RegionFrame {
        self.until(|event| match event {
            QuicEvent::Frame { frame, .. } => Some(frame),
            QuicEvent::Down { reason, .. } => panic!("disconnected: {reason}"),
            _ => None,
        })
        .await
    }
}

/// Two regions that trust each other; the first one dials.
pub(crate) async fn connected(limits: QuicLimits) -> (Region, Running, Region, Running) {
    let (mut a, mut b) = (Region::new("eu", 1), Region::new("us", 2));
    let (mut ra, mut rb) = (a.start(limits), b.start(limits));
    rb.endpoint.set_peers(vec![a.as_peer(None)]);
    ra.endpoint.set_peers(vec![b.as_peer(Some(rb.address()))]);
    ra.until_up().await;
    rb.until_up().await;
    (a, ra, b, rb)
}

/// Entry number `number` of a link, with a body of `bytes`.
pub(crate) fn entry(link: u64, number: i64, bytes: usize) -> RegionFrame {
    RegionFrame::Entry {
        link,
        previous: Position::new(LedgerId(1), number - 1),
        position: Position::new(LedgerId(1), number),
        data: EntryData::new(Bytes::from_static(b"head"), Bytes::from(vec![number as u8; bytes])),
    }
}

/// Forwards datagrams to one address and back, until cut.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    open: Arc<AtomicBool>,
    answers: Arc<AtomicBool>,
    _task: JoinSet<()>,
}

impl Relay {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        back.connect(target).await.unwrap();
        let address = front.local_addr().unwrap();
        let open = Arc::new(AtomicBool::new(true));
        let answers = Arc::new(AtomicBool::new(true));
        let (is_open, has_answers) = (Arc::clone(&open), Arc::clone(&answers));
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut client: Option<SocketAddr> = None;
            let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
            loop {
                tokio::select! {
                    Ok((n, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        if is_open.load(Ordering::Relaxed) {
                            let _ = back.send(&there[..n]).await;
                        }
                    }
                    Ok(n) = back.recv(&mut here) => {
                        let passes = is_open.load(Ordering::Relaxed) && has_answers.load(Ordering::Relaxed);
                        if let Some(client) = client.filter(|_| passes) {
                            let _ = front.send_to(&here[..n], client).await;
                        }
                    }
                }
            }
        });
        Self { address, open, answers, _task: task }
    }

    /// From now on the target's answers are lost.
    pub(crate) fn drop_answers(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::Relaxed);
    }
}
