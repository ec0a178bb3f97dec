//! One connected consumer: who it is, its permits, what it was sent.

use super::meters::ConsumerMeters;
use crate::io::ConnId;
use base::Position;
use bytes::BytesMut;
use std::collections::BTreeMap;

pub use wire::pulsar::command_subscribe::SubType;

/// Names a consumer: its connection and the id that the client chose on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerKey {
    pub conn: ConnId,
    pub consumer_id: u64,
}

/// Everything that a consumer brings when it subscribes.
#[derive(Clone, Debug)]
pub struct ConsumerSpec {
    pub key: ConsumerKey,
    pub name: String,
    /// Of the Subscribe command.
    pub request_id: u64,
    pub sub_type: SubType,
    /// 0 is served first.
    pub priority_level: i32,
    /// Only looked at for Key_Shared, where `None` means [`KeySharedSpec::default`].
    pub key_shared: Option<KeySharedSpec>,
    /// As the client gave it; echoed in its messages.
    pub epoch: Option<u64>,
    pub metadata: BTreeMap<String, String>,
    /// `ip:port` of the peer.
    pub address: String,
    pub client_version: String,
    /// Unix milliseconds.
    pub connected_since_ms: u64,
    pub protocol_version: i32,
}

/// How a Key_Shared consumer wants its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySharedSpec {
    pub mode: KeySharedMode,
    pub order: KeyOrder,
}

/// Who decides which hashes a consumer serves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySharedMode {
    /// The broker splits the slots among the consumers.
    #[default]
    AutoSplit,
    /// The consumer names its slots, as inclusive `(start, end)` of 0–65535, exactly as the client sent them.
    Sticky(Vec<(i32, i32)>),
}

/// Whether a key stays in order when its consumer changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyOrder {
    /// A key's next message waits until the former owner has acknowledged or lost the earlier ones.
    #[default]
    Kept,
    /// `allowOutOfOrderDelivery`.
    Waived,
}

/// Permits that one consumer may hold; more is an error of its client.
pub(super) const PERMITS_MAX: i64 = i32::MAX as i64;

/// A connected consumer.
#[derive(Debug)]
pub(super) struct Consumer {
    pub spec: ConsumerSpec,
    /// Messages it may be sent. Negative by less than one batch after a batch took more than was left.
    pub permits: i64,
    pub meters: ConsumerMeters,
    /// Whether it heard that the topic ended.
    pub end_told: bool,
    /// Consumers of a subscription are numbered in the order in which they connect.
    pub joined: u64,
    /// Where the subscription read when the consumer connected.
    pub read_from: Position,
}

/// All consumers of a subscription.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    members: BTreeMap<ConsumerKey, Consumer>,
    joined: u64,
    /// Where the beginnings of MESSAGE frames are written.
    pub frames: BytesMut,
}

impl Consumers {
    pub(super) fn insert(&mut self, spec: ConsumerSpec, read_from: Position) {
        self.joined += 1;
        let (key, joined) = (spec.key, self.joined);
        let meters = ConsumerMeters::default();
        let consumer = Consumer { spec, permits: 0, meters, end_told: false, joined, read_from };
        self.members.insert(key, consumer);
    }

    pub(super) fn remove(&mut self, key: ConsumerKey) -> Option<Consumer> {
        let consumer = self.members.remove(&key);
        if self.members.is_empty() {
            self.frames = BytesMut::new();
        }
        consumer
    }

    pub(super) fn get(&self, key: ConsumerKey) -> Option<&Consumer> {
        self.members.get(&key)
    }

    pub(super) fn get_mut(&mut self, key: ConsumerKey) -> Option<&mut Consumer> {
        self.members.get_mut(&key)
    }

    pub(super) fn contains(&self, key: ConsumerKey) -> bool {
        self.members.contains_key(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Consumer> + '_ {
        self.members.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Consumer> + '_ {
        self.members.values_mut()
    }

    pub(super) fn keys(&self) -> Vec<ConsumerKey> {
        self.members.keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
}
