//! `meridian token`: keys in Pulsar's formats, and tokens signed with them.
//!
//! **What**  A secret key is raw bytes (or a `data:` URL on standard output); a private key is PKCS #8 DER and a public key is
//! SubjectPublicKeyInfo DER, as `pulsar tokens` writes them. PEM is read as well.

use crate::exit::Failure;
use crate::{clock, term};
use auth::{PublicAlg, SigningKey, TokenClaims, create_token, key_to_data_url, secret_from_entropy};
use p256::pkcs8::{EncodePrivateKey, EncodePublicKey};
use server::config::read_key;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a new shared secret.
const SECRET_BYTES: usize = 32;
/// Bits of a new RSA key.
const RSA_BITS: usize = 2048;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum TokenCommand {
    /// Print a token for a role
    Create(CreateArgs),
    /// Make a key: a shared secret, or a pair of a private and a public key
    Keygen(KeygenArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  meridian token create --secret-key secret.key --subject acme --expiry 30d")]
pub(crate) struct CreateArgs {
    /// Shared secret: a file, file://… or data:;base64,…
    #[arg(long, value_name = "FILE", conflicts_with = "private_key", required_unless_present = "private_key")]
    secret_key: Option<String>,
    /// Private key: a file, file://… or data:;base64,…
    #[arg(long, value_name = "FILE")]
    private_key: Option<String>,
    /// Algorithm of the private key: RS256, RS384, RS512, ES256, ES384, …
    #[arg(long, value_name = "ALG", default_value = "RS256")]
    alg: String,
    /// The role
    #[arg(long, value_name = "ROLE")]
    subject: String,
    /// Valid for so long: 30s, 15m, 1h, 7d, 1y [default: for ever]
    #[arg(long, value_name = "TIME")]
    expiry: Option<String>,
    /// Claim `aud`
    #[arg(long, value_name = "NAME")]
    audience: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  meridian token keygen --out secret.key\n  \
meridian token keygen --ecdsa --private-key my.private --public-key my.public")]
pub(crate) struct KeygenArgs {
    /// Where the shared secret goes, as raw bytes; without it a data: URL is printed
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// An RSA pair for RS256
    #[arg(long, conflicts_with = "ecdsa", requires = "private_key", requires = "public_key")]
    rsa: bool,
    /// A P-256 pair for ES256
    #[arg(long, requires = "private_key", requires = "public_key")]
    ecdsa: bool,
    /// Where the private key goes
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// Where the public key goes
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
}

/// Runs one of the commands.
pub(crate) fn run(command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(args) => create(&args),
        TokenCommand::Keygen(args) => keygen(&args),
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let key = match (&args.secret_key, &args.private_key) {
        (Some(source), _) => SigningKey::Hmac(read_key("--secret-key", source).map_err(Failure::config)?),
        (None, Some(source)) => SigningKey::Private {
            alg: PublicAlg::parse(&args.alg).map_err(|error| Failure::config(format!("--alg: {error}")))?,
            pem_or_der: read_key("--private-key", source).map_err(Failure::config)?,
        },
        (None, None) => return Err(Failure::usage("give --secret-key or --private-key")),
    };
    let now_s = clock::wall_ms() / 1000;
    let expires_at_s = match &args.expiry {
        Some(text) => {
            Some(now_s + duration(text).map_err(|rule| Failure::usage(format!("--expiry: {rule}")))?.as_secs())
        }
        None => None,
    };
    let claims = TokenClaims { expires_at_s, audience: args.audience.clone(), ..TokenClaims::of_role(&args.subject) };
    let token = create_token(&key, &claims).map_err(Failure::config)?;
    term::line(&token).map_err(|error| Failure::io("cannot write to standard output", error))
}

fn keygen(args: &KeygenArgs) -> Result<(), Failure> {
    if let (true, Some(private), Some(public)) = (args.rsa || args.ecdsa, &args.private_key, &args.public_key) {
        let pair = if args.rsa { rsa_pair() } else { p256_pair() };
        let (secret, open) = pair.map_err(|error| Failure::io("cannot make a key pair", error))?;
        write_secret(private, &secret)?;
        std::fs::write(public, open)
            .map_err(|error| Failure::io(format!("cannot write {}", public.display()), error))?;
        let alg = if args.rsa { "RS256" } else { "ES256" };
        let server = format!("tokenPublicKey=file://{}  tokenPublicAlg={alg}", absolute(public));
        term::say(&format!(
            "private key {}\npublic key  {}\nfor a server: {server}",
            private.display(),
            public.display()
        ));
        return Ok(());
    }
    if args.private_key.is_some() || args.public_key.is_some() {
        return Err(Failure::usage("--private-key and --public-key need --rsa or --ecdsa"));
    }
    let secret = new_secret()?;
    match &args.out {
        Some(path) => {
            write_secret(path, &secret)?;
            term::say(&format!(
                "secret key {}\nfor a server: tokenSecretKey=file://{}",
                path.display(),
                absolute(path)
            ));
            Ok(())
        }
        None => {
            term::line(&key_to_data_url(&secret)).map_err(|error| Failure::io("cannot write to standard output", error))
        }
    }
}

/// A new shared secret from the system's entropy.
pub(crate) fn new_secret() -> Result<Vec<u8>, Failure> {
    let entropy: [u8; SECRET_BYTES] = entropy().map_err(|error| Failure::io("cannot read entropy", error))?;
    secret_from_entropy(&entropy).map_err(Failure::config)
}

fn entropy<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let read = rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    if read == N { Ok(bytes) } else { Err(std::io::Error::other("the system gave too little entropy")) }
}

fn p256_pair() -> Result<(Vec<u8>, Vec<u8>), String> {
    // A random number that is no scalar of the curve comes up once in 2^32 draws.
    let key = (0..8).find_map(|_| p256::SecretKey::from_slice(&entropy::<32>().ok()?).ok()).ok_or("no entropy")?;
    let secret = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    let public = key.public_key().to_public_key_der().map_err(|error| error.to_string())?;
    Ok((secret.as_bytes().to_vec(), public.as_bytes().to_vec()))
}

fn rsa_pair() -> Result<(Vec<u8>, Vec<u8>), String> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, RSA_BITS).map_err(|error| error.to_string())?;
    let secret = key.to_pkcs8_der().map_err(|error| error.to_string())?;
    let public = key.to_public_key().to_public_key_der().map_err(|error| error.to_string())?;
    Ok((secret.as_bytes().to_vec(), public.as_bytes().to_vec()))
}

