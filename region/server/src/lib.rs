//! The server shell: listeners, threads, configuration, supervision.
//!
//! **What**  Executes what a [`node::Node`] wants: bytes to sockets, operations to the log device, requests to the metadata
//! store, frames to other regions, answers to HTTP clients. It decides nothing about a protocol.
//!
//! **Threads**  One for the node (all machines of the process), one writer and readers of the log device, one of the metadata
//! store, and a small pool for sockets, HTTP and QUIC.

mod boot;
mod clock;
pub mod config;
mod conn;
mod entrance;
mod geo;
mod http;
mod lock;
mod outlet;
mod shard;
mod stop;
mod task;
mod watch;

pub use boot::{BootError, Server};
pub use config::ServerConfig;
