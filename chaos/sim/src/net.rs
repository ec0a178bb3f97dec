//! The connection between the two regions.
//!
//! **What**  One connection at a time. While it lives, frames of one group keep their order and may be late. A cut swallows
//! frames without a word; each side notices by itself, later. A new connection is made only after both sides noticed.
//!
//! **Invariants**
//! - I1  a frame arrives only in the connection in which it was sent, and after the receiving side was told that it is up.

use crate::queue::Time;
use std::collections::BTreeMap;

/// The state between the regions.
#[derive(Debug, Default)]
pub(crate) struct Net {
    /// Number of the newest connection.
    pub(crate) conn: u64,
    /// Frames get through.
    pub(crate) alive: bool,
    /// The way is cut: no connection can be made.
    pub(crate) cut: bool,
    /// Side → it was told that the connection is up.
    pub(crate) up: [bool; 2],
    /// When each side is told, for I1.
    up_at: [Time; 2],
    /// Side that sends and group → when its last frame arrives.
    free_at: BTreeMap<(usize, u64), Time>,
}

impl Net {
    /// Whether a new connection can be made.
    pub(crate) fn can_connect(&self) -> bool {
        !self.cut && !self.alive && self.up == [false; 2]
    }

    /// Makes a connection; the sides are told at the given instants.
    pub(crate) fn connect(&mut self, up_at: [Time; 2]) -> u64 {
        self.conn += 1;
        self.alive = true;
        self.up_at = up_at;
        self.free_at.clear();
        self.conn
    }

    /// When a frame arrives that `side` sends now with this delay; `None` when it is lost.
    pub(crate) fn send(&mut self, side: usize, group: u64, now: Time, delay: Time) -> Option<Time> {
        if !self.up[side] || !self.alive {
            return None;
        }
        let free = self.free_at.entry((side, group)).or_default();
        *free = (now + delay).max(*free).max(self.up_at[1 - side]);
        Some(*free)
    }

    /// Whether a frame of this connection arrives at `side`.
    pub(crate) fn arrives(&self, conn: u64, side: usize) -> bool {
        conn == self.conn && self.alive && self.up[side]
    }
}
