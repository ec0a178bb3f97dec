//! One rule of the bookie each.

use super::*;

fn lac(lac: i64, last: i64) -> LacOutcome {
    LacOutcome::Lac { lac: EntryId(lac), last: EntryId(last) }
}

#[test]
fn an_add_is_answered_only_after_its_record_is_durable() {
    let mut world = World::new();
    let id = world.ask_add(1, 0, 100);
    assert_eq!(world.added(id), None);
    assert!(world.write_one());
    assert_eq!(world.added(id), Some(AddOutcome::Stored));
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Entries(vec![stored(1, 0, 100)]));
}

#[test]
fn a_repeated_add_is_written_once_and_answered_each_time() {
    let mut world = World::new();
    let (first, second) = (world.ask_add(1, 0, 100), world.ask_add(1, 0, 100));
    assert_eq!(world.added(second), None);
    world.settle();
    let third = world.ask_add(1, 0, 100);
    assert!([first, second, third].iter().all(|id| world.added(*id) == Some(AddOutcome::Stored)));
    assert_eq!(world.disk.writes, 1);
    assert_eq!(world.bookie.stats().entries_added_total, 1);
}

#[test]
fn many_adds_share_one_write() {
    let mut world = World::new();
    let ids: Vec<RequestId> = (0..100).map(|entry| world.ask_add(1, entry, 50)).collect();
    world.settle();
    assert!(ids.iter().all(|id| world.added(*id) == Some(AddOutcome::Stored)));
    assert_eq!(world.disk.writes, 1);
}

#[test]
fn a_fence_is_durable_before_its_answer_and_stops_the_writer() {
    let mut world = World::new();
    world.add(1, 0, 10);
    let fencing = world.ask_read(1, 0, 1, true);
    assert_eq!(world.found(fencing), None);
    let late = world.ask_add(1, 1, 10);
    assert_eq!(world.added(late), Some(AddOutcome::Fenced), "from the moment on which the fence is taken");
    world.settle();
    assert_eq!(world.found(fencing), Some(ReadOutcome::Entries(vec![stored(1, 0, 10)])));
    let mut world = world.crash();
    assert_eq!(world.add(1, 1, 10), AddOutcome::Fenced, "a crash does not lift it");
    let recovery = world.ask_recovery_add(1, 1, 10);
    world.settle();
    assert_eq!(world.added(recovery), Some(AddOutcome::Stored));
    assert_eq!(world.lac(1, false), lac(0, 1));
}

#[test]
fn a_fenced_read_sees_every_add_that_was_taken_before() {
    let mut world = World::new();
    world.add(1, 0, 10);
    let on_its_way = world.ask_add(1, 1, 10);
    let fencing = world.ask_read(1, 1, 1, true);
    world.settle();
    assert_eq!(world.added(on_its_way), Some(AddOutcome::Stored));
    assert_eq!(world.found(fencing), Some(ReadOutcome::Entries(vec![stored(1, 1, 10)])));
}

#[test]
fn a_fence_creates_a_ledger_that_was_never_seen() {
    let mut world = World::new();
    assert_eq!(world.lac(5, false), LacOutcome::NoSuchLedger);
    assert_eq!(world.lac(5, true), lac(-1, -1));
    let mut world = world.crash();
    assert_eq!(world.add(5, 0, 10), AddOutcome::Fenced);
    assert_eq!(world.read(5, 0, 1), ReadOutcome::NoSuchEntry);
}

#[test]
fn two_fencing_requests_share_one_record() {
    let mut world = World::new();
    let (first, second) = (world.ask_read(1, 0, 1, true), world.ask_read(1, 0, 1, true));
    world.settle();
    assert_eq!(world.found(first), Some(ReadOutcome::NoSuchEntry));
    assert_eq!(world.found(second), Some(ReadOutcome::NoSuchEntry));
    assert_eq!(world.disk.writes, 1);
}

#[test]
fn negative_answers_tell_an_unknown_ledger_from_a_missing_entry() {
    let mut world = World::new();
    world.add(1, 3, 10);
    assert_eq!(world.read(2, 0, 1), ReadOutcome::NoSuchLedger);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::NoSuchEntry);
    assert_eq!(world.read(1, 4, 1), ReadOutcome::NoSuchEntry);
}

