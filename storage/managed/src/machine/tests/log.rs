//! Appending, reading, trimming, opening, closing: one behaviour each.

use super::rig::{KEY, Rig, data, options};
use crate::{
    AddRefused, Checkpoint, CheckpointRule, CursorError, ManagedEffect, ManagedEvent, ManagedLedger, ManagedOptions,
    ManagedRecord, OpenError, OpenMode, Read, Retention,
};
use base::{Effects, ErrorClass, LedgerId, NodeId, OwnerId, Position, RegionId};
use bytes::Bytes;
use ledger::ReplicationConfig;
use meta_api::{MetaRequest, MetaResponse, Write};
use std::time::Duration;

#[test]
fn entries_are_persisted_in_order_across_rollovers_and_read_back_from_memory_and_from_bookies() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..10);
    assert_eq!(positions.len(), 10);
    assert!(positions.is_sorted());
    assert_eq!(rig.log.ledgers().len(), 3);
    assert_eq!(rig.log.last_confirmed(), positions[9]);
    assert_eq!(rig.numbers(Position::EARLIEST), (0..10).collect::<Vec<_>>());
    rig.log.evict_to(0);
    assert_eq!(rig.log.cache_bytes(), 0);
    assert_eq!(rig.numbers(positions[3]), (3..10).collect::<Vec<_>>());
    assert!(rig.log.cache_bytes() > 0, "blocks were kept");
    rig.log.set_cache_budget(0);
    assert_eq!(rig.numbers(positions[5]), (5..10).collect::<Vec<_>>());
    assert_eq!(rig.log.cache_bytes(), 0);
}

#[test]
fn a_crashed_log_opens_with_all_that_was_persisted_and_goes_on() {
    let mut rig = Rig::new(options());
    rig.add(0..6);
    assert_eq!(rig.reopen(), None);
    assert_eq!(rig.log.total_entries(), 6);
    let more = rig.add(6..9);
    assert!(more[0].ledger > rig.log.first_position().ledger);
    assert_eq!(rig.numbers(Position::EARLIEST), (0..9).collect::<Vec<_>>());
}

#[test]
fn a_closed_log_opens_without_recovery_and_a_missing_one_is_not_found() {
    let mut rig = Rig::new(options());
    let positions = rig.add(0..2);
    let cursor = rig.cursor("s", Position::EARLIEST);
    rig.ack_up_to(cursor, positions[0]).unwrap();
    rig.log.close(rig.now, &mut rig.fx);
    assert_eq!(rig.take(), [ManagedEvent::Closed]);
    assert_eq!(rig.log.next_deadline(), None);
    let refused = rig.log.add(rig.now, 9, data(9), &mut rig.fx);
    assert_eq!(refused, Err(AddRefused::NotOpen { state: "closed" }));
    rig.reopen();
    let cursor = rig.by_name("s");
    assert_eq!(rig.log.cursor(cursor).unwrap().mark_delete(), positions[0]);
    assert_eq!(rig.log.cursor(cursor).unwrap().backlog_entries(&rig.log), 1);

    let (nodes, mut fx) = (rig.storage.nodes(), Effects::new());
    let (key, mode) = ("/ml/none".to_owned(), OpenMode::MustExist);
    let mut log = ManagedLedger::open(OwnerId(9), key.clone(), mode, options(), nodes, rig.now, &mut fx);
    let events = rig.storage.drive(rig.now, &mut log, &mut fx);
    assert_eq!(events, [ManagedEvent::OpenFailed { error: OpenError::NotFound { name: key } }]);
}

