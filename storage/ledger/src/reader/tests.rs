//! The reader against tables of answers.

use super::*;
use crate::{Fragment, ReplicationConfig};
use base::OwnerId;
use bytes::Bytes;
use wire::bookie::StoredEntry;

const LEDGER: LedgerId = LedgerId(4);

fn ms(at: u64) -> Now {
    Now { mono: Mono(at * 1_000_000), wall_ms: at }
}

struct Setup {
    reader: LedgerReader,
    fx: ReaderEffects,
    /// The request under way.
    asked: Option<RequestId>,
    /// Of several that were sent at once: request, bookie, first entry, entries.
    parts: Vec<(RequestId, u64, i64, u32)>,
}

impl Setup {
    /// Entries 0..=19 closed; bookies 1..=ensemble, from entry 10 on bookies 11..=10 + ensemble.
    fn new(e: u32, w: u32, a: u32, prefer: Option<NodeId>) -> Self {
        let bookies = |first: u64| (first..first + u64::from(e)).map(NodeId).collect::<Vec<_>>();
        let replication = ReplicationConfig::new(e, w, a).unwrap();
        let fragment = Fragment { first_entry: EntryId(10), bookies: bookies(11) };
        let mut metadata = LedgerMetadata::new(replication, bookies(1), 0).unwrap();
        metadata.fragments.push(fragment);
        let metadata = metadata.closed_at(EntryId(19), 0);
        let (read_timeout, speculate_after) = (Duration::from_millis(50), Duration::from_millis(10));
        let options = ReaderOptions { read_timeout, speculate_after, reads_max: 2, prefer };
        let reader = LedgerReader::new(RequestIds::new(OwnerId(1), 3), LEDGER, metadata, options);
        Self { reader, fx: Effects::new(), asked: None, parts: Vec::new() }
    }

    fn read(&mut self, from: i64, entries_max: u32, bytes_max: u32) -> Result<ReadId, ReadError> {
        self.reader.read(ms(0), EntryId(from), entries_max, bytes_max, &mut self.fx)
    }

    /// The one request sent: bookie, first entry, entries.
    fn sent(&mut self) -> (u64, i64, u32) {
        let sent = self.all_sent();
        assert_eq!(sent.len(), 1, "one read expected: {sent:?}");
        self.asked = Some(self.parts[0].0);
        sent[0]
    }

    /// All requests sent: bookie, first entry, entries.
    fn all_sent(&mut self) -> Vec<(u64, i64, u32)> {
        let part = |effect| match effect {
            LedgerEffect::Bookie { to, request: BookieRequest::Read { id, from, entries_max, fence: false, .. } } => {
                (id, to.0, from.0, entries_max)
            }
            other => panic!("a read expected: {other:?}"),
        };
        self.parts = self.fx.take().into_iter().map(part).collect();
        self.parts.iter().map(|(_, bookie, from, count)| (*bookie, *from, *count)).collect()
    }

    /// The bookie asked for part `index` of those sent last answers with these entries of it.
    fn answer_part(&mut self, index: usize, count: i64) {
        let (id, bookie, from, _) = self.parts[index];
        self.asked = Some(id);
        self.answer(bookie, entries(from..from + count));
    }

    fn answer(&mut self, from: u64, outcome: ReadOutcome) {
        let response = BookieResponse::Read { id: self.asked.unwrap(), ledger: LEDGER, outcome };
        self.reader.handle_bookie(ms(1), NodeId(from), response, &mut self.fx);
    }

    fn done(&mut self) -> Result<Vec<i64>, ReadError> {
        match self.fx.take().pop() {
            Some(LedgerEffect::Event(ReaderEvent::ReadDone { result, .. })) => {
                result.map(|entries| entries.into_iter().map(|(entry, _)| entry.0).collect())
            }
            other => panic!("a result expected: {other:?}"),
        }
    }
}

fn entries(range: std::ops::Range<i64>) -> ReadOutcome {
    let data = EntryData::new(Bytes::new(), Bytes::from_static(b"0123456789"));
    let stored = |entry| StoredEntry { entry: EntryId(entry), lac: EntryId::NONE, data: data.clone() };
    ReadOutcome::Entries(range.map(stored).collect())
}

