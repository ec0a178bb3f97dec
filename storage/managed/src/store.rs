//! Writes the metadata record of one managed ledger, and the ledger records that change with it.
//!
//! **What**  Procedures ask for changes; the store puts them into one compare-and-put transaction together with every
//! other change that queued meanwhile, and says when they are durable.
//!
//! **States**  Idle ⇄ Sent ⇄ Pausing (the answer was "unavailable" or did not come).
//!
//! **Invariants**
//! - I1  at most one transaction is under way; a change is reported only after its transaction committed.
//! - I2  every transaction compares the record's version: an owner whose epoch was passed changes nothing more.
//! - I3  a transaction whose outcome is unknown is sent again as it was; meeting its own write, named by epoch and
//!   serial, proves that it committed. Taking over is the exception: before it, no epoch is ours alone.
//! - I4  every transaction carries the owner's guard, right after the record's version: who does not own the log any more
//!   changes nothing.
//!
//! **Not here**  What the changes mean to the procedures.
//!
//! **Tests**  `machine` property tests (unavailable metadata, takeover at every step).

use crate::record::{LedgerRecord, ManagedRecord};
use crate::site::{Fx, META_PAUSE, META_TIMEOUT, Site, encode_json, is_due};
use crate::{ManagedEffect, SeededBug};
use base::{Epoch, LedgerId, Mono, Now, Position, RequestId};
use ledger::LedgerMetadata;
use meta_api::{Compare, MetaRequest, MetaResponse, Versioned, Write};

/// One wanted change of the record.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// A new owner: raise the epoch. Creates the record when there is none.
    TakeOver,
    /// Append a new, open ledger to the chain.
    StartLedger { ledger: LedgerId, metadata: LedgerMetadata },
    /// A ledger of the chain is closed; an empty one leaves the chain.
    EndLedger { record: LedgerRecord },
    /// The first cursor ledger: it may be used as soon as it is registered, because there is nothing to take over.
    FirstCursorLedger { ledger: LedgerId, metadata: LedgerMetadata },
    /// A cursor ledger that will be filled with a snapshot.
    NextCursorLedger { ledger: LedgerId, metadata: LedgerMetadata },
    /// The next cursor ledger is complete: it replaces the present one, which is forgotten.
    SwitchCursorLedger,
    /// A cursor ledger that an earlier owner did not complete is forgotten.
    DropNextCursorLedger,
    /// The oldest ledgers, up to and including `last`, are forgotten.
    Trim { last: Position },
    /// Everything is forgotten.
    Remove,
}

/// What became of the changes.
#[derive(Debug)]
pub(crate) enum StoreOutcome {
    /// Durable; new ledger records have this version.
    Done { changes: Vec<Change>, version: u64 },
    /// The record belongs to another owner, or is gone.
    Superseded,
    /// The store will never take the transaction.
    Refused { reason: String },
}

#[derive(Debug)]
struct Transaction {
    changes: Vec<Change>,
    wanted: ManagedRecord,
    removes: Removes,
    request: MetaRequest,
    /// Whether condition 1 is the owner's guard.
    guarded: bool,
    /// The id under which an answer is awaited; `None` while pausing.
    sent: Option<RequestId>,
    due: Mono,
}

/// Whether a transaction deletes the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Removes {
    Record,
    Nothing,
}

/// The writer of the record.
#[derive(Debug)]
pub(crate) struct RecordStore {
    record: ManagedRecord,
    /// `None`: the record does not exist yet.
    version: Option<u64>,
    queued: Vec<Change>,
    under_way: Option<Box<Transaction>>,
    /// What the last committed transaction did.
    removes: Removes,
}

impl RecordStore {
    pub(crate) fn new(record: ManagedRecord, version: Option<u64>) -> Self {
        Self { record, version, queued: Vec::new(), under_way: None, removes: Removes::Nothing }
    }

    /// Asks for a change; `pump` sends it.
    pub(crate) fn change(&mut self, change: Change) {
        self.queued.push(change);
    }

