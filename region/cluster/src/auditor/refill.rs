//! Finds out what one ledger lacks on a bookie that may have lost something: its metadata, then a question to the bookie.
//!
//! **States**  reading the metadata → asking what is missing (range by range) → a verdict.
//!
//! **Invariants**
//! - I1  at most [`RANGES_MAX`] missing ranges are remembered; what is behind them counts as missing.
//!
//! **Not here**  The copying (`work`).

use super::work::{Ended, Work};
use super::{ANSWER_TIMEOUT, Auditor, AuditorEffect, Phase, UNWRITTEN_AFTER, page, placement};
use crate::View;
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{MetadataOutcome, RepairError, RepairWork, RequestIds, VersionedMetadata};
use meta_api::{MetaRequest, MetaResponse};
use wire::bookie::{BookieRequest, BookieResponse, EntryRange, InLimbo};

/// Missing ranges remembered.
const RANGES_MAX: usize = 100_000;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The ledger is deleted, and its bookie was told.
    Gone,
    /// It is still written, or never was closed.
    Open(VersionedMetadata),
    /// The bookie lacks these, if any.
    Lacks(VersionedMetadata, Vec<EntryRange>),
    /// No answer.
    Silent,
}

#[derive(Debug)]
pub(super) struct Refill {
    ids: RequestIds,
    pub(super) node: NodeId,
    pub(super) ledger: LedgerId,
    pub(super) loss: u32,
    /// Since when this has been tried.
    pub(super) since: Mono,
    asked: RequestId,
    pub(super) deadline: Mono,
    metadata: Option<VersionedMetadata>,
    /// Of the range that was asked for last.
    first: EntryId,
    end: EntryId,
    ranges: Vec<EntryRange>,
}

impl Refill {
    pub(super) fn start(
        mut ids: RequestIds,
        (node, found, since): (NodeId, InLimbo, Mono),
        now: Now,
        fx: &mut Effects<AuditorEffect>,
    ) -> Self {
        let InLimbo { ledger, loss } = found;
        let (asked, deadline, first, end) = (ids.allocate(), now.mono + ANSWER_TIMEOUT, EntryId(0), EntryId(0));
        fx.push(AuditorEffect::Meta { id: asked, request: MetaRequest::Get { key: ledger.key() } });
        Self { ids, node, ledger, loss, since, asked, deadline, metadata: None, first, end, ranges: Vec::new() }
    }

    pub(super) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        response: MetaResponse,
        fx: &mut Effects<AuditorEffect>,
    ) -> Option<Verdict> {
        if id != self.asked || self.metadata.is_some() {
            return None;
        }
        match page::outcome(response) {
            MetadataOutcome::Current(None) => {
                let (id, ledger) = (self.ids.allocate(), self.ledger);
                fx.push(AuditorEffect::Bookie { to: self.node, request: BookieRequest::Delete { id, ledger } });
                Some(Verdict::Gone)
            }
            MetadataOutcome::Current(Some(current)) => {
                let Some((last, _)) = current.metadata.closed() else { return Some(Verdict::Open(current)) };
                let here = current.metadata.fragments.iter().any(|fragment| fragment.bookies.contains(&self.node));
                if !here || last < EntryId(0) {
                    return Some(Verdict::Lacks(current, Vec::new()));
                }
                (self.end, self.metadata) = (last.next(), Some(current));
                self.ask(now, EntryId(0), fx);
                None
            }
            MetadataOutcome::Committed { .. } | MetadataOutcome::Conflict { .. } | MetadataOutcome::Unavailable => {
                Some(Verdict::Silent)
            }
        }
    }

    pub(super) fn handle_bookie(
        &mut self,
        now: Now,
        response: BookieResponse,
        fx: &mut Effects<AuditorEffect>,
    ) -> Option<Verdict> {
        let BookieResponse::Missing { id, until, ranges, .. } = response else { return None };
        if id != self.asked {
            return None;
        }
        if until <= self.first && until < self.end {
            return Some(Verdict::Silent); // It has met a loss that it cannot measure yet.
        }
        self.ranges.extend(ranges);
        if until < self.end && self.ranges.len() >= RANGES_MAX {
            self.ranges.push(EntryRange { first: until, end: self.end }); // I1
        } else if until < self.end {
            self.ask(now, until, fx);
            return None;
        }
        self.metadata.take().map(|metadata| Verdict::Lacks(metadata, std::mem::take(&mut self.ranges)))
    }

    fn ask(&mut self, now: Now, first: EntryId, fx: &mut Effects<AuditorEffect>) {
        (self.asked, self.deadline, self.first) = (self.ids.allocate(), now.mono + ANSWER_TIMEOUT, first);
        let range = EntryRange { first, end: self.end };
        let request = BookieRequest::Missing { id: self.asked, ledger: self.ledger, range };
        fx.push(AuditorEffect::Bookie { to: self.node, request });
    }

    pub(super) fn owns(&self, id: RequestId) -> bool {
        self.ids.owns(id)
    }
}

