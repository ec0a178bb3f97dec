//! The simulator's command line.
//!
//! `sim run --seed N [--trace] [--bug B] [--true-clocks]`,
//! `sim campaign --seeds N [--cluster-seeds C] [--cluster-minutes M] [--start S] [--jobs J]`,
//! `sim cluster --seed N [--trace]`, `sim cluster --seeds N [--start S] [--jobs J]`, the same with `takeover` (`--bug B` and
//! `--true-clocks` there too), `sim ledger --seeds N [--start S]`,
//! `sim meta --seeds N`, `sim bugs [--seeds N] [--bug PART_OF_NAME]`

use sim::bugs::Bug;
use sim::campaign::{
    Verdict, cluster_shows, in_order, median, play, region_shows, run, run_cluster, run_takeovers, same_twice,
    seeds_to_catch, takeovers_show,
};
use sim::options::Options;
use sim::trace::Keep;
use std::cell::RefCell;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// A ledger is played so many times faster than a region, and tried as much more often.
const LEDGERS_PER_SEED: u64 = 50;
/// What only several nodes can do wrong takes some seeds to be seen.
const TAKEOVERS_PER_SEED: u64 = 3;
/// Regions with takeovers take longer than others of three nodes: a campaign plays one for so many of those.
const TAKEOVERS_SHARE: u64 = 4;
/// Cluster seeds between two looks at the clock.
const STEP_SEEDS: u64 = 500;

const USAGE: &str = "usage: sim run --seed N [--trace] [--bug B] [--true-clocks] | \
    sim campaign --seeds N [--cluster-seeds C] [--cluster-minutes M] [--start S] [--jobs J] | \
    sim cluster|takeover --seed N [--trace] [--bug B] [--true-clocks] | \
    sim cluster|takeover --seeds N [--start S] [--jobs J] | \
    sim ledger --seeds N [--start S] | sim meta --seeds N | sim bugs [--seeds N] [--bug PART_OF_NAME]";

fn say(text: &str) {
    // Nobody reads any more: then nobody misses it.
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn text<'a>(args: &'a [String], name: &str) -> Option<&'a String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)
}

fn number(args: &[String], name: &str) -> Option<u64> {
    text(args, name)?.parse().ok()
}

fn report(verdict: &Verdict) -> bool {
    for violation in &verdict.violations {
        say(&format!("  {violation}"));
    }
    if !verdict.violations.is_empty() {
        let kind = match verdict.options.cluster.takeovers {
            Some(_) => "takeover",
            None if verdict.options.nodes > 1 => "cluster",
            None => "run",
        };
        say(&format!("  replay: cargo run -p sim -- {kind} --seed {} --trace", verdict.options.seed));
    }
    verdict.violations.is_empty()
}

/// The bug that `--bug` names as [`Bug::all`] prints it.
fn bug(args: &[String]) -> Option<Bug> {
    let name = text(args, "--bug")?;
    Bug::all().into_iter().find(|bug| format!("{bug:?}") == *name)
}

/// One seed, as the command line wants it played.
fn single(args: &[String], of_seed: impl Fn(u64) -> Options) -> bool {
    let options = of_seed(number(args, "--seed").unwrap_or(0));
    let is_true = args.iter().any(|arg| arg == "--true-clocks");
    let options = if is_true { options.with_true_clocks() } else { options };
    tell(&play(options, bug(args), keep(args)))
}

/// Says all that there is to say of one run.
fn tell(verdict: &Verdict) -> bool {
    say(&verdict.options.to_string());
    for line in &verdict.lines {
        say(line);
    }
    say(&format!(
        "seed {}: {} events, {} ms, {} messages answered, trace {:016x}, {} violations",
        verdict.options.seed,
        verdict.events,
        verdict.time / sim::queue::MS,
        verdict.acked,
        verdict.hash,
        verdict.violations.len()
    ));
    report(verdict)
}

fn keep(args: &[String]) -> Keep {
    if args.iter().any(|arg| arg == "--trace") { Keep::Lines } else { Keep::Hash }
}

fn jobs(args: &[String]) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    number(args, "--jobs").and_then(|jobs| usize::try_from(jobs).ok()).unwrap_or(cores)
}

/// Runs many seeds of one kind; whether all were good.
fn series(kind: &str, seeds: Range<u64>, jobs: usize, one: impl Fn(u64) -> Verdict + Sync) -> bool {
    let (count, start, mut bad) = (seeds.end - seeds.start, seeds.start, 0);
    in_order(seeds, jobs, one, |_, verdict| {
        if !verdict.violations.is_empty() {
            bad += 1;
            say(&verdict.options.to_string());
            report(&verdict);
        }
    });
    say(&format!("{count} {kind}seeds from {start}: {bad} with violations"));
    bad == 0
}

/// Regions of one node first, then regions of three, as many as there is time for, then as many ledgers as seeds.
fn campaign(args: &[String]) -> bool {
    let start = number(args, "--start").unwrap_or(0);
    let seeds = number(args, "--seeds").unwrap_or(100);
    let clusters = number(args, "--cluster-seeds").unwrap_or(seeds / 4);
    let single = series("", start..start + seeds, jobs(args), |seed| run(seed, None, Keep::Hash));
    let time = number(args, "--cluster-minutes").map(|minutes| Duration::from_secs(60 * minutes));
    let (several, end) = clusters_in(time, start..start + clusters, jobs(args));
    let taken = start..start + (end - start) / TAKEOVERS_SHARE;
    let taken = series("takeover ", taken, jobs(args), |seed| run_takeovers(seed, None, Keep::Hash));
    ledgers(start..start + seeds, jobs(args)) && single && several && taken
}

