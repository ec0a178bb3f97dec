//! Each seeded defect that fits a small ledger is found, with the shortest way to it.
//!
//! **Not here**  A fence one bookie short: here the reads fence whom it leaves out. An ensemble without what was pending: only
//! liveness suffers. An early close, and what takes three entries. The seeds of `sim` and of `ledger/tests` find those.

use ledger::{Seeded, SeededBug};
use model::{Scene, explore};

/// Bound of one walk.
const STEPS_MAX: usize = 400_000;

/// The small scenes, in the order in which they are tried.
const SCENES: [&str; 6] = [
    "3/3/2, one entry",
    "2/2/2, two recoveries",
    "2/2/2 and a spare, one entry",
    "2/2/2 and a spare, the second entry",
    "2/2/2 and a spare, the writer alone",
    "3/3/2, a disk lost",
];

/// Walks the small scenes until one shows the defect.
#[expect(clippy::print_stdout, reason = "what it took is this test's result")]
fn is_found(bug: SeededBug) {
    let limbo_denies = bug == SeededBug::LimboDenies;
    let all = Scene::all();
    let scenes = SCENES.iter().filter_map(|name| all.iter().find(|(scene, _)| scene.name == *name));
    let found = scenes.map(|(scene, _)| *scene).find_map(|scene| {
        let report = explore(Scene { seeded: Seeded::with(bug), limbo_denies, ..scene }, 2, STEPS_MAX);
        report.finding.map(|finding| (scene.name, report.states, finding))
    });
    let (scene, states, finding) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
    let steps = finding.way.len();
    println!("seeded bug: Ledger({bug:?}) | model | {states} states | {scene}, {steps} steps: {}", finding.promise);
}

macro_rules! found {
    ($($test:ident: $bug:ident,)*) => {$(
        #[test]
        fn $test() {
            is_found(SeededBug::$bug);
        }
    )*};
}

found! {
    b1_a_confirmation_one_copy_early: AckBelowAckQuorum,
    b1_a_fenced_answer_taken_for_a_copy: AnyAnswerCountsAsAck,
    b3_recovery_reads_that_do_not_fence: RecoveryReadWithoutFence,
    b4_recovery_from_the_beginning: RecoveryFromMinusOne,
    b5_silence_taken_for_a_negative: UnknownCountedNegative,
    b7_an_ensemble_used_before_it_is_committed: EnsembleBeforeCas,
    b7_copies_of_a_replaced_bookie_counted: LacCountsReplacedBookies,
    b7_a_writer_that_undoes_a_recovery: WriterOverwritesRecovery,
    b8_a_limbo_that_denies: LimboDenies,
}
