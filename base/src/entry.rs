//! The two opaque parts of a stored entry, and the checksum that goes with them.

use bytes::Bytes;

/// One entry as storage sees it: opaque bytes in two parts, so that a broker can put its own header (`head`) before a
/// payload that stays a slice of the socket buffer (`body`) without copying it. Storage keeps the border between them.
///
/// The checksum is computed once, where the entry is made, and travels with it to every disk: whatever happens to the
/// bytes on the way shows when they are read. Nobody changes the parts of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryData {
    /// At most 65,535 bytes.
    pub head: Bytes,
    /// At most 2^31 bytes.
    pub body: Bytes,
    checksum: u32,
}

impl EntryData {
    /// An entry that is made here.
    pub fn new(head: Bytes, body: Bytes) -> Self {
        let checksum = checksum(&head, &body);
        Self::with_checksum(head, body, checksum)
    }

    /// An entry that was made elsewhere; whether it [holds](Self::holds) is not looked at.
    pub fn with_checksum(head: Bytes, body: Bytes, checksum: u32) -> Self {
        debug_assert!(head.len() <= usize::from(u16::MAX), "EntryData: the head is at most 65,535 bytes");
        Self { head, body, checksum }
    }

    /// CRC32C of the head and the body behind it, as it was when the entry was made.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Whether these are the bytes that the entry was made of.
    pub fn holds(&self) -> bool {
        checksum(&self.head, &self.body) == self.checksum
    }

    /// Both parts together, in bytes.
    pub fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    pub fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), body)
}

#[cfg(test)]
mod tests {
    use super::EntryData;
    use bytes::Bytes;

    #[test]
    fn an_entry_whose_bytes_changed_on_the_way_does_not_hold() {
        let made = EntryData::new(Bytes::from_static(b"head"), Bytes::from_static(b"body"));
        assert!(made.holds() && EntryData::default().holds());
        let moved = EntryData::new(Bytes::from_static(b"hea"), Bytes::from_static(b"dbody"));
        assert_eq!(moved.checksum(), made.checksum(), "it covers the bytes, not the border between the parts");
        let changed = EntryData::with_checksum(made.head.clone(), Bytes::from_static(b"bodY"), made.checksum());
        assert!(!changed.holds());
    }
}
