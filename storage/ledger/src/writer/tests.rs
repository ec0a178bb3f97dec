//! The writer against tables of events and against a naive model of the LAC.

mod copies;

use super::*;
use crate::{Fragment, ReplicationConfig};
use base::{OwnerId, Rng};
use bytes::Bytes;
use proptest::prelude::{prop_assert_eq, proptest};

const LEDGER: LedgerId = LedgerId(4);

fn ms(at: u64) -> Now {
    Now { mono: Mono(at * 1_000_000), wall_ms: at }
}

fn nodes(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

struct Setup {
    writer: LedgerWriter,
    fx: WriterEffects,
}

/// What a test looks at of an effect.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Add { to: u64, entry: i64, lac: i64 },
    Cas { version: u64, metadata: LedgerMetadata },
    Read,
    Event(WriterEvent),
}

impl Setup {
    /// A writer on bookies 1..=ensemble, with `spares` more to choose from.
    fn new(e: u32, w: u32, a: u32, spares: u64) -> Self {
        let replication = ReplicationConfig::new(e, w, a).unwrap();
        let ensemble: Vec<u64> = (1..=u64::from(e)).collect();
        let all: Vec<u64> = (1..=u64::from(e) + spares).collect();
        let metadata = LedgerMetadata::new(replication, nodes(&ensemble), 0).unwrap();
        let options = WriterOptions {
            pending_adds_max: 8,
            pending_bytes_max: 100,
            add_timeout: Duration::from_millis(100),
            seeded: Seeded::NONE,
        };
        let placement = Placement::new(nodes(&all), Rng::new(1));
        let ids = RequestIds::new(OwnerId(1), 1);
        let writer = LedgerWriter::new(ids, LEDGER, VersionedMetadata { metadata, version: 1 }, options, placement);
        Self { writer, fx: Effects::new() }
    }

    fn add(&mut self, at: u64, ctx: u64) {
        let data = EntryData::new(Bytes::new(), Bytes::from_static(b"0123456789"));
        self.writer.add_entry(ms(at), ctx, data, &mut self.fx).unwrap();
    }

    fn answer(&mut self, at: u64, from: u64, entry: i64, outcome: AddOutcome) {
        let id = RequestId::new(OwnerId(1), 0);
        let response = BookieResponse::Added { id, ledger: LEDGER, entry: EntryId(entry), outcome };
        self.writer.handle_add_response(ms(at), NodeId(from), &response, &mut self.fx);
    }

    fn stored(&mut self, from: u64, entry: i64) {
        self.answer(1, from, entry, AddOutcome::Stored);
    }

    /// Answers the metadata request that is under way and returns it.
    fn answer_metadata(&mut self, at: u64, outcome: MetadataOutcome) -> Option<LedgerMetadata> {
        let effects = self.fx.take();
        let (id, proposed) = effects
            .into_iter()
            .find_map(|effect| match effect {
                LedgerEffect::CasMetadata { id, metadata, .. } => Some((id, Some(metadata))),
                LedgerEffect::ReadMetadata { id, .. } => Some((id, None)),
                LedgerEffect::Bookie { .. } | LedgerEffect::Event(_) => None,
            })
            .unwrap();
        self.writer.handle_metadata(ms(at), id, outcome, &mut self.fx);
        proposed
    }

    fn seen(&mut self) -> Vec<Seen> {
        let see = |effect| match effect {
            LedgerEffect::Bookie { to, request: BookieRequest::Add { entry, lac, .. } } => {
                Seen::Add { to: to.0, entry: entry.0, lac: lac.0 }
            }
            LedgerEffect::Bookie { .. } => panic!("a writer only adds"),
            LedgerEffect::CasMetadata { version, metadata, .. } => Seen::Cas { version, metadata },
            LedgerEffect::ReadMetadata { .. } => Seen::Read,
            LedgerEffect::Event(event) => Seen::Event(event),
        };
        self.fx.take().into_iter().map(see).collect()
    }

    fn confirmed(&mut self) -> Vec<u64> {
        let ctx = |seen| match seen {
            Seen::Event(WriterEvent::Confirmed { ctx, .. }) => Some(ctx),
            Seen::Event(_) | Seen::Add { .. } | Seen::Cas { .. } | Seen::Read => None,
        };
        self.seen().into_iter().filter_map(ctx).collect()
    }

