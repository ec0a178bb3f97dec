//! The link on channels that cut, lose, repeat and reorder, with crashes on both sides: thousands of seeds.

mod world;

use world::{Setup, World};

fn run_seeds(first: u64, count: u64, setup: impl Fn(u64) -> Setup) {
    for seed in first..first + count {
        if let Err(violation) = World::run(seed, setup(seed)) {
            panic!("seed {seed}: {}", violation.0);
        }
    }
}

#[test]
fn the_copy_is_exact_on_a_channel_that_cuts_while_both_sides_crash() {
    run_seeds(1, 1_500, |_| Setup::cutting());
}

#[test]
fn the_copy_is_exact_on_a_channel_that_also_loses_repeats_and_reorders() {
    run_seeds(10_000, 1_500, |_| Setup::lossy());
}

#[test]
fn the_copy_is_exact_under_random_mixtures_of_faults() {
    run_seeds(20_000, 1_500, |seed| {
        let mut rng = base::Rng::new(seed).fork("setup");
        Setup {
            lose: rng.below(20),
            repeat: rng.below(20),
            reorder: rng.below(60),
            cut_one_in: rng.below(200),
            crash_one_in: rng.below(200),
            refuse: rng.below(20),
            skip: rng.below(101),
            window_bytes_max: rng.range(1, 10_000),
            credit_bytes: rng.range(1, 10_000),
            trim: rng.one_in(2),
            ..Setup::lossy()
        }
    });
}

#[test]
fn entries_that_change_their_mind_at_every_read_never_disturb_the_others() {
    run_seeds(30_000, 1_500, |seed| Setup {
        waver: 30,
        ..if seed % 2 == 0 { Setup::cutting() } else { Setup::lossy() }
    });
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let digest = |seed| format!("{:?}", World::run(seed, Setup::lossy()));
    assert_eq!(digest(77), digest(77));
}
