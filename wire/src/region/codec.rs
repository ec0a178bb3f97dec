//! Bytes of the frames between regions.

use super::RegionFrame;
use base::ErrorClass;
use bytes::{Bytes, BytesMut};

/// Why a stream of region frames cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegionWireError {
    #[error("the frame has {size} bytes, more than the {max} allowed here")]
    FrameTooLarge { size: u32, max: u32 },
}

impl RegionWireError {
    /// The peer's fault.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Reject
    }
}

/// Appends a whole frame, length first; the body of an entry is one piece of its own, uncopied.
pub fn encode(_frame: &RegionFrame, _out: &mut Vec<Bytes>) {
    unimplemented!()
}

/// Decodes one frame, without its length.
pub fn decode(_frame: &Bytes) -> Result<RegionFrame, RegionWireError> {
    unimplemented!()
}

/// Cuts frames out of a read buffer.
#[derive(Clone, Copy, Debug)]
pub struct RegionFrameSplitter {
    frame_max: u32,
}

impl RegionFrameSplitter {
    /// Frames above `frame_max` bytes (length not counted) are refused.
    pub fn new(frame_max: u32) -> Self {
        Self { frame_max }
    }

    /// Valid from the next frame on.
    pub fn set_frame_max(&mut self, frame_max: u32) {
        self.frame_max = frame_max;
    }

    /// The next complete frame, taken off the front of `buf`, or `None` until more bytes have arrived.
    pub fn next(&mut self, _buf: &mut BytesMut) -> Result<Option<RegionFrame>, RegionWireError> {
        unimplemented!()
    }
}
