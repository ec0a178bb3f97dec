//! The metadata store of a region: `meta-api` on openraft with a durable log of our own.
//!
//! **What**  [`MetaStore`] opens a directory, replays it and runs one openraft node on a thread of its own, so that it
//! needs no runtime and no spawn function from its caller. [`MetaHandle`] is the cheap clone that everybody else holds.
//! Writes that arrive together travel as one raft entry and cost one fdatasync; reads are answered from the applied
//! state.
//!
//! **Promises**
//! - a write is answered after its log record is on disk and applied; a read sees every write answered before it;
//! - a watcher sees every change of its prefixes, once and in order, or is told that it does not any more;
//! - damage to the log is told from a torn tail: the first refuses to start, the second is cut, for it was never answered;
//! - the first failed write or fsync ends the store: nothing is answered after it.
//!
//! **Not here**  The state machine itself (`meta-api`), the network between voters ([`PeerTransport`]), the lock on the
//! data directory (`server`).

mod applied;
mod directory;
mod error;
mod fatal;
mod handle;
mod identity;
mod log_store;
mod mem_log;
mod options;
mod peers;
mod raft_types;
mod snapshots;
mod state_machine;
mod store;
mod wal;
mod watch;
mod write_queue;

pub use error::{IoFailure, MetaFatal, OpenError};
pub use handle::{MetaHandle, MetaMetrics};
pub use options::MetaOptions;
pub use peers::{PeerError, PeerFuture, PeerRequest, PeerResponse, PeerTransport};
pub use store::MetaStore;
pub use watch::{Watch, WatchClosed, WatchReceiver};
