//! Finds out what one ledger lacks on a bookie that may lack something: its metadata, then a question to the bookie.
//!
//! **States**  reading the metadata → asking what is missing (range by range) → a verdict; of the last bookie of a ledger that
//! a recovery closed: → noting in the metadata that it was checked.
//!
//! **Invariants**
//! - I1  at most [`RANGES_MAX`] missing ranges are remembered; what is behind them counts as missing.
//!
//! **Not here**  The copying (`work`).

use super::unchecked::Last;
use super::work::{Ended, Work};
use super::{
    AGAIN, AGAIN_DOUBLED_MAX, ANSWER_TIMEOUT, Auditor, AuditorEffect, Phase, SETTLE, UNWRITTEN_AFTER, page, placement,
};
use crate::View;
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{MetadataOutcome, RepairError, RepairWork, RequestIds, VersionedMetadata};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use wire::bookie::{BookieRequest, BookieResponse, EntryRange};

/// Missing ranges remembered.
const RANGES_MAX: usize = 100_000;

/// Which bookie may lack something of which ledger.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) node: NodeId,
    pub(super) ledger: LedgerId,
    pub(super) why: Why,
}

/// Why it may.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why {
    /// It says so, of this loss; this has been tried since then.
    Limbo { loss: u32, since: Mono },
    /// The ledger was closed by a recovery.
    Unchecked(Last),
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The ledger is deleted, and its bookie was told.
    Gone,
    /// The metadata says that the ledger was checked.
    Checked,
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
    subject: Subject,
    asked: RequestId,
    pub(super) deadline: Mono,
    metadata: Option<VersionedMetadata>,
    /// Of the range that was asked for last.
    first: EntryId,
    end: EntryId,
    ranges: Vec<EntryRange>,
}

impl Refill {
    pub(super) fn start(mut ids: RequestIds, subject: Subject, now: Now, fx: &mut Effects<AuditorEffect>) -> Self {
        let (asked, deadline, first, end) = (ids.allocate(), now.mono + ANSWER_TIMEOUT, EntryId(0), EntryId(0));
        fx.push(AuditorEffect::Meta { id: asked, request: MetaRequest::Get { key: subject.ledger.key() } });
        Self { ids, subject, asked, deadline, metadata: None, first, end, ranges: Vec::new() }
    }

    /// The ledger is whole: notes it in the metadata, unless that has changed.
    fn note_checked(&mut self, now: Now, current: &VersionedMetadata, fx: &mut Effects<AuditorEffect>) {
        (self.asked, self.deadline) = (self.ids.allocate(), now.mono + ANSWER_TIMEOUT);
        let (key, value) = (self.subject.ledger.key(), page::encode(&current.metadata.checked()));
        let compare = vec![Compare::Version { key: key.clone(), version: current.version }];
        let request = MetaRequest::Txn { compare, writes: vec![Write::Put { key, value }] };
        fx.push(AuditorEffect::Meta { id: self.asked, request });
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
                let (id, ledger) = (self.ids.allocate(), self.subject.ledger);
                fx.push(AuditorEffect::Bookie { to: self.subject.node, request: BookieRequest::Delete { id, ledger } });
                Some(Verdict::Gone)
            }
            MetadataOutcome::Current(Some(current)) => {
                let Some((last, _)) = current.metadata.closed() else { return Some(Verdict::Open(current)) };
                let here =
                    current.metadata.fragments.iter().any(|fragment| fragment.bookies.contains(&self.subject.node));
                if !here || last < EntryId(0) {
                    return Some(Verdict::Lacks(current, Vec::new()));
                }
                (self.end, self.metadata) = (last.next(), Some(current));
                self.ask(now, EntryId(0), fx);
                None
            }
            MetadataOutcome::Committed { .. } => Some(Verdict::Checked),
            MetadataOutcome::Conflict { .. } | MetadataOutcome::Unavailable => Some(Verdict::Silent),
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
        let request = BookieRequest::Missing { id: self.asked, ledger: self.subject.ledger, range };
        fx.push(AuditorEffect::Bookie { to: self.subject.node, request });
    }

    pub(super) fn owns(&self, id: RequestId) -> bool {
        self.ids.owns(id)
    }
}

