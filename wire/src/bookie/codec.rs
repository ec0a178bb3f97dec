//! Bytes of the frames between a ledger client and a bookie.
//!
//! **What**  The envelope of `peer` around the fields of each request and response, in the order of their declaration.
//! Requests and responses have kinds of their own, so one can never be taken for the other.

use super::{
    AddOutcome, BookieRequest, BookieResponse, EntryRange, InLimbo, LacOutcome, LimboFound, ReadOutcome, StoredEntry,
};
use crate::peer::{self, Opened, PeerFrameError, PieceWriter};
use base::LedgerId;
use bytes::{Buf, Bytes, BytesMut};

/// Kinds of frames on the wire; numbers are never given twice.
mod kind {
    pub(super) const ADD: u8 = 1;
    pub(super) const READ: u8 = 2;
    pub(super) const READ_LAC: u8 = 3;
    pub(super) const DELETE: u8 = 4;
    pub(super) const REPAIRED: u8 = 5;
    pub(super) const LIMBO: u8 = 6;
    pub(super) const MISSING: u8 = 7;
    pub(super) const ADDED: u8 = 129;
    pub(super) const READ_DONE: u8 = 130;
    pub(super) const LAC: u8 = 131;
    pub(super) const DELETED: u8 = 132;
    pub(super) const LIFTED: u8 = 133;
    pub(super) const IN_LIMBO: u8 = 134;
    pub(super) const MISSES: u8 = 135;
}

/// Outcomes on the wire. The numbers mean the same in every response that uses them.
mod outcome {
    pub(super) const DONE: u8 = 0;
    pub(super) const UNKNOWN: u8 = 1;
    pub(super) const FENCED: u8 = 2;
    pub(super) const READ_ONLY: u8 = 3;
    pub(super) const NO_SUCH_ENTRY: u8 = 4;
    pub(super) const NO_SUCH_LEDGER: u8 = 5;
}

/// Room for the fields of a frame and the head of one entry, in bytes.
const FIELDS_GUESS: usize = 128;

/// Appends a whole frame, length first; the body of an entry is a piece of its own, uncopied.
pub fn encode_request(request: &BookieRequest, out: &mut Vec<Bytes>) {
    let kind = match request {
        BookieRequest::Add { .. } => kind::ADD,
        BookieRequest::Read { .. } => kind::READ,
        BookieRequest::ReadLac { .. } => kind::READ_LAC,
        BookieRequest::Delete { .. } => kind::DELETE,
        BookieRequest::Repaired { .. } => kind::REPAIRED,
        BookieRequest::Limbo { .. } => kind::LIMBO,
        BookieRequest::Missing { .. } => kind::MISSING,
    };
    let mut writer = PieceWriter::new(kind, FIELDS_GUESS, out);
    writer.put_request_id(request.id());
    match request {
        BookieRequest::Add { id: _, ledger, entry, lac, recovery, data } => {
            writer.put_u64(ledger.0);
            writer.put_entry_id(*entry);
            writer.put_entry_id(*lac);
            writer.put_flag(*recovery);
            writer.put_entry(data);
        }
        BookieRequest::Read { id: _, ledger, from, entries_max, bytes_max, fence } => {
            writer.put_u64(ledger.0);
            writer.put_entry_id(*from);
            writer.put_u32(*entries_max);
            writer.put_u32(*bytes_max);
            writer.put_flag(*fence);
        }
        BookieRequest::ReadLac { id: _, ledger, fence } => {
            writer.put_u64(ledger.0);
            writer.put_flag(*fence);
        }
        BookieRequest::Delete { id: _, ledger } | BookieRequest::Limbo { id: _, after: ledger } => {
            writer.put_u64(ledger.0);
        }
        BookieRequest::Repaired { id: _, ledger, loss } => {
            writer.put_u64(ledger.0);
            writer.put_u32(*loss);
        }
        BookieRequest::Missing { id: _, ledger, range } => {
            writer.put_u64(ledger.0);
            put_range(*range, &mut writer);
        }
    }
    writer.finish();
}

