//! Bugs that the simulator's own shell can have, to prove that the checkers notice them.
//!
//! **What**  Each stands for a mistake that a server could make around the machines or inside of them. The bugs that
//! the crates of the machines can be seeded with are planted from here too: `ledger`'s in the ledger world ([`crate::ledgers`]),
//! `managed`'s and `link`'s in whole regions. Those of [`Bug::CLUSTER`] need a second node, and are hunted in regions with
//! takeovers first.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// A receiver says that it holds one entry more than it does. (That a request to go back is lost is no mistake: the
    /// sender's stall clock opens the link anew, and the answer to that says where to go on.)
    LinkOpenedAhead,
    /// A message for a consumer is lost on the way, though the connection stays.
    DeliveryLost,
    /// The publish quota is not kept.
    QuotaIgnored,
    /// Cluster: what goes to another node's bookie has lost its fence. Also hunted in the ledger world.
    FenceLost,
    /// Cluster: of a node that cannot be reached it is said that it has stored what was sent to it.
    SilenceCountsAsCopy,
    /// Cluster: of a node that cannot be reached it is said that it does not have what was asked for.
    SilenceDenies,
    /// Cluster: a topic's records are changed whoever owns its bundle by now. The chain's own compare and fences still protect
    /// what is stored; what breaks is that an old owner takes the log back (ADR 0009 §6), so the checker looks at who changes logs.
    OwnerGuardIgnored,
    /// Cluster: a topic's chain of ledgers is written whatever somebody else has written meanwhile. The owner's guard still
    /// stops other owners; what hurts are late writes of the same one.
    ChainWithoutCompare,
    /// Cluster: a ledger's metadata is written whatever somebody else has written meanwhile. In regions of three nodes nearly
    /// every entry is on every node, so that a wrong ensemble seldom hurts: hunted in the ledger world too, with up to five.
    LedgerWithoutCompare,
    /// Cluster: what a recovery says of the ledger that it closed, that its copies are to be checked, is lost.
    CheckForgotten,
    /// Cluster: who is up and who owns what is written whatever somebody else has written meanwhile. Guard, chain and fences
    /// protect what is stored; what breaks are owners (`cluster::View` I3), which the checker looks at.
    OwnersWithoutCompare,
    /// Cluster: a read of the metadata is answered from what the node itself knows, which lags behind the leader.
    StaleReads,
    /// Cluster: a node is not told of some change of the metadata.
    ChangeNotTold,
    /// Cluster: a node comes back under the incarnation that it had before. Between lives on the same disk that is harmless:
    /// the next open raises the epoch and fences. It is there for copies: an old one is not told from the disk any more.
    IncarnationReused,
    /// A bug inside of a topic's log.
    Managed(managed::SeededBug),
    /// A bug inside of both ends of every link.
    Link(link::SeededBug),
}

const SHELL: [Bug; 15] = [
    Bug::AckBeforeSync,
    Bug::ReceiptBeforeDurable,
    Bug::AckAnsweredBeforeDurable,
    Bug::AckDropped,
    Bug::ForgottenCursor,
    Bug::MetadataNotDurable,
    Bug::OrphansByMistake,
    Bug::DeduplicationOff,
    Bug::LinkSkipsEntry,
    Bug::LinkSwapsEntries,
    Bug::LinkStoresTwice,
    Bug::LinkAckBeforeDurable,
    Bug::LinkOpenedAhead,
    Bug::DeliveryLost,
    Bug::QuotaIgnored,
];

const CLUSTER: [Bug; 11] = [
    Bug::FenceLost,
    Bug::SilenceCountsAsCopy,
    Bug::SilenceDenies,
    Bug::OwnerGuardIgnored,
    Bug::ChainWithoutCompare,
    Bug::LedgerWithoutCompare,
    Bug::CheckForgotten,
    Bug::OwnersWithoutCompare,
    Bug::StaleReads,
    Bug::ChangeNotTold,
    Bug::IncarnationReused,
];

/// Bugs of `link`.
const LINK: [link::SeededBug; 8] = [
    link::SeededBug::OffByOneSuccessor,
    link::SeededBug::WatermarkAsDuplicateAck,
    link::SeededBug::AckBeforeDurable,
    link::SeededBug::ForgottenLastForwarded,
    link::SeededBug::RewindIgnored,
    link::SeededBug::SkipPassesUnacked,
    link::SeededBug::IncarnationIgnored,
    link::SeededBug::CreditIgnored,
];

impl Bug {
    /// Mistakes of the shell.
    pub const SHELL: [Self; 15] = SHELL;
    /// Mistakes that only regions of several nodes can make.
    pub const CLUSTER: [Self; 11] = CLUSTER;

    /// Every mistake that whole regions can make.
    pub fn all() -> Vec<Self> {
        let managed = managed::SeededBug::ALL.map(Self::Managed);
        SHELL.into_iter().chain(managed).chain(LINK.map(Self::Link)).chain(CLUSTER).collect()
    }

    /// What a topic's log is seeded with.
    pub(crate) fn managed(self) -> managed::Seeded {
        match self {
            Self::Managed(bug) => managed::Seeded::with(bug),
            _ => managed::Seeded::NONE,
        }
    }

    /// What links are seeded with.
    pub(crate) fn link(self) -> Option<link::SeededBug> {
        match self {
            Self::Link(bug) => Some(bug),
            _ => None,
        }
    }
}
