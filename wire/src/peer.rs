//! The envelope of frames between Meridian's own processes: region to region, and ledger client to bookie.
//!
//! **What**  Layout, big-endian: u32 length of everything behind it, u32 CRC32C, u8 version = 2, u8 kind, u32 length of the
//! bodies, fields, bodies of entries. Variable parts of fields carry their length in front. The frame's checksum covers
//! version to fields; each entry brings its own among the fields ([`EntryData::checksum`]), which was computed once, where
//! the entry was made, and is stored with it. [`PieceWriter`] writes a frame as pieces, so that bodies are never copied;
//! [`open`] checks an arrived frame, whose parts are then slices of it.
//!
//! **Invariants**
//! - I1  a flipped bit anywhere behind the length is detected: here, or in an entry on its way to a disk
//!   ([`take_entry_unread`]) by whoever reads it from there, as damage of the disk is.
//! - I2  an entry id that arrived is at least −1 and below 2^63 − 1, so its successor exists.
//!
//! **Not here**  What the kinds mean (`region`, `bookie`).
//!
//! **Tests**  `peer/tests.rs`, and those of `region` and `bookie`.

#[cfg(test)]
mod tests;

use crate::split;
use base::{EntryData, EntryId, ErrorClass, LedgerId, NameError, Position, RequestId};
use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};

/// The version of the envelope that is spoken. Version 1 had one checksum over fields and bodies.
const VERSION: u8 = 2;
/// Length and checksum, in bytes.
const PREFIX_BYTES: usize = 8;
/// Behind them: version, kind and the length of the bodies.
const HEAD_BYTES: usize = 6;
/// Where, of these, the length of the bodies begins.
const BODIES_AT: usize = 2;

/// Why a frame, and with it the stream, cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFrameError {
    #[error("the frame has {size} bytes, more than the {max} allowed here")]
    FrameTooLarge { size: u32, max: u32 },
    #[error("the frame ends inside a field")]
    Truncated,
    #[error("{0} bytes follow the last field of the frame")]
    TrailingBytes(usize),
    #[error("the checksum says {stored:#010x}, the bytes give {computed:#010x}")]
    ChecksumMismatch { stored: u32, computed: u32 },
    #[error("frame version {0} is unknown to this build")]
    UnknownVersion(u8),
    #[error("frame kind {0} is unknown to this build")]
    UnknownKind(u8),
    #[error("outcome {0} is unknown to this build")]
    UnknownOutcome(u8),
    #[error("{0} is neither yes (1) nor no (0)")]
    BadFlag(u8),
    #[error("a text in the frame is not UTF-8")]
    BadText,
    #[error("entry id {0} is out of range")]
    BadEntryId(i64),
    #[error("a name in the frame is refused: {0}")]
    BadName(#[from] NameError),
}

impl PeerFrameError {
    /// The peer is broken or newer: the connection ends.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::FrameTooLarge { .. }
            | Self::Truncated
            | Self::TrailingBytes(_)
            | Self::ChecksumMismatch { .. }
            | Self::UnknownVersion(_)
            | Self::UnknownKind(_)
            | Self::UnknownOutcome(_)
            | Self::BadFlag(_)
            | Self::BadText
            | Self::BadEntryId(_)
            | Self::BadName(_) => ErrorClass::Reject,
        }
    }
}

impl From<TryGetError> for PeerFrameError {
    fn from(_: TryGetError) -> Self {
        Self::Truncated
    }
}

/// Takes the next complete frame, without its length, off the front of `buf`; refuses one above `frame_max` bytes as soon
/// as its length has arrived.
pub(crate) fn next_frame(buf: &mut BytesMut, frame_max: u32) -> Result<Option<Bytes>, PeerFrameError> {
    match split::peek_length(buf) {
        None => Ok(None),
        Some(size) if size > frame_max => Err(PeerFrameError::FrameTooLarge { size, max: frame_max }),
        Some(size) => Ok(split::take_frame(buf, size)),
    }
}

/// What of an opened frame has not been read yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) fields: Bytes,
    bodies: Bytes,
}

