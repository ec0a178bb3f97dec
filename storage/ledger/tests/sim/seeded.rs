//! Switches on one known bug after the other and demands that the simulator notices each within a bounded number of seeds.

use crate::play;
use ledger::{Seeded, SeededBug};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Independent hunts per bug; the median of their lengths is printed.
const HUNTS: u64 = 5;
const SEEDS_MAX: u64 = 5_000;

/// Seeds until the bug is noticed, by a check or by an assertion of a machine.
fn hunt(bug: SeededBug, first_seed: u64) -> Option<(u64, String)> {
    (first_seed..first_seed + SEEDS_MAX).find_map(|seed| {
        let outcome = catch_unwind(AssertUnwindSafe(|| play(seed, Seeded::with(bug), false)));
        let violation = match outcome {
            Ok(Ok(_)) => return None,
            Ok(Err(violation)) => violation,
            Err(panic) => panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "assertion".to_owned()),
        };
        Some((seed - first_seed + 1, violation))
    })
}

#[test]
fn every_seeded_bug_is_caught() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let hunts: Vec<_> = SeededBug::ALL
        .iter()
        .map(|&bug| (bug, (0..HUNTS).map(|hunt_no| hunt(bug, 1_000_000 * (hunt_no + 1))).collect::<Vec<_>>()))
        .collect();
    std::panic::set_hook(hook);
    let mut missed = Vec::new();
    for (bug, hunts) in hunts {
        let mut lengths: Vec<u64> = hunts.iter().flatten().map(|(length, _)| *length).collect();
        lengths.sort_unstable();
        let example = hunts.iter().flatten().next().map_or("never caught", |(_, violation)| violation.as_str());
        match lengths.get(lengths.len() / 2) {
            Some(median) if lengths.len() == hunts.len() => {
                println!("seeded bug: Ledger({bug:?}) | tests of ledger | {median} seeds | {example}");
            }
            _ => missed.push(format!("{bug:?}: caught in {} of {HUNTS} hunts; {example}", lengths.len())),
        }
    }
    assert!(missed.is_empty(), "seeded bugs that the checks miss within {SEEDS_MAX} seeds: {missed:#?}");
}
