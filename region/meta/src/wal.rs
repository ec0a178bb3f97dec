//! The log file of one metadata node: vote, log entries, truncations and purges in one stream, in one file.
//!
//! **What**  One stream, because a vote and an entry must never reach the disk in another order than they were written
//! in. One file, because what is no longer needed leaves by a rewrite and a rename, so that no set of segments can be
//! incomplete.
//!
//! ```text
//! file   = header, group*, zeros        the zeros are written ahead, so that an fsync need not grow the file
//! group  = head, body, padding to 8     head: seq, durable_seq, stream, offset, checksum of the group before, checksum
//! body   = record*                      vote | committed | purged | truncate | entry
//! ```
//!
//! **Invariants**
//! - I1  group numbers are dense; each group names the checksum of the one before it and its own place in the file.
//! - I2  `durable_seq` of a group is the last group that an fsync had confirmed when this one was written.
//! - I3  nothing is reported durable before the fdatasync behind it has returned; after a failed write or fsync nothing is.
//! - I4  behind the last group there are only zeros.
//! - I5  before a group is durable the file has grown by a whole step behind it: a file that ends within a step of durable
//!   groups was cut short.
//! - I6  a group is written only where the file's length is durable already, and never up to its end: a group that reaches the
//!   end was cut off. The header says whether this holds: files of older versions are read without it, until a rewrite.
//!
//! **Torn or damaged**  A group that does not read is a torn tail, and is cut, unless a later readable group says
//! through I2 that it had been durable: then bytes that were promised are gone, and the file is refused. So that the
//! last durable group has such a witness too, the writer puts an empty group behind it, which waits for no fsync.
//!
//! **Tests**  `wal/tests.rs`: golden bytes, every cut, every flipped bit; `log_store/tests.rs` on real files.

mod file;
mod group;
mod record;
mod scan;
mod writer;

pub(crate) use file::{FileOptions, FoundRecord, LogFile, NEW, Opened, sync_dir};
pub(crate) use record::LogRecord;
pub(crate) use writer::{WalCounters, WalRoom, WalWriter};

#[cfg(test)]
pub(crate) use {group::FILE_HEADER_LEN, scan::scan};

#[cfg(test)]
mod tests;
