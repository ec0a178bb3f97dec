//! The answers and pushes of a broker, one small constructor each.
//!
//! **What**  Each function sets the fields that its case needs and leaves the others absent. Commands without a constructor
//! here are built as structs and turned into a [`BaseCommand`] with `into()`.
//!
//! **Not here**  When to send them. MESSAGE, which goes out through [`crate::frame::encode_message`] with its body.

use crate::pulsar::command_lookup_topic_response::LookupType;
use crate::pulsar::command_partitioned_topic_metadata_response::LookupType as PartitionsType;
use crate::pulsar::{
    AuthData, BaseCommand, CommandAckResponse, CommandActiveConsumerChange, CommandAuthChallenge, CommandCloseConsumer,
    CommandCloseProducer, CommandConnected, CommandConsumerStatsResponse, CommandError,
    CommandGetLastMessageIdResponse, CommandGetOrCreateSchemaResponse, CommandGetSchemaResponse,
    CommandGetTopicsOfNamespaceResponse, CommandLookupTopicResponse, CommandMessage,
    CommandPartitionedTopicMetadataResponse, CommandPing, CommandPong, CommandProducerSuccess,
    CommandReachedEndOfTopic, CommandSendError, CommandSendReceipt, CommandSuccess, CommandWatchTopicListSuccess,
    CommandWatchTopicUpdate, FeatureFlags, MessageIdData, Schema, ServerError,
};
use base::{EntryId, LedgerId, Position};
use bytes::Bytes;

/// The request id of commands that nobody asked for (−1).
pub const UNSOLICITED: u64 = u64::MAX;
/// Ledger and entry of a message id that names no message (−1).
const NO_ID: u64 = u64::MAX;

/// Under which URLs clients reach the broker that serves a topic; `None` for a port that is off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerUrls {
    /// `pulsar://host:port`.
    pub plain: Option<String>,
    /// `pulsar+ssl://host:port`.
    pub tls: Option<String>,
}

// ── Message ids

/// The id of an entry, without partition or batch index.
pub fn message_id(position: Position) -> MessageIdData {
    let (ledger_id, entry_id) = match position {
        Position::EARLIEST => (NO_ID, NO_ID),
        Position { ledger, entry } => (ledger.0, entry.0.cast_unsigned()),
    };
    MessageIdData { ledger_id, entry_id, ..MessageIdData::default() }
}

/// The id of an entry in partition `partition` of a partitioned topic, or of a topic that is none (`None`, sent as −1).
pub fn message_id_in(position: Position, partition: Option<u32>) -> MessageIdData {
    MessageIdData { partition: partition.and_then(|index| i32::try_from(index).ok()), ..message_id(position) }
}

/// The position that a client names. Its "earliest" (−1, −1) and "latest" (2^63 − 1, 2^63 − 1) become
/// [`Position::EARLIEST`] and [`Position::LATEST`]; an entry below −1 counts as −1.
pub fn position(id: &MessageIdData) -> Position {
    if id.ledger_id == NO_ID {
        return Position::EARLIEST;
    }
    Position { ledger: LedgerId(id.ledger_id), entry: EntryId(id.entry_id.cast_signed().max(EntryId::NONE.0)) }
}

// ── Handshake and keep-alive

/// `message_bytes_max` is announced as it is: clients refuse or cut larger messages.
pub fn connected(
    server_version: &str,
    protocol_version: i32,
    message_bytes_max: u32,
    flags: FeatureFlags,
) -> BaseCommand {
    CommandConnected {
        server_version: server_version.to_owned(),
        protocol_version: Some(protocol_version),
        max_message_size: Some(i32::try_from(message_bytes_max).unwrap_or(i32::MAX)),
        feature_flags: Some(flags),
    }
    .into()
}

/// Asks a connected client for fresh credentials.
pub fn auth_challenge(server_version: &str, protocol_version: i32, method: &str, data: Bytes) -> BaseCommand {
    CommandAuthChallenge {
        server_version: Some(server_version.to_owned()),
        challenge: Some(AuthData { auth_method_name: Some(method.to_owned()), auth_data: Some(data) }),
        protocol_version: Some(protocol_version),
    }
    .into()
}

pub fn ping() -> BaseCommand {
    CommandPing {}.into()
}

pub fn pong() -> BaseCommand {
    CommandPong {}.into()
}

// ── General answers

pub fn success(request_id: u64) -> BaseCommand {
    CommandSuccess { request_id, schema: None }.into()
}

pub fn error(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandError { request_id, error: error as i32, message: message.to_owned() }.into()
}

/// An error that answers no request: during the handshake, before the connection is closed.
pub fn unsolicited_error(code: ServerError, message: &str) -> BaseCommand {
    error(UNSOLICITED, code, message)
}

