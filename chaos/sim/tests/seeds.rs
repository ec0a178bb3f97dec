//! Seeds of every kind, pinned seeds, the comparison of two runs, and that each seeded bug is caught.

use sim::bugs::Bug;
use sim::campaign::{catches, play, run, run_cluster, run_takeovers, same_twice, seeds_to_catch, takeovers_show};
use sim::options::Options;
use sim::trace::Keep;

/// The seeds of a list, each as it is now and with the clocks of the time when it was found.
fn pinned(list: &str, of_seed: impl Fn(u64) -> Options) -> Vec<Options> {
    let lines = list.lines().filter(|line| !line.starts_with('#'));
    let seeds = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok());
    let mut options: Vec<Options> =
        seeds.flat_map(|seed: u64| [of_seed(seed), of_seed(seed).with_true_clocks()]).collect();
    options.dedup();
    options
}

fn holds(options: Options, kind: &str) {
    let verdict = play(options, None, Keep::Hash);
    let replay = format!("cargo run -p sim -- {kind} --seed {} --trace [--true-clocks]", verdict.options.seed);
    assert!(verdict.violations.is_empty(), "{}\n{:#?}\n{replay}", verdict.options, verdict.violations);
}

#[test]
fn forty_seeds_hold_all_promises() {
    (0..40).for_each(|seed| holds(Options::of_seed(seed), "run"));
}

#[test]
fn pinned_seeds_hold_all_promises() {
    let seeds = pinned(include_str!("../seeds/pinned.txt"), Options::of_seed);
    seeds.into_iter().for_each(|options| holds(options, "run"));
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..3 {
        if let Err(difference) = same_twice(seed, |seed, keep| run(seed, None, keep)) {
            panic!("{difference}");
        }
    }
}

#[test]
fn thirty_seeds_of_regions_with_three_nodes_hold_all_promises() {
    (0..30).for_each(|seed| holds(Options::of_cluster_seed(seed), "cluster"));
}

#[test]
fn pinned_cluster_seeds_hold_all_promises() {
    let seeds = pinned(include_str!("../seeds/cluster.txt"), Options::of_cluster_seed);
    seeds.into_iter().for_each(|options| holds(options, "cluster"));
}

#[test]
fn the_same_cluster_seed_leaves_the_same_trace() {
    for seed in 0..3 {
        if let Err(difference) = same_twice(seed, |seed, keep| run_cluster(seed, None, keep)) {
            panic!("{difference}");
        }
    }
}

#[test]
fn twenty_seeds_of_takeovers_hold_all_promises() {
    (0..20).for_each(|seed| holds(Options::of_takeover_seed(seed), "takeover"));
}

#[test]
fn pinned_takeover_seeds_hold_all_promises() {
    let seeds = pinned(include_str!("../seeds/takeover.txt"), Options::of_takeover_seed);
    seeds.into_iter().for_each(|options| holds(options, "takeover"));
}

#[test]
fn the_same_seed_of_takeovers_leaves_the_same_trace() {
    for seed in 0..3 {
        if let Err(difference) = same_twice(seed, |seed, keep| run_takeovers(seed, None, keep)) {
            panic!("{difference}");
        }
    }
}

#[test]
fn a_thousand_ledger_seeds_hold_all_promises() {
    for seed in 0..1000 {
        if let Err(finding) = sim::ledgers::run(seed, None) {
            panic!("ledger seed {seed}: {finding}\ncargo run -p sim -- ledger --seed {seed}");
        }
    }
}

#[test]
fn each_mistake_of_a_shell_is_caught() {
    for bug in Bug::SHELL {
        let caught = seeds_to_catch(0, 30, |seed| catches(seed, bug));
        assert!(caught.is_some(), "{bug:?} was not caught in 30 seeds");
    }
}

#[test]
fn each_mistake_between_nodes_is_caught() {
    for bug in Bug::CLUSTER {
        let in_a_ledger = |seed| sim::ledgers::run_mistaken(seed, bug).is_err();
        let caught = if sim::ledgers::concerns(bug) {
            seeds_to_catch(0, 2000, in_a_ledger)
        } else {
            seeds_to_catch(0, 120, |seed| takeovers_show(seed, bug).is_some())
        };
        assert!(caught.is_some(), "{bug:?} was not caught");
    }
}

#[test]
fn each_bug_of_a_ledger_is_caught() {
    for bug in sim::ledgers::bugs() {
        let caught = seeds_to_catch(0, 2000, |seed| sim::ledgers::run(seed, Some(bug)).is_err());
        assert!(caught.is_some(), "{bug:?} was not caught in 2000 ledger seeds");
    }
}
