//! Why somebody was not let in, and why a configuration of keys or users is refused.

use base::ErrorClass;

/// Why credentials were not accepted. The texts name the object, the rule and the remedy; they never hold the credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("no credentials were given and anonymous access is off: connect with a token, a user or a certificate")]
    NoCredentials,
    #[error("the authentication method '{method}' is not offered here: use one of {offered}")]
    UnknownMethod { method: String, offered: String },
    #[error("the token is {bytes} bytes long, the limit is {limit}: ask for a token with fewer claims")]
    TokenTooLarge { bytes: usize, limit: usize },
    #[error(
        "the token is malformed ({rule}): send the text of a signed JWT, header.claims.signature, and nothing else"
    )]
    TokenMalformed { rule: &'static str },
    #[error(
        "the token's algorithm {algorithm} is refused: sign it with {accepted}, the algorithm of the configured key"
    )]
    AlgorithmRefused { algorithm: String, accepted: String },
    #[error("the token's signature does not match any configured key: sign it with the key that this server trusts")]
    BadSignature,
    #[error("the token expired at {at_ms} (Unix ms), it is {now_ms} here: ask for a new token")]
    TokenExpired { at_ms: u64, now_ms: u64 },
    #[error("the token is valid only from {from_ms} (Unix ms), it is {now_ms} here: wait, or compare the clocks")]
    TokenNotYetValid { from_ms: u64, now_ms: u64 },
    #[error("the token's claim '{claim}' is missing or unusable ({rule}): ask for a token that names a role there")]
    NoRole { claim: String, rule: &'static str },
    #[error("the token's claim '{claim}' is not a number of seconds: ask for a well-formed token")]
    BadTime { claim: &'static str },
    #[error(
        "the token's claim '{claim}' does not name this server's audience '{audience}': ask for a token made for it"
    )]
    WrongAudience { claim: String, audience: String },
    #[error("user name or password is wrong: check them against the server's password file")]
    WrongPassword,
    #[error("the user and password are malformed: send user:password")]
    BasicMalformed,
    #[error("the connection carries no client certificate with a common name: connect over TLS with one")]
    NoCertificate,
    #[error("the new credentials are those of another role than this connection's: open a new connection for it")]
    RoleChanged,
}

impl AuthError {
    /// Wrong credentials stay wrong.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Reject
    }
}

/// Why a configuration of keys or users is refused at start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("no token key: give tokenSecretKey or tokenPublicKey")]
    NoKey,
    #[error("{count} token keys, the limit is {limit}: remove keys that no longer sign")]
    TooManyKeys { count: usize, limit: usize },
    #[error(
        "secret and public token keys together: a verifier takes either kind, so that one cannot stand in for the other"
    )]
    MixedKeys,
    #[error(
        "the token secret key is {bytes} bytes long, at least {least} are needed: make one with `meridian token keygen`"
    )]
    SecretTooShort { bytes: usize, least: usize },
    #[error(
        "the token secret key is a PEM document: a public or private key cannot be a shared secret, use tokenPublicKey"
    )]
    SecretIsPem,
    #[error("the token key is unusable ({rule}): make one with `meridian token keygen`")]
    BadKey { rule: &'static str },
    #[error("unknown key algorithm '{0}': use RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA")]
    UnknownAlgorithm(String),
    #[error("the key is neither data:;base64,… nor file://… nor a path: {rule}")]
    BadKeySource { rule: &'static str },
    #[error("tokenAudienceClaim and tokenAudience belong together: give both or neither")]
    HalfAudience,
    #[error("the subject of the token is no role ({rule}): name a role")]
    BadSubject { rule: &'static str },
    #[error("line {line} of the password file: {rule}")]
    BadPasswordLine { line: usize, rule: &'static str },
}