/// Appends a whole frame, length first; bodies of entries are pieces of their own, uncopied.
pub fn encode_response(response: &BookieResponse, out: &mut Vec<Bytes>) {
    let kind = match response {
        BookieResponse::Added { .. } => kind::ADDED,
        BookieResponse::Read { .. } => kind::READ_DONE,
        BookieResponse::Lac { .. } => kind::LAC,
        BookieResponse::Deleted { .. } => kind::DELETED,
        BookieResponse::Repaired { .. } => kind::LIFTED,
        BookieResponse::Limbo { .. } => kind::IN_LIMBO,
        BookieResponse::Missing { .. } => kind::MISSES,
    };
    let mut writer = PieceWriter::new(kind, FIELDS_GUESS, out);
    writer.put_request_id(response.id());
    match response {
        BookieResponse::Added { id: _, ledger, entry, outcome } => {
            writer.put_u64(ledger.0);
            writer.put_entry_id(*entry);
            writer.put_u8(match outcome {
                AddOutcome::Stored => outcome::DONE,
                AddOutcome::Fenced => outcome::FENCED,
                AddOutcome::ReadOnly => outcome::READ_ONLY,
                AddOutcome::Unknown => outcome::UNKNOWN,
            });
        }
        BookieResponse::Read { id: _, ledger, outcome } => {
            writer.put_u64(ledger.0);
            put_read_outcome(outcome, &mut writer);
        }
        BookieResponse::Lac { id: _, ledger, outcome } => {
            writer.put_u64(ledger.0);
            match outcome {
                LacOutcome::Lac { lac, last } => {
                    writer.put_u8(outcome::DONE);
                    writer.put_entry_id(*lac);
                    writer.put_entry_id(*last);
                }
                LacOutcome::NoSuchLedger => writer.put_u8(outcome::NO_SUCH_LEDGER),
                LacOutcome::Unknown => writer.put_u8(outcome::UNKNOWN),
            }
        }
        BookieResponse::Deleted { id: _, ledger } => writer.put_u64(ledger.0),
        BookieResponse::Repaired { id: _, ledger, lifted } => {
            writer.put_u64(ledger.0);
            writer.put_flag(*lifted);
        }
        BookieResponse::Limbo { id: _, found } => put_limbo(found, &mut writer),
        BookieResponse::Missing { id: _, ledger, until, ranges } => {
            writer.put_u64(ledger.0);
            writer.put_entry_id(*until);
            writer.put_u32(count(ranges));
            ranges.iter().for_each(|range| put_range(*range, &mut writer));
        }
    }
    writer.finish();
}

fn put_range(range: EntryRange, writer: &mut PieceWriter<'_>) {
    writer.put_entry_id(range.first);
    writer.put_entry_id(range.end);
}

/// The number of ledgers stands where other answers have the ledger.
fn put_limbo(found: &LimboFound, writer: &mut PieceWriter<'_>) {
    match found {
        LimboFound::Unmeasured => {
            writer.put_u64(0);
            writer.put_u8(outcome::UNKNOWN);
        }
        LimboFound::Ledgers { ledgers, more } => {
            writer.put_u64(ledgers.len() as u64);
            writer.put_u8(outcome::DONE);
            writer.put_flag(*more);
            for InLimbo { ledger, loss } in ledgers {
                writer.put_u64(ledger.0);
                writer.put_u32(*loss);
            }
        }
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).expect("bookie: an answer has fewer than 2^32 parts")
}

fn put_read_outcome(outcome: &ReadOutcome, writer: &mut PieceWriter<'_>) {
    match outcome {
        ReadOutcome::Entries(entries) => {
            writer.put_u8(outcome::DONE);
            writer.put_u32(count(entries));
            for entry in entries {
                writer.put_entry_id(entry.entry);
                writer.put_entry_id(entry.lac);
                writer.put_entry(&entry.data);
            }
        }
        ReadOutcome::NoSuchEntry => writer.put_u8(outcome::NO_SUCH_ENTRY),
        ReadOutcome::NoSuchLedger => writer.put_u8(outcome::NO_SUCH_LEDGER),
        ReadOutcome::Unknown => writer.put_u8(outcome::UNKNOWN),
    }
}

/// Decodes one request, given without its length. Its body is a slice of `frame`; whether an entry that is to be stored
/// holds is not looked at, since its checksum is stored with it.
///
/// # Errors
/// [`PeerFrameError`] for fields that are damaged, cut, followed by more, or no request.
pub fn decode_request(frame: &Bytes) -> Result<BookieRequest, PeerFrameError> {
    let (kind, mut rest) = peer::open(frame)?;
    let fields = &mut rest.fields;
    let id = peer::take_request_id(fields)?;
    let ledger = LedgerId(fields.try_get_u64()?);
    let request = match kind {
        kind::ADD => BookieRequest::Add {
            id,
            ledger,
            entry: peer::take_entry_id(fields)?,
            lac: peer::take_entry_id(fields)?,
            recovery: peer::take_flag(fields)?,
            data: peer::take_entry_unread(&mut rest)?,
        },
        kind::READ => BookieRequest::Read {
            id,
            ledger,
            from: peer::take_entry_id(fields)?,
            entries_max: fields.try_get_u32()?,
            bytes_max: fields.try_get_u32()?,
            fence: peer::take_flag(fields)?,
        },
        kind::READ_LAC => BookieRequest::ReadLac { id, ledger, fence: peer::take_flag(fields)? },
        kind::DELETE => BookieRequest::Delete { id, ledger },
        kind::REPAIRED => BookieRequest::Repaired { id, ledger, loss: fields.try_get_u32()? },
        kind::LIMBO => BookieRequest::Limbo { id, after: ledger },
        kind::MISSING => BookieRequest::Missing { id, ledger, range: take_range(fields)? },
        other => return Err(PeerFrameError::UnknownKind(other)),
    };
    peer::finish(request, &rest)
}

