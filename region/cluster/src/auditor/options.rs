//! Times, rates and numbers of the auditor.

use ledger::RepairOptions;
use std::time::Duration;

/// Times and rates.
#[derive(Clone, Copy, Debug)]
pub struct AuditorOptions {
    /// How long a node may be down before others take the places of its bookie.
    pub grace: Duration,
    /// How often everything is looked at when nothing happens.
    pub every: Duration,
    /// How one ledger is repaired; its rate is that of all repairs.
    pub repair: RepairOptions,
}

impl AuditorOptions {
    /// What a server uses: 30 s of grace, a look each 10 min, and the rate of [`RepairOptions::standard`].
    pub fn standard() -> Self {
        let (grace, every) = (Duration::from_secs(30), Duration::from_secs(600));
        Self { grace, every, repair: RepairOptions::standard() }
    }

    /// The same with another grace and another rate, bytes per second.
    pub fn new(grace: Duration, bytes_per_s: u64) -> Self {
        let repair = RepairOptions { bytes_per_s: bytes_per_s.max(1), ..RepairOptions::standard() };
        Self { grace, repair, ..Self::standard() }
    }
}

/// Numbers for metrics. Those of a look are 0 on a node that does not lead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditStats {
    /// Ledgers with entries that have, or will have, fewer copies than their write quorum.
    pub ledgers: u64,
    /// Such entries, where they can be counted: not in the fragment that is still written.
    pub entries: u64,
    /// Those of them with fewer copies than the ack quorum.
    pub entries_below_ack_quorum: u64,
    /// Repaired by this process since it started; entries and bytes are those of copies that became durable.
    pub repaired_ledgers_total: u64,
    pub repaired_entries_total: u64,
    pub repaired_bytes_total: u64,
    pub failed_repairs_total: u64,
    /// Ledgers that live bookies may lack entries of, each bookie's counted for itself.
    pub ledgers_in_limbo: u64,
    /// Ledgers that a recovery closed and whose bookies have not all been asked what they lack.
    pub ledgers_unchecked: u64,
    /// Ledgers of which a repair found some entry on no bookie.
    pub ledgers_without_copies: u64,
}
