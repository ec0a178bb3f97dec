//! The correct machines keep every promise in every state of every scene.

use model::scene::Extent;
use model::{Scene, explore};

/// Bound of the scenes that are too large to be walked to their end.
const STEPS_MAX: usize = 150_000;
/// States that all walks together must reach, so that none of them becomes small without anybody noticing.
const STATES_MIN: usize = 400_000;

#[test]
fn the_correct_machines_keep_every_promise_in_every_state() {
    let mut states = 0;
    for (scene, extent) in Scene::all() {
        let steps_max = if extent == Extent::Whole { 3_000_000 } else { STEPS_MAX };
        let report = explore(scene, 2, steps_max);
        let (name, whole) = (scene.name, report.whole);
        println!("{name}: {} states, {} steps, depth {}, whole: {whole}", report.states, report.steps, report.depth);
        assert!(report.finding.is_none(), "{name}: {:#?}", report.finding);
        if extent == Extent::Whole {
            assert!(whole, "{name} has grown: {} states", report.states);
            assert_eq!(report.unseen, Vec::<&str>::new(), "{name}");
        }
        states += report.states;
    }
    println!("{states} states in all");
    assert!(states >= STATES_MIN, "{states} states in all");
}
