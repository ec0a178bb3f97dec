//! What a topic remembers of each producer name so that a sequence id is stored at most once.
//!
//! **What**  Per producer name the highest sequence id handed to the log and the highest that is durable. Everything here
//! is derived from the log itself: [`Dedup::observe`] is called for each entry that is replayed or becomes durable.
//!
//! **Invariants**
//! - I1  `persisted ≤ pushed`, both only grow until [`Dedup::forget_unpersisted`].
//! - I2  a sequence id at or below `persisted` was stored; one between the two is under way.
//! - I3  chunks of one message share a sequence id; only the last chunk moves the numbers, the others move the chunk id.
//! - I4  at most [`PRODUCERS_MAX`] names are remembered; the one idle for the longest is forgotten first.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Producer names remembered per topic.
const PRODUCERS_MAX: usize = 10_000;

/// The part of a message that deduplication looks at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequence<'a> {
    pub producer: &'a str,
    /// The highest sequence id of the batch, or the message's own.
    pub highest: u64,
    pub chunk: Option<Chunk<'a>>,
}

/// A piece of a chunked message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'a> {
    pub uuid: &'a str,
    pub id: i32,
    pub count: i32,
}

impl Chunk<'_> {
    fn is_last(&self) -> bool {
        self.id + 1 >= self.count
    }
}

/// Whether a message is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DedupVerdict {
    New,
    /// Stored already, or being stored by a publish that is under way before this one.
    Duplicate,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ProducerState {
    pushed: Option<u64>,
    persisted: Option<u64>,
    /// Unfinished chunked message: uuid and highest chunk id seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunk: Option<(String, i32)>,
    /// Number of the entry that touched it last, for I4.
    touched: u64,
}

/// The deduplication state of one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dedup {
    producers: BTreeMap<String, ProducerState>,
    clock: u64,
}

impl Dedup {
    /// Decides about a message and, when it is new, remembers it as under way.
    pub(crate) fn push(&mut self, sequence: Sequence<'_>) -> DedupVerdict {
        let state = self.touch(sequence.producer);
        if state.pushed.is_some_and(|pushed| sequence.highest <= pushed) {
            return DedupVerdict::Duplicate;
        }
        if let Some(chunk) = sequence.chunk
            && !chunk.is_last()
        {
            let seen = state.chunk.as_ref().is_some_and(|(uuid, id)| uuid == chunk.uuid && chunk.id <= *id);
            if seen {
                return DedupVerdict::Duplicate;
            }
            state.chunk = Some((chunk.uuid.to_owned(), chunk.id));
            return DedupVerdict::New;
        }
        state.pushed = Some(sequence.highest);
        state.chunk = None;
        DedupVerdict::New
    }

    /// An entry is durable (just now, or found while replaying the log).
    pub(crate) fn observe(&mut self, sequence: Sequence<'_>) {
        let state = self.touch(sequence.producer);
        if let Some(chunk) = sequence.chunk
            && !chunk.is_last()
        {
            if state.pushed.is_none_or(|pushed| sequence.highest > pushed) {
                let ahead = state.chunk.as_ref().is_some_and(|(uuid, id)| uuid == chunk.uuid && *id >= chunk.id);
                if !ahead {
                    state.chunk = Some((chunk.uuid.to_owned(), chunk.id));
                }
            }
            return;
        }
        state.persisted = state.persisted.max(Some(sequence.highest));
        state.pushed = state.pushed.max(state.persisted);
        assert!(state.persisted <= state.pushed, "Dedup I1: persisted <= pushed");
    }

    /// The highest durable sequence id of a producer name.
    pub(crate) fn last_persisted(&self, producer: &str) -> Option<u64> {
        self.producers.get(producer).and_then(|state| state.persisted)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// The log was given up with adds of unknown outcome: only what is durable counts (the log is replayed next).
    pub(crate) fn forget_unpersisted(&mut self) {
        for state in self.producers.values_mut() {
            state.pushed = state.persisted;
            state.chunk = None;
        }
    }

    fn touch(&mut self, producer: &str) -> &mut ProducerState {
        self.clock += 1;
        if !self.producers.contains_key(producer) && self.producers.len() >= PRODUCERS_MAX {
            let oldest = self.producers.iter().min_by_key(|(_, state)| state.touched).map(|(name, _)| name.clone());
            if let Some(name) = oldest {
                self.producers.remove(&name);
            }
        }
        let clock = self.clock;
        let state = self.producers.entry(producer.to_owned()).or_default();
        state.touched = clock;
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(highest: u64) -> Sequence<'static> {
        Sequence { producer: "p", highest, chunk: None }
    }

    fn chunk(highest: u64, id: i32) -> Sequence<'static> {
        Sequence { producer: "p", highest, chunk: Some(Chunk { uuid: "p-1", id, count: 3 }) }
    }

    #[test]
    fn a_sequence_id_is_new_once() {
        let mut dedup = Dedup::default();
        assert_eq!(dedup.push(message(0)), DedupVerdict::New);
        assert_eq!(dedup.push(message(0)), DedupVerdict::Duplicate);
        dedup.observe(message(0));
        assert_eq!(dedup.last_persisted("p"), Some(0));
        assert_eq!(dedup.push(message(5)), DedupVerdict::New);
        dedup.forget_unpersisted();
        assert_eq!(dedup.push(message(5)), DedupVerdict::New, "an add that was lost may be sent again");
    }

    #[test]
    fn chunks_of_one_message_pass_once_each() {
        let mut dedup = Dedup::default();
        for id in 0..3 {
            assert_eq!(dedup.push(chunk(7, id)), DedupVerdict::New, "chunk {id}");
            dedup.observe(chunk(7, id));
        }
        for id in 0..3 {
            assert_eq!(dedup.push(chunk(7, id)), DedupVerdict::Duplicate, "chunk {id} again");
        }
        assert_eq!(dedup.last_persisted("p"), Some(7));
    }

    #[test]
    fn replaying_the_log_gives_the_same_answers() {
        let (mut live, mut replayed) = (Dedup::default(), Dedup::default());
        for seq in [message(3), chunk(4, 0), chunk(4, 1)] {
            live.push(seq);
            live.observe(seq);
            replayed.observe(seq);
        }
        assert_eq!(replayed.push(chunk(4, 1)), DedupVerdict::Duplicate);
        assert_eq!(replayed.push(chunk(4, 2)), DedupVerdict::New);
        assert_eq!(live.push(message(3)), replayed.push(message(3)));
    }
}
