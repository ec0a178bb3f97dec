//! Connections between the nodes of one region: TCP with mutual TLS 1.3 under the region's own certificate authority.
//!
//! **What**  [`PeerEndpoint`] dials every other node and keeps two connections to each: control for pings and calls,
//! bulk for frames. A node sends on what it dialled and takes frames from what the others dialled. What is little the owner's
//! thread may write and read itself ([`Near`]). Silence, refusals and lost connections become events; what they mean is
//! decided elsewhere.
//!
//! **Bounds**  What is sent waits in a queue of so many bytes per connection and is refused beyond. What is received holds a
//! [`FramePermit`]; who holds too many stops the reading of that sender's connection, and TCP stops the sender. Each
//! connection has at most 256 KiB staged, 256 KiB encrypted and 4 MiB of buffers that are filled again. Strangers are
//! bounded in number and time until their certificate and their [`Hello`] are known.
//!
//! **Not here**  What the bytes mean (`wire::bookie`, `meta`), who is alive (the controller), certificates (`identity`).
//!
//! **Tests**  `tests/` on loopback: trust, order, loss, silence, bounds; `examples/peer_throughput` measures.

mod config;
mod endpoint;
mod event;

mod arrival;
mod buffers;
mod bulk;
mod calls;
mod dial;
mod face;
mod frame;
mod greeting;
mod link;
mod listen;
mod near;
mod outbox;
mod reader;
mod session;
mod shared;
mod socket;

pub use config::{Hello, OpenError, PeerConfig, PeerLimits};
pub use endpoint::PeerEndpoint;
pub use event::{Answer, Answerer, CallError, Chunks, FrameKind, FramePermit, PeerEvent, PeerStatus, Sent};
pub use near::Near;
