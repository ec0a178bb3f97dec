//! The TLS session of one connection, without its socket.
//!
//! **What**  Records are decrypted where the caller has staged them and their plaintext is handed out once; what is written is
//! encrypted from the pieces that the caller has, in whole records where that costs no copy of much, into one buffer that
//! is used again. Alerts, new keys and the handshake go through the same buffer, in order.
//!
//! **Invariants**
//! - I1  Nothing is encrypted while more than [`SEALED_BYTES_MAX`] would wait for the system.
//! - I2  rustls is given one record at a time, so that it is known to the byte what it has read and asks to be shown again
//!   (`unfinished_bytes`): the beginning of a handshake message. Whoever writes shows it as many other bytes, which it skips.
//! - I3  After an error rustls is only asked for its last words.
//!
//! **Not here**  The socket and who waits for it (`socket`).
//!
//! **Tests**  `session/tests.rs`, both ends in memory.

#[cfg(test)]
mod tests;

use bytes::{Buf, Bytes};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
};
use rustls::{CommonState, Error};
use std::collections::VecDeque;

/// Encrypted and not yet taken by the system, per connection, in bytes: nearly 16 records.
const SEALED_BYTES_MAX: usize = 256 * 1024;
/// Most plaintext of one record, in bytes.
const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// What a record has beside its plaintext: header, type, tag.
const RECORD_OVERHEAD_BYTES: usize = 5 + 1 + 16;
const RECORD_HEAD_BYTES: usize = 5;

/// Which end of the connection this is; rustls has a type for each.
pub(crate) enum End {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What opening staged bytes has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Plaintext was handed out, and more may be there.
    Plain,
    /// Nothing more without more bytes.
    Starved,
    /// The other side has ended the connection in order.
    Ended,
}

/// One look at the state of a session.
enum Seen {
    Opened(Opened),
    /// rustls had something to say by itself, which is sealed now.
    Said,
}

/// What needs the state in which traffic may be written.
#[derive(Clone, Copy)]
enum Act<'a> {
    Encrypt(&'a [u8]),
    Goodbye,
}

/// See the module.
pub(crate) struct Session {
    end: End,
    sealed: Sealed,
    /// Small pieces on their way into one record.
    gathered: Vec<u8>,
    /// What rustls has read of a handshake message that is not complete, in staged bytes; I2.
    unfinished_bytes: usize,
    ended: bool,
    failed: Option<Error>,
}

/// What waits for the system: `bytes[from..to]`.
#[derive(Default)]
struct Sealed {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Sealed {
    fn len(&self) -> usize {
        self.to - self.from
    }

    /// At least `bytes` bytes to write to. Rather than beyond twice the bound, what waits is moved to the front.
    fn room(&mut self, bytes: usize) -> &mut [u8] {
        if self.to + bytes > 2 * SEALED_BYTES_MAX && self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.len());
        }
        if self.bytes.len() < self.to + bytes {
            self.bytes.resize(self.to + bytes, 0);
        }
        &mut self.bytes[self.to..]
    }
}

impl Session {
    pub(crate) fn new(end: End) -> Self {
        let (sealed, gathered) = (Sealed::default(), Vec::new());
        Self { end, sealed, gathered, unfinished_bytes: 0, ended: false, failed: None }
    }

    fn common(&self) -> &CommonState {
        match &self.end {
            End::Client(client) => client,
            End::Server(server) => server,
        }
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.common().is_handshaking()
    }

    /// What is to be given to the system.
    pub(crate) fn sealed(&self) -> &[u8] {
        &self.sealed.bytes[self.sealed.from..self.sealed.to]
    }

    /// The system has taken so many bytes of [`Self::sealed`].
    pub(crate) fn taken(&mut self, bytes: usize) {
        self.sealed.from += bytes;
        if self.sealed.len() == 0 {
            (self.sealed.from, self.sealed.to) = (0, 0);
        }
    }