impl Auditor {
    /// It is known, or cannot be known now, what a ledger lacks on a bookie.
    pub(super) fn refill(&mut self, now: Now, verdict: Option<Verdict>, view: &View, fx: &mut Effects<AuditorEffect>) {
        let (Phase::Asking { refill }, Some(verdict)) = (&self.phase, verdict) else { return };
        let (node, ledger, loss, since) = (refill.node, refill.ledger, refill.loss, refill.since);
        let (key, options) = (ledger.key(), self.options.repair);
        self.phase = Phase::Repairing { work: None, resume: now.mono };
        let (work, ended) = match verdict {
            Verdict::Gone => return self.end_refill(now, Ended::Repaired, fx),
            Verdict::Silent => return self.end_refill(now, Ended::Failed(None), fx),
            Verdict::Open(current) => {
                // I5: a loss that was marked fences its bookie, so a writer that lives has left it.
                let named = current.metadata.last_fragment().bookies.contains(&node);
                if loss == 0 || !named || now.mono < since + UNWRITTEN_AFTER {
                    return self.end_refill(now, Ended::Failed(None), fx);
                }
                Work::end(self.new_machine(), (key, ledger, current), placement(now, ledger, view), now, fx)
            }
            Verdict::Lacks(current, missing) => {
                let work = RepairWork::Refill { bookie: node, loss, missing };
                Work::repair(self.new_machine(), (key, ledger, current), work, options, now, fx)
            }
        };
        self.phase = Phase::Repairing { work: Some(Box::new(work)), resume: now.mono };
        self.go_on(now, ended, fx);
    }

    /// If the work was on a ledger in limbo: what became of it.
    pub(super) fn end_refill(&mut self, now: Now, ended: Ended, fx: &mut Effects<AuditorEffect>) {
        let Some((node, ledger)) = self.refilled.take() else { return };
        match ended {
            Ended::Repaired => self.limbo.lifted(node, ledger),
            Ended::Closed => (), // Next time it can be refilled.
            Ended::Failed(error) => {
                let hopeless = error.filter(|error| matches!(error, RepairError::Unreadable { .. }));
                if self.limbo.failed(now, node, ledger, hopeless.is_some()) {
                    fx.push(AuditorEffect::Alarm { text: without_copies(node, ledger, hopeless) });
                }
            }
        }
        self.count_limbo();
    }

    pub(super) fn count_limbo(&mut self) {
        let (in_limbo, without_copies) = self.limbo.counts();
        self.stats.ledgers_in_limbo = in_limbo;
        self.stats.ledgers_without_copies = without_copies + self.tries.unreadable();
    }
}

fn without_copies(node: NodeId, ledger: LedgerId, error: Option<RepairError>) -> String {
    let what = error.map_or_else(String::new, |error| format!(" ({error})"));
    format!(
        "ledger {ledger} has lost entries on bookie {node}, and no other bookie has them{what}; they are answered as unknown \
         until they are back: start the nodes that hold copies, or put back the log files of bookie {node} from a backup; \
         if they are gone for good, delete the topic of this ledger"
    )
}
