//! Turns the credentials of a connection or a request into a principal, by Pulsar's rules.
//!
//! **What**  The methods `token`, `basic` and `tls` as far as they are configured (facts/pulsar-wire.md §4). A method that
//! is not offered, or none at all, becomes the anonymous role when one is configured, and is refused otherwise. Wrong
//! credentials of an offered method are always refused.
//!
//! **Not here**  What a principal may do; TLS itself: the certificate's common name comes from whoever verified it.

use crate::{AuthError, AuthMethod, BasicUsers, Principal, TokenVerifier};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The role of everybody while authentication is off.
const NOBODY: &str = "anonymous";

/// Whether verified client certificates are a way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsLogin {
    Offered,
    NotOffered,
}

/// The offered ways to log in.
#[derive(Debug)]
pub struct Providers {
    pub token: Option<TokenVerifier>,
    pub basic: Option<BasicUsers>,
    pub tls: TlsLogin,
    /// The role of those who use none of the offered ways.
    pub anonymous_role: Option<String>,
}

/// Decides who somebody is.
#[derive(Debug)]
pub enum Authenticator {
    /// Authentication is off: everybody is let in.
    Off,
    On(Providers),
}

impl Authenticator {
    /// Whether credentials are asked for.
    pub fn is_enabled(&self) -> bool {
        matches!(self, Self::On(_))
    }

    /// Judges the credentials of a connection. `method` is the wire's name, empty or `none` when the client gave none;
    /// `tls_cn` is the common name of a client certificate that TLS has verified.
    ///
    /// # Errors
    /// [`AuthError`] with the broken rule.
    pub fn authenticate(
        &self,
        method: &str,
        data: &[u8],
        tls_cn: Option<&str>,
        wall_ms: u64,
    ) -> Result<Principal, AuthError> {
        let Self::On(providers) = self else { return Ok(Principal::new(NOBODY, AuthMethod::Anonymous)) };
        match (method, &providers.token, &providers.basic, providers.tls) {
            ("token", Some(verifier), _, _) => {
                let not_text = AuthError::TokenMalformed { rule: "it is not text" };
                verifier.verify(std::str::from_utf8(data).map_err(|_| not_text)?, wall_ms)
            }
            ("basic", _, Some(users), _) => users.verify(data),
            ("tls", _, _, TlsLogin::Offered) => match tls_cn.filter(|name| crate::token::check_role(name).is_ok()) {
                Some(name) => Ok(Principal::new(name, AuthMethod::Tls)),
                None => Err(AuthError::NoCertificate),
            },
            _ => providers.anonymous(method),
        }
    }

    /// Judges the credentials of an HTTP request: its `Authorization` header, else its client certificate.
    ///
    /// # Errors
    /// [`AuthError`] with the broken rule: answer 401.
    pub fn authenticate_http(
        &self,
        authorization: Option<&str>,
        tls_cn: Option<&str>,
        wall_ms: u64,
    ) -> Result<Principal, AuthError> {
        let Some(header) = authorization else {
            let method = if tls_cn.is_some() { "tls" } else { "" };
            return self.authenticate(method, b"", tls_cn, wall_ms);
        };
        let (scheme, credentials) = header.trim().split_once(' ').unwrap_or((header, ""));
        let credentials = credentials.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.authenticate("token", credentials.as_bytes(), tls_cn, wall_ms);
        }
        if scheme.eq_ignore_ascii_case("basic") {
            let data = STANDARD.decode(credentials).map_err(|_| AuthError::BasicMalformed)?;
            return self.authenticate("basic", &data, tls_cn, wall_ms);
        }
        // The scheme is not repeated: a header without one may be a bare token.
        self.authenticate("of that header", b"", tls_cn, wall_ms)
    }
}

impl Providers {
    fn anonymous(&self, method: &str) -> Result<Principal, AuthError> {
        match (&self.anonymous_role, method) {
            (Some(role), _) => Ok(Principal::new(role, AuthMethod::Anonymous)),
            (None, "" | "none") => Err(AuthError::NoCredentials),
            (None, _) => {
                let method: String = method.chars().filter(|c| !c.is_control()).take(32).collect();
                Err(AuthError::UnknownMethod { method, offered: self.offered() })
            }
        }
    }

    fn offered(&self) -> String {
        let tls = (self.tls == TlsLogin::Offered).then_some("tls");
        let offered = [self.token.as_ref().map(|_| "token"), self.basic.as_ref().map(|_| "basic"), tls];
        let names: Vec<&str> = offered.into_iter().flatten().collect();
        if names.is_empty() { "(none is configured)".to_owned() } else { names.join(", ") }
    }
}
