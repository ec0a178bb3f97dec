//! The simulator's command line.
//!
//! `sim run --seed N [--trace] [--bug B]`, `sim campaign --seeds N [--start S]`, `sim meta --seeds N`, `sim bugs [--seeds N]`

use sim::bugs::Bug;
use sim::campaign::{Verdict, median, run, same_twice, seeds_to_catch};
use sim::options::Options;
use sim::trace::Keep;
use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: sim run --seed N [--trace] [--bug B] | sim campaign --seeds N [--start S] | sim meta --seeds N | sim bugs [--seeds N]";

fn say(text: &str) {
    // Nobody reads any more: then nobody misses it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn number(args: &[String], name: &str) -> Option<u64> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)?.parse().ok()
}

fn report(verdict: &Verdict) -> bool {
    for violation in &verdict.violations {
        say(&format!("  {violation}"));
    }
    if !verdict.violations.is_empty() {
        say(&format!("  replay: cargo run -p sim -- run --seed {} --trace", verdict.options.seed));
    }
    verdict.violations.is_empty()
}

/// The bug that `--bug` names as [`Bug::all`] prints it.
fn bug(args: &[String]) -> Option<Bug> {
    let at = args.iter().position(|arg| arg == "--bug")?;
    let name = args.get(at + 1)?;
    Bug::all().into_iter().find(|bug| format!("{bug:?}") == *name)
}

fn run_one(seed: u64, bug: Option<Bug>, keep: Keep) -> bool {
    say(&Options::of_seed(seed).to_string());
    let verdict = run(seed, bug, keep);
    for line in &verdict.lines {
        say(line);
    }
    say(&format!(
        "seed {seed}: {} events, {} ms, {} messages answered, trace {:016x}, {} violations",
        verdict.events,
        verdict.time / sim::queue::MS,
        verdict.acked,
        verdict.hash,
        verdict.violations.len()
    ));
    report(&verdict)
}

fn campaign(start: u64, seeds: u64) -> bool {
    let mut bad = 0;
    for seed in start..start + seeds {
        let verdict = run(seed, None, Keep::Hash);
        if !verdict.violations.is_empty() {
            bad += 1;
            say(&verdict.options.to_string());
            report(&verdict);
        }
    }
    say(&format!("{seeds} seeds from {start}: {bad} with violations"));
    bad == 0
}

fn meta(seeds: u64) -> bool {
    (0..seeds).all(|seed| match same_twice(seed) {
        Ok(hash) => {
            say(&format!("seed {seed}: {hash:016x} twice"));
            true
        }
        Err(difference) => {
            say(&difference);
            false
        }
    })
}

fn bugs(seeds_max: u64) -> bool {
    let mut all = true;
    for bug in Bug::all() {
        let counts: Vec<Option<u64>> = (0..3).map(|series| seeds_to_catch(bug, 1000 * series, seeds_max)).collect();
        let text =
            median(counts.clone()).map_or_else(|| "not caught".to_owned(), |count| format!("median {count} seeds"));
        all &= counts.iter().any(Option::is_some);
        say(&format!("{bug:?}: {text} {counts:?}"));
    }
    all
}

/// Ledger seeds; one of them with `--seed`.
fn ledgers(args: &[String]) -> bool {
    let seeds = match number(args, "--seed") {
        Some(seed) => seed..seed + 1,
        None => {
            let start = number(args, "--start").unwrap_or(0);
            start..start + number(args, "--seeds").unwrap_or(1000)
        }
    };
    let mut bad = 0;
    for seed in seeds.clone() {
        if let Err(finding) = sim::ledgers::run(seed, None) {
            bad += 1;
            say(&format!("ledger seed {seed}: {finding}"));
        }
    }
    say(&format!("{} ledger seeds from {}: {bad} with violations", seeds.end - seeds.start, seeds.start));
    bad == 0
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let good = match args.first().map(String::as_str) {
        Some("run") => {
            let keep = if args.iter().any(|arg| arg == "--trace") { Keep::Lines } else { Keep::Hash };
            run_one(number(&args, "--seed").unwrap_or(0), bug(&args), keep)
        }
        Some("campaign") => campaign(number(&args, "--start").unwrap_or(0), number(&args, "--seeds").unwrap_or(100)),
        Some("ledger") => ledgers(&args),
        Some("meta") => meta(number(&args, "--seeds").unwrap_or(5)),
        Some("bugs") => bugs(number(&args, "--seeds").unwrap_or(40)),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
