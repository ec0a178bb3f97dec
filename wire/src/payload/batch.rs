//! The messages inside a batch that is neither compressed nor encrypted.
//!
//! **What**  A batch repeats: u32 size of the single metadata, the metadata, the message's bytes.
//!
//! **Tests**  `payload/tests.rs`, `tests/properties.rs`, fuzz target `payload_view`.

use super::PayloadError;
use crate::pulsar::SingleMessageMetadata;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: u32 = 10_000;

/// One message of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMessage {
    pub metadata: SingleMessageMetadata,
    /// A slice of the batch.
    pub payload: Bytes,
}

/// Walks over the messages of a batch. Yields an error where the bytes are no batch of the declared count, and ends there.
#[derive(Clone, Debug)]
pub struct BatchView {
    rest: Bytes,
    messages: u32,
    left: u32,
}

impl BatchView {
    /// `payload` is what stands behind the metadata, `messages` the count that the metadata declares.
    pub fn new(payload: Bytes, messages: u32) -> Self {
        Self { rest: payload, messages, left: messages }
    }

    fn read(&mut self) -> Result<BatchMessage, PayloadError> {
        let size = self.rest.try_get_u32().map_err(|_| PayloadError::Truncated { part: "single metadata size" })?;
        let metadata = self.take(usize::try_from(size).ok(), "single metadata")?;
        let metadata = SingleMessageMetadata::decode(metadata)
            .map_err(|error| PayloadError::UndecodableMetadata { reason: error.to_string() })?;
        let payload = self.take(usize::try_from(metadata.payload_size).ok(), "batched message")?;
        Ok(BatchMessage { metadata, payload })
    }

    fn take(&mut self, bytes: Option<usize>, part: &'static str) -> Result<Bytes, PayloadError> {
        match bytes {
            Some(bytes) if bytes <= self.rest.len() => Ok(self.rest.split_to(bytes)),
            Some(_) | None => Err(PayloadError::Truncated { part }),
        }
    }

    fn end(&mut self) {
        self.left = 0;
        self.rest.clear();
    }
}

impl Iterator for BatchView {
    type Item = Result<BatchMessage, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.rest.is_empty() {
            return None;
        }
        let item = if self.left == 0 || self.rest.is_empty() {
            Err(PayloadError::BatchMismatch { messages: self.messages })
        } else {
            self.left -= 1;
            self.read()
        };
        if item.is_err() {
            self.end();
        }
        Some(item)
    }
}

/// Puts the payload of a batch together.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    out: BytesMut,
    messages: u32,
}

impl BatchBuilder {
    /// Appends one message; `payload_size` of the metadata is set here.
    ///
    /// # Panics
    /// When the message reaches 2 GiB, which no frame can carry.
    pub fn push(&mut self, metadata: SingleMessageMetadata, payload: &[u8]) {
        let payload_size = i32::try_from(payload.len()).expect("batch: a message is below 2 GiB");
        let metadata = SingleMessageMetadata { payload_size, ..metadata };
        self.out.put_u32(u32::try_from(metadata.encoded_len()).expect("batch: metadata is below 4 GiB"));
        metadata.encode(&mut self.out).expect("a BytesMut grows");
        self.out.put_slice(payload);
        self.messages += 1;
    }

    /// Messages so far, for `num_messages_in_batch`.
    pub fn messages(&self) -> u32 {
        self.messages
    }

    /// The payload to put behind the metadata.
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}
