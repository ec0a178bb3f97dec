//! Metadata records, good and bad.

use super::*;

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn fragment(first_entry: i64, ids: &[u64]) -> Fragment {
    Fragment { first_entry: EntryId(first_entry), bookies: nodes(ids) }
}

fn open(fragments: Vec<Fragment>) -> LedgerMetadata {
    let replication = ReplicationConfig::new(3, 2, 2).unwrap();
    LedgerMetadata { state: LedgerState::Open, replication, fragments, created_ms: 5, unchecked: false }
}

#[test]
fn a_bookie_is_wanted_where_it_sits_and_its_turn_comes() {
    let replication = ReplicationConfig::new(3, 2, 2).unwrap();
    let fragments = vec![fragment(0, &[1, 2, 3]), fragment(10, &[4, 2, 3])];
    let metadata = LedgerMetadata { replication, ..open(fragments) };
    let wanted =
        |node, first, end| metadata.is_wanted(NodeId(node), EntryRange { first: EntryId(first), end: EntryId(end) });
    // Entry 0 is for slots 0 and 1, entry 1 for 1 and 2, entry 2 for 2 and 0.
    assert_eq!([0, 1, 2].map(|entry| wanted(1, entry, entry + 1)), [true, false, true]);
    assert!(wanted(1, 1, 3) && wanted(1, 8, 11) && !wanted(1, 10, 20));
    assert!(wanted(4, 0, 13) && !wanted(4, 0, 10) && !wanted(7, 0, 20) && !wanted(2, 5, 5));
}

#[test]
fn records_that_break_a_rule_are_refused() {
    let bookies = |first_entry, bookies| MetadataError::FragmentBookies { first_entry, bookies, ensemble: 3 };
    let table = [
        (open(vec![]), MetadataError::NoFirstFragment),
        (open(vec![fragment(1, &[1, 2, 3])]), MetadataError::NoFirstFragment),
        (open(vec![fragment(0, &[1, 2, 3]), fragment(0, &[1, 2, 4])]), MetadataError::FragmentOrder(EntryId(0))),
        (open(vec![fragment(0, &[1, 2])]), bookies(EntryId(0), 2)),
        (open(vec![fragment(0, &[1, 2, 3]), fragment(4, &[1, 2, 1])]), bookies(EntryId(4), 2)),
    ];
    for (metadata, error) in table {
        assert_eq!(metadata.check(), Err(error), "LedgerMetadata I1, I2");
    }
    let mut closed = open(vec![fragment(0, &[1, 2, 3]), fragment(4, &[1, 2, 4])]);
    closed.state = LedgerState::Closed { last_entry: EntryId(3), length: 0 };
    let above = MetadataError::FragmentAboveEnd { first_entry: EntryId(4), last_entry: EntryId(3) };
    assert_eq!(closed.check(), Err(above), "LedgerMetadata I3");
    assert!(LedgerMetadata::new(ReplicationConfig::SINGLE, nodes(&[1, 2]), 0).is_err());
}

#[test]
fn closing_drops_the_fragments_that_hold_nothing() {
    let metadata = open(vec![fragment(0, &[1, 2, 3]), fragment(4, &[1, 2, 4]), fragment(9, &[5, 2, 4])]);
    for (last_entry, fragments) in [(-1, 1), (3, 1), (4, 2), (8, 2), (9, 3)] {
        let closed = metadata.closed_at(EntryId(last_entry), 1);
        assert_eq!((closed.fragments.len(), closed.check()), (fragments, Ok(())));
        assert_eq!(closed.closed(), Some((EntryId(last_entry), 1)));
    }
}

#[test]
fn entries_find_their_fragment() {
    let metadata = open(vec![fragment(0, &[1, 2, 3]), fragment(4, &[1, 2, 4])]);
    for (entry, first, end) in [(-1, 0, Some(4)), (0, 0, Some(4)), (3, 0, Some(4)), (4, 4, None), (90, 4, None)] {
        assert_eq!(metadata.fragment_of(EntryId(entry)).first_entry, EntryId(first), "{entry}");
        assert_eq!(metadata.fragment_end(EntryId(entry)), end.map(EntryId), "{entry}");
    }
    assert_eq!(metadata.bookies(), nodes(&[1, 2, 3, 4]).into_iter().collect());
}

