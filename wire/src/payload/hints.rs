//! The fields of MessageMetadata that a broker needs, read without decoding the rest.

use super::batch::BATCH_MESSAGES_MAX;
use super::view::{PayloadError, split_body};
use crate::protobuf::{self, FieldError, FieldReader, FieldValue};
use crate::pulsar::CompressionType;
use bytes::Bytes;

/// Most properties of one message.
const PROPERTIES_MAX: usize = 1024;
/// Most bytes of all properties of one message.
const PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// What a broker needs to know about a message. Texts are slices of the body, not checked to be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PayloadHints {
    pub producer_name: Bytes,
    /// Of a batch: the lowest.
    pub sequence_id: u64,
    /// Of a batch: the highest.
    pub highest_sequence_id: Option<u64>,
    /// Unix milliseconds, by the producer's clock.
    pub publish_time_ms: u64,
    /// Unix milliseconds, given by the application.
    pub event_time_ms: Option<u64>,
    /// Unix milliseconds before which shared subscriptions hold the message back.
    pub deliver_at_ms: Option<i64>,
    /// Messages in the entry: 1 unless it is a batch.
    pub num_messages: u32,
    /// Whether the count was given, which makes the entry a batch even when it is 1.
    pub is_batch: bool,
    pub partition_key: Option<Bytes>,
    /// `partition_key` is Base64 text of the real key.
    pub partition_key_b64: bool,
    pub ordering_key: Option<Bytes>,
    /// Set on markers that are never delivered to clients.
    pub marker_type: Option<i32>,
    /// Regions to copy the message to; empty for "as the namespace says".
    pub replicate_to: Vec<Bytes>,
    pub has_encryption_keys: bool,
    pub chunk: Option<Chunk>,
    /// The value is null, which is not the same as empty.
    pub null_value: bool,
    pub compression: CompressionType,
    /// Set on messages of a transaction: most and least significant bits.
    pub txn: Option<(u64, u64)>,
}

/// Which piece of a message that was cut into several entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The same for all pieces of a message.
    pub uuid: Bytes,
    /// From 0.
    pub id: i32,
    pub count: i32,
    /// Of the whole message.
    pub total_bytes: i32,
}

impl PayloadHints {
    /// Reads the metadata's fields. The checksum is not compared. Allocates only for `replicate_to`.
    ///
    /// # Errors
    /// A body that ends too early, fields that are no protobuf or have a wrong wire type, absent required fields, a batch
    /// count or properties outside the limits.
    pub fn scan(body: &Bytes) -> Result<Self, PayloadError> {
        let (metadata, _) = split_body(body)?;
        let mut hints = Self { num_messages: 1, ..Self::default() };
        let _ = (metadata, &mut hints, FieldReader::new(metadata).next(), BATCH_MESSAGES_MAX);
        let _ = (PROPERTIES_MAX, PROPERTIES_BYTES_MAX, protobuf::int32(0), FieldError::Truncated, FieldValue::Fixed32);
        unimplemented!()
    }
}