/// Decodes one response, given without its length. Bodies of entries are slices of `frame`.
///
/// # Errors
/// [`PeerFrameError`] for bytes that are damaged, cut, followed by more, or no response.
pub fn decode_response(frame: &Bytes) -> Result<BookieResponse, PeerFrameError> {
    let (kind, mut rest) = peer::open(frame)?;
    let fields = &mut rest.fields;
    let id = peer::take_request_id(fields)?;
    let ledger = LedgerId(fields.try_get_u64()?);
    let response = match kind {
        kind::ADDED => BookieResponse::Added {
            id,
            ledger,
            entry: peer::take_entry_id(fields)?,
            outcome: take_add_outcome(fields)?,
        },
        kind::READ_DONE => BookieResponse::Read { id, ledger, outcome: take_read_outcome(&mut rest)? },
        kind::LAC => BookieResponse::Lac { id, ledger, outcome: take_lac_outcome(fields)? },
        kind::DELETED => BookieResponse::Deleted { id, ledger },
        kind::LIFTED => BookieResponse::Repaired { id, ledger, lifted: peer::take_flag(fields)? },
        kind::IN_LIMBO => BookieResponse::Limbo { id, found: take_limbo(ledger.0, fields)? },
        kind::MISSES => {
            let until = peer::take_entry_id(fields)?;
            let mut ranges = Vec::new();
            for _ in 0..fields.try_get_u32()? {
                ranges.push(take_range(fields)?);
            }
            BookieResponse::Missing { id, ledger, until, ranges }
        }
        other => return Err(PeerFrameError::UnknownKind(other)),
    };
    peer::finish(response, &rest)
}

fn take_range(fields: &mut Bytes) -> Result<EntryRange, PeerFrameError> {
    let first = peer::take_entry_id(fields)?;
    Ok(EntryRange { first, end: peer::take_entry_id(fields)? })
}

fn take_limbo(count: u64, fields: &mut Bytes) -> Result<LimboFound, PeerFrameError> {
    match fields.try_get_u8()? {
        outcome::UNKNOWN if count == 0 => Ok(LimboFound::Unmeasured),
        outcome::DONE => {
            let more = peer::take_flag(fields)?;
            // As in a read: what is really there decides, not the count.
            let mut ledgers = Vec::new();
            for _ in 0..count {
                let ledger = LedgerId(fields.try_get_u64()?);
                ledgers.push(InLimbo { ledger, loss: fields.try_get_u32()? });
            }
            Ok(LimboFound::Ledgers { ledgers, more })
        }
        other => Err(PeerFrameError::UnknownOutcome(other)),
    }
}

fn take_add_outcome(fields: &mut Bytes) -> Result<AddOutcome, PeerFrameError> {
    match fields.try_get_u8()? {
        outcome::DONE => Ok(AddOutcome::Stored),
        outcome::FENCED => Ok(AddOutcome::Fenced),
        outcome::READ_ONLY => Ok(AddOutcome::ReadOnly),
        outcome::UNKNOWN => Ok(AddOutcome::Unknown),
        other => Err(PeerFrameError::UnknownOutcome(other)),
    }
}

fn take_read_outcome(rest: &mut Opened) -> Result<ReadOutcome, PeerFrameError> {
    match rest.fields.try_get_u8()? {
        outcome::DONE => {
            let count = rest.fields.try_get_u32()?;
            // The list grows with the entries that are really there, not by the declared count.
            let mut entries = Vec::new();
            for _ in 0..count {
                entries.push(StoredEntry {
                    entry: peer::take_entry_id(&mut rest.fields)?,
                    lac: peer::take_entry_id(&mut rest.fields)?,
                    data: peer::take_entry(rest)?,
                });
            }
            Ok(ReadOutcome::Entries(entries))
        }
        outcome::NO_SUCH_ENTRY => Ok(ReadOutcome::NoSuchEntry),
        outcome::NO_SUCH_LEDGER => Ok(ReadOutcome::NoSuchLedger),
        outcome::UNKNOWN => Ok(ReadOutcome::Unknown),
        other => Err(PeerFrameError::UnknownOutcome(other)),
    }
}

fn take_lac_outcome(fields: &mut Bytes) -> Result<LacOutcome, PeerFrameError> {
    match fields.try_get_u8()? {
        outcome::DONE => {
            let lac = peer::take_entry_id(fields)?;
            Ok(LacOutcome::Lac { lac, last: peer::take_entry_id(fields)? })
        }
        outcome::NO_SUCH_LEDGER => Ok(LacOutcome::NoSuchLedger),
        outcome::UNKNOWN => Ok(LacOutcome::Unknown),
        other => Err(PeerFrameError::UnknownOutcome(other)),
    }
}

/// Cuts frames out of a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct BookieFrameSplitter {
    frame_max: u32,
}

impl BookieFrameSplitter {
    /// Frames above `frame_max` bytes (the length field not counted) are refused.
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max }
    }

    /// The next complete frame without its length, taken off the front of `buf`, or `None` until more bytes have arrived;
    /// `buf` then has room for some of them.
    ///
    /// # Errors
    /// A frame above the limit. The stream is lost.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<Bytes>, PeerFrameError> {
        peer::next_frame(buf, self.frame_max)
    }
}
