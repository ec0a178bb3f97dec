//! Bugs that the simulator's own shell can have, to prove that the checkers notice them.
//!
//! **What**  Each stands for a mistake that a server could make around the machines or inside of them. Bugs inside of the
//! machines are seeded and caught by the tests of their own crates: fifteen in `ledger`, seven in `managed`, eight in `link`.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The disk reports appends before they are durable.
    AckBeforeSync,
    /// A receipt leaves when the message arrives.
    ReceiptBeforeDurable,
    /// An acknowledgement is answered when it arrives.
    AckAnsweredBeforeDurable,
    /// An acknowledgement is answered and dropped.
    AckDropped,
    /// After a crash no topic knows where its cursors stand.
    ForgottenCursor,
    /// After a crash the newest metadata is gone.
    MetadataNotDurable,
    /// After a restart the bookie is told that no ledger exists.
    OrphansByMistake,
    /// Deduplication is off.
    DeduplicationOff,
    /// An entry for another region is lost, and the next one hides it: the successor is not checked.
    LinkSkipsEntry,
    /// Two entries for another region exchange their contents.
    LinkSwapsEntries,
    /// An entry for another region is stored twice.
    LinkStoresTwice,
    /// The receiver's acknowledgement leaves when the entry arrives.
    LinkAckBeforeDurable,
    /// Requests to go back are lost.
    LinkRewindLost,
    /// A message for a consumer is lost on the way, though the connection stays.
    DeliveryLost,
    /// The publish quota is not kept.
    QuotaIgnored,
}

impl Bug {
    pub const ALL: [Self; 15] = [
        Self::AckBeforeSync,
        Self::ReceiptBeforeDurable,
        Self::AckAnsweredBeforeDurable,
        Self::AckDropped,
        Self::ForgottenCursor,
        Self::MetadataNotDurable,
        Self::OrphansByMistake,
        Self::DeduplicationOff,
        Self::LinkSkipsEntry,
        Self::LinkSwapsEntries,
        Self::LinkStoresTwice,
        Self::LinkAckBeforeDurable,
        Self::LinkRewindLost,
        Self::DeliveryLost,
        Self::QuotaIgnored,
    ];
}
