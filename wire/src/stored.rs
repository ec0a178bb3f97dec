//! The head that a broker puts before every stored entry. The body stays the producer's bytes.
//!
//! **What**  `StoredHead` is the first part of an [`base::EntryData`]; the body is, for format `Pulsar`, the checksummed
//! payload exactly as the producer sent it (magic 0x0e01, CRC32C, metadata size, metadata, payload). The origin of a
//! replicated entry lives here, inside the same durable record as the entry.
//!
//! Layout, big-endian: u8 version = 1, u8 format, u64 broker timestamp, u64 index, u32 messages, u8 origin region
//! (0 = published here); with an origin, u64 ledger and i64 entry follow. 23 or 39 bytes.
//!
//! **Tests**  `tests/conformance.rs`, `tests/properties.rs`.

use base::{EntryId, ErrorClass, LedgerId, Position, RegionId};
use bytes::{Buf, BufMut, BytesMut};

/// Which protocol's bytes the body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryFormat {
    Pulsar,
}

/// Where a replicated entry was first published, and the origin position of the entry forwarded before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    pub region: RegionId,
    pub position: Position,
}

/// The broker's header of a stored entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredHead {
    pub format: EntryFormat,
    /// When this region's broker took the entry, Unix milliseconds.
    pub broker_timestamp_ms: u64,
    /// 0-based number of the entry's last message among all messages of the topic in this region.
    pub index: u64,
    /// Messages in the entry: 1, or the batch's count.
    pub messages: u32,
    /// `None` for an entry published in this region.
    pub origin: Option<Origin>,
}

/// The only version so far.
const VERSION: u8 = 1;
/// Number of [`EntryFormat::Pulsar`].
const FORMAT_PULSAR: u8 = 1;
/// Number that stands for "published in this region".
const NO_ORIGIN: u8 = 0;

/// Why bytes are not a stored head. They come from our own log, behind its checksum: the log is damaged or newer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    #[error("the stored head ends too early")]
    Truncated,
    #[error("stored head version {0} is unknown to this build")]
    UnknownVersion(u8),
    #[error("stored entry format {0} is unknown to this build")]
    UnknownFormat(u8),
    #[error("{0} bytes follow the stored head")]
    TrailingBytes(usize),
}

impl StoredError {
    /// The topic's own data cannot be read.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Truncated | Self::UnknownVersion(_) | Self::UnknownFormat(_) | Self::TrailingBytes(_) => {
                ErrorClass::Fatal
            }
        }
    }
}

impl StoredHead {
    /// Appends the head's bytes.
    ///
    /// # Panics
    /// When the origin has region number 0, which is never assigned.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        match self.format {
            EntryFormat::Pulsar => out.put_u8(FORMAT_PULSAR),
        }
        out.put_u64(self.broker_timestamp_ms);
        out.put_u64(self.index);
        out.put_u32(self.messages);
        match self.origin {
            None => out.put_u8(NO_ORIGIN),
            Some(origin) => {
                assert!(origin.region.0 != NO_ORIGIN, "StoredHead: an origin has a region number");
                out.put_u8(origin.region.0);
                out.put_u64(origin.position.ledger.0);
                out.put_i64(origin.position.entry.0);
            }
        }
    }

    /// Reads a head that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`StoredError`] for bytes of another version, cut or followed by more.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, StoredError> {
        let head = Self::read(&mut bytes)?;
        if bytes.is_empty() { Ok(head) } else { Err(StoredError::TrailingBytes(bytes.len())) }
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, StoredError> {
        let truncated = |_| StoredError::Truncated;
        let version = bytes.try_get_u8().map_err(truncated)?;
        if version != VERSION {
            return Err(StoredError::UnknownVersion(version));
        }
        let format = match bytes.try_get_u8().map_err(truncated)? {
            FORMAT_PULSAR => EntryFormat::Pulsar,
            other => return Err(StoredError::UnknownFormat(other)),
        };
        let broker_timestamp_ms = bytes.try_get_u64().map_err(truncated)?;
        let index = bytes.try_get_u64().map_err(truncated)?;
        let messages = bytes.try_get_u32().map_err(truncated)?;
        let origin = match bytes.try_get_u8().map_err(truncated)? {
            NO_ORIGIN => None,
            region => {
                let ledger = LedgerId(bytes.try_get_u64().map_err(truncated)?);
                let entry = EntryId(bytes.try_get_i64().map_err(truncated)?);
                Some(Origin { region: RegionId(region), position: Position { ledger, entry } })
            }
        };
        Ok(Self { format, broker_timestamp_ms, index, messages, origin })
    }
}
