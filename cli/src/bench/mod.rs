//! `meridian bench`: open-loop load, whole histograms, and beside every leg what the disk could do in the same minute.
//!
//! **Invariants**
//! - I1  a ratio's denominator is measured in the same run, right before and after its numerator.

mod geo;
mod latency;
mod probe;
mod process;
mod publish;
mod report;
mod topics;

use crate::client::{ServiceUrl, full_topic};
use crate::exit::Failure;
use crate::service::ServiceArgs;
use crate::{clock, term};
use probe::{DiskProbe, ProbeFile};
use process::Usage;
use report::{machine, mb_per_s, median, write};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A probe lasts so long.
const PROBE_TIME: Duration = Duration::from_secs(1);
/// Probes before and after a leg that differ by more than this share make the leg worthless (measuring.md A6).
const PROBE_DRIFT_MAX: f64 = 0.25;

#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, clap::Subcommand)]
enum Scenario {
    /// Durable publishing as fast as it goes, beside the sink and the disk (R1, R3, R5)
    Publish(PublishArgs),
    /// Publish latency at a fixed rate, beside raw syncs in a loop and at the same rate (R4)
    Latency(LatencyArgs),
    /// Topics created one by one, and many in flight
    Topics(TopicsArgs),
    /// Lag between two regions at a fixed rate
    Geo(GeoArgs),
    /// Only the disk and the sink
    Probe(ProbeArgs),
}

#[derive(Debug, clap::Args)]
struct Common {
    #[command(flatten)]
    service: ServiceArgs,
    /// Topics begin with this name
    #[arg(long, value_name = "NAME", default_value = "bench")]
    topic: String,
    /// Processes of the servers, with commas between them, for their CPU time, memory and bytes written
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Where raw data goes
    #[arg(long, value_name = "FILE", default_value = "bench.json")]
    out: PathBuf,
    /// Folder for the probe's file: on the disk that the server writes to
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
}

impl Common {
    fn token(&self) -> Result<Option<String>, Failure> {
        self.service.token()
    }

    /// A name that no earlier run used.
    fn fresh_topic(&self) -> String {
        format!("{}-{}", full_topic(&self.topic), clock::wall_ms())
    }
}

#[derive(Debug, clap::Args)]
struct PublishArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long, value_name = "N", default_value_t = 4)]
    connections: u32,
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    message_size: usize,
    /// Messages per batch
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: u32,
    /// Batches without a receipt, per connection
    #[arg(long, value_name = "N", default_value_t = 32)]
    window: usize,
    #[arg(long, value_name = "N", default_value_t = 5)]
    seconds: u64,
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
    /// Messages per second; 0 = as fast as it goes
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    rate: f64,
}

#[derive(Debug, clap::Args)]
struct LatencyArgs {
    #[command(flatten)]
    common: Common,
    /// Messages per second
    #[arg(long, value_name = "N", default_value_t = 500.0)]
    rate: f64,
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: u32,
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    message_size: usize,
    /// Messages per batch; 1 = no batch
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: u32,
}

#[derive(Debug, clap::Args)]
struct TopicsArgs {
    #[command(flatten)]
    common: Common,
    #[arg(long, value_name = "N", default_value_t = 1000)]
    count: u64,
    #[arg(long, value_name = "N", default_value_t = 64)]
    in_flight: usize,
    /// Create a durable subscription of this name on each
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
}

#[derive(Debug, clap::Args)]
struct GeoArgs {
    #[command(flatten)]
    common: Common,
    /// The region where messages are read
    #[arg(long, value_name = "URL")]
    to_url: String,
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    message_size: usize,
    #[arg(long, value_name = "N", default_value_t = 1000)]
    rate: u32,
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
}

#[derive(Debug, clap::Args)]
struct ProbeArgs {
    /// Folder for the probe's file
    #[arg(long, value_name = "DIR", default_value = ".")]
    disk: PathBuf,
    /// Bytes per write and sync
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 10)]
    size: usize,
}

