//! What stands behind a SEND or MESSAGE command: checksum, metadata, payload.
//!
//! **What**  [`PayloadHints`] reads what a broker needs of the metadata without decoding it, [`PayloadView`] decodes it
//! whole, [`BatchView`] walks over the messages of a batch, [`ReplicatedBody`] says where a message came from. None of them
//! copies the payload.
//!
//! **Not here**  Compression and encryption, which belong to clients.

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_replicated;

mod batch;
mod hints;
mod key;
mod replicated;
mod view;

pub use batch::{BATCH_MESSAGES_MAX, BatchBuilder, BatchMessage, BatchView};
pub use hints::{Chunk, PayloadHints};
pub use key::{key_hash, murmur3_32, sticky_key_slot};
pub use replicated::ReplicatedBody;
pub use view::{Checksum, PayloadError, PayloadView, build_body, ensure_checksum, verify_checksum};
