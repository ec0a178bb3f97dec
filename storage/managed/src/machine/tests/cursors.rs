//! Cursor operations: one behaviour each.

use super::rig::{Rig, options};
use crate::testing::Executed;
use crate::{AckSet, CursorError, CursorId, ManagedEffect, ManagedEvent, ManagedOptions};
use base::{LedgerId, Position};
use std::collections::BTreeMap;
use std::time::Duration;
use wire::bookie::BookieRequest;

#[test]
fn single_cumulative_and_partial_acks_survive_a_crash() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..10);
    let cursor = rig.cursor("s", Position::EARLIEST);
    rig.ack_up_to(cursor, positions[1]).unwrap();
    let half = AckSet::from_wire(&[0b1100]);
    rig.ack(cursor, &[(positions[3], None), (positions[5], Some(half.clone())), (positions[4], None)]).unwrap();
    for _ in 0..2 {
        let id = rig.by_name("s");
        let cursor = rig.log.cursor(id).unwrap();
        assert_eq!(cursor.mark_delete(), positions[1]);
        assert_eq!(cursor.backlog_entries(&rig.log), 6);
        assert!(cursor.is_acked(positions[4]) && !cursor.is_acked(positions[2]));
        assert_eq!(cursor.batch_ack(positions[5]), Some(&half));
        rig.reopen();
    }
    let id = rig.by_name("s");
    rig.ack(id, &[(positions[5], Some(AckSet::from_wire(&[0b0011]))), (positions[2], None)]).unwrap();
    assert_eq!(rig.log.cursor(id).unwrap().mark_delete(), positions[5], "two halves make a whole");
}

#[test]
fn acks_of_entries_that_do_not_exist_are_refused_with_the_object() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..2);
    let id = rig.cursor("s", Position::EARLIEST);
    let beyond = positions[1].next();
    let error = rig.ack(id, &[(positions[0], None), (beyond, None)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cursor 's': entry {beyond} does not exist; the log holds {} to {}", positions[0], positions[1])
    );
    assert!(!rig.log.cursor(id).unwrap().is_acked(positions[0]), "all or nothing");
    for foreign in [Position::LATEST, Position::new(LedgerId(3), i64::MAX), Position::new(beyond.ledger, i64::MAX)] {
        assert!(
            matches!(rig.ack(id, &[(foreign, None)]), Err(CursorError::NoSuchEntry { .. })) || foreign < positions[0]
        );
        let _ = rig.ack_up_to(id, foreign);
    }
    assert!(matches!(rig.ack(CursorId(99), &[]), Err(CursorError::NoSuchCursor { id: 99 })));
}

#[test]
fn the_cursor_ledger_is_replaced_when_it_has_grown_and_the_old_one_goes() {
    let mut rig = Rig::new(ManagedOptions { cursor_log_bytes_max: 300, ledger_entries_max: 1000, ..options() });
    assert_eq!(rig.log.cursor_ledger(), None);
    let id = rig.cursor("s", Position::EARLIEST);
    let first = rig.log.cursor_ledger().unwrap();
    let positions = rig.add(0..100);
    for position in positions.iter().step_by(2) {
        rig.ack(id, &[(*position, None)]).unwrap();
    }
    assert_ne!(rig.log.cursor_ledger(), Some(first));
    assert_eq!(rig.storage.stored_ledgers().len(), 2);
    rig.reopen();
    let id = rig.by_name("s");
    let cursor = rig.log.cursor(id).unwrap();
    assert!(positions.iter().step_by(2).all(|position| cursor.is_acked(*position)));
    assert!(positions.iter().skip(1).step_by(2).all(|position| !cursor.is_acked(*position)));
    assert_eq!(cursor.individually_acked().count(), 49);
}

#[test]
fn volatile_cursors_are_answered_at_once_and_hold_nothing() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..3);
    let id = rig.log.create_volatile_cursor("reader", Position::EARLIEST);
    rig.log.ack_each(rig.now, id, &[(positions[0], None)], 7, &mut rig.fx);
    assert_eq!(rig.fx.take(), [ManagedEffect::Event(ManagedEvent::CursorDone { ctx: 7, result: Ok(()) })]);
    assert_eq!(rig.log.cursor(id).unwrap().mark_delete(), positions[0]);
    assert_eq!(rig.log.cursor_ledger(), None);
    rig.add(3..20);
    assert_eq!(rig.log.total_entries(), 20, "a first subscription may still come");
    rig.pass(Duration::from_secs(601));
    assert_eq!(rig.log.total_entries(), 0);
    assert_eq!(rig.log.cursor(id).unwrap().backlog_entries(&rig.log), 0);
    rig.reopen();
    assert_eq!(rig.log.cursors().count(), 0);
}

