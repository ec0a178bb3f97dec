//! How records stand on disk: groups, records, footers, and how bytes become an index again.

/// Bytes of a record's header on disk.
pub const RECORD_HEADER_BYTES: usize = 40;

/// An encoded record header.
pub type RecordHeader = [u8; RECORD_HEADER_BYTES];

/// What opening the log found: everything a [`crate::Bookie`] needs to go on.
#[derive(Clone, Debug, Default)]
pub struct RecoveredLog {
    /// Damaged places, for a loud report. Empty after a crash alone: a torn tail is not damage.
    pub damage: Vec<DamageReport>,
}

/// One damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    pub file: crate::disk::FileId,
    pub offset: u64,
    pub what: String,
}