    fn fenced(unknown: &[u64]) -> Seen {
        Seen::Event(WriterEvent::Fenced { unknown: unknown.to_vec() })
    }
}

#[test]
fn one_copy_on_one_bookie_is_confirmed_by_its_answer() {
    let mut setup = Setup::new(1, 1, 1, 0);
    setup.add(0, 70);
    setup.add(0, 71);
    assert_eq!(setup.seen(), [Seen::Add { to: 1, entry: 0, lac: -1 }, Seen::Add { to: 1, entry: 1, lac: -1 }]);
    setup.stored(1, 0);
    setup.add(1, 72);
    let confirmed = Seen::Event(WriterEvent::Confirmed { ctx: 70, entry: EntryId(0) });
    assert_eq!(setup.seen(), [confirmed, Seen::Add { to: 1, entry: 2, lac: 0 }]);
    assert_eq!((setup.writer.last_confirmed(), setup.writer.last_added()), (EntryId(0), EntryId(2)));
    assert_eq!((setup.writer.length(), setup.writer.pending_adds(), setup.writer.pending_bytes()), (10, 2, 20));
}

#[test]
fn b1_an_entry_waits_for_its_ack_quorum_and_for_all_entries_before_it() {
    let mut setup = Setup::new(3, 3, 2, 0);
    (0..3).for_each(|ctx| setup.add(0, ctx));
    for (from, entry) in [(1, 1), (2, 1), (3, 1), (1, 0), (1, 0)] {
        setup.stored(from, entry);
    }
    assert_eq!(setup.confirmed(), Vec::<u64>::new(), "entry 0 has one copy, however often it is reported");
    setup.stored(3, 0);
    assert_eq!(setup.confirmed(), [0, 1]);
}

#[test]
fn entries_are_striped_over_their_write_sets() {
    let mut setup = Setup::new(3, 2, 2, 0);
    (0..3).for_each(|ctx| setup.add(0, ctx));
    let sent: Vec<_> = setup.seen();
    let to = |entry| {
        let of = move |seen: &&Seen| matches!(seen, Seen::Add { entry: e, .. } if *e == entry);
        let bookie = |seen: &Seen| if let Seen::Add { to, .. } = seen { *to } else { 0 };
        sent.iter().filter(of).map(bookie).collect::<Vec<_>>()
    };
    assert_eq!((to(0), to(1), to(2)), (vec![1, 2], vec![2, 3], vec![1, 3]));
    setup.stored(3, 0);
    setup.stored(1, 0);
    assert_eq!(setup.confirmed(), Vec::<u64>::new(), "bookie 3 is not in the write set of entry 0");
}

#[test]
fn a_fenced_writer_reports_its_pending_adds_as_unknown_and_confirms_nothing_more() {
    let mut setup = Setup::new(3, 3, 2, 0);
    (5..8).for_each(|ctx| setup.add(0, ctx));
    setup.stored(1, 0);
    setup.seen();
    setup.answer(1, 2, 0, AddOutcome::Fenced);
    assert_eq!(setup.seen(), [Setup::fenced(&[5, 6, 7])]);
    setup.stored(2, 0);
    setup.stored(3, 0);
    setup.answer(1, 3, 1, AddOutcome::Fenced);
    assert_eq!(setup.seen(), []);
    assert!(setup.writer.is_fenced());
    let refused = setup.writer.add_entry(ms(2), 9, EntryData::default(), &mut setup.fx);
    assert_eq!((refused, setup.writer.next_deadline()), (Err(AddError::Fenced), None));
}

#[test]
fn adds_beyond_the_bounds_are_refused_but_one_entry_always_fits() {
    let mut setup = Setup::new(1, 1, 1, 0);
    let large = EntryData::new(Bytes::new(), Bytes::from(vec![0; 500]));
    setup.writer.add_entry(ms(0), 0, large, &mut setup.fx).unwrap();
    assert_eq!(setup.writer.check_add(1), Err(AddError::Full { pending_adds: 1, pending_bytes: 500 }));
    setup.stored(1, 0);
    (0..8).for_each(|ctx| setup.add(0, ctx));
    assert_eq!(setup.writer.check_add(0), Err(AddError::Full { pending_adds: 8, pending_bytes: 80 }));
    setup.stored(1, 1);
    assert_eq!(setup.writer.check_add(30), Ok(()));
    assert_eq!(setup.writer.check_add(31), Err(AddError::Full { pending_adds: 7, pending_bytes: 70 }));
}

