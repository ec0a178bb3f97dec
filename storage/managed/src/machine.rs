//! One topic's log: routes inputs to the procedures and carries their outcomes from one to the other.
//!
//! **What**  Entries are appended to a chain of ledgers, read from memory or from bookies, consumed by cursors, trimmed
//! when nobody needs them. Everything that outlives the owner is in the ledgers and in one metadata record.
//!
//! **States**  Opening → Open → Closing → Stopped;  Open → Deleting → Stopped;  any → Stopped (fenced, failed).
//!
//! **Invariants**
//! - I1  an entry becomes readable, and is reported, only when it is confirmed; reports come in the order of the adds.
//! - I2  after Stopped nothing is reported any more and no request is sent.
//! - I3  when fenced, every add and cursor operation that was not answered is answered as unknown, once.
//!
//! **Not here**  One file per procedure: `open`, `recover`, `replay`, `append`, `reads`, `cursor_log`, `roll`, `trim`,
//! `discard`, `store`. The machine's own methods by theme: `machine/{adds,cursors,shape,care}`.
//!
//! **Tests**  `machine/tests`: seeded crashes between any two effects against a reference model, takeovers, seeded bugs.

mod adds;
mod care;
mod cursors;
mod shape;
#[cfg(test)]
mod tests;

use crate::append::Appender;
use crate::cache::EntryCache;
use crate::chain::Chain;
use crate::cursor_log::{CursorLog, LogOutcome};
use crate::cursor_set::CursorSet;
use crate::discard::Discards;
use crate::open::{OpenOutcome, Opened, Opening};
use crate::pending_ops::Waiter;
use crate::reads::{ReadScope, Reads};
use crate::record::{Birth, ManagedRecord};
use crate::site::{Fx, Site, encode_json, is_due, metadata_outcome};
use crate::store::{RecordStore, StoreOutcome};
use crate::{CursorError, ManagedEffect, ManagedEvent, ManagedOptions, OpenError, OpenMode};
use base::{LedgerId, Mono, NodeId, Now, OwnerId, RequestId, earliest};
use care::Trimming;
use meta_api::{Compare, MetaResponse, Write};
use wire::bookie::BookieResponse;

#[derive(Debug)]
enum Phase {
    Opening(Box<Opening>),
    Open,
    Closing,
    /// The ledgers whose copies go once the metadata is gone.
    Deleting(Vec<(LedgerId, Vec<NodeId>)>),
    Stopped(&'static str),
}

/// A topic's log: a chain of ledgers with cursors.
///
/// `owner` must be another for every open: answers to the requests of an earlier one must not be taken for ours.
#[derive(Debug)]
pub struct ManagedLedger {
    site: Site,
    phase: Phase,
    store: RecordStore,
    chain: Chain,
    appender: Appender,
    cache: EntryCache,
    reads: Reads,
    /// Entries and bytes read from memory since they were last asked for.
    hits: (u64, u64),
    cursors: CursorSet,
    cursor_log: CursorLog,
    discards: Discards,
    trimming: Trimming,
}

impl ManagedLedger {
    /// Starts opening. `key` is the metadata key of the record (`/ml/…`), `bookies` the nodes that may take new
    /// ledgers. [`ManagedEvent::Opened`] or [`ManagedEvent::OpenFailed`] follows.
    pub fn open(
        owner: OwnerId,
        key: String,
        mode: OpenMode,
        options: ManagedOptions,
        bookies: Vec<NodeId>,
        now: Now,
        fx: &mut Fx,
    ) -> Self {
        let mut site = Site::new(owner, key, options, bookies);
        let record = ManagedRecord::empty();
        let chain = Chain::new(&record);
        let phase = Phase::Opening(Box::new(Opening::start(mode, now, &mut site, fx)));
        Self {
            site,
            phase,
            store: RecordStore::new(record, None),
            chain,
            appender: Appender::new(),
            cache: EntryCache::default(),
            reads: Reads::default(),
            hits: (0, 0),
            cursors: CursorSet::new(),
            cursor_log: CursorLog::absent(),
            discards: Discards::default(),
            trimming: Trimming::default(),
        }
    }

