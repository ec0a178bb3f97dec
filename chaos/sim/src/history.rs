//! What clients saw, for the checkers to judge.
//!
//! **What**  Plain records. `step` counts what happened in the whole world: of two records the one with the smaller step left
//! its server earlier.

use crate::queue::Time;
use base::Position;

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
    /// Which life of the server answered.
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
    /// When it left the server.
    pub step: u64,
}

/// Acknowledgements that were answered.
#[derive(Clone, Debug)]
pub struct AckAnswered {
    pub sub: SubKey,
    pub positions: Vec<Position>,
    /// When the answer left the server.
    pub step: u64,
}

/// Everything that clients saw in a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    pub regions: usize,
    pub producers: Vec<ProducerPlan>,
    /// Subscriptions that read everything.
    pub subs: Vec<SubKey>,
    pub sent: Vec<Sent>,
    pub acked: Vec<Acked>,
    pub delivered: Vec<Delivered>,
    pub answered: Vec<AckAnswered>,
    /// Messages per second that the producers of one region may publish together.
    pub quota: Option<u32>,
    /// Longest time between a publish's admission and its answer.
    pub answer_delay: Time,
    /// Messages of one charge.
    pub charge_max: u64,
    /// The run came to its end: everything was delivered and acknowledged in time.
    pub unfinished: Option<String>,
}

/// The name of the subscription that stands for the content of a topic.
pub const AUDIT: &str = "audit";
