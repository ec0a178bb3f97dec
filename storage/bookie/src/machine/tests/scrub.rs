//! Rot is found, named, and answered `Unknown`; the pace is kept.

use super::*;
use crate::options::Damage;

const PASS: Duration = Duration::from_secs(14 * 24 * 3600);

/// A log of several small files, 12 entries of 9000 bytes of ledger 1.
fn filled() -> World {
    let layout = LayoutOptions { file_bytes: 64 << 10, group_bytes_max: 16 << 10 };
    let options = BookieOptions { entry_bytes_max: 30 << 10, scrub_pass: Some(PASS), ..options() };
    let mut world = World::with(options, layout, Files::new());
    for entry in 0..12 {
        world.add(1, entry, 9000);
    }
    world
}

/// Plays until a pass has ended; the damage reported.
fn pass(world: &mut World) -> Vec<Damage> {
    let passes = world.bookie.stats().scrub_passes_total;
    for _ in 0..1_000 {
        world.clean(1);
        if world.bookie.stats().scrub_passes_total > passes {
            return std::mem::take(&mut world.damage);
        }
    }
    panic!("a pass ends");
}

/// Flips a bit so many bytes before the body of an odd entry (the next even one has the same content).
fn flip(world: &mut World, entry: i64, before: usize) {
    let wanted = data(1, entry, 9000).body;
    for content in world.disk.files.values_mut() {
        if let Some(at) = content.windows(wanted.len()).position(|w| w == &wanted[..]) {
            content[at - before] ^= 1;
            return;
        }
    }
    panic!("{entry} is on the disk");
}

#[test]
fn a_whole_log_is_read_in_the_time_of_a_pass_and_nothing_is_reported() {
    let mut world = filled();
    let start = world.now.mono;
    assert_eq!(pass(&mut world), []);
    let stats = world.bookie.stats();
    assert!(stats.scrubbed_bytes_total * 10 > stats.log_bytes * 5, "the sealed files: {stats:?}");
    let took = world.now.mono.since(start);
    assert!(took > PASS / 3 && took < PASS * 4, "Scrubber I1: {took:?}");
}

#[test]
fn rot_is_reported_by_name_once_in_a_pass_and_the_entry_is_unknown() {
    let mut world = filled();
    flip(&mut world, 3, 0);
    let found = pass(&mut world);
    let named: Vec<_> = found.iter().map(|damage| damage.entry).collect();
    assert_eq!(named, [Some((LedgerId(1), EntryId(3)))], "Scrubber I3");
    assert_eq!(world.read(1, 3, 1), ReadOutcome::Unknown, "Scrubber I2");
    assert_eq!(world.read(1, 4, 1), ReadOutcome::Entries(vec![stored(1, 4, 9000)]));
    assert_eq!(pass(&mut world).len(), 1, "again in the next pass, until it is repaired");
    assert_eq!(world.bookie.stats().scrub_damage_total, 2);
    assert_eq!(world.missing(1, 12), (vec![(3, 4)], 12), "Scrubber I2");
    world.ask_recovery_add(1, 3, 9000);
    world.settle();
    assert_eq!(pass(&mut world), [], "nobody wants the damaged copy any more");
    assert_eq!(world.missing(1, 12), (vec![], 12));
}

#[test]
fn a_group_that_cannot_be_read_is_reported_once_and_the_rest_is_checked() {
    let mut world = filled();
    flip(&mut world, 1, 48); // In the record's header.
    flip(&mut world, 3, 0);
    let found = pass(&mut world);
    let named: Vec<_> = found.iter().map(|damage| damage.entry).collect();
    assert_eq!(named, [None, Some((LedgerId(1), EntryId(3)))], "Scrubber I3");
    assert_eq!(world.read(1, 1, 1), ReadOutcome::Unknown, "Scrubber I2");
    let (missing, _) = world.missing(1, 12);
    assert!(missing.iter().any(|(first, end)| (*first..*end).contains(&1)), "Scrubber I2: {missing:?}");
}

#[test]
fn damage_to_what_nobody_wants_is_no_alarm_and_a_lost_file_is() {
    let mut world = filled();
    flip(&mut world, 3, 0);
    world.delete(1);
    assert_eq!(pass_or_nothing(&mut world), 0);
    let mut world = filled();
    let oldest = *world.disk.files.keys().next().unwrap();
    world.disk.files.remove(&oldest);
    assert_eq!(pass(&mut world).len(), 1);
    assert_eq!(world.read(1, 0, 1), ReadOutcome::Unknown);
}

/// Damage after some days; a log without sealed files has no pass.
fn pass_or_nothing(world: &mut World) -> usize {
    world.clean(200);
    world.damage.len()
}

#[test]
fn without_a_pass_nothing_is_read_and_nothing_is_due() {
    let mut world = filled();
    world.bookie.options.scrub_pass = None;
    world.clean(50);
    assert_eq!(world.bookie.stats().scrubbed_bytes_total, 0);
}