    /// What creates the log together with what it belongs to, in one transaction of the owner; not while it is open. With the
    /// transaction's version the log then needs no more than [`Self::begin_as_born`].
    pub fn birth(&self) -> Birth {
        let key = self.site.key.clone();
        let compare = std::iter::once(Compare::Absent { key: key.clone() }).chain(self.site.options.guard.clone());
        Birth { compare: compare.collect(), write: Write::Put { key, value: encode_json(&ManagedRecord::born()) } }
    }

    /// Opens a log whose [`Self::birth`] was committed with this version. The caller sends nothing of what
    /// [`Self::open`] asked for. [`ManagedEvent::Opened`] follows.
    ///
    /// # Panics
    /// When the log has gone on opening meanwhile.
    pub fn begin_as_born(&mut self, now: Now, version: u64, fx: &mut Fx) {
        let Phase::Opening(opening) = &self.phase else { panic!("a log is born before it is open") };
        let opened = opening.born();
        self.store = RecordStore::new(ManagedRecord::born(), Some(version));
        self.finish_open(now, Some(opened), fx);
        self.settle(now, fx);
    }

    // ---- inputs ----

    /// An answer of the metadata store. Answers that are not awaited (any more) are ignored.
    pub fn handle_meta(&mut self, now: Now, id: RequestId, response: MetaResponse, fx: &mut Fx) {
        let stored = self.store.handle_meta(now, id, &response);
        match &mut self.phase {
            Phase::Stopped(_) => return,
            Phase::Opening(opening) => {
                let (site, store) = (&mut self.site, &mut self.store);
                let outcome = match stored {
                    Some(StoreOutcome::Done { .. }) => opening.handle_stored(now, site, store, fx),
                    Some(failed) => Some(OpenOutcome::Failed(open_error(&failed, site))),
                    None => opening.handle_meta(now, id, response, site, store, fx),
                };
                self.finish_open(now, outcome, fx);
            }
            Phase::Open | Phase::Closing | Phase::Deleting(_) => match stored {
                Some(outcome) => self.handle_stored(now, outcome, fx),
                None => self.route_meta(now, id, response, fx),
            },
        }
        self.settle(now, fx);
    }

    /// To whichever ledger machine asked.
    fn route_meta(&mut self, now: Now, id: RequestId, response: MetaResponse, fx: &mut Fx) {
        let (reads, mut scope) = self.reading(now, fx);
        reads.handle_meta(id, &response, &mut scope);
        let outcome = metadata_outcome(response);
        if let Some(events) = self.appender.handle_meta(now, id, &outcome, fx) {
            return self.handle_writer(now, events, fx);
        }
        let log = self.cursor_log.handle_meta(now, id, outcome, &mut self.store, &self.site, fx);
        self.handle_log(now, log.unwrap_or_default(), fx);
    }

    /// A bookie's answer. Answers that are not awaited (any more) are ignored.
    pub fn handle_bookie(&mut self, now: Now, from: NodeId, response: BookieResponse, fx: &mut Fx) {
        match &mut self.phase {
            Phase::Stopped(_) => return,
            Phase::Opening(opening) => {
                let outcome = opening.handle_bookie(now, from, response, &mut self.site, &mut self.store, fx);
                self.finish_open(now, outcome, fx);
            }
            Phase::Open | Phase::Closing | Phase::Deleting(_) => match response {
                BookieResponse::Added { .. } => self.handle_added(now, from, &response, fx),
                BookieResponse::Read { .. } => {
                    let (reads, mut scope) = self.reading(now, fx);
                    reads.handle_bookie(from, response, &mut scope);
                    self.fit_cache();
                }
                BookieResponse::Deleted { id, .. } => self.discards.handle_deleted(id),
                BookieResponse::Lac { .. }
                | BookieResponse::Repaired { .. }
                | BookieResponse::Limbo { .. }
                | BookieResponse::Missing { .. } => (),
            },
        }
        self.settle(now, fx);
    }