/// Runs one scenario.
pub(crate) fn run(args: BenchArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("cannot start threads", error))?;
    match args.scenario {
        Scenario::Publish(args) => publish_rounds(&args, &runtime),
        Scenario::Latency(args) => latency::rounds(&args),
        Scenario::Topics(args) => topic_legs(&args, &runtime),
        Scenario::Geo(args) => runtime.block_on(geo_leg(&args)),
        Scenario::Probe(args) => probe_only(&args),
    }
}

fn probe_file(dir: &Path) -> Result<ProbeFile, Failure> {
    ProbeFile::create(dir).map_err(|error| Failure::io(format!("cannot write the probe in {}", dir.display()), error))
}

fn disk(file: &mut ProbeFile, size: usize) -> Result<DiskProbe, Failure> {
    probe::disk_probe(file, size, PROBE_TIME).map_err(|error| Failure::io("the disk probe failed", error))
}

fn sink(file: &mut ProbeFile, size: usize, lasting: Duration) -> Result<f64, Failure> {
    probe::sink(file, size, lasting).map_err(|error| Failure::io("the sink failed", error))
}

/// Whether the disk stayed the same around a leg.
fn is_steady(before: &DiskProbe, after: &DiskProbe) -> bool {
    let (low, high) = (before.mb_per_s.min(after.mb_per_s), before.mb_per_s.max(after.mb_per_s));
    low >= high * (1.0 - PROBE_DRIFT_MAX)
}

fn publish_rounds(args: &PublishArgs, runtime: &tokio::runtime::Runtime) -> Result<(), Failure> {
    let common = &args.common;
    let mut file = probe_file(&common.disk)?;
    let block = args.message_size * usize::try_from(args.batch).unwrap_or(1);
    let lasting = Duration::from_secs(args.seconds);
    let plan = publish::Plan {
        url: common.service.url()?,
        token: common.token()?,
        topic: common.fresh_topic(),
        connections: args.connections,
        message_bytes: args.message_size,
        batch: args.batch,
        window: args.window,
        lasting,
        rate: args.rate,
    };
    let (mut rounds, mut ratios, mut speeds, mut costs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let before = disk(&mut file, block)?;
        let sink_mb = sink(&mut file, block, lasting)?;
        let usage = Usage::of(&common.server_pid);
        let outcome = runtime.block_on(publish::run(&plan))?;
        let used = usage.and_then(|usage| usage.until_now(&common.server_pid));
        let after = disk(&mut file, block)?;
        let speed = mb_per_s(outcome.payload_bytes, outcome.took);
        let cpu = used.map(|used| used.json(outcome.payload_bytes, outcome.messages));
        let per_gb = cpu.as_ref().and_then(|cpu| cpu["cpu_s_per_gb"].as_f64());
        speeds.push(speed);
        ratios.push(speed / sink_mb);
        costs.extend(per_gb);
        term::say(&format!(
            "round {round}: {speed:.0} MB/s  sink {sink_mb:.0}  ratio {:.2}  disk {:.0}→{:.0} MB/s{}{}  {}",
            speed / sink_mb,
            before.mb_per_s,
            after.mb_per_s,
            per_gb.map_or_else(String::new, |cost| format!("  server {cost:.2} CPU s/GB")),
            if is_steady(&before, &after) { "" } else { "  (disk drifted: discard)" },
            outcome.latencies.intended.line(),
        ));
        rounds.push(json!({
            "disk_before": before.json(), "disk_after": after.json(), "disk_steady": is_steady(&before, &after),
            "sink_mb_per_s": sink_mb, "mb_per_s": speed, "ratio_to_sink": speed / sink_mb,
            "messages": outcome.messages, "payload_bytes": outcome.payload_bytes, "seconds": outcome.took.as_secs_f64(),
            "latency_from_send": outcome.latencies.sent.json(), "latency_from_intended": outcome.latencies.intended.json(),
            "server": cpu, "machine": machine(),
        }));
    }
    let cost = if costs.is_empty() { String::new() } else { format!("  server {:.2} CPU s/GB", median(&costs)) };
    term::say(&format!("median: {:.0} MB/s  ratio to the sink (R1) {:.2}{cost}", median(&speeds), median(&ratios)));
    let settings = json!({
        "connections": args.connections, "message_bytes": args.message_size, "batch": args.batch,
        "window": args.window, "seconds": args.seconds, "rate": args.rate,
    });
    write(&common.out, &json!({ "scenario": "publish", "settings": settings, "rounds": rounds }))
}

