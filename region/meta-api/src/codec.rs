//! The bytes of a request, as they stand in the replicated log and between nodes.
//!
//! **What**  A format byte (1), a tag byte, then the fields: integers little-endian, strings and values behind a 32-bit
//! length, lists behind a 32-bit count. Integrity is the business of the record around it.
//!
//! **Not here**  Checksums and framing (`meta::wal`), snapshots (`snapshot`).
//!
//! **Tests**  `codec/tests.rs`: golden bytes, round trips, every truncation refused.

use crate::{Compare, MetaRequest, Write};
use bytes::{BufMut, Bytes, BytesMut};

/// The format that [`MetaRequest::encode`] writes.
const FORMAT: u8 = 1;

/// Bytes that are no request or no snapshot of a format that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{what} ends after {len} bytes in the middle of a field")]
    Truncated { what: &'static str, len: usize },
    #[error("{what} has format {format}, this version reads format {known}")]
    Format { what: &'static str, format: u8, known: u8 },
    #[error("{what} holds the unknown tag {tag} at byte {offset}")]
    Tag { what: &'static str, tag: u8, offset: usize },
    #[error("{what} holds text that is not UTF-8 at byte {offset}")]
    Text { what: &'static str, offset: usize },
    #[error("{what} has {extra} bytes behind its end")]
    Trailing { what: &'static str, extra: usize },
}

impl MetaRequest {
    /// Appends the request's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(FORMAT);
        match self {
            Self::Get { key } => {
                out.put_u8(0);
                put_bytes(out, key.as_bytes());
            }
            Self::Range { prefix, after, limit } => {
                out.put_u8(1);
                put_bytes(out, prefix.as_bytes());
                out.put_u8(u8::from(after.is_some()));
                put_bytes(out, after.as_deref().unwrap_or_default().as_bytes());
                out.put_u32_le(*limit);
            }
            Self::Txn { compare, writes } => {
                out.put_u8(2);
                put_count(out, compare.len());
                compare.iter().for_each(|condition| encode_compare(condition, out));
                put_count(out, writes.len());
                writes.iter().for_each(|write| encode_write(write, out));
            }
            Self::Reserve { key, by } => {
                out.put_u8(3);
                put_bytes(out, key.as_bytes());
                out.put_u64_le(*by);
            }
        }
    }

    /// Bytes that [`MetaRequest::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        let fields = match self {
            Self::Get { key } => text_len(key),
            Self::Range { prefix, after, limit: _ } => text_len(prefix) + text_len(after.as_deref().unwrap_or("")) + 5,
            Self::Txn { compare, writes } => {
                let compare: usize = compare.iter().map(compare_len).sum();
                let writes: usize = writes.iter().map(write_len).sum();
                8 + compare + writes
            }
            Self::Reserve { key, by: _ } => text_len(key) + 8,
        };
        2 + fields
    }

    /// Reads one request that fills `bytes`.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are cut, of another format, or hold more than one request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new("metadata request", bytes);
        fields.take_format(FORMAT)?;
        let request = match fields.take_tag(3)? {
            0 => Self::Get { key: fields.take_text()? },
            1 => {
                let prefix = fields.take_text()?;
                let has_after = fields.take_tag(1)? == 1;
                let after = fields.take_text()?;
                Self::Range { prefix, after: has_after.then_some(after), limit: fields.take_u32()? }
            }
            2 => {
                let compare = take_list(&mut fields, decode_compare)?;
                Self::Txn { compare, writes: take_list(&mut fields, decode_write)? }
            }
            _ => Self::Reserve { key: fields.take_text()?, by: fields.take_u64()? },
        };
        fields.finish()?;
        Ok(request)
    }
}

fn text_len(text: &str) -> usize {
    4 + text.len()
}

fn compare_len(condition: &Compare) -> usize {
    match condition {
        Compare::Version { key, version: _ } => 1 + text_len(key) + 8,
        Compare::Absent { key } | Compare::Exists { key } => 1 + text_len(key),
        Compare::NoneWithPrefix { prefix } => 1 + text_len(prefix),
    }
}

fn write_len(write: &Write) -> usize {
    match write {
        Write::Put { key, value } => 1 + text_len(key) + 4 + value.len(),
        Write::Delete { key } => 1 + text_len(key),
    }
}

