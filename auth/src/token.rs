//! Turns a signed token into a principal.
//!
//! **What**  JSON Web Tokens as Pulsar uses them: the role is a claim (`sub` unless configured), `exp` is optional, an
//! audience is demanded only when configured. `kid`, `jku`, `x5u` and `jwk` headers are ignored: keys come from the
//! configuration only.
//!
//! **Invariants** (numbers of lib.rs)
//! - I1  the header's algorithm only selects among keys that are made for it; `none` has no key.
//! - I4  nothing of the token appears in an error but the name of a known algorithm.
//!
//! **Not here**  The clock: `wall_ms` is an argument; the library only checks signatures.
//!
//! **Tests**  `tests/token.rs`: a negative token for each rule.

use crate::{AuthError, AuthMethod, ConfigError, Principal, TokenKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Longest accepted token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Most keys of one verifier: enough for any rotation.
pub const TOKEN_KEYS_MAX: usize = 16;
/// How far in the future a token may have been issued, in seconds beside the configured skew.
const ISSUED_AHEAD_S_MAX: u64 = 60;

/// What a verifier is made from.
#[derive(Clone, Debug)]
pub struct TokenVerifierConfig {
    /// All secret or all public.
    pub keys: Vec<TokenKey>,
    /// The claim that holds the role, `sub` in Pulsar's default.
    pub claim: String,
    /// The claim to look for `audience` in.
    pub audience_claim: Option<String>,
    pub audience: Option<String>,
    /// How much clocks may differ, in seconds.
    pub clock_skew_s: u64,
}

impl TokenVerifierConfig {
    /// Pulsar's defaults: role in `sub`, no audience, no skew.
    pub fn new(keys: Vec<TokenKey>) -> Self {
        Self { keys, claim: "sub".to_owned(), audience_claim: None, audience: None, clock_skew_s: 0 }
    }
}

/// Verifies tokens against configured keys.
pub struct TokenVerifier {
    keys: Vec<(Vec<Algorithm>, DecodingKey)>,
    claim: String,
    /// Claim and the value that it must hold.
    audience: Option<(String, String)>,
    clock_skew_s: u64,
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // I4: how many, never which.
        write!(f, "TokenVerifier({} keys, claim {})", self.keys.len(), self.claim)
    }
}

/// The part of the header that matters; everything else in it is ignored.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    crit: Option<Value>,
}

impl TokenVerifier {
    /// # Errors
    /// [`ConfigError`] for no or too many keys, keys of both kinds, an unusable key, or half of an audience.
    pub fn new(config: TokenVerifierConfig) -> Result<Self, ConfigError> {
        let count = config.keys.len();
        if count == 0 {
            return Err(ConfigError::NoKey);
        }
        if count > TOKEN_KEYS_MAX {
            return Err(ConfigError::TooManyKeys { count, limit: TOKEN_KEYS_MAX });
        }
        let secrets = config.keys.iter().filter(|key| matches!(key, TokenKey::Hmac(_))).count();
        if secrets != 0 && secrets != count {
            return Err(ConfigError::MixedKeys);
        }
        let audience = match (config.audience_claim, config.audience) {
            (Some(claim), Some(audience)) => Some((claim, audience)),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(ConfigError::HalfAudience),
        };
        let keys = config.keys.iter().map(TokenKey::open).collect::<Result<_, _>>()?;
        Ok(Self { keys, claim: config.claim, audience, clock_skew_s: config.clock_skew_s })
    }

    /// Verifies one token at `wall_ms` (Unix milliseconds).
    ///
    /// # Errors
    /// [`AuthError`] naming the first broken rule; never the token.
    pub fn verify(&self, token: &str, wall_ms: u64) -> Result<Principal, AuthError> {
        let algorithm = self.algorithm_of(token)?;
        let claims = self.claims_of(token, algorithm)?;
        let expires_at_ms = self.check_times(&claims, wall_ms)?;
        self.check_audience(&claims)?;
        Ok(Principal { role: self.role_of(&claims)?, expires_at_ms, method: AuthMethod::Token })
    }

