//! The fields of MessageMetadata that a broker needs, read without decoding the rest.
//!
//! **What**  One walk over the metadata. Of a field that stands twice the last counts, as in protobuf.
//!
//! **Invariants**
//! - I1  nothing is allocated unless the message names regions to go to, of which there are at most [`REGIONS_MAX`].
//! - I2  `num_messages` is between 1 and [`BATCH_MESSAGES_MAX`].
//!
//! **Tests**  `payload/tests.rs`, against the decoded metadata; fuzz target `payload_view`.

use super::batch::BATCH_MESSAGES_MAX;
use super::view::{PayloadError, split_body};
use crate::protobuf::{self, FieldError, FieldReader, FieldValue};
use bytes::Bytes;

/// Most properties of one message.
const PROPERTIES_MAX: usize = 1024;
/// Most bytes of all properties of one message.
const PROPERTIES_BYTES_MAX: usize = 64 * 1024;

/// Most regions that one message may name.
const REGIONS_MAX: usize = 255;

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
    /// Number of a [`crate::pulsar::CompressionType`]; passed through, so one unknown to this build is no error.
    pub compression: i32,
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
    /// Reads the metadata's fields. The checksum is not compared.
    ///
    /// # Errors
    /// A body that ends too early, fields that are no protobuf or have a wrong wire type, absent required fields, and
    /// counts outside the limits: batches above 10,000 messages, more than 1,024 properties or 64 KiB of them, more than 255
    /// regions.
    pub fn scan(body: &Bytes) -> Result<Self, PayloadError> {
        let (metadata, _) = split_body(body)?;
        let mut scan = Scan::new(body);
        let mut fields = FieldReader::new(metadata);
        while let Some((number, value)) = fields.next().map_err(PayloadError::MalformedMetadata)? {
            match value {
                FieldValue::Varint(value) => scan.take_number(number, value)?,
                FieldValue::Bytes(value) => scan.take_bytes(number, value)?,
                FieldValue::Fixed32 | FieldValue::Fixed64 => scan.take_fixed(number)?,
            }
        }
        scan.finish()
    }

    /// The last sequence id of the entry: of a batch the highest, else the only one.
    pub fn last_sequence_id(&self) -> u64 {
        self.highest_sequence_id.unwrap_or(0).max(self.sequence_id)
    }
}

/// Field numbers of MessageMetadata that are read here.
mod field {
    pub(super) const PRODUCER_NAME: u32 = 1;
    pub(super) const SEQUENCE_ID: u32 = 2;
    pub(super) const PUBLISH_TIME: u32 = 3;
    pub(super) const PROPERTIES: u32 = 4;
    pub(super) const PARTITION_KEY: u32 = 6;
    pub(super) const REPLICATE_TO: u32 = 7;
    pub(super) const COMPRESSION: u32 = 8;
    pub(super) const NUM_MESSAGES: u32 = 11;
    pub(super) const EVENT_TIME: u32 = 12;
    pub(super) const ENCRYPTION_KEYS: u32 = 13;
    pub(super) const PARTITION_KEY_B64: u32 = 17;
    pub(super) const ORDERING_KEY: u32 = 18;
    pub(super) const DELIVER_AT: u32 = 19;
    pub(super) const MARKER_TYPE: u32 = 20;
    pub(super) const TXN_LEAST: u32 = 22;
    pub(super) const TXN_MOST: u32 = 23;
    pub(super) const HIGHEST_SEQUENCE_ID: u32 = 24;
    pub(super) const NULL_VALUE: u32 = 25;
    pub(super) const UUID: u32 = 26;
    pub(super) const NUM_CHUNKS: u32 = 27;
    pub(super) const TOTAL_CHUNK_BYTES: u32 = 28;
    pub(super) const CHUNK_ID: u32 = 29;
}

/// A scan under way: what was found so far.
struct Scan<'a> {
    body: &'a Bytes,
    hints: PayloadHints,
    producer_name: Option<Bytes>,
    sequence_id: Option<u64>,
    publish_time_ms: Option<u64>,
    chunk: Chunk,
    is_chunk: bool,
    txn_least: Option<u64>,
    txn_most: Option<u64>,
    properties: usize,
    properties_bytes: usize,
}

impl<'a> Scan<'a> {
    fn new(body: &'a Bytes) -> Self {
        Self {
            body,
            hints: PayloadHints { num_messages: 1, ..PayloadHints::default() },
            producer_name: None,
            sequence_id: None,
            publish_time_ms: None,
            chunk: Chunk::default(),
            is_chunk: false,
            txn_least: None,
            txn_most: None,
            properties: 0,
            properties_bytes: 0,
        }
    }

