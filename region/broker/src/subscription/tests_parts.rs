//! The pure parts: key ranges, the roster, waiting entries, pending entries.

use super::consumer::ConsumerKey;
use super::key_shared::{KeyRanges, RangeError, SlotRange};
use super::pending::{Pending, PendingEntry, RedeliveryCounts};
use super::replay::{Delayed, Replay};
use super::roster::{Roster, TURN_ENTRIES_MAX};
use super::tests_bed::key;
use base::{LedgerId, Position};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};

fn at(entry: i64) -> Position {
    Position::new(LedgerId(5), entry)
}

fn widths(ranges: &KeyRanges) -> Vec<u32> {
    ranges.iter().map(|(range, _)| u32::from(range.end) - u32::from(range.start) + 1).collect()
}

#[test]
fn a_newcomer_gets_half_of_the_largest_range_and_a_leaver_gives_it_to_the_smaller_neighbour() {
    let mut ranges = KeyRanges::new();
    ranges.split_for(key(1)).unwrap();
    assert_eq!(ranges.ranges_of(key(1)), vec![SlotRange::ALL]);
    ranges.split_for(key(2)).unwrap();
    ranges.split_for(key(3)).unwrap();
    assert_eq!(widths(&ranges), vec![16384, 16384, 32768]);
    ranges.split_for(key(4)).unwrap();
    assert_eq!(widths(&ranges), vec![16384; 4]);
    let middle = ranges.owner(20_000).unwrap();
    ranges.merge_away(middle);
    assert_eq!(widths(&ranges), vec![32768, 16384, 16384]);
}

#[test]
fn splitting_ends_when_every_range_is_one_slot() {
    let mut ranges = KeyRanges::new();
    (0..16).for_each(|n| ranges.split_for(key(n)).unwrap());
    assert_eq!(widths(&ranges), vec![4096; 16]);
    let mut tiny = KeyRanges::new();
    tiny.stick(key(1), &[(0, 0), (1, 1)]).unwrap();
    assert_eq!(tiny.split_for(key(2)), Err(RangeError::NothingToSplit { consumers: 2 }));
}

#[test]
fn sticky_ranges_are_refused_with_the_rule_that_they_break() {
    let mut ranges = KeyRanges::new();
    assert_eq!(ranges.stick(key(1), &[]), Err(RangeError::NoRange));
    assert_eq!(ranges.stick(key(1), &[(5, 4)]), Err(RangeError::Malformed { start: 5, end: 4 }));
    assert_eq!(ranges.stick(key(1), &[(0, 65536)]), Err(RangeError::Malformed { start: 0, end: 65536 }));
    assert_eq!(ranges.stick(key(1), &[(-1, 4)]), Err(RangeError::Malformed { start: -1, end: 4 }));
    ranges.stick(key(1), &[(10, 20), (30, 40)]).unwrap();
    let overlap = |start, end, with_start, with_end| Err(RangeError::Overlap { start, end, with_start, with_end });
    assert_eq!(ranges.stick(key(2), &[(0, 5), (20, 25)]), overlap(20, 25, 10, 20));
    assert_eq!(ranges.stick(key(2), &[(0, 65535)]), overlap(0, 65535, 30, 40));
    assert_eq!(ranges.stick(key(2), &[(50, 60), (55, 70)]), overlap(55, 70, 50, 60));
    assert_eq!(ranges.ranges_of(key(2)), vec![], "a refused consumer owns nothing");
    assert_eq!((ranges.owner(20), ranges.owner(21), ranges.owner(0)), (Some(key(1)), None, None));
    ranges.unstick(key(1));
    assert_eq!(ranges.iter().count(), 0);
}

