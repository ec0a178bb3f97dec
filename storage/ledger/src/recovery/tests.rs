//! The recovery against tables of answers.

use super::*;
use crate::{Fragment, ReplicationConfig};
use base::{EntryData, OwnerId, Rng};
use bytes::Bytes;
use wire::bookie::{AddOutcome, ReadOutcome, StoredEntry};

const LEDGER: LedgerId = LedgerId(4);

fn ms(at: u64) -> Now {
    Now { mono: Mono(at * 1_000_000), wall_ms: at }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

/// What a test looks at of an effect.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Fence { to: u64 },
    Read { to: u64, from: i64 },
    WriteBack { to: u64, entry: i64 },
    Cas(LedgerState),
    ReadMetadata,
    Event(RecoveryEvent),
}

struct Setup {
    recovery: LedgerRecovery,
    fx: RecoveryEffects,
    /// The last request to every bookie, and to the store.
    asked: Vec<(u64, RequestId)>,
    asked_store: Option<RequestId>,
}

impl Setup {
    /// Bookies 1, 2, … hold entries from 0 on; `spares` more can be chosen.
    fn new(e: u32, w: u32, a: u32, spares: u64) -> Self {
        let bookies: Vec<u64> = (1..=u64::from(e)).collect();
        let replication = ReplicationConfig::new(e, w, a).unwrap();
        Self::of(LedgerMetadata::new(replication, nodes(&bookies), 0).unwrap(), spares)
    }

    fn of(metadata: LedgerMetadata, spares: u64) -> Self {
        let all: Vec<u64> = (1..=u64::from(metadata.replication.ensemble()) + spares).collect();
        let placement = Placement::new(nodes(&all), Rng::new(1));
        let options = RecoveryOptions {
            request_timeout: Duration::from_millis(100),
            attempts_max: 2,
            window_entries: 4,
            read_bytes_max: 1_000,
            seeded: Seeded::NONE,
        };
        let (ids, mut fx) = (RequestIds::new(OwnerId(1), 2), Effects::new());
        let metadata = VersionedMetadata { metadata, version: 1 };
        let recovery = LedgerRecovery::start(ids, LEDGER, metadata, options, placement, ms(0), &mut fx);
        Self { recovery, fx, asked: Vec::new(), asked_store: None }
    }

    /// Marked as in recovery, and fenced by `bookies`, which answer this LAC.
    fn fenced(mut self, bookies: &[u64], lac: i64) -> Self {
        assert_eq!(self.seen(), [Seen::Cas(LedgerState::InRecovery)]);
        self.answer_store(MetadataOutcome::Committed { version: 2 });
        self.seen();
        bookies.iter().for_each(|&from| self.fence(from, lac));
        self
    }

    fn seen(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        for effect in self.fx.take() {
            all.push(match effect {
                LedgerEffect::Bookie { to, request } => {
                    self.asked.push((to.0, request.id()));
                    match request {
                        BookieRequest::ReadLac { fence: true, .. } => Seen::Fence { to: to.0 },
                        BookieRequest::Read { from, fence: true, .. } => Seen::Read { to: to.0, from: from.0 },
                        BookieRequest::Add { entry, recovery: true, .. } => {
                            Seen::WriteBack { to: to.0, entry: entry.0 }
                        }
                        other => panic!("not a request of a recovery: {other:?}"),
                    }
                }
                LedgerEffect::CasMetadata { id, metadata, .. } => {
                    self.asked_store = Some(id);
                    Seen::Cas(metadata.state)
                }
                LedgerEffect::ReadMetadata { id, .. } => {
                    self.asked_store = Some(id);
                    Seen::ReadMetadata
                }
                LedgerEffect::Event(event) => Seen::Event(event),
            });
        }
        all
    }

    fn answer_store(&mut self, outcome: MetadataOutcome) {
        self.recovery.handle_metadata(ms(1), self.asked_store.unwrap(), outcome, &mut self.fx);
    }

    fn id_of(&self, from: u64) -> RequestId {
        self.asked.iter().rev().find(|(to, _)| *to == from).map(|(_, id)| *id).unwrap()
    }

