//! TLS 1.3 both ways: who dials checks whom it reached, who is dialled checks who came.
//!
//! **What**  Certificates are checked against the peers' trust as it is at the moment of the handshake. No session is ever
//! resumed and no early data is sent or taken: every connection proves itself anew, and nothing can be replayed.

use crate::peers::PeerTable;
use crate::trust::{PresentedChain, Trust};
use crate::{Identity, OpenError};
use base::RegionName;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::sync::Arc;
use tokio::sync::watch;

/// Chosen by both sides in the handshake; anything else is no Meridian region.
const ALPN: &[u8] = b"meridian-geo/1";

/// The cryptography in use.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What a listener presents and whom it lets in: any of the peers.
pub(crate) fn server_config(
    identity: &Identity,
    peers: watch::Receiver<Arc<PeerTable>>,
) -> Result<QuicServerConfig, OpenError> {
    let verifier = Arc::new(AnyPeer { peers, provider: provider() });
    let unusable = |error: String| OpenError::Identity { rule: error };
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain(), identity.key())
        .map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    QuicServerConfig::try_from(config).map_err(|error| unusable(error.to_string()))
}

/// What a dialler presents and whom it accepts: this one region.
pub(crate) fn client_config(
    identity: &Identity,
    region: &RegionName,
    trust: &Trust,
) -> Result<QuicClientConfig, String> {
    let verifier = Arc::new(OnePeer { region: region.clone(), trust: trust.clone(), provider: provider() });
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous() // The verifier below is stricter than the default: one CA, one name.
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(identity.chain(), identity.key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}

/// Accepts the certificate of one region.
#[derive(Debug)]
struct OnePeer {
    region: RegionName,
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

/// Accepts the certificate of any peer; which one it is, its `Hello` says and is held against the certificate again.
#[derive(Debug)]
struct AnyPeer {
    peers: watch::Receiver<Arc<PeerTable>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for OnePeer {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.trust.verify(&self.region, PresentedChain { leaf, intermediates, now }, &self.provider)?;
        Ok(ServerCertVerified::assertion())
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
