//! How much each connection has sent that is not answered yet, and which sockets are not read for now.
//!
//! **Invariants**
//! - I1  a connection is paused exactly while it is throttled by a quota, over [`PENDING_BYTES_CONN_MAX`], or the broker is
//!   over its total; pause and resume are said once per change.
//! - I2  `total` is the sum of all connections' pending bytes.

use crate::io::{BrokerEffect, ConnId};
use crate::outbox::Outbox;
use base::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};

/// Bytes published on one connection and not yet durable before its socket is no longer read.
pub const PENDING_BYTES_CONN_MAX: u64 = 16 * 1024 * 1024;

#[derive(Debug, Default)]
struct ConnFlow {
    pending_bytes: u64,
    throttled_until: Option<Mono>,
    paused: bool,
}

/// The read side of all connections.
#[derive(Debug)]
pub(crate) struct Ingress {
    flows: BTreeMap<ConnId, ConnFlow>,
    throttled: BTreeSet<(Mono, ConnId)>,
    total: u64,
    total_max: u64,
    /// Connections paused because of the total.
    stalled: BTreeSet<ConnId>,
}

impl Ingress {
    /// `total_max`: bytes published on all connections and not yet durable.
    pub(crate) fn new(total_max: u64) -> Self {
        Self {
            flows: BTreeMap::new(),
            throttled: BTreeSet::new(),
            total: 0,
            total_max: total_max.max(PENDING_BYTES_CONN_MAX),
            stalled: BTreeSet::new(),
        }
    }

    pub(crate) fn open(&mut self, conn: ConnId) {
        self.flows.insert(conn, ConnFlow::default());
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        if let Some(flow) = self.flows.remove(&conn) {
            self.total = self.total.saturating_sub(flow.pending_bytes);
            if let Some(until) = flow.throttled_until {
                self.throttled.remove(&(until, conn));
            }
            self.stalled.remove(&conn);
        }
    }

    /// A publish of `bytes` was taken from the connection.
    pub(crate) fn charge(&mut self, conn: ConnId, bytes: u64, out: &mut Outbox) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        flow.pending_bytes += bytes;
        self.total += bytes;
        if self.total >= self.total_max {
            self.stalled.insert(conn);
        }
        self.update(conn, out);
    }

    /// A publish of `bytes` was answered.
    pub(crate) fn release(&mut self, conn: ConnId, bytes: u64, out: &mut Outbox) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        let released = bytes.min(flow.pending_bytes);
        flow.pending_bytes -= released;
        self.total -= released;
        if self.total < self.total_max / 2 && !self.stalled.is_empty() {
            for stalled in std::mem::take(&mut self.stalled) {
                self.update(stalled, out);
            }
        }
        self.update(conn, out);
    }

    /// A quota is used up: the socket is not read before `until`.
    pub(crate) fn throttle(&mut self, conn: ConnId, until: Mono, out: &mut Outbox) {
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        if flow.throttled_until.is_some_and(|old| old >= until) {
            return;
        }
        if let Some(old) = flow.throttled_until.replace(until) {
            self.throttled.remove(&(old, conn));
        }
        self.throttled.insert((until, conn));
        self.update(conn, out);
    }

    pub(crate) fn pending_bytes(&self) -> u64 {
        self.total
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.throttled.first().map(|(at, _)| *at)
    }

    /// Ends the throttling whose time has come; answers whose.
    pub(crate) fn on_deadline(&mut self, now: Now, out: &mut Outbox) -> Vec<ConnId> {
        let mut released = Vec::new();
        while let Some((at, conn)) = self.throttled.first().copied() {
            if at > now.mono {
                break;
            }
            self.throttled.pop_first();
            released.push(conn);
            if let Some(flow) = self.flows.get_mut(&conn) {
                flow.throttled_until = None;
            }
            self.update(conn, out);
        }
        released
    }

    /// Whether the connection waits for a quota.
    pub(crate) fn is_throttled(&self, conn: ConnId) -> bool {
        self.flows.get(&conn).is_some_and(|flow| flow.throttled_until.is_some())
    }

    fn update(&mut self, conn: ConnId, out: &mut Outbox) {
        let stalled = self.stalled.contains(&conn);
        let Some(flow) = self.flows.get_mut(&conn) else { return };
        // Resume at half, so that a connection does not flap at the border.
        let bound = if flow.paused { PENDING_BYTES_CONN_MAX / 2 } else { PENDING_BYTES_CONN_MAX };
        let pause = stalled || flow.throttled_until.is_some() || flow.pending_bytes >= bound;
        if pause != flow.paused {
            flow.paused = pause;
            out.effect(if pause { BrokerEffect::PauseReads { conn } } else { BrokerEffect::ResumeReads { conn } });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(out: &mut Outbox) -> Vec<&'static str> {
        out.take_effects()
            .iter()
            .filter_map(|effect| match effect {
                BrokerEffect::PauseReads { .. } => Some("pause"),
                BrokerEffect::ResumeReads { .. } => Some("resume"),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn a_connection_over_its_pending_bound_is_paused_until_half_is_answered() {
        let (mut ingress, mut out) = (Ingress::new(u64::MAX), Outbox::new());
        ingress.open(ConnId(1));
        ingress.charge(ConnId(1), PENDING_BYTES_CONN_MAX, &mut out);
        assert_eq!(effects(&mut out), ["pause"]);
        ingress.release(ConnId(1), 1, &mut out);
        assert!(effects(&mut out).is_empty());
        ingress.release(ConnId(1), PENDING_BYTES_CONN_MAX / 2, &mut out);
        assert_eq!(effects(&mut out), ["resume"]);
    }

    #[test]
    fn the_total_pauses_whoever_passes_it_and_a_closed_connection_gives_its_share_back() {
        let (mut ingress, mut out) = (Ingress::new(PENDING_BYTES_CONN_MAX), Outbox::new());
        ingress.open(ConnId(1));
        ingress.open(ConnId(2));
        ingress.charge(ConnId(1), PENDING_BYTES_CONN_MAX - 1, &mut out);
        ingress.charge(ConnId(2), 10, &mut out);
        assert_eq!(effects(&mut out), ["pause"]);
        ingress.close(ConnId(1));
        ingress.release(ConnId(2), 1, &mut out);
        assert_eq!(effects(&mut out), ["resume"]);
        assert_eq!(ingress.pending_bytes(), 9);
    }

    #[test]
    fn throttling_ends_at_its_instant_and_not_before() {
        let (mut ingress, mut out) = (Ingress::new(u64::MAX), Outbox::new());
        ingress.open(ConnId(1));
        ingress.throttle(ConnId(1), Mono(50), &mut out);
        ingress.throttle(ConnId(1), Mono(40), &mut out);
        assert_eq!(ingress.next_deadline(), Some(Mono(50)));
        ingress.on_deadline(Now { mono: Mono(49), wall_ms: 0 }, &mut out);
        assert_eq!(effects(&mut out), ["pause"]);
        ingress.on_deadline(Now { mono: Mono(50), wall_ms: 0 }, &mut out);
        assert_eq!(effects(&mut out), ["resume"]);
    }
}