    fn answer(&mut self, from: u64, response: BookieResponse) {
        self.recovery.handle_bookie(ms(1), NodeId(from), response, &mut self.fx);
    }

    fn fence(&mut self, from: u64, lac: i64) {
        let outcome = LacOutcome::Lac { lac: EntryId(lac), last: EntryId(lac) };
        self.answer(from, BookieResponse::Lac { id: self.id_of(from), ledger: LEDGER, outcome });
    }

    /// Answers the last request to a bookie, which was a read.
    fn read(&mut self, from: u64, outcome: ReadOutcome) {
        self.answer(from, BookieResponse::Read { id: self.id_of(from), ledger: LEDGER, outcome });
    }

    fn stored(&mut self, from: u64, entry: i64) {
        let (id, entry) = (self.id_of(from), EntryId(entry));
        self.answer(from, BookieResponse::Added { id, ledger: LEDGER, entry, outcome: AddOutcome::Stored });
    }

    /// An add answered whatever was asked of the bookie since.
    fn answer_added(&mut self, from: u64, entry: i64) {
        let id = RequestId::new(OwnerId(1), self.id_of(from).seq);
        let (entry, outcome) = (EntryId(entry), AddOutcome::Stored);
        self.answer(from, BookieResponse::Added { id, ledger: LEDGER, entry, outcome });
    }

    fn tick(&mut self, at: u64) -> Vec<Seen> {
        self.recovery.on_deadline(ms(at), &mut self.fx);
        self.seen()
    }
}

fn entries(range: std::ops::Range<i64>) -> ReadOutcome {
    let data = EntryData::new(Bytes::new(), Bytes::from_static(b"0123456789"));
    let stored = |entry| StoredEntry { entry: EntryId(entry), lac: EntryId(entry - 1), data: data.clone() };
    ReadOutcome::Entries(range.map(stored).collect())
}

fn closed(last_entry: i64, length: u64) -> Seen {
    Seen::Cas(LedgerState::Closed { last_entry: EntryId(last_entry), length })
}

fn recovered(last_entry: i64, length: u64) -> Seen {
    Seen::Event(RecoveryEvent::Recovered { last_entry: EntryId(last_entry), length })
}

#[test]
fn a_ledger_on_one_bookie_is_marked_fenced_read_written_back_and_closed() {
    let mut setup = Setup::new(1, 1, 1, 0);
    assert_eq!(setup.seen(), [Seen::Cas(LedgerState::InRecovery)]);
    setup.answer_store(MetadataOutcome::Committed { version: 2 });
    assert_eq!(setup.seen(), [Seen::Fence { to: 1 }]);
    setup.fence(1, 0);
    assert_eq!(setup.seen(), [Seen::Read { to: 1, from: 1 }]);
    setup.read(1, entries(1..3));
    let write_back = |entry| Seen::WriteBack { to: 1, entry };
    assert_eq!(setup.seen(), [write_back(1), write_back(2), Seen::Read { to: 1, from: 3 }]);
    setup.read(1, ReadOutcome::NoSuchEntry);
    setup.stored(1, 1);
    assert_eq!(setup.seen(), [], "entry 2 is not written back yet");
    setup.stored(1, 2);
    assert_eq!(setup.seen(), [closed(2, 30)]);
    setup.answer_store(MetadataOutcome::Committed { version: 3 });
    assert_eq!(setup.seen(), [recovered(2, 30)]);
    assert_eq!((setup.recovery.version(), setup.recovery.next_deadline()), (3, None));
    setup.stored(1, 2);
    assert_eq!(setup.seen(), [], "LedgerRecovery I5");
}

#[test]
fn a_ledger_found_closed_is_recovered_at_once() {
    let metadata = Setup::new(3, 3, 2, 0).recovery.metadata().closed_at(EntryId(6), 70);
    let mut setup = Setup::of(metadata, 0);
    assert_eq!(setup.seen(), [recovered(6, 70)]);
}

