//! The log device: preallocated files, one writer thread, fdatasync before any answer.
//!
//! **What**  [`LogDevice`] executes a bookie's [`bookie::disk::DiskOp`]s on a directory of log files. The layout is planned by
//! `bookie::layout`; here are only files and threads:
//!
//! - the *writer* takes everything queued as one group, writes it past the page cache, calls fdatasync, and answers;
//! - the *files* thread keeps one prepared file ready, recycles freed ones and watches the space;
//! - *readers* read blocks through a bounded cache.
//!
//! **Invariants**
//! - I1  an append is answered only after the fdatasync that covers it returned.
//! - I2  after a failed write or sync nothing is answered any more, and `fatal` is called once.
//! - I3  a file gets its name in the log only when it has its full size, durably.
//! - I4  a freed file is used again only after the record that frees it is durable.
//! - I5  the cache holds only pieces that will never be written again.
//!
//! **Not here**  What records mean, how much may be queued (`Bookie` bounds it), the lock on the directory (`server`).
//!
//! **Tests**  `tests/device.rs` on real files; `examples/throughput.rs` measures.

mod device;
mod direct;
mod error;
mod filling;
mod log_files;
mod options;
mod preparer;
mod reader;
mod shared;
mod writer;

pub use device::LogDevice;
pub use error::OpenError;
pub use options::DiskOptions;
