//! The bytes of a whole [`MetaState`]: what a snapshot file holds and what a lagging node is sent.
//!
//! **What**  Magic `MDNMETA`, a format byte, revision, count, then key, version and value of every item in key order,
//! then the CRC32C of all before it. The same state always gives the same bytes.
//!
//! **Not here**  Files and where they go (`meta::snapshots`).
//!
//! **Tests**  `codec/tests.rs`.

use crate::codec::{DecodeError, Fields, put_bytes};
use crate::{MetaState, Versioned};
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

const MAGIC: &[u8; 7] = b"MDNMETA";
const FORMAT: u8 = 1;
const CRC_LEN: usize = 4;
/// Bytes of one item beside its key and value.
const ITEM_OVERHEAD: usize = 16;

/// Why bytes are no snapshot. Nothing of a refused snapshot is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the metadata snapshot does not start with its magic: these bytes are something else")]
    Magic,
    #[error("the metadata snapshot is damaged: its checksum is {actual:#010x}, its bytes give {computed:#010x}")]
    Checksum { actual: u32, computed: u32 },
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the metadata snapshot breaks its own order at key {key:?}")]
    Order { key: String },
}

impl MetaState {
    /// The whole state as bytes.
    pub fn to_snapshot(&self) -> Bytes {
        let items = self.items.len() * ITEM_OVERHEAD;
        let mut out = BytesMut::with_capacity(items + usize::try_from(self.bytes).unwrap_or(0) + 64);
        out.put_slice(MAGIC);
        out.put_u8(FORMAT);
        out.put_u64_le(self.revision);
        out.put_u64_le(u64::try_from(self.items.len()).unwrap_or(u64::MAX));
        for (key, item) in &self.items {
            put_bytes(&mut out, key.as_bytes());
            out.put_u64_le(item.version);
            put_bytes(&mut out, &item.value);
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        out.freeze()
    }

    /// The state that [`MetaState::to_snapshot`] wrote.
    ///
    /// # Errors
    /// [`SnapshotError`] when the bytes are damaged, cut, or of an unknown format.
    pub fn from_snapshot(bytes: &[u8]) -> Result<Self, SnapshotError> {
        let body_len = bytes.len().checked_sub(CRC_LEN).ok_or(SnapshotError::Magic)?;
        let (body, crc) = bytes.split_at(body_len);
        let rest = body.strip_prefix(MAGIC).ok_or(SnapshotError::Magic)?;
        let actual = crc.iter().rev().fold(0u32, |crc, byte| crc << 8 | u32::from(*byte));
        let computed = crc32c::crc32c(body);
        if actual != computed {
            return Err(SnapshotError::Checksum { actual, computed });
        }
        let mut fields = Fields::new("metadata snapshot", rest);
        fields.take_format(FORMAT)?;
        let revision = fields.take_u64()?;
        let state = take_items(&mut fields, revision)?;
        fields.finish()?;
        Ok(state)
    }
}

fn take_items(fields: &mut Fields<'_>, revision: u64) -> Result<MetaState, SnapshotError> {
    let count = fields.take_u64()?;
    let mut items: Vec<(String, Versioned)> = Vec::new();
    let mut bytes = 0u64;
    for _ in 0..count {
        let key = fields.take_text()?;
        let version = fields.take_u64()?;
        let value = Bytes::copy_from_slice(fields.take_bytes()?);
        let in_order = items.last().is_none_or(|(last, _)| *last < key);
        if !in_order || version > revision || version == 0 {
            return Err(SnapshotError::Order { key });
        }
        bytes += u64::try_from(key.len() + value.len()).unwrap_or(u64::MAX);
        items.push((key, Versioned { value, version }));
    }
    // Sorted input: the tree is built in one pass.
    Ok(MetaState { items: BTreeMap::from_iter(items), revision, bytes })
}
