//! Whom a peer's certificate must come from.
//!
//! **What**  Every region has a certificate authority of its own, so the authority is the region's identity; the leaf
//! carries the region's host name besides, so that a CA shared by several regions tells them apart. One rule serves both
//! directions: the certificate presented must be issued by the trusted CA and name the region.

use base::RegionName;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::Arc;

/// The certificate authority of a peer region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// One or more CA certificates in PEM.
    Pem(String),
    /// SHA-256 of the CA certificate (DER).
    Sha256([u8; 32]),
}

/// A `replicatorTrust` that is neither PEM nor a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("replicator trust: {rule}; give the PEM of the peer's region certificate authority or its SHA-256 fingerprint")]
pub struct TrustError {
    pub rule: &'static str,
}

impl Trust {
    /// Reads a `replicatorTrust`: PEM, or 64 hexadecimal digits with or without colons or a leading `sha256:`.
    ///
    /// # Errors
    /// [`TrustError`] when it is neither, or the PEM holds no certificate.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let text = text.trim();
        if text.contains("-----BEGIN") {
            return match certificates(text) {
                Some(list) if !list.is_empty() => Ok(Self::Pem(text.to_owned())),
                Some(_) => Err(TrustError { rule: "the PEM holds no certificate" }),
                None => Err(TrustError { rule: "the PEM is damaged" }),
            };
        }
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        let digits: Vec<u8> = digits.bytes().filter(|b| *b != b':').collect();
        let (pairs, rest) = digits.as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(TrustError { rule: "it is neither PEM nor 64 hexadecimal digits" });
        }
        let mut fingerprint = [0; 32];
        for (byte, [high, low]) in fingerprint.iter_mut().zip(pairs) {
            let digit = |d: &u8| char::from(*d).to_digit(16).and_then(|v| u8::try_from(v).ok());
            let (Some(high), Some(low)) = (digit(high), digit(low)) else {
                return Err(TrustError { rule: "the fingerprint has a character that is no hexadecimal digit" });
            };
            *byte = high << 4 | low;
        }
        Ok(Self::Sha256(fingerprint))
    }

    /// The CA certificates that count, given what the peer presented: a fingerprint picks its CA from there.
    fn roots(&self, presented: &[CertificateDer<'_>]) -> Result<RootCertStore, rustls::Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Pem(text) => {
                for certificate in certificates(text).unwrap_or_default() {
                    roots.add(certificate)?;
                }
            }
            Self::Sha256(wanted) => {
                for certificate in presented.iter().filter(|c| fingerprint(c) == *wanted) {
                    roots.add(certificate.clone().into_owned())?;
                }
            }
        }
        match roots.is_empty() {
            true => Err(CertificateError::UnknownIssuer.into()),
            false => Ok(roots),
        }
    }

    /// Whether the presented certificates prove to be `region` under this trust.
    ///
    /// # Errors
    /// The rule of TLS that they break.
    pub fn verify(
        &self,
        region: &RegionName,
        chain: PresentedChain<'_>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(), rustls::Error> {
        let roots = Arc::new(self.roots(chain.intermediates)?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| rustls::Error::General(format!("replicator trust of {region}: {error}")))?;
        let name = ServerName::try_from(region_host(region)).map_err(|_| CertificateError::NotValidForName)?;
        verifier.verify_server_cert(chain.leaf, chain.intermediates, &name, &[], chain.now)?;
        Ok(())
    }
}

/// What a peer presented in its handshake, and when.
#[derive(Clone, Copy, Debug)]
pub struct PresentedChain<'a> {
    pub leaf: &'a CertificateDer<'a>,
    pub intermediates: &'a [CertificateDer<'a>],
    pub now: UnixTime,
}

/// The certificates of a PEM text, `None` when it is damaged.
pub(crate) fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}

/// SHA-256 of a certificate.
pub(crate) fn fingerprint(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate.as_ref()).into()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The host name that a region's certificate carries. Region names allow characters that host names do not, so the name
/// is hashed.
pub fn region_host(region: &RegionName) -> String {
    format!("r-{}.region.meridian", hex(&Sha256::digest(region.as_str())[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_in_its_usual_spellings() {
        let digits = "00ff".repeat(16);
        let expected: Vec<u8> = [0x00, 0xff].repeat(16);
        let colons: Vec<String> = digits.as_bytes().chunks(2).map(|c| String::from_utf8_lossy(c).to_string()).collect();
        for text in [digits.clone(), digits.to_uppercase(), format!(" sha256:{digits}\n"), colons.join(":")] {
            assert_eq!(Trust::parse(&text).unwrap(), Trust::Sha256(expected.clone().try_into().unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_neither_pem_nor_fingerprint_is_refused_with_the_rule() {
        for (text, rule) in [
            ("", "it is neither PEM nor 64 hexadecimal digits"),
            ("abcd", "it is neither PEM nor 64 hexadecimal digits"),
            (&"zz".repeat(32), "the fingerprint has a character that is no hexadecimal digit"),
            ("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----", "the PEM is damaged"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "the PEM holds no certificate"),
        ] {
            assert_eq!(Trust::parse(text), Err(TrustError { rule }), "{text}");
        }
    }
}