    /// Decrypts records of `staged` in place until one has plaintext, and hands that to `plain`. With it comes how many bytes
    /// of `staged` are done with.
    ///
    /// # Errors
    /// Those of TLS, again at every later call; what the other side is told of it is sealed.
    pub(crate) fn open(&mut self, staged: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<(usize, Opened), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut used = 0;
        while !self.ended {
            let rest = &mut staged[used..];
            let whole = record_bytes(&rest[self.unfinished_bytes..]).map(|bytes| self.unfinished_bytes + bytes);
            // The beginning of a record is shown too: it may be none.
            let shown = whole.unwrap_or(rest.len());
            let (step, opened) = self.show(&mut rest[..shown], plain)?;
            self.unfinished_bytes = whole.unwrap_or(self.unfinished_bytes) - step; // I2
            used += step;
            match opened {
                Opened::Plain => return Ok((used, opened)),
                Opened::Starved if whole.is_none() => return Ok((used, opened)),
                Opened::Starved => (),
                Opened::Ended => self.ended = true,
            }
        }
        Ok((staged.len(), Opened::Ended))
    }

    /// Shows rustls at most one record.
    fn show(&mut self, shown: &mut [u8], plain: &mut dyn FnMut(&[u8])) -> Result<(usize, Opened), Error> {
        let mut used = 0;
        loop {
            let rest = &mut shown[used..];
            let (step, seen) = match &mut self.end {
                End::Client(client) => look(client.process_tls_records(rest), &mut self.sealed, plain),
                End::Server(server) => look(server.process_tls_records(rest), &mut self.sealed, plain),
            };
            used += step;
            match seen {
                Ok(Seen::Said) => (),
                Ok(Seen::Opened(opened)) => return Ok((used, opened)),
                Err(error) => {
                    self.failed = Some(error.clone()); // I3
                    self.speak()?;
                    return Err(error);
                }
            }
        }
    }

    /// Seals what rustls has to say by itself: the handshake, alerts, new keys.
    ///
    /// # Errors
    /// Those of TLS.
    pub(crate) fn speak(&mut self) -> Result<(), Error> {
        // While this holds rustls looks at no staged byte.
        while self.common().wants_write() {
            let (_, seen) = match &mut self.end {
                End::Client(client) => look(client.process_tls_records(&mut []), &mut self.sealed, &mut |_| ()),
                End::Server(server) => look(server.process_tls_records(&mut []), &mut self.sealed, &mut |_| ()),
            };
            seen?;
        }
        Ok(())
    }

    /// Encrypts pieces until enough is waiting for the system.
    ///
    /// # Errors
    /// Those of TLS.
    pub(crate) fn seal(&mut self, pieces: &mut VecDeque<Bytes>) -> Result<(), Error> {
        self.speak()?;
        // I1
        while self.sealed.len() + PLAIN_BYTES_MAX + RECORD_OVERHEAD_BYTES <= SEALED_BYTES_MAX {
            let next_large = pieces.get(1).is_none_or(|next| next.len() >= PLAIN_BYTES_MAX);
            let Some(first) = pieces.front_mut() else { break };
            if next_large || first.len() >= PLAIN_BYTES_MAX {
                // It fills a record, or has none to share it with.
                let step = first.len().min(PLAIN_BYTES_MAX);
                self.encrypt(&first[..step])?;
                first.advance(step);
                if first.is_empty() {
                    pieces.pop_front();
                }
            } else {
                let mut gathered = std::mem::take(&mut self.gathered);
                gather(pieces, &mut gathered);
                self.encrypt(&gathered)?;
                gathered.clear();
                self.gathered = gathered;
            }
        }
        Ok(())
    }

    /// Tells the other side that nothing follows, unless it has been told that or why the session failed.
    ///
    /// # Errors
    /// Those of TLS.
    pub(crate) fn say_goodbye(&mut self) -> Result<(), Error> {
        self.act(Act::Goodbye)
    }

    fn encrypt(&mut self, plain: &[u8]) -> Result<(), Error> {
        debug_assert!(plain.len() <= PLAIN_BYTES_MAX, "it is one record");
        self.act(Act::Encrypt(plain))
    }

    fn act(&mut self, act: Act<'_>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone()); // I3
        }
        loop {
            let mut skipped = vec![0; self.unfinished_bytes]; // I2; nearly always empty
            let done = match &mut self.end {
                End::Client(client) => write(client.process_tls_records(&mut skipped), &mut self.sealed, act),
                End::Server(server) => write(server.process_tls_records(&mut skipped), &mut self.sealed, act),
            };
            if done? {
                return Ok(());
            }
        }
    }
}

