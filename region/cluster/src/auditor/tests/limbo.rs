//! Bookies that are up and have lost entries.

use super::*;
use proptest::prelude::*;
use wire::bookie::{EntryRange, InLimbo, LimboFound};

/// Ledgers in one answer of the model, so that there are pages.
const PAGE: usize = 3;

/// What bookies answer to questions about their losses; `Err` for another question.
pub(super) fn answer(
    node: NodeId,
    held: Option<&mut BTreeMap<(LedgerId, EntryId), EntryData>>,
    marks: &mut BTreeMap<(NodeId, LedgerId), u32>,
    request: BookieRequest,
) -> Result<Option<BookieResponse>, BookieRequest> {
    let (request, held) = match (request, held) {
        (BookieRequest::Limbo { .. } | BookieRequest::Missing { .. } | BookieRequest::Repaired { .. }, None) => {
            return Ok(None);
        }
        (BookieRequest::Delete { ledger, .. }, _) => {
            marks.remove(&(node, ledger));
            return Ok(None);
        }
        (other, None) => return Err(other),
        (request, Some(held)) => (request, held),
    };
    Ok(Some(match request {
        BookieRequest::Limbo { id, after } => {
            let mut above = marks.range((node, LedgerId(after.0 + 1))..=(node, LedgerId(u64::MAX)));
            let page = above.by_ref().take(PAGE);
            let ledgers = page.map(|((_, ledger), loss)| InLimbo { ledger: *ledger, loss: *loss }).collect();
            BookieResponse::Limbo { id, found: LimboFound::Ledgers { ledgers, more: above.next().is_some() } }
        }
        BookieRequest::Missing { id, ledger, range } => {
            let lacks = (range.first.0..range.end.0).map(EntryId).filter(|entry| !held.contains_key(&(ledger, *entry)));
            let ranges: Vec<_> = lacks.map(|first| EntryRange { first, end: first.next() }).take(PAGE).collect();
            let full = ranges.len() == PAGE;
            let until = ranges.last().filter(|_| full).map_or(range.end, |last| last.end);
            BookieResponse::Missing { id, ledger, until, ranges }
        }
        BookieRequest::Repaired { id, ledger, loss } => {
            let lifted = marks.get(&(node, ledger)).is_none_or(|mark| *mark == loss);
            if lifted {
                marks.remove(&(node, ledger));
            }
            BookieResponse::Repaired { id, ledger, lifted }
        }
        other => return Err(other),
    }))
}

impl World {
    fn lose(&mut self, node: u64, ledger: u64, entries: impl IntoIterator<Item = i64>) {
        let (node, ledger) = (NodeId(node), LedgerId(ledger));
        for entry in entries {
            self.bookies.get_mut(&node).unwrap().remove(&(ledger, EntryId(entry)));
        }
        *self.marks.entry((node, ledger)).or_default() += 1;
    }
}

#[test]
fn a_bookie_gets_back_what_it_lost_and_only_that_and_its_limbo_is_lifted() {
    let mut world = World::new(3);
    world.ledger(100, &nodes([1, 2, 3]), 50);
    world.lose(2, 100, 7..12);
    world.run(30);
    assert_eq!(world.bookies[&NodeId(2)].len(), 50);
    assert!(world.marks.is_empty(), "{:?}", world.marks);
    let stats = world.auditor.stats();
    assert_eq!((stats.repaired_entries_total, stats.ledgers_in_limbo, stats.failed_repairs_total), (5, 0, 0));
    assert!(world.alarms.is_empty());
}

#[test]
fn a_ledger_that_lost_nothing_or_has_no_seat_here_or_is_deleted_needs_no_copies() {
    let mut world = World::new(3);
    world.ledger(100, &nodes([1, VACANT.0, 3]), 5);
    for ledger in [100, 101] {
        world.lose(1, ledger, []);
    }
    world.lose(2, 100, []);
    world.run(30);
    assert!(world.marks.is_empty(), "{:?}", world.marks);
    assert_eq!(world.auditor.stats().ledgers_in_limbo, 0);
}

