//! One link from end to end in one thread from one seed: an origin log, a sender with a durable cursor, a channel that may
//! lose, repeat, reorder and cut, and a copy with a receiver, all of which may crash.
//!
//! **What**  The checker runs after every effect and knows the truth:
//! - C1  the copy is the forwarded subsequence of the origin's log: in order, no entry twice, none left out, same bytes.
//! - C2  the cursor never covers an entry that is to be forwarded and is not durable in the copy.
//! - C3  bytes under way stay within the window and the credit, or one entry alone.
//! - C4  after the faults end everything arrives and the lag is zero.
//! - C5  no alarm without its cause: none at all on a channel that only cuts.
#![allow(dead_code, reason = "each test file uses a part of the world")]

mod origin;
mod remote;
mod run;

pub(crate) use origin::Wish;
pub(crate) use run::World;

use link::SeededBug;

/// What a checker found, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub String);

pub(crate) type Check = Result<(), Violation>;

pub(crate) fn violation<T>(text: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(text.into()))
}

/// How hostile one run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) steps: u32,
    /// Per cent of frames lost, repeated, or delivered out of turn.
    pub(crate) lose: u64,
    pub(crate) repeat: u64,
    pub(crate) reorder: u64,
    /// One step in so many cuts the connection, crashes a side; 0 = never.
    pub(crate) cut_one_in: u64,
    pub(crate) crash_one_in: u64,
    /// Per cent of entries that the remote topic has no room for.
    pub(crate) refuse: u64,
    /// Per cent of entries that are not to be forwarded, and that change their mind at every read.
    pub(crate) skip: u64,
    pub(crate) waver: u64,
    pub(crate) window_bytes_max: u64,
    pub(crate) credit_bytes: u64,
    /// Whether the origin trims what its cursor has passed.
    pub(crate) trim: bool,
    pub(crate) bug: Option<SeededBug>,
}

impl Setup {
    /// A channel like QUIC's: in order, nothing lost, cut at any time.
    pub(crate) fn cutting() -> Self {
        Self {
            steps: 600,
            lose: 0,
            repeat: 0,
            reorder: 0,
            cut_one_in: 60,
            crash_one_in: 80,
            refuse: 3,
            skip: 30,
            waver: 0,
            window_bytes_max: 4_000,
            credit_bytes: 3_000,
            trim: true,
            bug: None,
        }
    }

    /// A channel that does everything that a network can do.
    pub(crate) fn lossy() -> Self {
        Self { lose: 5, repeat: 5, reorder: 20, ..Self::cutting() }
    }

    pub(crate) fn is_ordered(&self) -> bool {
        self.lose == 0 && self.repeat == 0 && self.reorder == 0
    }
}
