//! The bytes of the cursor ledger's entries.
//!
//! **What**  One entry holds one record: version (1 byte), CRC32C of the rest (4 bytes, little-endian), operations.
//! An operation is a tag byte and its fields; numbers are LEB128, entry ids are stored plus one (−1 becomes 0), texts
//! and byte strings carry their length first.
//!
//! **Invariants**
//! - I1  a record that was damaged in any byte is refused, never half applied.
//!
//! **Not here**  What the operations do (`cursor_set`), when they are written (`cursor_log`).
//!
//! **Tests**  golden bytes, a property test of round trips and one of damage, below.

use crate::{AckSet, Checkpoint};
use base::{EntryId, LedgerId, Position};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Version of the record format.
const VERSION: u8 = 1;
/// Version byte and checksum.
const HEAD_BYTES: usize = 5;

/// One durable change of the cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CursorOp {
    Create {
        id: u64,
        name: String,
        mark_delete: Position,
        properties: BTreeMap<String, String>,
    },
    MarkDelete {
        id: u64,
        position: Position,
    },
    /// Entries `start..=end` of one ledger are acknowledged.
    Ack {
        id: u64,
        ledger: LedgerId,
        start: i64,
        end: i64,
    },
    /// At most these messages of the entry are still unacknowledged.
    Partial {
        id: u64,
        position: Position,
        left: AckSet,
    },
    Reset {
        id: u64,
        to: Position,
    },
    Properties {
        id: u64,
        properties: BTreeMap<String, String>,
    },
    Delete {
        id: u64,
    },
    Checkpoint(Checkpoint),
}

const CREATE: u8 = 1;
const MARK_DELETE: u8 = 2;
const ACK: u8 = 3;
const PARTIAL: u8 = 4;
const RESET: u8 = 5;
const PROPERTIES: u8 = 6;
const DELETE: u8 = 7;
const CHECKPOINT: u8 = 8;

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("version {0} instead of {VERSION}")]
    Version(u8),
    #[error("the checksum does not match")]
    Checksum,
    #[error("unknown operation {0}")]
    Tag(u8),
    #[error("{0} is cut short or out of range")]
    Field(&'static str),
}

/// Collects operations into one record.
#[derive(Debug, Default)]
pub(crate) struct RecordWriter {
    bytes: Vec<u8>,
}

impl RecordWriter {
    /// Appends one operation.
    pub(crate) fn push(&mut self, op: &CursorOp) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD_BYTES, 0);
        }
        put_op(&mut self.bytes, op);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.len() <= HEAD_BYTES
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The finished record; the writer is empty afterwards.
    pub(crate) fn finish(&mut self) -> Bytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        let crc = crc32c::crc32c(&bytes[HEAD_BYTES..]);
        bytes[0] = VERSION;
        bytes[1..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        bytes.into()
    }
}

/// All operations of one record.
pub(crate) fn decode(record: &[u8]) -> Result<Vec<CursorOp>, RecordError> {
    let (head, mut rest) = record.split_at_checked(HEAD_BYTES).ok_or(RecordError::Field("record"))?;
    if head[0] != VERSION {
        return Err(RecordError::Version(head[0]));
    }
    if crc32c::crc32c(rest).to_le_bytes() != head[1..] {
        return Err(RecordError::Checksum);
    }
    let mut ops = Vec::new();
    while !rest.is_empty() {
        ops.push(take_op(&mut rest)?);
    }
    Ok(ops)
}

fn put_op(out: &mut Vec<u8>, op: &CursorOp) {
    match op {
        CursorOp::Create { id, name, mark_delete, properties } => {
            put_head(out, CREATE, *id);
            put_bytes(out, name.as_bytes());
            put_position(out, *mark_delete);
            put_properties(out, properties);
        }
        CursorOp::MarkDelete { id, position } => {
            put_head(out, MARK_DELETE, *id);
            put_position(out, *position);
        }
        CursorOp::Ack { id, ledger, start, end } => {
            put_head(out, ACK, *id);
            put_number(out, ledger.0);
            put_entry(out, *start);
            put_number(out, end.abs_diff(*start));
        }
        CursorOp::Partial { id, position, left } => {
            put_head(out, PARTIAL, *id);
            put_position(out, *position);
            put_number(out, left.words().len() as u64);
            left.words().iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        }
        CursorOp::Reset { id, to } => {
            put_head(out, RESET, *id);
            put_position(out, *to);
        }
        CursorOp::Properties { id, properties } => {
            put_head(out, PROPERTIES, *id);
            put_properties(out, properties);
        }
        CursorOp::Delete { id } => put_head(out, DELETE, *id),
        CursorOp::Checkpoint(checkpoint) => {
            out.push(CHECKPOINT);
            put_position(out, checkpoint.position);
            put_bytes(out, &checkpoint.bytes);
        }
    }
}

