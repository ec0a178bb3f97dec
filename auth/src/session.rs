//! One connection's identity over time.
//!
//! **States**  Valid → Challenged → Valid (refreshed in time) or closed.
//!
//! **Invariants** (numbers of lib.rs)
//! - I2  a refresh keeps the role; one that would change it ends the session.
//! - S1  at most one challenge is outstanding: a check that still finds it unanswered ends the session.
//!
//! **Not here**  The interval of checks, sending the challenge, closing the connection.

use crate::{AuthError, Principal};

/// Whether the client can answer a challenge (its feature flags say so).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshSupport {
    Supported,
    Unsupported,
}

/// What a check of the session found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionVerdict {
    StillValid,
    /// Ask the client for new credentials.
    SendChallenge,
    /// The credentials have expired and were not replaced: close.
    Disconnect,
}

/// The identity of one connection.
#[derive(Clone, Debug)]
pub struct AuthSession {
    principal: Principal,
    refresh: RefreshSupport,
    is_challenged: bool,
}

impl AuthSession {
    pub fn new(principal: Principal, refresh: RefreshSupport) -> Self {
        Self { principal, refresh, is_challenged: false }
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Unix milliseconds of the expiry, to set a timer by.
    pub fn expires_at_ms(&self) -> Option<u64> {
        self.principal.expires_at_ms
    }

    /// The regular check, every `authenticationRefreshCheckSeconds` and at the moment of expiry. A challenge that this
    /// answers must be sent.
    pub fn check(&mut self, wall_ms: u64) -> SessionVerdict {
        let expired = self.principal.expires_at_ms.is_some_and(|at_ms| at_ms <= wall_ms);
        match (expired, self.refresh, self.is_challenged) {
            (false, _, false) => SessionVerdict::StillValid,
            (_, _, true) | (true, RefreshSupport::Unsupported, _) => SessionVerdict::Disconnect, // S1
            (true, RefreshSupport::Supported, false) => {
                self.is_challenged = true;
                SessionVerdict::SendChallenge
            }
        }
    }

    /// Takes the identity that the client's answer proved. An answer nobody asked for is taken as well.
    ///
    /// # Errors
    /// [`AuthError::RoleChanged`] when it is another role (I2): close the connection.
    pub fn refresh(&mut self, proven: Principal) -> Result<(), AuthError> {
        if proven.role != self.principal.role || proven.method != self.principal.method {
            return Err(AuthError::RoleChanged);
        }
        self.principal = proven;
        self.is_challenged = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AuthMethod;

    fn principal(role: &str, expires_at_ms: Option<u64>) -> Principal {
        Principal { expires_at_ms, ..Principal::new(role, AuthMethod::Token) }
    }

    #[test]
    fn a_session_without_expiry_stays_valid() {
        let mut session = AuthSession::new(principal("a", None), RefreshSupport::Unsupported);
        assert_eq!(session.check(u64::MAX), SessionVerdict::StillValid);
    }

    #[test]
    fn an_expired_session_is_challenged_once_and_then_closed() {
        let mut session = AuthSession::new(principal("a", Some(1000)), RefreshSupport::Supported);
        assert_eq!(session.check(999), SessionVerdict::StillValid);
        assert_eq!(session.check(1000), SessionVerdict::SendChallenge);
        assert_eq!(session.check(1060), SessionVerdict::Disconnect);
    }

    #[test]
    fn a_client_that_cannot_refresh_is_closed_at_expiry() {
        let mut session = AuthSession::new(principal("a", Some(1000)), RefreshSupport::Unsupported);
        assert_eq!(session.check(1000), SessionVerdict::Disconnect);
    }

    #[test]
    fn a_refresh_with_the_same_role_prolongs_the_session() {
        let mut session = AuthSession::new(principal("a", Some(1000)), RefreshSupport::Supported);
        assert_eq!(session.check(1000), SessionVerdict::SendChallenge);
        assert_eq!(session.refresh(principal("a", Some(5000))), Ok(()));
        assert_eq!(session.check(1060), SessionVerdict::StillValid);
        assert_eq!(session.expires_at_ms(), Some(5000));
    }

    #[test]
    fn a_refresh_never_changes_the_role() {
        let mut session = AuthSession::new(principal("a", Some(1000)), RefreshSupport::Supported);
        assert_eq!(session.refresh(principal("b", None)), Err(AuthError::RoleChanged));
        assert_eq!(session.refresh(Principal::new("a", AuthMethod::Basic)), Err(AuthError::RoleChanged));
        assert_eq!(session.principal().role, "a");
    }
}
