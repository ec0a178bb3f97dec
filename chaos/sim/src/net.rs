//! The connection between the two regions.
//!
//! **What**  One connection at a time. While it lives, frames of one group keep their order and may be late. A cut swallows
//! frames without a word; each side notices by itself, later. A new connection is made only after both sides noticed. While
//! one direction stalls its frames wait; the connection dies when that takes too long.
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
    /// Side → the node that holds it.
    pub(crate) ends: [usize; 2],
    /// Side → it was told that the connection is up.
    pub(crate) up: [bool; 2],
    /// When each side is told, for I1.
    up_at: [Time; 2],
    /// Side that sends → until when nothing of it gets through.
    stalled_until: [Time; 2],
    /// Side that sends and group → when its last frame arrives.
    free_at: BTreeMap<(usize, u64), Time>,
}

impl Net {
    /// Whether a new connection can be made.
    pub(crate) fn can_connect(&self) -> bool {
        !self.cut && !self.alive && self.up == [false; 2]
    }

    /// Makes a connection between two nodes; the sides are told at the given instants.
    pub(crate) fn connect(&mut self, ends: [usize; 2], up_at: [Time; 2]) -> u64 {
        self.conn += 1;
        self.ends = ends;
        self.alive = true;
        self.up_at = up_at;
        self.free_at.clear();
        self.conn
    }

    /// Nothing that `side` sends gets through for a while.
    pub(crate) fn stall(&mut self, side: usize, until: Time) {
        self.stalled_until[side] = self.stalled_until[side].max(until);
    }

    /// When a frame arrives that `side` sends now with this delay; `None` when it is lost.
    pub(crate) fn send(&mut self, side: usize, group: u64, now: Time, delay: Time) -> Option<Time> {
        let earliest = self.send_unordered(side, now, delay)?;
        let free = self.free_at.entry((side, group)).or_default();
        *free = earliest.max(*free);
        Some(*free)
    }

    /// The same for a frame that waits for none of its group.
    pub(crate) fn send_unordered(&self, side: usize, now: Time, delay: Time) -> Option<Time> {
        let passes = self.up[side] && self.alive;
        passes.then(|| (now.max(self.stalled_until[side]) + delay).max(self.up_at[1 - side]))
    }

    /// Whether a frame of this connection arrives at `side`.
    pub(crate) fn arrives(&self, conn: u64, side: usize) -> bool {
        conn == self.conn && self.alive && self.up[side]
    }
}