#[test]
fn one_request_reads_a_range_that_every_bookie_holds() {
    let mut setup = Setup::new(1, 1, 1, None);
    setup.read(2, 4, 1_000).unwrap();
    assert_eq!(setup.sent(), (1, 2, 4));
    setup.answer(1, entries(2..6));
    assert_eq!(setup.done(), Ok(vec![2, 3, 4, 5]));
    assert_eq!((setup.reader.reads(), setup.reader.next_deadline()), (0, None));
}

#[test]
fn a_denial_an_unclear_answer_and_silence_lead_to_the_next_copy() {
    let mut setup = Setup::new(3, 3, 2, None);
    setup.read(0, 1, 100).unwrap();
    assert_eq!(setup.sent(), (3, 0, 1));
    setup.answer(3, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.sent(), (2, 0, 1));
    setup.answer(2, entries(1..2)); // Not what was asked for.
    assert_eq!(setup.sent(), (1, 0, 1));
    assert_eq!(setup.reader.next_deadline(), Some(ms(51).mono));
    setup.reader.on_deadline(ms(51), &mut setup.fx);
    assert_eq!(setup.done(), Err(ReadError::Unavailable { ledger: LEDGER, entry: EntryId(0) }));
    setup.answer(1, entries(0..1));
    assert!(setup.fx.is_empty(), "a late answer to a read that ended");
}

#[test]
fn b8_an_entry_is_lost_only_when_every_copy_is_explicitly_denied() {
    let lost = Err(ReadError::Lost { ledger: LEDGER, entry: EntryId(0) });
    let unavailable = Err(ReadError::Unavailable { ledger: LEDGER, entry: EntryId(0) });
    for (last, expected) in [(ReadOutcome::NoSuchLedger, lost), (ReadOutcome::Unknown, unavailable)] {
        let mut setup = Setup::new(3, 2, 2, None);
        setup.read(0, 1, 100).unwrap();
        let (first, ..) = setup.sent();
        setup.answer(first, ReadOutcome::NoSuchEntry);
        let (second, ..) = setup.sent();
        setup.answer(second, last);
        assert_eq!(setup.done(), expected, "LedgerReader I3");
    }
}

#[test]
fn parts_of_a_striped_read_are_asked_for_at_once_and_merged_in_order() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(7, 6, 1_000).unwrap();
    assert_eq!(setup.sent(), (3, 7, 2), "the first part alone: the size of entries is not known");
    setup.answer(3, entries(7..9));
    assert_eq!(setup.all_sent(), [(2, 9, 1), (13, 10, 2), (12, 12, 1)]);
    setup.answer_part(2, 1);
    setup.answer_part(0, 1);
    assert!(setup.fx.is_empty(), "entries 10 and 11 are missing");
    setup.answer_part(1, 2);
    assert_eq!(setup.done(), Ok((7..13).collect()));
    assert_eq!((setup.reader.reads(), setup.reader.next_deadline()), (0, None));
}

#[test]
fn no_more_parts_are_asked_for_than_the_bytes_have_room_for() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(0, 10, 50).unwrap();
    setup.sent();
    setup.answer(2, entries(0..2));
    assert_eq!(setup.all_sent(), [(1, 2, 2), (3, 4, 2)], "30 bytes are left, entries have 10");
    setup.answer_part(0, 2);
    assert!(setup.fx.is_empty(), "what is under way fills it");
    setup.answer_part(1, 2);
    assert_eq!(setup.done(), Ok((0..5).collect()), "50 bytes were asked for");
}

#[test]
fn a_part_without_an_answer_ends_the_read_before_it() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(0, 6, 1_000).unwrap();
    setup.sent();
    setup.answer(2, entries(0..2));
    assert_eq!(setup.all_sent().len(), 2);
    let first = setup.parts.clone();
    setup.answer_part(1, 2);
    setup.asked = Some(first[0].0);
    setup.answer(first[0].1, ReadOutcome::NoSuchEntry);
    let (second, from, _) = setup.sent();
    assert_eq!(from, 2);
    setup.answer(second, ReadOutcome::NoSuchEntry);
    assert_eq!(setup.done(), Ok(vec![0, 1]), "what came for entries 4 and 5 does not follow");
    assert_eq!((setup.reader.reads(), setup.reader.next_deadline()), (0, None));
}

