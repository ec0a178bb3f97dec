//! Ledgers that a recovery closed.

use super::*;

impl World {
    /// A ledger of `entries` entries that a recovery closed; these bookies lack these of them.
    fn recovered(&mut self, ledger: u64, bookies: &[NodeId], entries: i64, lacks: &[(u64, std::ops::Range<i64>)]) {
        self.ledger(ledger, bookies, entries);
        let unchecked = LedgerMetadata { unchecked: true, ..self.metadata(ledger) };
        self.write(Write::Put { key: LedgerId(ledger).key(), value: page::encode(&unchecked) });
        for (node, range) in lacks {
            for entry in range.clone() {
                self.bookies.get_mut(&NodeId(*node)).unwrap().remove(&(LedgerId(ledger), EntryId(entry)));
            }
        }
    }

    fn held(&self, node: u64, ledger: u64) -> usize {
        self.bookies[&NodeId(node)].keys().filter(|(of, _)| *of == LedgerId(ledger)).count()
    }
}

#[test]
fn every_bookie_gets_what_it_lacks_and_then_the_metadata_says_so() {
    let mut world = World::new(4);
    world.recovered(100, &nodes([1, 2, 3]), 20, &[(2, 4..7), (3, 10..20)]);
    world.recovered(101, &nodes([2, 3, 4]), 5, &[]);
    world.run(1);
    assert_eq!(world.auditor.stats().ledgers_unchecked, 0, "a look and a few answers");
    for node in 1..4 {
        assert_eq!(world.held(node, 100), 20, "bookie {node}");
    }
    assert!(!world.metadata(100).unchecked && !world.metadata(101).unchecked);
    let stats = world.auditor.stats();
    assert_eq!((stats.repaired_entries_total, stats.failed_repairs_total), (13, 0));
    assert!(world.alarms.is_empty());
}

#[test]
fn a_ledger_that_is_recovered_a_while_after_its_owner_has_gone_is_found_too() {
    let mut world = World::new(3);
    world.run(20);
    world.recovered(100, &nodes([1, 2, 3]), 5, &[(3, 0..5)]);
    world.run(20);
    assert_eq!((world.held(3, 100), world.metadata(100).unchecked), (5, false));
}

#[test]
fn a_bookie_that_is_down_is_asked_when_it_is_back() {
    let mut world = World::new(3);
    world.recovered(100, &nodes([1, 2, 3]), 20, &[(1, 0..2), (3, 10..20)]);
    world.stop(NodeId(3));
    world.run(20);
    assert_eq!((world.held(1, 100), world.metadata(100).unchecked), (20, true));
    assert_eq!(world.auditor.stats().ledgers_unchecked, 1);
    world.start(NodeId(3));
    world.run(5);
    assert_eq!((world.held(3, 100), world.metadata(100).unchecked), (20, false));
}

#[test]
fn whoever_takes_the_place_of_a_lost_bookie_has_everything() {
    let mut world = World::new(4);
    world.recovered(100, &nodes([1, 2, 3]), 20, &[(2, 3..6)]);
    world.stop(NodeId(3));
    world.run(120);
    let metadata = world.metadata(100);
    assert_eq!((&metadata.fragments[0].bookies[..], metadata.unchecked), (&nodes([1, 2, 4])[..], false));
    assert_eq!((world.held(2, 100), world.held(4, 100)), (20, 20));
}

#[test]
fn what_nobody_has_keeps_its_ledger_unchecked_and_is_said_once_of_each_bookie() {
    let mut world = World::new(3);
    world.recovered(100, &nodes([1, 2, 3]), 20, &[(1, 4..5), (2, 4..5), (3, 4..8)]);
    world.run(300);
    assert!(world.metadata(100).unchecked);
    assert_eq!((world.held(1, 100), world.held(3, 100)), (19, 19), "the rest is copied all the same");
    assert_eq!(world.alarms.len(), 3, "once of each bookie: {:?}", world.alarms);
}

#[test]
fn a_ledger_whose_last_bookie_to_be_asked_lost_its_place_is_checked_too() {
    let mut world = World::new(4);
    world.recovered(100, &nodes([1, 2, 3]), 20, &[]);
    let second = ledger::Fragment { first_entry: EntryId(10), bookies: nodes([1, 2, 4]).to_vec() };
    let mut metadata = world.metadata(100);
    metadata.fragments.push(second);
    world.write(Write::Put { key: LedgerId(100).key(), value: page::encode(&metadata) });
    for entry in (10..20).map(EntryId) {
        let data = world.bookies[&NodeId(1)][&(LedgerId(100), entry)].clone();
        world.bookies.get_mut(&NodeId(4)).unwrap().insert((LedgerId(100), entry), data);
    }
    world.stop(NodeId(3));
    world.run(20);
    assert!(world.metadata(100).unchecked, "bookie 3 may lack something");
    world.run(100);
    let metadata = world.metadata(100);
    assert_eq!((&metadata.fragments[0].bookies[..], metadata.unchecked), (&nodes([1, 2, 4])[..], false));
}

#[test]
fn i8_however_many_cannot_be_checked_a_lost_node_is_replaced() {
    let mut world = World::new(5);
    for ledger in 100..130 {
        world.recovered(ledger, &nodes([1, 2, 3]), 2, &[(1, 0..1), (2, 0..1), (3, 0..1)]);
    }
    world.ledger(200, &nodes([1, 2, 4]), 20);
    world.run(60);
    world.stop(NodeId(4));
    world.run(120);
    assert_ne!(world.metadata(200).fragments[0].bookies[2], NodeId(4), "Auditor I8");
}