    /// Drops what was asked for but not sent.
    pub(crate) fn forget_queued(&mut self) {
        self.queued.clear();
    }

    /// Sends what queued, unless a transaction is under way.
    pub(crate) fn pump(&mut self, now: Now, site: &mut Site, fx: &mut Fx) {
        if self.under_way.is_some() || self.queued.is_empty() {
            return;
        }
        let changes = std::mem::take(&mut self.queued);
        let mut wanted = self.record.clone();
        wanted.serial += 1;
        let first = match self.version {
            Some(version) => Compare::Version { key: site.key.clone(), version },
            None => Compare::Absent { key: site.key.clone() },
        };
        let (mut compare, mut writes, mut removes) = (vec![first], Vec::new(), Removes::Nothing);
        compare.extend(site.options.guard.clone()); // I4
        for change in &changes {
            if let Change::Remove = change {
                removes = Removes::Record;
            }
            apply_change(change, site, &mut wanted, &mut compare, &mut writes);
        }
        let key = site.key.clone();
        writes.push(match removes {
            Removes::Record => Write::Delete { key },
            Removes::Nothing => Write::Put { key, value: encode_json(&wanted) },
        });
        let request = MetaRequest::Txn { compare, writes };
        let guarded = site.options.guard.is_some();
        let mut transaction = Transaction { changes, wanted, removes, request, guarded, sent: None, due: now.mono };
        transaction.send(now, site, fx);
        self.under_way = Some(Box::new(transaction));
    }

    /// The answer to a transaction; `None` when it is not ours, late, or says nothing yet.
    pub(crate) fn handle_meta(&mut self, now: Now, id: RequestId, response: &MetaResponse) -> Option<StoreOutcome> {
        let transaction = self.under_way.as_mut().filter(|transaction| transaction.sent == Some(id))?;
        match response {
            MetaResponse::Committed { revision } => Some(self.finish(*revision)),
            MetaResponse::Conflict { index: 0, actual } => match transaction.meets_itself(actual.as_ref()) {
                Some(version) => Some(self.finish(version)),
                None => Some(StoreOutcome::Superseded),
            },
            MetaResponse::Conflict { index: 1, .. } if transaction.guarded => Some(StoreOutcome::Superseded),
            MetaResponse::Conflict { index, .. } => {
                Some(StoreOutcome::Refused { reason: format!("condition {index} failed: a fresh ledger id is in use") })
            }
            MetaResponse::Refused { reason } => Some(StoreOutcome::Refused { reason: reason.clone() }),
            MetaResponse::Value(_)
            | MetaResponse::Range { .. }
            | MetaResponse::Reserved { .. }
            | MetaResponse::Unavailable { .. } => {
                (transaction.sent, transaction.due) = (None, now.mono + META_PAUSE);
                None
            }
        }
    }

    fn finish(&mut self, version: u64) -> StoreOutcome {
        let Some(transaction) = self.under_way.take() else {
            panic!("RecordStore I1: an answer belongs to a transaction")
        };
        (self.record, self.removes) = (transaction.wanted, transaction.removes);
        self.version = Some(version);
        StoreOutcome::Done { changes: transaction.changes, version }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.under_way.as_ref().map(|transaction| transaction.due)
    }

    /// Sends an unanswered transaction again (I3).
    pub(crate) fn on_deadline(&mut self, now: Now, site: &mut Site, fx: &mut Fx) {
        if is_due(self.next_deadline(), now)
            && let Some(transaction) = &mut self.under_way
        {
            transaction.send(now, site, fx);
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_none() && self.queued.is_empty()
    }

    /// Whether the record was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.removes == Removes::Record
    }

    /// The record as last committed.
    pub(crate) fn record(&self) -> &ManagedRecord {
        &self.record
    }
}

impl Transaction {
    fn send(&mut self, now: Now, site: &mut Site, fx: &mut Fx) {
        let id = site.request_id();
        (self.sent, self.due) = (Some(id), now.mono + META_TIMEOUT);
        fx.push(ManagedEffect::Meta { id, request: self.request.clone() });
    }