#[test]
fn another_copy_of_a_part_may_hold_less_of_it_and_the_rest_is_asked_for_after_it() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(0, 4, 1_000).unwrap();
    assert_eq!(setup.sent(), (2, 0, 2));
    setup.answer(2, ReadOutcome::Unknown);
    assert_eq!(setup.sent(), (1, 0, 1));
    setup.answer(1, entries(0..1));
    let mut sent = setup.all_sent();
    sent.sort_unstable_by_key(|part| part.1);
    assert_eq!(sent.iter().map(|part| (part.1, part.2)).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
    setup.answer_part(0, i64::from(setup.parts[0].3));
    setup.answer_part(1, i64::from(setup.parts[1].3));
    assert_eq!(setup.done(), Ok((0..4).collect()));
}

#[test]
fn a_read_ends_with_what_it_has_when_it_is_full_or_goes_no_further() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(0, 9, 20).unwrap();
    setup.sent();
    setup.answer(2, entries(0..2));
    assert_eq!(setup.done(), Ok(vec![0, 1]), "20 bytes were asked for");
    setup.read(0, 9, 0).unwrap();
    setup.sent();
    setup.answer(2, entries(0..1));
    assert_eq!(setup.done(), Ok(vec![0]), "LedgerReader I1: one entry at least");
    setup.read(0, 9, 1_000).unwrap();
    setup.sent();
    setup.answer(2, entries(0..1));
    assert_eq!(setup.done(), Ok(vec![0]), "the bookie gave less than it was asked for");
    setup.read(0, 4, 1_000).unwrap();
    setup.sent();
    setup.answer(2, entries(0..2));
    for _ in 0..2 {
        let (bookie, ..) = setup.sent();
        setup.answer(bookie, ReadOutcome::Unknown);
    }
    assert_eq!(setup.done(), Ok(vec![0, 1]), "what was found is not thrown away");
}

#[test]
fn nothing_is_read_beyond_the_end() {
    let mut setup = Setup::new(3, 3, 2, None);
    for from in [-1, 20] {
        assert_eq!(setup.read(from, 1, 1), Err(ReadError::BeyondEnd { ledger: LEDGER, entry: EntryId(from) }));
    }
    setup.read(18, u32::MAX, 1_000).unwrap();
    let (bookie, from, count) = setup.sent();
    assert_eq!((from, count), (18, 2), "LedgerReader I2");
    setup.answer(bookie, entries(18..25));
    assert_eq!(setup.done(), Ok(vec![18, 19]), "a bookie that gives more than asked for is cut");
}

#[test]
fn the_preferred_bookie_is_asked_first_where_it_has_a_copy() {
    let mut setup = Setup::new(3, 2, 2, Some(NodeId(1)));
    setup.read(0, 1, 1).unwrap();
    assert_eq!(setup.sent().0, 1);
    setup.read(1, 1, 1).unwrap();
    assert_eq!(setup.sent().0, 3);
}

#[test]
fn reads_under_way_are_bounded_and_answers_of_others_are_ignored() {
    let mut setup = Setup::new(1, 1, 1, None);
    setup.read(0, 1, 1).unwrap();
    let first = setup.sent();
    setup.answer(7, entries(0..1));
    assert!(setup.fx.is_empty(), "{first:?} was not asked of bookie 7");
    setup.read(1, 1, 1).unwrap();
    assert_eq!(setup.read(2, 1, 1), Err(ReadError::Busy { ledger: LEDGER }));
    assert_eq!(setup.reader.reads(), 2);
}

#[test]
fn an_open_ledger_is_read_with_the_ensemble_that_it_is_told() {
    let mut setup = Setup::new(1, 1, 1, None);
    let open = LedgerMetadata::new(ReplicationConfig::SINGLE, vec![NodeId(1)], 0).unwrap();
    setup.reader.set_metadata(open.with_ensemble(EntryId(30), vec![NodeId(6)]));
    setup.read(29, 5, 1_000).unwrap();
    assert_eq!(setup.sent(), (1, 29, 1));
    setup.answer(1, entries(29..30));
    assert_eq!(setup.sent(), (6, 30, 4));
}

