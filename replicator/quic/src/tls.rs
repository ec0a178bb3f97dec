//! TLS 1.3 both ways: who dials checks whom it reached, who is dialled checks who came.
//!
//! **What**  Certificates are checked against the peers' trust as it is at the moment of the handshake. The settings of TLS
//! are those of `identity`.

use crate::peers::PeerTable;
use crate::{Identity, OpenError, Trust};
use base::RegionName;
use identity::{PresentedChain, RegionVerifier, provider};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::sync::Arc;
use tokio::sync::watch;

/// Chosen by both sides in the handshake; anything else is no Meridian region.
const ALPN: &[u8] = b"meridian-geo/1";

/// What a listener presents and whom it lets in: any of the peers.
pub(crate) fn server_config(
    identity: &Identity,
    peers: watch::Receiver<Arc<PeerTable>>,
) -> Result<QuicServerConfig, OpenError> {
    let verifier = Arc::new(AnyPeer { peers, provider: provider() });
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
struct AnyPeer {
    peers: watch::Receiver<Arc<PeerTable>>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let table = Arc::clone(&self.peers.borrow());
        let chain = PresentedChain { leaf, intermediates, now };
        let mut reason = rustls::Error::from(CertificateError::UnknownIssuer);
        for peer in table.iter() {
            match peer.trust.verify(&peer.region, chain, &self.provider) {
                Ok(()) => return Ok(ClientCertVerified::assertion()),
                Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => (),
                Err(error) => reason = error, // Our CA, but expired or of another name: that says more.
            }
        }
        Err(reason)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
