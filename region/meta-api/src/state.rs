//! The pure state machine of the metadata store.
//!
//! **What**  A sorted map of keys to versioned values. [`MetaState::apply`] is a function of the state and the request
//! alone, so every copy that applies the same requests in the same order is the same, byte for byte.
//!
//! **States**  None: every request is applied at once.
//!
//! **Invariants**
//! - I1  a transaction applies wholly or not at all.
//! - I2  a key's version is the revision of its last put; revisions grow by one per committed transaction with writes.
//! - I3  events of one revision leave together, in the order of the writes, and none is left out.
//! - I4  `bytes` is the sum of the lengths of all keys and values.
//!
//! **Not here**  Who decides the order of requests (`meta`), watch queues, durability.
//!
//! **Tests**  `state/tests.rs`: every request against a reference model; `chaos/sim` runs the region on it.

use crate::limits::{RANGE_BYTES_MAX, RANGE_ITEMS_MAX, STATE_BYTES_MAX, check_limits, put_bytes};
use crate::{Compare, MetaEvent, MetaRequest, MetaResponse, Versioned, Write};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;

/// All keys with their values and versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaState {
    pub(crate) items: BTreeMap<String, Versioned>,
    pub(crate) revision: u64,
    pub(crate) bytes: u64,
}

impl MetaState {
    /// An empty store at revision 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one request. Events are empty unless the answer is `Committed` or `Reserved`. Never answers `Unavailable`.
    pub fn apply(&mut self, request: &MetaRequest) -> (MetaResponse, Vec<MetaEvent>) {
        if let Some(reason) = check_limits(request) {
            return (MetaResponse::Refused { reason }, Vec::new());
        }
        let revision_before = self.revision;
        let (response, events) = match request {
            MetaRequest::Get { key } => (self.read_key(key), Vec::new()),
            MetaRequest::Range { prefix, after, limit } => {
                (self.read_range(prefix, after.as_deref(), *limit), Vec::new())
            }
            MetaRequest::Txn { compare, writes } => self.apply_txn(compare, writes),
            MetaRequest::Reserve { key, by } => self.apply_reserve(key, *by),
        };
        let committed = matches!(response, MetaResponse::Committed { .. } | MetaResponse::Reserved { .. });
        assert!(
            committed || (self.revision == revision_before && events.is_empty()),
            "MetaState I1: a transaction applies wholly or not at all"
        );
        (response, events)
    }

    /// Answers a read; `None` for a request that is a write.
    pub fn read(&self, request: &MetaRequest) -> Option<MetaResponse> {
        if let (false, Some(reason)) = (request.is_write(), check_limits(request)) {
            return Some(MetaResponse::Refused { reason });
        }
        match request {
            MetaRequest::Txn { .. } | MetaRequest::Reserve { .. } => None,
            MetaRequest::Get { key } => Some(self.read_key(key)),
            MetaRequest::Range { prefix, after, limit } => Some(self.read_range(prefix, after.as_deref(), *limit)),
        }
    }

    pub fn get(&self, key: &str) -> Option<&Versioned> {
        self.items.get(key)
    }

