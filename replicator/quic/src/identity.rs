//! Who this region is to its peers: a certificate authority of its own and one certificate under it.

use base::RegionName;
use std::path::Path;

/// The region's CA certificate, its own certificate and its private key, all PEM.
#[derive(Clone)]
pub struct Identity {
    ca_pem: String,
    cert_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

/// Why an identity could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("region identity file {path}")]
    File {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("region identity in {path}: {rule}")]
    Invalid { path: String, rule: String },
}

impl Identity {
    /// Loads the identity of `region` from `dir`, or makes one there on first use: a CA and a leaf under it, valid ten
    /// years, key files readable by the owner only.
    ///
    /// # Errors
    /// [`IdentityError`] when a file cannot be read or written, is incomplete, or belongs to another region.
    pub fn load_or_create(dir: &Path, region: &RegionName) -> Result<Self, IdentityError> {
        let _ = (dir, region);
        unimplemented!()
    }

    /// PEM of the CA certificate: what peers put into `replicatorTrust`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the CA certificate (DER), 64 lower-case hexadecimal digits: the short form of `replicatorTrust`.
    pub fn fingerprint(&self) -> String {
        let _ = (&self.cert_pem, &self.key_pem);
        unimplemented!()
    }
}
