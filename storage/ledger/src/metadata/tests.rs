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
    LedgerMetadata { state: LedgerState::Open, replication, fragments, created_ms: 5 }
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