/// Each leg stands beside raw syncs of small writes on the same disk right before and after it (R12).
fn topic_legs(args: &TopicsArgs, runtime: &tokio::runtime::Runtime) -> Result<(), Failure> {
    let common = &args.common;
    let (url, token) = (common.service.url()?, common.token()?);
    let mut file = probe_file(&common.disk)?;
    let mut legs = Vec::new();
    for in_flight in [1, args.in_flight.max(1)] {
        let prefix = format!("{}-{in_flight}", common.fresh_topic());
        let (count, subscription) = (args.count, args.subscription.as_deref());
        let plan = topics::Plan { token: token.as_deref(), prefix: &prefix, count, in_flight, subscription };
        let mut syncs = raw_syncs(&mut file)?;
        let usage = Usage::of(&common.server_pid);
        let leg = runtime.block_on(topics::create(&url, &plan))?;
        let used = usage.and_then(|usage| usage.until_now(&common.server_pid));
        syncs = f64::midpoint(syncs, raw_syncs(&mut file)?);
        let seconds = leg.took.as_secs_f64();
        let per_sync = report::to_f64(count) / seconds / syncs;
        term::say(&format!(
            "{count} topics on {} nodes with {in_flight} in flight: {seconds:.2} s  {per_sync:.1} of {syncs:.0} raw syncs/s  {}",
            leg.nodes,
            leg.latencies.line()
        ));
        legs.push(json!({
            "in_flight": in_flight, "count": count, "nodes": leg.nodes, "seconds": seconds, "raw_syncs_per_s": syncs,
            "creates_per_raw_sync": per_sync, "latency": leg.latencies.json(),
            "server": used.map(|used| used.json(0, count)), "machine": machine(),
        }));
    }
    write(&common.out, &json!({ "scenario": "topics", "legs": legs }))
}

/// Small writes that the disk makes durable per second, one after the other.
fn raw_syncs(file: &mut probe::ProbeFile) -> Result<f64, Failure> {
    const SYNC_BYTES: usize = 4096;
    let probe = disk(file, SYNC_BYTES)?;
    Ok(probe.mb_per_s * 1e6 / report::to_f64(SYNC_BYTES as u64))
}

async fn geo_leg(args: &GeoArgs) -> Result<(), Failure> {
    let common = &args.common;
    let plan = geo::Plan {
        from: common.service.url()?,
        to: ServiceUrl::parse(&args.to_url)?,
        token: common.token()?,
        topic: common.fresh_topic(),
        message_bytes: args.message_size,
        rate: args.rate,
        lasting: Duration::from_secs(args.seconds),
    };
    let outcome = geo::run(&plan).await?;
    term::say(&format!(
        "{} published, {} read there: lag {}",
        outcome.published,
        outcome.delivered,
        outcome.lag.line()
    ));
    let settings = json!({ "rate": args.rate, "message_bytes": args.message_size, "seconds": args.seconds });
    let report = json!({
        "scenario": "geo", "settings": settings, "published": outcome.published, "delivered": outcome.delivered,
        "lag": outcome.lag.json(), "machine": machine(),
    });
    write(&common.out, &report)
}

fn probe_only(args: &ProbeArgs) -> Result<(), Failure> {
    let mut file = probe_file(&args.disk)?;
    let probe = disk(&mut file, args.size)?;
    term::say(&format!("disk, {} bytes per sync: {:.0} MB/s  {}", probe.size, probe.mb_per_s, probe.syncs.line()));
    let sink = sink(&mut file, args.size, 2 * PROBE_TIME)?;
    term::say(&format!("sink: {sink:.0} MB/s"));
    let value: Value = json!({ "disk": probe.json(), "sink_mb_per_s": sink, "machine": machine() });
    term::say(&value["machine"].to_string());
    Ok(())
}
