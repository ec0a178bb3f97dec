//! Sessions, topics, producers, subscriptions, dispatch: a Pulsar broker as one pure machine.
//!
//! **What**  [`io::BrokerInput`] in, [`io::BrokerEffect`] out; storage is reached through the managed ledger of each topic,
//! metadata through a local view (`tenancy::Directory`) for reads and compare-and-put transactions for writes.
//!
//! **Not here**  Sockets, files, addresses, tasks; HTTP (`admin`); which node serves which topic (`cluster`).

pub mod admin_command;
pub mod env;
pub mod io;
pub mod outbox;
pub mod stats;
pub mod subscription;
