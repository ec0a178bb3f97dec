//! Tells bookies to forget ledgers that no metadata names any more.
//!
//! **What**  A deletion is sent again until it is answered, a bounded number of times. A bookie that never hears of it
//! drops the ledger when it next compares what it holds with the metadata.
//!
//! **Invariants**
//! - I1  only ledgers whose metadata is durably gone come here.

use crate::ManagedEffect;
use crate::site::{Fx, Site};
use base::{LedgerId, Mono, NodeId, Now, RequestId};
use wire::bookie::BookieRequest;

/// How often one deletion is sent.
const SENDINGS_MAX: u32 = 4;

#[derive(Debug)]
struct Discard {
    id: RequestId,
    to: NodeId,
    ledger: LedgerId,
    due: Mono,
    sent: u32,
}

/// Deletions that are not answered yet.
#[derive(Debug, Default)]
pub(crate) struct Discards {
    under_way: Vec<Discard>,
}

impl Discards {
    pub(crate) fn start(&mut self, now: Now, ledger: LedgerId, bookies: Vec<NodeId>, site: &mut Site, fx: &mut Fx) {
        for to in bookies {
            let mut discard = Discard { id: site.request_id(), to, ledger, due: now.mono, sent: 0 };
            discard.send(now, site, fx);
            self.under_way.push(discard);
        }
    }

    pub(crate) fn handle_deleted(&mut self, id: RequestId) {
        self.under_way.retain(|discard| discard.id != id);
        self.under_way.shrink_to(8);
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.under_way.iter().map(|discard| discard.due).min()
    }

    pub(crate) fn on_deadline(&mut self, now: Now, site: &Site, fx: &mut Fx) {
        self.under_way.retain(|discard| discard.due > now.mono || discard.sent < SENDINGS_MAX);
        self.under_way.iter_mut().filter(|discard| discard.due <= now.mono).for_each(|d| d.send(now, site, fx));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}

impl Discard {
    fn send(&mut self, now: Now, site: &Site, fx: &mut Fx) {
        self.sent += 1;
        self.due = now.mono + site.options.bookie_timeout;
        fx.push(ManagedEffect::Bookie {
            to: self.to,
            request: BookieRequest::Delete { id: self.id, ledger: self.ledger },
        });
    }
}
