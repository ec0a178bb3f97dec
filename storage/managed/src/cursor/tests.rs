//! A cursor against a plain set of acknowledged messages.

use super::{Cursor, CursorKind};
use crate::AckSet;
use crate::chain::Chain;
use crate::record::ManagedRecord;
use base::{EntryId, LedgerId, Position};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::BTreeMap;

/// All messages of a batch of four.
const ALL: u64 = 0b1111;

#[derive(Clone, Debug)]
enum Op {
    Ack(usize, usize),
    UpTo(usize),
    Partly(usize, u64),
    Reset(usize),
    Trim,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<usize>(), 0usize..4).prop_map(|(n, length)| Op::Ack(n, length)),
        2 => any::<usize>().prop_map(Op::UpTo),
        4 => (any::<usize>(), 0..ALL).prop_map(|(n, left)| Op::Partly(n, left)),
        1 => any::<usize>().prop_map(Op::Reset),
        1 => (0..1u8).prop_map(|_| Op::Trim),
    ]
}

/// A log of ledgers with these many entries.
fn chain(entries: &[u64]) -> Chain {
    let mut chain = Chain::new(&ManagedRecord::empty());
    for (index, entries) in entries.iter().enumerate() {
        let ledger = LedgerId(10 + 3 * index as u64);
        chain.start(ledger);
        for entry in 0..*entries {
            chain.confirm(ledger, EntryId(entry.cast_signed()), 1);
        }
        chain.end(ledger, 0);
    }
    chain
}

fn positions(chain: &Chain) -> Vec<Position> {
    (chain.start_rank()..chain.end_rank()).filter_map(|rank| chain.at(rank)).collect()
}

fn check(
    cursor: &Cursor,
    chain: &Chain,
    left: &BTreeMap<Position, u64>,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let mut expected_mark = chain.clamp(Position::EARLIEST);
    let present = positions(chain);
    for position in &present {
        let bits = left[position];
        prop_assert_eq!(cursor.is_acked(*position), bits == 0, "{}", position);
        let partial = (bits != 0 && bits != ALL).then(|| AckSet::from_words(vec![bits]));
        prop_assert_eq!(cursor.batch_ack(*position), partial.as_ref(), "{}", position);
    }
    for position in present.iter().take_while(|position| left[position] == 0) {
        expected_mark = *position;
    }
    prop_assert_eq!(cursor.mark_delete(), expected_mark, "I2");
    let beyond = present.iter().filter(|p| **p > expected_mark && left[p] == 0).count() as u64;
    prop_assert_eq!(cursor.acked_entries, beyond, "I4");
    prop_assert_eq!(cursor.ranges, cursor.individually_acked().count(), "I4");
    prop_assert!(cursor.batch_acks().all(|(position, set)| position > expected_mark && !set.is_empty()), "I1, I3");
    Ok(())
}

proptest! {
    #[test]
    fn it_remembers_exactly_what_was_acknowledged(
        entries in proptest::collection::vec(1u64..6, 1..5),
        ops in proptest::collection::vec(op(), 0..60),
    ) {
        let mut chain = chain(&entries);
        let mark = chain.clamp(Position::EARLIEST);
        let mut cursor = Cursor::new("c".into(), CursorKind::Durable, mark, BTreeMap::new());
        let mut left: BTreeMap<Position, u64> = positions(&chain).into_iter().map(|p| (p, ALL)).collect();
        for op in ops {
            let present = positions(&chain);
            if present.is_empty() {
                break;
            }
            let pick = |n: usize| present[n % present.len()];
            match op {
                Op::Ack(n, length) => {
                    let Position { ledger, entry } = pick(n);
                    let end = entry.0 + length as i64;
                    cursor.ack(&chain, ledger, entry.0, end);
                    let hit = |p: &&Position| p.ledger == ledger && (entry.0..=end).contains(&p.entry.0);
                    left.extend(present.iter().filter(hit).map(|p| (*p, 0)));
                }
                Op::UpTo(n) => {
                    cursor.ack_up_to(&chain, pick(n));
                    left.extend(present.iter().filter(|p| **p <= pick(n)).map(|p| (*p, 0)));
                }
                Op::Partly(n, bits) => {
                    cursor.ack_partly(&chain, pick(n), &AckSet::from_words(vec![bits]));
                    *left.get_mut(&pick(n)).unwrap() &= bits;
                }
                Op::Reset(n) => {
                    cursor.reset(pick(n));
                    left.extend(present.iter().map(|p| (*p, if *p <= pick(n) { 0 } else { ALL })));
                }
                Op::Trim => {
                    chain.trim(present[0].ledger);
                    cursor.skip_trimmed(&chain);
                    if positions(&chain).is_empty() {
                        break;
                    }
                }
            }
            check(&cursor, &chain, &left)?;
        }
    }
}
