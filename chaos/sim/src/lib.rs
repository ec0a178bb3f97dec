//! Deterministic simulator of whole regions, checkers, seeded bugs.
//!
//! **What**  Two regions, each one [`node::Node`] made as the server makes it, on a simulated clock, an ideal metadata store, a
//! lying disk and a network that delays and cuts, with simulated Pulsar clients that speak real frames. [`check`] judges what
//! the clients saw. The same seed gives the same trace.
//!
//! **Not here**  Real sockets, disks and processes (`chaos/live`).

pub mod bugs;
pub mod campaign;
pub mod check;
pub mod client;
pub mod disk;
pub mod history;
pub mod ledgers;
mod net;
pub mod options;
pub mod queue;
mod region;
mod shell_bugs;
pub mod trace;
pub mod world;
