//! Buffers of large frames, filled again once their frames have been let go.
//!
//! **What**  A large frame lies alone in its buffer. A fresh one would have to be mapped and cleared by the system page by
//! page, for each frame again. The buffer that was filled last is asked for first: what was in it is still near the
//! processor, and those that are not needed grow old and are forgotten.
//!
//! **Bounds**  Buffers of at most [`KEPT_BYTES_MAX`] are remembered per connection; the memory of others is freed with their
//! frames.

use bytes::BytesMut;
use std::collections::VecDeque;

/// Remembered per connection, in bytes.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// So many buffers are asked for before a new one is made.
const ASKED_MAX: usize = 32;
/// New ones are a multiple of this many bytes, so that frames of nearly the same size take each other's place.
const STEP_BYTES: usize = 16 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// The empty ends of buffers, whose beginnings are frames, with the sizes of the whole.
    used: VecDeque<(BytesMut, usize)>,
    bytes: usize,
}

impl Buffers {
    /// An empty buffer with room for `bytes` bytes and at most twice as many. Give its empty end back to [`Self::keep`], with
    /// the size that comes with it.
    pub(crate) fn take(&mut self, bytes: usize) -> (BytesMut, usize) {
        let from = self.used.len().saturating_sub(ASKED_MAX);
        for at in (from..self.used.len()).rev() {
            let Some((end, size)) = self.used.get_mut(at) else { break };
            if (bytes..=2 * bytes).contains(size)
                && end.try_reclaim(*size)
                && let Some((end, size)) = self.used.remove(at)
            {
                self.bytes -= size;
                return (end, size);
            }
        }
        let fresh = BytesMut::with_capacity(bytes.next_multiple_of(STEP_BYTES));
        let size = fresh.capacity();
        (fresh, size)
    }

    /// Remembers a buffer by its empty end.
    pub(crate) fn keep(&mut self, end: BytesMut, size: usize) {
        debug_assert!(end.is_empty(), "what is in it would be lost");
        self.used.push_back((end, size));
        self.bytes += size;
        while self.bytes > KEPT_BYTES_MAX
            && let Some((_, held)) = self.used.pop_front()
        {
            self.bytes -= held;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Buffers, KEPT_BYTES_MAX, STEP_BYTES};
    use bytes::Bytes;

    /// A frame that fills its buffer up to `bytes`.
    fn frame(buffers: &mut Buffers, bytes: usize) -> Bytes {
        let (mut buffer, size) = buffers.take(bytes);
        assert!(buffer.is_empty() && buffer.capacity() >= bytes);
        buffer.resize(bytes, 1);
        let frame = buffer.split().freeze();
        buffers.keep(buffer, size);
        frame
    }

    #[test]
    fn a_buffer_is_filled_again_once_its_frame_and_all_slices_of_it_are_let_go() {
        let mut buffers = Buffers::default();
        let first = frame(&mut buffers, 100_000);
        let (at, slice) = (first.as_ptr(), first.slice(10..20));
        drop(first);
        let second = frame(&mut buffers, 100_000);
        assert_ne!(second.as_ptr(), at, "a slice of the first is in use");
        drop(slice);
        let third = frame(&mut buffers, 99_000);
        assert_eq!(third.as_ptr(), at);
        assert!(second.iter().all(|byte| *byte == 1));
    }

    #[test]
    fn the_buffer_that_was_filled_last_is_taken_first_if_it_fits() {
        let mut buffers = Buffers::default();
        let frames = [100_000, 100_000, 300_000].map(|bytes| frame(&mut buffers, bytes));
        let at = frames.each_ref().map(|frame| frame.as_ptr());
        drop(frames);
        let again = [60_000, 60_000, 60_000].map(|bytes| frame(&mut buffers, bytes));
        assert_eq!([again[0].as_ptr(), again[1].as_ptr()], [at[1], at[0]]);
        assert!(!at.contains(&again[2].as_ptr()), "the large one would be wasted on it");
        assert_eq!(buffers.used.len(), 4);
    }

    #[test]
    fn no_more_is_remembered_than_the_bound() {
        let mut buffers = Buffers::default();
        let frames: Vec<Bytes> = (0..100).map(|_| frame(&mut buffers, 100_000)).collect();
        assert!(buffers.bytes <= KEPT_BYTES_MAX);
        assert_eq!(buffers.bytes, buffers.used.len() * 100_000_usize.next_multiple_of(STEP_BYTES));
        drop(frames);
        drop(frame(&mut buffers, 2 * KEPT_BYTES_MAX));
        assert_eq!((buffers.bytes, buffers.used.len()), (0, 0), "that one alone is more than the bound");
    }
}
