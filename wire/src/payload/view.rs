//! The body of a SEND or MESSAGE: its checksum, and where metadata and payload stand.
//!
//! **What**  Layout (facts/pulsar-wire.md §1): u16 magic 0x0e01 and u32 CRC32C, both optional on SEND; u32 metadata size,
//! metadata, payload. The checksum covers everything behind it.

use crate::protobuf::FieldError;
use crate::pulsar::MessageMetadata;
use base::ErrorClass;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Announces a checksum.
pub(super) const CHECKSUM_MAGIC: u16 = 0x0e01;
/// Magic and checksum, in bytes.
pub(super) const CHECKSUM_BYTES: usize = 6;
/// The size field of the metadata, in bytes.
pub(super) const SIZE_BYTES: usize = 4;

/// Why a body cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    #[error("the message ends inside its {part}")]
    Truncated { part: &'static str },
    #[error("the checksum says {stored:#010x}, the bytes give {computed:#010x}")]
    ChecksumMismatch { stored: u32, computed: u32 },
    #[error("the message metadata is malformed: {0}")]
    MalformedMetadata(FieldError),
    #[error("the message metadata cannot be decoded: {reason}")]
    UndecodableMetadata { reason: String },
    #[error("the message metadata lacks {field}")]
    MissingField { field: &'static str },
    #[error("a batch of {messages} messages is outside 1 to {max}")]
    BatchCount { messages: i32, max: u32 },
    #[error("the message has more than {count_max} properties, or more than {bytes_max} bytes of them")]
    TooManyProperties { count_max: usize, bytes_max: usize },
    #[error("the message names more than {max} regions to go to")]
    TooManyRegions { max: usize },
    #[error("the batch does not hold the {messages} messages it declares")]
    BatchMismatch { messages: u32 },
}

impl PayloadError {
    /// Always the sender's fault.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Truncated { .. }
            | Self::ChecksumMismatch { .. }
            | Self::MalformedMetadata(_)
            | Self::UndecodableMetadata { .. }
            | Self::MissingField { .. }
            | Self::BatchCount { .. }
            | Self::TooManyProperties { .. }
            | Self::TooManyRegions { .. }
            | Self::BatchMismatch { .. } => ErrorClass::Reject,
        }
    }
}

/// What a body says about its own bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// There is one, and it is right.
    Valid,
    /// There is none: allowed on SEND, never sent to consumers.
    Absent,
}

/// A body, checked and decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct PayloadView {
    pub metadata: MessageMetadata,
    /// Everything behind the metadata, as it came: compressed, encrypted, a batch, or plain.
    pub payload: Bytes,
    pub had_checksum: bool,
}

impl PayloadView {
    /// Checks the checksum if there is one and decodes the metadata. `payload` is a slice of `body`.
    ///
    /// # Errors
    /// A wrong checksum, a body that ends too early, metadata that is not a MessageMetadata.
    pub fn parse(body: &Bytes) -> Result<Self, PayloadError> {
        let checksum = verify_checksum(body)?;
        let (metadata, payload) = split_body(body)?;
        let metadata = MessageMetadata::decode(body.slice_ref(metadata))
            .map_err(|error| PayloadError::UndecodableMetadata { reason: error.to_string() })?;
        Ok(Self { metadata, payload: body.slice_ref(payload), had_checksum: checksum == Checksum::Valid })
    }
}

/// Compares the checksum with the bytes behind it.
///
/// # Errors
/// [`PayloadError::ChecksumMismatch`], or [`PayloadError::Truncated`] when the checksum itself is cut.
pub fn verify_checksum(body: &[u8]) -> Result<Checksum, PayloadError> {
    let Some((stored, rest)) = split_checksum(body)? else { return Ok(Checksum::Absent) };
    let computed = crc32c::crc32c(rest);
    if stored != computed {
        return Err(PayloadError::ChecksumMismatch { stored, computed });
    }
    Ok(Checksum::Valid)
}

/// The stored checksum and what it covers; `None` when there is none.
pub(super) fn split_checksum(body: &[u8]) -> Result<Option<(u32, &[u8])>, PayloadError> {
    let mut magic = body;
    if magic.try_get_u16().ok() != Some(CHECKSUM_MAGIC) {
        return Ok(None);
    }
    let Some((mut head, rest)) = body.split_at_checked(CHECKSUM_BYTES) else {
        return Err(PayloadError::Truncated { part: "checksum" });
    };
    head.advance(2);
    Ok(Some((head.get_u32(), rest)))
}

/// Metadata and payload of a body, with or without checksum; the checksum is not compared.
pub(super) fn split_body(body: &[u8]) -> Result<(&[u8], &[u8]), PayloadError> {
    let mut rest = split_checksum(body)?.map_or(body, |(_, rest)| rest);
    let size = rest.try_get_u32().map_err(|_| PayloadError::Truncated { part: "metadata size" })?;
    usize::try_from(size)
        .ok()
        .and_then(|size| rest.split_at_checked(size))
        .ok_or(PayloadError::Truncated { part: "metadata" })
}

/// Puts a body together: magic, checksum, metadata and a copy of the payload.
///
/// # Panics
/// When the metadata reaches 4 GiB, which no caller can build within its own limits.
pub fn build_body(metadata: &MessageMetadata, payload: &[u8]) -> Bytes {
    let metadata_bytes = metadata.encoded_len();
    let mut covered = BytesMut::with_capacity(SIZE_BYTES + metadata_bytes + payload.len());
    covered.put_u32(u32::try_from(metadata_bytes).expect("payload: metadata is below 4 GiB"));
    metadata.encode(&mut covered).expect("a BytesMut grows");
    covered.put_slice(payload);
    with_checksum(&covered)
}

/// The body itself when it has a checksum; otherwise a copy with one in front, because consumers insist on it.
///
/// # Errors
/// [`PayloadError::Truncated`] when the checksum is cut.
pub fn ensure_checksum(body: &Bytes) -> Result<Bytes, PayloadError> {
    Ok(if split_checksum(body)?.is_some() { body.clone() } else { with_checksum(body) })
}

fn with_checksum(covered: &[u8]) -> Bytes {
    let mut body = BytesMut::with_capacity(CHECKSUM_BYTES + covered.len());
    body.put_u16(CHECKSUM_MAGIC);
    body.put_u32(crc32c::crc32c(covered));
    body.put_slice(covered);
    body.freeze()
}