#[test]
fn b2_no_entry_is_read_before_the_fence_is_complete() {
    let mut setup = Setup::new(5, 3, 2, 0).fenced(&[1, 2, 3, 3], -1);
    assert_eq!(setup.seen(), [], "four of five are needed");
    let unknown = LacOutcome::Unknown;
    setup.answer(4, BookieResponse::Lac { id: setup.id_of(4), ledger: LEDGER, outcome: unknown });
    assert_eq!(setup.seen(), [], "a bookie that cannot say is not fenced");
    assert_eq!(setup.tick(110), [Seen::Fence { to: 4 }, Seen::Fence { to: 5 }]);
    setup.fence(5, -1);
    let read = |to| Seen::Read { to, from: 0 };
    assert_eq!(setup.seen(), [read(1), read(2), read(3)]);
}

#[test]
fn b3_a_bookie_that_missed_the_fence_is_fenced_by_the_read() {
    let mut setup = Setup::new(3, 3, 2, 0).fenced(&[1, 2], -1);
    let fences = |effect: &LedgerEffect<RecoveryEvent>| match effect {
        LedgerEffect::Bookie { to, request: BookieRequest::Read { fence, .. } } => Some((to.0, *fence)),
        LedgerEffect::Bookie { .. } | LedgerEffect::Event(_) => None,
        LedgerEffect::ReadMetadata { .. } | LedgerEffect::CasMetadata { .. } => None,
    };
    assert_eq!(setup.fx.iter().filter_map(fences).collect::<Vec<_>>(), [(1, true), (2, true), (3, true)]);
    setup.seen();
    setup.read(1, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen(), [], "one denial from a fenced bookie leaves two that may hold the entry");
    setup.read(3, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen(), [closed(-1, 0)]);
}

#[test]
fn b4_reading_starts_at_the_current_fragment_even_when_no_lac_is_known() {
    let mut metadata = Setup::new(3, 3, 2, 0).recovery.metadata().clone();
    metadata.fragments.push(Fragment { first_entry: EntryId(7), bookies: nodes(&[2, 1, 9]) });
    let mut setup = Setup::of(metadata, 0).fenced(&[9, 2], -1);
    let read = |to| Seen::Read { to, from: 7 };
    assert_eq!(setup.seen(), [read(2), read(1), read(9)]);
    setup.read(2, ReadOutcome::NoSuchLedger);
    setup.read(1, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen(), [closed(6, 0)]);
    setup.answer_store(MetadataOutcome::Committed { version: 3 });
    assert_eq!(setup.recovery.metadata().fragments.len(), 1, "the empty fragment is gone");
}

#[test]
fn a_ledger_is_closed_as_unchecked_where_a_copy_may_lack() {
    for (copies, acks, lac, unchecked) in [(3, 2, 4, true), (3, 2, -1, false), (2, 2, 4, false)] {
        let mut setup = Setup::new(copies, copies, acks, 0).fenced(&[1, 2], lac);
        setup.seen();
        [1, 2].into_iter().for_each(|from| setup.read(from, ReadOutcome::NoSuchEntry));
        setup.seen();
        setup.answer_store(MetadataOutcome::Committed { version: 3 });
        let metadata = setup.recovery.metadata();
        assert_eq!(metadata.closed().map(|(last, _)| last), Some(EntryId(lac)));
        assert_eq!(metadata.unchecked, unchecked, "{copies} copies, {acks} acks, up to {lac}");
    }
}

#[test]
fn b5_unclear_answers_and_silence_never_end_a_ledger() {
    let mut setup = Setup::new(3, 3, 2, 0).fenced(&[1, 2], -1);
    setup.seen();
    setup.read(1, ReadOutcome::NoSuchEntry);
    setup.read(2, ReadOutcome::Unknown);
    assert_eq!(setup.seen(), [], "TailReads I2");
    let again = [Seen::Read { to: 2, from: 0 }, Seen::Read { to: 3, from: 0 }];
    assert_eq!(setup.tick(110), again);
    assert_eq!(setup.tick(220), again);
    setup.read(3, ReadOutcome::NoSuchLedger);
    assert_eq!(setup.seen(), [closed(-1, 0)]);
}

