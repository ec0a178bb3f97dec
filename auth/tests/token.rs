//! Tokens: one positive vector per algorithm, one negative vector for each rule (security.md C4).

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use auth::{
    AuthError, AuthMethod, ConfigError, KeySource, PublicAlg, SigningKey, TOKEN_BYTES_MAX, TokenClaims, TokenKey,
    TokenVerifier, TokenVerifierConfig, create_token, key_to_data_url, secret_from_entropy,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::{any, prop, prop_assert, proptest};
use serde_json::{Value, json};

const RSA_PRIVATE: &[u8] = include_bytes!("keys/rsa-private.pem");
const RSA_PUBLIC: &[u8] = include_bytes!("keys/rsa-public.pem");
const RSA_1024_PUBLIC: &[u8] = include_bytes!("keys/rsa1024-public.pem");
const EC_PRIVATE: &[u8] = include_bytes!("keys/ec-private.pem");
const EC_PUBLIC: &[u8] = include_bytes!("keys/ec-public.pem");
const EC_384_PRIVATE: &[u8] = include_bytes!("keys/ec384-private.pem");
const EC_384_PUBLIC: &[u8] = include_bytes!("keys/ec384-public.pem");
const ED_PRIVATE: &[u8] = include_bytes!("keys/ed-private.pem");
const ED_PUBLIC: &[u8] = include_bytes!("keys/ed-public.pem");

/// 2026-01-01T00:00:00Z.
const NOW_S: u64 = 1_767_225_600;
const NOW_MS: u64 = NOW_S * 1000;

fn secret() -> Vec<u8> {
    (0..64).map(|byte| byte * 3 + 1).collect()
}

fn hmac_config() -> TokenVerifierConfig {
    TokenVerifierConfig::new(vec![TokenKey::Hmac(secret())])
}

fn hmac() -> TokenVerifier {
    TokenVerifier::new(hmac_config()).unwrap()
}

fn public(alg: PublicAlg, key: &[u8]) -> TokenKey {
    TokenKey::Public { alg, pem_or_der: key.to_vec() }
}

fn rsa() -> TokenVerifier {
    TokenVerifier::new(TokenVerifierConfig::new(vec![public(PublicAlg::Rs256, RSA_PUBLIC)])).unwrap()
}

/// Any claims, signed with the secret.
fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(&secret())).unwrap()
}

/// Any header and claims, with a signature given as bytes.
fn crafted(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode(signature))
}

fn der(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap()
}

#[test]
fn every_supported_algorithm_signs_and_verifies() {
    let pairs = [
        (PublicAlg::Rs256, RSA_PRIVATE, RSA_PUBLIC),
        (PublicAlg::Rs512, RSA_PRIVATE, RSA_PUBLIC),
        (PublicAlg::Ps384, RSA_PRIVATE, RSA_PUBLIC),
        (PublicAlg::Es256, EC_PRIVATE, EC_PUBLIC),
        (PublicAlg::Es384, EC_384_PRIVATE, EC_384_PUBLIC),
        (PublicAlg::EdDsa, ED_PRIVATE, ED_PUBLIC),
    ];
    for (alg, private, key) in pairs {
        for (private, key) in [(private.to_vec(), key.to_vec()), (der(private), der(key))] {
            let token = create_token(&SigningKey::Private { alg, pem_or_der: private }, &TokenClaims::of_role("app"));
            let verifier = TokenVerifier::new(TokenVerifierConfig::new(vec![public(alg, &key)])).unwrap();
            let principal = verifier.verify(&token.unwrap(), NOW_MS).unwrap();
            assert_eq!((principal.role.as_str(), principal.expires_at_ms), ("app", None), "{alg:?}");
        }
    }
}

#[test]
fn a_token_as_pulsar_makes_it_is_accepted() {
    let token = create_token(&SigningKey::Hmac(secret()), &TokenClaims::of_role("admin")).unwrap();
    let principal = hmac().verify(&token, NOW_MS).unwrap();
    assert_eq!((principal.role.as_str(), principal.method), ("admin", AuthMethod::Token));
    assert_eq!(principal.expires_at_ms, None, "Pulsar's tokens usually have no exp, aud or iss");
}

