//! Frames of the Pulsar protocol: total size, command size, command, and for SEND and MESSAGE a payload.
//!
//! **What**  [`FrameSplitter`] cuts frames out of a socket's read buffer, [`decode_command`] makes a command of the first
//! part, and the `encode_*` functions write both parts; the payload is passed on as it came.
//!
//! **Invariants**
//! - I1  a frame above its limit is refused as soon as its sizes have arrived, before its bytes are waited for.
//! - I2  how the bytes are cut into chunks changes neither the frames nor the error.
//!
//! **Not here**  What is inside the payload (`payload`), who may send what and when.
//!
//! **Tests**  `tests/properties.rs`, `tests/conformance.rs`, fuzz targets `frame_splitter` and `base_command`.

use crate::protobuf::{self, FieldReader, FieldValue};
use crate::pulsar::{BaseCommand, CommandMessage, CommandSend, base_command};
use crate::split;
use base::ErrorClass;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

/// Bytes of the command size field.
const COMMAND_SIZE_BYTES: u32 = 4;
/// Room for what surrounds a payload of the largest message: sizes, command, metadata, in bytes.
const FRAME_PADDING: u32 = 64 * 1024;
/// Largest command of an authenticated peer, in bytes.
const COMMAND_MAX: u32 = 2 * 1024 * 1024;
/// Largest frame before the handshake is done, in bytes.
const HANDSHAKE_FRAME_MAX: u32 = 16 * 1024;

/// How large frames may be. Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLimits {
    /// Largest total size, as its field counts it: everything after the field.
    pub frame_max: u32,
    /// Largest command.
    pub command_max: u32,
}

impl FrameLimits {
    /// For peers that have not authenticated yet.
    pub const HANDSHAKE: Self = Self { frame_max: HANDSHAKE_FRAME_MAX, command_max: HANDSHAKE_FRAME_MAX };

    /// For connected peers, given the message size that the broker announced.
    pub fn connected(message_bytes_max: u32) -> Self {
        Self { frame_max: message_bytes_max.saturating_add(FRAME_PADDING), command_max: COMMAND_MAX }
    }
}

/// One frame: the bytes of its command and everything behind it. Both are slices of the read buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    pub command: Bytes,
    /// `None` when nothing follows the command.
    pub payload: Option<Bytes>,
}

/// Why a stream of frames cannot go on, or a command cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the frame has {size} bytes, more than the {max} allowed here")]
    FrameTooLarge { size: u32, max: u32 },
    #[error("the command has {size} bytes, more than the {max} allowed here")]
    CommandTooLarge { size: u32, max: u32 },
    #[error("a command of {command_size} bytes does not fit a frame of {total_size} bytes")]
    SizesDisagree { total_size: u32, command_size: u32 },
    /// The bytes are not a BaseCommand.
    #[error("the command is malformed: {reason}")]
    MalformedCommand { reason: String },
    /// A well-formed command of a type that this version does not know. The stream is intact: it may be skipped.
    #[error("command type {0} is unknown")]
    UnknownCommand(i32),
    /// The type is known, but the part that belongs to it is absent or another one stands in its place.
    #[error("the command says {0:?} but does not carry it")]
    CommandMismatch(base_command::Type),
}

impl FrameError {
    /// Always the peer's fault.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::FrameTooLarge { .. }
            | Self::CommandTooLarge { .. }
            | Self::SizesDisagree { .. }
            | Self::MalformedCommand { .. }
            | Self::UnknownCommand(_)
            | Self::CommandMismatch(_) => ErrorClass::Reject,
        }
    }
}

/// Cuts frames out of a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct FrameSplitter {
    limits: FrameLimits,
}

impl FrameSplitter {
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits }
    }

    /// Valid from the next frame on.
    pub fn set_limits(&mut self, limits: FrameLimits) {
        self.limits = limits;
    }

    /// The next complete frame, taken off the front of `buf`, or `None` until more bytes have arrived; `buf` then has room
    /// for some of them.
    ///
    /// # Errors
    /// Sizes that break a limit or contradict each other. The stream is lost: nothing after it can be understood.
    pub fn next(&mut self, buf: &mut BytesMut) -> Result<Option<RawFrame>, FrameError> {
        let Some(total_size) = split::peek_length(buf) else { return Ok(None) };
        self.check_total(total_size)?;
        if let Some(command_size) = buf.get(split::LENGTH_BYTES..).and_then(|rest| rest.first_chunk::<4>()) {
            self.check_command(total_size, u32::from_be_bytes(*command_size))?;
        }
        let Some(mut frame) = split::take_frame(buf, total_size) else { return Ok(None) };
        let command_size = bytes::Buf::get_u32(&mut frame);
        let command = frame.split_to(usize::try_from(command_size).unwrap_or(frame.len()));
        let payload = if frame.is_empty() { None } else { Some(frame) };
        Ok(Some(RawFrame { command, payload }))
    }

    fn check_total(&self, total_size: u32) -> Result<(), FrameError> {
        if total_size > self.limits.frame_max {
            return Err(FrameError::FrameTooLarge { size: total_size, max: self.limits.frame_max });
        }
        if total_size < COMMAND_SIZE_BYTES {
            return Err(FrameError::SizesDisagree { total_size, command_size: 0 });
        }
        Ok(())
    }

    fn check_command(&self, total_size: u32, command_size: u32) -> Result<(), FrameError> {
        if command_size > total_size - COMMAND_SIZE_BYTES {
            return Err(FrameError::SizesDisagree { total_size, command_size });
        }
        if command_size > self.limits.command_max {
            return Err(FrameError::CommandTooLarge { size: command_size, max: self.limits.command_max });
        }
        Ok(())
    }
}

