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

/// Runs one seed.
pub fn run(seed: u64, bug: Option<Bug>, keep: Keep) -> Verdict {
    let options = Options::of_seed(seed);
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
pub fn same_twice(seed: u64) -> Result<u64, String> {
    let (first, second) = (run(seed, None, Keep::Lines), run(seed, None, Keep::Lines));
    if first.hash == second.hash {
        return Ok(first.hash);
    }
    let at = first.lines.iter().zip(&second.lines).position(|(a, b)| a != b).unwrap_or(0);
    Err(format!("seed {seed}, line {at}:\n  {:?}\n  {:?}", first.lines.get(at), second.lines.get(at)))
}

/// How many seeds, from `start`, it takes to catch a bug; `None` within `seeds_max`.
pub fn seeds_to_catch(bug: Bug, start: u64, seeds_max: u64) -> Option<u64> {
    (0..seeds_max)
        .find(|offset| !run(start + offset, Some(bug), Keep::Hash).violations.is_empty())
        .map(|offset| offset + 1)
}

/// The middle of several numbers of seeds; `None` when the bug was missed too often to say.
pub fn median(mut counts: Vec<Option<u64>>) -> Option<u64> {
    counts.sort_unstable_by_key(|count| count.unwrap_or(u64::MAX));
    counts.get(counts.len() / 2).copied().flatten()
}