    fn take_number(&mut self, number: u32, value: u64) -> Result<(), PayloadError> {
        let hints = &mut self.hints;
        match number {
            field::SEQUENCE_ID => self.sequence_id = Some(value),
            field::PUBLISH_TIME => self.publish_time_ms = Some(value),
            field::COMPRESSION => hints.compression = protobuf::int32(value),
            field::NUM_MESSAGES => self.take_batch_count(protobuf::int32(value))?,
            field::EVENT_TIME => hints.event_time_ms = Some(value),
            field::PARTITION_KEY_B64 => hints.partition_key_b64 = value != 0,
            field::DELIVER_AT => hints.deliver_at_ms = Some(value.cast_signed()),
            field::MARKER_TYPE => hints.marker_type = Some(protobuf::int32(value)),
            field::TXN_LEAST => self.txn_least = Some(value),
            field::TXN_MOST => self.txn_most = Some(value),
            field::HIGHEST_SEQUENCE_ID => hints.highest_sequence_id = Some(value),
            field::NULL_VALUE => hints.null_value = value != 0,
            field::NUM_CHUNKS => {
                self.is_chunk = true;
                self.chunk.count = protobuf::int32(value);
            }
            field::TOTAL_CHUNK_BYTES => self.chunk.total_bytes = protobuf::int32(value),
            field::CHUNK_ID => {
                self.is_chunk = true;
                self.chunk.id = protobuf::int32(value);
            }
            field::PRODUCER_NAME
            | field::PROPERTIES
            | field::PARTITION_KEY
            | field::REPLICATE_TO
            | field::ENCRYPTION_KEYS
            | field::ORDERING_KEY
            | field::UUID => return Err(wrong_type(number)),
            _ => (),
        }
        Ok(())
    }

    fn take_batch_count(&mut self, messages: i32) -> Result<(), PayloadError> {
        match u32::try_from(messages) {
            Ok(count @ 1..=BATCH_MESSAGES_MAX) => {
                self.hints.num_messages = count;
                self.hints.is_batch = true;
                Ok(())
            }
            _ => Err(PayloadError::BatchCount { messages, max: BATCH_MESSAGES_MAX }),
        }
    }

    fn take_bytes(&mut self, number: u32, value: &[u8]) -> Result<(), PayloadError> {
        match number {
            field::PRODUCER_NAME => self.producer_name = Some(self.body.slice_ref(value)),
            field::PROPERTIES => return self.count_property(value.len()),
            field::PARTITION_KEY => self.hints.partition_key = Some(self.body.slice_ref(value)),
            field::REPLICATE_TO if self.hints.replicate_to.len() == REGIONS_MAX => {
                return Err(PayloadError::TooManyRegions { max: REGIONS_MAX });
            }
            field::REPLICATE_TO => self.hints.replicate_to.push(self.body.slice_ref(value)),
            field::ENCRYPTION_KEYS => self.hints.has_encryption_keys = true,
            field::ORDERING_KEY => self.hints.ordering_key = Some(self.body.slice_ref(value)),
            field::UUID => self.chunk.uuid = self.body.slice_ref(value),
            _ => return self.take_fixed(number),
        }
        Ok(())
    }

    /// A field whose wire type none of ours has, or one that is not ours.
    fn take_fixed(&self, number: u32) -> Result<(), PayloadError> {
        match number {
            field::PRODUCER_NAME..=field::PROPERTIES
            | field::PARTITION_KEY..=field::COMPRESSION
            | field::NUM_MESSAGES..=field::ENCRYPTION_KEYS
            | field::PARTITION_KEY_B64..=field::MARKER_TYPE
            | field::TXN_LEAST..=field::CHUNK_ID => Err(wrong_type(number)),
            _ => Ok(()),
        }
    }

    fn count_property(&mut self, bytes: usize) -> Result<(), PayloadError> {
        self.properties += 1;
        self.properties_bytes += bytes;
        if self.properties > PROPERTIES_MAX || self.properties_bytes > PROPERTIES_BYTES_MAX {
            return Err(PayloadError::TooManyProperties { count_max: PROPERTIES_MAX, bytes_max: PROPERTIES_BYTES_MAX });
        }
        Ok(())
    }

    fn finish(self) -> Result<PayloadHints, PayloadError> {
        let missing = |field| PayloadError::MissingField { field };
        let txn = match (self.txn_most, self.txn_least) {
            (None, None) => None,
            (most, least) => Some((most.unwrap_or(0), least.unwrap_or(0))),
        };
        Ok(PayloadHints {
            producer_name: self.producer_name.ok_or_else(|| missing("producer_name"))?,
            sequence_id: self.sequence_id.ok_or_else(|| missing("sequence_id"))?,
            publish_time_ms: self.publish_time_ms.ok_or_else(|| missing("publish_time"))?,
            chunk: if self.is_chunk { Some(self.chunk) } else { None },
            txn,
            ..self.hints
        })
    }
}

fn wrong_type(number: u32) -> PayloadError {
    PayloadError::MalformedMetadata(FieldError::WrongType(number))
}