    fn handle_added(&mut self, now: Now, from: NodeId, response: &BookieResponse, fx: &mut Fx) {
        if let Some(events) = self.appender.handle_added(now, from, response, fx) {
            return self.handle_writer(now, events, fx);
        }
        let log = self.cursor_log.handle_added(now, from, response, &mut self.store, &self.site, fx);
        self.handle_log(now, log.unwrap_or_default(), fx);
    }

    /// A fresh ledger id. One that does not stand above the log's ledgers is asked for again.
    pub fn handle_ledger_id(&mut self, now: Now, id: RequestId, ledger: LedgerId, fx: &mut Fx) {
        if self.is_running() && !self.appender.handle_ledger_id(id, ledger, &self.chain, &mut self.site, fx) {
            self.cursor_log.handle_ledger_id(id, ledger);
        }
        self.settle(now, fx);
    }

    /// When `on_deadline` must be called at the latest.
    pub fn next_deadline(&self) -> Option<Mono> {
        let own = match &self.phase {
            Phase::Stopped(_) => return None,
            Phase::Opening(opening) => opening.next_deadline(),
            Phase::Open | Phase::Closing | Phase::Deleting(_) => {
                let writers = earliest(self.appender.next_deadline(), self.cursor_log.next_deadline());
                let others = earliest(self.reads.next_deadline(), self.discards.next_deadline());
                earliest(earliest(writers, others), self.trimming.due())
            }
        };
        earliest(own, self.store.next_deadline())
    }

    /// Drives timeouts. Calling it early or twice does nothing.
    pub fn on_deadline(&mut self, now: Now, fx: &mut Fx) {
        match &mut self.phase {
            Phase::Stopped(_) => return,
            Phase::Opening(opening) => {
                let outcome = opening.on_deadline(now, &mut self.site, &mut self.store, fx);
                self.finish_open(now, outcome, fx);
            }
            Phase::Open | Phase::Closing | Phase::Deleting(_) => {
                if is_due(self.appender.next_deadline(), now) {
                    let events = self.appender.on_deadline(now, fx);
                    self.handle_writer(now, events, fx);
                }
                if is_due(self.cursor_log.next_deadline(), now) {
                    let outcomes = self.cursor_log.on_deadline(now, &mut self.store, &self.site, fx);
                    self.handle_log(now, outcomes, fx);
                }
                if is_due(self.reads.next_deadline(), now) {
                    let (reads, mut scope) = self.reading(now, fx);
                    reads.on_deadline(&mut scope);
                    self.fit_cache();
                }
                self.discards.on_deadline(now, &self.site, fx);
                self.trimming.look_if_due(now);
            }
        }
        self.store.on_deadline(now, &mut self.site, fx);
        self.settle(now, fx);
    }

    // ---- the end of every input ----

    /// Starts whatever the input made possible.
    fn settle(&mut self, now: Now, fx: &mut Fx) {
        if let Phase::Open | Phase::Closing = self.phase {
            let events = self.appender.flush(now, &mut self.site, &mut self.store, fx);
            self.handle_writer(now, events, fx);
        }
        if let Phase::Open | Phase::Closing = self.phase {
            let outcomes = self.cursor_log.pump(now, &mut self.site, &mut self.store, &mut self.cursors, fx);
            self.handle_log(now, outcomes, fx);
        }
        match self.phase {
            Phase::Open => self.trim(now, fx),
            Phase::Closing => self.advance_close(now, fx),
            Phase::Deleting(_) => self.advance_delete(fx),
            Phase::Opening(_) | Phase::Stopped(_) => (),
        }
        if !matches!(self.phase, Phase::Stopped(_)) {
            self.store.pump(now, &mut self.site, fx);
        }
    }

