//! Measures the connection between two nodes: both in this process over loopback, bookie frames one way.
//!
//! `cargo run --release -p peer --example peer_throughput -- [MiB] [frame bytes]`
//!
//! Prints megabytes per second at the receiver and the processor time of both ends together.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use base::{NodeId, RegionName};
use bytes::Bytes;
use identity::Identity;
use peer::{Answer, Answerer, FrameKind, Hello, PeerConfig, PeerEndpoint, PeerEvent, PeerLimits, Sent};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

type Failure = Box<dyn Error>;

/// What the sender waits when its queue is full: there is no event for it, since a bookie's answers pace its clients.
const FULL_PAUSE: Duration = Duration::from_millis(1);

struct Echo;

impl Answerer for Echo {
    fn answer(&self, _from: Option<NodeId>, bytes: Bytes) -> Answer<'_> {
        Box::pin(async { Ok(bytes) })
    }
}

/// Processor time of this process so far, in seconds (Linux counts in hundredths).
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn open(identity: &Identity, number: u64) -> Result<(PeerEndpoint, mpsc::Receiver<PeerEvent>), Failure> {
    let region = RegionName::parse("eu")?;
    let hello = Hello {
        region: region.clone(),
        node: Some(NodeId(number)),
        incarnation: 1,
        cookie: number,
        address: "127.0.0.1".to_owned(),
    };
    let limits = PeerLimits::standard();
    let config = PeerConfig {
        bind: "127.0.0.1:0".parse()?,
        region,
        identity: identity.clone(),
        encrypt_bulk: true,
        limits,
        hello,
    };
    let (tx, rx) = mpsc::channel(100_000);
    let endpoint = PeerEndpoint::open(config, Arc::new(Echo), move |event| drop(tx.try_send(event)))?;
    Ok((endpoint, rx))
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    let total_bytes = number(0, 4096)? << 20;
    let frame = Bytes::from(vec![7; usize::try_from(number(1, 131_072)?)?]);
    let dir = std::env::temp_dir().join(format!("meridian-throughput-{}", std::process::id()));
    let identity = Identity::load_or_create(&dir, &RegionName::parse("eu")?);
    std::fs::remove_dir_all(&dir)?;
    let identity = identity?;
    let ((a, mut up), (b, mut frames)) = (open(&identity, 1)?, open(&identity, 2)?);
    a.set_nodes(BTreeMap::from([(NodeId(2), b.local_addr().to_string())]));
    while !matches!(up.recv().await, Some(PeerEvent::Up { .. }) | None) {}

    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let count = total_bytes / frame.len() as u64;
    let sending = async {
        let mut sent = 0;
        while sent < count {
            // A head and a body, as bookie frames have them.
            let body = vec![Bytes::from_static(&[1; 60]), frame.clone()];
            match a.send(NodeId(2), FrameKind::BookieRequest, body) {
                Sent::Queued => sent += 1,
                Sent::Full => tokio::time::sleep(FULL_PAUSE).await,
                Sent::Down | Sent::TooLarge => break,
            }
        }
    };
    let receiving = async {
        let mut received = 0;
        while received < count {
            match frames.recv().await {
                Some(PeerEvent::Frame { .. }) => received += 1,
                Some(_) => (),
                None => break,
            }
        }
    };
    let latency = async {
        let mut worst = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            if a.call(NodeId(2), Bytes::from_static(b"ping"), Duration::from_secs(5)).await.is_err() {
                break;
            }
            worst = worst.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        worst
    };
    let ((), (), worst) = tokio::join!(sending, receiving, latency);
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let bytes = (count * frame.len() as u64) as f64;
    println!(
        "{:.0} MB/s, {:.2} CPU s/GB, slowest of 20 calls meanwhile {:.1} ms ({} byte frames)",
        bytes / 1e6 / seconds,
        cpu / (bytes / 1e9),
        worst.as_secs_f64() * 1e3,
        frame.len()
    );
    Ok(())
}
