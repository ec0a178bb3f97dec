//! Who this region is to its peers: a certificate authority of its own and one certificate under it.
//!
//! **What**  Four files in one directory: `ca.pem`, `ca-key.pem`, `cert.pem`, `key.pem`. They are made together, in a
//! directory beside it that is renamed, so that a crash leaves either nothing or a whole identity. An operator may put
//! certificates of a company CA in their place: the leaf must carry the region's host name and allow both server and
//! client use. Nodes of one region share one identity: the directory is copied to each of them.

use crate::trust::{Trust, certificates, fingerprint, hex, region_host};
use base::RegionName;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const CA: &str = "ca.pem";
const CA_KEY: &str = "ca-key.pem";
const CERT: &str = "cert.pem";
const KEY: &str = "key.pem";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long CA and leaf are valid: ten years.
const VALIDITY: Duration = Duration::from_secs(3653 * 24 * 3600);

/// The region's CA certificate, its own certificate and its private key.
#[derive(Clone)]
pub struct Identity {
    ca_pem: String,
    /// Leaf first, then the CA, so that a peer that knows only the CA's fingerprint finds it.
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    fingerprint: [u8; 32],
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint()).finish_non_exhaustive()
    }
}

/// Why an identity could not be loaded or made.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("region identity: cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("region identity in {path}: {rule}")]
    Invalid { path: PathBuf, rule: String },
}

impl Identity {
    /// Loads the identity of `region` from `dir`, or makes one there on first use: a CA and a leaf under it, valid ten
    /// years, files readable by the owner only.
    ///
    /// # Errors
    /// [`IdentityError`] when a file cannot be read or written, is damaged, or belongs to another region.
    pub fn load_or_create(dir: &Path, region: &RegionName) -> Result<Self, IdentityError> {
        if !dir.join(KEY).exists() {
            create(dir, region)?;
        }
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|source| IdentityError::File { path, source })
        };
        Self::from_pem(&read(CA)?, &read(CERT)?, &read(KEY)?, region)
            .map_err(|rule| IdentityError::Invalid { path: dir.to_owned(), rule })
    }

    /// Checks that the parts fit together and name the region.
    fn from_pem(ca: &str, cert: &str, key: &str, region: &RegionName) -> Result<Self, String> {
        let authorities = certificates(ca).filter(|list| !list.is_empty()).ok_or("ca.pem holds no certificate")?;
        let mut chain = certificates(cert).filter(|list| !list.is_empty()).ok_or("cert.pem holds no certificate")?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| format!("key.pem: {error}"))?;
        let fingerprint = fingerprint(&authorities[0]);
        for authority in authorities {
            if !chain.contains(&authority) {
                chain.push(authority);
            }
        }
        let presented =
            crate::trust::PresentedChain { leaf: &chain[0], intermediates: &chain[1..], now: UnixTime::now() };
        Trust::Pem(ca.to_owned()).verify(region, presented, &crate::tls::provider()).map_err(|error| {
            format!(
                "cert.pem is not a certificate of region {region} issued by ca.pem ({error}); was the region renamed?"
            )
        })?;
        Ok(Self { ca_pem: ca.to_owned(), chain, key: Arc::new(key), fingerprint })
    }

    /// PEM of the CA certificate: what peers put into `replicatorTrust`.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the CA certificate (DER), 64 lower-case hexadecimal digits: the short form of `replicatorTrust`.
    pub fn fingerprint(&self) -> String {
        hex(&self.fingerprint)
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.clone()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        self.key.clone_key()
    }
}

/// The four files' contents.
struct Made {
    ca: String,
    ca_key: String,
    cert: String,
    key: String,
}

fn make(region: &RegionName) -> Result<Made, rcgen::Error> {
    let start = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(UnixTime::now().as_secs()) - DAY;
    let mut ca_params = CertificateParams::new(Vec::default())?;
    ca_params.distinguished_name.push(DnType::CommonName, common_name("Meridian region CA", region));
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca_params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca_params.not_before, ca_params.not_after) = (start, start + DAY + VALIDITY);
    let ca_key = KeyPair::generate()?;
    let ca = ca_params.self_signed(&ca_key)?;

    let mut params = CertificateParams::new(vec![region_host(region)])?;
    params.distinguished_name.push(DnType::CommonName, common_name("Meridian region", region));
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    (params.not_before, params.not_after) = (start, start + DAY + VALIDITY);
    let key = KeyPair::generate()?;
    let (ca_key_pem, key_pem) = (ca_key.serialize_pem(), key.serialize_pem());
    let cert = params.signed_by(&key, &Issuer::new(ca_params, ca_key))?;
    Ok(Made { ca: ca.pem(), ca_key: ca_key_pem, cert: cert.pem(), key: key_pem })
}

/// X.509 bounds a common name to 64 characters; it is for people only.
fn common_name(prefix: &str, region: &RegionName) -> String {
    format!("{prefix} {region}").chars().take(64).collect()
}

fn create(dir: &Path, region: &RegionName) -> Result<(), IdentityError> {
    let made = make(region).map_err(|error| IdentityError::Invalid {
        path: dir.to_owned(),
        rule: format!("certificates cannot be made: {error}"),
    })?;
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| IdentityError::File { path, source }
    };
    let fresh = dir.with_extension("new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(at(&fresh))?;
    }
    fs::create_dir_all(&fresh).map_err(at(&fresh))?;
    for (name, text) in [(CA, made.ca), (CA_KEY, made.ca_key), (CERT, made.cert), (KEY, made.key)] {
        let path = fresh.join(name);
        write_private(&path, &text).map_err(at(&path))?;
    }
    // Renaming replaces an empty directory and refuses one that holds anything.
    fs::rename(&fresh, dir).map_err(at(dir))?;
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).map_err(at(parent))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    #[test]
    fn an_identity_is_made_once_and_loaded_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("geo");
        let made = Identity::load_or_create(&path, &region("eu")).unwrap();
        let loaded = Identity::load_or_create(&path, &region("eu")).unwrap();
        assert_eq!(made.fingerprint(), loaded.fingerprint());
        assert_eq!(made.fingerprint().len(), 64);
        assert!(matches!(Trust::parse(made.ca_pem()), Ok(Trust::Pem(_))));
        for name in [CA_KEY, KEY] {
            let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_region_name_of_any_allowed_characters_and_length_gets_an_identity() {
        let dir = tempfile::tempdir().unwrap();
        for (index, name) in ["a_b:c=d.E", &"x".repeat(256)].into_iter().enumerate() {
            Identity::load_or_create(&dir.path().join(index.to_string()), &region(name)).unwrap();
        }
    }

    #[test]
    fn the_identity_of_another_region_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(&dir.path().join("geo"), &region("eu")).unwrap();
        let error = Identity::load_or_create(&dir.path().join("geo"), &region("us")).unwrap_err();
        assert!(error.to_string().contains("is not a certificate of region us"), "{error}");
    }

    #[test]
    fn a_directory_with_a_part_of_an_identity_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("geo");
        Identity::load_or_create(&path, &region("eu")).unwrap();
        fs::remove_file(path.join(KEY)).unwrap();
        assert!(matches!(Identity::load_or_create(&path, &region("eu")), Err(IdentityError::File { .. })));
        assert!(path.join(CA_KEY).exists());
    }
}
