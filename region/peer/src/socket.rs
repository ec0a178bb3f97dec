//! One TLS connection over TCP, read and written at the same time.
//!
//! **States**  each direction on its own: encrypted → in clear, once and for good.
//!
//! **What**  The socket is read in large pieces into one buffer, where records are decrypted; each byte of plaintext is copied
//! once from what TLS hands out to where the caller wants it. What is written is handed to the system many records at once.
//! The session's lock is held for one record while reading, for the records of one write while writing, and never while
//! waiting. In clear the system reads and writes where the caller has its bytes.
//!
//! **Invariants**
//! - I1  once a direction is in clear TLS says nothing in it any more: its words would be taken for bytes of the caller.
//!
//! **Not here**  Records (`session`), frames (`reader`), queues (`outbox`), who the other side is (`identity`, `greeting`).

use crate::session::{End, Opened, Session};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;

/// Pieces that one system call takes.
const PIECES_MAX: usize = 64;

/// One connection; see [`SocketReader`] for its other half.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: Mutex<Session>,
    /// I1
    writes_clear: AtomicBool,
}

/// The reading half. Only one task reads.
pub(crate) struct SocketReader {
    socket: Arc<TlsSocket>,
    /// Read from the system and not yet decrypted: `staging[from..to]`.
    staging: Box<[u8]>,
    from: usize,
    to: usize,
    /// Decrypted and not yet asked for: at most the end of one record.
    rest: BytesMut,
    reads_clear: bool,
}

impl TlsSocket {
    /// Shakes hands; `staging_bytes` is what the system is asked for at once, and bounds the other side's handshake.
    ///
    /// # Errors
    /// Those of the socket; those of TLS as `InvalidData` around a [`rustls::Error`], and the other side has been told.
    pub(crate) async fn open(tcp: TcpStream, end: End, staging_bytes: usize) -> io::Result<SocketReader> {
        tcp.set_nodelay(true)?;
        let socket =
            Arc::new(Self { tcp, session: Mutex::new(Session::new(end)), writes_clear: AtomicBool::new(false) });
        let staging = vec![0; staging_bytes].into_boxed_slice();
        let mut reader = SocketReader { socket, staging, from: 0, to: 0, rest: BytesMut::new(), reads_clear: false };
        loop {
            reader.socket.write(&mut VecDeque::new()).await?;
            if !reader.socket.is_handshaking() {
                return Ok(reader);
            }
            reader.fill().await?;
            while reader.socket.is_handshaking() {
                if reader.open_record(0, &mut BytesMut::new())? != Opened::Plain {
                    break;
                }
            }
        }
    }

    /// Writes everything, without waiting for more.
    ///
    /// # Errors
    /// Those of the socket, and those of TLS as with [`Self::open`].
    pub(crate) async fn write(&self, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !self.write_now(pieces)? {
            self.tcp.writable().await?;
        }
        Ok(())
    }

