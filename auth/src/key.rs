//! Keys that tokens are verified and signed with, and how a configuration names them.
//!
//! **What**  [`KeySource`] reads the words of a configuration (`data:;base64,…`, `file://…`, a path); [`TokenKey`] is a key
//! with its algorithm. Public and private keys come as PEM or DER, as Pulsar's `tokens create-key-pair` writes them.
//!
//! **Invariants**
//! - I1  the algorithm belongs to the key: a shared secret verifies HMAC only, a public key exactly one algorithm.
//! - I2  weak keys are refused where they are read: secrets below 32 bytes, RSA below 2048 bits.
//!
//! **Not here**  Reading files; making RSA and EC keys.

use crate::ConfigError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use std::fmt;

/// Shortest shared secret, in bytes: the output of SHA-256 (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Shortest RSA modulus, in bytes: 2048 bits.
const RSA_MODULUS_BYTES_MIN: usize = 256;
/// An uncompressed point: one byte of form, two coordinates.
const P256_POINT_BYTES: usize = 65;
const P384_POINT_BYTES: usize = 97;
const ED25519_KEY_BYTES: usize = 32;

/// The algorithm of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicAlg {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl PublicAlg {
    /// Reads the value of `tokenPublicAlg`.
    ///
    /// # Errors
    /// [`ConfigError::UnknownAlgorithm`]; ES512 is unknown as well.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        match text {
            "RS256" => Ok(Self::Rs256),
            "RS384" => Ok(Self::Rs384),
            "RS512" => Ok(Self::Rs512),
            "PS256" => Ok(Self::Ps256),
            "PS384" => Ok(Self::Ps384),
            "PS512" => Ok(Self::Ps512),
            "ES256" => Ok(Self::Es256),
            "ES384" => Ok(Self::Es384),
            "EdDSA" => Ok(Self::EdDsa),
            other => Err(ConfigError::UnknownAlgorithm(other.chars().take(32).collect())),
        }
    }

    pub(crate) fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Rs384 => Algorithm::RS384,
            Self::Rs512 => Algorithm::RS512,
            Self::Ps256 => Algorithm::PS256,
            Self::Ps384 => Algorithm::PS384,
            Self::Ps512 => Algorithm::PS512,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    fn family(self) -> Family {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => Family::Rsa,
            Self::Es256 | Self::Es384 => Family::Ec,
            Self::EdDsa => Family::Ed,
        }
    }
}

#[derive(Clone, Copy)]
enum Family {
    Rsa,
    Ec,
    Ed,
}

/// A key that tokens are verified with.
#[derive(Clone, PartialEq, Eq)]
pub enum TokenKey {
    /// A shared secret: HS256, and HS384 or HS512 when it is at least as long as their hash.
    Hmac(Vec<u8>),
    /// A public key for exactly one algorithm.
    Public { alg: PublicAlg, pem_or_der: Vec<u8> },
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(_) => f.write_str("Hmac([redacted])"),
            Self::Public { alg, .. } => write!(f, "Public({alg:?})"),
        }
    }
}

impl TokenKey {
    /// The algorithms that this key verifies, and the key in the library's form.
    pub(crate) fn open(&self) -> Result<(Vec<Algorithm>, DecodingKey), ConfigError> {
        match self {
            Self::Hmac(secret) => {
                check_secret(secret)?;
                let hashes = [(32, Algorithm::HS256), (48, Algorithm::HS384), (64, Algorithm::HS512)];
                let fits = hashes.into_iter().filter(|(bytes, _)| secret.len() >= *bytes).map(|(_, alg)| alg);
                Ok((fits.collect(), DecodingKey::from_secret(secret)))
            }
            Self::Public { alg, pem_or_der } => Ok((vec![alg.algorithm()], open_public(*alg, pem_or_der)?)),
        }
    }
}

/// A key that tokens are signed with.
#[derive(Clone, PartialEq, Eq)]
pub enum SigningKey {
    /// A shared secret, used with HS256.
    Hmac(Vec<u8>),
    /// A private key; PKCS #8, or PKCS #1 for RSA as PEM.
    Private { alg: PublicAlg, pem_or_der: Vec<u8> },
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hmac(_) => f.write_str("Hmac([redacted])"),
            Self::Private { alg, .. } => write!(f, "Private({alg:?}, [redacted])"),
        }
    }
}

impl SigningKey {
    pub(crate) fn open(&self) -> Result<(Algorithm, EncodingKey), ConfigError> {
        match self {
            Self::Hmac(secret) => {
                check_secret(secret)?;
                Ok((Algorithm::HS256, EncodingKey::from_secret(secret)))
            }
            Self::Private { alg, pem_or_der } => {
                let pem = as_pem(pem_or_der, "PRIVATE KEY");
                let opened = match alg.family() {
                    Family::Rsa => EncodingKey::from_rsa_pem(&pem),
                    Family::Ec => EncodingKey::from_ec_pem(&pem),
                    Family::Ed => EncodingKey::from_ed_pem(&pem),
                };
                let rule = "it is no private key of the named algorithm in PKCS #8";
                Ok((alg.algorithm(), opened.map_err(|_| ConfigError::BadKey { rule })?))
            }
        }
    }
}

