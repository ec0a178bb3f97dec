//! Nodes whose disk is full, and ledgers that cannot be repaired.

use super::*;

type Held = BTreeMap<(LedgerId, EntryId), EntryData>;

/// The answer of a bookie without space to an entry that it does not hold.
pub(super) fn refuse(
    node: NodeId,
    held: Option<&Held>,
    space: &mut BTreeMap<NodeId, usize>,
    request: &BookieRequest,
) -> Option<BookieResponse> {
    let BookieRequest::Add { id, ledger, entry, .. } = request else { return None };
    let left = space.get_mut(&node).filter(|_| held.is_some_and(|held| !held.contains_key(&(*ledger, *entry))))?;
    match left.checked_sub(1) {
        Some(less) => *left = less,
        None => {
            let (id, ledger, entry, outcome) = (*id, *ledger, *entry, AddOutcome::ReadOnly);
            return Some(BookieResponse::Added { id, ledger, entry, outcome });
        }
    }
    None
}

impl World {
    fn say(&mut self, node: u64, read_only: bool) {
        self.view.set_load(NodeId(node), NodeLoad { read_only, ..NodeLoad::default() });
        self.auditor.handle_view(self.now, &self.view);
    }
}

#[test]
fn i6_nothing_is_read_for_a_node_that_says_it_is_full_and_all_is_copied_as_soon_as_it_has_space() {
    let mut world = World::new(3);
    world.ledger(100, &[NodeId(1), VACANT, NodeId(3)], 20);
    world.space.insert(NodeId(2), 0);
    world.say(2, true);
    world.run(600);
    let stats = world.auditor.stats();
    assert_eq!((stats.entries, stats.failed_repairs_total, stats.repaired_bytes_total), (20, 0, 0), "Auditor I6");
    world.space.clear();
    world.say(2, false);
    world.run(2);
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 3]));
}

#[test]
fn what_is_copied_to_a_node_whose_disk_fills_up_again_and_again_is_what_lacked() {
    let mut world = World::new(3);
    for ledger in 100..105 {
        world.ledger(ledger, &[NodeId(1), VACANT, NodeId(3)], 40);
    }
    for space in [0, 13, 0, 55, 30] {
        world.space.insert(NodeId(2), space);
        world.say(2, false);
        world.run(60);
        assert_eq!(world.space[&NodeId(2)], 0, "it is full");
        world.say(2, true);
        world.run(600);
    }
    world.space.clear();
    world.say(2, false);
    world.run(60);
    let stats = world.auditor.stats();
    assert_eq!((stats.ledgers, stats.repaired_ledgers_total), (0, 5));
    assert_eq!((stats.repaired_entries_total, stats.repaired_bytes_total), (200, 200 * ENTRY_BYTES as u64));
}

#[test]
fn i7_what_cannot_be_repaired_is_tried_less_and_less_often_and_said_once_while_the_others_are_repaired() {
    let mut world = World::new(3);
    for ledger in 100..103 {
        world.ledger(ledger, &[NodeId(1), VACANT, NodeId(3)], 20);
    }
    let lost = [(LedgerId(100), EntryId(4)), (LedgerId(100), EntryId(9))];
    let gone: Vec<EntryData> =
        lost.iter().filter_map(|at| world.bookies.get_mut(&NodeId(1)).unwrap().remove(at)).collect();
    lost.iter().for_each(|at| drop(world.bookies.get_mut(&NodeId(3)).unwrap().remove(at)));
    world.run(3_600);
    let stats = world.auditor.stats();
    assert_eq!((stats.ledgers, stats.entries, stats.ledgers_without_copies), (1, 2, 1), "all but the two");
    assert_eq!(stats.repaired_bytes_total, 58 * ENTRY_BYTES as u64);
    assert!((5..20).contains(&stats.failed_repairs_total), "Auditor I7: {stats:?}");
    assert_eq!(world.alarms.len(), 1, "{:?}", world.alarms);
    assert!(world.alarms[0].contains("2 of the entries 4 to 9 of ledger 100"), "{:?}", world.alarms);
    // A copy is back.
    world.bookies.get_mut(&NodeId(3)).unwrap().extend(lost.into_iter().zip(gone));
    world.run(1_000);
    assert!(world.metadata(100).fragments.iter().all(|fragment| fragment.bookies == nodes([1, 2, 3])));
    assert_eq!((world.auditor.stats().ledgers, world.auditor.stats().ledgers_without_copies), (0, 0));
}
