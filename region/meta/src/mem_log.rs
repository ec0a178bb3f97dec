//! What the log file says, in memory: the vote, the entries that are not purged, and the marks.
//!
//! **What**  Applies the same records in the same order while the node runs and when it starts, so that what a start
//! finds is what the node knew.
//!
//! **Invariants**
//! - I1  entries have consecutive indexes.
//! - I2  no entry is at or below the purge mark, and the purge mark only grows.
//!
//! **Not here**  Files (`wal`), openraft's traits (`log_store`).
//!
//! **Tests**  `log_store/tests.rs`.

use crate::raft_types::{Entry, LogId, Vote};
use crate::wal::LogRecord;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

/// The log's state.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MemLog {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    entries: BTreeMap<u64, StoredEntry>,
    /// Bytes that the entries take in the file.
    live_bytes: u64,
}

#[derive(Clone, Debug, PartialEq)]
struct StoredEntry {
    entry: Entry,
    bytes: u64,
}

/// A record that cannot follow the ones before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct OutOfPlace(String);

impl MemLog {
    /// Applies one record; `bytes` is what it takes in the file.
    ///
    /// # Errors
    /// [`OutOfPlace`] when it would leave a hole; the state is unchanged then.
    pub(crate) fn apply(&mut self, record: LogRecord, bytes: u64) -> Result<(), OutOfPlace> {
        match record {
            LogRecord::Vote(vote) => self.vote = Some(vote),
            LogRecord::Committed(log_id) => self.committed = log_id,
            LogRecord::Purged(upto) => self.purge(upto),
            LogRecord::Truncate(since) => self.truncate(since.index),
            LogRecord::Entry(entry) => self.push(entry, bytes)?,
        }
        Ok(())
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.vote
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.committed
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// The last entry, or the purge mark when there is none.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, stored)| stored.entry.log_id).or(self.purged)
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    pub(crate) fn range(&self, range: impl RangeBounds<u64>) -> Vec<Entry> {
        if is_inverted(&range) {
            return Vec::new();
        }
        self.entries.range(range).map(|(_, stored)| stored.entry.clone()).collect()
    }

    /// Entries of `start..end` whose bytes stay within `bytes_max`, at least one when there is one.
    pub(crate) fn range_limited(&self, start: u64, end: u64, bytes_max: u64) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        if start >= end {
            return entries;
        }
        for stored in self.entries.range(start..end).map(|(_, stored)| stored) {
            bytes += stored.bytes;
            if bytes > bytes_max && !entries.is_empty() {
                break;
            }
            entries.push(stored.entry.clone());
        }
        entries
    }

    /// The fewest records that say the same as this state.
    pub(crate) fn to_records(&self) -> Vec<LogRecord> {
        let vote = self.vote.map(LogRecord::Vote);
        let purged = self.purged.map(LogRecord::Purged);
        let committed = self.committed.map(|log_id| LogRecord::Committed(Some(log_id)));
        let entries = self.entries.values().map(|stored| LogRecord::Entry(stored.entry.clone()));
        vote.into_iter().chain(purged).chain(committed).chain(entries).collect()
    }

    fn purge(&mut self, upto: LogId) {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return; // MemLog I2: a purge that arrives late changes nothing.
        }
        self.purged = Some(upto);
        while let Some(first) = self.entries.first_entry().filter(|first| *first.key() <= upto.index) {
            self.live_bytes -= first.remove().bytes;
        }
        assert!(
            self.entries.first_key_value().is_none_or(|(index, _)| *index == upto.index + 1),
            "MemLog I2: what is left starts behind the purge mark"
        );
    }

    fn truncate(&mut self, since: u64) {
        let removed = self.entries.split_off(&since);
        self.live_bytes -= removed.values().map(|stored| stored.bytes).sum::<u64>();
    }

    fn push(&mut self, entry: Entry, bytes: u64) -> Result<(), OutOfPlace> {
        let index = entry.log_id.index;
        if self.purged.is_some_and(|purged| index <= purged.index) {
            return Ok(()); // MemLog I2: a snapshot holds it already.
        }
        let fits = match (self.entries.last_key_value(), self.purged) {
            (Some((last, _)), _) => index == last + 1,
            (None, Some(purged)) => index == purged.index + 1,
            (None, None) => true,
        };
        if !fits {
            let last = self.last().map_or_else(|| "none".to_owned(), |last| last.index.to_string());
            return Err(OutOfPlace(format!("entry {index} does not follow the last entry, {last}")));
        }
        self.live_bytes += bytes;
        let before = self.entries.insert(index, StoredEntry { entry, bytes });
        assert!(before.is_none(), "MemLog I1: an index is used once");
        Ok(())
    }
}

/// `BTreeMap::range` panics on these, and a reader may ask for them.
fn is_inverted(range: &impl RangeBounds<u64>) -> bool {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    match range.end_bound() {
        Bound::Included(end) => start > *end,
        Bound::Excluded(end) => start >= *end,
        Bound::Unbounded => false,
    }
}
