//! Seeds of every kind, pinned seeds, the comparison of two runs.

use sim::campaign::{run, same_twice};
use sim::trace::Keep;

fn holds(seed: u64) {
    let verdict = run(seed, None, Keep::Hash);
    let replay = format!("cargo run -p sim -- run --seed {seed} --trace");
    assert!(verdict.violations.is_empty(), "{}\n{:#?}\n{replay}", verdict.options, verdict.violations);
}

#[test]
fn a_hundred_seeds_hold_all_promises() {
    (0..100).for_each(holds);
}

#[test]
fn pinned_seeds_hold_all_promises() {
    let lines = include_str!("../seeds/pinned.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).for_each(holds);
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..5 {
        if let Err(difference) = same_twice(seed) {
            panic!("{difference}");
        }
    }
}