#[test]
fn a_long_secret_verifies_the_longer_hashes_too_as_pulsars_library_signs_with_them() {
    let key = EncodingKey::from_secret(&secret());
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        let token = jsonwebtoken::encode(&Header::new(algorithm), &json!({"sub": "a"}), &key).unwrap();
        assert!(hmac().verify(&token, NOW_MS).is_ok());
        let short =
            TokenVerifier::new(TokenVerifierConfig::new(vec![TokenKey::Hmac(secret()[..32].to_vec())])).unwrap();
        assert!(matches!(short.verify(&token, NOW_MS), Err(AuthError::AlgorithmRefused { .. })));
    }
}

#[test]
fn any_of_several_keys_verifies_so_that_keys_can_be_rotated() {
    let old: Vec<u8> = (100..140).collect();
    let config = TokenVerifierConfig::new(vec![TokenKey::Hmac(old.clone()), TokenKey::Hmac(secret())]);
    let verifier = TokenVerifier::new(config).unwrap();
    for key in [old, secret()] {
        let token = create_token(&SigningKey::Hmac(key), &TokenClaims::of_role("a")).unwrap();
        assert!(verifier.verify(&token, NOW_MS).is_ok());
    }
}

#[test]
fn algorithm_none_is_refused() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        for signature in [&b""[..], b"x"] {
            let token = crafted(&json!({"alg": alg, "typ": "JWT"}), &json!({"sub": "admin"}), signature);
            for verifier in [hmac(), rsa()] {
                assert!(matches!(verifier.verify(&token, NOW_MS), Err(AuthError::AlgorithmRefused { .. })), "{alg}");
            }
        }
    }
    let no_alg = crafted(&json!({"typ": "JWT"}), &json!({"sub": "admin"}), b"");
    assert!(matches!(hmac().verify(&no_alg, NOW_MS), Err(AuthError::TokenMalformed { .. })));
}

#[test]
fn a_public_key_is_never_used_as_a_shared_secret() {
    // The classic confusion: sign with HS256 and the text of the public key, which everybody has.
    for key in [RSA_PUBLIC.to_vec(), der(RSA_PUBLIC)] {
        let header = Header::new(Algorithm::HS256);
        let token = jsonwebtoken::encode(&header, &json!({"sub": "admin"}), &EncodingKey::from_secret(&key)).unwrap();
        let refused = rsa().verify(&token, NOW_MS).unwrap_err();
        assert!(matches!(&refused, AuthError::AlgorithmRefused { algorithm, .. } if algorithm == "HS256"), "{refused}");
    }
}

#[test]
fn the_other_algorithm_of_the_same_key_is_refused() {
    let key = SigningKey::Private { alg: PublicAlg::Rs512, pem_or_der: RSA_PRIVATE.to_vec() };
    let token = create_token(&key, &TokenClaims::of_role("a")).unwrap();
    assert!(matches!(rsa().verify(&token, NOW_MS), Err(AuthError::AlgorithmRefused { .. })));
}

#[test]
fn a_key_that_the_token_brings_along_is_ignored() {
    let mut header = Header::new(Algorithm::HS256);
    header.jku = Some("https://evil.example/keys".to_owned());
    header.kid = Some("../../etc/passwd' OR 1=1".to_owned());
    header.x5u = Some("file:///etc/passwd".to_owned());
    let own = EncodingKey::from_secret(&[7; 40]);
    let forged = jsonwebtoken::encode(&header, &json!({"sub": "admin"}), &own).unwrap();
    assert_eq!(hmac().verify(&forged, NOW_MS), Err(AuthError::BadSignature));
    let honest = jsonwebtoken::encode(&header, &json!({"sub": "a"}), &EncodingKey::from_secret(&secret())).unwrap();
    assert!(hmac().verify(&honest, NOW_MS).is_ok(), "the headers are ignored, not obeyed");
}

