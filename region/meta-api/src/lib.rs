//! The versioned key-value store that the rest of a region sees: compare-and-put, range read, watch.
//!
//! **What**  Requests, responses and events as plain data, and [`MetaState`], the pure state machine behind every
//! implementation (openraft in `meta`, the ideal and the flaky store in `sim`).
//!
//! **Invariants**  I1–I4 of [`MetaState`]; every implementation of the store keeps them, and adds:
//! - a read is linearizable: it sees every write that was answered before the read was asked;
//! - a write is durable before it is answered with anything but [`MetaResponse::Unavailable`].
//!
//! **Not here**  Replication, durability and watch queues (`meta`), the layout of keys (`tenancy::keys`).
//!
//! **Tests**  `state/tests.rs` against a reference model, `codec/tests.rs` with golden bytes.

mod codec;
mod limits;
mod snapshot;
mod state;

pub use codec::DecodeError;
pub use limits::{
    COMPARES_MAX, KEY_BYTES_MAX, RANGE_BYTES_MAX, RANGE_ITEMS_MAX, STATE_BYTES_MAX, VALUE_BYTES_MAX, WRITES_BYTES_MAX,
    WRITES_MAX,
};
pub use snapshot::SnapshotError;
pub use state::MetaState;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A value and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned {
    pub value: Bytes,
    pub version: u64,
}

/// A condition of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compare {
    /// The key does not exist.
    Absent { key: String },
    /// The key's version is exactly this.
    Version { key: String, version: u64 },
    /// The key exists, whatever its version.
    Exists { key: String },
    /// No key starts with this prefix.
    NoneWithPrefix { prefix: String },
}

/// A write of a transaction. Writes of one transaction apply in the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    Put {
        key: String,
        value: Bytes,
    },
    /// Deleting an absent key is no error and makes no event.
    Delete {
        key: String,
    },
}

/// A request to the store. Reads are linearizable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaRequest {
    Get {
        key: String,
    },
    /// Keys that start with `prefix` and sort after `after` (when given), in order, at most `limit`. The store may
    /// answer fewer ([`RANGE_ITEMS_MAX`], [`RANGE_BYTES_MAX`]) and then says `more`.
    Range {
        prefix: String,
        after: Option<String>,
        limit: u32,
    },
    /// All writes if every condition holds, else none. Without writes it is a check and takes no revision.
    Txn {
        compare: Vec<Compare>,
        writes: Vec<Write>,
    },
    /// Adds `by` to a decimal counter (absent counts as 0) and answers the value before: a block of fresh numbers.
    Reserve {
        key: String,
        by: u64,
    },
}

impl MetaRequest {
    /// Whether the request may change the state, and therefore has to be replicated and made durable.
    pub fn is_write(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Range { .. } => false,
            Self::Txn { .. } | Self::Reserve { .. } => true,
        }
    }

    /// Why the store would refuse the request whatever its state, so that it need not be replicated to learn it.
    pub fn refusal(&self) -> Option<String> {
        limits::check_limits(self)
    }
}

/// An answer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaResponse {
    Value(Option<Versioned>),
    Range {
        items: Vec<(String, Versioned)>,
        more: bool,
    },
    /// The transaction's writes are durable; every written key now has this version.
    Committed {
        revision: u64,
    },
    /// Condition `index` did not hold; `actual` is what stands under its key (for a prefix: under the first such key).
    Conflict {
        index: u32,
        actual: Option<Versioned>,
    },
    Reserved {
        first: u64,
    },
    /// The request itself breaks a limit or a rule: nothing was changed, and the same request will be refused again.
    Refused {
        reason: String,
    },
    /// No answer could be had: for a write the outcome is unknown.
    Unavailable {
        reason: String,
    },
}

/// One change that a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaEvent {
    pub revision: u64,
    pub key: String,
    /// `None`: deleted.
    pub value: Option<Bytes>,
}