    /// The reads and what they need of the rest.
    fn reading<'a>(&'a mut self, now: Now, fx: &'a mut Fx) -> (&'a mut Reads, ReadScope<'a>) {
        let (chain, appender, cache) = (&self.chain, &self.appender, &self.cache);
        (&mut self.reads, ReadScope { now, site: &mut self.site, chain, appender, cache, fx })
    }

    // ---- outcomes ----

    fn finish_open(&mut self, now: Now, outcome: Option<OpenOutcome>, fx: &mut Fx) {
        match outcome {
            None => (),
            Some(OpenOutcome::Failed(error)) => {
                self.phase = Phase::Stopped("not opened");
                fx.push(ManagedEffect::Event(ManagedEvent::OpenFailed { error }));
            }
            Some(OpenOutcome::Opened(opened)) => {
                let Opened { chain, cursors, cursor_log, discards } = *opened;
                (self.chain, self.cursors, self.cursor_log) = (chain, cursors, cursor_log);
                self.phase = Phase::Open;
                let checkpoint = self.cursor_log.checkpoint().cloned();
                fx.push(ManagedEffect::Event(ManagedEvent::Opened { checkpoint }));
                for (ledger, bookies) in discards {
                    self.discards.start(now, ledger, bookies, &mut self.site, fx);
                }
                self.trimming.look();
            }
        }
    }

    fn handle_log(&mut self, now: Now, outcomes: Vec<LogOutcome>, fx: &mut Fx) {
        for outcome in outcomes {
            match outcome {
                LogOutcome::Durable(group) => {
                    self.cursors.set_durable(&group.marks);
                    self.look_after(&group);
                    for waiter in group.waiters {
                        fx.push(ManagedEffect::Event(match waiter {
                            Waiter::Cursor(ctx) => ManagedEvent::CursorDone { ctx, result: Ok(()) },
                            Waiter::Checkpoint(ctx) => ManagedEvent::Checkpointed { ctx },
                        }));
                    }
                }
                LogOutcome::Fenced => {
                    return self.fence("another owner has fenced the cursor ledger".to_owned(), fx);
                }
                LogOutcome::Discard { ledger, bookies } => {
                    self.discards.start(now, ledger, bookies, &mut self.site, fx);
                }
                LogOutcome::Closed => (),
            }
        }
    }

    /// Ends everything as unknown (I3): somebody else owns the log now.
    fn fence(&mut self, reason: String, fx: &mut Fx) {
        if let Phase::Stopped(_) = self.phase {
            return;
        }
        self.answer_unknown("fenced", fx);
        self.phase = Phase::Stopped("fenced");
        fx.push(ManagedEffect::Event(ManagedEvent::Fenced { reason }));
    }

    /// Answers every pending add, read and cursor operation: what became of it is unknown.
    fn answer_unknown(&mut self, state: &'static str, fx: &mut Fx) {
        let ctxs = self.appender.stop();
        if !ctxs.is_empty() {
            fx.push(ManagedEffect::Event(ManagedEvent::AddsUnknown { ctxs }));
        }
        for waiter in self.cursor_log.stop() {
            if let Waiter::Cursor(ctx) = waiter {
                let result = Err(CursorError::Unknown { state });
                fx.push(ManagedEffect::Event(ManagedEvent::CursorDone { ctx, result }));
            }
        }
        self.reads.stop(&self.chain, fx);
    }

    /// Whether procedures may run.
    fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Closing)
    }

    /// In words, for refusals.
    fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Opening(_) => "being opened",
            Phase::Open => "open",
            Phase::Closing => "being closed",
            Phase::Deleting(_) => "being deleted",
            Phase::Stopped(state) => state,
        }
    }
}

fn open_error(outcome: &StoreOutcome, site: &Site) -> OpenError {
    let name = site.key.clone();
    match outcome {
        StoreOutcome::Refused { reason } => OpenError::Metadata { name, reason: reason.clone() },
        StoreOutcome::Superseded | StoreOutcome::Done { .. } => OpenError::Superseded { name },
    }
}
