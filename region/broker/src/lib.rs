//! Sessions, topics, producers, subscriptions, dispatch: a Pulsar broker as one pure machine.
//!
//! **What**  [`io::BrokerInput`] in, [`io::BrokerEffect`] out; storage is reached through the managed ledger of each topic,
//! metadata through a local view (`tenancy::Directory`) for reads and compare-and-put transactions for writes.
//!
//! **Not here**  Sockets, files, addresses, tasks; HTTP (`admin`); the picture of nodes and owners (`cluster`).

pub mod admin_command;
mod broker;
mod cache_use;
mod core;
pub mod env;
mod geo;
mod ingress;
pub mod io;
mod ledger_ids;
mod limits;
mod load;
pub mod outbox;
mod ownership;
mod policy_sync;
pub mod schema;
mod session;
pub mod stats;
pub mod subscription;
mod timers;
mod topic;
mod totals;
mod usage;
mod watch;

pub use broker::Broker;
pub use core::{BrokerOptions, Core, Members, Rehearsal};
pub use ingress::PENDING_BYTES_CONN_MAX;
pub use load::SplitLimits;
