//! Random histories with crashes, cleaning and lost plans, against a model that knows only what was answered.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Op {
    Add { ledger: u64, len: usize },
    AddAgain { ledger: u64, back: i64 },
    RecoveryAdd { ledger: u64, len: usize },
    Read { ledger: u64, from: i64, fence: bool },
    Lac { ledger: u64, fence: bool },
    Delete { ledger: u64 },
    Write,
    ReadDisk,
    Tick,
    Crash,
}

fn op() -> impl Strategy<Value = Op> {
    let ledger = 0u64..5;
    let len = prop_oneof![6 => 0usize..400, 3 => 2000usize..6000, 1 => 15_000usize..25_000];
    prop_oneof![
        30 => (ledger.clone(), len.clone()).prop_map(|(ledger, len)| Op::Add { ledger, len }),
        4 => (ledger.clone(), 1i64..4).prop_map(|(ledger, back)| Op::AddAgain { ledger, back }),
        4 => (ledger.clone(), len).prop_map(|(ledger, len)| Op::RecoveryAdd { ledger, len }),
        10 => (ledger.clone(), 0i64..20).prop_map(|(ledger, from)| Op::Read { ledger, from, fence: false }),
        1 => (ledger.clone(), 0i64..20).prop_map(|(ledger, from)| Op::Read { ledger, from, fence: true }),
        2 => (ledger.clone(), proptest::bool::weighted(0.1)).prop_map(|(ledger, fence)| Op::Lac { ledger, fence }),
        2 => ledger.prop_map(|ledger| Op::Delete { ledger }),
        14 => Just(Op::Write),
        10 => Just(Op::ReadDisk),
        10 => Just(Op::Tick),
        2 => Just(Op::Crash),
    ]
}

/// What one ledger's clients know. `generation` makes a new ledger id after each deletion.
#[derive(Default)]
struct Known {
    generation: u64,
    next: i64,
    lens: BTreeMap<i64, usize>,
    stored: BTreeMap<i64, usize>,
    fenced: bool,
}

enum Asked {
    Add {
        ledger: u64,
        entry: i64,
        recovery: bool,
        fenced_before: bool,
    },
    /// What was stored when the question was asked must be found.
    Read {
        ledger: u64,
        from: i64,
        fence: bool,
        there: bool,
    },
    Lac {
        ledger: u64,
        fence: bool,
        last: i64,
    },
    Delete {
        ledger: u64,
    },
}

struct Model {
    world: World,
    /// Deletions that were answered.
    gone: BTreeSet<u64>,
    ledgers: BTreeMap<u64, Known>,
    asked: BTreeMap<RequestId, Asked>,
    seen: usize,
}

impl Model {
    fn id_of(&self, ledger: u64) -> u64 {
        ledger + 10 * self.ledgers.get(&ledger).map_or(0, |k| k.generation)
    }