#[test]
fn a_new_owner_fences_the_old_one_whose_adds_end_unknown() {
    let mut rig = Rig::new(options());
    rig.add(0..2);
    let cursor = rig.cursor("s", Position::EARLIEST);
    let mut old = std::mem::replace(&mut rig.log, Rig::new(options()).log);
    rig.log = ManagedLedger::open(
        OwnerId(50),
        KEY.into(),
        OpenMode::MustExist,
        options(),
        rig.storage.nodes(),
        rig.now,
        &mut rig.fx,
    );
    rig.take();
    let mut fx = Effects::new();
    old.add(rig.now, 77, data(77), &mut fx).unwrap();
    old.delete_cursor(rig.now, cursor, 5, &mut fx);
    let events = rig.storage.drive(rig.now, &mut old, &mut fx);
    let unknown = ManagedEvent::AddsUnknown { ctxs: vec![77] };
    assert!(events.contains(&unknown), "{events:?}");
    assert!(matches!(events.last(), Some(ManagedEvent::Fenced { .. })));
    let done = |event: &&ManagedEvent| matches!(event, ManagedEvent::CursorDone { ctx: 5, .. });
    assert!(matches!(
        events.iter().find(done),
        Some(ManagedEvent::CursorDone { result: Err(CursorError::Unknown { .. }), .. })
    ));
    assert_eq!(rig.numbers(Position::EARLIEST), [0, 1]);
    rig.by_name("s");
}

/// Options whose guard is the version of a record elsewhere in the metadata.
fn guarded(rig: &mut Rig) -> (crate::ManagedOptions, meta_api::MetaRequest) {
    let key = "/owners/x".to_owned();
    let put = || meta_api::Write::Put { key: key.clone(), value: "owner".into() };
    let change = meta_api::MetaRequest::Txn { compare: Vec::new(), writes: vec![put()] };
    let (response, _) = rig.storage.meta().apply(&change);
    let meta_api::MetaResponse::Committed { revision } = response else { panic!("{response:?}") };
    let guard = Some(meta_api::Compare::Version { key, version: revision });
    (crate::ManagedOptions { guard, ..options() }, change)
}

#[test]
fn i4_an_owner_whose_guard_fails_changes_nothing_and_is_fenced() {
    let mut rig = Rig::new(options());
    let (guarded, change) = guarded(&mut rig);
    let open = |rig: &mut Rig| {
        let (mut fx, nodes) = (Effects::new(), rig.storage.nodes());
        let mode = OpenMode::CreateIfAbsent;
        let mut log =
            ManagedLedger::open(OwnerId(60), "/ml/guarded".into(), mode, guarded.clone(), nodes, rig.now, &mut fx);
        let events = rig.storage.drive(rig.now, &mut log, &mut fx);
        (log, events)
    };
    let (mut log, events) = open(&mut rig);
    assert!(matches!(events[..], [ManagedEvent::Opened { .. }]), "{events:?}");
    rig.storage.meta().apply(&change);
    let mut fx = Effects::new();
    log.add(rig.now, 1, data(1), &mut fx).unwrap();
    let events = rig.storage.drive(rig.now, &mut log, &mut fx);
    assert!(matches!(events.last(), Some(ManagedEvent::Fenced { .. })), "I4: {events:?}");
    let (_, events) = open(&mut rig);
    let superseded =
        |event: &ManagedEvent| matches!(event, ManagedEvent::OpenFailed { error: OpenError::Superseded { .. } });
    assert!(events.iter().any(superseded), "I4: {events:?}");
}

#[test]
fn consumed_ledgers_are_trimmed_and_their_copies_deleted() {
    let mut rig = Rig::new(options());
    let a = rig.cursor("a", Position::EARLIEST);
    let b = rig.cursor("b", Position::EARLIEST);
    let positions = rig.add(0..10);
    rig.ack_up_to(a, positions[9]).unwrap();
    assert_eq!(rig.log.ledgers().len(), 3, "b holds them");
    rig.ack_up_to(b, positions[6]).unwrap();
    assert_eq!(rig.log.ledgers().len(), 2);
    assert_eq!(rig.log.first_position(), positions[4]);
    assert_eq!(rig.storage.stored_ledgers().len(), 3, "two ledgers and the cursor ledger");
    let ctx = rig.next_ctx();
    rig.log.delete_cursor(rig.now, b, ctx, &mut rig.fx);
    rig.result(ctx).unwrap();
    assert_eq!(rig.log.first_position(), positions[8]);
    // What is left is the open ledger; all of it is consumed, so it goes when it is old enough.
    rig.pass(Duration::from_secs(601));
    assert_eq!(rig.log.total_entries(), 0);
    assert_eq!(rig.log.last_confirmed(), positions[9]);
    rig.reopen();
    assert_eq!((rig.log.last_confirmed(), rig.log.total_entries()), (positions[9], 0));
    let more = rig.add(10..11);
    assert!(more[0] > positions[9]);
}