#[test]
fn demanded_extensions_are_refused() {
    let token = crafted(&json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &json!({"sub": "a"}), b"x");
    assert!(matches!(hmac().verify(&token, NOW_MS), Err(AuthError::TokenMalformed { .. })));
}

#[test]
fn bad_signatures_are_refused() {
    let token = signed(&json!({"sub": "a"}));
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[5] ^= 1;
    let flipped = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&bytes));
    let cut = format!("{message}.{}", URL_SAFE_NO_PAD.encode(&bytes[..16]));
    let other_claims = format!("{}.{signature}", signed(&json!({"sub": "admin"})).rsplit_once('.').unwrap().0);
    for forged in [flipped, cut, other_claims, format!("{message}.")] {
        assert_eq!(hmac().verify(&forged, NOW_MS), Err(AuthError::BadSignature));
    }
}

#[test]
fn expired_tokens_are_refused_to_the_millisecond_and_the_skew() {
    let token = signed(&json!({"sub": "a", "exp": NOW_S}));
    let expires = |config: TokenVerifierConfig, at_ms| TokenVerifier::new(config).unwrap().verify(&token, at_ms);
    assert_eq!(expires(hmac_config(), NOW_MS - 1).unwrap().expires_at_ms, Some(NOW_MS));
    let expired = AuthError::TokenExpired { at_ms: NOW_MS, now_ms: NOW_MS };
    assert_eq!(expires(hmac_config(), NOW_MS), Err(expired));
    let skewed = || TokenVerifierConfig { clock_skew_s: 30, ..hmac_config() };
    assert_eq!(expires(skewed(), NOW_MS + 29_999).unwrap().expires_at_ms, Some(NOW_MS + 30_000));
    assert!(expires(skewed(), NOW_MS + 30_000).is_err());
    assert!(hmac().verify(&signed(&json!({"sub": "a", "exp": -5})), NOW_MS).is_err());
    let fraction = hmac().verify(&signed(&json!({"sub": "a", "exp": NOW_S as f64 + 0.5})), NOW_MS).unwrap();
    assert_eq!(fraction.expires_at_ms, Some(NOW_MS + 500));
}

#[test]
fn tokens_from_the_future_are_refused() {
    let later = signed(&json!({"sub": "a", "nbf": NOW_S + 10}));
    let refused = AuthError::TokenNotYetValid { from_ms: NOW_MS + 10_000, now_ms: NOW_MS };
    assert_eq!(hmac().verify(&later, NOW_MS), Err(refused));
    assert!(hmac().verify(&later, NOW_MS + 10_000).is_ok());
    let skewed = TokenVerifier::new(TokenVerifierConfig { clock_skew_s: 10, ..hmac_config() }).unwrap();
    assert!(skewed.verify(&later, NOW_MS).is_ok());
    assert!(hmac().verify(&signed(&json!({"sub": "a", "iat": NOW_S + 61})), NOW_MS).is_err());
    assert!(hmac().verify(&signed(&json!({"sub": "a", "iat": NOW_S + 60})), NOW_MS).is_ok());
}

#[test]
fn times_that_are_no_numbers_are_refused() {
    for (claim, value) in [("exp", json!("tomorrow")), ("exp", json!(null)), ("nbf", json!([1])), ("iat", json!({}))] {
        let token = signed(&json!({"sub": "a", claim: value}));
        assert_eq!(hmac().verify(&token, NOW_MS), Err(AuthError::BadTime { claim }));
    }
    assert!(hmac().verify(&signed(&json!({"sub": "a", "exp": u64::MAX})), NOW_MS).is_ok());
}

