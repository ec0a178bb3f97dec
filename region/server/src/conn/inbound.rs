//! The reader of one connection, on the pool or on the node's thread.
//!
//! **States**  reading on the pool ⇄ visiting the node's thread; over (closed, cut, or what came was garbage): reads no more.
//!
//! **Invariants**
//! - I1  the node's thread reads only from peers that it knows, in pieces of at most [`VISIT_READ_BYTES`].
//! - I2  whoever is silent holds no memory for reading.

use super::{ConnContext, not_taken};
use crate::load::Load;
use crate::outlet::Outlet;
use crate::shard::{NodeHandle, ShardInput};
use base::Flow;
use broker::io::ConnId;
use bytes::{Bytes, BytesMut};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use wire::frame::{FrameLimits, FrameSplitter, RawFrame};

/// Bytes asked of the socket at once, when no frame has begun.
const READ_BYTES: usize = 256 * 1024;
const READ_BYTES_MIN: usize = 16 * 1024;
/// The same behind a frame of at least [`LARGE_BYTES`]: another one probably follows, and only its beginning is copied to
/// where it will lie alone.
const READ_BYTES_LARGE: usize = 4 * 1024;
const LARGE_BYTES: usize = 32 * 1024;
/// Bytes asked of the socket at once on the node's thread.
const VISIT_READ_BYTES: usize = 32 * 1024;
/// Frames handed to the node together.
const FRAMES_MAX: usize = 256;
/// A command's payload up to this size is copied out of the read buffer, so that small messages that stay in memory do not
/// keep whole buffers alive.
const COPY_BYTES_MAX: usize = 8 * 1024;

thread_local! {
    /// Where a visitor's bytes arrive before it is known how many there are.
    static ARRIVALS: RefCell<Vec<u8>> = RefCell::new(vec![0; VISIT_READ_BYTES]);
}

/// Why a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is to go on at the other place.
    Elsewhere,
    /// Nothing more comes.
    Ended,
}

/// What became of bytes that were read.
enum Handed {
    GoOn,
    /// What came was garbage.
    Over,
    NodeGone,
}

/// The inbound half of a connection.
pub(super) struct Inbound {
    conn: ConnId,
    outlet: Arc<Outlet>,
    node: NodeHandle,
    load: Load,
    message_bytes_max: u32,
    splitter: FrameSplitter,
    /// The peer is known and may send large frames.
    raised: bool,
    buffer: BytesMut,
    want: usize,
    flow: Flow,
    over: bool,
}

impl Inbound {
    pub(super) fn new(conn: ConnId, outlet: Arc<Outlet>, context: &ConnContext) -> Self {
        Self {
            conn,
            outlet,
            node: context.node.clone(),
            load: context.load.clone(),
            message_bytes_max: context.message_bytes_max,
            splitter: FrameSplitter::new(FrameLimits::HANDSHAKE),
            raised: false,
            buffer: BytesMut::new(),
            want: READ_BYTES_MIN,
            flow: Flow::default(),
            over: false,
        }
    }

    /// Reads on the pool.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) async fn read(&mut self, stream: &TcpStream) -> io::Result<Turn> {
        loop {
            while self.outlet.is_paused() && !self.is_to_end() {
                self.outlet.wait_resumed().await;
            }
            if self.is_to_end() {
                return self.linger().await;
            }
            let room = self.buffer.capacity() - self.buffer.len();
            // The splitter has made room for a frame that has begun.
            if room == 0 || (self.buffer.is_empty() && room < self.want / 2) {
                self.buffer.reserve(self.want);
            }
            let read = match stream.try_read_buf(&mut self.buffer) {
                Ok(0) => return Ok(Turn::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.let_go();
                    stream.readable().await?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let want = self.want;
            self.want = if read >= want / 2 { (want * 2).clamp(READ_BYTES_MIN, READ_BYTES) } else { want };
            match self.hand_over(read).await {
                Handed::GoOn if self.may_visit() => return Ok(Turn::Elsewhere),
                Handed::GoOn => (),
                Handed::Over => self.over = true,
                Handed::NodeGone => return Ok(Turn::Ended),
            }
        }
    }

    /// Reads on the node's thread, which writes to the socket meanwhile. Gives the socket back unless nothing more comes.
    pub(super) async fn read_on_node(
        mut self,
        socket: std::net::TcpStream,
    ) -> (Self, io::Result<Option<std::net::TcpStream>>) {
        let left = self.visit_with(socket).await;
        (self, left)
    }

    async fn visit_with(&mut self, socket: std::net::TcpStream) -> io::Result<Option<std::net::TcpStream>> {
        let socket = Arc::new(TcpStream::from_std(socket)?);
        let lent = self.outlet.lend(&socket);
        let turn = if lent { self.visit(&socket).await? } else { Turn::Elsewhere };
        if !lent {
            self.flow.note_some();
        }
        self.outlet.take_back();
        if turn == Turn::Ended {
            return Ok(None);
        }
        let socket = Arc::into_inner(socket).ok_or_else(|| io::Error::other("the socket is still lent"))?;
        socket.into_std().map(Some)
    }

    async fn visit(&mut self, socket: &TcpStream) -> io::Result<Turn> {
        loop {
            let ready = tokio::select! {
                biased;
                () = self.outlet.wait_filled() => None,
                ready = socket.readable() => Some(ready?),
            };
            if self.is_to_end() || self.outlet.is_paused() || !self.outlet.is_at_rest() {
                self.flow.note_much();
                return Ok(Turn::Elsewhere);
            }
            if ready.is_none() {
                continue;
            }
            let read = match receive(socket, &mut self.buffer) {
                Ok(0) => return Ok(Turn::Ended),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.let_go();
                    continue;
                }
                Err(error) => return Err(error),
            };
            match self.hand_over(read).await {
                Handed::GoOn if self.flow.is_much() || self.load.is_busy() => return Ok(Turn::Elsewhere),
                Handed::GoOn => (),
                Handed::Over => {
                    self.over = true;
                    return Ok(Turn::Elsewhere);
                }
                Handed::NodeGone => return Ok(Turn::Ended),
            }
            tokio::task::consume_budget().await;
        }
    }