#[test]
fn b7_a_new_ensemble_starts_above_the_lac_and_is_used_only_once_its_cas_won() {
    let mut setup = Setup::new(3, 3, 2, 1);
    (0..3).for_each(|ctx| setup.add(0, ctx));
    for (from, entry) in [(1, 0), (2, 0), (3, 1)] {
        setup.stored(from, entry);
    }
    setup.seen();
    setup.answer(1, 3, 2, AddOutcome::ReadOnly);
    // Entry 0 was confirmed without bookie 3, which never acknowledged it.
    let lacking = setup.writer.metadata().with_ensemble(EntryId(0), vec![NodeId(1), NodeId(2), VACANT]);
    let changed = lacking.with_ensemble(EntryId(1), nodes(&[1, 2, 4]));
    let proposal = setup.fx.iter().next().cloned();
    assert!(matches!(proposal, Some(LedgerEffect::CasMetadata { version: 1, metadata, .. }) if metadata == changed));
    setup.stored(1, 1);
    setup.stored(4, 1);
    assert_eq!(setup.writer.last_confirmed(), EntryId(0), "bookie 3 no longer counts and bookie 4 not yet");
    setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 });
    let resent = [Seen::Add { to: 4, entry: 1, lac: 0 }, Seen::Add { to: 4, entry: 2, lac: 0 }];
    let mut expected = vec![Seen::Event(WriterEvent::EnsembleChanged)];
    expected.extend(resent);
    assert_eq!(setup.seen(), expected);
    setup.stored(3, 1);
    assert_eq!(setup.confirmed(), Vec::<u64>::new(), "bookie 3 was replaced");
    setup.stored(4, 1);
    assert_eq!(setup.confirmed(), [1]);
    assert_eq!((setup.writer.metadata(), setup.writer.version()), (&changed, 2));
}

#[test]
fn entries_with_an_ack_quorum_among_the_staying_bookies_are_confirmed_during_a_change() {
    let mut setup = Setup::new(3, 3, 2, 1);
    setup.add(0, 0);
    setup.answer(1, 3, 0, AddOutcome::ReadOnly);
    setup.seen();
    setup.add(1, 1);
    let to_staying = [Seen::Add { to: 1, entry: 1, lac: -1 }, Seen::Add { to: 2, entry: 1, lac: -1 }];
    assert_eq!(setup.seen(), to_staying, "nothing goes to the bookie that is being replaced");
    for (from, entry) in [(1, 0), (2, 0), (1, 1), (2, 1)] {
        setup.stored(from, entry);
    }
    assert_eq!(setup.confirmed(), [0, 1]);
}

#[test]
fn b7_a_change_that_meets_a_recovery_or_a_closed_ledger_ends_the_writer() {
    let open = Setup::new(3, 3, 2, 1).writer.metadata().clone();
    for met in [Some(open.in_recovery()), Some(open.closed_at(EntryId(5), 1)), None] {
        let mut setup = Setup::new(3, 3, 2, 1);
        setup.add(0, 33);
        setup.answer(1, 1, 0, AddOutcome::ReadOnly);
        let actual = met.map(|metadata| VersionedMetadata { metadata, version: 2 });
        setup.answer_metadata(2, MetadataOutcome::Conflict { actual });
        assert_eq!(setup.seen(), [Setup::fenced(&[33])]);
    }
}