    /// Writes as much as the system takes now; whether that is everything, also of what was to be written before.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub(crate) fn write_now(&self, pieces: &mut VecDeque<Bytes>) -> io::Result<bool> {
        if self.writes_clear.load(Ordering::Relaxed) {
            return self.write_as_they_are(pieces);
        }
        loop {
            let mut session = self.lock();
            session.seal(pieces).map_err(invalid)?;
            self.push(&mut session)?;
            if !session.sealed().is_empty() {
                return Ok(false);
            }
            if pieces.is_empty() {
                return Ok(true);
            }
        }
    }

    fn write_as_they_are(&self, pieces: &mut VecDeque<Bytes>) -> io::Result<bool> {
        while !pieces.is_empty() {
            let slices: Vec<IoSlice<'_>> = pieces.iter().take(PIECES_MAX).map(|piece| IoSlice::new(piece)).collect();
            match self.tcp.try_write_vectored(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => let_go(pieces, written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// From now on what is written is not encrypted. Everything before must have been written.
    pub(crate) fn write_in_clear(&self) {
        self.writes_clear.store(true, Ordering::Relaxed);
    }

    /// Tells the other side that nothing follows, as far as the system takes it now.
    pub(crate) fn say_goodbye(&self) {
        let mut session = self.lock();
        // Whether it arrives makes no difference to this side.
        let _ = session.say_goodbye();
        let _ = self.push(&mut session);
    }

    /// Writes what is sealed as far as the system takes it now.
    fn push(&self, session: &mut Session) -> io::Result<()> {
        if self.writes_clear.load(Ordering::Relaxed) {
            return Ok(()); // I1
        }
        while !session.sealed().is_empty() {
            match self.tcp.try_write(session.sealed()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => session.taken(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn is_handshaking(&self) -> bool {
        self.lock().is_handshaking()
    }

    /// A session is used again after a panic of its holder only to be dropped.
    fn lock(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SocketReader {
    /// The same connection, in the runtime of the caller. Nobody else may hold its socket.
    ///
    /// # Errors
    /// Those of the system, which end the connection.
    pub(crate) fn move_here(self) -> io::Result<Self> {
        let Self { socket, staging, from, to, rest, reads_clear } = self;
        let socket = Arc::into_inner(socket).ok_or_else(|| io::Error::other("the socket is held elsewhere"))?;
        let TlsSocket { tcp, session, writes_clear } = socket;
        let tcp = TcpStream::from_std(tcp.into_std()?)?;
        let socket = Arc::new(TlsSocket { tcp, session, writes_clear });
        Ok(Self { socket, staging, from, to, rest, reads_clear })
    }

    pub(crate) fn socket(&self) -> &Arc<TlsSocket> {
        &self.socket
    }

    /// From now on what is read is not encrypted; `false` if some of it may be here already.
    pub(crate) fn read_in_clear(&mut self) -> bool {
        self.reads_clear = self.from == self.to && self.rest.is_empty();
        self.reads_clear
    }

    /// Appends at most `bytes_max` bytes to `out`, as many as are there. 0: the other side has ended the connection in
    /// order. May be cancelled and called again.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends without a word, else as [`TlsSocket::open`].
    pub(crate) async fn read(&mut self, out: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        loop {
            if self.reads_clear {
                return receive(&self.socket.tcp, &mut out.limit(bytes_max)).await;
            }
            if let Some(read) = self.take(out, bytes_max)? {
                return Ok(read);
            }
            self.fill().await?;
        }
    }

    /// Decrypts what is staged, `None` when that is not enough.
    fn take(&mut self, out: &mut BytesMut, bytes_max: usize) -> io::Result<Option<usize>> {
        let before = out.len();
        let step = self.rest.len().min(bytes_max);
        out.extend_from_slice(&self.rest[..step]);
        self.rest.advance(step);
        loop {
            let taken = out.len() - before;
            if taken == bytes_max {
                return Ok(Some(taken));
            }
            match self.open_record(bytes_max - taken, out)? {
                Opened::Plain => (),
                Opened::Starved => return Ok((taken > 0).then_some(taken)),
                Opened::Ended => return Ok(Some(taken)),
            }
        }
    }

    /// Decrypts one record: at most `bytes_max` bytes go to `out`, the rest waits.
    fn open_record(&mut self, bytes_max: usize, out: &mut BytesMut) -> io::Result<Opened> {
        let Self { socket, staging, from, to, rest, reads_clear: _ } = self;
        let mut session = socket.lock();
        let opened = session.open(&mut staging[*from..*to], &mut |plain| {
            debug_assert!(rest.is_empty(), "it comes before this record");
            let (asked, more) = plain.split_at(plain.len().min(bytes_max));
            out.extend_from_slice(asked);
            rest.extend_from_slice(more);
        });
        // An alert, or a new key: it must not wait for this side to have something to say.
        let pushed = socket.push(&mut session);
        let (used, opened) = opened.map_err(invalid)?;
        *from += used;
        pushed.map(|()| opened)
    }

    /// Reads from the system, behind what is staged.
    async fn fill(&mut self) -> io::Result<()> {
        self.staging.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        if self.to == self.staging.len() {
            return Err(invalid(rustls::Error::General("what it says in its handshake has no end".to_owned())));
        }
        self.to += receive(&self.socket.tcp, &mut &mut self.staging[self.to..]).await?;
        Ok(())
    }
}

/// Reads what is there, as far as there is room, or waits for it.
async fn receive(tcp: &TcpStream, out: &mut impl BufMut) -> io::Result<usize> {
    loop {
        tcp.readable().await?;
        match tcp.try_read_buf(out) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word")),
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            Err(error) => return Err(error),
        }
    }
}

/// Forgets the first `bytes` bytes of pieces.
fn let_go(pieces: &mut VecDeque<Bytes>, mut bytes: usize) {
    while let Some(first) = pieces.front_mut() {
        let step = first.len().min(bytes);
        first.advance(step);
        bytes -= step;
        if !first.is_empty() {
            return;
        }
        pieces.pop_front();
    }
}

/// An error of TLS; [`crate::dial`] looks into it.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
