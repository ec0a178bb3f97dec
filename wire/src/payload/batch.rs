//! The messages inside a batch that is neither compressed nor encrypted.

use super::PayloadError;
use crate::pulsar::SingleMessageMetadata;
use bytes::{Bytes, BytesMut};

/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: u32 = 10_000;

/// One message of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchMessage {
    pub metadata: SingleMessageMetadata,
    /// A slice of the batch.
    pub payload: Bytes,
}

/// Walks over the messages of a batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchView {
    rest: Bytes,
    left: u32,
}

impl BatchView {
    /// `payload` is what stands behind the metadata, `messages` the count that the metadata declares.
    pub fn new(payload: Bytes, messages: u32) -> Self {
        Self { rest: payload, left: messages }
    }
}

impl Iterator for BatchView {
    type Item = Result<BatchMessage, PayloadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let _ = (&self.rest, self.left);
        unimplemented!()
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
    pub fn push(&mut self, _metadata: SingleMessageMetadata, _payload: &[u8]) {
        let _ = &mut self.out;
        unimplemented!()
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
