//! What happens in one run, drawn from its seed: sizes, fault rates, and a timetable of faults.

use base::{NodeId, Rng};
use ledger::{RecoveryOptions, RepairOptions, ReplicationConfig, Seeded, WriterOptions};
use std::collections::BTreeSet;
use std::time::Duration;

/// Client numbers: 0 writes, the others recover.
pub(crate) const WRITER: usize = 0;
/// Clients that repair have numbers from here on.
pub(crate) const REPAIRERS: usize = 10;
/// The reader of the end.
pub(crate) const READER: usize = 9;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Crash(NodeId),
    Restart {
        node: NodeId,
        wiped: bool,
    },
    Cut {
        client: usize,
        node: NodeId,
    },
    Mend {
        client: usize,
        node: NodeId,
    },
    Freeze,
    Thaw,
    ReadOnly(NodeId),
    Writable(NodeId),
    /// The writer is told which bookies are up.
    Announce,
    /// A repair under way dies and is started again.
    KillRepair {
        client: usize,
    },
}

/// All times are microseconds of simulated time.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rng: Rng,
    pub(crate) replication: ReplicationConfig,
    pub(crate) bookies: u64,
    pub(crate) entries: u64,
    pub(crate) add_gap: u64,
    pub(crate) delay_max: u64,
    pub(crate) sync_max: u64,
    pub(crate) drop_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// Metadata requests or answers that get lost.
    pub(crate) store_loss_percent: u64,
    pub(crate) writer: WriterOptions,
    pub(crate) recovery: RecoveryOptions,
    pub(crate) takeovers: Vec<u64>,
    /// When each repairer starts, and which bookie it takes for lost.
    pub(crate) repairs: Vec<(u64, NodeId)>,
    pub(crate) repair: RepairOptions,
    pub(crate) writer_closes: bool,
    pub(crate) wipes: bool,
    /// Eight times slower than the others.
    pub(crate) slow_links: BTreeSet<(usize, NodeId)>,
    pub(crate) faults: Vec<(u64, Fault)>,
    pub(crate) heal_at: u64,
}

const CONFIGS: [(u32, u32, u32); 8] =
    [(3, 3, 2), (3, 3, 2), (3, 2, 2), (3, 2, 2), (5, 3, 2), (1, 1, 1), (4, 3, 3), (3, 3, 1)];

impl Plan {
    pub(crate) fn draw(seed: u64, seeded: Seeded) -> Self {
        let mut rng = Rng::new(seed).fork("plan");
        let (e, w, a) = *rng.pick(&CONFIGS).unwrap();
        let replication = ReplicationConfig::new(e, w, a).unwrap();
        let bookies = u64::from(e) + rng.below(3);
        let entries = rng.range(3, 30);
        let add_gap = *rng.pick(&[200, 1_000, 3_000]).unwrap();
        let busy = entries * add_gap + 10_000;
        let takeovers = (0..*rng.pick(&[0, 1, 1, 1, 2, 2, 3]).unwrap()).map(|_| rng.range(0, busy)).collect();
        let writer = WriterOptions {
            pending_adds_max: usize::try_from(rng.range(2, 12)).unwrap(),
            pending_bytes_max: usize::try_from(rng.range(30, 2_000)).unwrap(),
            add_timeout: Duration::from_millis(rng.range(8, 40)),
            seeded,
        };
        let recovery = RecoveryOptions {
            request_timeout: Duration::from_millis(rng.range(8, 40)),
            attempts_max: 5,
            window_entries: u32::try_from(rng.range(1, 6)).unwrap(),
            read_bytes_max: u32::try_from(rng.range(10, 200)).unwrap(),
            seeded,
        };
        let mut repairs = Rng::new(seed).fork("repairs");
        let repair = RepairOptions {
            request_timeout: Duration::from_millis(repairs.range(8, 40)),
            speculate_after: Duration::from_millis(repairs.range(1, 9)),
            attempts_max: 5,
            batch_bytes: u32::try_from(repairs.range(10, 200)).unwrap(),
            bytes_per_s: *repairs.pick(&[2_000, 50_000, 10_000_000]).unwrap(),
            seeded,
        };
        let mut plan = Self {
            replication,
            bookies,
            entries,
            add_gap,
            delay_max: *rng.pick(&[300, 3_000, 15_000]).unwrap(),
            sync_max: *rng.pick(&[100, 2_000]).unwrap(),
            drop_percent: *rng.pick(&[0, 0, 2, 10, 25]).unwrap(),
            duplicate_percent: *rng.pick(&[0, 5]).unwrap(),
            store_loss_percent: *rng.pick(&[0, 0, 20]).unwrap(),
            writer,
            recovery,
            takeovers,
            repairs: Vec::new(),
            repair,
            writer_closes: rng.percent(50),
            wipes: false,
            slow_links: BTreeSet::new(),
            faults: Vec::new(),
            heal_at: busy + 200_000,
            rng: Rng::new(seed).fork("world"),
        };
        plan.draw_faults(&mut rng, busy);
        plan.draw_repairs(&mut repairs, busy);
        plan
    }

    fn draw_faults(&mut self, rng: &mut Rng, busy: u64) {
        let wipes_max = u64::from(self.replication.ack_quorum() - 1).min(1);
        let wiped = rng.percent(25) && wipes_max > 0;
        for _ in 0..rng.below(5) {
            self.slow_links.insert((usize::try_from(rng.below(3)).unwrap(), NodeId(rng.range(1, self.bookies))));
        }
        for index in 0..rng.below(6) {
            let node = NodeId(rng.range(1, self.bookies));
            let (at, until) = (rng.below(busy), rng.range(1_000, 150_000));
            let client = usize::try_from(rng.below(4)).unwrap();
            let (start, end) = match rng.below(5) {
                0 | 1 => {
                    let wiped = wiped && index == 0;
                    self.wipes |= wiped;
                    (Fault::Crash(node), Fault::Restart { node, wiped })
                }
                2 => (Fault::Cut { client, node }, Fault::Mend { client, node }),
                3 => (Fault::Freeze, Fault::Thaw),
                _ => (Fault::ReadOnly(node), Fault::Writable(node)),
            };
            self.faults.extend([(at, start), (at + until, end)]);
            if rng.percent(30) {
                self.faults.push((at + rng.below(until), Fault::Announce));
            }
        }
    }

    /// Half of the runs repair while others write and recover; often two at once, who need not agree on who is lost.
    fn draw_repairs(&mut self, rng: &mut Rng, busy: u64) {
        let lost = NodeId(rng.range(1, self.bookies));
        for client in 0..*rng.pick(&[0, 0, 1, 2]).unwrap() {
            let lost = if rng.percent(70) { lost } else { NodeId(rng.range(1, self.bookies)) };
            self.repairs.push((rng.below(2 * busy), lost));
            for _ in 0..rng.below(3) {
                let client = REPAIRERS + client;
                self.faults.push((rng.below(2 * busy), Fault::KillRepair { client }));
            }
        }
    }
}
