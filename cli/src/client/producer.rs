//! One producer: batches out, receipts in.
//!
//! **Invariants**
//! - I1  what is unconfirmed stays in `pending`, in order, until its receipt; [`Producer::reopen`] sends it again with the same
//!   sequence ids under the same name, so that a topic with deduplication keeps one copy.

use super::{ClientError, Connection, Incoming, ServiceUrl};
use crate::clock;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use wire::frame::encode_send_start;
use wire::payload::{BatchBuilder, build_body};
use wire::pulsar::{CommandSend, KeyValue, MessageMetadata, SingleMessageMetadata};

/// Messages that travel together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    messages: Vec<(Option<String>, Vec<KeyValue>, Bytes)>,
}

impl Batch {
    /// Adds a message with an optional key.
    pub(crate) fn push(&mut self, key: Option<String>, properties: Vec<KeyValue>, payload: Bytes) {
        self.messages.push((key, properties, payload));
    }

    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.messages.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Checksum, metadata and payload. One message travels as itself, several as a batch.
    fn body(&self, producer_name: &str, first: u64) -> Bytes {
        let metadata = MessageMetadata {
            producer_name: producer_name.to_owned(),
            sequence_id: first,
            publish_time: clock::wall_ms(),
            ..MessageMetadata::default()
        };
        if let [(key, properties, payload)] = self.messages.as_slice() {
            let metadata = MessageMetadata { partition_key: key.clone(), properties: properties.clone(), ..metadata };
            return build_body(&metadata, payload);
        }
        let mut batch = BatchBuilder::default();
        for (at, (key, properties, payload)) in (first..).zip(&self.messages) {
            let single = SingleMessageMetadata {
                partition_key: key.clone(),
                properties: properties.clone(),
                sequence_id: Some(at),
                ..SingleMessageMetadata::default()
            };
            batch.push(single, payload);
        }
        let metadata = MessageMetadata {
            num_messages_in_batch: i32::try_from(batch.messages()).ok(),
            highest_sequence_id: Some(first + self.len().saturating_sub(1)),
            partition_key: self.messages.first().and_then(|(key, _, _)| key.clone()),
            ..metadata
        };
        build_body(&metadata, &batch.finish())
    }
}

#[derive(Debug)]
struct Pending {
    first: u64,
    count: u64,
    frame: Bytes,
}

/// A producer on its own connection.
#[derive(Debug)]
pub(crate) struct Producer {
    connection: Connection,
    topic: String,
    name: String,
    next_sequence: u64,
    pending: VecDeque<Pending>,
}

impl Producer {
    /// Finds the topic's server, connects and creates the producer. Numbering goes on behind what the server knows of `name`.
    ///
    /// # Errors
    /// [`ClientError`] of any kind.
    pub(crate) async fn open(
        url: &ServiceUrl,
        token: Option<&str>,
        topic: &str,
        name: Option<&str>,
    ) -> Result<Self, ClientError> {
        let mut connection = Connection::open_for_topic(url, token, topic).await?;
        let (name, last) = connection.create_producer(PRODUCER_ID, topic, name).await?;
        let next_sequence = u64::try_from(last + 1).unwrap_or(0);
        Ok(Self { connection, topic: topic.to_owned(), name, next_sequence, pending: VecDeque::new() })
    }

    /// Connects again after the connection was lost, and sends again what is unconfirmed (I1).
    ///
    /// # Errors
    /// [`ClientError`]; the producer may be reopened again.
    pub(crate) async fn reopen(&mut self, url: &ServiceUrl, token: Option<&str>) -> Result<(), ClientError> {
        let mut connection = Connection::open_for_topic(url, token, &self.topic).await?;
        connection.create_producer(PRODUCER_ID, &self.topic, Some(&self.name)).await?;
        self.connection = connection;
        for pending in &self.pending {
            self.connection.send_bytes(&pending.frame).await?;
        }
        Ok(())
    }

    /// Sends a batch; its receipt comes out of [`Self::confirmed`].
    ///
    /// # Errors
    /// When the connection is lost. The batch counts as sent all the same: it is among those that are sent again.
    pub(crate) async fn send(&mut self, batch: &Batch) -> Result<(), ClientError> {
        let (first, count) = (self.next_sequence, batch.len());
        let body = batch.body(&self.name, first);
        let send = CommandSend {
            producer_id: PRODUCER_ID,
            sequence_id: first,
            num_messages: i32::try_from(count).ok(),
            highest_sequence_id: (count > 1).then(|| first + count - 1),
            ..CommandSend::default()
        };
        let mut frame = BytesMut::with_capacity(body.len() + 64);
        encode_send_start(&send, body.len(), &mut frame);
        frame.extend_from_slice(&body);
        let frame = frame.freeze();
        self.next_sequence += count;
        self.pending.push_back(Pending { first, count, frame: frame.clone() });
        self.connection.send_bytes(&frame).await
    }

    /// Waits until more is confirmed and gives the number of messages. May be dropped while it waits.
    ///
    /// # Errors
    /// [`ClientError::Refused`] for a message that the server does not take; it is not sent again.
    pub(crate) async fn confirmed(&mut self) -> Result<u64, ClientError> {
        loop {
            match self.connection.next().await? {
                Incoming::Receipt { sequence_id } => {
                    // Receipts come in order; a receipt of something that was confirmed before is a repetition.
                    if self.pending.front().is_some_and(|front| front.first == sequence_id)
                        && let Some(done) = self.pending.pop_front()
                    {
                        return Ok(done.count);
                    }
                }
                Incoming::SendError { sequence_id, code, message } => {
                    self.pending.retain(|pending| pending.first != sequence_id);
                    return Err(ClientError::Refused { code, message });
                }
                Incoming::Closed => return Err(ClientError::Ended),
                Incoming::Message { .. } | Incoming::Other(_) => (),
            }
        }
    }

    /// Messages without a receipt.
    pub(crate) fn unconfirmed(&self) -> u64 {
        self.pending.iter().map(|pending| pending.count).sum()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// There is one producer on a connection.
const PRODUCER_ID: u64 = 1;
