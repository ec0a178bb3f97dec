//! Which messages of one batch are still unacknowledged.
//!
//! **What**  Pulsar's `ack_set`: little-endian 64-bit words, bit *i* set means message *i* of the batch is **not yet**
//! acknowledged (facts/pulsar-wire.md §8). Messages beyond the last word count as acknowledged.
//!
//! **Invariants**
//! - I1  the last word is never zero, so equal sets are equal values and an empty set has no words.

/// Most messages a batch may have for its set to be kept, in words of 64.
pub const ACK_SET_WORDS_MAX: usize = 1 << 14;

/// The still unacknowledged messages of one batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AckSet {
    words: Box<[u64]>,
}

impl AckSet {
    /// From the words as they stand on the wire.
    pub fn from_wire(words: &[i64]) -> Self {
        Self::from_words(words.iter().map(|w| w.cast_unsigned()).collect())
    }

    /// Every one of `messages` messages is unacknowledged.
    pub fn all_unacked(messages: u32) -> Self {
        let (full, rest) = (messages / 64, messages % 64);
        let mut words: Vec<u64> = (0..full).map(|_| u64::MAX).collect();
        if rest > 0 {
            words.push((1 << rest) - 1);
        }
        Self::from_words(words)
    }

    pub(crate) fn from_words(mut words: Vec<u64>) -> Self {
        while words.last() == Some(&0) {
            words.pop();
        }
        Self { words: words.into_boxed_slice() }
    }

    /// The words as they go on the wire.
    pub fn to_wire(&self) -> Vec<i64> {
        self.words.iter().map(|w| w.cast_signed()).collect()
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether every message is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Messages still unacknowledged.
    pub fn unacked(&self) -> u32 {
        self.words.iter().map(|w| w.count_ones()).sum()
    }

    /// Whether message `index` of the batch is still unacknowledged.
    pub fn is_unacked(&self, index: u32) -> bool {
        self.words.get(index as usize / 64).is_some_and(|w| w >> (index % 64) & 1 == 1)
    }

    /// Marks message `index` as acknowledged.
    pub fn ack(&mut self, index: u32) {
        let mut words = std::mem::take(&mut self.words).into_vec();
        if let Some(word) = words.get_mut(index as usize / 64) {
            *word &= !(1 << (index % 64));
        }
        *self = Self::from_words(words);
    }

    /// Keeps only what both leave unacknowledged: the set after both acknowledgements.
    pub fn intersect(&self, other: &Self) -> Self {
        Self::from_words(self.words.iter().zip(other.words.iter()).map(|(a, b)| a & b).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledging_every_message_empties_the_set() {
        let mut set = AckSet::all_unacked(70);
        assert_eq!(set.unacked(), 70);
        (0..70).for_each(|i| set.ack(i));
        assert!(set.is_empty() && set.to_wire().is_empty());
    }

    #[test]
    fn wire_words_come_back_without_trailing_zeros() {
        assert_eq!(AckSet::from_wire(&[-1, 0, 0]).to_wire(), vec![-1]);
        assert_eq!(AckSet::from_wire(&[0, 0]), AckSet::default());
    }

    #[test]
    fn intersecting_keeps_what_both_acks_leave_over() {
        let (a, b) = (AckSet::from_wire(&[0b1110, 1]), AckSet::from_wire(&[0b0111]));
        assert_eq!(a.intersect(&b).to_wire(), vec![0b0110]);
        assert!(a.is_unacked(64) && !a.is_unacked(0) && !a.is_unacked(500));
    }
}
