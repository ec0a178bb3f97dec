//! What makes two states the same: everything but the numbers of requests.
//!
//! **What**  Parts of a state are kept behind [`Part`] with a hash that is made once, when the part changes. All request ids
//! here carry the machine number [`MACHINE`] in their upper bits, which no other number does; the hasher leaves them out.
//! That is sound because machines only compare ids for being the one that they wait for, and the network holds at most one
//! read and one metadata request of each asker, the newest: whether it is waited for shows in the asker's own state.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// The machine number of every client.
pub const MACHINE: u32 = 0x00c0_ffee;
/// Where it stands in an id.
const MACHINE_SHIFT: u32 = 40;

/// A shared part of a state and its hash.
#[derive(Debug)]
pub struct Part<T> {
    value: Arc<T>,
    hash: u64,
}

impl<T: Hash> Part<T> {
    pub fn new(value: T) -> Self {
        let hash = identity(&value);
        Self { value: Arc::new(value), hash }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl<T> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), hash: self.hash }
    }
}

impl<T> Deref for Part<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The hash of a value without its request ids.
pub fn identity<T: Hash>(value: &T) -> u64 {
    let mut hasher = WithoutIds(DefaultHasher::new());
    value.hash(&mut hasher);
    hasher.finish()
}

struct WithoutIds(DefaultHasher);

impl Hasher for WithoutIds {
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        let is_id = number >> MACHINE_SHIFT == u64::from(MACHINE);
        self.0.write_u64(if is_id { u64::from(MACHINE) << MACHINE_SHIFT } else { number });
    }

    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{MACHINE, identity};
    use base::OwnerId;
    use ledger::RequestIds;

    #[test]
    fn the_numbers_of_requests_make_no_difference_and_their_owners_do() {
        let mut ids = RequestIds::new(OwnerId(1), MACHINE);
        let fresh = identity(&ids);
        let (first, second) = (ids.allocate(), ids.allocate());
        assert_eq!(identity(&first), identity(&second));
        assert_eq!(identity(&ids), fresh);
        assert_ne!(identity(&RequestIds::new(OwnerId(2), MACHINE)), fresh);
        assert_ne!(identity(&7_u64), identity(&8_u64));
    }
}
