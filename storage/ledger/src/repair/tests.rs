//! The repair against bookies and a store that answer as they are told.

use super::*;
use crate::{Fragment, Placement, ReplicationConfig};
use base::{EntryData, OwnerId, Rng};
use bytes::Bytes;
use std::collections::BTreeMap;
use wire::bookie::{AddOutcome, EntryRange, ReadOutcome, StoredEntry};

const LEDGER: LedgerId = LedgerId(4);

fn ms(at: u64) -> Now {
    Now { mono: Mono(at * 1_000_000), wall_ms: at }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn data(entry: EntryId) -> EntryData {
    EntryData::new(Bytes::new(), Bytes::from(vec![u8::try_from(entry.0).unwrap(); 100]))
}

/// Bookies 1 to 3 hold entries 0..10, bookies 2 to 4 the rest up to 19.
fn metadata(state: LedgerState) -> LedgerMetadata {
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    let mut metadata = LedgerMetadata::new(replication, nodes(&[1, 2, 3]), 0).unwrap();
    metadata.fragments.push(Fragment { first_entry: EntryId(10), bookies: nodes(&[2, 3, 4]) });
    LedgerMetadata { state, ..metadata }
}

const CLOSED: LedgerState = LedgerState::Closed { last_entry: EntryId(19), length: 2_000 };

struct Setup {
    repair: Option<LedgerRepair>,
    now: u64,
    store: VersionedMetadata,
    deleted: bool,
    /// What each bookie that is up holds.
    bookies: BTreeMap<NodeId, BTreeMap<EntryId, EntryData>>,
    /// What an add is answered.
    outcome: AddOutcome,
    /// Bytes that were read at each time.
    reads: Vec<(u64, usize)>,
    swaps: u32,
    lifted: Vec<NodeId>,
    events: Vec<RepairEvent>,
}

impl Setup {
    fn new(state: LedgerState) -> Self {
        let metadata = metadata(state);
        let mut bookies: BTreeMap<NodeId, BTreeMap<EntryId, EntryData>> = BTreeMap::new();
        for entry in (0..20).map(EntryId) {
            for node in &metadata.fragment_of(entry).bookies {
                bookies.entry(*node).or_default().insert(entry, data(entry));
            }
        }
        bookies.insert(NodeId(7), BTreeMap::new());
        Self {
            repair: None,
            now: 0,
            store: VersionedMetadata { metadata, version: 1 },
            deleted: false,
            bookies,
            outcome: AddOutcome::Stored,
            reads: Vec::new(),
            swaps: 0,
            lifted: Vec::new(),
            events: Vec::new(),
        }
    }

    fn replace(lost: &[u64], spare: &[u64]) -> RepairWork {
        let lost = lost.iter().copied().map(NodeId).collect();
        RepairWork::Replace { lost, placement: Placement::new(nodes(spare), Rng::new(1)) }
    }

    fn start(&mut self, work: RepairWork) {
        let options = RepairOptions {
            request_timeout: Duration::from_millis(50),
            speculate_after: Duration::from_millis(10),
            attempts_max: 3,
            batch_bytes: 300,
            bytes_per_s: 1_000,
            seeded: Seeded::NONE,
        };
        let (ids, mut fx) = (RequestIds::new(OwnerId(1), 5), Effects::new());
        let repair = LedgerRepair::start(ids, LEDGER, self.store.clone(), work, options, ms(self.now), &mut fx);
        self.repair = Some(repair);
        self.perform(fx);
    }

    fn perform(&mut self, mut fx: RepairEffects) {
        for effect in fx.take() {
            let mut next = Effects::new();
            let repair = self.repair.as_mut().unwrap();
            match effect {
                LedgerEffect::Bookie { to, request } => {
                    if let Some(response) = self.bookies.get_mut(&to).and_then(|held| {
                        answer(held, request, self.outcome, &mut self.reads, self.now, to, &mut self.lifted)
                    }) {
                        repair.handle_bookie(ms(self.now), to, response, &mut next);
                    }
                }
                LedgerEffect::CasMetadata { id, version, metadata, .. } => {
                    let outcome = if version == self.store.version {
                        self.swaps += 1;
                        check_swap(&self.store.metadata, &metadata, &self.bookies);
                        self.store = VersionedMetadata { metadata, version: version + 1 };
                        MetadataOutcome::Committed { version: version + 1 }
                    } else {
                        MetadataOutcome::Conflict { actual: Some(self.store.clone()) }
                    };
                    repair.handle_metadata(ms(self.now), id, outcome, &mut next);
                }
                LedgerEffect::ReadMetadata { id, .. } => {
                    let found = (!self.deleted).then(|| self.store.clone());
                    repair.handle_metadata(ms(self.now), id, MetadataOutcome::Current(found), &mut next);
                }
                LedgerEffect::Event(event) => self.events.push(event),
            }
            self.perform(next);
        }
    }

    /// Lets time pass until the repair has ended.
    fn run(&mut self) -> RepairEvent {
        for _ in 0..1_000 {
            let Some(at) = self.repair.as_ref().unwrap().next_deadline() else { break };
            self.now = self.now.max(at.0.div_ceil(1_000_000));
            self.tick();
        }
        assert_eq!(self.events.len(), 1, "LedgerRepair I6: one end");
        self.events[0].clone()
    }

    fn tick(&mut self) {
        let mut fx = Effects::new();
        self.repair.as_mut().unwrap().on_deadline(ms(self.now), &mut fx);
        self.perform(fx);
    }

    fn fragments(&self) -> Vec<Vec<u64>> {
        let ids = |fragment: &Fragment| fragment.bookies.iter().map(|node| node.0).collect();
        self.store.metadata.fragments.iter().map(ids).collect()
    }
}

fn answer(
    held: &mut BTreeMap<EntryId, EntryData>,
    request: BookieRequest,
    outcome: AddOutcome,
    reads: &mut Vec<(u64, usize)>,
    now: u64,
    to: NodeId,
    lifted: &mut Vec<NodeId>,
) -> Option<BookieResponse> {
    Some(match request {
        BookieRequest::Add { id, ledger, entry, lac, recovery, data } => {
            assert!(recovery && lac == entry.previous(), "a copy of a confirmed entry passes every fence");
            if outcome == AddOutcome::Stored {
                held.insert(entry, data);
            }
            BookieResponse::Added { id, ledger, entry, outcome }
        }
        BookieRequest::Read { id, ledger, from, entries_max, bytes_max, fence } => {
            assert!(!fence, "a repair fences nobody");
            let wanted = usize::try_from(entries_max.min(bytes_max.div_ceil(100))).unwrap();
            let range = held.range(from..).zip(from.0..).take(wanted).take_while(|((entry, _), n)| entry.0 == *n);
            let stored = |((entry, data), _): ((&EntryId, &EntryData), i64)| StoredEntry {
                entry: *entry,
                lac: EntryId::NONE,
                data: data.clone(),
            };
            let entries: Vec<StoredEntry> = range.map(stored).collect();
            reads.push((now, entries.len() * 100));
            let none = entries.is_empty();
            let outcome = if none { ReadOutcome::NoSuchEntry } else { ReadOutcome::Entries(entries) };
            BookieResponse::Read { id, ledger, outcome }
        }
        BookieRequest::Repaired { id, ledger, loss: 3 } => {
            lifted.push(to);
            BookieResponse::Repaired { id, ledger, lifted: true }
        }
        BookieRequest::Repaired { id, ledger, .. } => BookieResponse::Repaired { id, ledger, lifted: false },
        BookieRequest::Missing { id, ledger, range } => {
            // Pages of seven entries.
            let until = range.end.min(EntryId(range.first.0 + 7));
            let mut ranges: Vec<EntryRange> = Vec::new();
            for first in (range.first.0..until.0).map(EntryId).filter(|entry| !held.contains_key(entry)) {
                match ranges.last_mut().filter(|last| last.end == first) {
                    Some(last) => last.end = first.next(),
                    None => ranges.push(EntryRange { first, end: first.next() }),
                }
            }
            BookieResponse::Missing { id, ledger, until, ranges }
        }
        BookieRequest::ReadLac { .. } | BookieRequest::Delete { .. } | BookieRequest::Limbo { .. } => {
            panic!("a repair does not ask this")
        }
    })
}

/// LedgerRepair I2, I3.
fn check_swap(
    before: &LedgerMetadata,
    after: &LedgerMetadata,
    bookies: &BTreeMap<NodeId, BTreeMap<EntryId, EntryData>>,
) {
    assert_eq!(after.check(), Ok(()));
    assert_eq!(before.state, after.state, "LedgerRepair I3");
    let of = |metadata: &LedgerMetadata, entry| metadata.fragment_of(EntryId(entry)).clone();
    let changed: Vec<i64> = (0..20).filter(|e| of(before, *e).bookies != of(after, *e).bookies).collect();
    let whole: BTreeSet<EntryId> = changed.iter().map(|entry| of(before, *entry).first_entry).collect();
    assert_eq!(whole.len(), 1, "LedgerRepair I3: one fragment at a time");
    for entry in changed {
        let (old, new) = (of(before, entry), of(after, entry));
        assert!(before.settled_end(old.first_entry).is_some(), "LedgerRepair I1");
        for node in new.bookies.iter().filter(|node| !old.bookies.contains(node)) {
            let has = bookies[node].contains_key(&EntryId(entry));
            assert!(has, "LedgerRepair I2: bookie {node} has entry {entry}");
        }
    }
}

#[test]
fn a_lost_bookie_is_replaced_in_every_fragment_once_all_its_entries_are_copied() {
    let mut setup = Setup::new(CLOSED);
    setup.bookies.remove(&NodeId(3));
    setup.start(Setup::replace(&[3], &[1, 2, 3, 4, 7]));
    let end = setup.run();
    assert!(matches!(end, RepairEvent::Done { entries: 20, bytes: 2_000, unsettled: false }), "{end:?}");
    let fragments = setup.fragments();
    assert!(!fragments.concat().contains(&3), "{fragments:?}");
    assert_eq!((setup.swaps, fragments[0][..2].to_vec()), (2, vec![1, 2]), "those who stay keep their slots");
}

#[test]
fn the_last_fragment_of_an_open_ledger_is_left_to_its_writer() {
    for state in [LedgerState::Open, LedgerState::InRecovery] {
        let mut setup = Setup::new(state);
        setup.bookies.remove(&NodeId(2));
        setup.start(Setup::replace(&[2], &[1, 3, 4, 7]));
        assert_eq!(setup.run(), RepairEvent::Done { entries: 10, bytes: 1_000, unsettled: true });
        assert_eq!(setup.fragments()[1], [2, 3, 4], "LedgerRepair I1");
        assert!(!setup.fragments()[0].contains(&2));
    }
}

#[test]
fn reading_keeps_to_its_rate_whatever_the_speed_of_the_bookies() {
    let mut setup = Setup::new(CLOSED);
    setup.start(Setup::replace(&[1], &[7]));
    setup.run();
    let mut total = 0;
    for (at, bytes) in &setup.reads {
        assert!(total <= usize::try_from(*at).unwrap(), "LedgerRepair I5: {total} bytes in {at} ms at 1000 a second");
        assert!(*bytes <= 300, "LedgerRepair I5: one batch");
        total += bytes;
    }
    assert_eq!(total, 1_000);
}

#[test]
fn a_close_meanwhile_does_not_cost_the_copies_but_another_repair_does_the_rest() {
    let mut setup = Setup::new(LedgerState::Open);
    setup.start(Setup::replace(&[1], &[7]));
    setup.store = VersionedMetadata { metadata: metadata(CLOSED), version: 8 };
    assert_eq!(setup.run(), RepairEvent::Done { entries: 10, bytes: 1_000, unsettled: false }, "nothing copied twice");
    assert_eq!((setup.fragments(), setup.swaps), (vec![vec![7, 2, 3], vec![2, 3, 4]], 1));

    let mut setup = Setup::new(CLOSED);
    setup.start(Setup::replace(&[1], &[7]));
    setup.store.metadata = setup.store.metadata.with_replaced(EntryId(0), &[(0, NodeId(9))], &[]);
    setup.store.version = 2;
    assert!(matches!(setup.run(), RepairEvent::Done { .. }), "LedgerRepair I3, I4");
    assert_eq!((setup.fragments()[0].clone(), setup.swaps), (vec![9, 2, 3], 0));
}

#[test]
fn a_repair_goes_on_where_a_killed_one_stopped() {
    let mut setup = Setup::new(CLOSED);
    setup.bookies.remove(&NodeId(3));
    setup.start(Setup::replace(&[3], &[1, 4, 7]));
    while setup.swaps == 0 {
        setup.now += 50;
        setup.tick();
    }
    setup.start(Setup::replace(&[3], &[1, 4, 7]));
    let RepairEvent::Done { entries: 10, .. } = setup.run() else { panic!("only the other fragment: LedgerRepair I4") };
    assert!(!setup.fragments().concat().contains(&3));
}

/// Bookie 2 says that it lacks these.
fn refill(first: i64, end: i64) -> RepairWork {
    let missing = vec![EntryRange { first: EntryId(first), end: EntryId(end) }];
    RepairWork::Refill { bookie: NodeId(2), loss: 3, missing }
}

#[test]
fn only_what_is_missing_is_read_and_copied() {
    let mut setup = Setup::new(CLOSED);
    setup.start(refill(8, 11));
    assert_eq!(setup.run(), RepairEvent::Done { entries: 3, bytes: 300, unsettled: false }, "Copying I2");
    assert_eq!(setup.reads.iter().map(|(_, bytes)| bytes).sum::<usize>(), 300);
    let mut setup = Setup::new(CLOSED);
    setup.start(RepairWork::Refill { bookie: NodeId(2), loss: 3, missing: Vec::new() });
    assert_eq!(
        setup.run(),
        RepairEvent::Done { entries: 0, bytes: 0, unsettled: false },
        "told although nothing lacked"
    );
    assert_eq!(setup.lifted, [NodeId(2)]);
}

#[test]
fn a_refilled_bookie_gets_what_it_lost_in_its_place_and_is_told() {
    let mut setup = Setup::new(CLOSED);
    setup.bookies.insert(NodeId(2), BTreeMap::new());
    setup.start(refill(0, 20));
    assert!(matches!(setup.run(), RepairEvent::Done { entries: 20, .. }));
    assert_eq!((setup.bookies[&NodeId(2)].len(), setup.lifted.as_slice()), (20, nodes(&[2]).as_slice()));
    assert_eq!(setup.swaps, 0);
    let mut setup = Setup::new(LedgerState::Open);
    setup.start(refill(0, 20));
    assert_eq!(setup.run(), RepairEvent::Failed(RepairError::NotClosed { ledger: LEDGER }));
}

#[test]
fn what_cannot_be_repaired_now_is_said_and_changes_nothing() {
    let ledger = LEDGER;
    let mut setup = Setup::new(CLOSED);
    setup.start(Setup::replace(&[3], &[1, 2, 3]));
    assert_eq!(setup.run(), RepairEvent::Failed(RepairError::NoReplacement { ledger }));

    for (outcome, node) in [(AddOutcome::ReadOnly, 7), (AddOutcome::Unknown, 7)] {
        let mut setup = Setup::new(CLOSED);
        setup.outcome = outcome;
        setup.start(Setup::replace(&[3], &[7]));
        let bookie = NodeId(node);
        assert_eq!(setup.run(), RepairEvent::Failed(RepairError::BookieUnavailable { ledger, bookie }));
        assert_eq!(setup.swaps, 0);
    }

    let mut setup = Setup::new(CLOSED);
    setup.bookies.retain(|node, _| *node == NodeId(7));
    setup.start(Setup::replace(&[3], &[7]));
    let all = RepairError::Unreadable { ledger, first: EntryId(0), last: EntryId(19), entries: 20 };
    assert_eq!((setup.run(), setup.swaps), (RepairEvent::Failed(all), 0));
}

#[test]
fn what_a_repair_before_has_copied_is_not_copied_again() {
    let mut setup = Setup::new(CLOSED);
    for entry in [0, 1, 2, 6].map(EntryId) {
        setup.bookies.get_mut(&NodeId(7)).unwrap().insert(entry, data(entry));
    }
    setup.start(Setup::replace(&[1], &[7]));
    assert_eq!(setup.run(), RepairEvent::Done { entries: 6, bytes: 600, unsettled: false });
    assert_eq!((setup.bookies[&NodeId(7)].len(), setup.fragments()[0].clone()), (10, vec![7, 2, 3]));
}

#[test]
fn only_what_became_durable_counts_as_copied_and_what_was_read_is_paid_for() {
    let mut setup = Setup::new(CLOSED);
    setup.outcome = AddOutcome::ReadOnly;
    setup.start(Setup::replace(&[1], &[7]));
    assert!(matches!(setup.run(), RepairEvent::Failed(RepairError::BookieUnavailable { .. })));
    let repair = setup.repair.as_ref().unwrap();
    assert_eq!((repair.copied(), repair.paid_at()), ((0, 0), ms(300).mono));
}

/// None of bookies 1 to 4 has these.
fn lose(setup: &mut Setup, entries: &[i64]) {
    for (node, held) in &mut setup.bookies {
        held.retain(|entry, _| node.0 == 7 || !entries.contains(&entry.0));
    }
}

#[test]
fn the_seat_is_taken_around_entries_that_no_copy_gives_and_later_there_too() {
    let mut setup = Setup::new(CLOSED);
    lose(&mut setup, &[3, 4, 8, 15]);
    setup.bookies.remove(&NodeId(2));
    setup.start(Setup::replace(&[2], &[1, 7]));
    let error = RepairError::Unreadable { ledger: LEDGER, first: EntryId(3), last: EntryId(15), entries: 4 };
    assert_eq!((setup.run(), setup.swaps), (RepairEvent::Failed(error), 2));
    let firsts: Vec<i64> = setup.store.metadata.fragments.iter().map(|fragment| fragment.first_entry.0).collect();
    assert_eq!(firsts, [0, 3, 5, 8, 9, 10, 15, 16], "LedgerRepair I7");
    for entry in 0..20 {
        let lacks = setup.store.metadata.fragment_of(EntryId(entry)).bookies.contains(&NodeId(2));
        assert_eq!(lacks, [3, 4, 8, 15].contains(&entry), "LedgerRepair I2: {entry}");
    }
    // They are back: only they are copied.
    for entry in [3, 4, 8, 15].map(EntryId) {
        setup.bookies.get_mut(&NodeId(3)).unwrap().insert(entry, data(entry));
    }
    setup.events.clear();
    setup.start(Setup::replace(&[2], &[1, 7]));
    assert_eq!(setup.run(), RepairEvent::Done { entries: 4, bytes: 400, unsettled: false });
    assert!(!setup.fragments().concat().contains(&2));
}

#[test]
fn a_refill_goes_on_behind_what_no_copy_gives_and_does_not_lift_the_limbo() {
    let mut setup = Setup::new(CLOSED);
    lose(&mut setup, &[5, 11]);
    setup.bookies.insert(NodeId(2), BTreeMap::new());
    setup.start(refill(2, 20));
    let error = RepairError::Unreadable { ledger: LEDGER, first: EntryId(5), last: EntryId(11), entries: 2 };
    assert_eq!(setup.run(), RepairEvent::Failed(error));
    assert_eq!((setup.bookies[&NodeId(2)].len(), setup.lifted.len(), setup.swaps), (16, 0, 0), "LedgerRepair I2");
}

#[test]
fn a_fragment_that_would_fall_into_too_many_parts_waits_whole_and_keeps_its_copies() {
    let mut setup = Setup::new(CLOSED);
    let last = EntryId(99);
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    let metadata = LedgerMetadata::new(replication, nodes(&[1, 2, 3]), 0).unwrap().closed_at(last, 0);
    setup.store = VersionedMetadata { metadata, version: 1 };
    for entry in (0..=last.0).map(EntryId) {
        for node in [2, 3] {
            setup.bookies.get_mut(&NodeId(node)).unwrap().insert(entry, data(entry));
        }
    }
    lose(&mut setup, &(0..100).step_by(3).collect::<Vec<_>>());
    setup.start(Setup::replace(&[1], &[7]));
    assert!(matches!(setup.run(), RepairEvent::Failed(RepairError::Unreadable { entries: 34, .. })));
    assert_eq!((setup.swaps, setup.bookies[&NodeId(7)].len()), (0, 66), "LedgerRepair I7");
}

#[test]
fn a_bookie_that_does_not_answer_costs_its_timeout_once_when_entries_are_passed_over() {
    let mut setup = Setup::new(CLOSED);
    lose(&mut setup, &[3, 5, 7]);
    setup.bookies.remove(&NodeId(1));
    setup.bookies.insert(NodeId(2), BTreeMap::new());
    setup.start(refill(0, 10));
    assert!(matches!(setup.run(), RepairEvent::Failed(RepairError::Unreadable { entries: 3, .. })));
    assert_eq!(setup.bookies[&NodeId(2)].len(), 7);
    // Three tries and their pauses, 1 s for the bytes, and for each of the three one silent read and one question.
    assert!(setup.now <= 3 * 100 + 1_000 + 3 * 50 + 50 + 100, "{} ms", setup.now);
}

#[test]
fn a_bookie_that_has_lost_something_since_keeps_nobody_waiting() {
    let mut setup = Setup::new(CLOSED);
    setup.start(RepairWork::Refill { bookie: NodeId(2), loss: 2, missing: Vec::new() });
    let error = RepairError::BookieUnavailable { ledger: LEDGER, bookie: NodeId(2) };
    assert_eq!((setup.run(), setup.now), (RepairEvent::Failed(error), 0));
}

#[test]
fn a_ledger_that_was_deleted_meanwhile_keeps_nobody_waiting() {
    let mut setup = Setup::new(CLOSED);
    setup.bookies.values_mut().for_each(BTreeMap::clear);
    setup.deleted = true;
    setup.start(Setup::replace(&[1], &[7]));
    assert_eq!((setup.run(), setup.now), (RepairEvent::Deleted, 0), "before the first pause");
}

#[test]
fn the_lost_bookie_itself_is_the_last_one_asked() {
    let mut setup = Setup::new(CLOSED);
    for node in [1, 2, 4] {
        setup.bookies.insert(NodeId(node), BTreeMap::new());
    }
    setup.start(Setup::replace(&[3], &[7]));
    assert!(
        matches!(setup.run(), RepairEvent::Done { .. }),
        "a bookie that was taken for lost still has the only copy"
    );
}
