//! Every endpoint through the real machine, a real broker, and models of metadata and storage.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod asks;
mod bed;
mod gather;
mod leniency;
mod matrix;
mod namespaces;
mod nodes;
mod region;
mod topics;
mod town;
mod waiting;
