//! Deterministic simulator of whole regions, checkers, seeded bugs.
//!
//! **What**  Two regions of one or three nodes, each a [`node::Node`] made as the server makes it, on a simulated clock, a
//! metadata store (ideal for one node, with elections, unknown outcomes and late watchers for three), lying disks and networks
//! that delay and cut, with simulated Pulsar clients that speak real frames. [`check`] judges what the clients saw. The same
//! seed gives the same trace.
//!
//! **Not here**  Real sockets, disks and processes (`chaos/live`).

pub mod bugs;
pub mod campaign;
pub mod check;
pub mod client;
pub mod clocks;
pub mod disk;
pub mod history;
mod host;
pub mod ledgers;
mod net;
pub mod options;
pub mod queue;
mod region;
mod shell_bugs;
pub mod trace;
pub mod world;
