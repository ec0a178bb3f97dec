//! How far each origin region's entries are held by this copy of a topic.
//!
//! **What**  Two watermarks per origin region: `accepted` (appended to the log, maybe not durable yet) decides what the
//! next entry must be; `durable` is all that may be acknowledged. Both are rebuilt from a checkpoint and the log after it,
//! because the origin of an entry lives inside the same record as the entry.
//!
//! **Invariants**
//! - I1  durable ≤ accepted, and both only grow.
//! - I2  an entry is accepted only when its `previous` equals `accepted` (`None` = [`Position::EARLIEST`]).
//!
//! **Not here**  Who sends what and when (`receiver`). When an append ends unknown or failed the topic is opened anew and
//! so is the tracker, from the log: nothing is ever taken back.
//!
//! **Tests**  below, and `tests/lossy.rs`.

use base::{EntryId, LedgerId, Position, RegionId};
use std::collections::BTreeMap;
use wire::stored::Origin;

/// Version of the checkpoint format.
const FORMAT: u8 = 1;
/// Bytes of one region in a checkpoint: number, ledger, entry.
const RECORD_BYTES: usize = 1 + 8 + 8;

/// What to do with an entry of an origin region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The exact successor: store it.
    Next,
    /// Already accepted: never store it again.
    Duplicate,
    /// Something between is missing: ask again from after the watermark.
    Gap { watermark: Option<Position> },
}

/// A checkpoint that does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    #[error("origin checkpoint format {found} is unknown, this version reads {FORMAT}")]
    UnknownFormat { found: u8 },
    #[error("origin checkpoint has {found} bytes, {expected} expected")]
    WrongLength { found: usize, expected: usize },
    #[error("origin checkpoint names region {0} twice or out of order")]
    WrongOrder(RegionId),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Watermarks {
    accepted: Option<Position>,
    durable: Option<Position>,
}

/// The watermarks of one topic's copy, by origin region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OriginTracker {
    regions: BTreeMap<RegionId, Watermarks>,
}

impl OriginTracker {
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares an entry with what is already accepted of its origin.
    pub fn check(&self, region: RegionId, previous: Position, position: Position) -> Verdict {
        let watermark = self.accepted(region);
        match watermark {
            Some(w) if position <= w => Verdict::Duplicate,
            _ if previous == watermark.unwrap_or(Position::EARLIEST) && position > previous => Verdict::Next,
            _ => Verdict::Gap { watermark },
        }
    }

    /// Notes an entry that was handed to the log after [`Verdict::Next`].
    pub fn accept(&mut self, origin: Origin) {
        let marks = self.regions.entry(origin.region).or_default();
        assert!(marks.accepted < Some(origin.position), "OriginTracker I1: accepted grows, {marks:?} then {origin:?}");
        marks.accepted = Some(origin.position);
    }

    /// Notes that an accepted entry, and so everything before it, is durable.
    pub fn persisted(&mut self, origin: Origin) {
        let marks = self.regions.entry(origin.region).or_default();
        assert!(
            marks.accepted >= Some(origin.position),
            "OriginTracker I1: durable <= accepted, {marks:?}, {origin:?}"
        );
        marks.durable = marks.durable.max(Some(origin.position));
    }

    /// Notes an entry read back from the log while the topic opens.
    pub fn observe(&mut self, origin: Origin) {
        let marks = self.regions.entry(origin.region).or_default();
        marks.accepted = marks.accepted.max(Some(origin.position));
        marks.durable = marks.durable.max(Some(origin.position));
    }

    /// The last accepted entry of an origin.
    pub fn accepted(&self, region: RegionId) -> Option<Position> {
        self.regions.get(&region).and_then(|m| m.accepted)
    }

    /// The last durable entry of an origin.
    pub fn durable(&self, region: RegionId) -> Option<Position> {
        self.regions.get(&region).and_then(|m| m.durable)
    }

    /// The durable watermarks, in region order.
    pub fn iter(&self) -> impl Iterator<Item = Origin> + '_ {
        self.regions.iter().filter_map(|(&region, m)| m.durable.map(|position| Origin { region, position }))
    }

    /// The durable watermarks as bytes for a checkpoint: format byte, then 17 bytes per region.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        for origin in self.iter() {
            out.push(origin.region.0);
            out.extend_from_slice(&origin.position.ledger.0.to_be_bytes());
            out.extend_from_slice(&origin.position.entry.0.to_be_bytes());
        }
        out
    }

    /// Restores what [`OriginTracker::encode`] wrote; the log after the checkpoint follows through
    /// [`OriginTracker::observe`].
    ///
    /// # Errors
    /// [`TrackerError`] for an unknown format, a wrong length, or regions that do not ascend.
    pub fn decode(bytes: &[u8]) -> Result<Self, TrackerError> {
        let (format, records) = bytes.split_first().ok_or(TrackerError::WrongLength { found: 0, expected: 1 })?;
        if *format != FORMAT {
            return Err(TrackerError::UnknownFormat { found: *format });
        }
        let (records, rest) = records.as_chunks::<RECORD_BYTES>();
        if !rest.is_empty() {
            let expected = 1 + (records.len() + 1) * RECORD_BYTES;
            return Err(TrackerError::WrongLength { found: bytes.len(), expected });
        }
        let mut tracker = Self::new();
        for record in records {
            let origin = decode_record(record);
            if tracker.regions.last_key_value().is_some_and(|(last, _)| *last >= origin.region) {
                return Err(TrackerError::WrongOrder(origin.region));
            }
            tracker.observe(origin);
        }
        Ok(tracker)
    }
}

fn decode_record(record: &[u8; RECORD_BYTES]) -> Origin {
    let [region, rest @ ..] = record;
    let (mut ledger, mut entry) = ([0; 8], [0; 8]);
    ledger.copy_from_slice(&rest[..8]);
    entry.copy_from_slice(&rest[8..]);
    let position = Position { ledger: LedgerId(u64::from_be_bytes(ledger)), entry: EntryId(i64::from_be_bytes(entry)) };
    Origin { region: RegionId(*region), position }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
