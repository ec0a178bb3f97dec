//! Bytes of the frames between a ledger client and a bookie.

use super::{BookieRequest, BookieResponse};
use base::ErrorClass;
use bytes::{Bytes, BytesMut};

/// Why a stream of bookie frames cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BookieWireError {
    #[error("the frame has {size} bytes, more than the {max} allowed here")]
    FrameTooLarge { size: u32, max: u32 },
}

impl BookieWireError {
    /// The peer's fault.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Reject
    }
}

/// Appends a whole frame, length first; the body of an entry is one piece of its own, uncopied.
pub fn encode_request(_request: &BookieRequest, _out: &mut Vec<Bytes>) {
    unimplemented!()
}

/// Appends a whole frame, length first; bodies of entries are pieces of their own, uncopied.
pub fn encode_response(_response: &BookieResponse, _out: &mut Vec<Bytes>) {
    unimplemented!()
}

/// Decodes one frame, without its length.
pub fn decode_request(_frame: &Bytes) -> Result<BookieRequest, BookieWireError> {
    unimplemented!()
}

/// Decodes one frame, without its length.
pub fn decode_response(_frame: &Bytes) -> Result<BookieResponse, BookieWireError> {
    unimplemented!()
}

/// Cuts frames out of a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct BookieFrameSplitter {
    frame_max: u32,
}

impl BookieFrameSplitter {
    /// Frames above `frame_max` bytes (length not counted) are refused.
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max }
    }

    /// The next complete frame without its length, taken off the front of `buf`, or `None` until more bytes have arrived.
    pub fn next(&mut self, _buf: &mut BytesMut) -> Result<Option<Bytes>, BookieWireError> {
        let _ = self.frame_max;
        unimplemented!()
    }
}