    /// The version of our own write, when that is what stands there (an earlier sending of it committed).
    fn meets_itself(&self, actual: Option<&Versioned>) -> Option<u64> {
        if self.changes.iter().any(|change| matches!(change, Change::TakeOver)) {
            return None;
        }
        match (self.removes, actual) {
            (Removes::Record, None) => Some(0),
            (Removes::Nothing, None) | (Removes::Record, Some(_)) => None,
            (Removes::Nothing, Some(actual)) => {
                let record = ManagedRecord::decode(&actual.value).ok()?;
                record.is_same_write(&self.wanted).then_some(actual.version)
            }
        }
    }
}

fn put_ledger(ledger: LedgerId, metadata: &LedgerMetadata, compare: &mut Vec<Compare>, writes: &mut Vec<Write>) {
    let key = ledger.key();
    compare.push(Compare::Absent { key: key.clone() });
    writes.push(Write::Put { key, value: encode_json(metadata) });
}

fn delete_ledger(ledger: LedgerId, writes: &mut Vec<Write>) {
    writes.push(Write::Delete { key: ledger.key() });
}

/// Puts one change into the wanted record and the transaction.
fn apply_change(
    change: &Change,
    site: &Site,
    wanted: &mut ManagedRecord,
    compare: &mut Vec<Compare>,
    writes: &mut Vec<Write>,
) {
    match change {
        Change::TakeOver if site.options.seeded.has(SeededBug::TakeoverWithoutEpoch) => (),
        Change::TakeOver => (wanted.epoch, wanted.serial) = (Epoch(wanted.epoch.0 + 1), 0),
        Change::StartLedger { ledger, metadata } => {
            put_ledger(*ledger, metadata, compare, writes);
            let bookies = Vec::new();
            wanted.ledgers.push(LedgerRecord { id: *ledger, entries: 0, bytes: 0, closed_ms: None, bookies });
        }
        Change::EndLedger { record } if record.entries == 0 => {
            wanted.ledgers.retain(|ledger| ledger.id != record.id);
            delete_ledger(record.id, writes);
        }
        Change::EndLedger { record } => {
            if let Some(ledger) = wanted.ledgers.iter_mut().find(|ledger| ledger.id == record.id) {
                *ledger = record.clone();
            }
        }
        Change::FirstCursorLedger { ledger, metadata } => {
            assert!(wanted.cursor_ledger.is_none(), "CursorLog I3: a cursor ledger is replaced only by a snapshot");
            put_ledger(*ledger, metadata, compare, writes);
            wanted.cursor_ledger = Some(*ledger);
        }
        Change::NextCursorLedger { ledger, metadata } => {
            put_ledger(*ledger, metadata, compare, writes);
            wanted.cursor_ledger_next = Some(*ledger);
        }
        Change::SwitchCursorLedger => {
            wanted.cursor_ledger.iter().for_each(|ledger| delete_ledger(*ledger, writes));
            wanted.cursor_ledger = wanted.cursor_ledger_next.take();
        }
        Change::DropNextCursorLedger => {
            wanted.cursor_ledger_next.take().iter().for_each(|ledger| delete_ledger(*ledger, writes));
        }
        Change::Trim { last } => {
            let goes = |ledger: &LedgerRecord| ledger.id <= last.ledger;
            wanted.ledgers.iter().filter(|l| goes(l)).for_each(|l| delete_ledger(l.id, writes));
            wanted.ledgers.retain(|ledger| !goes(ledger));
            wanted.trimmed = wanted.trimmed.max(*last);
        }
        Change::Remove => {
            let cursors = wanted.cursor_ledger.iter().chain(wanted.cursor_ledger_next.iter());
            let ledgers = wanted.ledgers.iter().map(|ledger| &ledger.id).chain(cursors);
            ledgers.for_each(|ledger| delete_ledger(*ledger, writes));
        }
    }
}
