//! Each seeded defect that fits a small ledger is found, with the shortest way to it.

use ledger::{Seeded, SeededBug};
use model::{Scene, explore};

/// Bound of one walk.
const STEPS_MAX: usize = 400_000;

/// Walks the small scenes until one shows the defect.
#[expect(clippy::print_stdout, reason = "what it took is this test's result")]
fn is_found(bug: SeededBug) {
    let limbo_denies = bug == SeededBug::LimboDenies;
    let scenes = [1, 0, 2, 6].map(|index: usize| Scene::all()[index].0);
    let found = scenes.into_iter().find_map(|scene| {
        let report = explore(Scene { seeded: Seeded::with(bug), limbo_denies, ..scene }, 2, STEPS_MAX);
        report.finding.map(|finding| (scene.name, report.states, finding))
    });
    let (scene, states, finding) = found.unwrap_or_else(|| panic!("{bug:?} is not found"));
    println!("{bug:?}: {} ({scene}), {states} states, {} steps", finding.promise, finding.way.len());
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
    b2_a_fence_one_bookie_short: FenceCoverageShort,
    b3_recovery_reads_that_do_not_fence: RecoveryReadWithoutFence,
    b4_recovery_from_the_beginning: RecoveryFromMinusOne,
    b5_silence_taken_for_a_negative: UnknownCountedNegative,
    b6_a_close_before_the_write_back: CloseBeforeWriteBack,
    b7_an_ensemble_used_before_it_is_committed: EnsembleBeforeCas,
    b7_an_ensemble_without_what_was_pending: EnsembleWithoutResend,
    b7_copies_of_a_replaced_bookie_counted: LacCountsReplacedBookies,
    b7_a_writer_that_undoes_a_recovery: WriterOverwritesRecovery,
    b8_a_limbo_that_denies: LimboDenies,
}