    /// Keys that start with `prefix`, in order.
    pub fn iter_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Versioned)> {
        self.iter_from(prefix, Bound::Included(prefix))
    }

    /// The revision of the last committed transaction; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of all keys and values together.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn iter_from<'a>(
        &'a self,
        prefix: &'a str,
        start: Bound<&'a str>,
    ) -> impl Iterator<Item = (&'a str, &'a Versioned)> {
        let range = self.items.range::<str, _>((start, Bound::Unbounded));
        range.take_while(move |(key, _)| key.starts_with(prefix)).map(|(key, item)| (key.as_str(), item))
    }

    fn read_key(&self, key: &str) -> MetaResponse {
        MetaResponse::Value(self.items.get(key).cloned())
    }

    fn read_range(&self, prefix: &str, after: Option<&str>, limit: u32) -> MetaResponse {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let items_max = usize::try_from(limit).unwrap_or(RANGE_ITEMS_MAX).min(RANGE_ITEMS_MAX);
        let (mut items, mut bytes) = (Vec::new(), 0usize);
        for (key, item) in self.iter_from(prefix, start) {
            bytes = bytes.saturating_add(key.len() + item.value.len());
            if items.len() >= items_max || (bytes > RANGE_BYTES_MAX && !items.is_empty()) {
                return MetaResponse::Range { items, more: true };
            }
            items.push((key.to_owned(), item.clone()));
        }
        MetaResponse::Range { items, more: false }
    }

    fn apply_txn(&mut self, compare: &[Compare], writes: &[Write]) -> (MetaResponse, Vec<MetaEvent>) {
        for (index, condition) in compare.iter().enumerate() {
            if let Err(actual) = self.check_condition(condition) {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                return (MetaResponse::Conflict { index, actual }, Vec::new());
            }
        }
        match self.commit(writes) {
            Ok(events) => (MetaResponse::Committed { revision: self.revision }, events),
            Err(reason) => (MetaResponse::Refused { reason }, Vec::new()),
        }
    }

    /// `Err` with what stands in the way.
    fn check_condition(&self, condition: &Compare) -> Result<(), Option<Versioned>> {
        match condition {
            Compare::Absent { key } => self.items.get(key).map_or(Ok(()), |item| Err(Some(item.clone()))),
            Compare::Version { key, version } => match self.items.get(key) {
                Some(item) if item.version == *version => Ok(()),
                other => Err(other.cloned()),
            },
            Compare::Exists { key } => self.items.get(key).map(|_| ()).ok_or(None),
            Compare::NoneWithPrefix { prefix } => {
                self.iter_prefix(prefix).next().map_or(Ok(()), |(_, item)| Err(Some(item.clone())))
            }
        }
    }

    fn apply_reserve(&mut self, key: &str, by: u64) -> (MetaResponse, Vec<MetaEvent>) {
        let outcome = counter_value(self.items.get(key)).and_then(|first| {
            let next = first.checked_add(by)?;
            Some((first, Bytes::from(next.to_string())))
        });
        let Some((first, value)) = outcome else {
            let reason = format!("key {key} holds no decimal counter that {by} can be added to");
            return (MetaResponse::Refused { reason }, Vec::new());
        };
        match self.commit(&[Write::Put { key: key.to_owned(), value }]) {
            Ok(events) => (MetaResponse::Reserved { first }, events),
            Err(reason) => (MetaResponse::Refused { reason }, Vec::new()),
        }
    }

    /// Takes the next revision and applies all writes with it, or refuses them all (I1).
    fn commit(&mut self, writes: &[Write]) -> Result<Vec<MetaEvent>, String> {
        let added = u64::try_from(put_bytes(writes)).unwrap_or(u64::MAX);
        if added > 0 && self.bytes.saturating_add(added) > STATE_BYTES_MAX {
            return Err(format!("the metadata store is full: its limit is {STATE_BYTES_MAX} bytes, delete something"));
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        self.revision += 1;
        let mut events = Vec::with_capacity(writes.len());
        for write in writes {
            match write {
                Write::Put { key, value } => self.put(key, value, &mut events),
                Write::Delete { key } => self.delete(key, &mut events),
            }
        }
        assert!(
            events.iter().all(|event| event.revision == self.revision),
            "MetaState I3: events of one revision leave together"
        );
        Ok(events)
    }

    fn put(&mut self, key: &str, value: &Bytes, events: &mut Vec<MetaEvent>) {
        // A copy of its own: the request's bytes may be a slice of a much larger log record, which it would pin.
        let value = Bytes::copy_from_slice(value);
        let item = Versioned { value: value.clone(), version: self.revision };
        let old = self.items.insert(key.to_owned(), item);
        assert!(
            old.as_ref().is_none_or(|old| old.version <= self.revision),
            "MetaState I2: the version of a key never goes back"
        );
        let freed = old.map_or(0, |old| len_u64(key.len() + old.value.len()));
        self.bytes += len_u64(key.len() + value.len());
        assert!(self.bytes >= freed, "MetaState I4: bytes is the sum of all keys and values");
        self.bytes -= freed;
        events.push(MetaEvent { revision: self.revision, key: key.to_owned(), value: Some(value) });
    }

    fn delete(&mut self, key: &str, events: &mut Vec<MetaEvent>) {
        let Some(old) = self.items.remove(key) else { return };
        let freed = len_u64(key.len() + old.value.len());
        assert!(self.bytes >= freed, "MetaState I4: bytes is the sum of all keys and values");
        self.bytes -= freed;
        events.push(MetaEvent { revision: self.revision, key: key.to_owned(), value: None });
    }
}

fn len_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// The counter under a key: 0 when absent, `None` when the value is no decimal number.
fn counter_value(item: Option<&Versioned>) -> Option<u64> {
    match item {
        None => Some(0),
        Some(item) => std::str::from_utf8(&item.value).ok()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests;
