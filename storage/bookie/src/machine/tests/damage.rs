//! Damage is answered "unknown", never "no such".

use super::*;
use crate::disk::FileId;
use std::ops::Range;

/// Where the content of the only entry of this ledger stands.
fn place_of(world: &World, ledger: u64, entry: i64, len: usize) -> (FileId, Range<usize>) {
    let wanted = data(ledger, entry, len).body;
    for (file, content) in &world.disk.files {
        if let Some(at) = content.windows(wanted.len()).position(|w| w == &wanted[..]) {
            return (*file, at..at + len);
        }
    }
    panic!("{ledger}:{entry} is on the disk");
}

fn small() -> World {
    let layout = LayoutOptions { file_bytes: 64 << 10, group_bytes_max: 16 << 10 };
    let options = BookieOptions { entry_bytes_max: 30 << 10, ..options() };
    World::with(options, layout, Files::new())
}

#[test]
fn a_record_with_a_wrong_checksum_is_unknown_and_counted() {
    let mut world = World::new();
    world.add(1, 0, 500);
    world.add(1, 1, 500);
    let (file, range) = place_of(&world, 1, 0, 500);
    world.disk.files.get_mut(&file).unwrap()[range.start + 9] ^= 4;
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
    assert_eq!(world.read(1, 1, 1), ReadOutcome::Entries(vec![stored(1, 1, 500)]), "its neighbour is not");
    assert_eq!(world.bookie.stats().damaged_reads_total, 1);
    let mut world = world.crash();
    assert_eq!(world.bookie.stats().damaged_at_open, 1);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
    assert_eq!(world.read(1, 2, 1), ReadOutcome::NoSuchEntry, "what was damaged is known exactly");
}

#[test]
fn an_entry_that_stands_where_another_belongs_is_not_given_out() {
    let mut world = World::new();
    world.add(1, 0, 500);
    world.add(1, 1, 500);
    let ((file, to), (_, from)) = (place_of(&world, 1, 0, 500), place_of(&world, 1, 1, 500));
    let content = world.disk.files.get_mut(&file).unwrap();
    let record = content[from.start - 48..from.end].to_vec();
    content[to.start - 48..to.end].copy_from_slice(&record);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
}

#[test]
fn a_loss_that_nobody_can_name_puts_every_older_ledger_into_limbo() {
    let mut world = World::new();
    for ledger in [3, 5] {
        world.add(ledger, 0, 500);
    }
    world.add(7, 0, 500);
    let (file, range) = place_of(&world, 5, 0, 500);
    world.disk.files.get_mut(&file).unwrap()[range.start - 40] ^= 1; // In the record's header.
    let mut world = world.crash();
    assert_eq!(world.read(3, 0, 1), ReadOutcome::Entries(vec![stored(3, 0, 500)]), "what is there is served");
    assert_eq!(world.read(3, 1, 1), ReadOutcome::Unknown);
    assert_eq!(world.read(5, 0, 1), ReadOutcome::Unknown);
    assert_eq!(world.read(99, 0, 1), ReadOutcome::Unknown, "nobody has said yet which ledgers are new");
    assert_eq!(world.lac(5, false), LacOutcome::Unknown);
    assert_eq!((world.add(3, 1, 10), world.add(99, 0, 10)), (AddOutcome::Fenced, AddOutcome::Unknown));
    world.retain(&[3, 5, 7, 8]);
    assert_eq!(world.read(8, 0, 1), ReadOutcome::Unknown, "known to the metadata, so it may have been here");
    assert_eq!(world.add(8, 0, 10), AddOutcome::Fenced, "its fence may be what was lost");
    assert_eq!(world.add(9, 0, 10), AddOutcome::Stored, "newer than the loss");
    assert_eq!(world.read(9, 1, 1), ReadOutcome::NoSuchEntry);
    let mut world = world.crash();
    assert_eq!((world.add(9, 1, 10), world.add(10, 0, 10)), (AddOutcome::Stored, AddOutcome::Stored), "accounted for");
    assert_eq!((world.read(5, 0, 1), world.add(8, 0, 10)), (ReadOutcome::Unknown, AddOutcome::Fenced), "for good");
}

#[test]
fn a_deleted_or_shortened_file_is_a_loss_until_it_is_accounted_for() {
    for shorten in [None, Some(0), Some(5000)] {
        let mut world = small();
        for entry in 0..12 {
            world.add(1, entry, 9000);
        }
        let oldest = *world.disk.files.keys().next().unwrap();
        match shorten {
            None => drop(world.disk.files.remove(&oldest)),
            Some(len) => world.disk.files.get_mut(&oldest).unwrap().truncate(len),
        }
        let mut world = world.crash();
        assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
        assert_eq!(world.read(1, 11, 1), ReadOutcome::Entries(vec![stored(1, 11, 9000)]));
        world.retain(&[1, 2]);
        assert_eq!((world.read(1, 0, 1), world.read(2, 0, 1)), (ReadOutcome::Unknown, ReadOutcome::Unknown));
        assert_eq!(world.add(3, 0, 10), AddOutcome::Stored);
        let mut world = world.crash();
        assert_eq!(world.add(3, 1, 10), AddOutcome::Stored, "shortened to {shorten:?}");
        assert_eq!(world.read(2, 0, 1), ReadOutcome::Unknown);
    }
}

