//! Users and passwords from an htpasswd file.
//!
//! **What**  Lines `user:hash` with MD5-crypt or SHA-crypt hashes, the kinds that Pulsar's basic provider reads and that
//! are not broken outright. The user name is the role.
//!
//! **Invariants**
//! - B1  an unknown user costs as much time as a wrong password and gets the same answer.
//! - B2  the work for one attempt is bounded: passwords, salts and rounds have limits.
//!
//! **Not here**  Reading the file; classic DES hashes, plain SHA-1 and plain text, which are refused by name.

use crate::crypt::{md5_crypt, sha256_crypt, sha512_crypt};
use crate::token::check_role;
use crate::{AuthError, AuthMethod, ConfigError, Principal};
use std::collections::BTreeMap;
use subtle::ConstantTimeEq;

/// Longest accepted password, in bytes.
const PASSWORD_BYTES_MAX: usize = 256;
const SHA_ROUNDS_DEFAULT: u32 = 5000;
/// Most rounds that a line may ask for; about 50 ms of work.
const SHA_ROUNDS_MAX: u32 = 100_000;
const MD5_SALT_BYTES_MAX: usize = 8;
const SHA_SALT_BYTES_MAX: usize = 16;

#[derive(Clone)]
enum Scheme {
    Md5 { magic: &'static str },
    Sha256 { rounds: u32 },
    Sha512 { rounds: u32 },
}

#[derive(Clone)]
struct PasswordHash {
    scheme: Scheme,
    salt: String,
    hash: String,
}

/// The users of a password file.
#[derive(Clone, Default)]
pub struct BasicUsers {
    users: BTreeMap<String, PasswordHash>,
}

impl std::fmt::Debug for BasicUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BasicUsers({} users)", self.users.len())
    }
}

impl BasicUsers {
    /// Reads the text of an htpasswd file; empty lines and lines that start with `#` are skipped.
    ///
    /// # Errors
    /// [`ConfigError::BadPasswordLine`] with the line's number and the rule; never the line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut users = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let refuse = |rule| ConfigError::BadPasswordLine { line: index + 1, rule };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or_else(|| refuse("it is not user:hash"))?;
            check_role(user).map_err(|_| refuse("the user name is empty or holds a control character"))?;
            if users.insert(user.to_owned(), PasswordHash::parse(hash).map_err(refuse)?).is_some() {
                return Err(refuse("the user is there already"));
            }
        }
        Ok(Self { users })
    }

    /// Checks `user:password`.
    ///
    /// # Errors
    /// [`AuthError::BasicMalformed`] or [`AuthError::WrongPassword`], the latter also for unknown users (B1).
    pub fn verify(&self, data: &[u8]) -> Result<Principal, AuthError> {
        let text = std::str::from_utf8(data).map_err(|_| AuthError::BasicMalformed)?;
        let (user, password) = text.split_once(':').ok_or(AuthError::BasicMalformed)?;
        if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
            return Err(AuthError::WrongPassword); // B2
        }
        let known = self.users.get(user);
        // B1: for an unknown user somebody's hash is worked through all the same.
        let Some(work) = known.or_else(|| self.users.values().next()) else { return Err(AuthError::WrongPassword) };
        let matches = work.matches(password.as_bytes());
        if known.is_some() && matches {
            Ok(Principal::new(user, AuthMethod::Basic))
        } else {
            Err(AuthError::WrongPassword)
        }
    }
}

impl PasswordHash {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let unsupported = "its hash is of an unsupported kind: make the line with `htpasswd -m` or `openssl passwd -6`";
        let Some(rest) = text.strip_prefix('$') else { return Err(unsupported) };
        let (kind, rest) = rest.split_once('$').ok_or(unsupported)?;
        let (scheme, rest) = match kind {
            "apr1" => (Scheme::Md5 { magic: "$apr1$" }, rest),
            "1" => (Scheme::Md5 { magic: "$1$" }, rest),
            "5" => read_rounds(rest).map(|(rounds, rest)| (Scheme::Sha256 { rounds }, rest))?,
            "6" => read_rounds(rest).map(|(rounds, rest)| (Scheme::Sha512 { rounds }, rest))?,
            _ => return Err(unsupported),
        };
        let (salt, hash) = rest.split_once('$').ok_or("its hash has no salt")?;
        let (salt_max, hash_length) = match scheme {
            Scheme::Md5 { .. } => (MD5_SALT_BYTES_MAX, 22),
            Scheme::Sha256 { .. } => (SHA_SALT_BYTES_MAX, 43),
            Scheme::Sha512 { .. } => (SHA_SALT_BYTES_MAX, 86),
        };
        if salt.len() > salt_max || hash.len() != hash_length {
            return Err("its salt or hash has the wrong length");
        }
        Ok(Self { scheme, salt: salt.to_owned(), hash: hash.to_owned() })
    }

    fn matches(&self, password: &[u8]) -> bool {
        let salt = self.salt.as_bytes();
        let computed = match self.scheme {
            Scheme::Md5 { magic } => md5_crypt(magic, password, salt),
            Scheme::Sha256 { rounds } => sha256_crypt(password, salt, rounds),
            Scheme::Sha512 { rounds } => sha512_crypt(password, salt, rounds),
        };
        computed.as_bytes().ct_eq(self.hash.as_bytes()).into()
    }
}

