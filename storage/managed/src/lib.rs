//! A topic's log as a chain of ledgers, and its durable cursors.
//!
//! **What**  [`ManagedLedger`] is one log: entries are added and become readable when a quorum holds them; cursors
//! remember what their readers have acknowledged; what nobody needs is trimmed. Storage knows nothing of topics or
//! tenants: a log is a metadata key, an entry is opaque bytes.
//!
//! **Reading order**  `machine` (routing), then one file per procedure: `open` → `recover` → `replay`; `append`; `reads`
//! → `readers`, `blocks`, `cache`; `cursor` → `cursor_set`, `cursor_record`, `pending_ops`,
//! `cursor_log` → `roll`; `trim`, `discard`;
//! `store` → `record`; `chain` and `site` are below all of them.
//!
//! **Not here**  The quorum protocol of one ledger (`ledger`), disks (`bookie`), who owns a log (`cluster`), what entries
//! mean (`broker`).

mod ack_set;
mod append;
mod blocks;
mod cache;
mod chain;
mod cursor;
mod cursor_log;
mod cursor_record;
mod cursor_set;
mod discard;
mod durable_mark;
mod effect;
mod error;
mod machine;
mod open;
mod options;
mod pending_ops;
mod readers;
mod reads;
mod record;
mod recover;
mod replay;
mod roll;
mod seeded;
mod site;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod trim;

pub use ack_set::{ACK_SET_WORDS_MAX, AckSet};
pub use chain::LedgerInfo;
pub use cursor::{Cursor, CursorKind};
pub use effect::{
    CHECKPOINT_BYTES_MAX, Checkpoint, CursorId, Entry, ManagedEffect, ManagedEvent, Read, ReadCounts, ReadId,
};
pub use error::{AddRefused, CursorError, DeleteError, OpenError, ReadError};
pub use machine::ManagedLedger;
pub use options::{CheckpointRule, ManagedOptions, OpenMode, Retention};
pub use record::{Birth, LedgerRecord, ManagedRecord};
pub use seeded::{Seeded, SeededBug};
