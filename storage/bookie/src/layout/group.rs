//! One group: what one write and one fdatasync made durable together.
//!
//! **What**  A 64-byte header, then records back to back, then zeros up to the next 4 KiB border. A group never shares a
//! 4 KiB block with another one, so a torn block can only hurt a group that nobody was told about. Integers are
//! little-endian.
//!
//! | bytes | field |
//! |---|---|
//! | 0–3 | magic `MGRP` |
//! | 4 | format, 1 (magic and the last checksum keep their places in every format) |
//! | 5–7 | zero |
//! | 8–15 | file |
//! | 16–23 | offset of this group in the file |
//! | 24–31 | sequence number of the group in the whole log |
//! | 32–39 | nonce of the file's life |
//! | 40–43 | CRC of the group before (its bytes 60–63) |
//! | 44–47 | bytes of records |
//! | 48–51 | number of records |
//! | 52–55 | CRC32C of all record headers, one after the other |
//! | 56–59 | zero |
//! | 60–63 | CRC32C of bytes 0–59 |
//!
//! Because the group before was durable before this one was written, a group that can be read proves that everything
//! before it once was complete: a bad group with a later one behind it is damage, a bad group at the end is a torn write.

use super::record::{u32_at, u64_at};
use crate::disk::FileId;

/// Bytes of a group's header.
pub const GROUP_HEADER_BYTES: usize = 64;
/// Groups begin at multiples of this, bytes.
pub const GROUP_ALIGN: u64 = 4096;
/// The first byte of a group; no record kind has this value, so that a reader can tell the two apart.
pub(crate) const GROUP_FIRST_BYTE: u8 = MAGIC[0];
const MAGIC: [u8; 4] = *b"MGRP";
const FORMAT: u8 = 1;

/// A group's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHeader {
    pub(crate) file: FileId,
    pub(crate) offset: u64,
    pub(crate) seq: u64,
    pub(crate) nonce: u64,
    pub(crate) prev_crc: u32,
    pub(crate) records_len: u32,
    pub(crate) record_count: u32,
    pub(crate) records_crc: u32,
}

impl GroupHeader {
    /// The bytes, and the checksum that the next group repeats.
    pub(crate) fn encode(&self) -> ([u8; GROUP_HEADER_BYTES], u32) {
        let mut out = [0; GROUP_HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = FORMAT;
        out[8..16].copy_from_slice(&self.file.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.offset.to_le_bytes());
        out[24..32].copy_from_slice(&self.seq.to_le_bytes());
        out[32..40].copy_from_slice(&self.nonce.to_le_bytes());
        out[40..44].copy_from_slice(&self.prev_crc.to_le_bytes());
        out[44..48].copy_from_slice(&self.records_len.to_le_bytes());
        out[48..52].copy_from_slice(&self.record_count.to_le_bytes());
        out[52..56].copy_from_slice(&self.records_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..60]);
        out[60..64].copy_from_slice(&crc.to_le_bytes());
        (out, crc)
    }

    /// Reads a header and its checksum; `None` when these bytes are not a header or are damaged.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u32)> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let crc = u32_at(bytes, 60);
        if bytes[0..4] != MAGIC || bytes[4] != FORMAT || crc32c::crc32c(&bytes[..60]) != crc {
            return None;
        }
        let header = Self {
            file: FileId(u64_at(bytes, 8)),
            offset: u64_at(bytes, 16),
            seq: u64_at(bytes, 24),
            nonce: u64_at(bytes, 32),
            prev_crc: u32_at(bytes, 40),
            records_len: u32_at(bytes, 44),
            record_count: u32_at(bytes, 48),
            records_crc: u32_at(bytes, 52),
        };
        Some((header, crc))
    }

    /// The format of an intact header that this version does not know.
    pub(crate) fn unknown_format(bytes: &[u8]) -> Option<u8> {
        let bytes = bytes.get(..GROUP_HEADER_BYTES)?;
        let intact = bytes[0..4] == MAGIC && crc32c::crc32c(&bytes[..60]) == u32_at(bytes, 60);
        (intact && bytes[4] != FORMAT).then_some(bytes[4])
    }

    /// Bytes that the group occupies, padding included.
    pub(crate) fn footprint(&self) -> u64 {
        group_footprint(u64::from(self.records_len))
    }
}

/// Bytes on disk of a group that holds `records_len` bytes of records.
pub(crate) fn group_footprint(records_len: u64) -> u64 {
    (GROUP_HEADER_BYTES as u64 + records_len).next_multiple_of(GROUP_ALIGN)
}
