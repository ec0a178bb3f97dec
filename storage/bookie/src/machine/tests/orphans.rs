//! What is deleted because the metadata does not list it.

use super::*;

fn listing(known: &[u64], below: u64) -> LedgerListing {
    LedgerListing { known: known.iter().map(|id| LedgerId(*id)).collect(), below: LedgerId(below) }
}

fn retain(world: &mut World, listing: &LedgerListing) {
    let mut fx = Fx::new();
    world.bookie.retain_ledgers(world.now, listing, &mut fx);
    world.perform(&mut fx);
    world.settle();
}

/// Ledgers 1 to 4, found at boot by a bookie that lets orphans live for an hour.
fn found_at_boot() -> World {
    let options = BookieOptions { orphan_grace: Duration::from_secs(3600), ..options() };
    let mut world = World::with(options, LAYOUT, Files::new());
    for ledger in 1..=4 {
        world.add(ledger, 0, 10);
    }
    world.crash()
}

fn present(world: &mut World) -> Vec<u64> {
    (1..=4).filter(|ledger| matches!(world.read(*ledger, 0, 1), ReadOutcome::Entries(_))).collect()
}

#[test]
fn an_orphan_goes_only_below_the_bound_of_the_listing() {
    let mut world = found_at_boot();
    retain(&mut world, &listing(&[1], 3));
    world.now.mono = world.now.mono + Duration::from_secs(3600);
    world.clean(2);
    assert_eq!(present(&mut world), [1, 3, 4], "Orphans I1: 3 and 4 may be newer than the listing");
}

#[test]
fn a_listing_proves_nothing_of_another_regions_ledgers() {
    let mine = LedgerId::compose(base::RegionId(2), 9);
    let listing = LedgerListing { known: [mine].into(), below: LedgerId::compose(base::RegionId(2), 50) };
    assert!(!listing.is_gone(mine) && !listing.is_gone(LedgerId::compose(base::RegionId(1), 7)));
    assert!(listing.is_gone(LedgerId::compose(base::RegionId(2), 49)));
    assert!(!listing.is_gone(LedgerId::compose(base::RegionId(2), 50)), "the bound itself was given to nobody");
}

#[test]
fn an_orphan_lives_through_its_grace_and_any_use_of_it_saves_it() {
    let mut world = found_at_boot();
    let start = world.now.mono;
    retain(&mut world, &listing(&[1], 100));
    assert_eq!(world.bookie.next_deadline().map(|at| at <= start + Duration::from_secs(3600)), Some(true));
    world.now.mono = start + Duration::from_secs(3599);
    let mut fx = Fx::new();
    world.bookie.on_deadline(world.now, &mut fx);
    world.perform(&mut fx);
    world.settle();
    assert_eq!(present(&mut world), [1, 2, 3, 4], "Orphans I2");
    world.add(3, 1, 10);
    world.now.mono = start + Duration::from_secs(3600);
    world.ask_add(4, 1, 10);
    let mut fx = Fx::new();
    world.bookie.on_deadline(world.now, &mut fx);
    world.perform(&mut fx);
    world.settle();
    assert_eq!(present(&mut world), [1, 3, 4], "Orphans I2: 3 was written to, an add to 4 was on its way");
}

#[test]
fn a_kill_during_the_grace_deletes_nothing_and_a_later_listing_replaces_an_earlier_one() {
    let mut world = found_at_boot();
    retain(&mut world, &listing(&[1], 100));
    let mut world = world.crash();
    assert_eq!(present(&mut world), [1, 2, 3, 4]);
    retain(&mut world, &listing(&[], 100));
    retain(&mut world, &listing(&[1, 2], 100));
    world.now.mono = world.now.mono + Duration::from_secs(3600);
    world.clean(2);
    assert_eq!(present(&mut world), [1, 2]);
}
