//! This process as one node of several: how it gets its place, and what runs for the region beside the machines.
//!
//! **What**  `passport` (who this disk is), `founding` (who founds), `calls` and `answers` (what nodes ask each other),
//! `entry` and `joining` (the start), `transport` (metadata messages), `stamps` (telling a copy of a disk from the disk),
//! `voters` (members of the metadata), `pump` (events of the connections, for the node thread).
//!
//! **Not here**  Who is alive and who owns what (`cluster`, `broker`), connections (`peer`).

pub(crate) mod answers;
mod calls;
pub(crate) mod entry;
mod founding;
pub(crate) mod joining;
pub(crate) mod passport;
pub(crate) mod pump;
pub(crate) mod stamps;
pub(crate) mod transport;
pub(crate) mod voters;
