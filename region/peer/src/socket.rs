//! One TLS connection over TCP, read and written at the same time.
//!
//! **What**  rustls takes 4 KiB at a time when it reads by itself, and its adapters for streams clear every buffer before they
//! fill it. Here the socket is read in large pieces, records are decrypted from there, and what is written is encrypted from
//! the pieces that the caller has and handed to the system many records at once. The session's lock is held for the work on
//! some records and never while waiting.
//!
//! **Not here**  Frames (`reader`), queues (`outbox`), who the other side is (`identity`, `greeting`).

use bytes::{Buf, Bytes, BytesMut};
use rustls::Connection;
use std::collections::VecDeque;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;

/// Encrypted and not yet taken by the system, per connection, in bytes: 16 records.
const SEALED_BYTES_MAX: usize = 256 * 1024;
/// Pieces given to TLS at once.
const SLICES_MAX: usize = 64;

/// One connection; see [`SocketReader`] for its other half.
pub(crate) struct TlsSocket {
    tcp: TcpStream,
    session: Mutex<Connection>,
}

/// The reading half. Only one task reads.
pub(crate) struct SocketReader {
    socket: Arc<TlsSocket>,
    /// Read from the system and not yet decrypted: `staging[from..to]`.
    staging: Box<[u8]>,
    from: usize,
    to: usize,
}

/// Writes of rustls as far as the system takes them now.
struct Now<'a>(&'a TcpStream);

impl Write for Now<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TlsSocket {
    /// Shakes hands; `staging_bytes` is what the system is asked for at once.
    ///
    /// # Errors
    /// Those of the socket; those of TLS as `InvalidData` around a [`rustls::Error`], and the other side has been told.
    pub(crate) async fn open(tcp: TcpStream, session: Connection, staging_bytes: usize) -> io::Result<SocketReader> {
        tcp.set_nodelay(true)?;
        let mut session = session;
        session.set_buffer_limit(Some(SEALED_BYTES_MAX));
        let socket = Arc::new(Self { tcp, session: Mutex::new(session) });
        let staging = vec![0; staging_bytes].into_boxed_slice();
        let mut reader = SocketReader { socket, staging, from: 0, to: 0 };
        loop {
            reader.socket.write(&mut VecDeque::new()).await?;
            if !lock(&reader.socket.session).is_handshaking() {
                return Ok(reader);
            }
            reader.fill().await?;
            reader.shake()?;
        }
    }

    /// Writes everything, without waiting for more.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) async fn write(&self, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
        loop {
            {
                let mut session = lock(&self.session);
                seal(&mut session, pieces)?;
                push(&mut session, &self.tcp)?;
                if pieces.is_empty() && !session.wants_write() {
                    return Ok(());
                }
            }
            self.tcp.writable().await?;
        }
    }

    /// Tells the other side that nothing follows, as far as the system takes it now.
    pub(crate) fn say_goodbye(&self) {
        let mut session = lock(&self.session);
        session.send_close_notify();
        // Whether it arrives makes no difference to this side.
        let _ = push(&mut session, &self.tcp);
    }
}

impl SocketReader {
    pub(crate) fn socket(&self) -> &Arc<TlsSocket> {
        &self.socket
    }

    /// Appends at most `bytes_max` bytes to `out`, as many as are there. 0: the other side has ended the connection in
    /// order. May be cancelled and called again.
    ///
    /// # Errors
    /// `UnexpectedEof` when the connection ends without a word, else as [`TlsSocket::open`].
    pub(crate) async fn read(&mut self, out: &mut BytesMut, bytes_max: usize) -> io::Result<usize> {
        loop {
            if let Some(read) = self.take(out, bytes_max)? {
                return Ok(read);
            }
            self.fill().await?;
        }
    }

    /// Decrypts what is staged, `None` when that is not enough.
    fn take(&mut self, out: &mut BytesMut, bytes_max: usize) -> io::Result<Option<usize>> {
        let Self { socket, staging, from, to } = self;
        let mut session = lock(&socket.session);
        let mut taken = 0;
        loop {
            let mut plain = session.reader();
            loop {
                let chunk = match plain.fill_buf() {
                    Ok(chunk) => chunk,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                };
                let step = chunk.len().min(bytes_max - taken);
                if step == 0 {
                    return Ok(Some(taken));
                }
                out.extend_from_slice(&chunk[..step]);
                plain.consume(step);
                taken += step;
            }
            if from == to {
                return Ok((taken > 0).then_some(taken));
            }
            open_records(&mut session, &socket.tcp, &mut &staging[*from..*to], from)?;
        }
    }

    /// Gives staged bytes to a session that is shaking hands.
    fn shake(&mut self) -> io::Result<()> {
        let Self { socket, staging, from, to } = self;
        let mut session = lock(&socket.session);
        while *from < *to && session.is_handshaking() {
            open_records(&mut session, &socket.tcp, &mut &staging[*from..*to], from)?;
        }
        Ok(())
    }

    /// Reads from the system; all that was staged has been taken.
    async fn fill(&mut self) -> io::Result<()> {
        debug_assert_eq!(self.from, self.to, "what is staged would be lost");
        loop {
            self.socket.tcp.readable().await?;
            match self.socket.tcp.try_read(&mut self.staging) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word")),
                Ok(read) => {
                    (self.from, self.to) = (0, read);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Gives some staged bytes to TLS.
fn open_records(session: &mut Connection, tcp: &TcpStream, staged: &mut &[u8], from: &mut usize) -> io::Result<()> {
    *from += session.read_tls(staged as &mut dyn Read)?;
    let processed = session.process_new_packets();
    if session.wants_write() {
        // An alert, or a new key: it must not wait for this side to have something to say.
        let pushed = push(session, tcp);
        if processed.is_ok() {
            pushed?;
        }
    }
    processed.map(drop).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Encrypts pieces until enough is waiting for the system.
fn seal(session: &mut Connection, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
    while !pieces.is_empty() {
        let slices: Vec<IoSlice<'_>> = pieces.iter().take(SLICES_MAX).map(|piece| IoSlice::new(piece)).collect();
        let mut sealed = session.writer().write_vectored(&slices)?;
        if sealed == 0 {
            return Ok(());
        }
        while sealed > 0 {
            let Some(front) = pieces.front_mut() else { break };
            let step = sealed.min(front.len());
            front.advance(step);
            sealed -= step;
            if front.is_empty() {
                pieces.pop_front();
            }
        }
    }
    Ok(())
}

/// Writes what is encrypted as far as the system takes it now.
fn push(session: &mut Connection, tcp: &TcpStream) -> io::Result<()> {
    while session.wants_write() {
        match session.write_tls(&mut Now(tcp)) {
            Ok(_) => (),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A session is used again after a panic of its holder only to be dropped.
fn lock(session: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}