#[test]
fn a_silent_copy_is_joined_by_the_next_and_the_first_good_answer_wins() {
    for first_wins in [true, false] {
        let mut setup = Setup::new(3, 3, 2, None);
        setup.read(0, 2, 100).unwrap();
        assert_eq!(setup.sent(), (3, 0, 2));
        let first = setup.asked;
        assert_eq!(setup.reader.next_deadline(), Some(ms(10).mono));
        setup.reader.on_deadline(ms(9), &mut setup.fx);
        assert!(setup.fx.is_empty(), "LedgerReader I5: not before its time");
        setup.reader.on_deadline(ms(10), &mut setup.fx);
        assert_eq!(setup.sent(), (2, 0, 2), "LedgerReader I5");
        let second = setup.asked;
        let order = if first_wins { [(3, first), (2, second)] } else { [(2, second), (3, first)] };
        setup.asked = order[0].1;
        setup.answer(order[0].0, entries(0..2));
        assert_eq!(setup.done(), Ok(vec![0, 1]));
        setup.asked = order[1].1;
        setup.answer(order[1].0, entries(0..2));
        assert!(setup.fx.is_empty(), "LedgerReader I5: the slower answer finds nobody");
        assert_eq!((setup.reader.reads(), setup.reader.next_deadline()), (0, None));
    }
}

#[test]
fn every_copy_is_asked_once_and_each_has_its_whole_timeout() {
    let mut setup = Setup::new(3, 3, 2, None);
    setup.read(0, 1, 100).unwrap();
    let mut asked = vec![setup.sent().0];
    for at in [10, 20] {
        assert_eq!(setup.reader.next_deadline(), Some(ms(at).mono));
        setup.reader.on_deadline(ms(at), &mut setup.fx);
        asked.push(setup.sent().0);
    }
    asked.sort_unstable();
    assert_eq!(asked, [1, 2, 3], "LedgerReader I4");
    for at in [50, 60] {
        assert_eq!(setup.reader.next_deadline(), Some(ms(at).mono));
        setup.reader.on_deadline(ms(at), &mut setup.fx);
        assert!(setup.fx.is_empty(), "others may still answer");
    }
    setup.reader.on_deadline(ms(70), &mut setup.fx);
    assert_eq!(setup.done(), Err(ReadError::Unavailable { ledger: LEDGER, entry: EntryId(0) }));
}

#[test]
fn an_unclear_answer_goes_on_at_once_while_a_slow_copy_is_still_waited_for() {
    let mut setup = Setup::new(3, 3, 2, None);
    setup.read(0, 1, 100).unwrap();
    setup.sent();
    let slow = setup.asked;
    setup.reader.on_deadline(ms(10), &mut setup.fx);
    setup.sent();
    setup.answer(2, ReadOutcome::Unknown);
    assert_eq!(setup.sent().0, 1);
    setup.answer(1, ReadOutcome::Unknown);
    assert!(setup.fx.is_empty(), "bookie 3 may still have it");
    setup.asked = slow;
    setup.answer(3, entries(0..1));
    assert_eq!(setup.done(), Ok(vec![0]));
}

#[test]
fn the_next_part_of_a_read_does_not_inherit_the_waiting_of_the_last() {
    let mut setup = Setup::new(3, 2, 2, None);
    setup.read(0, 2, 1_000).unwrap();
    let (slow, ..) = setup.sent();
    let slow_id = setup.asked;
    setup.reader.on_deadline(ms(10), &mut setup.fx);
    let (quick, from, count) = setup.sent();
    assert_eq!((from, count), (0, 1));
    setup.answer(quick, entries(0..1));
    let (_, from, _) = setup.sent();
    assert_eq!(from, 1);
    setup.asked = slow_id;
    setup.answer(slow, entries(0..2));
    assert!(setup.fx.is_empty() && setup.reader.reads() == 1, "the late answer is for a part that is done");
}
