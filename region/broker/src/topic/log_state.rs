//! Everything a topic derives from its own log: message numbering, the last message, deduplication, origin watermarks.
//!
//! **What**  Each entry is observed once, in log order: when it becomes durable, or while the log is replayed on open from
//! the last checkpoint. So this state can never disagree with the log (architecture.md §5 step 3).
//!
//! **Invariants**
//! - I1  entries are observed in position order, none twice.
//! - I2  a checkpoint covers exactly the entries up to `observed`.
//!
//! **Tests**  `tests.rs` beside this file; `chaos/sim` restarts brokers between any two effects.

use crate::topic::dedup::{Chunk, Dedup, Sequence};
use base::Position;
use bytes::Bytes;
use link::OriginTracker;
use managed::Entry;
use serde::{Deserialize, Serialize};
use wire::payload::PayloadHints;
use wire::stored::StoredHead;

/// The newest durable entry, for last-message-id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LastEntry {
    pub position: Position,
    /// Index of the last message of a batch, −1 when the entry is no batch.
    pub batch_index: i32,
    pub publish_time_ms: u64,
}

/// State derived from the log.
#[derive(Debug)]
pub(crate) struct LogState {
    /// Number of the next message (0-based) that is durable.
    pub next_index: u64,
    pub last: Option<LastEntry>,
    pub dedup: Dedup,
    pub origins: OriginTracker,
    observed: Position,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u8,
    next_index: u64,
    dedup: Dedup,
    origins: Vec<u8>,
}

const FORMAT: u8 = 1;

impl LogState {
    pub(crate) fn new() -> Self {
        Self {
            next_index: 0,
            last: None,
            dedup: Dedup::default(),
            origins: OriginTracker::new(),
            observed: Position::EARLIEST,
        }
    }

    /// The state a checkpoint holds; `None` when its bytes are not ours.
    pub(crate) fn restore(position: Position, bytes: &[u8]) -> Option<Self> {
        let saved: Saved = serde_json::from_slice(bytes).ok()?;
        if saved.format != FORMAT {
            return None;
        }
        Some(Self {
            next_index: saved.next_index,
            last: None,
            dedup: saved.dedup,
            origins: OriginTracker::decode(&saved.origins).ok()?,
            observed: position,
        })
    }

    /// Bytes for a checkpoint at [`LogState::observed`].
    pub(crate) fn save(&self) -> Bytes {
        let mut dedup = self.dedup.clone();
        dedup.forget_unpersisted();
        let saved = Saved { format: FORMAT, next_index: self.next_index, dedup, origins: self.origins.encode() };
        // Strings, numbers and byte lists always serialise.
        Bytes::from(serde_json::to_vec(&saved).unwrap_or_default())
    }

    /// Everything up to and including this position is in the state.
    pub(crate) fn observed(&self) -> Position {
        self.observed
    }

    /// Whether there is anything worth a checkpoint: what a replay could not find again once the log is trimmed.
    pub(crate) fn needs_checkpoint(&self) -> bool {
        !self.dedup.is_empty() || self.origins.iter().next().is_some()
    }

    /// Takes in one durable entry. `track_dedup`: whether producer names are remembered.
    pub(crate) fn observe(&mut self, entry: &Entry, head: &StoredHead, hints: &PayloadHints, track: Track) {
        assert!(entry.position > self.observed, "LogState I1: {} after {}", entry.position, self.observed);
        self.observed = entry.position;
        self.next_index = head.index + 1;
        self.last = Some(last_entry(entry.position, hints));
        match (head.origin, track) {
            (Some(origin), _) => self.origins.observe(origin),
            (None, Track::Producers) => self.dedup.observe(sequence_of(hints)),
            (None, Track::Nothing) => (),
        }
    }

    /// Takes in an entry that this broker just stored; its head and hints are known from the publish.
    pub(crate) fn observe_stored(&mut self, position: Position, stored: &StoredNow<'_>) {
        assert!(position > self.observed, "LogState I1: {position} after {}", self.observed);
        self.observed = position;
        self.next_index = stored.head.index + 1;
        self.last =
            Some(LastEntry { position, batch_index: stored.batch_index, publish_time_ms: stored.publish_time_ms });
        if let Some(origin) = stored.head.origin {
            self.origins.persisted(origin);
        } else if let Some(sequence) = stored.sequence {
            self.dedup.observe(sequence);
        }
    }

    /// Sets the newest entry without replaying what lies before it.
    pub(crate) fn skip_to(&mut self, entry: &Entry, head: &StoredHead, hints: &PayloadHints) {
        self.observed = entry.position;
        self.next_index = head.index + 1;
        self.last = Some(last_entry(entry.position, hints));
    }
}

/// What a publish remembers of an entry until it is durable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredNow<'a> {
    pub head: StoredHead,
    pub batch_index: i32,
    pub publish_time_ms: u64,
    /// `Some` when deduplication is on.
    pub sequence: Option<Sequence<'a>>,
}

/// Whether producer names are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Producers,
    Nothing,
}

/// Index of the last message of a batch, −1 when the entry is no batch.
pub(crate) fn batch_index(hints: &PayloadHints) -> i32 {
    if hints.is_batch { i32::try_from(hints.num_messages).unwrap_or(i32::MAX) - 1 } else { -1 }
}

/// The part of a message that deduplication looks at.
pub(crate) fn sequence_of(hints: &PayloadHints) -> Sequence<'_> {
    let chunk = hints.chunk.as_ref();
    let chunk = chunk.map(|chunk| Chunk { uuid: text(&chunk.uuid), id: chunk.id, count: chunk.count });
    let highest = hints.sequence_id.max(hints.highest_sequence_id.unwrap_or(0));
    Sequence { producer: text(&hints.producer_name), highest, chunk }
}

/// Names are compared as text; one that is not UTF-8 counts as the empty name.
fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn last_entry(position: Position, hints: &PayloadHints) -> LastEntry {
    LastEntry { position, batch_index: batch_index(hints), publish_time_ms: hints.publish_time_ms }
}
