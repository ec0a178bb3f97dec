//! The bounds of the metadata store, the same on every node: the state machine refuses what exceeds them, so they are
//! part of its replicated behaviour and must not become configuration.

use crate::{Compare, MetaRequest, Write};

/// Bytes of one key or prefix.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// Bytes of one value: a topic record that lists tens of thousands of ledgers.
pub const VALUE_BYTES_MAX: usize = 4 << 20;
/// Conditions of one transaction.
pub const COMPARES_MAX: usize = 1024;
/// Writes of one transaction.
pub const WRITES_MAX: usize = 1024;
/// Bytes of all keys and values that one transaction puts.
pub const WRITES_BYTES_MAX: usize = 8 << 20;
/// Items of one range answer.
pub const RANGE_ITEMS_MAX: usize = 10_000;
/// Bytes of keys and values of one range answer; a first item above it is still answered, so that a reader gets on.
pub const RANGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of all keys and values together. Above it puts are refused; deletes go on.
pub const STATE_BYTES_MAX: u64 = 1 << 30;

/// Why a request breaks a limit, or `None` when it keeps them all.
pub(crate) fn check_limits(request: &MetaRequest) -> Option<String> {
    match request {
        MetaRequest::Get { key } => check_key(key),
        MetaRequest::Range { prefix, after, limit: _ } => {
            check_key(prefix).or_else(|| after.as_deref().and_then(check_key))
        }
        MetaRequest::Txn { compare, writes } => check_txn(compare, writes),
        MetaRequest::Reserve { key, by: _ } => check_key(key),
    }
}

fn check_txn(compare: &[Compare], writes: &[Write]) -> Option<String> {
    if compare.len() > COMPARES_MAX {
        return Some(format!("{} conditions, a transaction takes at most {COMPARES_MAX}", compare.len()));
    }
    if writes.len() > WRITES_MAX {
        return Some(format!("{} writes, a transaction takes at most {WRITES_MAX}: split it", writes.len()));
    }
    let bytes = put_bytes(writes);
    if bytes > WRITES_BYTES_MAX {
        return Some(format!("{bytes} bytes, a transaction takes at most {WRITES_BYTES_MAX}: split it"));
    }
    let conditions = compare.iter().find_map(|c| check_key(compare_key(c)));
    conditions.or_else(|| writes.iter().find_map(check_write))
}

fn check_write(write: &Write) -> Option<String> {
    match write {
        Write::Put { key, value } if value.len() > VALUE_BYTES_MAX => {
            Some(format!("value of {key} has {} bytes, the limit is {VALUE_BYTES_MAX}", value.len()))
        }
        Write::Put { key, .. } | Write::Delete { key } => check_key(key),
    }
}

fn check_key(key: &str) -> Option<String> {
    (key.len() > KEY_BYTES_MAX).then(|| format!("key of {} bytes, the limit is {KEY_BYTES_MAX}", key.len()))
}

fn compare_key(compare: &Compare) -> &str {
    match compare {
        Compare::Absent { key } | Compare::Version { key, .. } | Compare::Exists { key } => key,
        Compare::NoneWithPrefix { prefix } => prefix,
    }
}

/// Bytes that the puts of a transaction may add at most.
pub(crate) fn put_bytes(writes: &[Write]) -> usize {
    writes.iter().fold(0usize, |sum, write| match write {
        Write::Put { key, value } => sum.saturating_add(key.len()).saturating_add(value.len()),
        Write::Delete { .. } => sum,
    })
}
