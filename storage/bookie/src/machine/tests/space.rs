//! Space comes back, and a full disk is no catastrophe.

use super::*;

#[test]
fn files_without_wanted_records_are_given_back_and_used_again() {
    let mut world = World::new();
    for round in 0..10 {
        for entry in 0..20 {
            world.add(round, entry, 10_000);
        }
        world.delete(round);
        world.clean(10);
    }
    let stats = world.bookie.stats();
    assert!(stats.files <= 3 && stats.files_freed_total >= 10, "{stats:?}");
    assert!(world.disk.files.len() <= 4 && world.disk.pool.len() <= 4);
    let world = world.crash();
    assert!(world.bookie.stats().ledgers <= 1, "nothing was resurrected: {:?}", world.bookie.stats());
}

#[test]
fn one_slow_ledger_does_not_pin_the_space_of_others() {
    let mut world = World::new();
    for round in 0..12 {
        world.add(1000, round, 300);
        world.lac(2000 + u64::try_from(round).unwrap(), true);
        for entry in 0..12 {
            world.add(u64::try_from(round).unwrap(), entry, 10_000);
        }
    }
    assert!(world.bookie.stats().files >= 12);
    for round in 0..12 {
        world.delete(round);
    }
    world.clean(200);
    let stats = world.bookie.stats();
    assert!(stats.files <= 2, "{stats:?}");
    let mut world = world.crash();
    for entry in 0..12 {
        assert_eq!(world.read(1000, entry, 1), ReadOutcome::Entries(vec![stored(1000, entry, 300)]));
        let fenced = 2000 + u64::try_from(entry).unwrap();
        assert_eq!(world.add(fenced, 0, 10), AddOutcome::Fenced, "fences move along");
    }
}

#[test]
fn the_cleaner_keeps_to_its_rate() {
    let mut world = World::new();
    for entry in 0..60 {
        world.add(1, entry, 4000);
        world.add(2, entry, 8000);
    }
    world.delete(2);
    let start = world.now.mono;
    world.clean(300);
    let copied = world.bookie.stats().relocated_bytes_total;
    let allowed = world.now.mono.since(start).as_secs_f64() * (1 << 20) as f64;
    assert!(copied > 100_000, "{copied}");
    assert!((copied as f64) < allowed + 300_000.0, "copied {copied} of {allowed} allowed");
}

#[test]
fn a_read_follows_an_entry_that_the_cleaner_moves() {
    let mut world = World::new();
    for entry in 0..30 {
        world.add(1, entry, 1000);
        world.add(2, entry, 8000);
    }
    world.delete(2);
    let id = world.ask_read(1, 0, 1, false);
    // The read stays on its way while the file is emptied and given back.
    let waiting = std::mem::take(&mut world.disk.reads);
    world.clean(100);
    world.disk.reads = waiting;
    world.settle();
    assert_eq!(world.found(id), Some(ReadOutcome::Entries(vec![stored(1, 0, 1000)])));
}

#[test]
fn when_space_is_short_adds_are_refused_and_the_rest_goes_on() {
    let mut world = World::with(BookieOptions { reserve_bytes: 1000, ..options() }, LAYOUT, Files::new());
    world.add(1, 0, 100);
    world.event(Some(DiskEvent::Space { free_bytes: 999, total_bytes: 5000 }));
    assert!(world.bookie.stats().read_only);
    assert_eq!(world.add(1, 1, 100), AddOutcome::ReadOnly);
    assert_eq!(world.add(1, 0, 100), AddOutcome::Stored, "what is stored is stored");
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Entries(vec![stored(1, 0, 100)]));
    assert!(matches!(world.lac(1, true), LacOutcome::Lac { .. }), "fences live from the reserve");
    world.delete(1);
    world.event(Some(DiskEvent::Space { free_bytes: 1200, total_bytes: 5000 }));
    assert_eq!(world.add(2, 0, 100), AddOutcome::ReadOnly, "not yet: it would flip back at once");
    world.event(Some(DiskEvent::Space { free_bytes: 1500, total_bytes: 5000 }));
    assert_eq!(world.add(2, 0, 100), AddOutcome::Stored);
}

#[test]
fn a_full_disk_holds_appends_until_a_file_comes_back() {
    let mut world = World::new();
    world.disk.files_max = 3;
    for entry in 0..80 {
        world.ask_add(1, entry, 2000);
    }
    world.settle();
    world.add(2, 0, 10);
    world.disk.files_max = world.disk.files.len();
    let stuck: Vec<RequestId> = (0..100).map(|entry| world.ask_add(3, entry, 2000)).collect();
    world.settle();
    assert!(stuck.iter().any(|id| world.added(*id).is_none()), "no room, so no answer");
    world.disk.files_max += 1;
    world.settle();
    assert!(stuck.iter().all(|id| world.added(*id) == Some(AddOutcome::Stored)));
}

#[test]
fn tombstones_do_not_pile_up() {
    let mut world = World::new();
    world.add(1_000_000, 0, 100);
    for ledger in 0..600 {
        world.add(ledger, 0, 3000);
        world.delete(ledger);
        if ledger % 20 == 0 {
            world.clean(20);
        }
    }
    world.clean(100);
    let stats = world.bookie.stats();
    assert!(stats.files <= 3 && stats.live_bytes < 20_000, "{stats:?}");
    let mut world = world.crash();
    assert_eq!(world.bookie.stats().ledgers, 1);
    assert_eq!(world.read(1_000_000, 0, 1), ReadOutcome::Entries(vec![stored(1_000_000, 0, 100)]));
}

#[test]
fn the_index_is_sparse() {
    let mut world = World::new();
    for entry in 0..2000 {
        world.ask_add(1, entry, 100);
    }
    world.settle();
    let stats = world.bookie.stats();
    let chunks = stats.log_bytes / crate::layout::CHUNK_BYTES + stats.files;
    assert!(stats.index_points <= chunks, "{stats:?}");
    for entry in [0, 999, 1999] {
        assert!(matches!(world.read(1, entry, 1), ReadOutcome::Entries(_)));
    }
}
