//! Who is asking.

use std::fmt;

/// How a principal proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuthMethod {
    Token,
    Basic,
    Tls,
    /// Nobody proved anything: authentication is off, or an anonymous role is configured.
    Anonymous,
}

impl AuthMethod {
    /// The method's name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Basic => "basic",
            Self::Tls => "tls",
            Self::Anonymous => "anonymous",
        }
    }
}

/// A proven identity: the role that grants speak of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    pub role: String,
    /// Unix milliseconds from which the proof is no longer good; `None`: it does not expire.
    pub expires_at_ms: Option<u64>,
    pub method: AuthMethod,
}

impl Principal {
    pub fn new(role: &str, method: AuthMethod) -> Self {
        Self { role: role.to_owned(), expires_at_ms: None, method }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.role)
    }
}
