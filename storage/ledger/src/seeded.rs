//! Known protocol bugs that a test may switch on, to prove that the checkers notice them.
//!
//! **What**  [`Seeded`] travels in every machine's options. Without the feature `seeded-bugs` it has no size and nothing
//! can be switched on.

/// The bugs that can be seeded. Each names the invariant that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeededBug {
    /// B1: the writer confirms one copy too early.
    AckBelowAckQuorum,
    /// B1: the writer counts a "fenced" answer as a copy.
    AnyAnswerCountsAsAck,
    /// B1: the writer confirms an entry while an earlier one is not.
    ConfirmOutOfOrder,
    /// B1, B7: copies on a bookie that was replaced still count for the new ensemble.
    LacCountsReplacedBookies,
    /// B2: the fence is taken for complete one node early.
    FenceCoverageShort,
    /// B3: recovery reads do not fence.
    RecoveryReadWithoutFence,
    /// B4: recovery ignores where the current fragment starts.
    RecoveryFromMinusOne,
    /// B5, B8: silence and "unknown" count as "no such entry".
    UnknownCountedNegative,
    /// B6: the ledger is closed while recovered entries are still being written back.
    CloseBeforeWriteBack,
    /// B6: recovery looks for the old writer's entries on the bookies that it has itself put in.
    RecoveryReadsItsOwnEnsemble,
    /// B6: recovery announces as confirmed what stands in an ensemble that no close has committed yet.
    RecoveryAdvancesLac,
    /// B7: the new ensemble starts at the LAC instead of LAC + 1.
    EnsembleStartsAtLac,
    /// B7: the new ensemble is used before its compare-and-put has won.
    EnsembleBeforeCas,
    /// B7: after an ensemble change the unconfirmed entries are not sent to the new bookies.
    EnsembleWithoutResend,
    /// B7: a writer that meets a recovery puts the ledger back to open and goes on.
    WriterOverwritesRecovery,
    /// B8 (bookie side): a bookie that may have lost data denies what it does not have.
    LimboDenies,
    /// LedgerRepair I2: a replacement takes its place before every entry is durable on it.
    RepairSwapsEarly,
    /// LedgerRepair I1: the last fragment of a ledger that is not closed is repaired.
    RepairOfOpenFragment,
}

impl SeededBug {
    pub const ALL: [Self; 18] = [
        Self::AckBelowAckQuorum,
        Self::AnyAnswerCountsAsAck,
        Self::ConfirmOutOfOrder,
        Self::LacCountsReplacedBookies,
        Self::FenceCoverageShort,
        Self::RecoveryReadWithoutFence,
        Self::RecoveryFromMinusOne,
        Self::UnknownCountedNegative,
        Self::CloseBeforeWriteBack,
        Self::RecoveryReadsItsOwnEnsemble,
        Self::RecoveryAdvancesLac,
        Self::EnsembleStartsAtLac,
        Self::EnsembleBeforeCas,
        Self::EnsembleWithoutResend,
        Self::WriterOverwritesRecovery,
        Self::LimboDenies,
        Self::RepairSwapsEarly,
        Self::RepairOfOpenFragment,
    ];
}

/// The bug switched on, if any. Always [`Seeded::NONE`] outside tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Seeded {
    #[cfg(feature = "seeded-bugs")]
    bug: Option<SeededBug>,
}

impl Seeded {
    /// The protocol as it should be.
    pub const NONE: Self = Self {
        #[cfg(feature = "seeded-bugs")]
        bug: None,
    };

    /// The protocol with one bug.
    #[cfg(feature = "seeded-bugs")]
    pub fn with(bug: SeededBug) -> Self {
        Self { bug: Some(bug) }
    }

    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn has(self, bug: SeededBug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "seeded-bugs"))]
    #[inline]
    pub(crate) const fn has(self, _: SeededBug) -> bool {
        false
    }
}
