//! The body that consumers get of a message from another region: the same, with `replicated_from` in its metadata.
//!
//! **What**  [`ReplicatedBody`] appends the field to the metadata, where protobuf allows any order and of two
//! takes the last. Only the beginning of the body is copied; the payload is a slice of what is stored.
//!
//! **Invariants**
//! - I1  the new checksum is right exactly when the old one was: damage done on the way stays visible to the client.
//!
//! The checksum is derived from the old one, because CRCs are linear: the old and the new beginning differ by a known value,
//! which is shifted over the payload's length. That costs at most two multiplications of polynomials for every bit of the
//! length, some 40 of them for 5 MiB, and does not read the payload.
//!
//! **Tests**  `payload/tests_replicated.rs`.

use super::view::{CHECKSUM_BYTES, CHECKSUM_MAGIC, PayloadError, SIZE_BYTES, split_body, split_checksum};
use bytes::{BufMut, Bytes, BytesMut};
use crc32c::{crc32c, crc32c_append};

/// Protobuf key of `MessageMetadata.replicated_from`: field 5, length-delimited.
const REPLICATED_FROM_KEY: u8 = 5 << 3 | 2;

/// A stored body together with the region that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedBody<'a> {
    /// As it is stored, without its size.
    metadata: &'a [u8],
    /// `replicated_from` as protobuf.
    field: BytesMut,
    /// `None` when the producer sent none.
    checksum: Option<u32>,
    payload: Bytes,
}

impl<'a> ReplicatedBody<'a> {
    /// Takes a stored body apart. The checksum is not compared.
    ///
    /// # Errors
    /// A body that ends before its payload begins.
    pub fn new(body: &'a Bytes, from: &str) -> Result<Self, PayloadError> {
        let checksum = split_checksum(body)?.map(|(checksum, _)| checksum);
        let (metadata, payload) = split_body(body)?;
        let mut field = BytesMut::with_capacity(1 + prost::length_delimiter_len(from.len()) + from.len());
        field.put_u8(REPLICATED_FROM_KEY);
        prost::encode_length_delimiter(from.len(), &mut field).expect("a BytesMut grows");
        field.put_slice(from.as_bytes());
        Ok(Self { metadata, field, checksum, payload: body.slice_ref(payload) })
    }

    /// Bytes of beginning and payload together.
    pub fn body_bytes(&self) -> usize {
        let checksum_bytes = if self.checksum.is_some() { CHECKSUM_BYTES } else { 0 };
        checksum_bytes + SIZE_BYTES + self.metadata.len() + self.field.len() + self.payload.len()
    }

    /// Everything behind the metadata, uncopied.
    pub fn payload(&self) -> Bytes {
        self.payload.clone()
    }

    /// Appends what stands before the payload: checksum, metadata size, metadata.
    ///
    /// # Panics
    /// When the metadata reaches 4 GiB, which no frame can hold.
    pub fn put_start(&self, out: &mut BytesMut) {
        let size = size(self.metadata.len() + self.field.len());
        if let Some(stored) = self.checksum {
            let before = crc32c_append(crc32c(&self::size(self.metadata.len())), self.metadata);
            let after = crc32c_append(crc32c_append(crc32c(&size), self.metadata), &self.field);
            out.put_u16(CHECKSUM_MAGIC);
            out.put_u32(stored ^ shift(before ^ after, self.payload.len()));
        }
        out.put_slice(&size);
        out.put_slice(self.metadata);
        out.put_slice(&self.field);
    }
}

/// The size field of metadata.
fn size(metadata_bytes: usize) -> [u8; SIZE_BYTES] {
    u32::try_from(metadata_bytes).expect("payload: metadata is below 4 GiB").to_be_bytes()
}

/// The Castagnoli polynomial without its highest term; as in checksums, the lowest power stands in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;

/// The product of two polynomials modulo the Castagnoli polynomial.
fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut term) = (0, ONE);
    while term != 0 {
        if a & term != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        term >>= 1;
    }
    product
}

/// What a difference between checksums becomes when `bytes` more are checked: it is multiplied by x to the power of
/// their bits.
fn shift(mut difference: u32, mut bytes: usize) -> u32 {
    // x to the power of 8, 16, 32, …
    let mut power = ONE >> 8;
    while bytes != 0 {
        if bytes & 1 == 1 {
            difference = multiply(power, difference);
        }
        power = multiply(power, power);
        bytes >>= 1;
    }
    difference
}
