//! Many runs: verdicts, the comparison of two runs of one seed, and how soon each seeded bug is caught.

use crate::bugs::Bug;
use crate::check::{Kind, Violation, check};
use crate::options::Options;
use crate::queue::Time;
use crate::trace::Keep;
use crate::world::World;

/// What one run said.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub options: Options,
    pub violations: Vec<Violation>,
    pub hash: u64,
    pub events: u64,
    /// Simulated time.
    pub time: Time,
    /// Messages that were published and answered.
    pub acked: u64,
    /// Lines, when they were kept.
    pub lines: Vec<String>,
}

/// Runs one seed with regions of one node.
pub fn run(seed: u64, bug: Option<Bug>, keep: Keep) -> Verdict {
    play(Options::of_seed(seed), bug, keep)
}

/// Runs one seed with regions of three nodes.
pub fn run_cluster(seed: u64, bug: Option<Bug>, keep: Keep) -> Verdict {
    play(Options::of_cluster_seed(seed), bug, keep)
}

/// Runs one seed with regions of three nodes whose owners change all the time.
pub fn run_takeovers(seed: u64, bug: Option<Bug>, keep: Keep) -> Verdict {
    play(Options::of_takeover_seed(seed), bug, keep)
}

/// Runs what these options decide.
pub fn play(options: Options, bug: Option<Bug>, keep: Keep) -> Verdict {
    let outcome = World::new(options.clone(), bug, keep).run();
    let mut violations = match &outcome.broken {
        Some(text) => vec![Violation::new(Kind::Server, text.clone())],
        None => check(&outcome.history),
    };
    let acked = outcome.history.acked.iter().map(|acked| acked.last - acked.first + 1).sum();
    // F: no scenario passes when nothing succeeded.
    if acked == 0 && violations.is_empty() {
        violations.push(Violation::new(Kind::Liveness, "nothing was published"));
    }
    let hash = outcome.trace.hash();
    let lines = outcome.trace.into_lines();
    Verdict { options, violations, hash, events: outcome.events, time: outcome.time, acked, lines }
}

/// Whether two runs of a seed leave the same trace; the first difference otherwise.
///
/// # Errors
/// Both lines where the traces part.
pub fn same_twice(seed: u64, run: impl Fn(u64, Keep) -> Verdict) -> Result<u64, String> {
    let (first, second) = (run(seed, Keep::Lines), run(seed, Keep::Lines));
    if first.hash == second.hash {
        return Ok(first.hash);
    }
    let at = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b).unwrap_or(0);
    Err(format!("seed {seed}, line {at}:\n  {:?}\n  {:?}", first.lines.get(at), second.lines.get(at)))
}

/// Runs `one` for every seed on `jobs` threads and hands the results to `each` in the order of seeds.
pub fn in_order<T: Send>(
    seeds: std::ops::Range<u64>,
    jobs: usize,
    one: impl Fn(u64) -> T + Sync,
    mut each: impl FnMut(u64, T),
) {
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    let (send, receive) = std::sync::mpsc::sync_channel(2 * jobs.max(1));
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (send, one, next) = (send.clone(), &one, &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end || send.send((seed, one(seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let (mut expected, mut early) = (seeds.start, std::collections::BTreeMap::new());
        for (seed, result) in receive {
            early.insert(seed, result);
            while let Some(result) = early.remove(&expected) {
                each(expected, result);
                expected += 1;
            }
        }
    });
}

/// How many seeds, from `start`, it takes until one is caught; `None` within `seeds_max`.
pub fn seeds_to_catch(start: u64, seeds_max: u64, caught: impl Fn(u64) -> bool) -> Option<u64> {
    (0..seeds_max).find(|offset| caught(start + offset)).map(|offset| offset + 1)
}

/// Whether a seed catches a mistake of whole regions; a machine that asserts is caught too.
pub fn catches(seed: u64, bug: Bug) -> bool {
    shows(Options::of_seed(seed), bug).is_some()
}

/// What a seed with regions of three nodes shows of a mistake, if anything.
pub fn cluster_shows(seed: u64, bug: Bug) -> Option<String> {
    shows(Options::of_cluster_seed(seed), bug)
}

/// What a seed with takeovers shows of a mistake, if anything.
pub fn takeovers_show(seed: u64, bug: Bug) -> Option<String> {
    shows(Options::of_takeover_seed(seed), bug)
}

/// What a seed with regions of one node shows of a mistake, if anything.
pub fn region_shows(seed: u64, bug: Bug) -> Option<String> {
    shows(Options::of_seed(seed), bug)
}

fn shows(options: Options, bug: Bug) -> Option<String> {
    let run = || play(options, Some(bug), Keep::Hash).violations.first().map(ToString::to_string);
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(found) => found,
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "an assertion failed".to_owned())),
    }
}

/// The middle of several numbers of seeds; `None` when the bug was missed too often to say.
pub fn median(mut counts: Vec<Option<u64>>) -> Option<u64> {
    counts.sort_unstable_by_key(|count| count.unwrap_or(u64::MAX));
    counts.get(counts.len() / 2).copied().flatten()
}