/// Looks at what a session has come to.
fn look<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    sealed: &mut Sealed,
    plain: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Seen, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let seen = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut seen = Ok(Seen::Opened(Opened::Plain));
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        plain(record.payload);
                    }
                    Err(error) => seen = Err(error),
                }
            }
            seen
        }
        Ok(ConnectionState::EncodeTlsData(data)) => encode(data, sealed).map(|()| Seen::Said),
        Ok(ConnectionState::TransmitTlsData(data)) => {
            // It waits in order with everything else.
            data.done();
            Ok(Seen::Said)
        }
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Ok(Seen::Opened(Opened::Ended)),
        Ok(ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake) => Ok(Seen::Opened(Opened::Starved)),
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(error),
    };
    (discard, seen)
}

/// Does `act` if the session is ready for it, else what comes before it.
fn write<Data>(status: UnbufferedStatus<'_, '_, Data>, sealed: &mut Sealed, act: Act<'_>) -> Result<bool, Error> {
    match status.state? {
        ConnectionState::WriteTraffic(mut traffic) => {
            match act {
                Act::Encrypt(plain) => append(sealed, plain.len() + RECORD_OVERHEAD_BYTES, |room| {
                    traffic.encrypt(plain, room).map_err(Unwritten::from)
                }),
                Act::Goodbye => append(sealed, 0, |room| traffic.queue_close_notify(room).map_err(Unwritten::from)),
            }?;
            Ok(true)
        }
        ConnectionState::EncodeTlsData(data) => encode(data, sealed).map(|()| false),
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Ok(false)
        }
        ConnectionState::PeerClosed => Ok(false),
        ConnectionState::BlockedHandshake => Err(Error::HandshakeNotComplete),
        other => Err(unexpected(&other)),
    }
}

/// Seals what rustls says by itself.
fn encode<Data>(mut data: EncodeTlsData<'_, Data>, sealed: &mut Sealed) -> Result<(), Error> {
    append(sealed, 0, |room| match data.encode(room) {
        Ok(bytes) => Ok(bytes),
        Err(EncodeError::InsufficientSize(size)) => Err(Unwritten::Room(size)),
        Err(EncodeError::AlreadyEncoded) => Ok(0),
    })
}

/// Why nothing was written.
enum Unwritten {
    Room(InsufficientSizeError),
    Exhausted,
}

impl From<EncryptError> for Unwritten {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Room(size),
            EncryptError::EncryptExhausted => Self::Exhausted,
        }
    }
}

/// Writes behind what is sealed, with as much room as it takes; `bytes` are a first guess.
fn append(
    sealed: &mut Sealed,
    bytes: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Unwritten>,
) -> Result<(), Error> {
    let mut wanted = bytes;
    loop {
        match write(sealed.room(wanted)) {
            Ok(written) => {
                sealed.to += written;
                return Ok(());
            }
            Err(Unwritten::Room(size)) if size.required_size > wanted => wanted = size.required_size,
            Err(Unwritten::Room(_) | Unwritten::Exhausted) => return Err(Error::EncryptError),
        }
    }
}

/// A state that cannot be reached as these sessions are configured and driven.
fn unexpected<Data>(state: &ConnectionState<'_, '_, Data>) -> Error {
    Error::General(format!("the session is in the state {state:?}"))
}

/// The length of the record that `staged` begins with, if it is there whole.
fn record_bytes(staged: &[u8]) -> Option<usize> {
    let head = staged.first_chunk::<RECORD_HEAD_BYTES>()?;
    let bytes = RECORD_HEAD_BYTES + usize::from(u16::from_be_bytes([head[3], head[4]]));
    (bytes <= staged.len()).then_some(bytes)
}

/// Fills one record from small pieces.
fn gather(pieces: &mut VecDeque<Bytes>, gathered: &mut Vec<u8>) {
    while let Some(first) = pieces.front_mut() {
        let step = first.len().min(PLAIN_BYTES_MAX - gathered.len());
        if step == 0 || first.len() >= PLAIN_BYTES_MAX {
            return;
        }
        gathered.extend_from_slice(&first[..step]);
        first.advance(step);
        if first.is_empty() {
            pieces.pop_front();
        }
    }
}
