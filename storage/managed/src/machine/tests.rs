//! A log driven to rest: one behaviour each.

mod crash;
mod model;

use crate::testing::Storage;
use crate::{
    AckSet, AddRefused, Checkpoint, CheckpointRule, CursorError, CursorId, ManagedEffect, ManagedEvent, ManagedLedger,
    ManagedOptions, OpenError, OpenMode, Read, Retention,
};
use base::{Effects, EntryData, LedgerId, Mono, Now, OwnerId, Position, RegionId};
use bytes::Bytes;
use ledger::ReplicationConfig;
use std::collections::BTreeMap;
use std::time::Duration;

const KEY: &str = "/ml/t";

/// One log on its storage.
struct Rig {
    storage: Storage,
    log: ManagedLedger,
    fx: Effects<ManagedEffect>,
    now: Now,
    owner: u64,
    ctx: u64,
    events: Vec<ManagedEvent>,
}

fn options() -> ManagedOptions {
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    ManagedOptions { ledger_entries_max: 4, ..ManagedOptions::new(RegionId(1), replication) }
}

fn data(n: u64) -> EntryData {
    EntryData::new(Bytes::from(vec![7; 3]), Bytes::from(n.to_le_bytes().to_vec()))
}

impl Rig {
    fn new(options: ManagedOptions) -> Self {
        let mut storage = Storage::new(3);
        let (mut fx, now) = (Effects::new(), Now { mono: Mono(0), wall_ms: 1_000_000 });
        let nodes = storage.nodes();
        let mut log =
            ManagedLedger::open(OwnerId(1), KEY.into(), OpenMode::CreateIfAbsent, options, nodes, now, &mut fx);
        let events = storage.drive(now, &mut log, &mut fx);
        assert_eq!(events, [ManagedEvent::Opened { checkpoint: None }]);
        Self { storage, log, fx, now, owner: 1, ctx: 0, events: Vec::new() }
    }

    fn drive(&mut self) {
        self.events.extend(self.storage.drive(self.now, &mut self.log, &mut self.fx));
    }

    fn take(&mut self) -> Vec<ManagedEvent> {
        self.drive();
        std::mem::take(&mut self.events)
    }

    /// The owner dies; another opens.
    fn reopen(&mut self) -> Option<Checkpoint> {
        self.owner += 1;
        let (options, nodes) = (self.log.options().clone(), self.storage.nodes());
        self.fx.take();
        self.events.clear();
        let owner = OwnerId(self.owner);
        self.log = ManagedLedger::open(owner, KEY.into(), OpenMode::MustExist, options, nodes, self.now, &mut self.fx);
        match self.take().as_slice() {
            [ManagedEvent::Opened { checkpoint }] => checkpoint.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono = self.now.mono + time;
        self.now.wall_ms += u64::try_from(time.as_millis()).unwrap();
        while self.log.next_deadline().is_some_and(|due| due <= self.now.mono) {
            self.log.on_deadline(self.now, &mut self.fx);
            self.drive();
        }
    }

    fn next_ctx(&mut self) -> u64 {
        self.ctx += 1;
        self.ctx
    }

    /// Adds entries with the numbers `from..to`; answers their positions.
    fn add(&mut self, numbers: std::ops::Range<u64>) -> Vec<Position> {
        for n in numbers {
            self.log.add(self.now, n, data(n), &mut self.fx).unwrap();
        }
        let persisted = |event| match event {
            ManagedEvent::Persisted { position, .. } => Some(position),
            _ => None,
        };
        self.take().into_iter().filter_map(persisted).collect()
    }

    fn cursor(&mut self, name: &str, mark: Position) -> CursorId {
        let ctx = self.next_ctx();
        let id = self.log.create_cursor(self.now, name, mark, BTreeMap::new(), ctx, &mut self.fx);
        assert!(self.take().contains(&ManagedEvent::CursorDone { ctx, result: Ok(()) }));
        id
    }

    fn by_name(&self, name: &str) -> CursorId {
        self.log.cursors().find(|(_, cursor)| cursor.name() == name).unwrap().0
    }

    fn result(&mut self, ctx: u64) -> Result<(), CursorError> {
        let events = self.take();
        let done = events.into_iter().find_map(|event| match event {
            ManagedEvent::CursorDone { ctx: done, result } if done == ctx => Some(result),
            _ => None,
        });
        done.unwrap()
    }

    fn ack(&mut self, id: CursorId, acks: &[(Position, Option<AckSet>)]) -> Result<(), CursorError> {
        let ctx = self.next_ctx();
        self.log.ack_each(self.now, id, acks, ctx, &mut self.fx);
        self.result(ctx)
    }

    fn ack_up_to(&mut self, id: CursorId, position: Position) -> Result<(), CursorError> {
        let ctx = self.next_ctx();
        self.log.ack_up_to(self.now, id, position, None, ctx, &mut self.fx);
        self.result(ctx)
    }

    /// Everything readable from `from` on, as numbers.
    fn numbers(&mut self, from: Position) -> Vec<u64> {
        let (mut next, mut numbers) = (from, Vec::new());
        loop {
            let entries = match self.log.read(self.now, next, 100, 1 << 20, &mut self.fx) {
                Read::Ready(entries) => entries,
                Read::AtTail => return numbers,
                Read::Busy => panic!("busy"),
                Read::Pending(read) => {
                    let find = |event| match event {
                        ManagedEvent::ReadDone { read: done, result } if done == read => Some(result.unwrap()),
                        _ => None,
                    };
                    self.take().into_iter().find_map(find).unwrap()
                }
            };
            for entry in entries {
                assert!(entry.position >= next);
                next = entry.position.next();
                numbers.push(u64::from_le_bytes(entry.data.body.as_ref().try_into().unwrap()));
            }
        }
    }
}

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
        assert_eq!(rig.log.next_position(*position), *positions.get(n + 1).unwrap_or(&position.next()));
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