    fn may_visit(&self) -> bool {
        let calm = self.flow.is_little() && !self.load.is_busy() && !self.outlet.is_paused();
        calm && self.raised && !self.is_to_end() && self.outlet.is_at_rest() // I1
    }

    fn is_to_end(&self) -> bool {
        self.over || self.outlet.is_closing() || self.outlet.is_cut()
    }

    /// I2: called when nothing is left to be read.
    fn let_go(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Gives the node all frames that are complete.
    async fn hand_over(&mut self, read: usize) -> Handed {
        self.flow.note(read);
        if !self.raised && self.outlet.is_authenticated() {
            self.splitter.set_limits(FrameLimits::connected(self.message_bytes_max));
            self.raised = true;
        }
        loop {
            let mut frames = Vec::new();
            let bad = split(&mut self.splitter, &mut self.buffer, &mut frames);
            let more = frames.len() == FRAMES_MAX;
            if frames.last().and_then(|frame| frame.payload.as_ref()).is_some_and(|body| body.len() >= LARGE_BYTES) {
                self.want = READ_BYTES_LARGE;
            }
            let conn = self.conn;
            if !frames.is_empty() && self.node.send(ShardInput::Frames { conn, frames }).await.is_err() {
                return Handed::NodeGone;
            }
            if let Some(reason) = bad {
                let told = self.node.send(ShardInput::Garbage { conn, reason }).await;
                return if told.is_ok() { Handed::Over } else { Handed::NodeGone };
            }
            if !more {
                return Handed::GoOn;
            }
        }
    }

    /// Reads no more; the writer ends the connection when it has written what waits.
    async fn linger(&self) -> io::Result<Turn> {
        if self.outlet.is_cut() {
            return Err(not_taken());
        }
        std::future::pending().await
    }
}

/// Appends what has arrived, at most [`VISIT_READ_BYTES`] (I1).
fn receive(socket: &TcpStream, buffer: &mut BytesMut) -> io::Result<usize> {
    ARRIVALS.with_borrow_mut(|arrivals| {
        let read = socket.try_read(arrivals)?;
        buffer.extend_from_slice(&arrivals[..read]);
        Ok(read)
    })
}

fn split(splitter: &mut FrameSplitter, buffer: &mut BytesMut, frames: &mut Vec<RawFrame>) -> Option<String> {
    while frames.len() < FRAMES_MAX {
        match splitter.next(buffer) {
            Ok(Some(frame)) => frames.push(detach(frame)),
            Ok(None) => return None,
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}

fn detach(frame: RawFrame) -> RawFrame {
    match &frame.payload {
        Some(payload) if payload.len() <= COPY_BYTES_MAX => {
            let payload = Some(Bytes::copy_from_slice(payload));
            RawFrame { payload, ..frame }
        }
        _ => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entrance::{Entrance, EntranceLimits};
    use broker::io::Outgoing;
    use std::net::IpAddr;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio::runtime::Handle;

    #[tokio::test]
    async fn a_visitor_is_read_until_an_answer_has_to_wait_and_goes_back_with_its_socket() {
        let entrance = Entrance::new("test", EntranceLimits { guests_max: 1, per_address_max: 1 });
        let outlet = Outlet::new(entrance.admit(IpAddr::from([127, 0, 0, 1])));
        let (node, mut inputs) = NodeHandle::channel();
        let load = Load::default();
        let context = ConnContext { node, thread: Handle::current(), load, message_bytes_max: 1 << 20 };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let near = listener.accept().await.unwrap().0.into_std().unwrap();
        let inbound = Inbound::new(ConnId(1), Arc::clone(&outlet), &context);
        let peer = async {
            far.write_all(&wire::frame::encode_command(&wire::commands::ping())).await.unwrap();
            let heard = inputs.recv().await;
            assert!(matches!(heard, Some(ShardInput::Frames { frames, .. }) if frames.len() == 1));
            assert_eq!(outlet.push_all([Outgoing::One(Bytes::from_static(b"small"))].into_iter()), 5);
            assert_eq!(outlet.push_all([Outgoing::One(Bytes::from(vec![0; 1 << 20]))].into_iter()), 0);
        };
        let ((inbound, left), ()) = tokio::join!(inbound.read_on_node(near), peer);
        assert!(left.unwrap().is_some() && inbound.flow.is_much(), "it stays away for a while");
        assert_eq!(outlet.take().len(), 1, "for the writer on the pool");
    }
}
