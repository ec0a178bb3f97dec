//! Bugs planted on purpose, to prove that the checkers see them. Without the feature `seeded-bugs` none can be planted.

/// One protocol bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeededBug {
    /// The receiver takes an entry that is one step past the successor.
    OffByOneSuccessor,
    /// The receiver answers everything at or below its watermark, durable or not, by acknowledging that very entry.
    WatermarkAsDuplicateAck,
    /// The receiver acknowledges what it accepted, before it is durable.
    AckBeforeDurable,
    /// The sender restarts without `last_forwarded`.
    ForgottenLastForwarded,
    /// The sender does not go back when asked to.
    RewindIgnored,
    /// A skipped entry moves the cursor over unacknowledged ones.
    SkipPassesUnacked,
    /// The sender takes any remote copy for the one that acknowledged.
    IncarnationIgnored,
    /// The sender does not keep to the window.
    CreditIgnored,
}

/// The bug that a machine carries, if any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Planted {
    #[cfg(feature = "seeded-bugs")]
    bug: Option<SeededBug>,
}

impl Planted {
    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn plant(&mut self, bug: SeededBug) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "seeded-bugs")]
    pub(crate) fn has(self, bug: SeededBug) -> bool {
        self.bug == Some(bug)
    }

    #[cfg(not(feature = "seeded-bugs"))]
    pub(crate) fn has(self, _bug: SeededBug) -> bool {
        false
    }
}
