//! Copies beyond the ack quorum: who gets them, and what the metadata says of those that lack.

use super::*;
use crate::Fragment;

/// Bookie 3 refuses, and its place is offered to bookie 4; bookies 1 and 2 confirm entries `0..count` meanwhile.
fn changing(count: u64) -> Setup {
    let mut setup = Setup::new(3, 3, 2, 1);
    setup.add(0, 0);
    setup.answer(1, 3, 0, AddOutcome::ReadOnly);
    for entry in 0..count {
        if entry > 0 {
            setup.add(1, entry);
        }
        [1, 2].into_iter().for_each(|from| setup.stored(from, i64::try_from(entry).unwrap()));
    }
    setup
}

fn closed(mut setup: Setup) -> LedgerMetadata {
    setup.seen();
    setup.writer.close(ms(3), &mut setup.fx);
    if let Some(due) = setup.writer.next_deadline().filter(|_| setup.fx.is_empty()) {
        setup.writer.on_deadline(Now { mono: due, wall_ms: 0 }, &mut setup.fx);
    }
    setup.answer_metadata(300, MetadataOutcome::Committed { version: 3 }).unwrap()
}

#[test]
fn a_close_names_the_copies_that_lack_and_waits_a_moment_for_slow_ones() {
    let mut setup = Setup::new(3, 3, 2, 0);
    (0..2).for_each(|ctx| setup.add(0, ctx));
    for (from, entry) in [(1, 0), (2, 0), (1, 1), (2, 1)] {
        setup.stored(from, entry);
    }
    setup.stored(3, 0);
    setup.writer.close(ms(2), &mut setup.fx);
    assert!(!setup.seen().iter().any(|seen| matches!(seen, Seen::Cas { .. })), "bookie 3 may still answer");
    setup.writer.on_deadline(ms(202), &mut setup.fx);
    let closed = setup.answer_metadata(203, MetadataOutcome::Committed { version: 2 }).unwrap();
    let vacant = Fragment { first_entry: EntryId(1), bookies: vec![NodeId(1), NodeId(2), VACANT] };
    assert_eq!((closed.fragments.len(), &closed.fragments[1]), (2, &vacant), "LedgerWriter I8");
}

#[test]
fn a_newcomer_gets_also_what_was_confirmed_while_it_was_proposed() {
    let mut setup = changing(3);
    setup.add(1, 3);
    setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 });
    let sent = [3, 0, 1, 2].map(|entry| Seen::Add { to: 4, entry, lac: 2 });
    let seen = setup.seen();
    assert_eq!(seen, [Seen::Event(WriterEvent::EnsembleChanged)].into_iter().chain(sent).collect::<Vec<_>>());
    (0..4).for_each(|entry| setup.stored(4, entry));
    setup.stored(1, 3);
    setup.stored(2, 3);
    let metadata = closed(setup);
    assert_eq!(metadata.fragments, [Fragment { first_entry: EntryId(0), bookies: nodes(&[1, 2, 4]) }]);
}

#[test]
fn what_is_kept_for_newcomers_is_bounded_and_the_rest_is_named_at_the_close() {
    let mut setup = changing(1_005);
    setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 });
    let sent = setup.seen().into_iter().filter(|seen| matches!(seen, Seen::Add { to: 4, .. })).count();
    assert_eq!(sent, 1_000, "EnsembleChange I4");
    (0..1_000).for_each(|entry| setup.stored(4, entry));
    let metadata = closed(setup);
    let named = [(0, nodes(&[1, 2, 4])), (1_000, vec![NodeId(1), NodeId(2), VACANT])];
    let named = named.map(|(first, bookies)| Fragment { first_entry: EntryId(first), bookies });
    assert_eq!(metadata.fragments, named);
}

#[test]
fn a_close_names_also_what_a_bookie_that_stayed_lacks_of_an_earlier_fragment() {
    let mut setup = Setup::new(3, 3, 2, 1);
    (0..3).for_each(|ctx| setup.add(0, ctx));
    for (from, entry) in [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (3, 2)] {
        setup.stored(from, entry);
    }
    setup.answer(1, 1, 2, AddOutcome::ReadOnly);
    setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 });
    [2, 4].into_iter().for_each(|from| setup.stored(from, 2));
    let metadata = closed(setup);
    let named = [(0, nodes(&[1, 2, 3])), (1, vec![NodeId(1), NodeId(2), VACANT]), (2, nodes(&[4, 2, 3]))];
    let named = named.map(|(first, bookies)| Fragment { first_entry: EntryId(first), bookies });
    assert_eq!(metadata.fragments, named, "entry 1 was lost on its way to bookie 3");
}
