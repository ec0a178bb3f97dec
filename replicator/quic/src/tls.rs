//! TLS 1.3 both ways: who dials checks whom it reached, who is dialled checks who came.
//!
//! **What**  Certificates are checked against the peers' trust as it is at the moment of the handshake. The settings of TLS
//! are those of `identity`.

use crate::peers::PeerTable;
use crate::{Identity, OpenError, Trust};
use base::RegionName;
use identity::{Accept, PresentedChain, RegionVerifier, Verifier};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::CertificateError;
use rustls::crypto::CryptoProvider;
use std::sync::Arc;
use tokio::sync::watch;

/// Chosen by both sides in the handshake; anything else is no Meridian region.
const ALPN: &[u8] = b"meridian-geo/1";

/// What a listener presents and whom it lets in: any of the peers.
pub(crate) fn server_config(
    identity: &Identity,
    peers: watch::Receiver<Arc<PeerTable>>,
) -> Result<QuicServerConfig, OpenError> {
    let verifier = Arc::new(Verifier::of(AnyPeer(peers)));
    let config = identity::server_config(identity, verifier, ALPN).map_err(|rule| OpenError::Identity { rule })?;
    QuicServerConfig::try_from(config).map_err(|error| OpenError::Identity { rule: error.to_string() })
}

/// What a dialler presents and whom it accepts: this one region.
pub(crate) fn client_config(
    identity: &Identity,
    region: &RegionName,
    trust: &Trust,
) -> Result<QuicClientConfig, String> {
    let verifier = RegionVerifier::new(region.clone(), trust.clone());
    let config = identity::client_config(identity, verifier, ALPN)?;
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}

/// Accepts the certificate of any peer; which one it is, its `Hello` says and is held against the certificate again.
#[derive(Debug)]
struct AnyPeer(watch::Receiver<Arc<PeerTable>>);

impl Accept for AnyPeer {
    fn check(&self, chain: PresentedChain<'_>, provider: &Arc<CryptoProvider>) -> Result<(), rustls::Error> {
        let table = Arc::clone(&self.0.borrow());
        let mut reason = rustls::Error::from(CertificateError::UnknownIssuer);
        for peer in table.iter() {
            match peer.trust.verify(&peer.region, chain, provider) {
                Ok(()) => return Ok(()),
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => (),
                Err(error) => reason = error, // Our CA, but expired or of another name: that says more.
            }
        }
        Err(reason)
    }
}