// ── Lookup

/// This broker or the one at `urls` serves the topic.
pub fn lookup_connect(request_id: u64, urls: BrokerUrls) -> BaseCommand {
    CommandLookupTopicResponse {
        broker_service_url: urls.plain,
        broker_service_url_tls: urls.tls,
        response: Some(LookupType::Connect as i32),
        request_id,
        authoritative: Some(true),
        proxy_through_service_url: Some(false),
        ..CommandLookupTopicResponse::default()
    }
    .into()
}

/// Ask the broker at `urls`, which decides.
pub fn lookup_redirect(request_id: u64, urls: BrokerUrls) -> BaseCommand {
    CommandLookupTopicResponse {
        broker_service_url: urls.plain,
        broker_service_url_tls: urls.tls,
        response: Some(LookupType::Redirect as i32),
        request_id,
        authoritative: Some(true),
        proxy_through_service_url: Some(false),
        ..CommandLookupTopicResponse::default()
    }
    .into()
}

pub fn lookup_failed(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandLookupTopicResponse {
        response: Some(LookupType::Failed as i32),
        request_id,
        error: Some(error as i32),
        message: Some(message.to_owned()),
        ..CommandLookupTopicResponse::default()
    }
    .into()
}

/// `partitions` is 0 for a topic that is not partitioned.
pub fn partition_metadata(request_id: u64, partitions: u32) -> BaseCommand {
    CommandPartitionedTopicMetadataResponse {
        partitions: Some(partitions),
        request_id,
        response: Some(PartitionsType::Success as i32),
        error: None,
        message: None,
    }
    .into()
}

pub fn partition_metadata_failed(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandPartitionedTopicMetadataResponse {
        partitions: None,
        request_id,
        response: Some(PartitionsType::Failed as i32),
        error: Some(error as i32),
        message: Some(message.to_owned()),
    }
    .into()
}

// ── Producers

/// The producer may send. `last_sequence_id` is −1 unless deduplication knows the name; `schema_version` is `None` when the
/// topic has no schema.
pub fn producer_success(
    request_id: u64,
    producer_name: &str,
    last_sequence_id: i64,
    schema_version: Option<u64>,
    topic_epoch: Option<u64>,
) -> BaseCommand {
    CommandProducerSuccess {
        request_id,
        producer_name: producer_name.to_owned(),
        last_sequence_id: Some(last_sequence_id),
        schema_version: Some(schema_version_bytes(schema_version)),
        topic_epoch,
        producer_ready: Some(true),
    }
    .into()
}

/// The producer waits for exclusive access; [`producer_success`] with the same request id follows.
pub fn producer_queued(request_id: u64, producer_name: &str) -> BaseCommand {
    CommandProducerSuccess {
        request_id,
        producer_name: producer_name.to_owned(),
        last_sequence_id: Some(-1),
        schema_version: Some(Bytes::new()),
        topic_epoch: None,
        producer_ready: Some(false),
    }
    .into()
}

/// Sequence ids as they were sent. `position` is `None` when nothing was stored: a duplicate, or a topic that is not
/// persistent.
pub fn send_receipt(
    producer_id: u64,
    sequence_id: u64,
    highest_sequence_id: Option<u64>,
    position: Option<Position>,
) -> BaseCommand {
    CommandSendReceipt {
        producer_id,
        sequence_id,
        message_id: Some(message_id(position.unwrap_or(Position::EARLIEST))),
        highest_sequence_id,
    }
    .into()
}

/// `sequence_id` is the highest of the refused send.
pub fn send_error(producer_id: u64, sequence_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandSendError { producer_id, sequence_id, error: error as i32, message: message.to_owned() }.into()
}

/// The broker ends a producer; the client looks the topic up again.
pub fn close_producer(producer_id: u64) -> BaseCommand {
    CommandCloseProducer { producer_id, request_id: UNSOLICITED, ..CommandCloseProducer::default() }.into()
}

// ── Consumers

/// What a MESSAGE says about the entry behind it; goes out through [`crate::frame::encode_message`].
/// `ack_set` is empty unless part of a batch is acknowledged.
pub fn message(
    consumer_id: u64,
    message_id: MessageIdData,
    redelivery_count: u32,
    ack_set: Vec<i64>,
    consumer_epoch: Option<u64>,
) -> CommandMessage {
    CommandMessage { consumer_id, message_id, redelivery_count: Some(redelivery_count), ack_set, consumer_epoch }
}

/// Success has no message at all: clients take any text for a failure.
pub fn ack_response(consumer_id: u64, request_id: u64) -> BaseCommand {
    CommandAckResponse { consumer_id, request_id: Some(request_id), ..CommandAckResponse::default() }.into()
}

