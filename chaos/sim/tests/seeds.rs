//! Seeds of every kind, pinned seeds, the comparison of two runs, and that each seeded bug is caught.

use sim::bugs::Bug;
use sim::campaign::{catches, run, run_cluster, run_takeovers, same_twice, seeds_to_catch, takeovers_show};
use sim::trace::Keep;

fn holds(seed: u64) {
    let verdict = run(seed, None, Keep::Hash);
    let replay = format!("cargo run -p sim -- run --seed {seed} --trace");
    assert!(verdict.violations.is_empty(), "{}\n{:#?}\n{replay}", verdict.options, verdict.violations);
}

#[test]
fn forty_seeds_hold_all_promises() {
    (0..40).for_each(holds);
}

#[test]
fn pinned_seeds_hold_all_promises() {
    let lines = include_str!("../seeds/pinned.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).for_each(holds);
}

#[test]
fn the_same_seed_leaves_the_same_trace() {
    for seed in 0..3 {
        if let Err(difference) = same_twice(seed, |seed, keep| run(seed, None, keep)) {
            panic!("{difference}");
        }
    }
}

fn cluster_holds(seed: u64) {
    let verdict = run_cluster(seed, None, Keep::Hash);
    let replay = format!("cargo run -p sim -- cluster --seed {seed} --trace");
    assert!(verdict.violations.is_empty(), "{}\n{:#?}\n{replay}", verdict.options, verdict.violations);
}

#[test]
fn thirty_seeds_of_regions_with_three_nodes_hold_all_promises() {
    (0..30).for_each(cluster_holds);
}

#[test]
fn pinned_cluster_seeds_hold_all_promises() {
    let lines = include_str!("../seeds/cluster.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok()).for_each(cluster_holds);
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
    for seed in 0..20 {
        let verdict = run_takeovers(seed, None, Keep::Hash);
        let replay = format!("cargo run -p sim -- takeover --seed {seed} --trace");
        assert!(verdict.violations.is_empty(), "{}\n{:#?}\n{replay}", verdict.options, verdict.violations);
    }
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