#[test]
fn retention_keeps_consumed_ledgers_by_size_and_time() {
    let hour = Duration::from_secs(3600);
    let retention = Retention { bytes: None, time: Some(hour) };
    let mut rig = Rig::new(ManagedOptions { retention, unsubscribed: Retention::NONE, ..options() });
    rig.add(0..9);
    assert_eq!(rig.log.total_entries(), 9);
    rig.pass(hour);
    assert_eq!(rig.log.total_entries(), 1);
    rig.log.set_retention(rig.now, Retention::FOREVER, &mut rig.fx);
    rig.add(10..20);
    rig.pass(hour * 1000);
    assert_eq!(rig.log.total_entries(), 11);
    let bytes = Some(rig.log.total_bytes() - 1);
    rig.log.set_retention(rig.now, Retention { bytes, time: None }, &mut rig.fx);
    rig.drive();
    assert_eq!(rig.log.total_entries(), 11, "a whole ledger less would be too little");
    rig.log.set_retention(rig.now, Retention { bytes: Some(1), time: None }, &mut rig.fx);
    rig.drive();
    assert!(rig.log.total_entries() < 5);
}

#[test]
fn a_required_checkpoint_holds_trimming_back_and_survives() {
    let (checkpoint, unsubscribed) = (CheckpointRule::Required, Retention::NONE);
    let mut rig = Rig::new(ManagedOptions { checkpoint, unsubscribed, ..options() });
    let positions = rig.add(0..9);
    assert_eq!(rig.log.total_entries(), 9, "no checkpoint yet");
    let checkpoint = Checkpoint { position: positions[4], bytes: Bytes::from_static(b"dedup") };
    rig.log.checkpoint(rig.now, checkpoint.clone(), 1, &mut rig.fx);
    assert!(rig.take().contains(&ManagedEvent::Checkpointed { ctx: 1 }));
    assert_eq!(rig.log.total_entries(), 5);
    assert_eq!(rig.reopen(), Some(checkpoint));
    rig.log.set_checkpoint_rule(rig.now, CheckpointRule::Unused, &mut rig.fx);
    rig.drive();
    assert_eq!(rig.log.total_entries(), 0);
}

#[test]
fn deleting_removes_the_metadata_and_every_copy() {
    let mut rig = Rig::new(options());
    rig.add(0..10);
    rig.cursor("s", Position::EARLIEST);
    rig.log.add(rig.now, 99, data(99), &mut rig.fx).unwrap();
    rig.fx.take();
    rig.log.delete(rig.now, &mut rig.fx);
    let events = rig.take();
    assert_eq!(events[0], ManagedEvent::AddsUnknown { ctxs: vec![99] });
    assert_eq!(events.last(), Some(&ManagedEvent::Deleted { result: Ok(()) }));
    assert_eq!(rig.storage.stored_ledgers(), []);
    assert_eq!(rig.storage.meta().iter_prefix("/").count(), 0);
}

#[test]
fn adds_are_bounded_while_no_ledger_is_open() {
    let mut rig = Rig::new(ManagedOptions { pending_adds_max: 3, ..options() });
    for n in 0..3 {
        rig.log.add(rig.now, n, data(n), &mut rig.fx).unwrap();
    }
    assert!(matches!(rig.log.add(rig.now, 3, data(3), &mut rig.fx), Err(AddRefused::Busy { pending: 3, .. })));
    rig.drive();
    rig.log.add(rig.now, 3, data(3), &mut rig.fx).unwrap();
    assert_eq!(rig.log.pending_adds(), 1);
}

