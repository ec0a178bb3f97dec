//! Publish latency at a fixed rate, beside two baselines of a raw write and sync.
//!
//! **What**  The first baseline is a tight loop: the disk and the processor never rest. The second writes at the rate of the
//! messages, as the server must, and rests in between. Both run right before and right after every leg, on a file that was
//! written before.
//!
//! **Invariants**
//! - I1  ratios are of latencies with the same beginning: tight and `able` beside the latency from the send, the paced one
//!   from the intended moment beside the publisher's from the intended moment.

use super::probe::{self, PacedProbe, ProbeFile};
use super::process::Usage;
use super::report::{Latencies, machine, median, to_f64, write};
use super::{LatencyArgs, disk, is_steady, probe_file, publish};
use crate::exit::Failure;
use crate::term;
use serde_json::{Value, json};
use std::time::Duration;

/// What one small message costs a raw file.
const SYNC_BYTES: usize = 4096;
/// A paced probe lasts so long, before and after a leg.
const PACED_TIME: Duration = Duration::from_secs(2);

/// Ratios of one leg at one quantile.
struct Ratios {
    tight: f64,
    paced: f64,
    paced_intended: f64,
}

/// Runs all rounds.
///
/// # Errors
/// When the disk, the server or the report fails.
pub(super) fn rounds(args: &LatencyArgs) -> Result<(), Failure> {
    let common = &args.common;
    // One thread: the publisher's own threads must not wake each other.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::io("cannot start", error))?;
    let mut file = probe_file(&common.disk)?;
    let plan = publish::Plan {
        url: common.service.url()?,
        token: common.token()?,
        topic: common.fresh_topic(),
        connections: args.connections,
        message_bytes: args.message_size,
        batch: args.batch,
        window: 10_000,
        lasting: Duration::from_secs(args.seconds),
        rate: args.rate,
    };
    let (mut rounds, mut p50s, mut p99s) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=args.rounds {
        let (leg, [p50, p99]) = one_round(round, args, &plan, &mut file, &runtime)?;
        rounds.push(leg);
        p50s.push(p50);
        p99s.push(p99);
    }
    let middle = |ratios: &[Ratios], which: fn(&Ratios) -> f64| median(&ratios.iter().map(which).collect::<Vec<_>>());
    let line = |name: &str, which: fn(&Ratios) -> f64| {
        term::say(&format!(
            "median ratios to {name}: p50 {:.2}  p99 {:.2}",
            middle(&p50s, which),
            middle(&p99s, which)
        ));
    };
    line("raw syncs in a loop", |ratios: &Ratios| ratios.tight);
    line("raw syncs at the same rate (R4)", |ratios: &Ratios| ratios.paced);
    line("raw syncs at the same rate, both from the intended moment", |ratios: &Ratios| ratios.paced_intended);
    let settings = json!({
        "rate": args.rate, "connections": args.connections, "message_bytes": args.message_size,
        "batch": args.batch, "seconds": args.seconds,
    });
    write(&common.out, &json!({ "scenario": "latency", "settings": settings, "rounds": rounds }))
}

fn paced(file: &mut ProbeFile, rate: f64) -> Result<PacedProbe, Failure> {
    probe::paced_probe(file, SYNC_BYTES, rate, PACED_TIME)
        .map_err(|error| Failure::io("the paced disk probe failed", error))
}

/// Tight, paced, publish, paced, tight.
fn one_round(
    round: u32,
    args: &LatencyArgs,
    plan: &publish::Plan,
    file: &mut ProbeFile,
    runtime: &tokio::runtime::Runtime,
) -> Result<(Value, [Ratios; 2]), Failure> {
    let pids = &args.common.server_pid;
    let writes_per_s = args.rate / f64::from(args.batch.max(1));
    let mut before = disk(file, SYNC_BYTES)?;
    let mut paced_before = paced(file, writes_per_s)?;
    let usage = Usage::of(pids);
    let outcome = runtime.block_on(publish::run(plan))?;
    let used = usage.and_then(|usage| usage.until_now(pids));
    let paced_after = paced(file, writes_per_s)?;
    let after = disk(file, SYNC_BYTES)?;
    let steady = is_steady(&before, &after);
    let mut raw = json!({
        "disk_before": before.json(), "disk_after": after.json(), "disk_steady": steady,
        "paced_before": paced_before.json(), "paced_after": paced_after.json(), "messages": outcome.messages,
        "latency_from_send": outcome.latencies.sent.json(), "latency_from_intended": outcome.latencies.intended.json(),
        "server": used.map(|used| used.json(outcome.payload_bytes, outcome.messages)), "machine": machine(),
    });
    before.syncs.add(&after.syncs);
    paced_before.add(&paced_after);
    let (sent, intended) = (&outcome.latencies.sent, &outcome.latencies.intended);
    let [p50, p99] = [0.5, 0.99].map(|quantile| {
        let over = |ours: &Latencies, raw: &Latencies| to_f64(ours.at(quantile)) / to_f64(raw.at(quantile).max(1));
        Ratios {
            tight: over(sent, &before.syncs), // I1
            paced: over(sent, &paced_before.able),
            paced_intended: over(intended, &paced_before.intended),
        }
    });
    for (name, ratios) in [("p50", &p50), ("p99", &p99)] {
        raw[format!("ratio_loop_{name}")] = json!(ratios.tight);
        raw[format!("ratio_paced_{name}")] = json!(ratios.paced);
        raw[format!("ratio_paced_intended_{name}")] = json!(ratios.paced_intended);
    }
    term::say(&format!(
        "round {round}: {}\n  loop: {}  ratios p50 {:.2} p99 {:.2}{}\n  paced: {}  ratios p50 {:.2} p99 {:.2}",
        sent.line(),
        before.syncs.line(),
        p50.tight,
        p99.tight,
        if steady { "" } else { "  (disk drifted: discard)" },
        paced_before.able.line(),
        p50.paced,
        p99.paced,
    ));
    Ok((raw, [p50, p99]))
}