#[test]
fn a_change_that_meets_a_repair_of_older_fragments_is_proposed_again_upon_it() {
    let mut setup = Setup::new(3, 3, 2, 2);
    setup.add(0, 0);
    for from in [1, 2] {
        setup.stored(from, 0);
    }
    setup.add(1, 1);
    setup.answer(1, 3, 1, AddOutcome::ReadOnly);
    setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 });
    let mut repaired = setup.writer.metadata().clone();
    repaired.fragments[0].bookies = nodes(&[1, 2, 5]);
    setup.seen();
    setup.answer(3, 1, 1, AddOutcome::ReadOnly);
    let actual = Some(VersionedMetadata { metadata: repaired.clone(), version: 3 });
    setup.answer_metadata(4, MetadataOutcome::Conflict { actual });
    let proposed = setup.answer_metadata(5, MetadataOutcome::Committed { version: 4 }).unwrap();
    assert_eq!(proposed.fragments[0], repaired.fragments[0]);
    assert_eq!(proposed.fragments[1].first_entry, EntryId(1));
    assert_eq!(setup.writer.version(), 4);
}

#[test]
fn without_a_spare_bookie_a_silent_add_is_sent_again() {
    let mut setup = Setup::new(3, 3, 2, 0);
    setup.add(0, 0);
    setup.stored(2, 0);
    setup.seen();
    assert_eq!(setup.writer.next_deadline(), Some(ms(100).mono));
    setup.writer.on_deadline(ms(100), &mut setup.fx);
    let again = [Seen::Add { to: 1, entry: 0, lac: -1 }, Seen::Add { to: 3, entry: 0, lac: -1 }];
    assert_eq!(setup.seen(), again);
    assert_eq!(setup.writer.next_deadline(), Some(ms(200).mono));
    setup.writer.set_available(ms(110), nodes(&[1, 2, 3, 9]), &mut setup.fx);
    let [Seen::Cas { version: 1, metadata }] = &setup.seen()[..] else { panic!("a spare is used at once") };
    assert_eq!(metadata.fragments, [Fragment { first_entry: EntryId(0), bookies: nodes(&[9, 2, 3]) }]);
}

#[test]
fn a_dead_bookie_beyond_the_ack_quorum_is_replaced_too() {
    let mut setup = Setup::new(3, 3, 2, 1);
    setup.add(0, 0);
    setup.stored(1, 0);
    setup.stored(2, 0);
    assert_eq!(setup.confirmed(), [0]);
    setup.writer.on_deadline(ms(100), &mut setup.fx);
    let [Seen::Cas { metadata, .. }] = &setup.seen()[..] else { panic!("bookie 3 never answered") };
    assert_eq!(metadata.last_fragment(), &Fragment { first_entry: EntryId(1), bookies: nodes(&[1, 2, 4]) });
}

#[test]
fn an_idle_writer_has_no_deadline() {
    let mut setup = Setup::new(3, 3, 2, 0);
    assert_eq!(setup.writer.next_deadline(), None);
    setup.add(0, 0);
    (1..=3).for_each(|from| setup.stored(from, 0));
    assert_eq!(setup.writer.next_deadline(), None);
}

#[test]
fn closing_waits_for_the_pending_adds_and_closes_at_the_lac() {
    let mut setup = Setup::new(1, 1, 1, 0);
    setup.add(0, 0);
    setup.add(0, 1);
    setup.stored(1, 0);
    setup.writer.close(ms(2), &mut setup.fx);
    assert_eq!(setup.writer.check_add(1), Err(AddError::Closed));
    setup.seen();
    setup.stored(1, 1);
    let closed = setup.writer.metadata().closed_at(EntryId(1), 20);
    let cas = LedgerEffect::CasMetadata {
        id: RequestId::new(OwnerId(1), (1 << 40) + 2),
        ledger: LEDGER,
        version: 1,
        metadata: closed.clone(),
    };
    assert_eq!(setup.fx.iter().last(), Some(&cas));
    setup.answer_metadata(3, MetadataOutcome::Committed { version: 2 });
    assert_eq!(setup.seen(), [Seen::Event(WriterEvent::Closed { last_entry: EntryId(1), length: 20 })]);
    assert_eq!((setup.writer.metadata(), setup.writer.version()), (&closed, 2));
}

#[test]
fn an_empty_ledger_closes_at_none() {
    let mut setup = Setup::new(3, 3, 2, 0);
    setup.writer.close(ms(0), &mut setup.fx);
    setup.writer.close(ms(0), &mut setup.fx);
    setup.answer_metadata(1, MetadataOutcome::Committed { version: 2 });
    assert_eq!(setup.seen(), [Seen::Event(WriterEvent::Closed { last_entry: EntryId::NONE, length: 0 })]);
    assert_eq!(setup.writer.metadata().check(), Ok(()));
}

