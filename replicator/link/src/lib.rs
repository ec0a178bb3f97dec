//! Forwards one topic to one remote region, exactly once and in order.
//!
//! **What**  Two pure machines and one fact. [`LinkSender`] lives beside the topic in its origin region: it reads the log,
//! sends what is to be forwarded within a window of bytes, and moves the durable link cursor over what the remote has made
//! durable. [`LinkReceiver`] lives beside the copy: it stores only the exact successor of its watermark. The watermark is
//! the fact: [`OriginTracker`] derives it from the copy's own log, so it can never disagree with it.
//!
//! **Why exact successors**  A high-water mark alone says "older than this is a duplicate", which turns a hole into a
//! silent loss. Here every entry names the one forwarded before it; the receiver takes an entry only behind exactly that
//! one, answers what it already holds, and asks for everything else again.
//!
//! **Not here**  QUIC (`quic`), ledgers and cursors (`managed`), which entries are to be forwarded (the broker says so
//! with [`Forward`]), and which node owns the topic.
//!
//! **Tests**  `tests/lossy.rs` (lossy, reordering, duplicating channel, crashes on both sides, thousands of seeds),
//! `tests/remote_loss.rs` (the remote copy loses data or is replaced), `tests/seeded_bugs.rs` (each seeded bug is caught).

mod alarm;
mod effect;
mod number;
mod options;
mod receiver;
mod resume;
mod seeded;
mod sender;
mod tracker;

pub use alarm::LinkAlarm;
pub use effect::{Forward, LinkEffect, LinkEntry, LinkLag, LinkPhase, LinkStats, ReadFailed, Transport};
pub use number::{ATTEMPT_BITS, LINK_NUMBER_BITS, link_number};
pub use options::{LinkOptions, ReceiverOptions, entry_cost};
pub use receiver::{EntryVerdict, LinkReceiver, ReceiverEffect};
pub use resume::{LinkResume, LogView};
pub use seeded::SeededBug;
pub use sender::LinkSender;
pub use tracker::{OriginTracker, TrackerError, Verdict};