/// Checks a frame (without its length) and gives its kind and its fields.
pub(crate) fn open(frame: &Bytes) -> Result<(u8, Opened), PeerFrameError> {
    let mut behind = frame.clone();
    let stored = behind.try_get_u32()?;
    let mut head = behind.clone();
    let (version, kind) = (head.try_get_u8()?, head.try_get_u8()?);
    if version != VERSION {
        return Err(PeerFrameError::UnknownVersion(version));
    }
    let bodies_bytes = usize::try_from(head.try_get_u32()?).map_err(|_| PeerFrameError::Truncated)?;
    let fields_end = behind.len().checked_sub(bodies_bytes).filter(|end| *end >= HEAD_BYTES);
    let bodies = behind.split_off(fields_end.ok_or(PeerFrameError::Truncated)?);
    let computed = crc32c::crc32c(&behind);
    if stored != computed {
        return Err(PeerFrameError::ChecksumMismatch { stored, computed });
    }
    Ok((kind, Opened { fields: behind.split_off(HEAD_BYTES), bodies }))
}

/// Ends the reading of a frame: nothing may be left.
pub(crate) fn finish<T>(value: T, rest: &Opened) -> Result<T, PeerFrameError> {
    nothing_left(&rest.fields).and_then(|()| nothing_left(&rest.bodies)).map(|()| value)
}

pub(crate) fn nothing_left(rest: &Bytes) -> Result<(), PeerFrameError> {
    if rest.is_empty() { Ok(()) } else { Err(PeerFrameError::TrailingBytes(rest.len())) }
}

/// Writes one frame as a list of pieces: all fields, then every body.
pub(crate) struct PieceWriter<'a> {
    out: &'a mut Vec<Bytes>,
    /// Where in `out` the fields belong.
    start: usize,
    fields: BytesMut,
    bodies_bytes: usize,
}

impl<'a> PieceWriter<'a> {
    /// Begins a frame; `capacity` is a guess at the bytes of its fields.
    pub(crate) fn new(kind: u8, capacity: usize, out: &'a mut Vec<Bytes>) -> Self {
        let mut fields = BytesMut::with_capacity(PREFIX_BYTES + HEAD_BYTES + capacity);
        fields.put_bytes(0, PREFIX_BYTES);
        fields.put_u8(VERSION);
        fields.put_u8(kind);
        fields.put_u32(0);
        let start = out.len();
        out.push(Bytes::new());
        Self { out, start, fields, bodies_bytes: 0 }
    }

    /// Appends an entry: lengths, checksum and head are fields, the body becomes a piece of its own.
    ///
    /// # Panics
    /// When the entry breaks the bounds of [`EntryData`].
    pub(crate) fn put_entry(&mut self, data: &EntryData) {
        self.fields.put_u16(u16::try_from(data.head.len()).expect("EntryData: the head is at most 65,535 bytes"));
        self.fields.put_u32(u32::try_from(data.body.len()).expect("EntryData: the body is at most 2^31 bytes"));
        self.fields.put_u32(data.checksum());
        self.fields.put_slice(&data.head);
        if !data.body.is_empty() {
            self.bodies_bytes += data.body.len();
            self.out.push(data.body.clone());
        }
    }

    /// Ends the frame: fills in lengths and checksum.
    ///
    /// # Panics
    /// When the frame reaches 4 GiB, which no caller can build within its own limits.
    pub(crate) fn finish(mut self) {
        let length = self.fields.len() - split::LENGTH_BYTES + self.bodies_bytes;
        let length = u32::try_from(length).expect("peer: a frame is below 4 GiB");
        // Bodies are shorter than the frame.
        let bodies = u32::try_from(self.bodies_bytes).unwrap_or(u32::MAX);
        if let Some((prefix, covered)) = self.fields.split_first_chunk_mut::<PREFIX_BYTES>() {
            if let Some(room) = covered.get_mut(BODIES_AT..HEAD_BYTES) {
                room.copy_from_slice(&bodies.to_be_bytes());
            }
            let checksum = crc32c::crc32c(covered);
            *prefix = (u64::from(length) << 32 | u64::from(checksum)).to_be_bytes();
        }
        if let Some(place) = self.out.get_mut(self.start) {
            *place = self.fields.freeze();
        }
    }
}

