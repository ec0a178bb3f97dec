//! What an operator may ask of a loaded topic or of the whole broker, and the answers.
//!
//! **What**  The admin REST API and the command line speak these; they carry no HTTP. Authorisation happened before.

use crate::stats::{InternalStats, TopicStats};
use base::{NamespaceName, Position, SubscriptionName, TopicName};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tenancy::BundleRange;
use wire::stored::StoredHead;

/// A request of an operator.
#[derive(Clone, Debug)]
pub enum AdminCommand {
    Topic {
        topic: TopicName,
        op: TopicOp,
    },
    /// Every loaded topic of the namespace is closed; clients reconnect.
    UnloadNamespace {
        namespace: NamespaceName,
    },
    /// Makes sure that a node serves the topic; answered once the view shows which.
    FindOwner {
        topic: TopicName,
    },
    /// Gives one bundle up: its topics are closed, and whoever is asked next finds a node for it.
    UnloadBundle {
        namespace: NamespaceName,
        bundle: BundleRange,
    },
    /// Divides a bundle, in this region alone. The topics of a bundle that this node shares with others close first.
    SplitBundle {
        namespace: NamespaceName,
        bundle: BundleRange,
        how: SplitHow,
        /// The parts are to be served apart, where there are nodes for that; topics close in any case.
        unload: bool,
    },
    /// Stats of every loaded topic, for metrics and listings.
    LoadedTopics,
    /// Numbers of the whole broker.
    BrokerStats,
}

/// Where a bundle is divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SplitHow {
    /// In the middle of its range.
    Range,
    /// So that both parts have as many topics.
    TopicCount,
    /// At these hashes, which ascend.
    At(Vec<u32>),
}

/// What to do with one topic. Nodes of one region tell each other so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicOp {
    /// Creates the topic when it is missing.
    Create {
        properties: BTreeMap<String, String>,
    },
    /// Deletes it with its subscriptions; without `Force::Yes` refused while producers or subscriptions exist.
    Delete {
        force: Force,
    },
    Unload,
    Stats,
    InternalStats,
    Subscriptions,
    CreateSubscription {
        name: SubscriptionName,
        start: StartAt,
        properties: BTreeMap<String, String>,
    },
    DeleteSubscription {
        name: SubscriptionName,
        force: Force,
    },
    SkipAll {
        name: SubscriptionName,
    },
    /// Skips the next `entries` entries that are not acknowledged.
    Skip {
        name: SubscriptionName,
        entries: u64,
    },
    /// Acknowledges what was published more than `older_than_s` ago; all subscriptions when `name` is `None`.
    Expire {
        name: Option<SubscriptionName>,
        older_than_s: u64,
    },
    Reset {
        name: SubscriptionName,
        to: StartAt,
    },
    /// The `nth` (from 1) entry that is not acknowledged.
    Peek {
        name: SubscriptionName,
        nth: u64,
    },
    /// One entry by its position.
    Entry {
        position: Position,
    },
    /// The first entry published at or after this time (Unix milliseconds).
    FirstAt {
        publish_time_ms: u64,
    },
    LastMessageId,
    /// No more messages are taken; answers the last position.
    Terminate,
}

/// Whether an action overrides what stands in its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Force {
    No,
    Yes,
}

/// Where a subscription starts or is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartAt {
    Earliest,
    Latest,
    /// This entry is the next one read.
    Position(Position),
    /// The entry after this one is the next one read.
    After(Position),
    /// The first entry published at or after this time, Unix milliseconds.
    Time(u64),
}

/// The answer to an [`AdminCommand`]. What nodes do not tell each other cannot be serialized.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum AdminReply {
    Done,
    Stats(Box<TopicStats>),
    Internal(Box<InternalStats>),
    Names(Vec<String>),
    #[serde(skip)]
    Entry(Box<FoundEntry>),
    MessageId(MessageIdView),
    #[serde(skip)]
    Topics(Vec<(TopicName, TopicStats)>),
    #[serde(skip)]
    Broker(BrokerStats),
    Failed(AdminFailure),
}

/// One entry as an operator sees it.
#[derive(Clone, Debug)]
pub struct FoundEntry {
    pub position: Position,
    pub head: StoredHead,
    pub body: Bytes,
}

/// A message id; `batch_index` −1 when the entry is no batch, `partition` −1 when the topic is no partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageIdView {
    pub position: Position,
    pub partition: i32,
    pub batch_index: i32,
}

/// Numbers of the whole broker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BrokerStats {
    pub connections: u64,
    pub topics: u64,
    pub producers: u64,
    pub consumers: u64,
    pub subscriptions: u64,
    pub cache_bytes: u64,
    pub pending_publish_bytes: u64,
    /// Entries made durable since the start …
    pub publishes_total: u64,
    /// … and how long that took altogether, microseconds.
    pub publish_latency_us_total: u64,
    pub cache: CacheStats,
    /// Entries with too few copies, and their repair.
    pub audit: cluster::AuditStats,
}

/// How the caches of all topics served reads; rates per second, throughput in bytes per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CacheStats {
    pub hits_rate: f64,
    pub hits_throughput: f64,
    pub misses_rate: f64,
    pub misses_throughput: f64,
    /// Entries evicted during about the last minute.
    pub evictions: f64,
}

/// Why a command failed, in words for the operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminFailure {
    pub kind: FailureKind,
    pub reason: String,
}

/// The class of a failure; the HTTP side gives it a status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    NotFound,
    AlreadyExists,
    /// Something stands in the way, such as connected consumers.
    Precondition,
    /// Not possible for this kind of topic.
    NotAllowed,
    /// Over a limit.
    TooMany,
    /// Try again.
    Unavailable,
    /// Nothing was done: another node serves the topic, as the metadata says at this revision.
    Moved {
        revision: u64,
    },
    Internal,
}

impl AdminFailure {
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into() }
    }
}
