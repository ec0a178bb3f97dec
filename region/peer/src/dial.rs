//! One attempt to reach a node.

use crate::config::Hello;
use crate::frame::Head;
use crate::greeting::{self, Lane, Opening, Welcome, encode};
use crate::reader::{FrameReader, ReadEnd};
use crate::session::End;
use crate::shared::Shared;
use crate::socket::TlsSocket;
use base::NodeId;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// What a dialler asks the system for at once: few and small things come back, but for a chain of certificates.
const STAGING_BYTES: usize = 96 * 1024;

/// A connection that has been welcomed.
pub(crate) struct Dialled {
    pub(crate) reader: FrameReader,
    pub(crate) hello: Hello,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DialError {
    /// What failed and how to mend it.
    pub(crate) reason: String,
    /// The system there says that nobody listens.
    pub(crate) refused: bool,
    /// The certificates do not fit.
    pub(crate) foreign: bool,
}

impl DialError {
    fn new(reason: String) -> Self {
        Self { reason, refused: false, foreign: false }
    }

    /// TLS, or what is below it, failed.
    fn of_socket(error: &io::Error, shared: &Shared) -> Self {
        Self { foreign: is_foreign(error), ..Self::new(explain(error, shared)) }
    }
}

/// Tries the addresses that `address` resolves to, until one of them is welcomed.
///
/// # Errors
/// [`DialError`] of the last one.
pub(crate) async fn dial(shared: &Shared, address: &str, opening: &Opening) -> Result<Dialled, DialError> {
    let attempt = async {
        let resolved = tokio::net::lookup_host(address).await;
        let resolved = resolved.map_err(|error| DialError::new(format!("{address} does not resolve: {error}")))?;
        let mut last = DialError::new(format!("{address} resolves to nothing"));
        for target in resolved {
            match connect(shared, target, opening).await {
                Ok(dialled) => return Ok(dialled),
                Err(error) => last = DialError { reason: format!("{address}: {}", error.reason), ..error },
            }
        }
        Err(last)
    };
    let limit = shared.limits.handshake_timeout;
    let silent = |_| DialError::new(format!("{address} does not answer within {limit:?}"));
    tokio::time::timeout(limit, attempt).await.map_err(silent)?
}

async fn connect(shared: &Shared, target: SocketAddr, opening: &Opening) -> Result<Dialled, DialError> {
    let tcp = TcpStream::connect(target).await.map_err(|error| DialError {
        refused: matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset),
        foreign: false,
        reason: format!("no connection ({error}): is the node running?"),
    })?;
    let name = ServerName::try_from(identity::region_host(&shared.region))
        .map_err(|error| DialError::new(format!("the region has no host name: {error}")))?;
    let session = UnbufferedClientConnection::new(Arc::clone(&shared.client), name)
        .map_err(|error| DialError::new(format!("TLS cannot begin: {error}")))?;
    let opened = TlsSocket::open(tcp, End::Client(Box::new(session)), STAGING_BYTES).await;
    let socket = opened.map_err(|error| DialError::of_socket(&error, shared))?;
    let mut reader = FrameReader::new(socket, shared.limits.frame_bytes_max);
    let said = greeting::say(reader.socket(), Head::Opening, encode(opening)).await;
    // A listener that refuses the certificate may have gone before the opening was written: its words come first.
    let welcome = match (greeting::hear_welcome(&mut reader).await, said) {
        (Ok(welcome), _) => welcome,
        (Err(ReadEnd::Garbage(reason)), _) => return Err(DialError::new(reason)),
        (Err(ReadEnd::Socket(error)), Ok(()) | Err(_)) => return Err(DialError::of_socket(&error, shared)),
        (Err(ReadEnd::Closed), _) => return Err(DialError::new("the other node closed the connection".to_owned())),
    };
    let Welcome { clear, hello } = welcome;
    if clear {
        if !opening.clear {
            return Err(DialError::new("the other node wants to go on in clear, which was not offered".to_owned()));
        }
        reader.socket().write_in_clear();
    }
    let checked = shared.admit(&hello).and_then(|()| greeting::check_target(&hello, opening.to));
    if let Err(reason) = checked {
        // Whoever listens learns why in its own log.
        let _ = greeting::say(reader.socket(), Head::Refused, reason.clone().into()).await;
        reader.socket().say_goodbye();
        return Err(DialError::new(reason));
    }
    Ok(Dialled { reader, hello })
}

/// The opening of this node for one lane.
pub(crate) fn opening(shared: &Shared, lane: Lane, session: u64, to: Option<NodeId>) -> Opening {
    let clear = lane == Lane::Bulk && !shared.encrypt_bulk;
    Opening { clear, ..Opening::new(lane, session, to, Hello::clone(&shared.hello())) }
}

/// Whether the two certificates are of different authorities or regions, whichever side says so.
fn is_foreign(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidCertificate(error)) => matches!(
            error,
            CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
        ),
        Some(rustls::Error::AlertReceived(alert)) => {
            matches!(alert, AlertDescription::UnknownCA | AlertDescription::DecryptError)
        }
        Some(_) | None => false,
    }
}

/// What went wrong with TLS or below, with its remedy.
pub(crate) fn explain(error: &io::Error, shared: &Shared) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let remedy = format!(
        "every node of a region uses the same region certificates: copy the directory of a member (certificate authority \
         here: {})",
        shared.fingerprint
    );
    let region = &shared.region;
    match inner {
        // Authorities of one region name have one name: then only the signature tells them apart.
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            format!("the certificate presented comes from another authority than that of region {region}; {remedy}")
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => format!("the certificate presented is of another region than {region}; {remedy}"),
        Some(rustls::Error::InvalidCertificate(error)) => {
            format!("the certificate presented is refused ({error}); {remedy}")
        }
        Some(rustls::Error::NoCertificatesPresented) => format!("no certificate was presented; {remedy}"),
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError,
        )) => format!("the other side refused this node's certificate of region {region}; {remedy}"),
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            "the other side is no node-to-node port: correct the address".to_owned()
        }
        Some(error) => format!("TLS failed: {error}"),
        None => format!("the connection was lost while it opened ({error})"),
    }
}