#[test]
fn a_read_of_an_entry_on_its_way_waits_for_it() {
    let mut world = World::new();
    world.ask_add(1, 0, 10);
    let id = world.ask_read(1, 0, 1, false);
    assert_eq!(world.found(id), None);
    world.settle();
    assert_eq!(world.found(id), Some(ReadOutcome::Entries(vec![stored(1, 0, 10)])));
}

#[test]
fn reads_give_consecutive_entries_up_to_both_limits() {
    let mut world = World::new();
    for entry in 0..60 {
        world.ask_add(1, entry, 1000);
        world.ask_add(2, entry, 2000);
    }
    world.settle();
    let ReadOutcome::Entries(all) = world.read(1, 7, 1000) else { panic!("entries are there") };
    assert!(all.len() > 10 && all.iter().zip(7..).all(|(e, n)| *e == stored(1, n, 1000)), "{}", all.len());
    assert_eq!(world.read(1, 7, 2), ReadOutcome::Entries(vec![stored(1, 7, 1000), stored(1, 8, 1000)]));
    let id = world.id();
    let (ledger, from) = (LedgerId(1), EntryId(7));
    world.ask(BookieRequest::Read { id, ledger, from, entries_max: 100, bytes_max: 2500, fence: false });
    world.settle();
    assert_eq!(world.found(id), Some(ReadOutcome::Entries(vec![stored(1, 7, 1000), stored(1, 8, 1000)])));
    let id = world.id();
    world.ask(BookieRequest::Read { id, ledger, from, entries_max: 100, bytes_max: 1, fence: false });
    world.settle();
    assert_eq!(world.found(id), Some(ReadOutcome::Entries(vec![stored(1, 7, 1000)])), "at least one");
}

#[test]
fn entries_that_arrive_out_of_order_are_found() {
    let mut world = World::new();
    for entry in [5, 7, 6, 0, 2, 1, 9] {
        world.ask_add(1, entry, 100);
    }
    world.settle();
    for entry in [0, 1, 2, 5, 6, 7, 9] {
        let ReadOutcome::Entries(got) = world.read(1, entry, 1) else { panic!("{entry} is there") };
        assert_eq!(got, vec![stored(1, entry, 100)]);
    }
    for entry in [3, 4, 8, 10] {
        assert_eq!(world.read(1, entry, 1), ReadOutcome::NoSuchEntry);
    }
}

#[test]
fn the_lac_is_the_highest_that_any_entry_carried_also_after_a_crash() {
    let mut world = World::new();
    for entry in [0, 1, 2, 3] {
        world.ask_add(1, entry, 10);
    }
    world.settle();
    assert_eq!(world.lac(1, false), lac(2, 3));
    assert_eq!(world.crash().lac(1, true), lac(2, 3));
}

#[test]
fn a_deleted_ledger_is_gone_for_good_and_takes_no_late_adds() {
    let mut world = World::new();
    world.add(1, 0, 10);
    let late = world.ask_add(1, 1, 10);
    let id = world.id();
    world.ask(BookieRequest::Delete { id, ledger: LedgerId(1) });
    assert_eq!(world.answer(id), None, "not before the tombstone is durable");
    world.settle();
    assert_eq!(world.answer(id), Some(&BookieResponse::Deleted { id, ledger: LedgerId(1) }));
    assert_eq!(world.added(late), Some(AddOutcome::Fenced), "its fate no longer matters");
    assert_eq!(world.add(1, 2, 10), AddOutcome::Fenced);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::NoSuchLedger);
    world.delete(1);
    let mut world = world.crash();
    assert_eq!(world.read(1, 0, 1), ReadOutcome::NoSuchLedger);
    assert_eq!(world.lac(1, false), LacOutcome::NoSuchLedger);
}

#[test]
fn boot_time_collection_takes_only_ledgers_that_nobody_knows_or_wrote_to() {
    let mut world = World::new();
    for ledger in 1..=4 {
        world.add(ledger, 0, 10);
    }
    let mut world = world.crash();
    world.add(3, 1, 10);
    world.add(9, 0, 10);
    world.retain(&[1]);
    assert!(matches!(world.read(1, 0, 1), ReadOutcome::Entries(_)), "known");
    assert_eq!(world.read(2, 0, 1), ReadOutcome::NoSuchLedger);
    assert!(matches!(world.read(3, 0, 1), ReadOutcome::Entries(_)), "written to since boot");
    assert_eq!(world.read(4, 0, 1), ReadOutcome::NoSuchLedger);
    assert!(matches!(world.read(9, 0, 1), ReadOutcome::Entries(_)), "created since boot");
}

