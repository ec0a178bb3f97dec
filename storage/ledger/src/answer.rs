//! Checks what a bookie gives back before anything trusts it.

use base::EntryId;
use wire::bookie::StoredEntry;

/// Whether an answer to a read is what was asked for: consecutive entries, at least one, the first being `from`.
pub(crate) fn follows(entries: &[StoredEntry], from: EntryId) -> bool {
    !entries.is_empty() && (from.0..).zip(entries).all(|(expected, stored)| stored.entry.0 == expected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::EntryData;

    #[test]
    fn only_consecutive_entries_from_the_one_asked_for_are_an_answer() {
        let stored = |entry| StoredEntry { entry: EntryId(entry), lac: EntryId::NONE, data: EntryData::default() };
        assert!(follows(&[stored(3), stored(4)], EntryId(3)));
        assert!(!follows(&[stored(3), stored(5)], EntryId(3)));
        assert!(!follows(&[stored(4)], EntryId(3)));
        assert!(!follows(&[], EntryId(3)));
    }
}
