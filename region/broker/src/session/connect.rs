//! Handshake, keep-alive, expiry of credentials.

use crate::broker::Broker;
use crate::io::{BrokerEffect, ConnId};
use crate::session::Phase;
use ::auth::{AuthSession, RefreshSupport, SessionVerdict};
use base::Now;
use bytes::Bytes;
use std::time::Duration;
use wire::commands;
use wire::pulsar::base_command::Command;
use wire::pulsar::{CommandAuthResponse, CommandConnect, FeatureFlags, ServerError};

/// Newest protocol version that this broker speaks.
const PROTOCOL_VERSION: i32 = 21;
/// How often connections are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Time for the handshake (security.md C6).
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// A connection whose name somebody else wants has this long to answer a ping.
const LIVENESS_MAX: Duration = Duration::from_secs(5);

impl Broker {
    pub(crate) fn handle_handshake(&mut self, now: Now, conn: ConnId, command: Command) {
        match command {
            Command::Connect(connect) => self.on_connect(now, conn, *connect),
            Command::Ping(_) => self.out.command(conn, &commands::pong()),
            Command::Pong(_) => (),
            _ => {
                let text = "the first command of a connection must be CONNECT";
                self.refuse_connection(conn, ServerError::NotAllowedError, text);
            }
        }
    }

    fn on_connect(&mut self, now: Now, conn: ConnId, connect: CommandConnect) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if connect.proxy_to_broker_url.as_ref().is_some_and(|url| !url.is_empty())
            || connect.original_principal.is_some()
        {
            let text = "connections on behalf of others (through a proxy) are not built in Meridian; connect directly";
            return self.refuse_connection(conn, ServerError::NotAllowedError, text);
        }
        let method = match (&connect.auth_method_name, connect.auth_method) {
            (Some(name), _) => name.clone(),
            (None, Some(_)) => connect.auth_method().as_str_name().trim_start_matches("AuthMethod").to_lowercase(),
            (None, None) => String::new(),
        };
        let data = connect.auth_data.clone().unwrap_or_default();
        let common_name = session.info.tls_common_name.as_deref();
        let principal = match self.core.authenticator.authenticate(&method, &data, common_name, now.wall_ms) {
            Ok(principal) => principal,
            Err(error) => return self.refuse_connection(conn, ServerError::AuthenticationError, &error.to_string()),
        };
        let features = connect.feature_flags.unwrap_or_default();
        let refresh = match features.supports_auth_refresh() {
            true => RefreshSupport::Supported,
            false => RefreshSupport::Unsupported,
        };
        session.client_version = connect.client_version.chars().filter(|c| !c.is_control()).take(100).collect();
        session.protocol_version = connect.protocol_version().clamp(0, PROTOCOL_VERSION);
        session.features = features;
        session.phase = Phase::Active(Box::new(AuthSession::new(principal, refresh)));
        let flags = FeatureFlags {
            supports_get_partitioned_metadata_without_auto_creation: Some(true),
            ..FeatureFlags::default()
        };
        let options = &self.core.options;
        let version = session.protocol_version;
        let connected = commands::connected(&options.server_version, version, options.message_bytes_max, flags);
        self.out.effect(BrokerEffect::Authenticated { conn });
        self.out.command(conn, &connected);
    }

    /// A client answers a challenge.
    pub(crate) fn on_auth_response(&mut self, now: Now, conn: ConnId, response: CommandAuthResponse) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let Phase::Active(auth) = &mut session.phase else { return };
        let answer = response.response.unwrap_or_default();
        let method = answer.auth_method_name.unwrap_or_default();
        let data = answer.auth_data.unwrap_or_default();
        let common_name = session.info.tls_common_name.as_deref();
        let proven = self.core.authenticator.authenticate(&method, &data, common_name, now.wall_ms);
        if let Err(error) = proven.and_then(|principal| auth.refresh(principal)) {
            self.refuse_connection(conn, ServerError::AuthenticationError, &error.to_string());
        }
    }

    /// Keep-alive, handshakes that take too long, credentials that expire.
    pub(crate) fn check_sessions(&mut self, now: Now) {
        self.housekeeping = now.mono + HOUSEKEEPING;
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.check_session(now, conn);
        }
    }

    fn check_session(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.closed_producers.retain(|_, until| *until > now.mono);
        match &mut session.phase {
            Phase::Closing => return,
            Phase::Handshaking { since } => {
                if now.mono.since(*since) > HANDSHAKE_MAX {
                    let text = format!("no CONNECT within {} s", HANDSHAKE_MAX.as_secs());
                    self.refuse_connection(conn, ServerError::AuthenticationError, &text);
                }
                return;
            }
            Phase::Active(auth) => {
                if session.next_auth_check <= now.mono {
                    session.next_auth_check = now.mono + self.core.options.auth_check;
                    let verdict = auth.check(now.wall_ms);
                    let method = auth.principal().method.as_str();
                    let version = session.protocol_version;
                    return self.act_on_expiry(now, conn, verdict, method, version);
                }
            }
        }
        self.check_liveness(now, conn);
    }

    fn act_on_expiry(&mut self, now: Now, conn: ConnId, verdict: SessionVerdict, method: &'static str, version: i32) {
        match verdict {
            SessionVerdict::StillValid => self.check_liveness(now, conn),
            SessionVerdict::SendChallenge => {
                let data = Bytes::from_static(b"PulsarRefresh");
                let server = self.core.options.server_version.clone();
                self.out.command(conn, &commands::auth_challenge(&server, version, method, data));
            }
            SessionVerdict::Disconnect => {
                let text = "the credentials of this connection have expired; connect again with fresh ones";
                self.refuse_connection(conn, ServerError::AuthenticationError, text);
            }
        }
    }

    fn check_liveness(&mut self, now: Now, conn: ConnId) {
        let keep_alive = self.core.options.keep_alive;
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        match session.pinged {
            Some(deadline) if deadline <= now.mono => {
                self.end_connection(conn, "no answer to a ping");
            }
            Some(_) => (),
            None if now.mono.since(session.last_heard) >= keep_alive => {
                session.pinged = Some(now.mono + keep_alive);
                self.out.command(conn, &commands::ping());
            }
            None => (),
        }
    }

    /// Somebody wants a producer name that this connection holds: it must prove that it lives.
    pub(crate) fn probe(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.pinged.is_none_or(|deadline| deadline > now.mono + LIVENESS_MAX) {
            session.pinged = Some(now.mono + LIVENESS_MAX);
            self.out.command(conn, &commands::ping());
        }
    }
}