/// Whether all that there was time for were good, and the first seed that there was no time for.
#[allow(clippy::disallowed_methods, reason = "how long the campaign of a slow machine lasts, and nothing in a seed")]
fn clusters_in(time: Option<Duration>, seeds: Range<u64>, jobs: usize) -> (bool, u64) {
    let (began, mut good, mut next) = (Instant::now(), true, seeds.start);
    while next < seeds.end && time.is_none_or(|time| began.elapsed() < time) {
        let step = next..seeds.end.min(next + STEP_SEEDS);
        next = step.end;
        good &= series("cluster ", step, jobs, |seed| run_cluster(seed, None, Keep::Hash));
    }
    if next < seeds.end {
        say(&format!("there was no time for {} more cluster seeds", seeds.end - next));
    }
    (good, next)
}

/// One seed or many of a kind of region with three nodes.
fn cluster(args: &[String], kind: &str, of_seed: impl Fn(u64) -> Options + Sync) -> bool {
    if number(args, "--seed").is_some() {
        return single(args, of_seed);
    }
    let start = number(args, "--start").unwrap_or(0);
    let seeds = number(args, "--seeds").unwrap_or(100);
    series(kind, start..start + seeds, jobs(args), |seed| play(of_seed(seed), bug(args), Keep::Hash))
}

fn meta(seeds: u64) -> bool {
    (0..seeds).all(|seed| match same_twice(seed, |seed, keep| run(seed, None, keep)) {
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

/// What one seed shows of a bug, if anything.
type Shows<'a> = &'a (dyn Fn(u64) -> Option<String> + Sync);

/// Hunts one bug in one room, three times; whether it was caught in more than half of the hunts.
fn hunt(bug: &str, room: &str, seeds_max: u64, shows: Shows<'_>) -> bool {
    let one = |series: u64| {
        let last = RefCell::new(String::new());
        let caught = |seed| shows(seed).map(|text| last.replace(text)).is_some();
        (seeds_to_catch(10_000 * series, seeds_max, caught), last.into_inner())
    };
    let hunts: Vec<(Option<u64>, String)> = std::thread::scope(|scope| {
        let hunts = [0, 1, 2].map(|series| scope.spawn(move || one(series)));
        hunts.into_iter().map(|hunt| hunt.join().unwrap_or_default()).collect()
    });
    let middle = median(hunts.iter().map(|(count, _)| *count).collect());
    let text = middle.map_or_else(|| format!("not in {seeds_max}"), |count| count.to_string());
    let seen = hunts.iter().rev().find_map(|(_, text)| text.lines().next());
    let what: String = seen.unwrap_or_default().chars().take(110).collect();
    say(&format!("seeded bug: {bug} | {room} | {text} seeds | {what}"));
    middle.is_some()
}

/// One line for each bug and room. The lines are what `cargo xtask bugs` makes its table of.
fn bugs(seeds_max: u64, only: Option<&String>) -> bool {
    // Assertions of machines count as caught; nobody wants to read them.
    std::panic::set_hook(Box::new(|_| ()));
    let mut all = true;
    for bug in Bug::all() {
        let name = format!("{bug:?}");
        if only.is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let of_cluster = Bug::CLUSTER.contains(&bug);
        let caught = !of_cluster && hunt(&name, "regions", seeds_max, &|seed| region_shows(seed, bug));
        let takeovers = TAKEOVERS_PER_SEED * seeds_max;
        let caught = caught || of_cluster && hunt(&name, "takeovers", takeovers, &|seed| takeovers_show(seed, bug));
        let caught = caught || hunt(&name, "clusters", seeds_max, &|seed| cluster_shows(seed, bug));
        if sim::ledgers::concerns(bug) {
            let of_ledger = |seed| sim::ledgers::run_mistaken(seed, bug).err();
            all &= hunt(&name, "ledgers", LEDGERS_PER_SEED * seeds_max, &of_ledger) || caught;
        } else {
            all &= caught;
        }
    }
    for bug in sim::ledgers::bugs() {
        let name = format!("Ledger({bug:?})");
        if only.is_none_or(|only| name.contains(only.as_str())) {
            let seeds_max = LEDGERS_PER_SEED * seeds_max;
            all &= hunt(&name, "ledgers", seeds_max, &|seed| sim::ledgers::run(seed, Some(bug)).err());
        }
    }
    all
}

fn ledgers(seeds: Range<u64>, jobs: usize) -> bool {
    let (count, start, mut bad) = (seeds.end - seeds.start, seeds.start, 0);
    in_order(
        seeds,
        jobs,
        |seed| sim::ledgers::run(seed, None),
        |seed, outcome| {
            if let Err(finding) = outcome {
                bad += 1;
                say(&format!("ledger seed {seed}: {finding}"));
            }
        },
    );
    say(&format!("{count} ledger seeds from {start}: {bad} with violations"));
    bad == 0
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let good = match args.first().map(String::as_str) {
        Some("run") => single(&args, Options::of_seed),
        Some("cluster") => cluster(&args, "cluster ", Options::of_cluster_seed),
        Some("takeover") => cluster(&args, "takeover ", Options::of_takeover_seed),
        Some("campaign") => campaign(&args),
        Some("ledger") => {
            let start = number(&args, "--seed").or_else(|| number(&args, "--start")).unwrap_or(0);
            let seeds = if number(&args, "--seed").is_some() { 1 } else { number(&args, "--seeds").unwrap_or(1000) };
            ledgers(start..start + seeds, 1)
        }
        Some("meta") => meta(number(&args, "--seeds").unwrap_or(5)),
        Some("bugs") => bugs(number(&args, "--seeds").unwrap_or(40), text(&args, "--bug")),
        _ => {
            say(USAGE);
            return ExitCode::from(2);
        }
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
