//! The server shell: listeners, threads, configuration, supervision.
//!
//! **What**  Executes what a [`node::Node`] wants: bytes to sockets, operations to the log device, requests to the metadata
//! store, frames to other regions, answers to HTTP clients. It decides nothing about a protocol.
//!
//! **Threads**  One for the node (all machines of the process), one writer and readers of the log device, one of the metadata
//! store, and a small pool for sockets, HTTP and QUIC.

mod boot;
mod clock;
mod cluster;
pub mod config;
mod conn;
mod entrance;
mod geo;
mod http;
mod load;
mod lock;
mod outlet;
mod shard;
mod stop;
mod task;
mod watch;
pub mod watchdog;

pub use boot::{BootError, Server};
pub use config::ServerConfig;

/// Makes the identity of a region in `dir`, unless it is there: all of its nodes share it.
///
/// # Errors
/// When files cannot be written, or hold the identity of another region.
pub fn create_identity(dir: &std::path::Path, region: &base::RegionName) -> Result<(), String> {
    quic::Identity::load_or_create(dir, region).map(|_| ()).map_err(|error| error.to_string())
}
