//! The body that consumers get of a message from another region: the same, with `replicated_from` in its metadata.
//!
//! **What**  [`ReplicatedBody`] appends the field to the metadata, where protobuf allows any order and of two takes the last.
//! Only the beginning of the body is copied; the payload is a slice of what is stored.
//!
//! **Invariants**
//! - I1  the new checksum is right exactly when the old one was: damage done on the way stays visible to the client.
//!
//! The checksum is derived from the old one, because CRCs are linear: the old and the new beginning differ by a known value,
//! which is shifted over the payload's length. That costs a multiplication of polynomials for every bit that is set in the
//! length, below a microsecond for 5 MiB, and does not read the payload.
//!
//! **Tests**  `payload/tests_replicated.rs`.

use super::view::{CHECKSUM_BYTES, CHECKSUM_MAGIC, PayloadError, SIZE_BYTES, split_body, split_checksum};
use bytes::{BufMut, Bytes, BytesMut};

/// Protobuf key of `MessageMetadata.replicated_from`: field 5, length-delimited.
const REPLICATED_FROM_KEY: u8 = 5 << 3 | 2;

/// A stored body together with the region that it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicatedBody<'a> {
    /// As it is stored, without its size.
    metadata: &'a [u8],
    from: &'a str,
    /// `None` when the producer sent none.
    checksum: Option<u32>,
    payload: Bytes,
}

impl<'a> ReplicatedBody<'a> {
    /// Takes a stored body apart. The checksum is not compared.
    ///
    /// # Errors
    /// A body that ends before its payload begins.
    pub fn new(body: &'a Bytes, from: &'a str) -> Result<Self, PayloadError> {
        let checksum = split_checksum(body)?.map(|(checksum, _)| checksum);
        let (metadata, payload) = split_body(body)?;
        Ok(Self { metadata, from, checksum, payload: body.slice_ref(payload) })
    }

    /// Bytes of beginning and payload together.
    pub fn body_bytes(&self) -> usize {
        let checksum_bytes = if self.checksum.is_some() { CHECKSUM_BYTES } else { 0 };
        checksum_bytes + SIZE_BYTES + self.metadata_bytes() + self.payload.len()
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
        let begin = out.len();
        if self.checksum.is_some() {
            out.put_u16(CHECKSUM_MAGIC);
            out.put_u32(0);
        }
        let covered = out.len();
        out.put_u32(size(self.metadata_bytes()));
        out.put_slice(self.metadata);
        out.put_u8(REPLICATED_FROM_KEY);
        prost::encode_length_delimiter(self.from.len(), out).expect("a BytesMut grows");
        out.put_slice(self.from.as_bytes());
        if let Some(stored) = self.checksum {
            let before = crc32c::crc32c_append(crc32c::crc32c(&size(self.metadata.len()).to_be_bytes()), self.metadata);
            let after = crc32c::crc32c(&out[covered..]);
            let checksum = stored ^ shift(before ^ after, self.payload.len());
            out[begin + 2..covered].copy_from_slice(&checksum.to_be_bytes());
        }
    }

    fn metadata_bytes(&self) -> usize {
        self.metadata.len() + 1 + prost::length_delimiter_len(self.from.len()) + self.from.len()
    }
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("payload: metadata is below 4 GiB")
}

/// The Castagnoli polynomial without its highest term; as in checksums, the lowest power stands in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// The polynomial 1.
const ONE: u32 = 1 << 31;
/// x to the power of 2^n, by n.
const POWERS: [u32; 64] = powers();

const fn powers() -> [u32; 64] {
    let mut powers = [ONE >> 1; 64];
    let mut n = 1;
    while n < powers.len() {
        powers[n] = multiply(powers[n - 1], powers[n - 1]);
        n += 1;
    }
    powers
}

/// The product of two polynomials modulo the Castagnoli polynomial.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut term = ONE;
    while term != 0 {
        if a & term != 0 {
            product ^= b;
        }
        b = if b & 1 == 0 { b >> 1 } else { b >> 1 ^ POLYNOMIAL };
        term >>= 1;
    }
    product
}

/// What a difference between checksums becomes when `bytes` more are checked: it is multiplied by x to the power of their bits.
fn shift(difference: u32, bytes: usize) -> u32 {
    let set = (0..usize::BITS as usize).filter(|n| bytes >> n & 1 == 1);
    // A byte has 2^3 bits. Lengths are those of slices, below 2^61.
    set.fold(difference, |shifted, n| multiply(POWERS[n + 3], shifted))
}
