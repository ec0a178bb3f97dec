//! probe
use ledger::{Seeded, SeededBug};
use model::{Scene, explore};

#[test]
fn probe() {
    for bug in SeededBug::ALL {
        let mut hit = false;
        for (scene, _) in Scene::all() {
            let limbo_denies = bug == SeededBug::LimboDenies;
            let r = explore(Scene { seeded: Seeded::with(bug), limbo_denies, ..scene }, 1, 150_000);
            if let Some(f) = r.finding {
                println!("FOUND {bug:?} in {:?}: {} [{}] after {} states; way {}; {}", scene.name, f.promise, f.way.last().unwrap().chars().take(120).collect::<String>(), r.states, f.way.len(), "");
                hit = true;
                break;
            }
        }
        if !hit { println!("MISSED {bug:?}"); }
    }
}
