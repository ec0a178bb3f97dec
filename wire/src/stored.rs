//! The head that a broker puts before every stored entry. The body stays the producer's bytes.
//!
//! **What**  `StoredHead` is the first part of an [`base::EntryData`]; the body is, for format `Pulsar`, the checksummed
//! payload exactly as the producer sent it (magic 0x0e01, CRC32C, metadata size, metadata, payload). The origin of a
//! replicated entry lives here, inside the same durable record as the entry.

use base::{Position, RegionId};

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