#[test]
fn positions_can_be_counted_and_searched_across_ledgers() {
    let mut rig = Rig::new(options());
    assert_eq!(rig.log.last_confirmed(), Position::EARLIEST);
    assert_eq!(rig.log.previous_position(Position::LATEST), Position::EARLIEST);
    let positions = rig.add(0..10);
    for (n, position) in positions.iter().enumerate() {
        let after = 9 - n as u64;
        assert_eq!(rig.log.entries_after(*position), after);
        assert_eq!(rig.log.bytes_after(*position), after * 11);
        assert_eq!(rig.log.position_at(Position::EARLIEST, n as u64), Some(*position));
        assert_eq!(rig.log.next_position(*position), positions.get(n + 1).copied().unwrap_or_else(|| position.next()));
        if n > 0 {
            assert_eq!(rig.log.previous_position(*position), positions[n - 1]);
        }
    }
    assert_eq!(rig.log.position_at(positions[3], 7), None);
    assert_eq!(rig.log.position_at(positions[3].next(), 0), Some(positions[4]), "the end of a ledger is no entry");
    assert_eq!(rig.log.total_bytes(), 110);
}

#[test]
fn unavailable_metadata_delays_but_does_not_lose() {
    let mut rig = Rig::new(options());
    rig.log.add(rig.now, 1, data(1), &mut rig.fx).unwrap();
    let mut refused = 0;
    for _ in 0..6 {
        let mut later = Vec::new();
        for effect in rig.fx.take() {
            match effect {
                ManagedEffect::Meta { id, request } => {
                    // Even times the request is lost, odd times only its answer.
                    if refused % 2 == 1 {
                        rig.storage.meta().apply(&request);
                    }
                    refused += 1;
                    let reason = "no quorum".to_owned();
                    rig.log.handle_meta(rig.now, id, meta_api::MetaResponse::Unavailable { reason }, &mut rig.fx);
                }
                other => later.push(other),
            }
        }
        later.into_iter().for_each(|effect| rig.fx.push(effect));
        if refused >= 2 {
            break;
        }
        for effect in rig.fx.take() {
            if let crate::testing::Executed::Answer(answer) = rig.storage.execute(effect) {
                answer.deliver(rig.now, &mut rig.log, &mut rig.fx);
            }
        }
        rig.now.mono = rig.now.mono + Duration::from_millis(300);
        rig.log.on_deadline(rig.now, &mut rig.fx);
    }
    rig.pass(Duration::from_millis(300));
    rig.drive();
    assert_eq!(rig.numbers(Position::EARLIEST), [1]);
    assert!(refused >= 2);
}

#[test]
fn an_idle_log_is_small() {
    let rig = Rig::new(ManagedOptions::new(RegionId(1), ReplicationConfig::SINGLE));
    assert!(std::mem::size_of_val(&rig.log) <= 1400, "{}", std::mem::size_of_val(&rig.log));
}

#[test]
fn a_ledger_id_that_is_not_above_the_log_is_asked_for_again() {
    let mut rig = Rig::new(options());
    rig.add(0..4);
    rig.log.add(rig.now, 4, data(4), &mut rig.fx).unwrap();
    for low in [1, 2] {
        let asked = rig.fx.take();
        let [ManagedEffect::NeedLedgerId { id }] = asked.as_slice() else { panic!("{asked:?}") };
        rig.log.handle_ledger_id(rig.now, *id, LedgerId(low), &mut rig.fx);
        rig.log.handle_ledger_id(rig.now, *id, LedgerId(low), &mut rig.fx);
    }
    rig.drive();
    assert_eq!(rig.numbers(Position::EARLIEST), (0..5).collect::<Vec<_>>());
}

#[test]
fn adds_wait_until_there_are_bookies_for_a_ledger() {
    let mut rig = Rig::new(options());
    let nodes = rig.storage.nodes();
    // Two would do for 3/3/2, with one seat vacant.
    rig.log.set_bookies(rig.now, nodes[..1].to_vec(), &mut rig.fx);
    assert_eq!(rig.add(0..2), []);
    assert_eq!(rig.log.pending_adds(), 2);
    rig.log.set_bookies(rig.now, nodes, &mut rig.fx);
    rig.drive();
    assert_eq!(rig.numbers(Position::EARLIEST), [0, 1]);
}