/// The fields that frames are made of.
impl PieceWriter<'_> {
    pub(crate) fn put_u8(&mut self, value: u8) {
        self.fields.put_u8(value);
    }

    pub(crate) fn put_u16(&mut self, value: u16) {
        self.fields.put_u16(value);
    }

    pub(crate) fn put_u32(&mut self, value: u32) {
        self.fields.put_u32(value);
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.fields.put_u64(value);
    }

    pub(crate) fn put_flag(&mut self, value: bool) {
        self.fields.put_u8(u8::from(value));
    }

    pub(crate) fn put_entry_id(&mut self, entry: EntryId) {
        self.fields.put_i64(entry.0);
    }

    pub(crate) fn put_position(&mut self, position: Position) {
        self.fields.put_u64(position.ledger.0);
        self.put_entry_id(position.entry);
    }

    pub(crate) fn put_optional_position(&mut self, position: Option<Position>) {
        self.put_flag(position.is_some());
        if let Some(position) = position {
            self.put_position(position);
        }
    }

    pub(crate) fn put_request_id(&mut self, id: RequestId) {
        self.fields.put_u64(id.owner.0);
        self.fields.put_u64(id.seq);
    }

    pub(crate) fn put_blob(&mut self, bytes: &[u8]) {
        self.fields.put_u32(u32::try_from(bytes.len()).expect("peer: a field is below 4 GiB"));
        self.fields.put_slice(bytes);
    }
}

pub(crate) fn take_flag(fields: &mut Bytes) -> Result<bool, PeerFrameError> {
    match fields.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(PeerFrameError::BadFlag(other)),
    }
}

pub(crate) fn take_entry_id(fields: &mut Bytes) -> Result<EntryId, PeerFrameError> {
    let entry = fields.try_get_i64()?;
    if entry < EntryId::NONE.0 || entry == i64::MAX {
        return Err(PeerFrameError::BadEntryId(entry));
    }
    Ok(EntryId(entry))
}

pub(crate) fn take_position(fields: &mut Bytes) -> Result<Position, PeerFrameError> {
    let ledger = LedgerId(fields.try_get_u64()?);
    Ok(Position { ledger, entry: take_entry_id(fields)? })
}

pub(crate) fn take_optional_position(fields: &mut Bytes) -> Result<Option<Position>, PeerFrameError> {
    if take_flag(fields)? { take_position(fields).map(Some) } else { Ok(None) }
}

pub(crate) fn take_request_id(fields: &mut Bytes) -> Result<RequestId, PeerFrameError> {
    let owner = base::OwnerId(fields.try_get_u64()?);
    Ok(RequestId { owner, seq: fields.try_get_u64()? })
}

/// The next entry.
///
/// # Errors
/// `ChecksumMismatch` when it does not hold.
pub(crate) fn take_entry(rest: &mut Opened) -> Result<EntryData, PeerFrameError> {
    let data = take_entry_unread(rest)?;
    if data.holds() {
        return Ok(data);
    }
    let (stored, computed) = (data.checksum(), EntryData::new(data.head, data.body).checksum());
    Err(PeerFrameError::ChecksumMismatch { stored, computed })
}

/// The next entry, whose bytes nobody looks at here: its checksum goes to disk with it.
pub(crate) fn take_entry_unread(rest: &mut Opened) -> Result<EntryData, PeerFrameError> {
    let Opened { fields, bodies } = rest;
    let head_bytes = u32::from(fields.try_get_u16()?);
    let body_bytes = fields.try_get_u32()?;
    let checksum = fields.try_get_u32()?;
    let head = take(fields, head_bytes)?;
    Ok(EntryData::with_checksum(head, take(bodies, body_bytes)?, checksum))
}

pub(crate) fn take_blob(fields: &mut Bytes) -> Result<Bytes, PeerFrameError> {
    let length = fields.try_get_u32()?;
    take(fields, length)
}

pub(crate) fn take_text(fields: &mut Bytes) -> Result<String, PeerFrameError> {
    String::from_utf8(take_blob(fields)?.into()).map_err(|_| PeerFrameError::BadText)
}

fn take(fields: &mut Bytes, length: u32) -> Result<Bytes, PeerFrameError> {
    let length = usize::try_from(length).map_err(|_| PeerFrameError::Truncated)?;
    if length > fields.len() { Err(PeerFrameError::Truncated) } else { Ok(fields.split_to(length)) }
}
