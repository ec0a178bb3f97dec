//! The metadata store of a region: `meta-api` on openraft with a durable log of our own.
//!
//! **What**  [`MetaStore`] opens a directory, replays it and runs one openraft node on a thread of its own, so that it
//! needs no runtime and no spawn function from its caller. [`MetaHandle`] is the cheap clone that everybody else holds.
//! One node founds the metadata of a region and decides alone; others join as learners and become voters. Every node
//! answers every request: it sends writes on to the leader, and reads from its own applied state once the leader has
//! told how far that must be. Writes that arrive together travel as one raft entry and cost one fdatasync.
//!
//! **Promises**
//! - a write is answered after its log record is on the disks of a majority and applied; a read sees every write
//!   answered before it, by whichever node;
//! - a write is made once, or not at all; when nobody can tell which, its answer says so;
//! - a watcher sees every change of its prefixes, once and in order, or is told that it does not any more;
//! - damage to the log is told from a torn tail: the first refuses to start, the second is cut, for it was never
//!   answered;
//! - the first failed write or fsync ends the store: nothing is answered after it.
//!
//! **Not here**  The state machine itself (`meta-api`), the network between nodes ([`PeerTransport`]), who becomes
//! a member and when, the lock on the
//! data directory (`server`).

mod answers;
mod applied;
mod compaction;
mod compass;
mod directory;
mod error;
mod fatal;
mod handle;
mod identity;
mod log_store;
mod mem_log;
mod members;
mod office;
mod options;
mod peer_messages;
mod peers;
mod raft_types;
mod reach;
mod read_queue;
mod snapshots;
mod standing;
mod state_machine;
mod status;
mod store;
mod succession;
mod wal;
mod watch;
mod write_queue;

pub use error::{IoFailure, MetaFatal, OpenError};
pub use handle::{MetaHandle, MetaMetrics};
pub use members::{MemberChange, MemberError};
pub use options::{MetaOptions, Start};
pub use peer_messages::{PEER_MESSAGE_BYTES_MAX, PeerCodecError, PeerRequest, PeerResponse, WriteOutcome};
pub use peers::{PeerError, PeerFuture, PeerTransport};
pub use standing::{Leadership, Reached, Standing};
pub use status::MetaStatus;
pub use store::MetaStore;
pub use watch::{Watch, WatchClosed, WatchReceiver};
