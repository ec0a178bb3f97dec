//! Which credentials make which principal (facts/pulsar-wire.md §4).

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use auth::{
    AuthError, AuthMethod, Authenticator, BasicUsers, Providers, SigningKey, TlsLogin, TokenClaims, TokenKey,
    TokenVerifier, TokenVerifierConfig, create_token,
};

const NOW_MS: u64 = 1_767_225_600_000;
/// Password `a`.
const ALICE: &str = "alice:$apr1$saltsalt$OEnK0QmmvoDzFw9W2yFYT/";

fn secret() -> Vec<u8> {
    (0..40).collect()
}

fn token(role: &str) -> String {
    create_token(&SigningKey::Hmac(secret()), &TokenClaims::of_role(role)).unwrap()
}

fn authenticator(anonymous_role: Option<&str>) -> Authenticator {
    let keys = vec![TokenKey::Hmac(secret())];
    Authenticator::On(Providers {
        token: Some(TokenVerifier::new(TokenVerifierConfig::new(keys)).unwrap()),
        basic: Some(BasicUsers::parse(ALICE).unwrap()),
        tls: TlsLogin::Offered,
        anonymous_role: anonymous_role.map(str::to_owned),
    })
}

fn tokens_only(anonymous_role: Option<&str>) -> Authenticator {
    let Authenticator::On(providers) = authenticator(anonymous_role) else { unreachable!() };
    Authenticator::On(Providers { basic: None, tls: TlsLogin::NotOffered, ..providers })
}

#[test]
fn everybody_is_let_in_while_authentication_is_off() {
    for (method, data) in [("", &b""[..]), ("token", b"garbage"), ("odd", b"x")] {
        let principal = Authenticator::Off.authenticate(method, data, None, NOW_MS).unwrap();
        assert_eq!(principal.method, AuthMethod::Anonymous);
    }
    assert!(!Authenticator::Off.is_enabled() && authenticator(None).is_enabled());
}

#[test]
fn each_method_proves_its_role() {
    let on = authenticator(None);
    let role = |method, data: &[u8], cn| on.authenticate(method, data, cn, NOW_MS).map(|own| (own.role, own.method));
    assert_eq!(role("token", token("app").as_bytes(), None), Ok(("app".to_owned(), AuthMethod::Token)));
    assert_eq!(role("basic", b"alice:a", None), Ok(("alice".to_owned(), AuthMethod::Basic)));
    assert_eq!(role("tls", b"", Some("cn")), Ok(("cn".to_owned(), AuthMethod::Tls)));
    assert_eq!(role("tls", b"", None), Err(AuthError::NoCertificate));
    assert_eq!(role("tls", b"", Some("")), Err(AuthError::NoCertificate));
}

#[test]
fn a_certificate_does_not_replace_a_wrong_token() {
    let refused = authenticator(None).authenticate("token", b"garbage", Some("cn"), NOW_MS);
    assert!(matches!(refused, Err(AuthError::TokenMalformed { .. })));
    assert!(authenticator(None).authenticate("token", b"\xff\xfe", None, NOW_MS).is_err());
}

#[test]
fn missing_and_unknown_methods_become_anonymous_only_when_that_is_configured() {
    for method in ["", "none", "unknown", "athenz", "Token"] {
        let anonymous = authenticator(Some("guest")).authenticate(method, b"x", None, NOW_MS).unwrap();
        assert_eq!((anonymous.role.as_str(), anonymous.method), ("guest", AuthMethod::Anonymous), "{method}");
        assert!(authenticator(None).authenticate(method, b"x", None, NOW_MS).is_err(), "{method}");
    }
    assert_eq!(authenticator(None).authenticate("", b"", None, NOW_MS), Err(AuthError::NoCredentials));
}

#[test]
fn wrong_credentials_of_an_offered_method_never_become_anonymous() {
    let on = authenticator(Some("guest"));
    assert!(on.authenticate("token", b"garbage", None, NOW_MS).is_err());
    assert!(on.authenticate("basic", b"alice:wrong", None, NOW_MS).is_err());
    assert!(on.authenticate("tls", b"", None, NOW_MS).is_err());
}

#[test]
fn a_method_that_is_not_offered_is_unknown_and_the_offered_ones_are_named() {
    let refused = tokens_only(None).authenticate("basic", b"alice:a", None, NOW_MS).unwrap_err();
    assert_eq!(refused.to_string(), "the authentication method 'basic' is not offered here: use one of token");
    let principal = tokens_only(Some("guest")).authenticate("basic", b"alice:a", None, NOW_MS).unwrap();
    assert_eq!(principal.role, "guest");
}

#[test]
fn http_headers_are_read() {
    let on = authenticator(None);
    let role = |header: Option<&str>, cn| on.authenticate_http(header, cn, NOW_MS).map(|own| own.role);
    assert_eq!(role(Some(&format!("Bearer {}", token("app"))), None), Ok("app".to_owned()));
    assert_eq!(role(Some(&format!("bearer  {} ", token("app"))), Some("cn")), Ok("app".to_owned()));
    assert_eq!(role(Some("Basic YWxpY2U6YQ=="), None), Ok("alice".to_owned()));
    assert_eq!(role(None, Some("cn")), Ok("cn".to_owned()));
    assert_eq!(role(None, None), Err(AuthError::NoCredentials));
    assert_eq!(role(Some("Basic ***"), None), Err(AuthError::BasicMalformed));
    assert!(role(Some("Bearer"), None).is_err());
    let bare = role(Some(&token("app")), Some("cn")).unwrap_err().to_string();
    assert!(!bare.contains(&token("app")), "a bare token in the header is not repeated: {bare}");
}
