//! Commands that wait for an answer of the metadata.

use crate::broker::{Broker, SESSION_META};
use crate::io::{BrokerEffect, ConnId};
use crate::ownership::proof::Proving;
use crate::session::schema::{SchemaWait, SchemaWrite};
use base::{Now, RequestId, TopicName};
use cluster::BundleId;
use meta_api::{MetaRequest, MetaResponse};
use std::collections::BTreeMap;
use wire::commands;
use wire::pulsar::ServerError;

/// Who waits for what.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// The automatic creation of a partitioned topic.
    Partitions { conn: ConnId, request_id: u64, topic: TopicName, partitions: u32 },
    /// The registration of a schema.
    Schema { write: SchemaWrite, then: SchemaWait },
    /// A record that came from another region.
    Record(Box<crate::policy_sync::Arrived>),
    /// A client's command, for the proof whose its topic is.
    Proof(Proving),
    /// A bundle's new owner.
    Assigned { bundle: BundleId, namespace: Option<u64>, request: MetaRequest },
    /// A bundle that this node gives up.
    Released { bundle: BundleId, request: MetaRequest },
    /// The record of a namespace whose bundle is divided.
    SplitRead { bundle: BundleId },
    /// A bundle that is divided.
    Split { bundle: BundleId },
    /// This node's record says that it ends.
    Drained { request: MetaRequest },
}

/// All waiting commands.
#[derive(Debug, Default)]
pub(crate) struct MetaWaiters {
    next: u64,
    by_seq: BTreeMap<u64, Waiter>,
}

impl MetaWaiters {
    /// How many commands wait, whatever for.
    pub(crate) fn held(&self) -> usize {
        self.by_seq.len()
    }

    /// The handle that a held command would make is closed: nobody waits for it any more.
    pub(crate) fn drop_held(&mut self, conn: ConnId, producer: Option<u64>, consumer: Option<u64>) {
        self.by_seq.retain(|_, waiter| !matches!(waiter, Waiter::Proof(held) if held.is_of(conn, producer, consumer)));
    }
}

impl Broker {
    pub(crate) fn ask_meta(&mut self, request: MetaRequest, waiter: Waiter) {
        self.waiting.next += 1;
        let id = RequestId::new(SESSION_META, self.waiting.next);
        self.waiting.by_seq.insert(self.waiting.next, waiter);
        self.out.effect(BrokerEffect::Meta { id, request });
    }

    pub(crate) fn handle_session_meta(&mut self, now: Now, seq: u64, response: MetaResponse) {
        match self.waiting.by_seq.remove(&seq) {
            Some(Waiter::Partitions { conn, request_id, topic, partitions }) => {
                let reply = match response {
                    MetaResponse::Committed { .. } => commands::partition_metadata(request_id, partitions),
                    MetaResponse::Conflict { .. } => {
                        let known = self.core.directory.partitions(&topic).unwrap_or(partitions);
                        commands::partition_metadata(request_id, known)
                    }
                    other => {
                        let text = format!("topic {topic} could not be created: {other:?}");
                        commands::partition_metadata_failed(request_id, ServerError::ServiceNotReady, &text)
                    }
                };
                self.out.command(conn, &reply);
            }
            Some(Waiter::Schema { write, then }) => self.handle_schema_written(now, write, then, response),
            Some(Waiter::Record(arrived)) => self.handle_record_stored(*arrived, &response),
            Some(Waiter::Proof(proving)) => self.handle_proof(now, proving, &response),
            Some(Waiter::Assigned { bundle, namespace, request }) => {
                self.handle_assigned(now, &bundle, namespace, &request, response);
            }
            Some(Waiter::Released { bundle, request }) => self.handle_released(now, bundle, &request, response),
            Some(Waiter::SplitRead { bundle }) => self.handle_split_read(now, bundle, response),
            Some(Waiter::Split { bundle }) => self.handle_split(now, bundle, response),
            Some(Waiter::Drained { request }) => self.handle_drained(now, &request, response),
            None => (),
        }
    }
}
