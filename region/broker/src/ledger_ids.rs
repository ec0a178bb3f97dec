//! Hands out fresh ledger ids from blocks reserved in the metadata.
//!
//! **Invariants**
//! - I1  an id is handed out once: blocks come from `MetaRequest::Reserve`, so that a restart or another node never gets
//!   the same numbers; what was left of a block is lost, not reused.
//! - I2  at most one reservation is under way.

use base::{LedgerId, OwnerId, RegionId, RequestId};
use meta_api::{MetaRequest, MetaResponse};
use std::collections::VecDeque;

/// Ids per reservation; one metadata write pays for this many ledgers.
const BLOCK: u64 = 1_000;

/// The numbers at hand and who waits for one.
#[derive(Debug)]
pub(crate) struct LedgerIds {
    region: RegionId,
    next: u64,
    end: u64,
    reserving: bool,
    waiting: VecDeque<(OwnerId, RequestId)>,
}

impl LedgerIds {
    pub(crate) fn new(region: RegionId) -> Self {
        Self { region, next: 0, end: 0, reserving: false, waiting: VecDeque::new() }
    }

    /// A topic wants an id: at once, or `None` and it is remembered.
    pub(crate) fn take(&mut self, owner: OwnerId, id: RequestId) -> Option<LedgerId> {
        if self.next < self.end && self.waiting.is_empty() {
            self.next += 1;
            return Some(LedgerId::compose(self.region, self.next - 1));
        }
        self.waiting.push_back((owner, id));
        None
    }

    /// The reservation to send now, if one is needed.
    pub(crate) fn reservation(&mut self) -> Option<MetaRequest> {
        if self.reserving || self.waiting.is_empty() {
            return None;
        }
        self.reserving = true;
        Some(MetaRequest::Reserve { key: tenancy::keys::LEDGER_COUNTER.to_owned(), by: BLOCK })
    }

    /// The reservation was answered: who gets which id.
    pub(crate) fn handle_response(&mut self, response: &MetaResponse) -> Vec<(OwnerId, RequestId, LedgerId)> {
        self.reserving = false;
        if let MetaResponse::Reserved { first } = response {
            // Counter 0 stays unused: ledger 0 of region 0 is Position::EARLIEST.
            self.next = (*first).max(1);
            self.end = first + BLOCK;
        }
        let mut served = Vec::new();
        while self.next < self.end
            && let Some((owner, id)) = self.waiting.pop_front()
        {
            served.push((owner, id, LedgerId::compose(self.region, self.next)));
            self.next += 1;
        }
        served
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_across_blocks_and_carry_the_region() {
        let mut ids = LedgerIds::new(RegionId(3));
        let request = RequestId::new(OwnerId(20), 1);
        assert_eq!(ids.take(OwnerId(20), request), None);
        assert!(ids.reservation().is_some());
        assert!(ids.reservation().is_none(), "I2");
        let served = ids.handle_response(&MetaResponse::Reserved { first: 0 });
        assert_eq!(served, [(OwnerId(20), request, LedgerId::compose(RegionId(3), 1))]);
        assert_eq!(ids.take(OwnerId(21), request), Some(LedgerId::compose(RegionId(3), 2)));
        assert!(ids.reservation().is_none());
    }
}
