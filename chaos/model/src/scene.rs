//! How large a world is: bookies, entries, clients, and how often what goes wrong may go wrong.

use ledger::{ReplicationConfig, Seeded};

/// One world to walk through. The ledger begins open on the first `ensemble` bookies; the others are spare.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    pub name: &'static str,
    pub replication: ReplicationConfig,
    /// Bookies 1 to this.
    pub bookies: u64,
    /// Entries that the writer may add.
    pub entries: u8,
    /// Those of them that are stored everywhere and confirmed before the walk begins.
    pub confirmed_before: u8,
    /// Whether the writer may close the ledger itself, at any time.
    pub writer_closes: bool,
    /// How often the writer's deadlines may fire. It needs that only where there is a spare bookie: without one it sends
    /// again what it has sent, and every message may arrive twice anyway.
    pub writer_timeouts: u8,
    /// Recoveries, 0 to 2; each may start at any time, the second after the first.
    pub recoveries: u8,
    /// How often the deadlines of each recovery may fire.
    pub recovery_timeouts: u8,
    /// Whether deadlines may fire also while the metadata store is asked: its answer then counts as lost.
    pub store_is_lossy: bool,
    /// Entries that a recovery reads at once.
    pub read_window: u8,
    /// Bookies that may lose their disk, one after the other.
    pub disks_lost: u8,
    /// [`Seeded::NONE`], or the defect that is to be found.
    pub seeded: Seeded,
    /// Of seeded defects, the one that is the bookie's.
    pub limbo_denies: bool,
}

impl Scene {
    /// The scenes that are walked through, the smallest first. `whole`: to the end, in seconds; the others are too large for
    /// that and are walked breadth first up to a bound.
    pub fn all() -> Vec<(Self, Extent)> {
        let three = Self {
            name: "3/3/2, one entry",
            replication: replication(3, 3, 2),
            bookies: 3,
            entries: 1,
            confirmed_before: 0,
            writer_closes: false,
            writer_timeouts: 0,
            recoveries: 1,
            recovery_timeouts: 0,
            store_is_lossy: false,
            read_window: 1,
            disks_lost: 0,
            seeded: Seeded::NONE,
            limbo_denies: false,
        };
        let two = Self { name: "2/2/2, two recoveries", replication: replication(2, 2, 2), bookies: 2, ..three };
        let spare = Self { bookies: 3, writer_timeouts: 1, ..two };
        vec![
            (Self { recoveries: 2, ..two }, Extent::Whole),
            (three, Extent::Whole),
            (Self { name: "2/2/2 and a spare, one entry", recovery_timeouts: 1, ..spare }, Extent::Whole),
            (
                Self { name: "2/2/2, two entries, a silent bookie", entries: 2, recovery_timeouts: 1, ..two },
                Extent::Whole,
            ),
            (Self { name: "3/3/2, one entry, a silent bookie", recovery_timeouts: 1, ..three }, Extent::Whole),
            (Self { name: "2/2/2, the writer closes", writer_closes: true, recoveries: 2, ..two }, Extent::Whole),
            (
                Self {
                    name: "2/2/2 and a spare, the writer alone",
                    entries: 2,
                    writer_closes: true,
                    recoveries: 0,
                    ..spare
                },
                Extent::Whole,
            ),
            (
                Self { name: "2/2/2 and a spare, the second entry", entries: 2, confirmed_before: 1, ..spare },
                Extent::Part,
            ),
            (Self { name: "3/3/2, a disk lost", disks_lost: 1, ..three }, Extent::Part),
            (Self { name: "3/3/2, two entries", entries: 2, ..three }, Extent::Part),
            (Self { name: "2/2/2 and a spare, two entries", entries: 2, ..spare }, Extent::Part),
            (
                Self {
                    name: "2/2/2 and a spare, two recoveries",
                    writer_timeouts: 0,
                    recoveries: 2,
                    recovery_timeouts: 1,
                    ..spare
                },
                Extent::Part,
            ),
        ]
    }
}

/// Whether a scene is walked to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    Part,
}

/// # Panics
/// When the counts are impossible: scenes are written by hand.
pub fn replication(ensemble: u32, write_quorum: u32, ack_quorum: u32) -> ReplicationConfig {
    match ReplicationConfig::new(ensemble, write_quorum, ack_quorum) {
        Ok(replication) => replication,
        Err(error) => panic!("Scene: {error}"),
    }
}
