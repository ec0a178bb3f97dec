//! A topic's log as a chain of ledgers, and its durable cursors.
#![expect(clippy::unimplemented, reason = "signatures land before their bodies")]

mod ack_set;
mod cursor;
mod effect;
mod error;
mod machine;
mod options;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use ack_set::{ACK_SET_WORDS_MAX, AckSet};
pub use cursor::{Cursor, CursorKind};
pub use effect::{CHECKPOINT_BYTES_MAX, Checkpoint, CursorId, Entry, ManagedEffect, ManagedEvent, Read, ReadId};
pub use error::{AddRefused, CursorError, DeleteError, OpenError, ReadError};
pub use machine::{LedgerInfo, ManagedLedger};
pub use options::{CheckpointRule, ManagedOptions, OpenMode, ReplicationConfig, Retention};
