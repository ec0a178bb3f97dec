//! The envelope of frames between Meridian's own processes: region to region, and ledger client to bookie.
//!
//! **What**  Layout, big-endian: u32 length of everything behind it, u32 CRC32C of everything behind that, u8 version = 1,
//! u8 kind, fields. Variable parts carry their length in front. [`PieceWriter`] writes a frame as pieces, so that bodies of
//! entries are never copied; [`open`] checks an arrived frame, whose parts are then slices of it.
//!
//! **Invariants**
//! - I1  a flipped bit anywhere behind the length is detected.
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

/// The only version of the envelope so far.
const VERSION: u8 = 1;
/// Length and checksum, in bytes.
const PREFIX_BYTES: usize = 8;

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

/// Checks a frame (without its length) and gives its kind and its fields.
pub(crate) fn open(frame: &Bytes) -> Result<(u8, Bytes), PeerFrameError> {
    let mut fields = frame.clone();
    let stored = fields.try_get_u32()?;
    let computed = crc32c::crc32c(&fields);
    if stored != computed {
        return Err(PeerFrameError::ChecksumMismatch { stored, computed });
    }
    let version = fields.try_get_u8()?;
    if version != VERSION {
        return Err(PeerFrameError::UnknownVersion(version));
    }
    Ok((fields.try_get_u8()?, fields))
}

/// Ends the reading of a frame: nothing may be left.
pub(crate) fn finish<T>(value: T, fields: &Bytes) -> Result<T, PeerFrameError> {
    if fields.is_empty() { Ok(value) } else { Err(PeerFrameError::TrailingBytes(fields.len())) }
}

/// Writes one frame as a list of pieces.
pub(crate) struct PieceWriter<'a> {
    out: &'a mut Vec<Bytes>,
    /// Where in `out` the frame's first piece belongs.
    start: usize,
    /// The first piece, once it is complete but for length and checksum.
    first: Option<BytesMut>,
    current: BytesMut,
}

impl<'a> PieceWriter<'a> {
    /// Begins a frame; `capacity` is a guess at the bytes of its fields.
    pub(crate) fn new(kind: u8, capacity: usize, out: &'a mut Vec<Bytes>) -> Self {
        let mut current = BytesMut::with_capacity(PREFIX_BYTES + 2 + capacity);
        current.put_bytes(0, PREFIX_BYTES);
        current.put_u8(VERSION);
        current.put_u8(kind);
        let start = out.len();
        Self { out, start, first: None, current }
    }

    /// Appends both parts of an entry; the body becomes a piece of its own.
    ///
    /// # Panics
    /// When the entry breaks the bounds of [`EntryData`].
    pub(crate) fn put_entry(&mut self, data: &EntryData) {
        self.current.put_u16(u16::try_from(data.head.len()).expect("EntryData: the head is at most 65,535 bytes"));
        self.current.put_u32(u32::try_from(data.body.len()).expect("EntryData: the body is at most 2^31 bytes"));
        self.current.put_slice(&data.head);
        if !data.body.is_empty() {
            self.end_piece();
            self.out.push(data.body.clone());
        }
    }

    fn end_piece(&mut self) {
        let piece = self.current.split();
        if self.first.is_none() {
            self.first = Some(piece);
            self.out.push(Bytes::new());
        } else if !piece.is_empty() {
            self.out.push(piece.freeze());
        }
    }

    /// Ends the frame: fills in length and checksum.
    ///
    /// # Panics
    /// When the frame reaches 4 GiB, which no caller can build within its own limits.
    pub(crate) fn finish(mut self) {
        self.end_piece();
        let Some(mut first) = self.first.take() else { return };
        let mut pieces = self.out.iter_mut().skip(self.start);
        let place = pieces.next();
        let mut checksum = crc32c::crc32c(first.get(PREFIX_BYTES..).unwrap_or_default());
        let mut length = first.len() - split::LENGTH_BYTES;
        for piece in pieces {
            checksum = crc32c::crc32c_append(checksum, piece);
            length += piece.len();
        }
        let length = u32::try_from(length).expect("peer: a frame is below 4 GiB");
        let prefix = u64::from(length) << 32 | u64::from(checksum);
        if let (Some(place), Some(room)) = (place, first.first_chunk_mut::<PREFIX_BYTES>()) {
            *room = prefix.to_be_bytes();
            *place = first.freeze();
        }
    }
}

/// The fields that frames are made of.
impl PieceWriter<'_> {
    pub(crate) fn put_u8(&mut self, value: u8) {
        self.current.put_u8(value);
    }

    pub(crate) fn put_u16(&mut self, value: u16) {
        self.current.put_u16(value);
    }

    pub(crate) fn put_u32(&mut self, value: u32) {
        self.current.put_u32(value);
    }

    pub(crate) fn put_u64(&mut self, value: u64) {
        self.current.put_u64(value);
    }

    pub(crate) fn put_flag(&mut self, value: bool) {
        self.current.put_u8(u8::from(value));
    }

    pub(crate) fn put_entry_id(&mut self, entry: EntryId) {
        self.current.put_i64(entry.0);
    }

    pub(crate) fn put_position(&mut self, position: Position) {
        self.current.put_u64(position.ledger.0);
        self.put_entry_id(position.entry);
    }

    pub(crate) fn put_optional_position(&mut self, position: Option<Position>) {
        self.put_flag(position.is_some());
        if let Some(position) = position {
            self.put_position(position);
        }
    }

    pub(crate) fn put_request_id(&mut self, id: RequestId) {
        self.current.put_u64(id.owner.0);
        self.current.put_u64(id.seq);
    }

    pub(crate) fn put_blob(&mut self, bytes: &[u8]) {
        self.current.put_u32(u32::try_from(bytes.len()).expect("peer: a field is below 4 GiB"));
        self.current.put_slice(bytes);
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

pub(crate) fn take_entry(fields: &mut Bytes) -> Result<EntryData, PeerFrameError> {
    let head_bytes = u32::from(fields.try_get_u16()?);
    let body_bytes = fields.try_get_u32()?;
    let head = take(fields, head_bytes)?;
    Ok(EntryData::new(head, take(fields, body_bytes)?))
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