#[test]
fn copies_stand_in_different_zones_while_there_are_such_and_in_one_otherwise() {
    let mut rig = Rig::new(options());
    let nodes = rig.storage.nodes();
    let zone = |node: &NodeId| (*node, if node.0 == 3 { "b" } else { "a" }.to_owned());
    rig.log.set_replication(ReplicationConfig::new(2, 2, 2).unwrap());
    rig.log.set_zones(nodes.iter().map(zone).collect());
    rig.log.set_bookies(rig.now, nodes.clone(), &mut rig.fx);
    rig.drive();
    // The ledger of the opening was placed before.
    rig.log.roll_over(rig.now, &mut rig.fx);
    for round in 0..8 {
        rig.add(round..round + 1);
        rig.log.roll_over(rig.now, &mut rig.fx);
        rig.drive();
    }
    let asked = rig.storage.meta().read(&MetaRequest::Get { key: KEY.into() });
    let Some(MetaResponse::Value(Some(found))) = asked else { panic!("{asked:?}") };
    let spread = ManagedRecord::decode(&found.value).unwrap().ledgers;
    let closed: Vec<_> = spread.iter().skip(1).filter(|ledger| ledger.closed_ms.is_some()).collect();
    assert!(closed.len() >= 7, "{spread:?}");
    for ledger in closed {
        assert!(ledger.bookies.contains(&nodes[2]), "{ledger:?}");
    }
    rig.log.set_bookies(rig.now, nodes[..2].to_vec(), &mut rig.fx);
    assert_eq!(rig.add(8..9).len(), 1, "one zone is better than no ledger");
}