    /// Checks the token's shape and finds the algorithm, which some key must be made for.
    fn algorithm_of(&self, token: &str) -> Result<Algorithm, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TokenTooLarge { bytes: token.len(), limit: TOKEN_BYTES_MAX });
        }
        let malformed = |rule| AuthError::TokenMalformed { rule };
        let parts: Vec<&str> = token.split('.').collect();
        let [header, _, _] = parts.as_slice() else { return Err(malformed("it has not three parts")) };
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| malformed("its header is not base64url"))?;
        let header: TokenHeader =
            serde_json::from_slice(&header).map_err(|_| malformed("its header is not JSON with an algorithm"))?;
        if header.crit.is_some() {
            return Err(malformed("its header demands extensions, which are not supported"));
        }
        let known = header.alg.parse::<Algorithm>().ok();
        let usable = known.filter(|algorithm| self.keys.iter().any(|(own, _)| own.contains(algorithm)));
        usable.ok_or_else(|| AuthError::AlgorithmRefused {
            // Only a name from the library's own list is repeated, never free text of the token.
            algorithm: known.map_or_else(|| "(none or unknown)".to_owned(), |algorithm| format!("{algorithm:?}")),
            accepted: self.accepted(),
        })
    }

    fn accepted(&self) -> String {
        let mut names: Vec<String> =
            self.keys.iter().flat_map(|(own, _)| own).map(|algorithm| format!("{algorithm:?}")).collect();
        names.sort_unstable();
        names.dedup();
        names.join(" or ")
    }

    /// The claims, once a key made for `algorithm` has verified the signature. The library's own reading of claims is not
    /// used: it would ask its own clock, and it stumbles over a `sub` that is a list.
    fn claims_of(&self, token: &str, algorithm: Algorithm) -> Result<Map<String, Value>, AuthError> {
        let malformed = |rule| AuthError::TokenMalformed { rule };
        let (message, signature) = token.rsplit_once('.').ok_or_else(|| malformed("it has not three parts"))?;
        let made_for_it = self.keys.iter().filter(|(own, _)| own.contains(&algorithm)); // I1
        let mut verified = false;
        for (_, key) in made_for_it {
            let checked = jsonwebtoken::crypto::verify(signature, message.as_bytes(), key, algorithm);
            verified |= checked.map_err(|_| malformed("its signature is not base64url"))?;
        }
        if !verified {
            return Err(AuthError::BadSignature);
        }
        let (_, claims) = message.rsplit_once('.').ok_or_else(|| malformed("it has not three parts"))?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| malformed("its claims are not base64url"))?;
        serde_json::from_slice(&claims).map_err(|_| malformed("its claims are not a JSON object"))
    }

    /// Checks `exp`, `nbf` and `iat`; answers when the token expires.
    fn check_times(&self, claims: &Map<String, Value>, wall_ms: u64) -> Result<Option<u64>, AuthError> {
        let skew_ms = self.clock_skew_s.saturating_mul(1000);
        let expires_at_ms = time_ms(claims, "exp")?.map(|at_ms| at_ms.saturating_add(skew_ms));
        if let Some(at_ms) = expires_at_ms.filter(|at_ms| *at_ms <= wall_ms) {
            return Err(AuthError::TokenExpired { at_ms, now_ms: wall_ms });
        }
        let latest = wall_ms.saturating_add(skew_ms);
        if let Some(from_ms) = time_ms(claims, "nbf")?.filter(|from_ms| *from_ms > latest) {
            return Err(AuthError::TokenNotYetValid { from_ms, now_ms: wall_ms });
        }
        let latest = latest.saturating_add(ISSUED_AHEAD_S_MAX * 1000);
        if let Some(from_ms) = time_ms(claims, "iat")?.filter(|from_ms| *from_ms > latest) {
            return Err(AuthError::TokenNotYetValid { from_ms, now_ms: wall_ms });
        }
        Ok(expires_at_ms)
    }

    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), AuthError> {
        let Some((claim, audience)) = &self.audience else { return Ok(()) };
        let named = match claims.get(claim) {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(many)) => many.iter().any(|one| one.as_str() == Some(audience)),
            Some(_) | None => false,
        };
        if named {
            return Ok(());
        }
        Err(AuthError::WrongAudience { claim: claim.clone(), audience: audience.clone() })
    }

    /// The role: a text, or the first text of a list, as Pulsar reads it.
    fn role_of(&self, claims: &Map<String, Value>) -> Result<String, AuthError> {
        let refuse = |rule| AuthError::NoRole { claim: self.claim.clone(), rule };
        let role = match claims.get(&self.claim) {
            None | Some(Value::Null) => return Err(refuse("it is missing")),
            Some(Value::String(role)) => role,
            Some(Value::Array(roles)) => match roles.first() {
                Some(Value::String(role)) => role,
                Some(_) | None => return Err(refuse("its list does not start with a text")),
            },
            Some(_) => return Err(refuse("it is not a text")),
        };
        check_role(role).map_err(refuse)?;
        Ok(role.clone())
    }
}

/// Roles are compared and printed as they are, so they hold no invisible characters.
pub(crate) fn check_role(role: &str) -> Result<(), &'static str> {
    if role.is_empty() {
        return Err("it is empty");
    }
    if role.chars().any(char::is_control) { Err("it holds a control character") } else { Ok(()) }
}

/// A claim in seconds, which may have a fraction, as milliseconds. What lies before 1970 counts as 1970.
fn time_ms(claims: &Map<String, Value>, claim: &'static str) -> Result<Option<u64>, AuthError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    if let Some(seconds) = value.as_u64() {
        return Ok(Some(seconds.saturating_mul(1000)));
    }
    let seconds = value.as_f64().filter(|seconds| seconds.is_finite()).ok_or(AuthError::BadTime { claim })?;
    // The cast saturates at both ends.
    Ok(Some((seconds * 1000.0) as u64))
}
