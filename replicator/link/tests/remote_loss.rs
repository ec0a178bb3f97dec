//! The remote copy loses what it acknowledged, or is replaced by another: never a silent hole.

mod world;

use base::Position;
use link::LinkAlarm;
use world::{Setup, Wish, World};

fn calm_world(seed: u64, trim: bool) -> World {
    let setup = Setup { cut_one_in: 0, crash_one_in: 0, refuse: 0, steps: 300, trim, ..Setup::cutting() };
    World::run(seed, setup).expect("a calm run")
}

fn forwarded(world: &World) -> Vec<Position> {
    world.origin.log.iter().filter(|e| e.wish == Wish::Forward).map(|e| e.position).collect()
}

fn steps(world: &mut World, count: u32) {
    for _ in 0..count {
        world.step().expect("no violation");
    }
}

/// Gives the link something to do, so that it notices.
fn publish(world: &mut World) {
    for _ in 0..20 {
        world.publish();
    }
}

/// Trims everything that the cursor has passed.
fn trim_all(world: &mut World) {
    world.origin.trimmed = world.origin.log.len();
    world.sender.handle_log(world.now, world.origin.view(), &mut base::Effects::new());
}

#[test]
fn a_copy_that_lost_acknowledged_entries_gets_them_again_while_they_are_retained() {
    for seed in 0..200 {
        let mut world = calm_world(seed, false);
        let keep = world.remote.log.len() / 2;
        world.cut();
        world.remote.lose_durable(keep);
        world.cursor_is_checked = false;
        publish(&mut world);
        world.heal().expect("complete again");
        assert!(matches!(world.alarms[..], [LinkAlarm::RemoteLostAcked { .. }]), "seed {seed}: {:?}", world.alarms);
        assert_eq!(world.remote.log, forwarded(&world), "seed {seed}");
    }
}

#[test]
fn a_copy_that_lost_everything_and_is_the_same_gets_everything_again_while_it_is_retained() {
    let mut world = calm_world(3, false);
    world.cut();
    world.remote.lose_durable(0);
    world.cursor_is_checked = false;
    publish(&mut world);
    world.heal().expect("complete again");
    assert!(matches!(world.alarms[..], [LinkAlarm::RemoteLostAcked { watermark: None, .. }]), "{:?}", world.alarms);
    assert_eq!(world.remote.log, forwarded(&world));
}

#[test]
fn a_copy_that_lost_what_is_no_longer_retained_halts_the_link_loudly_and_stores_nothing_past_the_hole() {
    for seed in 0..200 {
        let mut world = calm_world(seed, true);
        let keep = world.remote.log.len() / 2;
        trim_all(&mut world);
        world.cut();
        world.remote.lose_durable(keep);
        world.cursor_is_checked = false;
        publish(&mut world);
        steps(&mut world, 400);
        let halts = world.alarms.iter().filter(|a| matches!(a, LinkAlarm::Halted { .. })).count();
        assert!(halts > 0 && halts == world.alarms.len(), "seed {seed}: {:?}", world.alarms);
        assert!(world.sender.lag(world.now).messages > 0, "seed {seed}: the lag shows it");
        assert_eq!(world.remote.log.len(), keep, "seed {seed}");
    }
}

#[test]
fn a_halted_link_goes_on_by_itself_once_the_copy_is_recreated() {
    let mut world = calm_world(5, true);
    trim_all(&mut world);
    world.cut();
    world.remote.lose_durable(0);
    world.cursor_is_checked = false;
    world.publish();
    steps(&mut world, 400);
    assert!(matches!(world.alarms.last(), Some(LinkAlarm::Halted { .. })), "{:?}", world.alarms);
    world.remote.incarnation += 1;
    world.remote.starts_after = world.origin.view().trimmed_up_to;
    publish(&mut world);
    world.heal().expect("the new copy gets what there is");
    assert!(world.alarms.iter().any(|a| matches!(a, LinkAlarm::HistoryMissing { .. })), "{:?}", world.alarms);
    let after = world.remote.starts_after;
    let expected: Vec<_> = forwarded(&world).into_iter().filter(|p| *p > after).collect();
    assert_eq!(world.remote.log, expected);
}

#[test]
fn a_new_copy_gets_everything_from_the_beginning_while_the_log_is_complete() {
    for seed in 0..200 {
        let mut world = calm_world(seed, false);
        world.cut();
        world.remote.lose_durable(0);
        world.remote.incarnation += 1;
        world.cursor_is_checked = false;
        publish(&mut world);
        world.heal().expect("complete again");
        assert!(
            matches!(world.alarms[..], [LinkAlarm::RemoteReplaced { was: 100, now: 101, watermark: None }]),
            "seed {seed}: {:?}",
            world.alarms
        );
        assert_eq!(world.remote.log, forwarded(&world), "seed {seed}");
    }
}

#[test]
fn a_new_copy_that_holds_a_part_gets_the_rest() {
    let mut world = calm_world(8, false);
    world.cut();
    let keep = world.remote.log.len() / 3;
    world.remote.lose_durable(keep);
    world.remote.incarnation += 1;
    world.cursor_is_checked = false;
    publish(&mut world);
    world.heal().expect("complete again");
    assert_eq!(world.remote.log, forwarded(&world));
}

#[test]
fn a_new_copy_of_a_trimmed_log_gets_what_is_retained_and_the_alarm_names_what_is_missing() {
    for seed in 0..200 {
        let mut world = calm_world(seed, true);
        trim_all(&mut world);
        world.cut();
        world.remote.lose_durable(0);
        world.remote.incarnation += 1;
        world.remote.starts_after = world.origin.view().trimmed_up_to;
        world.cursor_is_checked = false;
        publish(&mut world);
        world.heal().expect("the new copy gets what there is");
        let trimmed_up_to = world.remote.starts_after;
        assert!(
            world.alarms.contains(&LinkAlarm::HistoryMissing { watermark: None, trimmed_up_to }),
            "seed {seed}: {:?}",
            world.alarms
        );
        let expected: Vec<_> = forwarded(&world).into_iter().filter(|p| *p > trimmed_up_to).collect();
        assert_eq!(world.remote.log, expected, "seed {seed}");
    }
}

#[test]
fn loss_in_the_remote_amid_cuts_and_crashes_ends_in_an_exact_copy_while_the_log_is_complete() {
    for seed in 0..500 {
        let setup = if seed % 2 == 0 { Setup::cutting() } else { Setup::lossy() };
        let mut world = World::new(seed, Setup { trim: false, ..setup });
        world.cursor_is_checked = false;
        for round in 0..4 {
            steps(&mut world, 200);
            world.cut();
            let keep = world.rng.below(world.remote.durable as u64 + 1) as usize;
            world.remote.lose_durable(keep);
            world.remote.incarnation += round % 2;
        }
        if let Err(violation) = world.heal() {
            panic!("seed {seed}: {}", violation.0);
        }
        assert_eq!(world.remote.log, forwarded(&world), "seed {seed}");
    }
}
