//! The two opaque parts of a stored entry.

use bytes::Bytes;

/// One entry as storage sees it: opaque bytes in two parts, so that a broker can put its own header (`head`) before a
/// payload that stays a slice of the socket buffer (`body`) without copying it. Storage keeps the border between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryData {
    /// At most 65,535 bytes.
    pub head: Bytes,
    /// At most 2^31 bytes.
    pub body: Bytes,
}

impl EntryData {
    pub fn new(head: Bytes, body: Bytes) -> Self {
        debug_assert!(head.len() <= usize::from(u16::MAX), "EntryData: the head is at most 65,535 bytes");
        Self { head, body }
    }

    /// Both parts together, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }
}
