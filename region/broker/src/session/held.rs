//! Commands of a connection whose publish quota is used up, kept in order until it has paid.
//!
//! **What**  The socket is not read meanwhile (`ingress`), so what is kept is at most what had been read already. A publish is
//! charged once, when it first comes to its turn; the limiter says from when it may pass.
//!
//! **Invariants**
//! - I1  commands of one connection are handled in the order in which they came; only PING overtakes, so that a throttled
//!   client does not take the connection for dead.
//! - I2  a connection has held commands only while it is throttled.

use crate::broker::Broker;
use crate::io::ConnId;
use crate::session::Phase;
use base::{Mono, Now};
use bytes::Bytes;
use wire::pulsar::CommandSend;
use wire::pulsar::base_command::Command;

/// A command that waits.
#[derive(Debug)]
pub(crate) enum Held {
    /// Not looked at yet.
    Fresh { command: Command, payload: Option<Bytes> },
    /// A publish that the quotas have charged already.
    Charged { send: CommandSend, payload: Option<Bytes> },
}

/// Whether the quotas were asked for a publish already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    Due,
    Taken,
}

impl Broker {
    /// Keeps a command when others of its connection wait already.
    pub(crate) fn hold(
        &mut self,
        conn: ConnId,
        command: Command,
        payload: Option<Bytes>,
    ) -> Option<(Command, Option<Bytes>)> {
        let session = self.sessions.get_mut(&conn)?;
        let overtakes = matches!(command, Command::Ping(_) | Command::Pong(_));
        if session.held.is_empty() || overtakes {
            return Some((command, payload));
        }
        session.held.push_back(Held::Fresh { command, payload });
        None
    }

    /// A publish must wait until `until`: it and what follows on its connection.
    pub(crate) fn hold_publish(&mut self, conn: ConnId, send: CommandSend, payload: Option<Bytes>, until: Mono) {
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.held.push_front(Held::Charged { send, payload });
            self.ingress.throttle(conn, until, &mut self.out);
        }
    }

    /// The connection has paid: its commands go on until one must wait again (I1).
    pub(crate) fn release_held(&mut self, now: Now, conn: ConnId) {
        while !self.ingress.is_throttled(conn) {
            let Some(session) = self.sessions.get_mut(&conn) else { return };
            if !matches!(session.phase, Phase::Active(_)) {
                session.held.clear();
            }
            match session.held.pop_front() {
                Some(Held::Fresh { command, payload }) => self.handle_command(now, conn, command, payload),
                Some(Held::Charged { send, payload }) => self.on_send(now, conn, send, payload, Charge::Taken),
                None => return,
            }
        }
    }
}