#[test]
fn what_no_other_bookie_has_stays_in_limbo_and_is_said_once_until_a_copy_is_back() {
    let mut world = World::new(3);
    world.ledger(100, &nodes([1, 2, 3]), 20);
    [2, 3].into_iter().for_each(|node| world.stop(NodeId(node)));
    world.lose(1, 100, 4..6);
    world.run(600);
    let stats = world.auditor.stats();
    assert_eq!((stats.ledgers_in_limbo, stats.ledgers_without_copies), (1, 1));
    assert_eq!(world.alarms.len(), 1, "{:?}", world.alarms);
    assert!(
        world.alarms[0].contains("ledger 100") && world.alarms[0].contains("start the nodes"),
        "{:?}",
        world.alarms
    );
    world.start(NodeId(3));
    world.run(30);
    assert_eq!(world.bookies[&NodeId(1)].len(), 20);
    let stats = world.auditor.stats();
    assert_eq!((stats.ledgers_in_limbo, stats.ledgers_without_copies), (0, 0));
}

#[test]
fn i5_an_open_ledger_that_lost_something_is_closed_when_its_writer_had_its_time_and_then_refilled() {
    let mut world = World::new(3);
    world.ledger_in(LedgerState::Open, 100, &nodes([1, 2, 3]), 20);
    world.lose(3, 100, 0..3);
    world.run(15);
    assert_eq!(world.metadata(100).state, LedgerState::Open, "Auditor I5");
    world.run(90);
    assert!(world.metadata(100).closed().is_some());
    assert_eq!((world.bookies[&NodeId(3)].len(), world.marks.len()), (20, 0));
}

#[test]
fn the_only_node_of_a_region_names_what_it_lost_and_lifts_what_it_did_not_lose() {
    let mut world = World::new(1);
    world.auditor = new_auditor();
    world.auditor.set_alone(world.now, &world.view);
    let single = ReplicationConfig::SINGLE;
    for ledger in [100, 101] {
        for entry in (0..20).map(EntryId) {
            world.bookies.get_mut(&NodeId(1)).unwrap().insert((LedgerId(ledger), entry), EntryData::default());
        }
        let state = LedgerState::Closed { last_entry: EntryId(19), length: 0 };
        let metadata = LedgerMetadata { state, ..LedgerMetadata::new(single, vec![NodeId(1)], 0).unwrap() };
        world.write(Write::Put { key: LedgerId(ledger).key(), value: page::encode(&metadata) });
    }
    world.lose(1, 100, 3..5);
    world.lose(1, 101, []);
    world.run(120);
    assert_eq!(world.marks.keys().copied().collect::<Vec<_>>(), [(NodeId(1), LedgerId(100))]);
    assert_eq!((world.auditor.stats().ledgers_without_copies, world.alarms.len()), (1, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever was lost: what some bookie still has is back everywhere, the limbo of nothing else is lifted.
    #[test]
    fn what_has_a_copy_comes_back_and_what_has_none_stays_in_limbo(
        losses in proptest::collection::vec((1..4_u64, 0..8_u64, 0..12_i64, 0..12_i64), 0..20)
    ) {
        let mut world = World::new(3);
        for ledger in 0..8 {
            world.ledger(100 + ledger, &nodes([1, 2, 3]), 12);
        }
        for (node, ledger, first, count) in losses {
            world.lose(node, 100 + ledger, first..(first + count).min(12));
        }
        let held = |world: &World, ledger: u64, entry: i64| {
            (1..4).filter(|node| world.bookies[&NodeId(*node)].contains_key(&(LedgerId(ledger), EntryId(entry)))).count()
        };
        let gone: Vec<(u64, i64)> = (100..108).flat_map(|l| (0..12).map(move |e| (l, e))).filter(|(l, e)| held(&world, *l, *e) == 0).collect();
        world.run(3_000);
        for ledger in 100..108 {
            let hopeless = gone.iter().any(|(of, _)| *of == ledger);
            for node in 1..4 {
                prop_assert!(hopeless || !world.marks.contains_key(&(NodeId(node), LedgerId(ledger))));
            }
            for entry in 0..12 {
                let copies = held(&world, ledger, entry);
                prop_assert_eq!(copies, if gone.contains(&(ledger, entry)) { 0 } else { 3 }, "{}:{}", ledger, entry);
            }
        }
        let lost: BTreeSet<u64> = gone.iter().map(|(ledger, _)| *ledger).collect();
        let marked: BTreeSet<u64> = world.marks.keys().map(|(_, ledger)| ledger.0).collect();
        prop_assert_eq!(marked, lost);
    }
}