#[test]
fn a_damaged_record_is_fatal_and_named() {
    let mut rig = Rig::new(options());
    let put = Write::Put { key: KEY.into(), value: Bytes::from_static(b"{}") };
    rig.storage.meta().apply(&MetaRequest::Txn { compare: Vec::new(), writes: vec![put] });
    let (nodes, mut fx) = (rig.storage.nodes(), Effects::new());
    let mut log = ManagedLedger::open(OwnerId(9), KEY.into(), OpenMode::MustExist, options(), nodes, rig.now, &mut fx);
    match rig.storage.drive(rig.now, &mut log, &mut fx).as_slice() {
        [ManagedEvent::OpenFailed { error: error @ OpenError::Damaged { name, .. } }] => {
            assert_eq!((name.as_str(), error.class()), (KEY, ErrorClass::Fatal));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_catching_up_reader_gets_its_next_block_before_it_asks() {
    let blocks = ManagedOptions { read_block_bytes: 1600, cache_bytes_max: 20_000, ..options() };
    let mut rig = Rig::new(ManagedOptions { ledger_entries_max: 1000, ..blocks });
    let positions = rig.add(0..100);
    rig.log.evict_to(0);
    let read = |rig: &mut Rig, n: usize| rig.log.read(rig.now, positions[n], 4, 1 << 20, &mut rig.fx);
    assert!(matches!(read(&mut rig, 0), Read::Pending(_)));
    rig.drive();
    assert!(matches!(read(&mut rig, 4), Read::Ready(entries) if entries.len() == 4));
    assert!(!rig.fx.is_empty(), "past the middle of the block");
    rig.drive();
    let mut misses = 0;
    for n in (8..96).step_by(4) {
        if let Read::Pending(_) = read(&mut rig, n) {
            misses += 1;
        }
        rig.drive();
        assert!(rig.log.cache_bytes() <= 20_000);
    }
    assert_eq!(misses, 0);
}

#[test]
fn a_block_that_memory_does_not_keep_is_only_as_long_as_asked_for() {
    let small = ManagedOptions { read_block_bytes: 1 << 20, cache_bytes_max: 4000, ..options() };
    let mut rig = Rig::new(ManagedOptions { ledger_entries_max: 1000, ..small });
    let positions = rig.add(0..100);
    rig.log.evict_to(0);
    rig.log.take_read_counts();
    for (n, fetched) in [(10, 1), (40, 3)] {
        let entries_max = u32::try_from(fetched).unwrap();
        assert!(matches!(rig.log.read(rig.now, positions[n], entries_max, 1 << 20, &mut rig.fx), Read::Pending(_)));
        rig.drive();
        assert_eq!(rig.log.take_read_counts().miss_entries, fetched);
    }
}

#[test]
fn readers_of_the_same_block_share_one_fetch() {
    let mut rig = Rig::new(ManagedOptions { ledger_entries_max: 1000, ..options() });
    let positions = rig.add(0..50);
    rig.log.evict_to(0);
    for position in &positions[..10] {
        assert!(matches!(rig.log.read(rig.now, *position, 1, 1, &mut rig.fx), Read::Pending(_)));
    }
    let asked = rig.fx.iter().filter(|effect| matches!(effect, ManagedEffect::Bookie { .. })).count();
    assert_eq!(asked, 1);
    let done = rig.take().into_iter().filter(|event| matches!(event, ManagedEvent::ReadDone { result: Ok(_), .. }));
    assert_eq!(done.count(), 10);
}

#[test]
fn closing_while_the_clock_is_due_does_not_spin() {
    let mut rig = Rig::new(ManagedOptions { consumed_age_min: Duration::from_secs(1), ..options() });
    rig.add(0..1);
    rig.log.add(rig.now, 1, data(1), &mut rig.fx).unwrap();
    rig.log.close(rig.now, &mut rig.fx);
    rig.now.mono = rig.now.mono + Duration::from_secs(2);
    rig.log.on_deadline(rig.now, &mut rig.fx);
    assert!(rig.log.next_deadline().is_none_or(|due| due > rig.now.mono));
}

#[test]
fn a_log_that_was_created_with_its_topic_opens_without_a_question_and_its_next_owner_takes_it_over() {
    let mut rig = Rig::new(options());
    let (nodes, key) = (rig.storage.nodes(), "/ml/born".to_owned());
    let open = |owner, mode, now, fx: &mut Effects<ManagedEffect>| {
        ManagedLedger::open(OwnerId(owner), key.clone(), mode, options(), nodes.clone(), now, fx)
    };
    let mut log = open(7, OpenMode::CreateIfAbsent, rig.now, &mut Effects::new());
    let birth = log.birth();
    let request = MetaRequest::Txn { compare: birth.compare, writes: vec![birth.write] };
    let (MetaResponse::Committed { revision }, _) = rig.storage.meta().apply(&request) else { panic!("{request:?}") };
    let (refused, _) = rig.storage.meta().apply(&request);
    assert!(matches!(refused, MetaResponse::Conflict { index: 0, .. }), "it is there: {refused:?}");
    let mut fx = Effects::new();
    log.begin_as_born(rig.now, revision, &mut fx);
    assert_eq!(fx.take(), [ManagedEffect::Event(ManagedEvent::Opened { checkpoint: None })]);
    log.add(rig.now, 1, data(1), &mut fx).unwrap();
    let events = rig.storage.drive(rig.now, &mut log, &mut fx);
    assert!(matches!(events.as_slice(), [ManagedEvent::Persisted { ctx: 1, .. }]), "{events:?}");
    let mut next = open(8, OpenMode::MustExist, rig.now, &mut fx);
    assert_eq!(rig.storage.drive(rig.now, &mut next, &mut fx), [ManagedEvent::Opened { checkpoint: None }]);
    assert_eq!(next.total_entries(), 1);
    log.add(rig.now, 2, data(2), &mut fx).unwrap();
    let events = rig.storage.drive(rig.now, &mut log, &mut fx);
    assert!(events.iter().any(|event| matches!(event, ManagedEvent::Fenced { .. })), "{events:?}");
}
