//! Bytes of the frames between regions.
//!
//! **What**  The envelope of `peer` around the fields of each [`RegionFrame`], in the order of their declaration.

use super::RegionFrame;
use crate::peer::{self, Opened, PeerFrameError, PieceWriter};
use base::{RegionId, RegionName, TopicName};
use bytes::{Buf, Bytes, BytesMut};

/// Kinds of frames on the wire; numbers are never given twice.
mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const OPENED: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
    pub(super) const ENTRY: u8 = 5;
    pub(super) const ACK: u8 = 6;
    pub(super) const REWIND: u8 = 7;
    pub(super) const CLOSE: u8 = 8;
    pub(super) const POLICY: u8 = 9;
}

/// Room for the fields of a frame without long texts, in bytes.
const FIELDS_GUESS: usize = 128;

/// Appends a whole frame, length first; the body of an entry is a piece of its own, uncopied.
pub fn encode(frame: &RegionFrame, out: &mut Vec<Bytes>) {
    let mut writer = PieceWriter::new(kind_of(frame), FIELDS_GUESS, out);
    match frame {
        RegionFrame::Hello { version, region, number } => {
            writer.put_u16(*version);
            writer.put_blob(region.as_str().as_bytes());
            writer.put_u8(number.0);
        }
        RegionFrame::Open { link, topic } => {
            writer.put_u64(*link);
            writer.put_blob(topic.to_string().as_bytes());
        }
        RegionFrame::Opened { link, incarnation, watermark, credit_bytes } => {
            writer.put_u64(*link);
            writer.put_u64(*incarnation);
            writer.put_optional_position(*watermark);
            writer.put_u64(*credit_bytes);
        }
        RegionFrame::Refused { link, retry, reason } => {
            writer.put_u64(*link);
            writer.put_flag(*retry);
            writer.put_blob(reason.as_bytes());
        }
        RegionFrame::Entry { link, previous, position, data } => {
            writer.put_u64(*link);
            writer.put_position(*previous);
            writer.put_position(*position);
            writer.put_entry(data);
        }
        RegionFrame::Ack { link, position, credit_bytes } => {
            writer.put_u64(*link);
            writer.put_position(*position);
            writer.put_u64(*credit_bytes);
        }
        RegionFrame::Rewind { link, watermark } => {
            writer.put_u64(*link);
            writer.put_optional_position(*watermark);
        }
        RegionFrame::Close { link, reason } => {
            writer.put_u64(*link);
            writer.put_blob(reason.as_bytes());
        }
        RegionFrame::Policy { key, version, writer: author, value } => {
            writer.put_blob(key.as_bytes());
            writer.put_u64(*version);
            writer.put_u8(author.0);
            writer.put_flag(value.is_some());
            writer.put_blob(value.as_deref().unwrap_or_default());
        }
    }
    writer.finish();
}

fn kind_of(frame: &RegionFrame) -> u8 {
    match frame {
        RegionFrame::Hello { .. } => kind::HELLO,
        RegionFrame::Open { .. } => kind::OPEN,
        RegionFrame::Opened { .. } => kind::OPENED,
        RegionFrame::Refused { .. } => kind::REFUSED,
        RegionFrame::Entry { .. } => kind::ENTRY,
        RegionFrame::Ack { .. } => kind::ACK,
        RegionFrame::Rewind { .. } => kind::REWIND,
        RegionFrame::Close { .. } => kind::CLOSE,
        RegionFrame::Policy { .. } => kind::POLICY,
    }
}

/// Decodes one frame, given without its length. Bodies and values are slices of it.
///
/// # Errors
/// [`PeerFrameError`] for bytes that are damaged, cut, followed by more, or of an unknown kind, and for names that break
/// the rules of names.
pub fn decode(frame: &Bytes) -> Result<RegionFrame, PeerFrameError> {
    let (kind, mut rest) = peer::open(frame)?;
    let frame = read(kind, &mut rest)?;
    peer::finish(frame, &rest)
}

fn read(kind: u8, rest: &mut Opened) -> Result<RegionFrame, PeerFrameError> {
    let fields = &mut rest.fields;
    Ok(match kind {
        kind::HELLO => RegionFrame::Hello {
            version: fields.try_get_u16()?,
            region: RegionName::parse(&peer::take_text(fields)?)?,
            number: RegionId(fields.try_get_u8()?),
        },
        kind::OPEN => {
            RegionFrame::Open { link: fields.try_get_u64()?, topic: TopicName::parse(&peer::take_text(fields)?)? }
        }
        kind::OPENED => RegionFrame::Opened {
            link: fields.try_get_u64()?,
            incarnation: fields.try_get_u64()?,
            watermark: peer::take_optional_position(fields)?,
            credit_bytes: fields.try_get_u64()?,
        },
        kind::REFUSED => RegionFrame::Refused {
            link: fields.try_get_u64()?,
            retry: peer::take_flag(fields)?,
            reason: peer::take_text(fields)?,
        },
        kind::ENTRY => RegionFrame::Entry {
            link: fields.try_get_u64()?,
            previous: peer::take_position(fields)?,
            position: peer::take_position(fields)?,
            data: peer::take_entry(rest)?,
        },
        kind::ACK => RegionFrame::Ack {
            link: fields.try_get_u64()?,
            position: peer::take_position(fields)?,
            credit_bytes: fields.try_get_u64()?,
        },
        kind::REWIND => {
            RegionFrame::Rewind { link: fields.try_get_u64()?, watermark: peer::take_optional_position(fields)? }
        }
        kind::CLOSE => RegionFrame::Close { link: fields.try_get_u64()?, reason: peer::take_text(fields)? },
        kind::POLICY => RegionFrame::Policy {
            key: peer::take_text(fields)?,
            version: fields.try_get_u64()?,
            writer: RegionId(fields.try_get_u8()?),
            value: take_value(fields)?,
        },
        other => return Err(PeerFrameError::UnknownKind(other)),
    })
}

/// A value, or its absence. An absent one has no bytes.
fn take_value(fields: &mut Bytes) -> Result<Option<Bytes>, PeerFrameError> {
    let present = peer::take_flag(fields)?;
    let value = peer::take_blob(fields)?;
    match (present, value.is_empty()) {
        (true, _) => Ok(Some(value)),
        (false, true) => Ok(None),
        (false, false) => Err(PeerFrameError::TrailingBytes(value.len())),
    }
}

/// Cuts frames out of a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct RegionFrameSplitter {
    frame_max: u32,
}

impl RegionFrameSplitter {
    /// Frames above `frame_max` bytes (the length field not counted) are refused.
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max }
    }

    /// Valid from the next frame on.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// The next complete frame, taken off the front of `buf`, or `None` until more bytes have arrived; `buf` then has room
    /// for some of them.
    ///
    /// # Errors
    /// A frame above the limit, or one that [`decode`] refuses. The stream is lost.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<RegionFrame>, PeerFrameError> {
        peer::next_frame(buf, self.frame_max)?.map(|frame| decode(&frame)).transpose()
    }
}