fn check_secret(secret: &[u8]) -> Result<(), ConfigError> {
    if secret.len() < SECRET_BYTES_MIN {
        return Err(ConfigError::SecretTooShort { bytes: secret.len(), least: SECRET_BYTES_MIN });
    }
    // A PEM file here is a public key put in the wrong place: everybody who has it could then sign.
    if is_pem(secret) { Err(ConfigError::SecretIsPem) } else { Ok(()) }
}

fn open_public(alg: PublicAlg, pem_or_der: &[u8]) -> Result<DecodingKey, ConfigError> {
    let bad = |rule| ConfigError::BadKey { rule };
    if is_pem(pem_or_der) && !contains(pem_or_der, b"PUBLIC KEY") {
        return Err(bad("it is a PEM document, but no public key"));
    }
    let pem = as_pem(pem_or_der, "PUBLIC KEY");
    let (opened, rule) = match alg.family() {
        Family::Rsa => (DecodingKey::from_rsa_pem(&pem), "it is no RSA public key"),
        Family::Ec => (DecodingKey::from_ec_pem(&pem), "it is no EC public key"),
        Family::Ed => (DecodingKey::from_ed_pem(&pem), "it is no Ed25519 public key"),
    };
    let key = opened.map_err(|_| bad(rule))?;
    let raw = key.try_get_as_bytes().map_err(|_| bad(rule))?;
    let rule = match alg {
        PublicAlg::Es256 if raw.len() != P256_POINT_BYTES => Some("ES256 needs a key on the curve P-256"),
        PublicAlg::Es384 if raw.len() != P384_POINT_BYTES => Some("ES384 needs a key on the curve P-384"),
        PublicAlg::EdDsa if raw.len() != ED25519_KEY_BYTES => Some("EdDSA needs an Ed25519 key"),
        _ => None,
    };
    match (alg.family(), rule) {
        (_, Some(rule)) => Err(bad(rule)),
        (Family::Rsa, None) => match rsa_modulus_bytes(raw) {
            Some(bytes) if bytes >= RSA_MODULUS_BYTES_MIN => Ok(key),
            Some(_) => Err(bad("its RSA modulus is shorter than 2048 bits")),
            None => Err(bad("it is no RSA public key")),
        },
        (Family::Ec | Family::Ed, None) => Ok(key),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn is_pem(bytes: &[u8]) -> bool {
    contains(bytes, b"-----BEGIN ")
}

/// PEM as it is; DER in an armour of `label`.
fn as_pem(pem_or_der: &[u8], label: &str) -> Vec<u8> {
    if is_pem(pem_or_der) {
        return pem_or_der.to_vec();
    }
    let body = STANDARD.encode(pem_or_der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")).into_bytes()
}

/// The length of the modulus in a PKCS #1 public key: SEQUENCE { INTEGER modulus, INTEGER exponent }.
fn rsa_modulus_bytes(der: &[u8]) -> Option<usize> {
    let sequence = der_content(der, 0x30)?;
    let modulus = der_content(sequence, 0x02)?;
    Some(modulus.iter().skip_while(|byte| **byte == 0).count())
}

/// The content of a DER element with `tag` at the start of `der`.
fn der_content(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(*rest.first()?) << 8 | usize::from(*rest.get(1)?), rest.get(2..)?),
        _ => return None,
    };
    if found == tag { rest.get(..length) } else { None }
}

/// Where a configuration says that a key is.
#[derive(Clone, PartialEq, Eq)]
pub enum KeySource {
    /// To be read by the shell, as raw bytes.
    File(String),
    /// The key itself.
    Inline(Vec<u8>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({path})"),
            Self::Inline(_) => f.write_str("Inline([redacted])"),
        }
    }
}

impl KeySource {
    /// Reads `file:///path`, `file:path`, `data:;base64,…` (any media type) or a plain path.
    ///
    /// # Errors
    /// [`ConfigError::BadKeySource`] for an empty text, an unreadable base64 or another kind of URL.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let bad = |rule| Err(ConfigError::BadKeySource { rule });
        let text = text.trim();
        if let Some(data) = text.strip_prefix("data:") {
            let Some((kind, body)) = data.split_once(',') else { return bad("the data URL has no comma") };
            if !kind.ends_with(";base64") {
                return bad("the data URL is not base64: write data:;base64,…");
            }
            return match STANDARD.decode(body.trim()) {
                Ok(bytes) => Ok(Self::Inline(bytes)),
                Err(_) => bad("the data URL holds no valid base64"),
            };
        }
        let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
        match path {
            "" => bad("it is empty"),
            _ if path.contains("://") => bad("only data: and file: URLs are read"),
            _ => Ok(Self::File(path.to_owned())),
        }
    }
}

/// Writes key bytes as a `data:` URL, which every place that takes a key accepts.
pub fn key_to_data_url(key: &[u8]) -> String {
    format!("data:;base64,{}", STANDARD.encode(key))
}

/// Makes a shared secret from the caller's entropy, which must be as long as the secret shall be.
///
/// # Errors
/// [`ConfigError::SecretTooShort`] below 32 bytes; [`ConfigError::BadKey`] for bytes that are plainly not random.
pub fn secret_from_entropy(entropy: &[u8]) -> Result<Vec<u8>, ConfigError> {
    check_secret(entropy)?;
    let distinct = entropy.iter().collect::<std::collections::BTreeSet<_>>().len();
    // 32 random bytes hold fewer than 8 different values once in 10^40 draws.
    if distinct < 8 {
        return Err(ConfigError::BadKey { rule: "the entropy repeats a few bytes" });
    }
    Ok(entropy.to_vec())
}
