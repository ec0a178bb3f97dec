//! Requests of this node to bookies of other nodes, until they are answered.
//!
//! **What**  When a node is lost, each request that it has not answered is answered for it: nobody knows. So ledgers go on at
//! once instead of waiting for their timeouts.
//!
//! **Invariants**
//! - I1  at most [`REQUESTS_MAX`] requests to one node are kept; further ones have only their timeouts.
//!
//! **Not here**  What the asker makes of an unknown outcome (`ledger`).

use base::{EntryId, LedgerId, NodeId, RequestId};
use std::collections::BTreeMap;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome, ReadOutcome};

/// Requests to one node that are remembered.
const REQUESTS_MAX: usize = 100_000;

#[derive(Clone, Copy, Debug)]
enum Asked {
    Add(LedgerId, EntryId),
    Read(LedgerId),
    Lac(LedgerId),
    Missing(LedgerId, EntryId),
}

/// The unanswered requests, by node.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    by_node: BTreeMap<NodeId, BTreeMap<RequestId, Asked>>,
}

impl Requests {
    /// A request leaves. Nobody waits for the answers to the others.
    pub(crate) fn sent(&mut self, to: NodeId, request: &BookieRequest) {
        let asked = match request {
            BookieRequest::Add { ledger, entry, .. } => Asked::Add(*ledger, *entry),
            BookieRequest::Read { ledger, .. } => Asked::Read(*ledger),
            BookieRequest::ReadLac { ledger, .. } => Asked::Lac(*ledger),
            BookieRequest::Missing { ledger, range, .. } => Asked::Missing(*ledger, range.first),
            BookieRequest::Delete { .. } | BookieRequest::Repaired { .. } | BookieRequest::Limbo { .. } => return,
        };
        let requests = self.by_node.entry(to).or_default();
        if requests.len() < REQUESTS_MAX {
            requests.insert(request.id(), asked); // I1
        }
    }

    pub(crate) fn answered(&mut self, from: NodeId, id: RequestId) {
        if let Some(requests) = self.by_node.get_mut(&from) {
            requests.remove(&id);
        }
    }

    /// One request could not be sent: its answer.
    pub(crate) fn unsent(&mut self, to: NodeId, id: RequestId) -> Option<BookieResponse> {
        let asked = self.by_node.get_mut(&to)?.remove(&id)?;
        Some(unknown(id, asked))
    }

    /// The node is lost: the answers to all that it was asked.
    pub(crate) fn lost(&mut self, node: NodeId) -> Vec<BookieResponse> {
        let requests = self.by_node.remove(&node).unwrap_or_default();
        requests.into_iter().map(|(id, asked)| unknown(id, asked)).collect()
    }
}

fn unknown(id: RequestId, asked: Asked) -> BookieResponse {
    match asked {
        Asked::Add(ledger, entry) => BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Unknown },
        Asked::Read(ledger) => BookieResponse::Read { id, ledger, outcome: ReadOutcome::Unknown },
        Asked::Lac(ledger) => BookieResponse::Lac { id, ledger, outcome: LacOutcome::Unknown },
        // Up to the first one: nothing is said.
        Asked::Missing(ledger, until) => BookieResponse::Missing { id, ledger, until, ranges: Vec::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{EntryData, OwnerId};
    use wire::bookie::EntryRange;

    fn add(seq: u64) -> BookieRequest {
        let (id, ledger, entry) = (RequestId::new(OwnerId(20), seq), LedgerId(7), EntryId(3));
        BookieRequest::Add { id, ledger, entry, lac: EntryId::NONE, recovery: false, data: EntryData::default() }
    }

    #[test]
    fn what_a_lost_node_was_asked_is_answered_once_and_nobody_knows() {
        let (mut requests, node) = (Requests::default(), NodeId(2));
        for seq in 1..=3 {
            requests.sent(node, &add(seq));
        }
        let (id, range) = (RequestId::new(OwnerId(20), 4), EntryRange { first: EntryId(5), end: EntryId(9) });
        requests.sent(node, &BookieRequest::Missing { id, ledger: LedgerId(7), range });
        requests.sent(node, &BookieRequest::Delete { id: RequestId::new(OwnerId(20), 9), ledger: LedgerId(7) });
        requests.answered(node, RequestId::new(OwnerId(20), 1));
        let unsent = requests.unsent(node, RequestId::new(OwnerId(20), 2));
        assert!(matches!(unsent, Some(BookieResponse::Added { outcome: AddOutcome::Unknown, .. })));
        let lost = requests.lost(node);
        assert_eq!(lost.len(), 2);
        assert_eq!(lost[0].id(), RequestId::new(OwnerId(20), 3));
        let said =
            matches!(&lost[1], BookieResponse::Missing { until, ranges, .. } if until.0 > 5 || !ranges.is_empty());
        assert!(!said, "{:?}", lost[1]);
        assert!(requests.lost(node).is_empty());
    }

    #[test]
    fn i1_what_is_kept_of_one_node_is_bounded() {
        let mut requests = Requests::default();
        for seq in 0..=REQUESTS_MAX as u64 {
            requests.sent(NodeId(2), &add(seq));
        }
        assert_eq!(requests.lost(NodeId(2)).len(), REQUESTS_MAX, "I1");
    }
}
