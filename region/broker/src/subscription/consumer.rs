//! One connected consumer: who it is, its permits, what it was sent.

use crate::io::ConnId;
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
