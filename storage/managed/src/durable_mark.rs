//! How low a position that is being made durable may be found again after a crash.
//!
//! **What**  A mark-delete or a checkpoint is on disk, in the one record under way, or in operations that no record holds
//! yet; a crash leaves any of the three. A reset lowers it, only durable records raise it.
//!
//! **Invariants**
//! - I1  `lowest` is at or below every value that a crash now could leave.

use base::Position;

/// The three places of one position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DurableMark {
    on_disk: Position,
    under_way: Position,
    unwritten: Position,
}

impl DurableMark {
    /// A position that holds from now on, also for a crash.
    pub(crate) fn new(mark: Position) -> Self {
        Self { on_disk: mark, under_way: mark, unwritten: mark }
    }

    /// An operation that no record holds yet moved it down to here.
    pub(crate) fn lower(&mut self, to: Position) {
        self.unwritten = self.unwritten.min(to);
    }

    /// A record with all operations so far is under way; they led to `mark`.
    pub(crate) fn seal(&mut self, mark: Position) {
        assert!(self.unwritten <= mark, "DurableMark I1: {} is the lowest on the way to {mark}", self.unwritten);
        (self.under_way, self.unwritten) = (self.unwritten, mark);
    }

    /// The record under way, which led to `mark`, is durable.
    pub(crate) fn confirm(&mut self, mark: Position) {
        (self.on_disk, self.under_way) = (mark, mark);
    }

    pub(crate) fn lowest(self) -> Position {
        self.on_disk.min(self.under_way).min(self.unwritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::LedgerId;

    #[test]
    fn a_dip_is_remembered_until_what_followed_is_durable() {
        let at = |entry| Position::new(LedgerId(1), entry);
        let mut mark = DurableMark::new(at(5));
        mark.lower(at(2));
        mark.seal(at(7));
        assert_eq!(mark.lowest(), at(2), "the record may be lost or not");
        mark.lower(at(3));
        mark.confirm(at(7));
        assert_eq!(mark.lowest(), at(3));
        mark.seal(at(9));
        mark.confirm(at(9));
        assert_eq!(mark.lowest(), at(9));
    }
}
