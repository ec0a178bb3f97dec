//! Measures the region link: two endpoints in this process over loopback, one way, entries of one size.
//!
//! `cargo run --release -p quic --example frames -- [MiB] [body bytes] [bbr|cubic] [groups] [RTT ms] [loss per mille]`
//!
//! With an RTT the datagrams pass a relay that delays them, loses some, and carries none above an Ethernet frame. Prints
//! megabytes per second at the receiver and the processor time of both ends (and the relay) together.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use base::{EntryData, LedgerId, Position, RegionId, RegionName};
use bytes::Bytes;
use quic::{Congestion, Identity, Peer, PeerAddress, QuicConfig, QuicEndpoint, QuicEvent, QuicLimits, Sent, Trust};
use std::error::Error;
use std::net::SocketAddr;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::region::RegionFrame;

mod relay;

type Failure = Box<dyn Error>;

struct Run {
    total_bytes: u64,
    body_bytes: usize,
    congestion: Congestion,
    groups: u64,
    rtt_ms: u64,
    loss_per_mille: u64,
}

fn parse_args() -> Result<Run, Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| args.get(at).map_or(Ok(default), |text| text.parse());
    Ok(Run {
        total_bytes: number(0, 1024)? << 20,
        body_bytes: usize::try_from(number(1, 131_072)?)?,
        congestion: if args.get(2).is_some_and(|a| a == "cubic") { Congestion::Cubic } else { Congestion::Bbr },
        groups: number(3, 16)?,
        rtt_ms: number(4, 0)?,
        loss_per_mille: number(5, 0)?,
    })
}

/// Processor time of this process so far, in seconds (Linux counts in hundredths).
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    Ok((ticks(11) + ticks(12)) / 100.0)
}

struct End {
    endpoint: QuicEndpoint,
    events: mpsc::Receiver<QuicEvent>,
    name: RegionName,
    number: RegionId,
    ca: String,
}

fn open(name: &str, number: u8, dir: &std::path::Path, congestion: Congestion) -> Result<End, Failure> {
    let name = RegionName::parse(name)?;
    let number = RegionId(number);
    let identity = Identity::load_or_create(&dir.join(name.as_str()), &name)?;
    let ca = identity.ca_pem().to_owned();
    let config = QuicConfig {
        bind: "127.0.0.1:0".parse()?,
        region: name.clone(),
        number,
        identity,
        instance: u64::from(number.0),
        limits: QuicLimits { congestion, ..QuicLimits::standard() },
    };
    // The permits bound how many frames can wait here.
    let (tx, events) = mpsc::channel(1 << 20);
    let endpoint = QuicEndpoint::open(config, move |event| {
        let _ = tx.try_send(event);
    })?;
    Ok(End { endpoint, events, name, number, ca })
}

fn as_peer(end: &End, address: Option<SocketAddr>) -> Result<Peer, Failure> {
    let urls = address.map(PeerAddress::from).into_iter().collect();
    Ok(Peer { region: end.name.clone(), number: end.number, urls, trust: Trust::parse(&end.ca)? })
}

/// Sends everything, pausing whenever the connection is full.
async fn send_all(sender: &mut End, to: &RegionName, run: &Run) -> Result<(), Failure> {
    let body = Bytes::from(vec![0x5a; run.body_bytes]);
    let count = run.total_bytes / run.body_bytes.max(1) as u64;
    let mut previous = Position::EARLIEST;
    for number in 0..count {
        let position = Position::new(LedgerId(1), i64::try_from(number)?);
        let data = EntryData::new(Bytes::from_static(&[0; 32]), body.clone());
        let frame = RegionFrame::Entry { link: number % run.groups, previous, position, data };
        match sender.endpoint.send(to, number % run.groups, frame) {
            Ok(Sent::Room) => (),
            Ok(Sent::Full) => while !matches!(sender.events.recv().await, Some(QuicEvent::Writable { .. }) | None) {},
            Err(refused) => return Err(format!("{:?}", refused.refusal).into()),
        }
        previous = position;
    }
    Ok(())
}

async fn receive_all(receiver: &mut End, run: &Run) -> u64 {
    let count = run.total_bytes / run.body_bytes.max(1) as u64;
    let (mut frames, mut bytes) = (0, 0);
    while frames < count {
        match receiver.events.recv().await {
            Some(QuicEvent::Frame { frame: RegionFrame::Entry { data, .. }, .. }) => {
                frames += 1;
                bytes += data.len() as u64;
            }
            Some(_) => (),
            None => break,
        }
    }
    bytes
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let run = parse_args()?;
    let dir = std::env::temp_dir().join(format!("meridian-quic-throughput-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let mut sender = open("sender", 1, &dir, run.congestion)?;
    let mut receiver = open("receiver", 2, &dir, run.congestion)?;
    let target = receiver.endpoint.local_addr();
    let mut tasks = JoinSet::new();
    let address =
        if run.rtt_ms > 0 { relay::start(&mut tasks, target, run.rtt_ms, run.loss_per_mille).await? } else { target };
    receiver.endpoint.set_peers(vec![as_peer(&sender, None)?]);
    sender.endpoint.set_peers(vec![as_peer(&receiver, Some(address))?]);
    while !matches!(sender.events.recv().await, Some(QuicEvent::Up { .. }) | None) {}

    let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
    let to = receiver.name.clone();
    let (sent, bytes) = tokio::join!(send_all(&mut sender, &to, &run), receive_all(&mut receiver, &run));
    sent?;
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_start);
    let gigabytes = bytes as f64 / 1e9;
    println!(
        "{:?}, bodies of {} bytes, {} groups, RTT {} ms, loss {} per mille: {:.0} MB/s, {:.2} s of processor per GB (both ends), {:.2} s",
        run.congestion,
        run.body_bytes,
        run.groups,
        run.rtt_ms,
        run.loss_per_mille,
        gigabytes * 1000.0 / seconds,
        cpu / gigabytes,
        seconds
    );
    println!("{:?}", sender.endpoint.status());
    sender.endpoint.close().await;
    receiver.endpoint.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}
