//! The topic's own metadata record: that it exists, which copy it is, its epoch, where it was terminated.
//!
//! **Invariants**
//! - I1  one write is under way at a time; what is changed meanwhile goes into the next.
//! - I2  a waiter hears of its change only after the write that holds it was committed.

use base::{OwnerId, Position, RequestId};
use bytes::Bytes;
use managed::Birth;
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Requests of the topic itself, as opposed to those of its log, carry this bit in the owner.
pub(crate) const TOPIC_OWN: u64 = 1 << 63;

/// What the metadata says about a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TopicRecord {
    pub created_ms: u64,
    /// Tells this copy of the topic from one that was deleted before; remote regions compare it.
    pub incarnation: u64,
    /// Epoch of the last exclusive producer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Last position of a terminated topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Position>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
}

impl TopicRecord {
    pub(crate) fn encode(&self) -> Bytes {
        // Numbers and strings always serialise.
        Bytes::from(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What happened to the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecordEvent {
    Loaded,
    /// The topic is new, and so is its log, whose record has this version.
    Created {
        log_version: u64,
    },
    /// A log of that name is there without its topic; nothing was created.
    LogExists,
    /// The changes up to this number are durable.
    Stored {
        change: u64,
    },
    Deleted,
    /// Somebody else changed it, or it is gone.
    Lost {
        reason: String,
    },
    Retry {
        reason: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaiting {
    Nothing,
    Read,
    /// The topic and its log at once.
    Create,
    /// The topic alone: there is a log of that name already.
    CreateAlone,
    /// A write that holds all changes up to this number.
    Write(u64),
    Delete,
}

/// Reads and writes one topic record by compare-and-put.
#[derive(Debug)]
pub(crate) struct RecordKeeper {
    key: String,
    owner: OwnerId,
    pub value: TopicRecord,
    version: Option<u64>,
    awaiting: Awaiting,
    seq: u64,
    changes: u64,
    stored: u64,
}

impl RecordKeeper {
    pub(crate) fn new(slot: OwnerId, key: String) -> Self {
        Self {
            key,
            owner: OwnerId(slot.0 | TOPIC_OWN),
            value: TopicRecord::default(),
            version: None,
            awaiting: Awaiting::Nothing,
            seq: 0,
            changes: 0,
            stored: 0,
        }
    }

    fn request(&mut self, awaiting: Awaiting, request: MetaRequest) -> (RequestId, MetaRequest) {
        self.seq += 1;
        self.awaiting = awaiting;
        (RequestId::new(self.owner, self.seq), request)
    }

    pub(crate) fn read(&mut self) -> (RequestId, MetaRequest) {
        let key = self.key.clone();
        self.request(Awaiting::Read, MetaRequest::Get { key })
    }

    /// Creates the record, and with it what `log` says, only while `namespace_key` exists.
    pub(crate) fn create(
        &mut self,
        record: TopicRecord,
        namespace_key: String,
        log: Birth,
    ) -> (RequestId, MetaRequest) {
        self.value = record;
        let (mut compare, write) = self.creation(namespace_key);
        compare.extend(log.compare);
        self.request(Awaiting::Create, MetaRequest::Txn { compare, writes: vec![write, log.write] })
    }

    /// Creates the record alone.
    pub(crate) fn create_alone(&mut self, namespace_key: String) -> (RequestId, MetaRequest) {
        let (compare, write) = self.creation(namespace_key);
        self.request(Awaiting::CreateAlone, MetaRequest::Txn { compare, writes: vec![write] })
    }

    fn creation(&self, namespace_key: String) -> (Vec<Compare>, Write) {
        let (key, value) = (self.key.clone(), self.value.encode());
        (vec![Compare::Exists { key: namespace_key }, Compare::Absent { key: key.clone() }], Write::Put { key, value })
    }

    /// The record was changed in memory; answers the number of the change and the write to send now, if none is under way.
    pub(crate) fn changed(&mut self) -> (u64, Option<(RequestId, MetaRequest)>) {
        self.changes += 1;
        let request = if self.awaiting == Awaiting::Nothing { self.write() } else { None };
        (self.changes, request)
    }

    fn write(&mut self) -> Option<(RequestId, MetaRequest)> {
        if self.stored == self.changes {
            return None;
        }
        let (key, value) = (self.key.clone(), self.value.encode());
        let compare = vec![Compare::Version { key: key.clone(), version: self.version? }];
        let change = self.changes;
        Some(
            self.request(
                Awaiting::Write(change),
                MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] },
            ),
        )
    }

    /// Deletes the record and everything that only this topic has (`more` keys).
    pub(crate) fn delete(&mut self, more: Vec<String>) -> (RequestId, MetaRequest) {
        let mut writes = vec![Write::Delete { key: self.key.clone() }];
        writes.extend(more.into_iter().map(|key| Write::Delete { key }));
        self.request(Awaiting::Delete, MetaRequest::Txn { compare: Vec::new(), writes })
    }

    /// Takes in an answer; the second part is the next write to send.
    pub(crate) fn handle_response(
        &mut self,
        id: RequestId,
        response: MetaResponse,
    ) -> Option<(RecordEvent, Option<(RequestId, MetaRequest)>)> {
        if id.seq != self.seq || self.awaiting == Awaiting::Nothing {
            return None;
        }
        let awaiting = std::mem::replace(&mut self.awaiting, Awaiting::Nothing);
        let event = match (awaiting, response) {
            (Awaiting::Nothing, _) => return None,
            (_, MetaResponse::Unavailable { reason }) => {
                RecordEvent::Retry { reason: format!("metadata is unavailable: {reason}") }
            }
            (Awaiting::Read, MetaResponse::Value(found)) => self.loaded(found),
            (Awaiting::Create, MetaResponse::Committed { revision }) => {
                self.version = Some(revision);
                RecordEvent::Created { log_version: revision }
            }
            (Awaiting::CreateAlone, MetaResponse::Committed { revision }) => {
                self.version = Some(revision);
                RecordEvent::Loaded
            }
            (Awaiting::Create | Awaiting::CreateAlone, MetaResponse::Conflict { index: 0, .. }) => {
                RecordEvent::Lost { reason: "its namespace does not exist".to_owned() }
            }
            (Awaiting::Create | Awaiting::CreateAlone, MetaResponse::Conflict { index: 1, actual }) => {
                self.loaded(actual)
            }
            (Awaiting::Create, MetaResponse::Conflict { index: 2, .. }) => RecordEvent::LogExists,
            (Awaiting::Create, MetaResponse::Conflict { .. }) => {
                RecordEvent::Retry { reason: "another node owns it now; look it up again".to_owned() }
            }
            (Awaiting::Write(change), MetaResponse::Committed { revision }) => {
                self.version = Some(revision);
                self.stored = change;
                let next = self.write();
                return Some((RecordEvent::Stored { change }, next));
            }
            (Awaiting::Delete, MetaResponse::Committed { .. }) => RecordEvent::Deleted,
            (_, other) => RecordEvent::Lost { reason: format!("its metadata record changed: {other:?}") },
        };
        Some((event, None))
    }

    fn loaded(&mut self, found: Option<meta_api::Versioned>) -> RecordEvent {
        let Some(found) = found else { return RecordEvent::Lost { reason: "it does not exist".to_owned() } };
        match serde_json::from_slice(&found.value) {
            Ok(value) => {
                self.value = value;
                self.version = Some(found.version);
                RecordEvent::Loaded
            }
            Err(error) => RecordEvent::Lost { reason: format!("its metadata record is damaged: {error}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACE: &str = "/ns/a/b";

    fn log() -> Birth {
        let key = "/ml/t".to_owned();
        let guard = Compare::Version { key: "/owner".to_owned(), version: 4 };
        let write = Write::Put { key: key.clone(), value: Bytes::from_static(b"log") };
        Birth { compare: vec![Compare::Absent { key }, guard], write }
    }

    fn creating() -> (RecordKeeper, RequestId, MetaRequest) {
        let mut keeper = RecordKeeper::new(OwnerId(3), "/topic".to_owned());
        let (id, request) = keeper.create(TopicRecord::default(), NAMESPACE.to_owned(), log());
        (keeper, id, request)
    }

    #[test]
    fn a_topic_and_its_log_are_created_by_one_transaction() {
        let (mut keeper, id, request) = creating();
        let MetaRequest::Txn { compare, writes } = request else { panic!("{request:?}") };
        assert_eq!(compare[..2], [Compare::Exists { key: NAMESPACE.into() }, Compare::Absent { key: "/topic".into() }]);
        assert_eq!(compare[2..], log().compare);
        assert_eq!(writes[1], log().write);
        let event = keeper.handle_response(id, MetaResponse::Committed { revision: 9 });
        assert_eq!(event, Some((RecordEvent::Created { log_version: 9 }, None)));
        let (_, change) = keeper.changed();
        assert!(change.is_some(), "the next change is sent at once");
    }

    #[test]
    fn each_condition_that_fails_says_what_comes_next() {
        let outcome = |index, actual| {
            let (mut keeper, id, _) = creating();
            keeper.handle_response(id, MetaResponse::Conflict { index, actual }).unwrap().0
        };
        let there = meta_api::Versioned { value: TopicRecord::default().encode(), version: 2 };
        assert!(matches!(outcome(0, None), RecordEvent::Lost { .. }), "no namespace");
        assert_eq!(outcome(1, Some(there.clone())), RecordEvent::Loaded, "another created the topic");
        assert_eq!(outcome(2, Some(there)), RecordEvent::LogExists);
        assert!(matches!(outcome(3, None), RecordEvent::Retry { .. }), "another node owns it");
    }

    #[test]
    fn a_topic_whose_log_is_there_already_is_created_alone() {
        let (mut keeper, id, _) = creating();
        keeper.handle_response(id, MetaResponse::Conflict { index: 2, actual: None });
        let (id, request) = keeper.create_alone(NAMESPACE.to_owned());
        let MetaRequest::Txn { compare, writes } = request else { panic!("{request:?}") };
        assert_eq!((compare.len(), writes.len()), (2, 1));
        let event = keeper.handle_response(id, MetaResponse::Committed { revision: 9 });
        assert_eq!(event, Some((RecordEvent::Loaded, None)));
    }
}
