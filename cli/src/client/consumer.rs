//! One consumer: permits out, messages in, acks out.

use super::connection::unexpected;
use super::{ClientError, Connection, Incoming, ServiceUrl};
use bytes::Bytes;
use std::collections::VecDeque;
use wire::payload::{BatchView, PayloadView};
use wire::pulsar::{
    CommandAck, CommandFlow, CommandSubscribe, CompressionType, KeyValue, MessageIdData, base_command::Command,
    command_ack, command_subscribe,
};

/// There is one consumer on a connection.
const CONSUMER_ID: u64 = 1;

/// How to subscribe.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerOptions {
    pub(crate) topic: String,
    pub(crate) subscription: String,
    pub(crate) kind: command_subscribe::SubType,
    pub(crate) from: command_subscribe::InitialPosition,
    pub(crate) durable: bool,
    /// Messages that may be under way.
    pub(crate) permits: u32,
}

/// One message.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) id: MessageIdData,
    pub(crate) batch_index: Option<u32>,
    pub(crate) redeliveries: u32,
    pub(crate) key: Option<String>,
    pub(crate) properties: Vec<KeyValue>,
    pub(crate) producer: String,
    pub(crate) publish_time_ms: u64,
    pub(crate) event_time_ms: Option<u64>,
    pub(crate) replicated_from: Option<String>,
    pub(crate) payload: Bytes,
    /// The last of its entry: acking it acks the entry.
    pub(crate) ends_entry: bool,
}

/// A consumer on its own connection.
#[derive(Debug)]
pub(crate) struct Consumer {
    connection: Connection,
    ready: VecDeque<Received>,
    permits: u32,
    /// Messages taken since permits were sent.
    taken: u32,
}

impl Consumer {
    /// Finds the topic's server, connects and subscribes.
    ///
    /// # Errors
    /// [`ClientError`] of any kind.
    pub(crate) async fn open(
        url: &ServiceUrl,
        token: Option<&str>,
        options: &ConsumerOptions,
    ) -> Result<Self, ClientError> {
        let mut connection = Connection::open_for_topic(url, token, &options.topic).await?;
        let request_id = connection.next_request();
        let subscribe = CommandSubscribe {
            topic: options.topic.clone(),
            subscription: options.subscription.clone(),
            sub_type: options.kind as i32,
            consumer_id: CONSUMER_ID,
            request_id,
            durable: Some(options.durable),
            initial_position: Some(options.from as i32),
            ..CommandSubscribe::default()
        };
        let answer = connection.call(&subscribe.into(), request_id).await?;
        if !matches!(answer, Command::Success(_)) {
            return Err(unexpected("a subscription"));
        }
        let permits = options.permits.max(2);
        let mut consumer = Self { connection, ready: VecDeque::new(), permits, taken: 0 };
        consumer.flow(permits).await?;
        Ok(consumer)
    }

    async fn flow(&mut self, message_permits: u32) -> Result<(), ClientError> {
        let flow = CommandFlow { consumer_id: CONSUMER_ID, message_permits };
        self.connection.send(&flow.into()).await
    }

    /// The next message. May be dropped while it waits for one.
    ///
    /// # Errors
    /// [`ClientError::Ended`] when the server closes the consumer; a message that cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Received, ClientError> {
        if self.taken >= self.permits / 2 {
            let taken = std::mem::take(&mut self.taken);
            self.flow(taken).await?;
        }
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.taken += 1;
                return Ok(message);
            }
            match self.connection.next().await? {
                Incoming::Message { id, redeliveries, ack_set, body } => {
                    let messages = open_entry(&id, redeliveries, &body)?;
                    let total = messages.len();
                    self.ready.extend(messages.into_iter().filter(|message| is_open(message, &ack_set)));
                    // Messages that were acked before cost permits as well.
                    self.taken += u32::try_from(total - self.ready.len().min(total)).unwrap_or(0);
                }
                Incoming::Closed => return Err(ClientError::Ended),
                _ => (),
            }
        }
    }

    /// Acknowledges a message and everything before it, without waiting for the answer.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn ack_up_to(&mut self, message: &Received) -> Result<(), ClientError> {
        self.ack(message, command_ack::AckType::Cumulative).await
    }

    /// Acknowledges the entry of a message once its last message was taken.
    ///
    /// # Errors
    /// When the connection is lost.
    pub(crate) async fn ack_entry(&mut self, message: &Received) -> Result<(), ClientError> {
        if message.ends_entry { self.ack(message, command_ack::AckType::Individual).await } else { Ok(()) }
    }

    async fn ack(&mut self, message: &Received, kind: command_ack::AckType) -> Result<(), ClientError> {
        let id = MessageIdData {
            ledger_id: message.id.ledger_id,
            entry_id: message.id.entry_id,
            partition: message.id.partition,
            ..MessageIdData::default()
        };
        let ack = CommandAck {
            consumer_id: CONSUMER_ID,
            ack_type: kind as i32,
            message_id: vec![id],
            ..CommandAck::default()
        };
        self.connection.send(&ack.into()).await
    }
}

/// Whether a message of a batch is still to be delivered: its bit is set, or there are no bits.
fn is_open(message: &Received, ack_set: &[i64]) -> bool {
    let Some(index) = message.batch_index else { return true };
    let word = usize::try_from(index / 64).ok().and_then(|word| ack_set.get(word));
    match word {
        Some(word) => word >> (index % 64) & 1 == 1,
        None => ack_set.is_empty(),
    }
}

fn open_entry(id: &MessageIdData, redeliveries: u32, body: &Bytes) -> Result<Vec<Received>, ClientError> {
    let view = PayloadView::parse(body)?;
    let metadata = &view.metadata;
    if metadata.compression.unwrap_or(0) != CompressionType::None as i32 {
        return Err(ClientError::Unsupported("reading compressed messages".to_owned()));
    }
    if !metadata.encryption_keys.is_empty() {
        return Err(ClientError::Unsupported("reading encrypted messages".to_owned()));
    }
    let whole = Received {
        id: id.clone(),
        batch_index: None,
        redeliveries,
        key: metadata.partition_key.clone(),
        properties: metadata.properties.clone(),
        producer: metadata.producer_name.clone(),
        publish_time_ms: metadata.publish_time,
        event_time_ms: metadata.event_time.filter(|time| *time > 0),
        replicated_from: metadata.replicated_from.clone(),
        payload: view.payload.clone(),
        ends_entry: true,
    };
    let Some(count) = metadata.num_messages_in_batch else { return Ok(vec![whole]) };
    let count = u32::try_from(count).unwrap_or(0);
    let mut messages = Vec::new();
    for (index, message) in (0u32..).zip(BatchView::new(view.payload.clone(), count)) {
        let message = message?;
        messages.push(Received {
            batch_index: Some(index),
            key: message.metadata.partition_key,
            properties: message.metadata.properties,
            event_time_ms: message.metadata.event_time.filter(|time| *time > 0),
            payload: message.payload,
            ends_entry: index + 1 == count,
            ..whole.clone()
        });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acked_messages_of_a_batch_are_left_out() {
        let body = wire::payload::build_body(&wire::pulsar::MessageMetadata::default(), b"x");
        let mut message = open_entry(&MessageIdData::default(), 0, &body).unwrap().remove(0);
        assert!(is_open(&message, &[]) && message.ends_entry);
        message.batch_index = Some(65);
        assert!(is_open(&message, &[]));
        assert!(is_open(&message, &[0, 2]));
        assert!(!is_open(&message, &[-1, 1]));
    }
}