    fn known(&mut self, ledger: u64) -> &mut Known {
        self.ledgers.entry(ledger).or_default()
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Add { ledger, len } => {
                let known = self.known(ledger);
                let entry = known.next;
                known.next += 1;
                known.lens.insert(entry, len);
                self.add(ledger, entry, len, false);
            }
            Op::AddAgain { ledger, back } => {
                let known = self.known(ledger);
                let entry = known.next - back;
                if let Some(&len) = known.lens.get(&entry) {
                    self.add(ledger, entry, len, false);
                }
            }
            Op::RecoveryAdd { ledger, len } => {
                let known = self.known(ledger);
                let entry = known.next;
                known.next += 1;
                known.lens.insert(entry, len);
                self.add(ledger, entry, len, true);
            }
            Op::Read { ledger, from, fence } => {
                let there = self.known(ledger).stored.contains_key(&from);
                let real = self.id_of(ledger);
                let id = self.world.ask_read(real, from, 5, fence);
                self.asked.insert(id, Asked::Read { ledger: real, from, fence, there });
            }
            Op::Lac { ledger, fence } => {
                let last = self.known(ledger).stored.keys().next_back().copied().unwrap_or(-1);
                let (real, id) = (self.id_of(ledger), self.world.id());
                self.asked.insert(id, Asked::Lac { ledger: real, fence, last });
                self.world.ask(BookieRequest::ReadLac { id, ledger: LedgerId(real), fence });
            }
            Op::Delete { ledger } => {
                let (real, id) = (self.id_of(ledger), self.world.id());
                self.asked.insert(id, Asked::Delete { ledger: real });
                self.world.ask(BookieRequest::Delete { id, ledger: LedgerId(real) });
                let generation = self.known(ledger).generation + 1;
                self.ledgers.insert(ledger, Known { generation, ..Known::default() });
            }
            Op::Write => drop(self.world.write_one()),
            Op::ReadDisk => drop(self.world.read_one()),
            Op::Tick => self.world.tick(),
            Op::Crash => unreachable!("a crash takes the world by value"),
        }
        self.check_answers();
    }

    fn add(&mut self, ledger: u64, entry: i64, len: usize, recovery: bool) {
        let fenced_before = self.known(ledger).fenced;
        let real = self.id_of(ledger);
        let ask = if recovery { World::ask_recovery_add } else { World::ask_add };
        let id = ask(&mut self.world, real, entry, len);
        self.asked.insert(id, Asked::Add { ledger: real, entry, recovery, fenced_before });
    }

    /// The ledger of the model behind a real id, if it is still the present generation.
    fn present(&mut self, real: u64) -> Option<&mut Known> {
        self.ledgers.get_mut(&(real % 10)).filter(|known| known.generation == real / 10)
    }

    fn check_answers(&mut self) {
        while let Some(answer) = self.world.answers.get(self.seen).cloned() {
            self.seen += 1;
            let asked = self.asked.remove(&answer.id()).expect("every question is answered once");
            self.check(asked, answer);
        }
    }

    fn check(&mut self, asked: Asked, answer: BookieResponse) {
        match (asked, answer) {
            (Asked::Add { ledger, entry, recovery, fenced_before }, BookieResponse::Added { outcome, .. }) => {
                assert!(!fenced_before || recovery || outcome == AddOutcome::Fenced, "added {entry} behind a fence");
                if outcome == AddOutcome::Stored
                    && let Some(known) = self.present(ledger)
                {
                    let len = known.lens[&entry];
                    known.stored.insert(entry, len);
                }
            }
            (Asked::Read { ledger, from, fence, there }, BookieResponse::Read { outcome, .. }) => {
                let Some(known) = self.present(ledger) else { return };
                known.fenced |= fence;
                match outcome {
                    ReadOutcome::Entries(entries) => {
                        for (got, entry) in entries.into_iter().zip(from..) {
                            let len = *known.lens.get(&entry).expect("only what was offered is there");
                            assert_eq!(got, stored(ledger, entry, len));
                        }
                    }
                    ReadOutcome::NoSuchEntry | ReadOutcome::NoSuchLedger => {
                        assert!(!there, "{ledger}:{from} was answered Stored and is denied");
                    }
                    ReadOutcome::Unknown => panic!("nothing is damaged or overloaded"),
                }
            }
            (Asked::Lac { ledger, fence, last }, BookieResponse::Lac { outcome, .. }) => {
                let Some(known) = self.present(ledger) else { return };
                known.fenced |= fence;
                match outcome {
                    LacOutcome::Lac { last: got, .. } => assert!(got.0 >= last, "{ledger}: {got} < {last}"),
                    LacOutcome::NoSuchLedger => assert!(last == -1 && !fence),
                    LacOutcome::Unknown => panic!("nothing is damaged or overloaded"),
                }
            }
            (Asked::Delete { ledger }, BookieResponse::Deleted { .. }) => drop(self.gone.insert(ledger)),
            (_, answer) => panic!("{answer:?} answers another question"),
        }
    }

    fn crash(mut self, torn: usize) -> Self {
        if let Some(plan) = self.world.disk.next_plan() {
            let len = usize::try_from(plan.len()).unwrap();
            self.world.disk.write_part(&plan, torn % len / 512 * 512);
        }
        self.asked.clear();
        self.seen = 0;
        Self { world: self.world.crash(), ..self }
    }

    /// In the end everything acknowledged is there, fences hold, and what was deleted leaves no trace.
    fn finish(mut self) {
        self.world.settle();
        self.check_answers();
        assert!(self.asked.is_empty(), "everything is answered in the end");
        self.world.clean(300);
        self.check_files();
        let mut world = self.world.crash();
        assert_eq!((world.bookie.stats().damaged_at_open, world.bookie.stats().limbo), (0, false));
        for ledger in self.gone {
            assert_eq!(world.lac(ledger, false), LacOutcome::NoSuchLedger, "{ledger} was resurrected");
        }
        for (ledger, known) in &self.ledgers {
            let real = ledger + 10 * known.generation;
            for (entry, len) in &known.stored {
                assert_eq!(world.read(real, *entry, 1), ReadOutcome::Entries(vec![stored(real, *entry, *len)]));
            }
            if known.fenced {
                assert_eq!(world.add(real, known.next, 10), AddOutcome::Fenced);
            }
        }
    }

    /// The accounting of files agrees with the index, and the cleaner left nothing behind that is worth its while.
    fn check_files(&self) {
        let bookie = &self.world.bookie;
        let mut pins: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, ledger) in bookie.index.ledgers() {
            for file in ledger.runs.runs().iter().map(|run| run.file).chain(ledger.fence) {
                *pins.entry(file).or_default() += 1;
            }
        }
        for file in self.world.disk.files.keys().map(|file| file_no(*file)) {
            let counted = pins.get(&file).copied().unwrap_or(0);
            let tombstones = bookie.index.tombstones_in(file);
            let known = bookie.index.files.get(file).map_or(0, |f| f.pins);
            assert_eq!(known, counted + tombstones, "FileTable I1: file {file}");
        }
        assert_eq!(bookie.index.files.worth_cleaning(bookie.options.clean_below_percent), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_is_ever_contradicted(ops in proptest::collection::vec((op(), any::<usize>()), 50..400)) {
        let world = World::new();
        let mut model = Model { world, ledgers: BTreeMap::new(), asked: BTreeMap::new(), gone: BTreeSet::new(), seen: 0 };
        for (op, torn) in &ops {
            if matches!(op, Op::Crash) {
                model = model.crash(*torn);
            } else {
                model.apply(op);
            }
        }
        model.finish();
    }
}