impl Auditor {
    /// What the last look found is repaired: bookies are asked what they lack, until the next look.
    pub(super) fn idle(&mut self, now: Now, fx: &mut Effects<AuditorEffect>) {
        // Ledgers whose owner is gone are recovered, and then named, in the moments after.
        let pause = match (self.progressed, self.stats.ledgers) {
            (true, _) => SETTLE,
            (false, 0) if self.looks == AGAIN_DOUBLED_MAX => self.options.every,
            (false, _) => AGAIN * (1 << self.looks),
        };
        let look_at = self.look_at.unwrap_or_else(|| self.next_look(now, pause));
        if look_at <= now.mono && !self.alone {
            return self.ask_page(now, Box::default(), fx); // I8
        }
        self.look_at = Some(look_at).filter(|at| *at > now.mono);
        if let Some(subject) = self.next_to_ask(now) {
            let ids = self.new_machine();
            self.refilled = Some(subject);
            self.phase = Phase::Asking { refill: Box::new(Refill::start(ids, subject, now, fx)) };
            return;
        }
        self.wait_until(self.look_at.unwrap_or_else(|| self.next_look(now, pause)));
    }

    /// A bookie that says that it has lost something, or one that may lack something without knowing it.
    fn next_to_ask(&mut self, now: Now) -> Option<Subject> {
        let named = self.limbo.next(now);
        let named = named.map(|(node, found, since)| Subject {
            node,
            ledger: found.ledger,
            why: Why::Limbo { loss: found.loss, since },
        });
        named.or_else(|| {
            let (node, ledger, last) = self.unchecked.next(now, &self.takers)?; // I6
            Some(Subject { node, ledger, why: Why::Unchecked(last) })
        })
    }

    /// It is known, or cannot be known now, what a ledger lacks on a bookie.
    pub(super) fn refill(&mut self, now: Now, verdict: Option<Verdict>, view: &View, fx: &mut Effects<AuditorEffect>) {
        let (Phase::Asking { refill }, Some(verdict)) = (&mut self.phase, verdict) else { return };
        let Subject { node, ledger, why } = refill.subject;
        let (loss, since) = match why {
            Why::Limbo { loss, since } => (loss, since),
            Why::Unchecked(_) => (0, now.mono),
        };
        if let (Why::Unchecked(last), Verdict::Lacks(current, missing)) = (why, &verdict)
            && !missing.iter().any(|range| current.metadata.is_wanted(node, *range))
        {
            self.unchecked.complete(ledger, node); // Unchecked I1
            if last == Last::Yes {
                return refill.note_checked(now, current, fx);
            }
            self.refilled = None;
            self.phase = Phase::Repairing { work: None, resume: now.mono };
            return;
        }
        let (key, options) = (ledger.key(), self.options.repair);
        self.phase = Phase::Repairing { work: None, resume: now.mono };
        let (work, ended) = match verdict {
            Verdict::Gone | Verdict::Checked => {
                self.unchecked.cleared(ledger);
                return self.end_refill(now, Ended::Repaired, fx);
            }
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

    /// If the work was on what a bookie lacked: what became of it.
    pub(super) fn end_refill(&mut self, now: Now, ended: Ended, fx: &mut Effects<AuditorEffect>) {
        let Some(Subject { node, ledger, why }) = self.refilled.take() else { return };
        match (ended, why) {
            (Ended::Repaired, Why::Limbo { .. }) => self.limbo.lifted(node, ledger),
            (Ended::Repaired, Why::Unchecked(_)) => (), // It is asked once more.
            (Ended::Closed, _) => (),                   // Next time it can be refilled.
            (Ended::Failed(error), why) => {
                let hopeless = error.filter(|error| matches!(error, RepairError::Unreadable { .. }));
                let first = match why {
                    Why::Limbo { .. } => self.limbo.failed(now, node, ledger, error),
                    Why::Unchecked(_) => self.unchecked.failed(now, ledger, node, error),
                };
                if first {
                    fx.push(AuditorEffect::Alarm { text: without_copies(node, ledger, hopeless) });
                }
            }
        }
        self.count_limbo();
    }

    pub(super) fn count_limbo(&mut self) {
        let (unchecked, hopeless) = self.unchecked.counts();
        self.stats.ledgers_unchecked = unchecked;
        let (in_limbo, without_copies) = self.limbo.counts();
        self.stats.ledgers_in_limbo = in_limbo;
        self.stats.ledgers_without_copies = without_copies + hopeless + self.tries.unreadable();
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