#[test]
fn the_audience_is_checked_only_when_configured() {
    let config = || TokenVerifierConfig {
        audience_claim: Some("aud".to_owned()),
        audience: Some("meridian".to_owned()),
        ..hmac_config()
    };
    let verifier = TokenVerifier::new(config()).unwrap();
    for good in [json!("meridian"), json!(["other", "meridian"])] {
        assert!(verifier.verify(&signed(&json!({"sub": "a", "aud": good})), NOW_MS).is_ok());
    }
    for bad in [json!("other"), json!([]), json!(["other"]), json!(null), json!(5), json!("meridian2")] {
        let token = signed(&json!({"sub": "a", "aud": bad}));
        assert!(matches!(verifier.verify(&token, NOW_MS), Err(AuthError::WrongAudience { .. })), "{bad}");
        assert!(hmac().verify(&token, NOW_MS).is_ok(), "no audience is configured");
    }
    assert!(verifier.verify(&signed(&json!({"sub": "a"})), NOW_MS).is_err());
    for half in
        [TokenVerifierConfig { audience_claim: None, ..config() }, TokenVerifierConfig { audience: None, ..config() }]
    {
        assert_eq!(TokenVerifier::new(half).unwrap_err(), ConfigError::HalfAudience);
    }
}

#[test]
fn a_token_without_a_usable_role_is_refused() {
    let bad = [json!(null), json!(""), json!(7), json!({"a": 1}), json!([]), json!([5]), json!("a\nb"), json!(true)];
    for role in bad {
        let refused = hmac().verify(&signed(&json!({"sub": role})), NOW_MS);
        assert!(matches!(refused, Err(AuthError::NoRole { .. })), "{role}");
    }
    assert!(matches!(hmac().verify(&signed(&json!({"name": "a"})), NOW_MS), Err(AuthError::NoRole { .. })));
    assert_eq!(hmac().verify(&signed(&json!({"sub": ["a", "b"]})), NOW_MS).unwrap().role, "a");
    let other_claim = TokenVerifier::new(TokenVerifierConfig { claim: "role".to_owned(), ..hmac_config() }).unwrap();
    assert_eq!(other_claim.verify(&signed(&json!({"sub": "x", "role": "y"})), NOW_MS).unwrap().role, "y");
}

#[test]
fn oversized_tokens_are_refused_before_anything_is_decoded() {
    let token = signed(&json!({"sub": "a", "pad": "x".repeat(TOKEN_BYTES_MAX)}));
    let refused = AuthError::TokenTooLarge { bytes: token.len(), limit: TOKEN_BYTES_MAX };
    assert_eq!(hmac().verify(&token, NOW_MS), Err(refused));
}

#[test]
fn garbage_is_refused() {
    let claims_not_object = crafted(&json!({"alg": "HS256"}), &json!([1]), b"x");
    let garbage =
        ["", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "ey.ey.ey", "\u{0}", "🦀.🦀.🦀", &claims_not_object];
    for text in garbage {
        let refused = hmac().verify(text, NOW_MS).unwrap_err();
        assert!(matches!(refused, AuthError::TokenMalformed { .. } | AuthError::BadSignature), "{text}: {refused}");
    }
    assert!(matches!(hmac().verify(&signed(&json!([1])), NOW_MS), Err(AuthError::TokenMalformed { .. })));
}

#[test]
fn weak_and_misplaced_keys_are_refused_at_start() {
    let refuse = |keys: Vec<TokenKey>| TokenVerifier::new(TokenVerifierConfig::new(keys)).unwrap_err();
    assert_eq!(refuse(vec![]), ConfigError::NoKey);
    assert_eq!(refuse(vec![TokenKey::Hmac(vec![1; 31])]), ConfigError::SecretTooShort { bytes: 31, least: 32 });
    assert_eq!(refuse(vec![TokenKey::Hmac(RSA_PUBLIC.to_vec())]), ConfigError::SecretIsPem);
    let mixed = vec![TokenKey::Hmac(secret()), public(PublicAlg::Rs256, RSA_PUBLIC)];
    assert_eq!(refuse(mixed), ConfigError::MixedKeys);
    assert!(matches!(refuse(vec![TokenKey::Hmac(secret()); 17]), ConfigError::TooManyKeys { .. }));
    for (alg, key) in [
        (PublicAlg::Rs256, RSA_1024_PUBLIC),
        (PublicAlg::Rs256, RSA_PRIVATE),
        (PublicAlg::Rs256, EC_PUBLIC),
        (PublicAlg::Es256, RSA_PUBLIC),
        (PublicAlg::Es256, EC_384_PUBLIC),
        (PublicAlg::Es384, EC_PUBLIC),
        (PublicAlg::EdDsa, EC_PUBLIC),
        (PublicAlg::Es256, b"garbage"),
        (PublicAlg::Rs256, b""),
    ] {
        assert!(matches!(refuse(vec![public(alg, key)]), ConfigError::BadKey { .. }), "{alg:?}");
    }
    assert!(PublicAlg::parse("RS256").is_ok());
    for unknown in ["none", "HS256", "ES512", "rs256"] {
        assert!(PublicAlg::parse(unknown).is_err(), "{unknown}");
    }
}

