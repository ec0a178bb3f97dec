//! Known bugs that a test may switch on, to prove that the checkers notice them.
//!
//! **What**  [`Seeded`] travels in [`crate::ManagedOptions`]. Without the feature `seeded-bugs` it has no size and
//! nothing can be switched on.

/// The bugs that can be seeded. Each names the invariant that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeededBug {
    /// CursorLog I1: a cursor operation is answered before its record is durable.
    CursorDoneBeforeDurable,
    /// CursorLog I3: the cursor ledger is replaced before the snapshot is durable.
    SwitchBeforeSnapshot,
    /// CursorLog I2: a snapshot leaves partly acknowledged batches out.
    SnapshotForgetsBatchAcks,
    /// Trimmer I1: a ledger goes though a durable cursor has not passed it.
    TrimIgnoresCursors,
    /// Trimmer I1: a ledger goes by a mark-delete that is not durable yet.
    TrimBeforeDurable,
    /// RecordStore I2: opening does not raise the epoch.
    TakeoverWithoutEpoch,
    /// Replay I1: the last record of the cursor ledger is left out.
    ReplayStopsEarly,
}

impl SeededBug {
    pub const ALL: [Self; 7] = [
        Self::CursorDoneBeforeDurable,
        Self::SwitchBeforeSnapshot,
        Self::SnapshotForgetsBatchAcks,
        Self::TrimIgnoresCursors,
        Self::TrimBeforeDurable,
        Self::TakeoverWithoutEpoch,
        Self::ReplayStopsEarly,
    ];
}

/// The bug switched on, if any. Always [`Seeded::NONE`] outside tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    #[cfg(feature = "seeded-bugs")]
    bug: Option<SeededBug>,
    /// Bugs of the ledger machines underneath.
    pub ledger: ledger::Seeded,
}

impl Seeded {
    /// The protocol as it should be.
    pub const NONE: Self = Self {
        #[cfg(feature = "seeded-bugs")]
        bug: None,
        ledger: ledger::Seeded::NONE,
    };

    /// The protocol with one bug.
    #[cfg(feature = "seeded-bugs")]
    pub fn with(bug: SeededBug) -> Self {
        Self { bug: Some(bug), ledger: ledger::Seeded::NONE }
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
