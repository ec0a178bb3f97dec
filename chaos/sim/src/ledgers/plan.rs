//! What a ledger seed decides: sizes, delays, a timetable of faults.

use crate::bugs::Bug;
use crate::queue::{MS, Time};
use base::{NodeId, Rng};
use ledger::{RecoveryOptions, ReplicationConfig, Seeded, WriterOptions};
use std::time::Duration;

/// One thing that goes wrong, or is over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Crash(NodeId),
    Restart(NodeId),
    /// The disk of a bookie that is down is lost: it will start empty and in limbo.
    Wipe(NodeId),
    FreezeBookie(NodeId),
    ThawBookie(NodeId),
    FreezeWriter,
    ThawWriter,
    Cut {
        client: u64,
        node: NodeId,
    },
    Mend {
        client: u64,
        node: NodeId,
    },
    /// The writer is told which bookies are up.
    Announce,
}

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rng: Rng,
    pub(super) replication: ReplicationConfig,
    pub(super) bookies: u64,
    pub(super) entries: u64,
    pub(super) add_gap: Time,
    pub(super) delay_max: Time,
    pub(super) sync_max: Time,
    pub(super) drop_percent: u64,
    pub(super) duplicate_percent: u64,
    /// Metadata requests or answers that get lost, of a hundred.
    pub(super) store_loss_percent: u64,
    pub(super) file_bytes: u64,
    pub(super) writer: WriterOptions,
    pub(super) recovery: RecoveryOptions,
    /// When somebody takes the ledger over.
    pub(super) takeovers: Vec<Time>,
    pub(super) writer_closes: bool,
    pub(super) faults: Vec<(Time, Fault)>,
    pub(super) heal_at: Time,
    /// A mistake of who carries requests, not of the machines.
    pub(super) mistake: Option<Bug>,
}

/// Ensemble, write quorum, ack quorum.
const CONFIGS: [(u32, u32, u32); 6] = [(3, 3, 2), (3, 3, 2), (3, 2, 2), (3, 2, 2), (1, 1, 1), (3, 3, 1)];

fn one_of<T: Copy>(rng: &mut Rng, items: &[T], otherwise: T) -> T {
    rng.pick(items).copied().unwrap_or(otherwise)
}

impl Plan {
    pub(super) fn of_seed(seed: u64, seeded: Seeded) -> Self {
        let mut rng = Rng::new(seed).fork("ledger plan");
        let (e, w, a) = one_of(&mut rng, &CONFIGS, (3, 3, 2));
        let replication = ReplicationConfig::new(e, w, a).unwrap_or(ReplicationConfig::SINGLE);
        let entries = rng.range(3, 30);
        let add_gap = one_of(&mut rng, &[MS / 5, MS, 3 * MS], MS);
        let busy = entries * add_gap + 10 * MS;
        let takeovers =
            (0..one_of(&mut rng, &[0, 1, 1, 1, 2, 2, 3], 1)).map(|_| rng.range(0, busy)).collect::<Vec<Time>>();
        let small = |rng: &mut Rng, low, high| usize::try_from(rng.range(low, high)).unwrap_or(1);
        let writer = WriterOptions {
            pending_adds_max: small(&mut rng, 2, 12),
            pending_bytes_max: small(&mut rng, 30, 2_000),
            add_timeout: Duration::from_millis(rng.range(8, 40)),
            seeded,
        };
        let recovery = RecoveryOptions {
            request_timeout: Duration::from_millis(rng.range(8, 40)),
            attempts_max: 5,
            window_entries: u32::try_from(rng.range(1, 6)).unwrap_or(1),
            read_bytes_max: u32::try_from(rng.range(10, 200)).unwrap_or(10),
            seeded,
        };
        let mut plan = Self {
            replication,
            bookies: 3 + rng.below(3),
            entries,
            add_gap,
            delay_max: one_of(&mut rng, &[MS / 3, 3 * MS, 15 * MS], MS),
            sync_max: one_of(&mut rng, &[MS / 10, 2 * MS], MS),
            drop_percent: one_of(&mut rng, &[0, 0, 2, 10, 25], 0),
            duplicate_percent: one_of(&mut rng, &[0, 5], 0),
            store_loss_percent: one_of(&mut rng, &[0, 0, 20], 0),
            file_bytes: 64 << 10,
            writer,
            recovery,
            takeovers,
            writer_closes: rng.percent(50),
            faults: Vec::new(),
            heal_at: busy + 200 * MS,
            mistake: None,
            rng: Rng::new(seed).fork("ledger world"),
        };
        plan.draw_faults(&mut rng, busy);
        plan.draw_wipe(&mut Rng::new(seed).fork("ledger wipe"), busy);
        plan
    }

    /// At most one disk is lost, and only where an ack quorum leaves another copy and somebody takes the ledger over: a bookie
    /// in limbo refuses the writer.
    fn draw_wipe(&mut self, rng: &mut Rng, busy: Time) {
        if self.replication.ack_quorum() < 2 || self.takeovers.is_empty() || !rng.percent(40) {
            return;
        }
        let (node, at) = (NodeId(rng.range(1, self.bookies)), rng.below(busy));
        let back = at + rng.range(MS, 50 * MS);
        self.faults.extend([(at, Fault::Crash(node)), (at, Fault::Wipe(node)), (back, Fault::Restart(node))]);
    }

    fn draw_faults(&mut self, rng: &mut Rng, busy: Time) {
        for _ in 0..rng.below(8) {
            let node = NodeId(rng.range(1, self.bookies));
            let (at, lasting, client) = (rng.below(busy), rng.range(MS, 150 * MS), rng.below(4));
            let (start, end) = match rng.below(6) {
                0..=2 => (Fault::Crash(node), Fault::Restart(node)),
                3 => (Fault::Cut { client, node }, Fault::Mend { client, node }),
                4 => (Fault::FreezeWriter, Fault::ThawWriter),
                _ => (Fault::FreezeBookie(node), Fault::ThawBookie(node)),
            };
            self.faults.extend([(at, start), (at + lasting, end)]);
            if rng.percent(30) {
                self.faults.push((at + rng.below(lasting), Fault::Announce));
            }
        }
    }
}