/// Reads the optional `rounds=N$` before a SHA-crypt salt.
fn read_rounds(text: &str) -> Result<(u32, &str), &'static str> {
    let Some(given) = text.strip_prefix("rounds=") else { return Ok((SHA_ROUNDS_DEFAULT, text)) };
    let (count, rest) = given.split_once('$').ok_or("its hash has no salt")?;
    match count.parse::<u32>() {
        Ok(rounds @ 1000..=SHA_ROUNDS_MAX) => Ok((rounds, rest)),
        Ok(_) | Err(_) => Err("its rounds are not between 1000 and 100000"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &str = "correct horse battery staple, and then some more words";

    /// Made with `openssl passwd` and the C library's crypt.
    const VECTORS: [(&str, &str); 10] = [
        ("a", "$apr1$saltsalt$OEnK0QmmvoDzFw9W2yFYT/"),
        (LONG, "$apr1$saltsalt$gwnCK3QugE2/E.T.Mb4TJ."),
        ("a", "$1$saltsalt$MzDjbImyzEz2m0NTiPzNW/"),
        (LONG, "$1$saltsalt$aU2YanwwU8Dax4wGn3xKV."),
        ("a", "$5$saltsalt$Mtm6KOxb.PwaKES1sp80SDYOu1T0RdwsBVakhLiqA64"),
        (LONG, "$5$saltsalt$JqQwCQXQyzaqdH0dtvfRYx4ye4v6Oxr72MLyqF7xHNC"),
        ("a", "$6$saltsalt$8gzUrz5S2/0AfMGfui2LllQQ2fwu.jYnAVGef2XY7gAo0jNFrzHsTq9lMr2ze7QvIJxr4BYOKdgDpx4Va9Atb1"),
        (LONG, "$6$saltsalt$elWq3omtervEC/rltZatWgvJs1.lhINQqxbScSFzbAnS4gLNqxI5ZDz4hCMlmAdVRjoyJEQnYOs7Fclxh16dv."),
        ("pw", "$5$rounds=1000$0123456789abcdef$Ans0/lK8Pjc5MT61cnUxHBCEiQW7y2S6ekGRm39NdN1"),
        (
            "pw",
            "$6$rounds=1400$0123456789abcdef$SYvsZ5LlbXcJiwpfHiJ77Oy37tQHA0iIEdxcQBuMDc0IKZ8uNdmeaCVIwFafKFrenkYyJLX\
             /NW29dZvLmQSGV/",
        ),
    ];

    #[test]
    fn passwords_hashed_elsewhere_are_accepted_and_others_are_not() {
        for (password, hash) in VECTORS {
            let users = BasicUsers::parse(&format!("# people\n\nalice:{hash}\n")).unwrap();
            let principal = users.verify(format!("alice:{password}").as_bytes()).unwrap();
            assert_eq!((principal.role.as_str(), principal.method), ("alice", AuthMethod::Basic), "{hash}");
            assert_eq!(users.verify(b"alice:b"), Err(AuthError::WrongPassword));
            assert_eq!(users.verify(format!("bob:{password}").as_bytes()), Err(AuthError::WrongPassword));
        }
    }

    #[test]
    fn malformed_and_oversized_credentials_are_refused() {
        let users = BasicUsers::parse(&format!("alice:{}", VECTORS[0].1)).unwrap();
        assert_eq!(users.verify(b"alice"), Err(AuthError::BasicMalformed));
        assert_eq!(users.verify(b"\xff:a"), Err(AuthError::BasicMalformed));
        assert_eq!(users.verify(b"alice:"), Err(AuthError::WrongPassword));
        assert_eq!(users.verify(format!("alice:{}", "a".repeat(10_000)).as_bytes()), Err(AuthError::WrongPassword));
        assert_eq!(BasicUsers::default().verify(b"alice:a"), Err(AuthError::WrongPassword));
    }

    #[test]
    fn weak_or_unreadable_hashes_are_refused_with_their_line() {
        for bad in [
            "alice",
            ":$1$s$MzDjbImyzEz2m0NTiPzNW/",
            "alice:plain",
            "alice:mQQQIsyvvKRtU",
            "alice:{SHA}abc=",
            "alice:$2y$05$abc",
            "alice:$6$rounds=999999999$salt$x",
            "alice:$6$salt$short",
            "alice:$1$longersalt$MzDjbImyzEz2m0NTiPzNW/",
            "alice:$1$$",
        ] {
            let error = BasicUsers::parse(&format!("# comment\n{bad}")).unwrap_err();
            assert!(matches!(error, ConfigError::BadPasswordLine { line: 2, .. }), "{bad}: {error}");
        }
        let line = format!("alice:{}", VECTORS[0].1);
        assert!(BasicUsers::parse(&format!("{line}\n{line}")).is_err());
    }
}
