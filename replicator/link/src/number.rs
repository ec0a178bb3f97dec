//! How the number in a frame is made: the owner's link number and the attempt to open it.
//!
//! **What**  Every `Open` carries a number of its own, so that an answer to an earlier attempt that arrives late is told
//! from an answer to this one, whatever the transport did in between. Later attempts have larger numbers.

/// Bits of the attempt, below the owner's number.
pub const ATTEMPT_BITS: u32 = 24;
/// Bits that an owner's link number may use.
pub const LINK_NUMBER_BITS: u32 = 64 - ATTEMPT_BITS;

/// The owner's number of the link that a frame's `link` field names: the key for routing a frame to its [`crate::LinkSender`].
pub fn link_number(frame_link: u64) -> u64 {
    frame_link >> ATTEMPT_BITS
}

/// The `link` field of the frames of one attempt.
///
/// # Panics
/// When the owner's number does not fit [`LINK_NUMBER_BITS`].
pub(crate) fn frame_link(number: u64, attempt: u32) -> u64 {
    assert!(number < 1 << LINK_NUMBER_BITS, "LinkSender: the link number fits {LINK_NUMBER_BITS} bits");
    number << ATTEMPT_BITS | u64::from(attempt & ((1 << ATTEMPT_BITS) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_number_gives_the_link_number_back_and_grows_with_the_attempt() {
        assert_eq!(link_number(frame_link(77, 3)), 77);
        assert!(frame_link(77, 4) > frame_link(77, 3));
    }
}
