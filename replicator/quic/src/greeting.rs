//! The first words on a new connection, and what they prove.
//!
//! **What**  Each side opens its control stream with eight fixed bytes, the number of its process, and `Hello`. The dialler
//! speaks first; the other side answers only when it keeps the connection. The name in `Hello` is held against the
//! certificate of the handshake: a region cannot speak in another's name, even under a CA that both share.

use crate::Peer;
use crate::arbiter::ConnectionFacts;
use crate::peers::PeerTable;
use base::{RegionId, RegionName};
use bytes::{Buf, BytesMut};
use identity::PresentedChain;
use quinn::{Connection, ReadExactError, RecvStream, SendStream};
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::AsyncReadExt;
use wire::region::{REGION_PROTOCOL_VERSION, RegionFrame, RegionFrameSplitter};

const MAGIC: &[u8; 8] = b"MRDNGEO1";
/// Largest `Hello`, in bytes.
const HELLO_BYTES_MAX: u32 = 1024;

/// A proven connection, before it is decided whether it stays.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) connection: Connection,
    pub(crate) facts: ConnectionFacts,
    /// `None` until the greeting was sent, which the accepting side does only when it keeps the connection.
    pub(crate) control_send: Option<SendStream>,
    pub(crate) control_recv: RecvStream,
    /// Read behind the peer's `Hello`.
    pub(crate) leftover: BytesMut,
}

/// What a peer said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) instance: u64,
    pub(crate) region: RegionName,
    pub(crate) number: RegionId,
}

/// A failure to greet: the connection's own error, or a sentence.
#[derive(Debug)]
pub(crate) enum GreetingError {
    Connection(quinn::ConnectionError),
    Said(String),
}

impl From<quinn::ConnectionError> for GreetingError {
    fn from(error: quinn::ConnectionError) -> Self {
        Self::Connection(error)
    }
}

fn said<T>(text: impl Into<String>) -> Result<T, GreetingError> {
    Err(GreetingError::Said(text.into()))
}

/// Opens the control stream and greets.
pub(crate) async fn send(connection: &Connection, greeting: Greeting) -> Result<SendStream, quinn::WriteError> {
    let mut stream = connection.open_uni().await?;
    // Answers and policies go before bulk data.
    let _ = stream.set_priority(1);
    let mut first = Vec::with_capacity(16);
    first.extend_from_slice(MAGIC);
    first.extend_from_slice(&greeting.instance.to_be_bytes());
    let mut chunks = vec![first.into()];
    let Greeting { region, number, .. } = greeting;
    wire::region::encode(&RegionFrame::Hello { version: REGION_PROTOCOL_VERSION, region, number }, &mut chunks);
    stream.write_all_chunks(&mut chunks).await?;
    Ok(stream)
}

/// Reads the peer's greeting from the first stream that it opens.
pub(crate) async fn receive(connection: &Connection) -> Result<(Greeting, RecvStream, BytesMut), GreetingError> {
    let mut stream = connection.accept_uni().await?;
    let mut first = [0; 16];
    if let Err(error) = stream.read_exact(&mut first).await {
        return match error {
            ReadExactError::ReadError(quinn::ReadError::ConnectionLost(error)) => Err(error.into()),
            other => said(format!("its greeting broke off: {other}")),
        };
    }
    let Some(instance) = first.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<8>()) else {
        return said("it does not greet as a Meridian region does");
    };
    let mut splitter = RegionFrameSplitter::new(HELLO_BYTES_MAX);
    let mut buffer = BytesMut::with_capacity(256);
    let hello = loop {
        match splitter.next(&mut buffer) {
            Ok(Some(frame)) => break frame,
            Ok(None) if stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) => (),
            Ok(None) => return said("its greeting broke off"),
            Err(error) => return said(format!("its greeting cannot be read: {error}")),
        }
    };
    match hello {
        RegionFrame::Hello { version: REGION_PROTOCOL_VERSION, region, number } => {
            let instance = instance.as_slice().get_u64();
            Ok((Greeting { instance, region, number }, stream, buffer))
        }
        RegionFrame::Hello { version, .. } => {
            said(format!("it speaks version {version} of the region protocol, this side {REGION_PROTOCOL_VERSION}"))
        }
        _ => said("it does not begin with Hello"),
    }
}

/// Holds a greeting against the peers and the certificate that was presented.
pub(crate) fn check<'a>(
    greeting: &Greeting,
    connection: &Connection,
    table: &'a PeerTable,
) -> Result<&'a Peer, String> {
    let Some(peer) = table.get(&greeting.region) else {
        return Err(format!("region {} is not a peer here", greeting.region));
    };
    if peer.number != greeting.number {
        let (expected, found) = (peer.number, greeting.number);
        return Err(format!("region {} has number {expected} here and calls itself {found}", peer.region));
    }
    let identity = connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    let chain = identity.unwrap_or_default();
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err("no certificate was presented".to_owned());
    };
    let presented = PresentedChain { leaf, intermediates, now: UnixTime::now() };
    match peer.trust.verify(&peer.region, presented, &identity::provider()) {
        Ok(()) => Ok(peer),
        Err(error) => Err(format!("the certificate is not one of region {}: {error}", peer.region)),
    }
}
