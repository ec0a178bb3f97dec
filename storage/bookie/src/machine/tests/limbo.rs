//! A start that may have lost anything: nothing is denied until a repair says so, whatever happens in between.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Ledgers 1 and 2 with two entries each; then the process comes back in doubt.
fn doubtful() -> World {
    let mut world = World::new();
    for (ledger, entry) in [(1, 0), (1, 1), (2, 0), (2, 1)] {
        world.add(ledger, entry, 50);
    }
    world.crash_into(BookieStart::MayHaveLost)
}

fn denies(outcome: &ReadOutcome) -> bool {
    matches!(outcome, ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger)
}

#[test]
fn b8_a_bookie_that_may_have_lost_data_serves_what_it_has_and_denies_nothing() {
    let mut world = doubtful();
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Entries(vec![stored(1, 0, 50)]));
    assert_eq!(world.read(1, 2, 1), ReadOutcome::Unknown, "LimboState I1");
    assert_eq!(world.read(7, 0, 1), ReadOutcome::Unknown, "it may have known ledger 7");
    assert_eq!(world.lac(7, false), LacOutcome::Unknown);
    assert_eq!((world.add(1, 2, 10), world.add(7, 0, 10)), (AddOutcome::Fenced, AddOutcome::Unknown));
    assert!(world.bookie.stats().limbo && world.bookie.start_is_recorded());
    world.retain(&[1, 2, 3]);
    assert_eq!(world.read(3, 0, 1), ReadOutcome::Unknown, "listed, so it may have been here");
    assert_eq!((world.add(1, 2, 10), world.add(3, 0, 10)), (AddOutcome::Fenced, AddOutcome::Fenced));
    assert_eq!((world.add(9, 0, 10), world.read(9, 1, 1)), (AddOutcome::Stored, ReadOutcome::NoSuchEntry));
    let stats = world.bookie.stats();
    assert_eq!((stats.limbo, stats.limbo_ledgers), (false, 3));
}

#[test]
fn b8_limbo_survives_kills_at_every_point_until_a_repair_lifts_it() {
    let mut world = doubtful().crash();
    assert!(!world.bookie.stats().limbo, "nothing was written yet, so the start must be said again");
    world = world.crash_into(BookieStart::MayHaveLost);
    assert!(!world.bookie.start_is_recorded());
    world.clean(1);
    assert!(world.bookie.start_is_recorded());
    for _ in 0..2 {
        world = world.crash();
        assert_eq!(world.read(7, 0, 1), ReadOutcome::Unknown, "not measured: everything is in limbo");
        assert!(!world.repaired(1), "nobody knows yet what is to be repaired");
    }
    world.retain(&[1, 2, 3]);
    for _ in 0..2 {
        world = world.crash();
        assert_eq!((world.read(2, 2, 1), world.read(3, 0, 1)), (ReadOutcome::Unknown, ReadOutcome::Unknown));
        assert_eq!(world.add(2, 2, 10), AddOutcome::Fenced);
        assert_eq!(world.read(7, 0, 1), ReadOutcome::NoSuchLedger);
    }
    let recovery = world.ask_recovery_add(2, 2, 10);
    world.settle();
    assert_eq!(world.added(recovery), Some(AddOutcome::Stored));
    assert!(world.repaired(2) && world.repaired(2) && world.repaired(99));
    for _ in 0..2 {
        assert_eq!(world.read(2, 3, 1), ReadOutcome::NoSuchEntry, "lifted");
        assert_eq!(world.add(2, 3, 10), AddOutcome::Fenced, "LimboState I3");
        assert_eq!(world.read(3, 0, 1), ReadOutcome::Unknown, "another ledger is not");
        world = world.crash();
    }
}

#[test]
fn b8_a_repair_does_not_lift_a_later_loss() {
    let mut world = doubtful();
    world.retain(&[1, 2]);
    assert!(world.repaired(1));
    let mut world = world.crash_into(BookieStart::MayHaveLost);
    assert_eq!(world.read(1, 2, 1), ReadOutcome::Unknown);
    world.retain(&[1, 2]);
    let mut world = world.crash();
    assert_eq!(world.read(1, 2, 1), ReadOutcome::Unknown, "LimboState I2");
    assert!(!world.repaired_of(1, 1), "LimboState I2: a repair that began before the loss");
    assert!(world.repaired_of(1, 2));
    assert_eq!(world.crash().read(1, 2, 1), ReadOutcome::NoSuchEntry);
}