#[test]
fn overload_is_answered_unknown_and_bounded() {
    let mut world = World::new();
    let ids: Vec<RequestId> = (0..40).map(|entry| world.ask_add(1, entry, 50_000)).collect();
    let refused = ids.iter().filter(|id| world.added(**id) == Some(AddOutcome::Unknown)).count();
    assert!(world.bookie.stats().pending_bytes <= 1 << 20);
    assert!((15..=25).contains(&refused), "{refused}");
    world.settle();
    assert_eq!(world.bookie.stats().pending_bytes, 0);
    assert!(ids.iter().all(|id| world.added(*id).is_some()));
    let reads: Vec<RequestId> = (0..40).map(|_| world.ask_read(1, 0, 1, false)).collect();
    assert!(reads.iter().any(|id| world.found(*id) == Some(ReadOutcome::Unknown)));
    world.settle();
    assert!(matches!(world.found(reads[0]), Some(ReadOutcome::Entries(_))));
}

#[test]
fn an_entry_larger_than_allowed_is_not_taken() {
    let mut world = World::new();
    assert_eq!(world.add(1, 0, 60 << 10), AddOutcome::Unknown, "head and body together are over the limit");
    assert_eq!(world.add(1, 0, (60 << 10) - 8), AddOutcome::Stored);
}

#[test]
fn i7_a_deleted_ledger_takes_no_entry_though_nothing_of_it_is_left() {
    let mut world = World::new();
    world.add(1, 0, 10);
    world.delete(1);
    world.delete(2);
    world.clean(20);
    assert_eq!(world.add(1, 1, 10), AddOutcome::Fenced, "I7: its fence went with it");
    assert_eq!(world.add(2, 0, 10), AddOutcome::Fenced, "I7: it was never here");
    assert_eq!(world.add(3, 0, 10), AddOutcome::Stored);
}

#[test]
fn i7_a_ledger_deleted_before_a_restart_takes_no_entry_after_it() {
    for on_disk in [true, false] {
        let mut world = World::new();
        world.add(1, 0, 10);
        if !on_disk {
            world.delete(1);
            world.clean(20);
        }
        let mut world = world.crash();
        world.bookie.options.orphan_grace = Duration::from_secs(3600);
        world.proves = false;
        world.retain(&[7]);
        let (first, second) = (world.ask_add(1, 1, 10), world.ask_add(1, 2, 10));
        world.settle();
        assert_eq!((world.added(first), world.asked.len()), (None, 1), "one question, and no answer before it");
        assert!(world.prove(LedgerProof::Gone));
        assert_eq!([first, second].map(|id| world.added(id)), [Some(AddOutcome::Fenced); 2], "I7");
        assert_eq!(world.add(1, 3, 10), AddOutcome::Fenced, "I7: it is not asked for again");
    }
}

#[test]
fn a_ledger_that_is_newer_than_the_listing_is_taken_when_the_metadata_has_it() {
    let mut world = World::new().crash();
    world.proves = false;
    world.retain(&[7]);
    let unanswered = world.ask_add(5, 0, 10);
    assert!(world.prove(LedgerProof::Unknown));
    assert_eq!(world.added(unanswered), Some(AddOutcome::Unknown));
    let (first, second) = (world.ask_add(5, 0, 10), world.ask_add(5, 1, 10));
    assert!(world.prove(LedgerProof::Exists));
    world.settle();
    assert_eq!([first, second].map(|id| world.added(id)), [Some(AddOutcome::Stored); 2], "in their order");
    assert_eq!(world.add(5, 2, 10), AddOutcome::Stored);
    assert_eq!(world.add(7, 0, 10), AddOutcome::Stored, "the listing has it");
    assert_eq!(world.add(1000, 0, 10), AddOutcome::Stored, "it is newer than the listing");
    assert!(world.asked.is_empty());
}

#[test]
fn adds_that_wait_for_the_metadata_hold_bounded_memory() {
    let mut world = World::new().crash();
    world.proves = false;
    world.retain(&[]);
    let ids: Vec<RequestId> = (0..400).map(|entry| world.ask_add(5, entry, 50 << 10)).collect();
    let refused = ids.iter().filter(|id| world.added(**id) == Some(AddOutcome::Unknown)).count();
    assert!((60..200).contains(&refused), "{refused} of 400 are over 16 MiB");
    assert_eq!(world.asked.len(), 1);
}