#[test]
fn an_entry_with_one_copy_survives_when_the_others_stay_silent_or_unclear() {
    let mut setup = Setup::new(3, 3, 2, 0).fenced(&[1, 2], -1);
    setup.seen();
    setup.read(1, entries(0..1));
    setup.read(2, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen(), [], "bookie 3 may still decide");
    let written: Vec<_> = setup.tick(110).into_iter().filter(|seen| matches!(seen, Seen::WriteBack { .. })).collect();
    assert_eq!(written, [1, 2, 3].map(|to| Seen::WriteBack { to, entry: 0 }));
    setup.stored(1, 0);
    setup.stored(1, 0);
    setup.read(2, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen().len(), 0, "b6: one copy is not enough to close");
}

#[test]
fn b6_a_bookie_that_takes_nothing_is_replaced_and_the_close_commits_the_new_ensemble() {
    let mut setup = Setup::new(3, 2, 2, 1).fenced(&[1, 2], -1);
    setup.seen();
    setup.read(1, entries(0..1));
    setup.read(2, entries(0..2));
    assert_eq!(setup.seen().len(), 3, "two copies of entry 0 and a read of entry 1");
    setup.stored(1, 0);
    setup.stored(2, 0);
    // Bookie 3 is dead: entry 1 survives on bookie 2, entry 2 is denied by bookie 1.
    let seen = setup.tick(110);
    assert!(seen.contains(&Seen::WriteBack { to: 3, entry: 1 }), "{seen:?}");
    setup.stored(2, 1);
    setup.read(1, ReadOutcome::NoSuchEntry);
    let seen = setup.tick(220);
    assert!(seen.contains(&Seen::WriteBack { to: 4, entry: 1 }), "{seen:?}");
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Read { to: 4, .. })), "bookie 4 has nothing of the writer");
    setup.stored(4, 1);
    assert_eq!(setup.seen(), [closed(1, 20)]);
    setup.answer_store(MetadataOutcome::Committed { version: 3 });
    let fragments = &setup.recovery.metadata().fragments;
    assert_eq!(fragments[1], Fragment { first_entry: EntryId(1), bookies: nodes(&[1, 2, 4]) });
}

#[test]
fn write_backs_carry_the_lac_that_the_recovery_began_with() {
    let mut setup = Setup::new(1, 1, 1, 0).fenced(&[1], 4);
    setup.seen();
    for entry in 5..8 {
        setup.read(1, entries(entry..entry + 1));
        let lacs: Vec<_> = setup.fx.iter().filter_map(lac_of).collect();
        assert_eq!(lacs, [EntryId(4)]);
        setup.seen();
        setup.stored(1, entry);
    }
}

fn lac_of(effect: &LedgerEffect<RecoveryEvent>) -> Option<EntryId> {
    match effect {
        LedgerEffect::Bookie { request: BookieRequest::Add { lac, .. }, .. } => Some(*lac),
        LedgerEffect::Bookie { .. } | LedgerEffect::Event(_) => None,
        LedgerEffect::ReadMetadata { .. } | LedgerEffect::CasMetadata { .. } => None,
    }
}

#[test]
fn the_window_bounds_what_is_read_ahead() {
    let mut setup = Setup::new(1, 1, 1, 0).fenced(&[1], -1);
    setup.seen();
    setup.read(1, entries(0..9));
    let written = |range: std::ops::Range<i64>| range.map(|entry| Seen::WriteBack { to: 1, entry }).collect::<Vec<_>>();
    assert_eq!(setup.seen(), written(0..4), "nothing more is read while four entries are being written back");
    (0..3).for_each(|entry| setup.stored(1, entry));
    assert_eq!(setup.seen(), [Seen::Read { to: 1, from: 4 }]);
}

#[test]
fn of_two_recoveries_the_loser_takes_over_the_winners_result() {
    let mut setup = Setup::new(1, 1, 1, 0).fenced(&[1], -1);
    setup.seen();
    setup.read(1, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.seen(), [closed(-1, 0)]);
    let metadata = setup.recovery.metadata().closed_at(EntryId(3), 44);
    setup.answer_store(MetadataOutcome::Conflict { actual: Some(VersionedMetadata { metadata, version: 8 }) });
    assert_eq!(setup.seen(), [recovered(3, 44)], "LedgerRecovery I4");
    assert_eq!((setup.recovery.metadata().closed(), setup.recovery.version()), (Some((EntryId(3), 44)), 8));
}

