//! What goes into a [`crate::LinkSender`] and what comes out of it.

use crate::{LinkAlarm, LinkResume};
use base::{EntryData, Position, RequestId};
use wire::region::RegionFrame;

/// Whether an entry is to be forwarded on this link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    Yes,
    /// It came from another region, `replicate_to` excludes the remote, …: it leaves no trace there.
    Skip,
}

/// One entry of the log, as the owner read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEntry {
    pub position: Position,
    pub data: EntryData,
    pub forward: Forward,
    /// Messages of the topic up to and including this entry.
    pub messages_end: u64,
    /// When the broker took the entry, Unix milliseconds.
    pub published_ms: u64,
}

/// A read that did not give entries; it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFailed;

/// Whether the connection takes more frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Writable,
    Full,
}

/// What a sender wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEffect {
    /// Send this frame to the remote region, in order with the link's other frames.
    Send(RegionFrame),
    /// Read the log from `from` (inclusive; the next readable position if it does not exist) and answer with
    /// `handle_read`: at least one entry if there is one, an empty list at the end of the log.
    ReadFrom {
        id: RequestId,
        from: Position,
        entries_max: u32,
        bytes_max: u64,
    },
    /// Move the durable link cursor forward: properties before or together with the mark-delete. While entries stream, at most
    /// once in `LinkOptions::report_every`.
    Acked(LinkResume),
    /// Move the durable link cursor back, at once, so that retention keeps what is sent again.
    Rewound(LinkResume),
    Alarm(LinkAlarm),
}

/// Where a sender stands, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkPhase {
    /// No connection to the remote region.
    Offline,
    /// Asked the remote to take the topic.
    Opening,
    Streaming,
    /// Waiting to open again.
    BackingOff,
    /// Stopped by an alarm; evaluated anew from time to time and on every connection.
    Halted,
    Closed,
}

/// How far the remote is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkLag {
    /// Messages in this region's log that the link has not yet dealt with.
    pub messages: u64,
    /// Age of the oldest entry that waits to be acknowledged, milliseconds; 0 when there is none.
    pub oldest_ms: u64,
    /// Sent and not yet acknowledged.
    pub unacked_bytes: u64,
}

/// Counters since the sender was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    pub entries_sent: u64,
    pub bytes_sent: u64,
    pub entries_acked: u64,
    pub rewinds: u64,
    pub opens: u64,
}