#[test]
fn a_reset_moves_in_both_directions_and_forgets_acks() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..4);
    let keep = rig.cursor("keep", Position::EARLIEST);
    let id = rig.cursor("s", Position::LATEST);
    assert_eq!(rig.log.cursor(id).unwrap().mark_delete(), positions[3]);
    for (to, mark, backlog) in [
        (Position::EARLIEST, rig.log.previous_position(positions[0]), 4),
        (positions[1], positions[1], 2),
        (Position::LATEST, positions[3], 0),
        (positions[0], positions[0], 3),
    ] {
        let ctx = rig.next_ctx();
        rig.log.reset_cursor(rig.now, id, to, ctx, &mut rig.fx);
        rig.result(ctx).unwrap();
        let cursor = rig.log.cursor(id).unwrap();
        assert_eq!((cursor.mark_delete(), cursor.backlog_entries(&rig.log)), (mark, backlog));
        rig.ack(id, &[(positions[3], None)]).unwrap();
    }
    rig.reopen();
    let id = rig.by_name("s");
    assert_eq!(rig.log.cursor(id).unwrap().mark_delete(), positions[0]);
    assert!(rig.log.cursor(id).unwrap().is_acked(positions[3]));
    assert_ne!(keep, id);
}

#[test]
fn names_are_unique_and_properties_are_kept() {
    let mut rig = Rig::new(options());
    let id = rig.cursor("s", Position::EARLIEST);
    rig.log.create_cursor(rig.now, "s", Position::EARLIEST, BTreeMap::new(), 50, &mut rig.fx);
    assert_eq!(rig.result(50), Err(CursorError::NameTaken { name: "s".into() }));
    let properties = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    rig.log.set_cursor_properties(rig.now, id, properties.clone(), 51, &mut rig.fx);
    rig.result(51).unwrap();
    rig.log.delete_cursor(rig.now, id, 52, &mut rig.fx);
    rig.result(52).unwrap();
    rig.log.create_cursor(rig.now, "s", Position::EARLIEST, properties.clone(), 53, &mut rig.fx);
    rig.result(53).unwrap();
    rig.reopen();
    assert_eq!(rig.log.cursors().count(), 1);
    let id = rig.by_name("s");
    assert_eq!(rig.log.cursor(id).unwrap().properties(), &properties);
}

#[test]
fn a_cursor_holds_a_bounded_number_of_ranges_but_gaps_can_always_be_filled() {
    let mut rig = Rig::new(ManagedOptions { cursor_ranges_max: 3, ledger_entries_max: 100, ..options() });
    let positions = rig.add(0..20);
    let id = rig.cursor("s", Position::EARLIEST);
    for n in [2, 4, 6] {
        rig.ack(id, &[(positions[n], None)]).unwrap();
    }
    assert!(matches!(rig.ack(id, &[(positions[8], None)]), Err(CursorError::TooManyRanges { ranges_max: 3, .. })));
    let one = Some(AckSet::from_wire(&[1]));
    assert!(matches!(rig.ack(id, &[(positions[8], one)]), Err(CursorError::TooManyRanges { .. })));
    rig.ack(id, &[(positions[0], None), (positions[1], None), (positions[7], None)]).unwrap();
    rig.ack(id, &[(positions[9], None)]).unwrap();
    assert_eq!(rig.log.cursor(id).unwrap().mark_delete(), positions[2]);
}

#[test]
fn operations_that_come_while_a_record_is_written_share_the_next_one() {
    let mut rig = Rig::new(ManagedOptions { ledger_entries_max: 1000, ..options() });
    let positions = rig.add(0..100);
    let id = rig.cursor("s", Position::EARLIEST);
    for (n, position) in positions.iter().enumerate() {
        rig.log.ack_each(rig.now, id, &[(*position, None)], 1000 + n as u64, &mut rig.fx);
    }
    // One record for the first, one for all others, three copies each.
    let mut adds = 0;
    while !rig.fx.is_empty() {
        for effect in rig.fx.take() {
            adds += usize::from(matches!(effect, ManagedEffect::Bookie { request: BookieRequest::Add { .. }, .. }));
            match rig.storage.execute(effect) {
                Executed::Answer(answer) => answer.deliver(rig.now, &mut rig.log, &mut rig.fx),
                Executed::Event(event) => rig.events.push(event),
            }
        }
    }
    assert_eq!(adds, 6);
    let done: Vec<u64> = rig.events.iter().filter_map(done_ctx).collect();
    assert_eq!(done, (1000..1100).collect::<Vec<_>>());
}

fn done_ctx(event: &ManagedEvent) -> Option<u64> {
    match event {
        ManagedEvent::CursorDone { ctx, result: Ok(()) } => Some(*ctx),
        _ => None,
    }
}

#[test]
fn an_ack_that_changes_nothing_is_answered_no_earlier_than_the_one_it_repeats() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..2);
    let id = rig.cursor("s", Position::EARLIEST);
    for ctx in 50..53 {
        rig.log.ack_each(rig.now, id, &[(positions[0], None)], ctx, &mut rig.fx);
    }
    assert!(!rig.fx.iter().any(|effect| matches!(effect, ManagedEffect::Event(_))));
    let done: Vec<u64> = rig.take().iter().filter_map(done_ctx).collect();
    assert_eq!(done, [50, 51, 52]);
    rig.log.ack_each(rig.now, id, &[(positions[0], None)], 53, &mut rig.fx);
    assert_eq!(rig.fx.take(), [ManagedEffect::Event(ManagedEvent::CursorDone { ctx: 53, result: Ok(()) })]);
}
