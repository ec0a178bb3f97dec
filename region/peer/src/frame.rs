//! How frames lie on the wire.
//!
//! **What**  Layout, big-endian: u32 length of everything behind it, u8 kind, then for pings, calls and answers a u64 number,
//! then the bytes. TLS protects them, so there is no checksum.

use crate::event::FrameKind;
use bytes::{Buf, Bytes};

/// Kinds on the wire; numbers are never given twice.
mod kind {
    pub(super) const OPENING: u8 = 1;
    pub(super) const WELCOME: u8 = 2;
    pub(super) const REFUSED: u8 = 3;
    pub(super) const PING: u8 = 4;
    pub(super) const PONG: u8 = 5;
    pub(super) const CALL: u8 = 6;
    pub(super) const ANSWER: u8 = 7;
    pub(super) const FAILED: u8 = 8;
    pub(super) const BOOKIE_REQUEST: u8 = 16;
    pub(super) const BOOKIE_RESPONSE: u8 = 17;
    pub(super) const CLUSTER: u8 = 18;
}

/// The length field.
pub(crate) const LENGTH_BYTES: usize = 4;
/// Kind and number.
const FIELDS_BYTES: usize = 9;
/// What stands in front of the bytes, at most.
pub(crate) const HEAD_BYTES_MAX: usize = LENGTH_BYTES + FIELDS_BYTES;

/// What a frame says beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// The first frame of a connection, by the dialler: who it is.
    Opening,
    /// The answer: who listens.
    Welcome,
    /// A sentence; the connection ends.
    Refused,
    Ping(u64),
    Pong(u64),
    Call(u64),
    Answer(u64),
    /// The answer is a sentence that says why there is none.
    Failed(u64),
    Data(FrameKind),
}

impl Head {
    fn parts(self) -> (u8, Option<u64>) {
        match self {
            Self::Opening => (kind::OPENING, None),
            Self::Welcome => (kind::WELCOME, None),
            Self::Refused => (kind::REFUSED, None),
            Self::Ping(number) => (kind::PING, Some(number)),
            Self::Pong(number) => (kind::PONG, Some(number)),
            Self::Call(number) => (kind::CALL, Some(number)),
            Self::Answer(number) => (kind::ANSWER, Some(number)),
            Self::Failed(number) => (kind::FAILED, Some(number)),
            Self::Data(FrameKind::BookieRequest) => (kind::BOOKIE_REQUEST, None),
            Self::Data(FrameKind::BookieResponse) => (kind::BOOKIE_RESPONSE, None),
            Self::Data(FrameKind::Cluster) => (kind::CLUSTER, None),
        }
    }

    /// Appends what stands in front of `body_bytes` bytes, which are at most 16 MiB.
    pub(crate) fn encode(self, body_bytes: usize, out: &mut impl bytes::BufMut) {
        let (kind, number) = self.parts();
        let fields = if number.is_some() { FIELDS_BYTES } else { 1 };
        // Bounded by `frame_bytes_max` before anything is queued.
        out.put_u32(u32::try_from(body_bytes + fields).unwrap_or(u32::MAX));
        out.put_u8(kind);
        if let Some(number) = number {
            out.put_u64(number);
        }
    }

    /// Reads a frame without its length.
    ///
    /// # Errors
    /// A sentence: the frame is none of this build.
    pub(crate) fn decode(mut frame: Bytes) -> Result<(Self, Bytes), String> {
        let cut = |_| "a frame ends inside its head".to_owned();
        let kind = frame.try_get_u8().map_err(cut)?;
        let mut number = || frame.try_get_u64().map_err(cut);
        let head = match kind {
            kind::OPENING => Self::Opening,
            kind::WELCOME => Self::Welcome,
            kind::REFUSED => Self::Refused,
            kind::PING => Self::Ping(number()?),
            kind::PONG => Self::Pong(number()?),
            kind::CALL => Self::Call(number()?),
            kind::ANSWER => Self::Answer(number()?),
            kind::FAILED => Self::Failed(number()?),
            kind::BOOKIE_REQUEST => Self::Data(FrameKind::BookieRequest),
            kind::BOOKIE_RESPONSE => Self::Data(FrameKind::BookieResponse),
            kind::CLUSTER => Self::Data(FrameKind::Cluster),
            other => return Err(format!("frame kind {other} is unknown to this build: run one version on all nodes")),
        };
        Ok((head, frame))
    }
}

#[cfg(test)]
mod tests {
    use super::{Head, LENGTH_BYTES};
    use crate::event::FrameKind;
    use bytes::{Bytes, BytesMut};

    #[test]
    fn every_head_is_read_as_it_was_written() {
        let data = [FrameKind::BookieRequest, FrameKind::BookieResponse, FrameKind::Cluster].map(Head::Data);
        let numbered = [Head::Ping(1), Head::Pong(2), Head::Call(u64::MAX), Head::Answer(4), Head::Failed(5)];
        for head in [Head::Opening, Head::Welcome, Head::Refused].into_iter().chain(data).chain(numbered) {
            let mut out = BytesMut::new();
            head.encode(3, &mut out);
            out.extend_from_slice(b"abc");
            let length = out.split_to(LENGTH_BYTES);
            assert_eq!(u32::from_be_bytes(length[..].try_into().unwrap()) as usize, out.len());
            assert_eq!(Head::decode(out.freeze()), Ok((head, Bytes::from_static(b"abc"))));
        }
    }

    #[test]
    fn frames_that_are_cut_or_of_another_build_are_refused_with_words() {
        for (bytes, said) in [(&b""[..], "ends inside"), (b"\x06\x00", "ends inside"), (b"\xff", "kind 255 is unknown")]
        {
            let error = Head::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
