//! Makes tokens, for the command line and for tests.
//!
//! **What**  Claims in Pulsar's form, signed with HS256 or the algorithm of a private key. RSA signing draws its blinding
//! from the system's entropy inside the library; nothing that a server does while it runs calls this.

use crate::token::check_role;
use crate::{ConfigError, SigningKey};
use jsonwebtoken::Header;
use serde_json::{Map, Value};

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenClaims {
    /// The role, in the claim `sub`.
    pub subject: String,
    /// Unix seconds.
    pub expires_at_s: Option<u64>,
    /// Unix seconds.
    pub not_before_s: Option<u64>,
    /// Unix seconds.
    pub issued_at_s: Option<u64>,
    /// In the claim `aud`.
    pub audience: Option<String>,
}

impl TokenClaims {
    /// A token for `role` that does not expire.
    pub fn of_role(role: &str) -> Self {
        Self { subject: role.to_owned(), ..Self::default() }
    }

    fn json(&self) -> Map<String, Value> {
        let numbers = [("exp", self.expires_at_s), ("nbf", self.not_before_s), ("iat", self.issued_at_s)];
        let mut json = Map::from_iter([("sub".to_owned(), Value::from(self.subject.as_str()))]);
        json.extend(numbers.into_iter().filter_map(|(claim, at_s)| Some((claim.to_owned(), Value::from(at_s?)))));
        json.extend(self.audience.iter().map(|audience| ("aud".to_owned(), Value::from(audience.as_str()))));
        json
    }
}

/// Signs a token.
///
/// # Errors
/// [`ConfigError`] when the key is unusable or the subject is no role.
pub fn create_token(key: &SigningKey, claims: &TokenClaims) -> Result<String, ConfigError> {
    check_role(&claims.subject).map_err(|rule| ConfigError::BadSubject { rule })?;
    let (algorithm, key) = key.open()?;
    let signed = jsonwebtoken::encode(&Header::new(algorithm), &claims.json(), &key);
    signed.map_err(|_| ConfigError::BadKey { rule: "it does not sign with the named algorithm" })
}