pub fn ack_failed(consumer_id: u64, request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandAckResponse {
        consumer_id,
        request_id: Some(request_id),
        error: Some(error as i32),
        message: Some(message.to_owned()),
        ..CommandAckResponse::default()
    }
    .into()
}

/// The broker ends a consumer; the client subscribes again.
pub fn close_consumer(consumer_id: u64) -> BaseCommand {
    CommandCloseConsumer { consumer_id, request_id: UNSOLICITED, ..CommandCloseConsumer::default() }.into()
}

/// A failover consumer is the active one from now on.
pub fn consumer_active(consumer_id: u64) -> BaseCommand {
    CommandActiveConsumerChange { consumer_id, is_active: Some(true) }.into()
}

/// A failover consumer waits behind the active one.
pub fn consumer_inactive(consumer_id: u64) -> BaseCommand {
    CommandActiveConsumerChange { consumer_id, is_active: Some(false) }.into()
}

pub fn reached_end_of_topic(consumer_id: u64) -> BaseCommand {
    CommandReachedEndOfTopic { consumer_id }.into()
}

/// `last` is [`message_id`] of [`Position::EARLIEST`] when the topic is empty. Clients need `mark_delete` to know whether
/// anything is left to read.
pub fn last_message_id(request_id: u64, last: MessageIdData, mark_delete: MessageIdData) -> BaseCommand {
    CommandGetLastMessageIdResponse {
        last_message_id: last,
        request_id,
        consumer_mark_delete_position: Some(mark_delete),
    }
    .into()
}

pub fn consumer_stats_failed(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandConsumerStatsResponse {
        request_id,
        error_code: Some(error as i32),
        error_message: Some(message.to_owned()),
        ..CommandConsumerStatsResponse::default()
    }
    .into()
}

// ── Topics of a namespace

/// Which topics a listing holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// Every topic of the namespace.
    Whole,
    /// Only those that match the pattern of the request.
    Filtered,
}

pub fn topics_of_namespace(request_id: u64, topics: Vec<String>, listing: Listing, hash: String) -> BaseCommand {
    CommandGetTopicsOfNamespaceResponse {
        request_id,
        topics,
        filtered: Some(listing == Listing::Filtered),
        topics_hash: Some(hash),
        changed: Some(true),
    }
    .into()
}

/// The hash of the request is still right, so the list is left out.
pub fn topics_unchanged(request_id: u64, listing: Listing, hash: String) -> BaseCommand {
    CommandGetTopicsOfNamespaceResponse {
        request_id,
        topics: Vec::new(),
        filtered: Some(listing == Listing::Filtered),
        topics_hash: Some(hash),
        changed: Some(false),
    }
    .into()
}

pub fn watch_topic_list_success(request_id: u64, watcher_id: u64, topics: Vec<String>, hash: String) -> BaseCommand {
    CommandWatchTopicListSuccess { request_id, watcher_id, topic: topics, topics_hash: hash }.into()
}

pub fn watch_topic_update(watcher_id: u64, new: Vec<String>, deleted: Vec<String>, hash: String) -> BaseCommand {
    CommandWatchTopicUpdate { watcher_id, new_topics: new, deleted_topics: deleted, topics_hash: hash }.into()
}

// ── Schemas

/// Eight bytes, big-endian; empty for "no schema".
pub fn schema_version_bytes(version: Option<u64>) -> Bytes {
    version.map_or_else(Bytes::new, |version| Bytes::copy_from_slice(&version.to_be_bytes()))
}

/// The reverse of [`schema_version_bytes`]; `None` unless there are exactly eight bytes.
pub fn schema_version(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_be_bytes)
}

pub fn schema(request_id: u64, schema: Schema, version: u64) -> BaseCommand {
    CommandGetSchemaResponse {
        request_id,
        error_code: None,
        error_message: None,
        schema: Some(schema),
        schema_version: Some(schema_version_bytes(Some(version))),
    }
    .into()
}

pub fn schema_failed(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandGetSchemaResponse {
        request_id,
        error_code: Some(error as i32),
        error_message: Some(message.to_owned()),
        schema: None,
        schema_version: None,
    }
    .into()
}

pub fn schema_registered(request_id: u64, version: u64) -> BaseCommand {
    CommandGetOrCreateSchemaResponse {
        request_id,
        error_code: None,
        error_message: None,
        schema_version: Some(schema_version_bytes(Some(version))),
    }
    .into()
}

pub fn schema_not_registered(request_id: u64, error: ServerError, message: &str) -> BaseCommand {
    CommandGetOrCreateSchemaResponse {
        request_id,
        error_code: Some(error as i32),
        error_message: Some(message.to_owned()),
        schema_version: None,
    }
    .into()
}