#[test]
fn an_ensemble_without_entries_is_replaced_rather_than_kept() {
    let metadata = open(vec![fragment(0, &[1, 2, 3])]);
    let replaced = metadata.with_ensemble(EntryId(0), nodes(&[1, 2, 4]));
    assert_eq!(replaced.fragments, [fragment(0, &[1, 2, 4])]);
    let added = replaced.with_ensemble(EntryId(7), nodes(&[5, 2, 4]));
    assert_eq!(added.fragments, [fragment(0, &[1, 2, 4]), fragment(7, &[5, 2, 4])]);
}

#[test]
fn as_many_seats_may_be_vacant_as_leave_every_entry_its_ack_quorum() {
    let of = |seats: &[u64]| {
        let replication = ReplicationConfig::new(3, 3, 2).unwrap();
        LedgerMetadata { replication, ..open(vec![fragment(0, seats)]) }
    };
    assert_eq!(of(&[0, 1, 2]).check(), Ok(()));
    assert_eq!(of(&[0, 1, 2]).bookies(), nodes(&[1, 2]).into_iter().collect());
    assert_eq!(of(&[0, 1, 2]).last_fragment().vacant().iter().collect::<Vec<_>>(), [0]);
    assert!(of(&[0, 0, 2]).check().is_err(), "LedgerMetadata I2");
    assert!(open(vec![fragment(0, &[0, 1, 2])]).check().is_err(), "LedgerMetadata I2: all copies must be acknowledged");
}

#[test]
fn a_seat_is_vacated_for_a_run_of_entries_and_only_where_there_is_room() {
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    let fragments = vec![fragment(0, &[1, 2, 3]), fragment(10, &[1, 2, 0]), fragment(20, &[1, 2, 3])];
    let metadata = LedgerMetadata { replication, ..open(fragments) };
    let vacated = metadata.with_vacated(NodeId(1), EntryId(5), EntryId(25));
    let expected = [
        fragment(0, &[1, 2, 3]),
        fragment(5, &[0, 2, 3]),
        fragment(10, &[1, 2, 0]),
        fragment(20, &[0, 2, 3]),
        fragment(25, &[1, 2, 3]),
    ];
    assert_eq!((vacated.fragments.as_slice(), vacated.check()), (expected.as_slice(), Ok(())));
    assert_eq!(metadata.with_vacated(NodeId(9), EntryId(0), EntryId(25)), metadata);
}

#[test]
fn a_seat_is_given_but_for_some_entries_which_keep_their_bookies() {
    let fragments = vec![fragment(0, &[1, 2, 3]), fragment(10, &[1, 2, 4])];
    let state = LedgerState::Closed { last_entry: EntryId(19), length: 0 };
    let metadata = LedgerMetadata { state, ..open(fragments) };
    let range = |first, end| EntryRange { first: EntryId(first), end: EntryId(end) };
    let of = |first: i64, except: &[EntryRange]| {
        let replaced = metadata.with_replaced(EntryId(first), &[(1, NodeId(7))], except);
        assert_eq!(replaced.check(), Ok(()));
        replaced.fragments
    };
    assert_eq!(of(0, &[]), [fragment(0, &[1, 7, 3]), fragment(10, &[1, 2, 4])]);
    let split = of(0, &[range(0, 1), range(4, 6), range(9, 10)]);
    let parts = [(0, 2), (1, 7), (4, 2), (6, 7), (9, 2)].map(|(first, node)| fragment(first, &[1, node, 3]));
    assert_eq!(split[..5], parts);
    assert_eq!(of(10, &[range(15, 20)])[1..], [fragment(10, &[1, 7, 4]), fragment(15, &[1, 2, 4])]);
    assert_eq!(of(0, &[range(0, 10)]), metadata.fragments);
    let empty = open(vec![fragment(0, &[1, 2, 3])]).closed_at(EntryId::NONE, 0);
    assert_eq!(empty.with_replaced(EntryId(0), &[(0, NodeId(9))], &[]).fragments, [fragment(0, &[9, 2, 3])]);
}
