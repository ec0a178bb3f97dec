//! TLS 1.3 both ways: who dials checks whom it reached, who is dialled checks who came.
//!
//! **What**  No session is ever resumed and no early data is sent or taken: every connection proves itself anew, and
//! nothing can be replayed.

use crate::Identity;
use crate::trust::{PresentedChain, Trust};
use base::RegionName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CipherSuite, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::fmt;
use std::sync::Arc;

/// The cryptography in use. A dialler asks for AES with keys of 128 bits first: it keeps secrets as long as the key exchange
/// in front of it does, in 10 rounds instead of 14. Every other suite is offered and taken as well.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// What a listener presents, whom it lets in, and the one protocol it speaks.
///
/// # Errors
/// A sentence when the identity's key does not fit its certificate.
pub fn server_config(
    identity: &Identity,
    clients: Arc<dyn ClientCertVerifier>,
    protocol: &[u8],
) -> Result<rustls::ServerConfig, String> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(clients)
        .with_single_cert(identity.chain(), identity.key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(config)
}

/// What a dialler presents, whom it accepts, and the one protocol it speaks.
///
/// # Errors
/// A sentence when the identity's key does not fit its certificate.
pub fn client_config(
    identity: &Identity,
    server: RegionVerifier,
    protocol: &[u8],
) -> Result<rustls::ClientConfig, String> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous() // The verifier is stricter than the default: one CA, one name.
        .with_custom_certificate_verifier(Arc::new(server))
        .with_client_auth_cert(identity.chain(), identity.key())
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![protocol.to_vec()];
    config.enable_early_data = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Whom one side of a handshake accepts.
pub trait Accept: fmt::Debug + Send + Sync {
    /// Whether the other side may be who its certificate says.
    ///
    /// # Errors
    /// What is wrong with the certificate.
    fn check(&self, chain: PresentedChain<'_>, provider: &Arc<CryptoProvider>) -> Result<(), rustls::Error>;
}

/// An [`Accept`] as rustls wants it on either side: who is accepted is decided there, that they hold the certificate's key is
/// proved here.
#[derive(Clone, Debug)]
pub struct Verifier<A> {
    accept: A,
    provider: Arc<CryptoProvider>,
}

impl<A: Accept> Verifier<A> {
    pub fn of(accept: A) -> Self {
        Self { accept, provider: provider() }
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        self.accept.check(PresentedChain { leaf, intermediates, now }, &self.provider)
    }
}

/// Accepts the certificate of one region, whichever side presents it.
pub type RegionVerifier = Verifier<OneRegion>;

/// One region and its trust.
#[derive(Clone, Debug)]
pub struct OneRegion {
    region: RegionName,
    trust: Trust,
}

impl RegionVerifier {
    pub fn new(region: RegionName, trust: Trust) -> Self {
        Self::of(OneRegion { region, trust })
    }
}

impl Accept for OneRegion {
    fn check(&self, chain: PresentedChain<'_>, provider: &Arc<CryptoProvider>) -> Result<(), rustls::Error> {
        self.trust.verify(&self.region, chain, provider)
    }
}

impl<A: Accept> ServerCertVerifier for Verifier<A> {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now)?;
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

impl<A: Accept> ClientCertVerifier for Verifier<A> {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
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