#[test]
fn limbo_outlives_the_file_that_its_record_stood_in() {
    let mut world = small();
    for entry in 0..12 {
        world.add(1, entry, 9000);
    }
    let oldest = *world.disk.files.keys().next().unwrap();
    world.disk.files.remove(&oldest);
    let mut world = world.crash();
    world.retain(&[1, 2]);
    for ledger in 10..40 {
        world.add(ledger, 0, 9000);
        world.delete(ledger);
        world.clean(20);
    }
    assert!(world.bookie.stats().files <= 5, "{:?}", world.bookie.stats());
    let mut world = world.crash();
    assert_eq!((world.read(2, 0, 1), world.add(2, 0, 1)), (ReadOutcome::Unknown, AddOutcome::Fenced));
    assert_eq!(world.add(50, 0, 10), AddOutcome::Stored);
}

/// A world whose cleaner could not copy entry 0 of ledger 1 out of its file.
fn half_cleaned() -> (World, FileId) {
    let mut world = small();
    for entry in 0..6 {
        world.add(1, entry, 3000);
        world.add(2, entry, 6000);
    }
    let (file, range) = place_of(&world, 1, 0, 3000);
    world.disk.files.get_mut(&file).unwrap()[range.start] ^= 1;
    for entry in 0..6 {
        world.add(3, entry, 9000);
    }
    world.delete(2);
    world.clean(40);
    (world, file)
}

#[test]
fn the_cleaner_keeps_a_file_that_it_cannot_copy_out_of() {
    let (mut world, file) = half_cleaned();
    assert!(world.disk.files.contains_key(&file));
    assert_eq!(world.missing(1, 6), (vec![(0, 1)], 6), "what it could not copy is named");
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
    for entry in 1..6 {
        assert_eq!(world.read(1, entry, 1), ReadOutcome::Entries(vec![stored(1, entry, 3000)]));
    }
}

#[test]
fn i2_what_is_found_damaged_is_named_until_a_recovery_add_has_written_it_again() {
    for restart in [false, true] {
        let mut world = World::new();
        for entry in 0..4 {
            world.add(1, entry, 500);
        }
        let (file, range) = place_of(&world, 1, 1, 500);
        world.disk.files.get_mut(&file).unwrap()[range.start + 9] ^= 4;
        if restart {
            world = world.crash();
        } else {
            assert_eq!((world.limbo(), world.read(1, 1, 1)), (vec![], ReadOutcome::Unknown));
            assert_eq!(world.read(1, 1, 1), ReadOutcome::Unknown);
            assert_eq!(world.damage.len(), 1, "said once");
        }
        assert_eq!(world.limbo(), [InLimbo { ledger: LedgerId(1), loss: 0 }]);
        // A scan names the place only, and with it those that are found from the same point of the index.
        let missing = if restart { (0, 4) } else { (1, 2) };
        assert_eq!(world.missing(1, 4), (vec![missing], 4), "Damaged I3");
        assert_eq!(world.bookie.stats().limbo_ledgers, 1);
        assert!(!world.repaired(1), "Damaged I2");
        for entry in missing.0..missing.1 {
            let again = world.ask_recovery_add(1, entry, 500);
            world.settle();
            assert_eq!(world.added(again), Some(AddOutcome::Stored));
        }
        assert_eq!(world.read(1, 1, 1), ReadOutcome::Entries(vec![stored(1, 1, 500)]), "Damaged I2");
        assert_eq!((world.limbo(), world.missing(1, 4)), (vec![], (vec![], 4)));
        assert!(world.repaired(1));
        assert_eq!(world.add(1, 4, 10), AddOutcome::Stored, "what can be named fences nobody");
        let mut world = world.crash();
        assert_eq!(world.read(1, 1, 1), ReadOutcome::Entries(vec![stored(1, 1, 500)]));
    }
}

#[test]
fn i1_of_very_much_damage_a_bounded_part_is_remembered_and_goes_with_its_ledger() {
    let mut damaged = damage::Damaged::default();
    let noted = (0..200_000).filter(|entry| damaged.note(LedgerId(1), EntryId(*entry))).count();
    assert_eq!(noted, 100_000, "Damaged I1");
    let mut world = World::new();
    world.add(1, 0, 500);
    world.bookie.damaged.note(LedgerId(1), EntryId(0));
    world.delete(1);
    assert_eq!(world.limbo(), []);
}

#[test]
fn a_file_that_could_not_be_emptied_goes_once_its_damage_is_repaired() {
    let (mut world, file) = half_cleaned();
    world.ask_recovery_add(1, 0, 3000);
    world.settle();
    world.clean(40);
    assert!(!world.disk.files.contains_key(&file));
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Entries(vec![stored(1, 0, 3000)]));
}