fn encode_compare(condition: &Compare, out: &mut BytesMut) {
    let (tag, text) = match condition {
        Compare::Absent { key } => (0, key),
        Compare::Version { key, .. } => (1, key),
        Compare::Exists { key } => (2, key),
        Compare::NoneWithPrefix { prefix } => (3, prefix),
    };
    out.put_u8(tag);
    put_bytes(out, text.as_bytes());
    if let Compare::Version { version, .. } = condition {
        out.put_u64_le(*version);
    }
}

fn decode_compare(fields: &mut Fields<'_>) -> Result<Compare, DecodeError> {
    let tag = fields.take_tag(3)?;
    let text = fields.take_text()?;
    Ok(match tag {
        0 => Compare::Absent { key: text },
        1 => Compare::Version { key: text, version: fields.take_u64()? },
        2 => Compare::Exists { key: text },
        _ => Compare::NoneWithPrefix { prefix: text },
    })
}

fn encode_write(write: &Write, out: &mut BytesMut) {
    match write {
        Write::Put { key, value } => {
            out.put_u8(0);
            put_bytes(out, key.as_bytes());
            put_bytes(out, value);
        }
        Write::Delete { key } => {
            out.put_u8(1);
            put_bytes(out, key.as_bytes());
        }
    }
}

fn decode_write(fields: &mut Fields<'_>) -> Result<Write, DecodeError> {
    let tag = fields.take_tag(1)?;
    let key = fields.take_text()?;
    Ok(match tag {
        0 => Write::Put { key, value: Bytes::copy_from_slice(fields.take_bytes()?) },
        _ => Write::Delete { key },
    })
}

fn take_list<'a, T>(
    fields: &mut Fields<'a>,
    decode: impl Fn(&mut Fields<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = fields.take_u32()?;
    // Grown by what really arrives: a damaged count must not reserve memory.
    (0..count).map(|_| decode(fields)).collect()
}

pub(crate) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

/// Appends a length or count.
///
/// # Panics
/// Above 4 GiB, far over every limit of this crate.
fn put_count(out: &mut BytesMut, count: usize) {
    let count = u32::try_from(count);
    assert!(count.is_ok(), "metadata codec: lengths fit 32 bits");
    out.put_u32_le(count.unwrap_or(u32::MAX));
}

/// Takes fields off the front of encoded bytes; every read is checked.
pub(crate) struct Fields<'a> {
    what: &'static str,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, offset: 0 }
    }

    pub(crate) fn take_format(&mut self, known: u8) -> Result<(), DecodeError> {
        let format = self.take_array::<1>()?[0];
        if format == known { Ok(()) } else { Err(DecodeError::Format { what: self.what, format, known }) }
    }

    pub(crate) fn take_u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.take_array()?))
    }

    pub(crate) fn take_u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.take_array()?))
    }

    pub(crate) fn take_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = usize::try_from(self.take_u32()?).unwrap_or(usize::MAX);
        self.take(len)
    }

    pub(crate) fn take_text(&mut self) -> Result<String, DecodeError> {
        let offset = self.offset;
        let text = std::str::from_utf8(self.take_bytes()?);
        text.map(str::to_owned).map_err(|_| DecodeError::Text { what: self.what, offset })
    }

    /// Ends the reading; bytes left over are an error.
    pub(crate) fn finish(self) -> Result<(), DecodeError> {
        match self.bytes.len() - self.offset {
            0 => Ok(()),
            extra => Err(DecodeError::Trailing { what: self.what, extra }),
        }
    }

    /// A tag of `0..=highest`.
    fn take_tag(&mut self, highest: u8) -> Result<u8, DecodeError> {
        let offset = self.offset;
        let tag = self.take_array::<1>()?[0];
        if tag <= highest { Ok(tag) } else { Err(DecodeError::Tag { what: self.what, tag, offset }) }
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let truncated = DecodeError::Truncated { what: self.what, len: self.bytes.len() };
        let end = self.offset.checked_add(len).ok_or_else(|| truncated.clone())?;
        let taken = self.bytes.get(self.offset..end).ok_or(truncated)?;
        self.offset = end;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