#[test]
fn a_close_that_lost_to_a_recovery_ends_closed_only_at_the_same_end() {
    for (last_entry, state) in [(0, "closed"), (1, "fenced")] {
        let mut setup = Setup::new(1, 1, 1, 0);
        setup.add(0, 0);
        setup.stored(1, 0);
        setup.writer.close(ms(2), &mut setup.fx);
        let metadata = setup.writer.metadata().closed_at(EntryId(last_entry), 7);
        let actual = Some(VersionedMetadata { metadata, version: 9 });
        setup.answer_metadata(3, MetadataOutcome::Conflict { actual });
        let expected = match state {
            "closed" => Seen::Event(WriterEvent::Closed { last_entry: EntryId(0), length: 10 }),
            _ => Setup::fenced(&[]),
        };
        assert_eq!(setup.seen(), [expected]);
    }
}

#[test]
fn a_store_without_an_answer_is_asked_again_until_the_close_is_known() {
    let mut setup = Setup::new(1, 1, 1, 0);
    setup.writer.close(ms(0), &mut setup.fx);
    let proposed = setup.answer_metadata(1, MetadataOutcome::Unavailable).unwrap();
    setup.writer.on_deadline(ms(101), &mut setup.fx);
    let current = MetadataOutcome::Current(Some(VersionedMetadata { metadata: proposed, version: 2 }));
    assert_eq!(setup.answer_metadata(102, current), None, "it reads first: the put may have happened");
    assert_eq!(setup.seen(), [Seen::Event(WriterEvent::Closed { last_entry: EntryId::NONE, length: 0 })]);
}

#[test]
fn a_bookie_that_is_away_leaves_its_seat_vacant_and_gets_it_back() {
    let mut setup = Setup::new(3, 3, 2, 0);
    (0..2).for_each(|ctx| setup.add(0, ctx));
    for (from, entry) in [(1, 0), (2, 0), (3, 0), (1, 1)] {
        setup.stored(from, entry);
    }
    setup.stored(2, 1);
    setup.seen();
    // Entry 1 was confirmed without bookie 3, which goes away.
    setup.writer.set_available(ms(1), nodes(&[1, 2]), &mut setup.fx);
    let left = setup.answer_metadata(2, MetadataOutcome::Committed { version: 2 }).unwrap();
    let vacant = Fragment { first_entry: EntryId(1), bookies: vec![NodeId(1), NodeId(2), VACANT] };
    assert_eq!(left.fragments[1], vacant, "EnsembleChange I3");
    setup.seen();
    setup.add(3, 2);
    let sent = [Seen::Add { to: 1, entry: 2, lac: 1 }, Seen::Add { to: 2, entry: 2, lac: 1 }];
    assert_eq!(setup.seen(), sent, "nothing goes to a vacant seat");
    [1, 2].into_iter().for_each(|from| setup.stored(from, 2));
    assert_eq!(setup.confirmed(), [2], "two copies are the ack quorum");
    setup.writer.set_available(ms(4), nodes(&[1, 2, 3]), &mut setup.fx);
    let back = setup.answer_metadata(5, MetadataOutcome::Committed { version: 3 }).unwrap();
    assert_eq!(back.fragments.last(), Some(&Fragment { first_entry: EntryId(3), bookies: nodes(&[1, 2, 3]) }));
    let ends = [1, 2].map(|first| back.settled_end(EntryId(first)));
    assert_eq!(ends, [Some(EntryId(2)), Some(EntryId(3))], "a repair may fill what lacks");
}

#[test]
fn an_idle_ledger_keeps_a_bookie_that_is_soon_back() {
    let mut setup = Setup::new(3, 3, 2, 0);
    setup.add(0, 0);
    [1, 2, 3].into_iter().for_each(|from| setup.stored(from, 0));
    setup.seen();
    setup.writer.set_available(ms(1), nodes(&[1, 2]), &mut setup.fx);
    setup.writer.set_available(ms(2_000), nodes(&[1, 2, 3]), &mut setup.fx);
    assert_eq!((setup.seen(), setup.writer.next_deadline()), (vec![], None));
    setup.writer.set_available(ms(3_000), nodes(&[1, 2]), &mut setup.fx);
    let due = setup.writer.next_deadline().unwrap();
    setup.writer.on_deadline(Now { mono: due, wall_ms: 0 }, &mut setup.fx);
    assert!(matches!(setup.seen()[..], [Seen::Cas { .. }]), "it is gone for long: what it has is settled for a repair");
}

