//! The topic's own metadata record: that it exists, which copy it is, its epoch, where it was terminated.
//!
//! **Invariants**
//! - I1  one write is under way at a time; what is changed meanwhile goes into the next.
//! - I2  a waiter hears of its change only after the write that holds it was committed.

use base::{OwnerId, Position, RequestId};
use bytes::Bytes;
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
    Create,
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

    /// Creates the record, only while `namespace_key` exists.
    pub(crate) fn create(&mut self, record: TopicRecord, namespace_key: String) -> (RequestId, MetaRequest) {
        self.value = record;
        let (key, value) = (self.key.clone(), self.value.encode());
        let compare = vec![Compare::Exists { key: namespace_key }, Compare::Absent { key: key.clone() }];
        self.request(Awaiting::Create, MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] })
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
            (_, MetaResponse::Unavailable { reason }) => RecordEvent::Retry { reason },
            (Awaiting::Read, MetaResponse::Value(found)) => self.loaded(found),
            (Awaiting::Create, MetaResponse::Committed { revision }) => {
                self.version = Some(revision);
                RecordEvent::Loaded
            }
            (Awaiting::Create, MetaResponse::Conflict { index: 1, actual }) => self.loaded(actual),
            (Awaiting::Create, MetaResponse::Conflict { .. }) => {
                RecordEvent::Lost { reason: "its namespace does not exist".to_owned() }
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
