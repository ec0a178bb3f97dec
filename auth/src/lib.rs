//! Who is asking, and what may they do: tokens, identities, grants.
//!
//! **What**  [`Authenticator`] turns credentials into a [`Principal`]; [`AuthSession`] watches one connection's principal
//! until it expires; [`Grants`] says which role may do what inside one namespace.
//!
//! **Invariants**
//! - I1  a token is believed only by a key whose own algorithm it names: `none` and the other family are refused.
//! - I2  a refresh never changes the role of a session.
//! - I3  nothing is granted that is not written down: an empty [`Grants`] allows nothing.
//! - I4  no error text and no `Debug` output holds a token, a password or a secret key.
//!
//! **Not here**  Tenants and their administrators (`tenancy::authorize`), reading key files, the clock: time is an argument.
//!
//! **Tests**  Beside each file; `tests/token.rs` holds one negative token for every rule, `tests/grants.rs` the properties.

mod action;
mod authenticator;
mod basic;
mod crypt;
mod error;
mod grants;
mod key;
mod principal;
mod session;
mod sign;
mod token;

pub use action::{Action, UnknownAction};
pub use authenticator::{Authenticator, Providers, TlsLogin};
pub use basic::BasicUsers;
pub use error::{AuthError, ConfigError};
pub use grants::{Access, Grants};
pub use key::{KeySource, PublicAlg, SECRET_BYTES_MIN, SigningKey, TokenKey, key_to_data_url, secret_from_entropy};
pub use principal::{AuthMethod, Principal};
pub use session::{AuthSession, RefreshSupport, SessionVerdict};
pub use sign::{TokenClaims, create_token};
pub use token::{TOKEN_BYTES_MAX, TOKEN_KEYS_MAX, TokenVerifier, TokenVerifierConfig};