/// Decodes the command part of a frame. Its bytes fields are slices of `command`.
///
/// # Errors
/// [`FrameError::UnknownCommand`] for a well-formed command of an unknown type, [`FrameError::CommandMismatch`] when the
/// type's own part is not there, [`FrameError::MalformedCommand`] for anything else.
pub fn decode_command(command: &Bytes) -> Result<BaseCommand, FrameError> {
    let kind = command_type(command)?;
    let decoded = BaseCommand::decode(command.clone())
        .map_err(|error| FrameError::MalformedCommand { reason: error.to_string() })?;
    debug_assert_eq!(decoded.r#type, kind as i32, "frame: both readers of a command agree on its type");
    Ok(decoded)
}

/// Reads the envelope only: the type, and whether the part that belongs to it is the one that is there.
fn command_type(command: &[u8]) -> Result<base_command::Type, FrameError> {
    let malformed = |error: protobuf::FieldError| FrameError::MalformedCommand { reason: error.to_string() };
    let mut kind = None;
    let mut part = None;
    let mut fields = FieldReader::new(command);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        match (number, value) {
            (1, FieldValue::Varint(value)) => kind = Some(protobuf::int32(value)),
            (number, FieldValue::Bytes(_)) => part = known_part(number).or(part),
            _ => (),
        }
    }
    let kind = kind.ok_or_else(|| FrameError::MalformedCommand { reason: "it has no type".to_owned() })?;
    let kind = base_command::Type::try_from(kind).map_err(|_| FrameError::UnknownCommand(kind))?;
    if part == Some(kind) { Ok(kind) } else { Err(FrameError::CommandMismatch(kind)) }
}

/// A part's field number equals the number of its type.
fn known_part(number: u32) -> Option<base_command::Type> {
    base_command::Type::try_from(i32::try_from(number).ok()?).ok()
}

/// A whole frame that carries only a command.
pub fn encode_command(command: &BaseCommand) -> Bytes {
    let mut out = BytesMut::with_capacity(8 + command.encoded_len());
    encode_command_into(command, &mut out);
    out.freeze()
}

/// Appends a whole frame that carries only a command.
///
/// # Panics
/// When the command reaches 4 GiB, which no caller can build within its own limits.
pub fn encode_command_into(command: &BaseCommand, out: &mut BytesMut) {
    put_sizes(command.encoded_len(), 0, out);
    put_message(command, out);
}

/// Appends a MESSAGE frame to `out` as two pieces: its beginning, and `body` itself, uncopied. `body` is what a producer
/// sent behind its command: checksum, metadata and payload.
pub fn encode_message(command: &CommandMessage, body: &Bytes, out: &mut Vec<Bytes>) {
    let mut start = BytesMut::with_capacity(64);
    encode_message_start(command, body.len(), &mut start);
    out.push(start.freeze());
    out.push(body.clone());
}

/// Appends what stands before the body of a MESSAGE frame: for callers that keep one buffer for the beginnings of many
/// frames.
pub fn encode_message_start(command: &CommandMessage, body_bytes: usize, out: &mut BytesMut) {
    put_enveloped(base_command::Type::Message, command, body_bytes, out);
}

/// Appends a SEND frame to `out` as two pieces, as [`encode_message`] does.
pub fn encode_send(command: &CommandSend, body: &Bytes, out: &mut Vec<Bytes>) {
    let mut start = BytesMut::with_capacity(64);
    encode_send_start(command, body.len(), &mut start);
    out.push(start.freeze());
    out.push(body.clone());
}

/// Appends what stands before the body of a SEND frame.
pub fn encode_send_start(command: &CommandSend, body_bytes: usize, out: &mut BytesMut) {
    put_enveloped(base_command::Type::Send, command, body_bytes, out);
}

/// Writes sizes and envelope around a command without building a [`BaseCommand`] of it. Holds for types below 16, whose
/// key is one byte.
fn put_enveloped(kind: base_command::Type, command: &impl Message, body_bytes: usize, out: &mut BytesMut) {
    let number = kind as u8;
    let inner = command.encoded_len();
    let envelope = 3 + prost::length_delimiter_len(inner) + inner;
    put_sizes(envelope, body_bytes, out);
    out.put_slice(&[TYPE_KEY, number, number << 3 | LENGTH_DELIMITED]);
    command.encode_length_delimited(out).expect("a BytesMut grows");
}

/// Protobuf key of field 1, wire type varint.
const TYPE_KEY: u8 = 0x08;
/// Protobuf wire type of messages.
const LENGTH_DELIMITED: u8 = 2;

fn put_sizes(command_bytes: usize, body_bytes: usize, out: &mut BytesMut) {
    let command_size = u32::try_from(command_bytes).expect("frame: a command is below 4 GiB");
    let body_size = u32::try_from(body_bytes).expect("frame: a body is below 4 GiB");
    let total_size = command_size
        .checked_add(body_size)
        .and_then(|size| size.checked_add(COMMAND_SIZE_BYTES))
        .expect("frame: command and body together are below 4 GiB");
    out.put_u32(total_size);
    out.put_u32(command_size);
}

fn put_message(message: &impl Message, out: &mut BytesMut) {
    message.encode(out).expect("a BytesMut grows");
}