/// Writes a file that only its owner reads.
pub(crate) fn write_secret(path: &Path, content: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|error| Failure::io(format!("cannot write {}", path.display()), error))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
}

/// Reads `30s`, `15m`, `1h`, `7d`, `2w`, `1y`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is no time: write 30s, 15m, 1h, 7d or 1y");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let number: u64 = number.parse().map_err(|_| bad())?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        "ms" => return Ok(Duration::from_millis(number)),
        _ => return Err(bad()),
    };
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use auth::{TokenKey, TokenVerifier, TokenVerifierConfig};

    #[test]
    fn durations_have_units_and_nothing_else_is_one() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(duration("1y"), Ok(Duration::from_secs(31_536_000)));
        for bad in ["", "h", "1 h", "1x", "-1s", "99999999999999999999y"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_signed_with_a_new_p256_pair_is_verified_by_its_public_half() {
        let (secret, public) = p256_pair().unwrap();
        let key = SigningKey::Private { alg: PublicAlg::Es256, pem_or_der: secret };
        let token = create_token(&key, &TokenClaims::of_role("acme")).unwrap();
        let key = TokenKey::Public { alg: PublicAlg::Es256, pem_or_der: public };
        let verifier = TokenVerifier::new(TokenVerifierConfig::new(vec![key])).unwrap();
        assert_eq!(verifier.verify(&token, clock::wall_ms()).unwrap().role, "acme");
    }

    #[test]
    fn a_secret_file_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret.key");
        write_secret(&path, &new_secret().unwrap()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
