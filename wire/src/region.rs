//! Frames between regions: one link per topic and remote region, several links on one connection.
//!
//! **What**  The sender of a link is the origin region of the entries. `position` is the entry's origin position,
//! `previous` the origin position of the entry forwarded before it on this link ([`Position::EARLIEST`] for the first).
//! Entries that are not to be forwarded leave no trace: `previous` passes over them. The receiver stores an entry only
//! when `previous` equals its watermark, which it derives from its own log (geo.md §5 item 2).

mod codec;

pub use codec::{RegionFrameSplitter, decode, encode};

use base::{EntryData, Position, RegionId, RegionName, TopicName};
use bytes::Bytes;

/// Version of this frame format, sent in [`RegionFrame::Hello`].
pub const REGION_PROTOCOL_VERSION: u16 = 1;

/// One frame of the region-to-region protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionFrame {
    /// First frame in each direction. A wrong name or number ends the connection.
    Hello { version: u16, region: RegionName, number: RegionId },
    /// The sender wants to forward `topic`; `link` is its number for it, unique within the sender's process life.
    Open { link: u64, topic: TopicName },
    /// The receiver is ready: its watermark for this origin (`None`: it holds nothing of it), which copy of the topic
    /// this is, and how many bytes may be under way without an acknowledgement.
    Opened { link: u64, incarnation: u64, watermark: Option<Position>, credit_bytes: u64 },
    /// The receiver will not take the topic; `retry` says whether asking again later makes sense.
    Refused { link: u64, retry: bool, reason: String },
    /// One entry, its stored head and body as the origin's log holds them.
    Entry { link: u64, previous: Position, position: Position, data: EntryData },
    /// Everything up to `position` (inclusive) is durable at the receiver, and the credit window.
    Ack { link: u64, position: Position, credit_bytes: u64 },
    /// `previous` did not match: send again from the entry after `watermark`.
    Rewind { link: u64, watermark: Option<Position> },
    /// Either side ends the link.
    Close { link: u64, reason: String },
    /// A replicated policy record (namespace or topic), last writer wins by `(version, region number)`.
    Policy { key: String, version: u64, writer: RegionId, value: Option<Bytes> },
}