#[test]
fn no_error_and_no_debug_output_repeats_a_token_or_a_key() {
    let token = signed(&json!({"sub": "canary-role", "exp": 1}));
    let text = format!("{0} {0:?}", hmac().verify(&token, NOW_MS).unwrap_err());
    let alg_token = crafted(&json!({"alg": "canary-alg"}), &json!({"sub": "a"}), b"x");
    let alg_text = hmac().verify(&alg_token, NOW_MS).unwrap_err().to_string();
    assert!(!text.contains("canary") && !text.contains(&token) && !alg_text.contains("canary"), "{text} {alg_text}");
    let canary: Vec<u8> = b"canary-secret-canary-secret-canary".to_vec();
    let shown = format!(
        "{:?} {:?} {:?} {:?}",
        TokenKey::Hmac(canary.clone()),
        SigningKey::Hmac(canary.clone()),
        KeySource::Inline(canary.clone()),
        TokenVerifier::new(TokenVerifierConfig::new(vec![TokenKey::Hmac(canary)])).unwrap(),
    );
    assert!(!shown.contains("canary") && !shown.contains("99, 97"), "{shown}");
}

#[test]
fn key_sources_are_read_as_pulsar_writes_them() {
    assert_eq!(KeySource::parse("file:///etc/k"), Ok(KeySource::File("/etc/k".to_owned())));
    assert_eq!(KeySource::parse(" keys/k.pem "), Ok(KeySource::File("keys/k.pem".to_owned())));
    let url = key_to_data_url(&secret());
    assert_eq!(KeySource::parse(&url), Ok(KeySource::Inline(secret())));
    let typed = url.replace("data:;", "data:application/octet-stream;");
    assert_eq!(KeySource::parse(&typed), Ok(KeySource::Inline(secret())));
    for bad in ["", "file://", "data:,plain", "data:;base64", "data:;base64,***", "https://host/key"] {
        assert!(KeySource::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn secrets_come_from_enough_entropy() {
    assert_eq!(secret_from_entropy(&secret()), Ok(secret()));
    assert!(secret_from_entropy(&secret()[..31]).is_err());
    assert!(secret_from_entropy(&[0; 64]).is_err());
}

#[test]
fn subjects_that_no_server_would_accept_are_not_signed() {
    for bad in ["", "a\u{7}"] {
        assert!(create_token(&SigningKey::Hmac(secret()), &TokenClaims::of_role(bad)).is_err());
    }
    assert!(create_token(&SigningKey::Hmac(vec![1; 8]), &TokenClaims::of_role("a")).is_err());
    let wrong = SigningKey::Private { alg: PublicAlg::Es256, pem_or_der: RSA_PRIVATE.to_vec() };
    assert!(create_token(&wrong, &TokenClaims::of_role("a")).is_err());
}

proptest! {
    #[test]
    fn no_text_panics_the_verifier_and_none_is_believed(text in "[A-Za-z0-9_.-]{0,80}|.{0,40}") {
        prop_assert!(hmac().verify(&text, NOW_MS).is_err());
    }

    #[test]
    fn no_changed_byte_of_a_token_is_believed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let token = signed(&json!({"sub": "a"})).into_bytes();
        let mut changed = token.clone();
        let at = at.index(token.len());
        changed[at] = byte;
        // The last character of the signature carries spare bits, which the strict decoder refuses.
        if changed != token && let Ok(text) = String::from_utf8(changed) {
            prop_assert!(hmac().verify(&text, NOW_MS).is_err());
        }
    }
}