#[test]
fn an_ensemble_changed_before_the_mark_is_the_one_that_is_fenced() {
    let mut setup = Setup::new(1, 1, 1, 0);
    setup.seen();
    let metadata = setup.recovery.metadata().with_ensemble(EntryId(5), nodes(&[9]));
    setup.answer_store(MetadataOutcome::Conflict { actual: Some(VersionedMetadata { metadata, version: 2 }) });
    assert_eq!(setup.seen(), [Seen::Cas(LedgerState::InRecovery)]);
    setup.answer_store(MetadataOutcome::Committed { version: 3 });
    assert_eq!(setup.seen(), [Seen::Fence { to: 9 }]);
}

#[test]
fn a_recovery_without_progress_gives_up_with_the_reason() {
    let mut setup = Setup::new(3, 3, 2, 0).fenced(&[1], -1);
    for at in [110, 220, 330] {
        assert_eq!(setup.tick(at), [Seen::Fence { to: 2 }, Seen::Fence { to: 3 }]);
    }
    let failed = |error| Seen::Event(RecoveryEvent::Failed(error));
    assert_eq!(setup.tick(440), [failed(RecoveryError::BookiesUnavailable { ledger: LEDGER })]);
    assert_eq!(setup.recovery.next_deadline(), None);

    let mut setup = Setup::new(1, 1, 1, 0);
    setup.seen();
    setup.answer_store(MetadataOutcome::Conflict { actual: None });
    assert_eq!(setup.seen(), [failed(RecoveryError::Deleted { ledger: LEDGER })]);

    let mut setup = Setup::new(1, 1, 1, 0);
    setup.seen();
    let seen: Vec<_> = (1..10).flat_map(|step| setup.tick(step * 10_000)).collect();
    assert_eq!(seen.last(), Some(&failed(RecoveryError::MetadataUnavailable { ledger: LEDGER })));
    assert_eq!(seen.iter().filter(|seen| **seen == Seen::ReadMetadata).count(), 2);
}

#[test]
fn late_answers_to_reads_that_were_asked_again_are_ignored() {
    let mut setup = Setup::new(1, 1, 1, 0).fenced(&[1], -1);
    setup.seen();
    let late = BookieResponse::Read { id: setup.id_of(1), ledger: LEDGER, outcome: ReadOutcome::NoSuchEntry };
    assert_eq!(setup.tick(110), [Seen::Read { to: 1, from: 0 }]);
    setup.answer(1, late.clone());
    assert_eq!(setup.seen(), []);
    setup.read(1, entries(0..1));
    assert_eq!(setup.seen().len(), 2);
    setup.answer(1, late);
    assert_eq!(setup.seen(), []);
}

#[test]
fn a_vacant_seat_is_fenced_and_denies_and_a_bookie_that_is_away_is_left_at_once() {
    let replication = ReplicationConfig::new(3, 3, 2).unwrap();
    let metadata = LedgerMetadata::new(replication, vec![VACANT, NodeId(2), NodeId(3)], 0).unwrap();
    let mut setup = Setup::of(metadata, 0);
    setup.recovery.set_available(ms(0), nodes(&[1, 2]), &mut setup.fx);
    let mut setup = setup.fenced(&[2], -1);
    // Bookie 3 is away: 1 fence is enough, for an ack quorum needed both.
    let seen = setup.seen();
    assert!(seen.contains(&Seen::Read { to: 2, from: 0 }), "{seen:?}");
    setup.read(3, ReadOutcome::Unknown);
    setup.read(2, entries(0..1));
    let seen = setup.seen();
    let both = [1, 2].map(|to| Seen::WriteBack { to, entry: 0 });
    assert!(both.iter().all(|one| seen.contains(one)), "no timeout of bookie 3 is waited for: {seen:?}");
    [1, 2].into_iter().for_each(|from| setup.answer_added(from, 0));
    setup.read(2, ReadOutcome::NoSuchEntry);
    assert!(setup.seen().contains(&closed(0, 10)), "the vacant seat and bookie 2 deny entry 1");
    assert_eq!(setup.recovery.metadata().replication, replication);
}
