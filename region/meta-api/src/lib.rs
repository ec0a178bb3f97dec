//! The versioned key-value store that the rest of a region sees: compare-and-put, range read, watch.
//!
//! **What**  Requests, responses and events as plain data, and [`MetaState`], the pure state machine behind every
//! implementation (openraft in `meta`, the ideal and the flaky store in `sim`).
//!
//! **Invariants**
//! - I1  a transaction applies wholly or not at all.
//! - I2  a key's version is the revision of its last put; revisions grow by one per committed transaction.
//! - I3  events of one revision are delivered together, revisions in order, none left out.

mod state;

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

/// A write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    Put { key: String, value: Bytes },
    Delete { key: String },
}

/// A request to the store. Reads are linearizable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaRequest {
    Get { key: String },
    /// Keys that start with `prefix` and sort after `after` (when given), in order, at most `limit`.
    Range { prefix: String, after: Option<String>, limit: u32 },
    /// All writes if every condition holds, else none.
    Txn { compare: Vec<Compare>, writes: Vec<Write> },
    /// Adds `by` to a decimal counter (absent counts as 0) and answers the value before: a block of fresh numbers.
    Reserve { key: String, by: u64 },
}

/// An answer of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetaResponse {
    Value(Option<Versioned>),
    Range { items: Vec<(String, Versioned)>, more: bool },
    /// The transaction's writes are durable; every written key now has this version.
    Committed { revision: u64 },
    /// Condition `index` did not hold; `actual` is what stands under its key.
    Conflict { index: u32, actual: Option<Versioned> },
    Reserved { first: u64 },
    /// No answer could be had: for a write the outcome is unknown.
    Unavailable { reason: String },
}

/// One change that a watcher sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaEvent {
    pub revision: u64,
    pub key: String,
    /// `None`: deleted.
    pub value: Option<Bytes>,
}