fn put_head(out: &mut Vec<u8>, tag: u8, id: u64) {
    out.push(tag);
    put_number(out, id);
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_entry(out: &mut Vec<u8>, entry: i64) {
    put_number(out, entry.wrapping_add(1).cast_unsigned());
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put_number(out, position.ledger.0);
    put_entry(out, position.entry.0);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_properties(out: &mut Vec<u8>, properties: &BTreeMap<String, String>) {
    put_number(out, properties.len() as u64);
    for (key, value) in properties {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
}

fn take_op(rest: &mut &[u8]) -> Result<CursorOp, RecordError> {
    let tag = take(rest, 1, "tag")?[0];
    if tag == CHECKPOINT {
        let position = take_position(rest)?;
        return Ok(CursorOp::Checkpoint(Checkpoint { position, bytes: Bytes::copy_from_slice(take_bytes(rest)?) }));
    }
    let id = take_number(rest)?;
    Ok(match tag {
        CREATE => {
            let name = take_text(rest)?;
            let mark_delete = take_position(rest)?;
            CursorOp::Create { id, name, mark_delete, properties: take_properties(rest)? }
        }
        MARK_DELETE => CursorOp::MarkDelete { id, position: take_position(rest)? },
        ACK => {
            let Position { ledger, entry: EntryId(start) } = take_position(rest)?;
            let length = i64::try_from(take_number(rest)?).map_err(|_| RecordError::Field("range"))?;
            CursorOp::Ack { id, ledger, start, end: start.checked_add(length).ok_or(RecordError::Field("range"))? }
        }
        PARTIAL => {
            let position = take_position(rest)?;
            let words = take_length(rest, 8)?;
            let words = take(rest, words * 8, "ack set")?.chunks_exact(8);
            let words = words.map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)));
            CursorOp::Partial { id, position, left: AckSet::from_words(words.collect()) }
        }
        RESET => CursorOp::Reset { id, to: take_position(rest)? },
        PROPERTIES => CursorOp::Properties { id, properties: take_properties(rest)? },
        DELETE => CursorOp::Delete { id },
        unknown => return Err(RecordError::Tag(unknown)),
    })
}

fn take<'a>(rest: &mut &'a [u8], count: usize, what: &'static str) -> Result<&'a [u8], RecordError> {
    let (taken, left) = rest.split_at_checked(count).ok_or(RecordError::Field(what))?;
    *rest = left;
    Ok(taken)
}

fn take_number(rest: &mut &[u8]) -> Result<u64, RecordError> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1, "number")?[0];
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            return Err(RecordError::Field("number"));
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(RecordError::Field("number"))
}

/// A count of items of at least `item_bytes` each, which must fit what is left.
fn take_length(rest: &mut &[u8], item_bytes: usize) -> Result<usize, RecordError> {
    let length = usize::try_from(take_number(rest)?).map_err(|_| RecordError::Field("length"))?;
    if length > rest.len() / item_bytes { Err(RecordError::Field("length")) } else { Ok(length) }
}

fn take_position(rest: &mut &[u8]) -> Result<Position, RecordError> {
    let ledger = take_number(rest)?;
    let entry = i64::try_from(take_number(rest)?).map_err(|_| RecordError::Field("entry id"))?;
    Ok(Position::new(LedgerId(ledger), entry - 1))
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], RecordError> {
    let length = take_length(rest, 1)?;
    take(rest, length, "bytes")
}

fn take_text(rest: &mut &[u8]) -> Result<String, RecordError> {
    String::from_utf8(take_bytes(rest)?.to_vec()).map_err(|_| RecordError::Field("text"))
}