#[test]
fn a_loss_that_is_half_measured_at_a_kill_is_measured_again() {
    let mut world = doubtful();
    let listing = LedgerListing { known: (1..4000).map(LedgerId).collect(), below: LedgerId(4000) };
    let mut fx = Fx::new();
    world.bookie.retain_ledgers(world.now, &listing, &mut fx);
    world.perform(&mut fx);
    assert!(world.write_one(), "the first marks are durable, the loss is not measured");
    assert!(world.bookie.stats().limbo, "LimboState I1");
    let mut world = world.crash();
    assert_eq!(world.read(3999, 0, 1), ReadOutcome::Unknown, "LimboState I1");
    assert_eq!(world.read(9999, 0, 1), ReadOutcome::Unknown);
    world.retain(&[1]);
    assert_eq!(world.read(9999, 0, 1), ReadOutcome::NoSuchLedger);
}

#[test]
fn deleting_a_ledger_in_limbo_forgets_its_mark() {
    let mut world = doubtful();
    world.retain(&[1, 2]);
    world.delete(1);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::NoSuchLedger);
    let mut world = world.crash();
    assert_eq!((world.read(1, 0, 1), world.bookie.stats().limbo_ledgers), (ReadOutcome::NoSuchLedger, 1));
}

#[test]
fn what_may_lack_something_is_listed_in_pages_and_what_lacks_is_named() {
    let mut world = doubtful();
    assert_eq!((world.limbo(), world.missing(1, 5)), (vec![], (vec![], 0)), "not measured: nothing is said");
    let listed: Vec<u64> = (1..=2_500).collect();
    world.retain(&listed);
    let limbo = world.limbo();
    assert_eq!(
        limbo.iter().map(|one| (one.ledger.0, one.loss)).collect::<Vec<_>>(),
        listed.iter().map(|id| (*id, 1)).collect::<Vec<_>>()
    );
    assert_eq!(world.missing(1, 5), (vec![(2, 5)], 5));
    assert_eq!(world.missing(2_000, 5), (vec![(0, 5)], 5));
    for entry in [2, 4] {
        world.ask_recovery_add(1, entry, 50);
        world.settle();
    }
    assert_eq!(world.missing(1, 5), (vec![(3, 4)], 5));
    assert_eq!(world.missing(1, 2), (vec![], 2));
    assert!(world.repaired(1));
    assert_eq!(world.limbo().len(), 2_499);
}

#[derive(Clone, Debug)]
enum Op {
    Add { ledger: u64, len: usize },
    Repaired { ledger: u64 },
    Delete { ledger: u64 },
    Listing,
    Clean,
    Crash { lost: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let ledger = 1..5_u64;
    prop_oneof![
        8 => (ledger.clone(), 0..9000_usize).prop_map(|(ledger, len)| Op::Add { ledger, len }),
        3 => ledger.clone().prop_map(|ledger| Op::Repaired { ledger }),
        1 => ledger.prop_map(|ledger| Op::Delete { ledger }),
        2 => Just(Op::Listing),
        4 => Just(Op::Clean),
        2 => any::<bool>().prop_map(|lost| Op::Crash { lost }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Against a model of who is in limbo: files are written, emptied and given back under the marks.
    #[test]
    fn b8_whoever_may_have_lost_something_never_denies_it(ops in vec(op(), 1..60)) {
        let layout = LayoutOptions { file_bytes: 64 << 10, group_bytes_max: 16 << 10 };
        let mut world = World::with(BookieOptions { entry_bytes_max: 30 << 10, ..options() }, layout, Files::new());
        let (mut limbo, mut gone, mut whole) = (BTreeSet::new(), BTreeSet::new(), false);
        let mut next = 0;
        for op in ops {
            match op {
                Op::Add { ledger, len } if !gone.contains(&ledger) => {
                    let id = world.ask_recovery_add(ledger, next, len);
                    next += 1;
                    world.settle();
                    prop_assert_eq!(world.added(id), Some(AddOutcome::Stored));
                }
                Op::Add { .. } => (),
                Op::Repaired { ledger } => {
                    let lifted = world.repaired(ledger);
                    prop_assert_eq!(lifted, !whole);
                    if lifted {
                        limbo.remove(&ledger);
                    }
                }
                Op::Delete { ledger } => {
                    world.delete(ledger);
                    limbo.remove(&ledger);
                    gone.insert(ledger);
                }
                Op::Listing => {
                    let known: Vec<u64> = (1..5).filter(|ledger| !gone.contains(ledger)).collect();
                    world.retain(&known);
                    if whole {
                        limbo.extend(known);
                        whole = false;
                    }
                }
                Op::Clean => world.clean(20),
                Op::Crash { lost } => {
                    world = world.crash_into(if lost { BookieStart::MayHaveLost } else { BookieStart::Clean });
                    world.clean(1);
                    whole |= lost;
                }
            }
            for ledger in (1..5).filter(|ledger| !gone.contains(ledger)) {
                let doubtful = whole || limbo.contains(&ledger);
                let outcome = world.read(ledger, 1_000_000, 1);
                prop_assert_eq!(denies(&outcome), !doubtful, "Bookie I3: ledger {}: {:?}", ledger, outcome);
            }
        }
    }
}
