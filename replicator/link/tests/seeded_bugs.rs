//! The checkers are checked: each planted bug is caught, and the median number of seeds that it takes is printed.

mod world;

use link::SeededBug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use world::{Setup, World};

const TRIALS: u64 = 9;
const SEEDS_MAX: u64 = 400;

/// What one seed shows of a bug: the checker's words or a broken invariant.
fn shows(seed: u64, bug: SeededBug, scenario: fn(u64, Setup) -> Result<(), String>) -> Option<String> {
    let setup = if seed.is_multiple_of(2) { Setup::cutting() } else { Setup::lossy() };
    let run = catch_unwind(AssertUnwindSafe(|| scenario(seed, Setup { bug: Some(bug), ..setup })));
    match run {
        Ok(Ok(())) => None,
        Ok(Err(text)) => Some(text),
        Err(panic) => Some(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "an invariant".to_owned())),
    }
}

fn plain(seed: u64, setup: Setup) -> Result<(), String> {
    World::run(seed, setup).map(|_| ()).map_err(|v| v.0)
}

/// The copy loses half of what it acknowledged; the log still has everything.
fn remote_loses(seed: u64, setup: Setup) -> Result<(), String> {
    let mut world = World::run(seed, Setup { trim: false, ..setup }).map_err(|v| v.0)?;
    world.cut();
    world.cursor_is_checked = false;
    let keep = world.remote.log.len() / 2;
    world.remote.lose_durable(keep);
    for _ in 0..20 {
        world.publish();
    }
    world.heal().map_err(|v| v.0)
}

/// The copy is replaced, and the log no longer has everything.
fn remote_replaced(seed: u64, setup: Setup) -> Result<(), String> {
    let mut world = World::run(seed, setup).map_err(|v| v.0)?;
    world.cut();
    world.cursor_is_checked = false;
    world.origin.trimmed = world.origin.log.len();
    world.remote.lose_durable(0);
    world.remote.incarnation += 1;
    world.remote.starts_after = world.origin.view().trimmed_up_to;
    world.crash_sender();
    for _ in 0..10 {
        world.publish();
    }
    world.heal().map_err(|v| v.0)
}

#[expect(clippy::print_stdout, reason = "the number of seeds that a bug takes is this test's result")]
fn is_caught(bug: SeededBug, scenario: fn(u64, Setup) -> Result<(), String>) {
    let mut needed = Vec::new();
    let mut example = String::new();
    for trial in 0..TRIALS {
        let first = trial * SEEDS_MAX;
        let caught = (0..SEEDS_MAX).find_map(|n| shows(first + n, bug, scenario).map(|text| (n + 1, text)));
        let (seeds, text) = caught.unwrap_or_else(|| panic!("{bug:?} was not caught in {SEEDS_MAX} seeds"));
        needed.push(seeds);
        example = text;
    }
    needed.sort_unstable();
    println!("seeded bug: Link({bug:?}) | tests of link | {} seeds | {example}", needed[needed.len() / 2]);
}

#[test]
fn an_off_by_one_successor_is_caught() {
    is_caught(SeededBug::OffByOneSuccessor, plain);
}

#[test]
fn a_watermark_taken_for_a_duplicate_ack_is_caught() {
    is_caught(SeededBug::WatermarkAsDuplicateAck, plain);
}

#[test]
fn an_ack_before_durability_is_caught() {
    is_caught(SeededBug::AckBeforeDurable, plain);
}

#[test]
fn a_forgotten_last_forwarded_is_caught() {
    is_caught(SeededBug::ForgottenLastForwarded, remote_loses);
}

#[test]
fn an_ignored_rewind_is_caught() {
    is_caught(SeededBug::RewindIgnored, plain);
}

#[test]
fn a_skip_that_passes_unacked_entries_is_caught() {
    is_caught(SeededBug::SkipPassesUnacked, plain);
}

#[test]
fn an_ignored_incarnation_is_caught() {
    is_caught(SeededBug::IncarnationIgnored, remote_replaced);
}

#[test]
fn an_ignored_credit_is_caught() {
    is_caught(SeededBug::CreditIgnored, plain);
}

#[test]
fn without_a_bug_the_same_scenarios_show_nothing() {
    for seed in 0..60 {
        let setup = if seed % 2 == 0 { Setup::cutting() } else { Setup::lossy() };
        for scenario in [plain, remote_loses, remote_replaced] {
            assert_eq!(scenario(seed, setup), Ok(()), "seed {seed}");
        }
    }
}
