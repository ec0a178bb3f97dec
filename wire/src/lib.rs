//! Bytes on sockets: Pulsar frames and protobuf, stored entries, node and region frames.
//!
//! **What**  Encoders and decoders, and the plain types they carry.
//! **Not here**  Topics, sessions, state of any kind.

pub mod bookie;
pub mod region;
pub mod stored;