proptest! {
    #[test]
    fn auto_split_ranges_always_tile_all_slots_one_per_consumer(ops in proptest::collection::vec((0u64..20, 0u8..3), 1..80)) {
        let (mut ranges, mut members) = (KeyRanges::new(), BTreeSet::new());
        for (consumer, op) in ops {
            if op > 0 && members.insert(consumer) {
                ranges.split_for(key(consumer)).unwrap();
            } else if op == 0 {
                members.remove(&consumer);
                ranges.merge_away(key(consumer));
            }
            let owners: BTreeSet<ConsumerKey> = ranges.iter().map(|(_, owner)| owner).collect();
            prop_assert_eq!(owners, members.iter().map(|n| key(*n)).collect::<BTreeSet<_>>());
            prop_assert_eq!(ranges.iter().count(), members.len());
            prop_assert_eq!(widths(&ranges).iter().sum::<u32>(), if members.is_empty() { 0 } else { 65536 });
            let mut next = 0;
            for (range, owner) in ranges.iter() {
                prop_assert_eq!(u32::from(range.start), next);
                next = u32::from(range.end) + 1;
                prop_assert_eq!((ranges.owner(range.start), ranges.owner(range.end)), (Some(owner), Some(owner)));
            }
        }
    }

    #[test]
    fn sticky_ranges_behave_like_an_array_of_owners(
        ops in proptest::collection::vec((0u64..6, proptest::collection::vec((0i32..50, 0i32..12), 0..3)), 1..40)
    ) {
        let mut ranges = KeyRanges::new();
        let mut owners: BTreeMap<u16, u64> = BTreeMap::new();
        for (consumer, named) in ops {
            if owners.values().any(|owner| *owner == consumer) {
                ranges.unstick(key(consumer));
                owners.retain(|_, owner| *owner != consumer);
                continue;
            }
            let named: Vec<(i32, i32)> = named.iter().map(|(start, length)| (*start, start + length)).collect();
            let slots: Vec<u16> = named.iter().flat_map(|(s, e)| *s..=*e).map(|slot| u16::try_from(slot).unwrap()).collect();
            let distinct: BTreeSet<u16> = slots.iter().copied().collect();
            let fits = !named.is_empty() && distinct.len() == slots.len() && slots.iter().all(|s| !owners.contains_key(s));
            prop_assert_eq!(ranges.stick(key(consumer), &named).is_ok(), fits);
            if fits {
                owners.extend(slots.iter().map(|slot| (*slot, consumer)));
            }
            for slot in 0..70 {
                prop_assert_eq!(ranges.owner(slot), owners.get(&slot).map(|n| key(*n)));
            }
        }
    }

    #[test]
    fn waiting_entries_keep_both_orders(ops in proptest::collection::vec((0i64..40, 0u16..5, 0u8..3), 0..80)) {
        let (mut replay, mut model) = (Replay::default(), BTreeMap::new());
        for (entry, slot, op) in ops {
            if op == 0 {
                prop_assert_eq!(replay.remove(at(entry)), model.remove(&at(entry)));
            } else {
                replay.insert(at(entry), slot);
                model.insert(at(entry), slot);
            }
            prop_assert_eq!(replay.first(100), model.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(replay.len(), model.len());
            for slot in 0..5 {
                let of_slot: Vec<Position> = model.iter().filter(|(_, s)| **s == slot).map(|(p, _)| *p).collect();
                prop_assert_eq!(replay.of(slot).collect::<Vec<_>>(), of_slot.clone());
                prop_assert_eq!(replay.first_of(slot), of_slot.first().copied());
            }
            let occupied: BTreeSet<u16> = model.values().copied().collect();
            prop_assert_eq!(replay.occupied_slots(), occupied.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(replay.up_to(at(20)), model.range(..=at(20)).map(|(p, _)| *p).collect::<Vec<_>>());
        }
    }

    #[test]
    fn pending_entries_add_up(ops in proptest::collection::vec((0u64..4, 0i64..30, 1u32..9, 0u8..6), 0..100)) {
        let mut pending = Pending::default();
        let mut model: BTreeMap<Position, (u64, u32)> = BTreeMap::new();
        for (consumer, entry, messages, op) in ops {
            match op {
                0 => {
                    let removed = pending.remove(at(entry)).map(|(holder, entry)| (holder, entry.messages));
                    prop_assert_eq!(removed, model.remove(&at(entry)).map(|(holder, messages)| (key(holder), messages)));
                }
                1 => {
                    let taken = pending.take_consumer(key(consumer));
                    let expected: Vec<Position> = model.iter().filter(|(_, h)| h.0 == consumer).map(|(p, _)| *p).collect();
                    prop_assert_eq!(taken.keys().copied().collect::<Vec<_>>(), expected);
                    model.retain(|_, holder| holder.0 != consumer);
                }
                2 => {
                    pending.shrink(at(entry), messages);
                    if let Some((_, left)) = model.get_mut(&at(entry)) {
                        *left = (*left).min(messages);
                    }
                }
                _ if !model.contains_key(&at(entry)) => {
                    pending.insert(key(consumer), at(entry), PendingEntry { messages, slot: 3 });
                    model.insert(at(entry), (consumer, messages));
                }
                _ => {}
            }
            for consumer in 0..4 {
                let sum: u64 = model.values().filter(|h| h.0 == consumer).map(|h| u64::from(h.1)).sum();
                prop_assert_eq!(pending.unacked(key(consumer)), sum);
                prop_assert_eq!(pending.unacked_by_slot(key(consumer)).values().sum::<u64>(), sum);
            }
            prop_assert_eq!(pending.unacked_total(), model.values().map(|h| u64::from(h.1)).sum::<u64>());
            prop_assert_eq!(pending.len(), model.len());
            prop_assert!(model.iter().all(|(p, h)| pending.holder(*p) == Some(key(h.0))));
        }
    }
}

#[test]
fn the_roster_goes_round_within_the_highest_priority_that_can_take() {
    let mut roster = Roster::default();
    roster.add(key(1), 0);
    roster.add(key(2), 0);
    roster.add(key(3), 1);
    let mut rounds = Vec::new();
    for _ in 0..4 {
        rounds.push(roster.pick(|_| true).unwrap());
        roster.end_turn();
    }
    assert_eq!(rounds, vec![key(1), key(2), key(1), key(2)]);
    assert_eq!(roster.pick(|k| k == key(3)), Some(key(3)), "a lower priority gets what nobody above can take");
    assert_eq!(roster.pick(|_| false), None);
}

#[test]
fn a_turn_lasts_so_many_entries_at_most() {
    let mut roster = Roster::default();
    roster.add(key(1), 0);
    roster.add(key(2), 0);
    let picked: Vec<ConsumerKey> = (0..TURN_ENTRIES_MAX * 2).map(|_| roster.pick(|_| true).unwrap()).collect();
    let turn = TURN_ENTRIES_MAX as usize;
    assert!(picked[..turn].iter().all(|k| *k == key(1)) && picked[turn..].iter().all(|k| *k == key(2)));
}

#[test]
fn a_roster_that_loses_members_still_serves_the_rest() {
    let mut roster = Roster::default();
    (1..=3).for_each(|n| roster.add(key(n), 0));
    roster.pick(|_| true);
    roster.end_turn();
    roster.pick(|_| true);
    roster.end_turn();
    roster.remove(key(3));
    assert_eq!(roster.pick(|_| true), Some(key(1)));
    roster.remove(key(1));
    assert_eq!(roster.pick(|_| true), Some(key(2)));
    roster.remove(key(2));
    assert_eq!(roster.pick(|_| true), None);
}

#[test]
fn delayed_entries_come_in_the_order_in_which_they_are_due() {
    let mut delayed = Delayed::default();
    delayed.insert(300, at(1), 0);
    delayed.insert(100, at(2), 7);
    delayed.insert(100, at(3), 0);
    assert_eq!(delayed.take_due(99), None);
    assert_eq!(delayed.next_due_ms(), Some(100));
    assert_eq!(delayed.take_due(200), Some((at(2), 7)));
    assert_eq!(delayed.take_due(200), Some((at(3), 0)));
    assert_eq!(delayed.take_due(200), None);
    delayed.forget_up_to(at(1));
    assert_eq!(delayed.len(), 0);
}

#[test]
fn redelivery_counts_leave_with_the_acknowledgement() {
    let mut counts = RedeliveryCounts::default();
    counts.increment(at(1));
    counts.increment(at(1));
    counts.increment(at(9));
    assert_eq!((counts.count(at(1)), counts.count(at(2)), counts.count(at(9))), (2, 0, 1));
    counts.forget_up_to(at(5));
    counts.forget(at(9));
    assert_eq!((counts.count(at(1)), counts.count(at(9))), (0, 0));
}