fn take_properties(rest: &mut &[u8]) -> Result<BTreeMap<String, String>, RecordError> {
    let count = take_length(rest, 2)?;
    (0..count).map(|_| Ok((take_text(rest)?, take_text(rest)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    fn position() -> impl Strategy<Value = Position> {
        (any::<u64>(), -1i64..i64::MAX).prop_map(|(ledger, entry)| Position::new(LedgerId(ledger), entry))
    }

    fn op() -> impl Strategy<Value = CursorOp> {
        let properties = proptest::collection::btree_map("[a-z]{0,4}", ".{0,4}", 0..3);
        prop_oneof![
            (any::<u64>(), ".{0,9}", position(), properties.clone())
                .prop_map(|(id, name, mark_delete, properties)| CursorOp::Create { id, name, mark_delete, properties }),
            (any::<u64>(), position()).prop_map(|(id, position)| CursorOp::MarkDelete { id, position }),
            (any::<u64>(), any::<u64>(), 0..1i64 << 60, 0..1i64 << 60).prop_map(|(id, l, start, len)| CursorOp::Ack {
                id,
                ledger: LedgerId(l),
                start,
                end: start + len
            }),
            (any::<u64>(), position(), proptest::collection::vec(any::<u64>(), 0..4))
                .prop_map(|(id, position, w)| { CursorOp::Partial { id, position, left: AckSet::from_words(w) } }),
            (any::<u64>(), position()).prop_map(|(id, to)| CursorOp::Reset { id, to }),
            (any::<u64>(), properties).prop_map(|(id, properties)| CursorOp::Properties { id, properties }),
            any::<u64>().prop_map(|id| CursorOp::Delete { id }),
            (position(), Just(Bytes::from_static(b"state")))
                .prop_map(|(position, bytes)| CursorOp::Checkpoint(Checkpoint { position, bytes })),
        ]
    }

    fn encode(ops: &[CursorOp]) -> Bytes {
        let mut writer = RecordWriter::default();
        ops.iter().for_each(|op| {
            writer.push(op);
        });
        writer.finish()
    }

    proptest! {
        #[test]
        fn every_record_reads_back_as_it_was_written(ops in proptest::collection::vec(op(), 1..8)) {
            prop_assert_eq!(decode(&encode(&ops)).unwrap(), ops);
        }

        #[test]
        fn a_record_damaged_in_any_byte_is_refused(
            ops in proptest::collection::vec(op(), 1..4), at in any::<usize>(), flip in 1u8..,
        ) {
            let mut bytes = encode(&ops).to_vec();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn garbage_behind_a_valid_checksum_neither_panics_nor_takes_memory(
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut bytes = vec![VERSION];
            bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
            bytes.extend_from_slice(&body);
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn the_bytes_on_disk_do_not_change() {
        let (ledger, position) = (LedgerId(300), Position::new(LedgerId(300), 6));
        let ops = [
            CursorOp::Create {
                id: 1,
                name: "s".into(),
                mark_delete: Position::new(ledger, -1),
                properties: BTreeMap::from([("k".into(), "v".into())]),
            },
            CursorOp::MarkDelete { id: 1, position },
            CursorOp::Ack { id: 1, ledger, start: 8, end: 9 },
            CursorOp::Partial { id: 1, position: position.next(), left: AckSet::from_wire(&[5]) },
            CursorOp::Reset { id: 1, to: position },
            CursorOp::Properties { id: 1, properties: BTreeMap::new() },
            CursorOp::Delete { id: 1 },
            CursorOp::Checkpoint(Checkpoint { position, bytes: Bytes::from_static(b"x") }),
        ];
        let bytes = encode(&ops);
        assert_eq!(
            bytes[HEAD_BYTES..],
            [
                1, 1, 1, b's', 172, 2, 0, 1, 1, b'k', 1, b'v', 2, 1, 172, 2, 7, 3, 1, 172, 2, 9, 1, 4, 1, 172, 2, 8, 1,
                5, 0, 0, 0, 0, 0, 0, 0, 5, 1, 172, 2, 7, 6, 1, 0, 7, 1, 8, 172, 2, 7, 1, b'x'
            ]
        );
        assert_eq!(bytes[0], 1);
    }
}
