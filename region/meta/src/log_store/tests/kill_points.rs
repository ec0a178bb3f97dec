//! The process or the machine dies at any byte of the log: what was confirmed is there, and nothing else is invented.

use super::*;
use crate::wal::{FILE_HEADER_LEN, scan};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::atomic::Ordering;

/// What openraft may ask of a log.
#[derive(Clone, Debug)]
enum Step {
    Append { entries: u64, bytes: usize },
    Vote,
    Truncate { back: u64 },
    Purge { forward: u64 },
    Committed,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (1u64..4, 0usize..120).prop_map(|(entries, bytes)| Step::Append { entries, bytes }),
        2 => Just(Step::Vote),
        1 => (1u64..3).prop_map(|back| Step::Truncate { back }),
        1 => (1u64..3).prop_map(|forward| Step::Purge { forward }),
        1 => Just(Step::Committed),
    ]
}

/// After a step was confirmed: where the file ended, and what had to be remembered.
struct Confirmed {
    used: u64,
    memory: MemLog,
}

async fn run(log: &mut LogStore, steps: &[Step]) -> Vec<Confirmed> {
    let mut confirmed = Vec::new();
    let mut term = 1;
    for step in steps {
        let (last, purged) = {
            let memory = log.memory.lock();
            (memory.last(), memory.purged())
        };
        let next = last.map_or(0, |last| last.index + 1);
        let first = purged.map_or(0, |purged| purged.index + 1);
        match step {
            Step::Append { entries, bytes } => {
                let entries = (next..next + entries).map(|index| entry(term, index, *bytes));
                log.blocking_append(entries.collect::<Vec<_>>()).await.unwrap();
            }
            Step::Vote => {
                term += 1;
                log.save_vote(&Vote::new(term, 1)).await.unwrap();
            }
            Step::Truncate { back } if first + back <= next => log.truncate(log_id(term, next - back)).await.unwrap(),
            Step::Purge { forward } if first + forward <= next => {
                log.purge(log_id(term, first + forward - 1)).await.unwrap();
                continue; // Nobody waits for a purge.
            }
            Step::Committed => {
                log.save_committed(last).await.unwrap();
                continue; // Nor for this.
            }
            Step::Truncate { .. } | Step::Purge { .. } => continue,
        }
        let used = log.counters().used_bytes.load(Ordering::Relaxed);
        confirmed.push(Confirmed { used, memory: log.memory.lock().clone() });
    }
    confirmed
}

/// What a start makes of these groups of the file.
fn replay(file: &[u8], bodies: &[Range<usize>]) -> MemLog {
    let mut memory = MemLog::default();
    for body in bodies {
        for (record, bytes) in LogRecord::decode_all(&file[body.clone()]).unwrap() {
            memory.apply(record, bytes as u64).unwrap();
        }
    }
    memory
}

/// A commit mark is written with the next record, so it may lag behind.
fn without_mark(mut memory: MemLog) -> MemLog {
    memory.apply(LogRecord::Committed(None), 0).unwrap();
    memory
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nothing_confirmed_is_lost_wherever_the_log_ends(steps in prop::collection::vec(any_step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        // Never rewritten, so that one file shows the whole history.
        let options = FileOptions { rewrite_bytes_min: u64::MAX, ..SMALL };
        let (mut log, _machine) = open(dir.path(), options);
        let confirmed = runtime.block_on(run(&mut log, &steps));
        drop(log);
        let file = std::fs::read(log_path(&dir)).unwrap();
        let whole = scan(&file).unwrap();
        for cut in FILE_HEADER_LEN..=whole.tail {
            let found = scan(&file[..cut]).unwrap().bodies;
            prop_assert_eq!(&found[..], &whole.bodies[..found.len()]);
            let zeroed = [&file[..cut], &vec![0; file.len() - cut]].concat();
            prop_assert!(scan(&zeroed).unwrap().bodies.len() >= found.len());
            if let Some(promised) = confirmed.iter().rev().find(|confirmed| confirmed.used <= cut as u64) {
                let count = whole.bodies.iter().filter(|body| body.end as u64 <= promised.used).count();
                prop_assert!(found.len() >= count, "cut at {cut}");
                let replayed = replay(&file, &whole.bodies[..count]);
                prop_assert_eq!(without_mark(replayed), without_mark(promised.memory.clone()));
            }
        }
    }
}

#[tokio::test]
async fn a_store_opened_on_any_cut_goes_on_and_keeps_both_what_was_and_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, _machine) = open(dir.path(), SMALL);
    let steps: Vec<Step> = (0..4).map(|step| Step::Append { entries: 1 + step % 2, bytes: 30 }).collect();
    let confirmed = run(&mut log, &steps).await;
    drop(log);
    let file = std::fs::read(log_path(&dir)).unwrap();
    let tail = scan(&file).unwrap().tail;
    for cut in (FILE_HEADER_LEN..=tail).step_by(13) {
        let zeroed = [&file[..cut], &vec![0; file.len() - cut]].concat();
        std::fs::write(log_path(&dir), zeroed).unwrap();
        let mut log = LogStore::open(&log_path(&dir), SMALL, no_fatal()).unwrap();
        let kept = confirmed.iter().rev().find(|confirmed| confirmed.used <= cut as u64);
        let kept = kept.map_or(0, |confirmed| confirmed.memory.range(..).len() as u64);
        let next = log.memory.lock().last().map_or(0, |last| last.index + 1);
        assert!(next >= kept, "cut at {cut}");
        log.blocking_append([entry(9, next, 5)]).await.unwrap();
        drop(log);
        let log = LogStore::open(&log_path(&dir), SMALL, no_fatal()).unwrap();
        assert_eq!(log.memory.lock().last(), Some(log_id(9, next)), "cut at {cut}");
        assert_eq!(log.memory.lock().range(..).len() as u64, next + 1);
    }
}