#[test]
fn bookies_that_are_needed_for_the_ack_quorum_keep_their_seats() {
    let mut setup = Setup::new(3, 3, 2, 0);
    setup.add(0, 0);
    setup.seen();
    setup.writer.set_available(ms(1), nodes(&[1]), &mut setup.fx);
    assert_eq!(setup.seen(), [], "with two away nothing would be gained");
}

#[test]
fn a_close_goes_on_when_the_change_it_waits_for_lost_to_a_repair_and_nobody_need_leave_any_more() {
    let mut setup = Setup::new(3, 3, 2, 0);
    setup.add(0, 0);
    [1, 2].into_iter().for_each(|from| setup.stored(from, 0));
    setup.seen();
    for (at, available, version) in [(1, &[1, 2][..], 2), (2, &[1, 2, 3], 3)] {
        setup.writer.set_available(ms(at), nodes(available), &mut setup.fx);
        setup.answer_metadata(at, MetadataOutcome::Committed { version });
    }
    setup.add(3, 1);
    [1, 2].into_iter().for_each(|from| setup.stored(from, 1));
    setup.seen();
    setup.writer.set_available(ms(4), nodes(&[1, 2]), &mut setup.fx);
    setup.writer.close(ms(5), &mut setup.fx);
    setup.writer.set_available(ms(6), nodes(&[1, 2, 3]), &mut setup.fx);
    let mut repaired = setup.writer.metadata().clone();
    let vacant = repaired.fragments.iter_mut().find(|fragment| fragment.bookies.contains(&VACANT)).unwrap();
    vacant.bookies = nodes(&[1, 2, 3]);
    let actual = Some(VersionedMetadata { metadata: repaired, version: 9 });
    setup.answer_metadata(7, MetadataOutcome::Conflict { actual });
    while let Some(due) = setup.writer.next_deadline().filter(|_| setup.fx.is_empty()) {
        setup.writer.on_deadline(Now { mono: due, wall_ms: 0 }, &mut setup.fx);
    }
    let closed = setup.answer_metadata(300, MetadataOutcome::Committed { version: 10 }).unwrap();
    assert!(matches!(closed.state, LedgerState::Closed { last_entry: EntryId(1), .. }), "{closed:?}");
}

proptest! {
    /// Acks in any order, doubled and foreign ones among them: the LAC is the longest prefix of entries with a quorum.
    #[test]
    fn the_lac_is_the_longest_prefix_with_an_ack_quorum(
        config in 0usize..4,
        acks in proptest::collection::vec((0u64..6, 0i64..9), 0..60),
    ) {
        let (e, w, a) = [(3, 3, 2), (3, 2, 2), (5, 3, 2), (4, 3, 1)][config];
        let mut setup = Setup::new(e, w, a, 0);
        (0..8).for_each(|ctx| setup.add(0, ctx));
        setup.seen();
        let replication = ReplicationConfig::new(e, w, a).unwrap();
        let mut copies = [SlotSet::EMPTY; 8];
        let mut confirmed = Vec::new();
        for (from, entry) in acks {
            setup.stored(from, entry);
            let slot = u32::try_from(from).unwrap().wrapping_sub(1);
            if slot < e && entry < 8 && replication.write_set(EntryId(entry)).contains(slot) {
                copies[usize::try_from(entry).unwrap()].insert(slot);
            }
            let prefix = copies.iter().take_while(|set| set.count() >= a).count();
            prop_assert_eq!(setup.writer.last_confirmed().count(), u64::try_from(prefix).unwrap());
            confirmed.extend(setup.confirmed());
            prop_assert_eq!(confirmed.len(), prefix);
        }
        prop_assert_eq!(&confirmed, &(0..u64::try_from(confirmed.len()).unwrap()).collect::<Vec<_>>());
    }
}
