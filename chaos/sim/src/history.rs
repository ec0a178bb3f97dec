//! What clients saw, for the checkers to judge.
//!
//! **What**  Plain records. `step` counts what happened in the whole world: of two records the one with the smaller step left
//! its server earlier.

use crate::clocks::Gain;
use crate::queue::Time;
use base::{NodeId, OwnerId, Position};

/// One message: who published it, and its number there, from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// Index of the producer in the run.
    pub producer: usize,
    pub number: u64,
}

/// A subscription of one topic in one region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubKey {
    pub region: usize,
    pub topic: String,
    pub name: String,
}

/// Where a producer publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerPlan {
    pub region: usize,
    pub topic: String,
    /// Messages in all.
    pub messages: u64,
    /// Its messages stay in its region.
    pub local: bool,
}

impl ProducerPlan {
    /// Whether its messages belong into this topic of this region.
    pub fn reaches(&self, region: usize, topic: &str) -> bool {
        self.topic == topic && (self.region == region || !self.local)
    }
}

/// The key of the entry that begins with this message.
pub fn key_of(first: &Message) -> u64 {
    (first.producer as u64 + first.number) % 6
}

/// A message number was handed to a connection for the first time.
#[derive(Clone, Debug)]
pub struct Sent {
    pub message: Message,
}

/// A publish was answered.
#[derive(Clone, Debug)]
pub struct Acked {
    pub producer: usize,
    pub first: u64,
    pub last: u64,
    /// `None`: answered as a duplicate.
    pub position: Option<Position>,
    /// When the answer left the server.
    pub at: Time,
    /// Which life of which server answered.
    pub boot: u64,
}

/// One entry reached a consumer.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub sub: SubKey,
    /// Tells one subscribing from the next.
    pub session: u64,
    pub position: Position,
    pub messages: Vec<Message>,
    pub redelivery: u32,
    /// Messages of the batch that are acknowledged already.
    pub absent: Vec<u32>,
    /// When it left the server.
    pub step: u64,
    /// Which life of which server sent it.
    pub boot: u64,
}

impl Delivered {
    /// Which client got it.
    pub fn client(&self) -> u64 {
        self.session >> 32
    }
}

/// A client let an entry go: it sent an acknowledgement or gave it back.
#[derive(Clone, Debug)]
pub struct Released {
    pub client: u64,
    pub position: Position,
    /// When the client said so.
    pub step: u64,
}

/// A client holds nothing any more: its connection ended, or the server closed its consumer.
#[derive(Clone, Debug)]
pub struct Ended {
    pub client: u64,
    /// The subscription whose consumers the server closed.
    pub closed: Option<SubKey>,
    pub step: u64,
}

/// A subscription was asked to go back.
#[derive(Clone, Debug)]
pub struct Seek {
    pub sub: SubKey,
    pub to: Position,
    /// The oldest entry that was not acknowledged, or the newest one seen: it cannot be trimmed.
    pub kept: Position,
    /// When the answer left the server; `None`: there was none, and nobody knows.
    pub step: Option<u64>,
}

/// Acknowledgements that were answered.
#[derive(Clone, Debug)]
pub struct AckAnswered {
    pub sub: SubKey,
    pub positions: Vec<Position>,
    /// Single messages of batches.
    pub parts: Vec<(Position, u32)>,
    /// When the answer left the server.
    pub step: u64,
    /// Which life of which server answered.
    pub boot: u64,
}

/// A server began to open a topic's log: what it then does for the topic rests on what was durable at that moment.
#[derive(Clone, Debug)]
pub struct Opened {
    pub region: usize,
    pub topic: String,
    /// Which life of which server opens it, and as whom.
    pub boot: u64,
    pub owner: OwnerId,
    pub step: u64,
}

/// One start of a node of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub node: NodeId,
    pub incarnation: u64,
}

/// Whom the metadata names as a bundle's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    pub life: Life,
    pub epoch: u64,
}

/// Who serves a bundle was changed in a region's metadata.
#[derive(Clone, Debug)]
pub struct OwnerChanged {
    pub region: usize,
    pub bundle: String,
    /// Who asked for the change.
    pub by: Life,
    pub before: Option<Owned>,
    pub after: Option<Owned>,
    /// The new owner's node counted as alive, in this incarnation.
    pub alive: Option<u64>,
    pub step: u64,
}

/// The record of a topic's log was changed in a region's metadata.
#[derive(Clone, Debug)]
pub struct LogChanged {
    pub region: usize,
    pub topic: String,
    /// Who asked for the change.
    pub by: Life,
    /// Whom the metadata named as the owner of the topic's bundle just then.
    pub owner: Option<Life>,
    pub step: u64,
}

/// Everything that clients saw in a run, which server opened which topic when, and what became of owners and logs in the
/// metadata of regions with several nodes.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub regions: usize,
    pub opened: Vec<Opened>,
    pub owner_changes: Vec<OwnerChanged>,
    pub log_changes: Vec<LogChanged>,
    pub producers: Vec<ProducerPlan>,
    /// Subscriptions that read everything.
    pub subs: Vec<SubKey>,
    pub sent: Vec<Sent>,
    pub acked: Vec<Acked>,
    pub delivered: Vec<Delivered>,
    pub answered: Vec<AckAnswered>,
    pub released: Vec<Released>,
    pub ended: Vec<Ended>,
    pub seeks: Vec<Seek>,
    /// Messages per second that the producers of one region may publish together.
    pub quota: Option<u32>,
    /// Region → what the clock of its one node gains, which measures the quota; nothing: it shows the true time.
    pub quota_clocks: Vec<Gain>,
    /// Longest time between a publish's admission and its answer.
    pub answer_delay: Time,
    /// Messages of one charge.
    pub charge_max: u64,
    /// After this step everything was read once more from the beginning, when there was such a time.
    pub read_back: Option<u64>,
    /// The run came to its end: everything was delivered and acknowledged in time.
    pub unfinished: Option<String>,
}

/// The name of the subscription that seeks.
pub const SEEKER: &str = "seeker";
/// The name of the subscription that stands for the content of a topic.
pub const AUDIT: &str = "audit";
