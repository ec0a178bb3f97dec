//! Whom a peer's certificate must come from.

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
        let _ = text;
        unimplemented!()
    }
}
