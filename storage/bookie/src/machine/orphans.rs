//! Deletes what a deleted ledger left on this disk while the bookie was away.
//!
//! **Invariants**
//! - I1  an orphan is deleted only when it stood on this disk before the listing was begun, the listing does not have it, and
//!   its id is below the bound that was read before the listing.
//! - I2  it is deleted only after `orphan_grace`, and not when anybody wrote to it or fenced it meanwhile.
//!
//! **Not here**  Making the listing (the node).

use super::doubts::Doubts;
use super::{Bookie, Fx};
use crate::options::LedgerListing;
use base::{LedgerId, Mono, Now};

#[derive(Debug, Default)]
pub(super) struct Orphans {
    due: Mono,
    ledgers: Vec<LedgerId>,
}

impl Orphans {
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        (!self.ledgers.is_empty()).then_some(self.due)
    }
}

impl Bookie {
    /// Deletes, after `orphan_grace`, every ledger that was found on disk at boot, has not been written to since and is
    /// proven to be gone. After a loss the bookie takes no new ledgers before this call: it tells old ledgers, which may
    /// have lost something, from new ones. A later listing replaces an earlier one.
    pub fn retain_ledgers(&mut self, now: Now, listing: &LedgerListing, fx: &mut Fx) {
        self.record_start(fx);
        self.measure_losses(&listing.known, fx);
        self.doubts = Doubts::of(listing);
        let gone = |id: LedgerId| listing.is_gone(id);
        let ledgers = self.index.ledgers().filter(|(id, l)| l.untouched && gone(*id)).map(|(id, _)| id).collect();
        self.orphans = Orphans { due: now.mono + self.options.orphan_grace, ledgers };
        self.delete_orphans(now, fx);
        self.release_files(fx);
    }

    /// When their time has come.
    pub(super) fn delete_orphans(&mut self, now: Now, fx: &mut Fx) {
        if self.orphans.next_deadline().is_none_or(|due| now.mono < due) {
            return;
        }
        for ledger in std::mem::take(&mut self.orphans.ledgers) {
            let untouched = self.index.get(ledger).is_some_and(|ledger| ledger.untouched);
            if untouched && !self.pending.touches(ledger) && !self.doubts.is_asked(ledger) {
                self.delete(ledger, None, fx); // I1, I2
            }
        }
    }
}
