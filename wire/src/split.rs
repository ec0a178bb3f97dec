//! Cutting length-prefixed frames out of a growing buffer.
//!
//! **What**  The part that every stream shares: read the u32 length, refuse it or wait for the bytes, and ask for room in
//! steps that follow what has arrived (wire I2).

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length field.
pub(crate) const LENGTH_BYTES: usize = 4;
/// The most room asked for at once while less than this has arrived, in bytes. Large enough that a usual batch finds room at
/// once and is not moved while it grows.
const RESERVE_STEP: usize = 256 * 1024;

/// The length of the frame that starts at `buf`, without its length field; `None` until four bytes have arrived.
pub(crate) fn peek_length(buf: &BytesMut) -> Option<u32> {
    buf.first_chunk::<LENGTH_BYTES>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Takes the frame of `length` bytes (length field not counted, and dropped) once it is complete. Until then it makes
/// room for more: never more than what has arrived, or one step. A frame of up to one step so comes to lie alone in memory
/// of its own size: whoever keeps it keeps nothing else alive.
pub(crate) fn take_frame(buf: &mut BytesMut, length: u32) -> Option<Bytes> {
    let whole = LENGTH_BYTES.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
    if buf.len() < whole {
        let missing = whole.saturating_sub(buf.len());
        let room = missing.min(buf.len().max(RESERVE_STEP));
        if buf.capacity() - buf.len() < room {
            let mut own = BytesMut::with_capacity(buf.len() + room);
            own.extend_from_slice(buf);
            *buf = own;
        }
        return None;
    }
    let mut frame = buf.split_to(whole);
    frame.advance(LENGTH_BYTES);
    Some(frame.freeze())
}
