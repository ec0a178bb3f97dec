//! The hash by which Key_Shared subscriptions spread messages over consumers.

use super::PayloadHints;

/// Murmur3, x86 variant, 32 bits, seed 0.
pub fn murmur3_32(_bytes: &[u8]) -> u32 {
    unimplemented!()
}

/// The hash of a message's key, below 2^31.
pub fn key_hash(_hints: &PayloadHints) -> u32 {
    unimplemented!()
}

/// The slot, 1 to 65,535, that a key hash falls into; slot 0 is reserved.
pub fn sticky_key_slot(_hash: u32) -> u16 {
    unimplemented!()
}
