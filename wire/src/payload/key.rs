//! The hash by which Key_Shared subscriptions spread messages over consumers.
//!
//! **What**  Murmur3 of the message's key (facts/pulsar-wire.md §9), the same in every Pulsar client and broker.

use super::PayloadHints;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Padding is optional, as in the Java broker.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The hash of a message's key, below 2^31. The key is the ordering key, else the partition key (out of its Base64, if it
/// is in one), else producer name and sequence id, which spreads messages without a key.
pub fn key_hash(hints: &PayloadHints) -> u32 {
    let key = match (&hints.ordering_key, &hints.partition_key) {
        (Some(key), _) => murmur3_32(key),
        (None, Some(text)) if hints.partition_key_b64 => match BASE64.decode(text) {
            Ok(key) => murmur3_32(&key),
            // Not Base64 after all: the text itself still tells keys apart.
            Err(_) => murmur3_32(text),
        },
        (None, Some(key)) => murmur3_32(key),
        (None, None) => {
            let mut key = hints.producer_name.to_vec();
            // The Java broker prints the sequence id as a signed number.
            key.extend_from_slice(format!("-{}", hints.sequence_id.cast_signed()).as_bytes());
            murmur3_32(&key)
        }
    };
    key & 0x7fff_ffff
}

/// The slot, 1 to 65,535, that a key hash falls into; slot 0 is reserved and its keys go to slot 1.
pub fn sticky_key_slot(hash: u32) -> u16 {
    ((hash & 0xffff) as u16).max(1)
}

/// Murmur3, x86 variant, 32 bits, seed 0.
pub fn murmur3_32(bytes: &[u8]) -> u32 {
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0u32;
    for block in blocks {
        hash ^= scramble(u32::from_le_bytes(*block));
        hash = hash.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !tail.is_empty() {
        hash ^= scramble(tail.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)));
    }
    // The length enters modulo 2^32.
    finalize(hash ^ ((bytes.len() as u64 & 0xffff_ffff) as u32))
}

fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn finalize(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
