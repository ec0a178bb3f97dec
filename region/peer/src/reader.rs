//! Cuts frames out of what a connection brings.
//!
//! **What**  Bytes are collected in one growing buffer and frames are slices of it. A large frame gets a buffer of its own as
//! soon as its length is known, and exactly the rest of it is read to there (`buffers`). Small frames are copied out, so
//! that one that is kept does not keep a whole buffer.

use crate::buffers::Buffers;
use crate::frame::{HEAD_BYTES_MAX, Head, LENGTH_BYTES};
use crate::socket::{SocketReader, TlsSocket};
use bytes::{Buf, Bytes, BytesMut};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes collected at once while no large frame has begun.
const READ_BYTES: usize = 64 * 1024;
/// The same behind a frame of at least [`LARGE_BYTES`]: another one probably follows, and only its length is needed to read
/// it to where it stays.
const READ_BYTES_LARGE: usize = LENGTH_BYTES;
const LARGE_BYTES: usize = 32 * 1024;
/// Frames up to this size are copied out of the buffer.
const COPY_BYTES_MAX: usize = 8 * 1024;

/// After this many bytes other tasks have their turn: a socket that always has more would keep its thread for long.
const TURN_BYTES_MAX: usize = 512 * 1024;

/// When something was last heard on a connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    started: Instant,
    heard_us: AtomicU64,
}

impl Pulse {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { started: Instant::now(), heard_us: AtomicU64::new(0) })
    }

    /// Microseconds since the pulse was made.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn beat(&self) {
        self.heard_us.store(self.now_us(), Ordering::Relaxed);
    }

    pub(crate) fn silence(&self) -> Duration {
        Duration::from_micros(self.now_us().saturating_sub(self.heard_us.load(Ordering::Relaxed)))
    }
}

/// Why no more frames come.
#[derive(Debug)]
pub(crate) enum ReadEnd {
    /// The other side ended the connection in order.
    Closed,
    Socket(io::Error),
    /// The other side speaks otherwise than this build; a sentence.
    Garbage(String),
}

/// The frames of one connection.
pub(crate) struct FrameReader {
    socket: SocketReader,
    buffer: BytesMut,
    /// Of `buffer` when a large frame lies alone in it, else 0.
    size: usize,
    buffers: Buffers,
    read_bytes: usize,
    /// Read since other tasks had their turn.
    turn_bytes: usize,
    frame_bytes_max: u32,
    pulse: Arc<Pulse>,
}

impl FrameReader {
    pub(crate) fn new(socket: SocketReader, frame_bytes_max: u32) -> Self {
        let (buffer, buffers, pulse) = (BytesMut::new(), Buffers::default(), Pulse::new());
        let read_bytes = READ_BYTES_LARGE;
        Self { socket, buffer, size: 0, buffers, read_bytes, turn_bytes: 0, frame_bytes_max, pulse }
    }

    pub(crate) fn socket(&self) -> &Arc<TlsSocket> {
        self.socket.socket()
    }

    /// Goes on in the runtime of the caller; see [`SocketReader::move_here`].
    ///
    /// # Errors
    /// Those of the system, which end the connection.
    pub(crate) fn move_here(self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.move_here()?, ..self })
    }

    /// From now on what comes is not encrypted; `false` if some of that is here already, and it is too late.
    pub(crate) fn read_in_clear(&mut self) -> bool {
        self.buffer.is_empty() && self.socket.read_in_clear()
    }

    pub(crate) fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }

    /// The next frame. May be cancelled and called again.
    pub(crate) async fn next(&mut self) -> Result<(Head, Bytes), ReadEnd> {
        loop {
            let missing = match self.length()? {
                Some(length) if self.buffer.len() >= LENGTH_BYTES + length => return self.cut(length),
                Some(length) if length >= LARGE_BYTES => self.set_apart(LENGTH_BYTES + length),
                Some(_) => READ_BYTES,
                None => self.read_bytes,
            };
            self.buffer.reserve(missing);
            let read = self.socket.read(&mut self.buffer, missing).await.map_err(ReadEnd::Socket)?;
            if read == 0 {
                return Err(ReadEnd::Closed);
            }
            self.pulse.beat();
            self.turn_bytes += read;
            if self.turn_bytes >= TURN_BYTES_MAX {
                self.turn_bytes = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads and forgets until the connection ends: what the other side has sent must not be answered with a reset, which
    /// could overtake the last words of this side.
    pub(crate) async fn drain(mut self) {
        loop {
            self.buffer.clear();
            match self.socket.read(&mut self.buffer, READ_BYTES).await {
                Ok(read) if read > 0 => (),
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// The length of the frame that has begun.
    fn length(&self) -> Result<Option<usize>, ReadEnd> {
        let Some(field) = self.buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(*field) as usize;
        let max = self.frame_bytes_max as usize + HEAD_BYTES_MAX - LENGTH_BYTES;
        if length > max {
            return Err(ReadEnd::Garbage(format!("a frame has {length} bytes, more than the {max} allowed here")));
        }
        Ok(Some(length))
    }

    /// Gives a large frame of `bytes` bytes, of which at least the length is there, a buffer of its own. Returns what is
    /// missing of it.
    fn set_apart(&mut self, bytes: usize) -> usize {
        if self.size == 0 {
            let (mut own, size) = self.buffers.take(bytes);
            own.extend_from_slice(&self.buffer);
            (self.buffer, self.size) = (own, size);
        }
        bytes - self.buffer.len()
    }

    fn cut(&mut self, length: usize) -> Result<(Head, Bytes), ReadEnd> {
        self.read_bytes = if length >= LARGE_BYTES { READ_BYTES_LARGE } else { READ_BYTES };
        self.buffer.advance(LENGTH_BYTES);
        let frame = if length <= COPY_BYTES_MAX {
            let frame = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            frame
        } else {
            self.buffer.split_to(length).freeze()
        };
        if self.size > 0 {
            self.buffers.keep(std::mem::take(&mut self.buffer), std::mem::take(&mut self.size));
        }
        Head::decode(frame).map_err(ReadEnd::Garbage)
    }
}
