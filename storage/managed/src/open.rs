//! Opens a managed ledger: takes over from whoever had it, ends what was being written, rebuilds the cursors.
//!
//! **States**  Reading (the record) → TakingOver (raise the epoch) → Recovering (every ledger that may have a writer) →
//! Ending (their ends go into the record) → Replaying (the cursor ledger) → done.
//!
//! **Invariants**
//! - I1  the epoch is raised before anything is recovered: the old owner can no longer start a ledger that we do not
//!   know; recovery then stops it from writing to those that we do know.
//! - I2  every ledger of the record that is not marked closed is recovered, and so is the cursor ledger.
//! - I3  a crash between any two steps leaves a state that the next open handles: each step is one compare-and-put or
//!   may be repeated.
//!
//! **Not here**  Fencing and recovery of one ledger (`ledger`), reading the cursor ledger (`replay`).
//!
//! **Tests**  `machine` property tests: crash and takeover at every step.

use crate::chain::Chain;
use crate::cursor_log::CursorLog;
use crate::cursor_set::CursorSet;
use crate::record::{LedgerRecord, ManagedRecord};
use crate::recover::{Recovery, RecoveryOutcome, Role};
use crate::replay::{Replay, ReplayOutcome};
use crate::site::{Fx, META_PAUSE, META_TIMEOUT, Site, get, is_due};
use crate::store::{Change, RecordStore};
use crate::{OpenError, OpenMode};
use base::{LedgerId, Mono, NodeId, Now, RequestId, earliest};
use ledger::LedgerMetadata;
use meta_api::{MetaResponse, Versioned};
use wire::bookie::BookieResponse;

/// How often the record is asked for before the open fails.
const ATTEMPTS_MAX: u32 = 20;

#[derive(Debug)]
enum Step {
    /// `id` is `None` while pausing.
    Reading {
        id: Option<RequestId>,
        due: Mono,
        attempts: u32,
    },
    TakingOver,
    Recovering,
    Ending,
    Replaying(Box<Replay>),
}

/// How the open ended.
#[derive(Debug)]
pub(crate) enum OpenOutcome {
    Opened(Box<Opened>),
    Failed(OpenError),
}

/// A log that is ready.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) chain: Chain,
    pub(crate) cursors: CursorSet,
    pub(crate) cursor_log: CursorLog,
    /// Ledgers that left the record.
    pub(crate) discards: Vec<(LedgerId, Vec<NodeId>)>,
}

/// The procedure.
#[derive(Debug)]
pub(crate) struct Opening {
    mode: OpenMode,
    step: Step,
    recoveries: Vec<Recovery>,
    discards: Vec<(LedgerId, Vec<NodeId>)>,
    /// The recovered cursor ledger.
    cursors: Option<(LedgerId, LedgerMetadata)>,
}

impl Opening {
    /// Asks for the record.
    pub(crate) fn start(mode: OpenMode, now: Now, site: &mut Site, fx: &mut Fx) -> Self {
        let step = ask(1, now, site, fx);
        Self { mode, step, recoveries: Vec::new(), discards: Vec::new(), cursors: None }
    }

    /// How a log opens that was created just now, instead of all other steps.
    ///
    /// # Panics
    /// When other steps were taken.
    pub(crate) fn born(&self) -> OpenOutcome {
        assert!(matches!(self.step, Step::Reading { .. }), "a log is born before anything was read of it");
        let (chain, discards) = (Chain::new(&ManagedRecord::born()), Vec::new());
        let (cursors, cursor_log) = (CursorSet::new(), CursorLog::absent());
        OpenOutcome::Opened(Box::new(Opened { chain, cursors, cursor_log, discards }))
    }

    // ---- inputs ----

    /// An answer of the metadata store to the open itself or to one of its recoveries.
    pub(crate) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        response: MetaResponse,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        if let Step::Reading { id: Some(asked), attempts, .. } = self.step
            && asked == id
        {
            return self.handle_record(now, response, attempts, site, store);
        }
        let index = self.recoveries.iter().position(|recovery| recovery.awaits(id))?;
        let outcome = self.recoveries[index].handle_meta(now, id, response, site, fx);
        self.handle_recovery(now, index, outcome, site, store, fx)
    }

    /// The record, or nothing, or no answer.
    fn handle_record(
        &mut self,
        now: Now,
        response: MetaResponse,
        attempts: u32,
        site: &Site,
        store: &mut RecordStore,
    ) -> Option<OpenOutcome> {
        let name = site.key.clone();
        match response {
            MetaResponse::Value(None) if self.mode == OpenMode::MustExist => {
                return Some(OpenOutcome::Failed(OpenError::NotFound { name }));
            }
            MetaResponse::Value(None) => *store = RecordStore::new(ManagedRecord::empty(), None),
            MetaResponse::Value(Some(Versioned { value, version })) => match ManagedRecord::decode(&value) {
                Ok(record) => *store = RecordStore::new(record, Some(version)),
                Err(error) => {
                    return Some(OpenOutcome::Failed(OpenError::Damaged { name, reason: error.to_string() }));
                }
            },
            MetaResponse::Unavailable { reason } if attempts >= ATTEMPTS_MAX => {
                return Some(OpenOutcome::Failed(OpenError::Metadata { name, reason }));
            }
            MetaResponse::Range { .. }
            | MetaResponse::Committed { .. }
            | MetaResponse::Conflict { .. }
            | MetaResponse::Reserved { .. }
            | MetaResponse::Refused { .. }
            | MetaResponse::Unavailable { .. } => {
                self.step = Step::Reading { id: None, due: now.mono + META_PAUSE, attempts };
                return None;
            }
        }
        store.change(Change::TakeOver);
        self.step = Step::TakingOver;
        None
    }

    /// The store's transaction committed.
    pub(crate) fn handle_stored(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        match self.step {
            Step::TakingOver => {
                let record = store.record();
                let unclosed = record.ledgers.iter().filter(|ledger| ledger.closed_ms.is_none());
                let roles = unclosed
                    .map(|ledger| (ledger.id, Role::Message))
                    .chain(record.cursor_ledger.map(|ledger| (ledger, Role::Cursors)))
                    .chain(record.cursor_ledger_next.map(|ledger| (ledger, Role::Rubbish)));
                self.recoveries = roles.map(|(ledger, role)| Recovery::start(ledger, role, now, site, fx)).collect();
                self.step = Step::Recovering;
                self.check_recovered(now, site, store, fx)
            }
            Step::Ending => self.replay(now, site, store, fx),
            Step::Reading { .. } | Step::Recovering | Step::Replaying(_) => None,
        }
    }

    pub(crate) fn handle_bookie(
        &mut self,
        now: Now,
        from: NodeId,
        response: BookieResponse,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        if let Step::Replaying(replay) = &mut self.step {
            let outcome = replay.handle_bookie(now, from, response, fx);
            return self.handle_replay(outcome, site);
        }
        let index = self.recoveries.iter().position(|recovery| recovery.awaits(response.id()))?;
        let outcome = self.recoveries[index].handle_bookie(now, from, response, fx);
        self.handle_recovery(now, index, outcome, site, store, fx)
    }

    /// Other bookies take entries from now on.
    pub(crate) fn set_available(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        for index in 0..self.recoveries.len() {
            let outcome = self.recoveries[index].set_available(now, &site.bookies, fx);
            let done = self.handle_recovery(now, index, outcome, site, store, fx);
            if done.is_some() || self.recoveries.is_empty() {
                return done;
            }
        }
        None
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let own = match &self.step {
            Step::Reading { due, .. } => Some(*due),
            Step::Replaying(replay) => replay.next_deadline(),
            Step::TakingOver | Step::Recovering | Step::Ending => None,
        };
        self.recoveries.iter().fold(own, |due, recovery| earliest(due, recovery.next_deadline()))
    }

    pub(crate) fn on_deadline(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        match &mut self.step {
            Step::Reading { due, attempts, .. } => {
                if is_due(Some(*due), now) {
                    let attempts = *attempts + 1;
                    if attempts > ATTEMPTS_MAX {
                        let (name, reason) = (site.key.clone(), "no answer".to_owned());
                        return Some(OpenOutcome::Failed(OpenError::Metadata { name, reason }));
                    }
                    self.step = ask(attempts, now, site, fx);
                }
                None
            }
            Step::Replaying(replay) => {
                let outcome = replay.on_deadline(now, fx);
                self.handle_replay(outcome, site)
            }
            Step::TakingOver | Step::Recovering | Step::Ending => {
                for index in 0..self.recoveries.len() {
                    let outcome = self.recoveries[index].on_deadline(now, site, fx);
                    let done = self.handle_recovery(now, index, outcome, site, store, fx);
                    if done.is_some() || self.recoveries.is_empty() {
                        return done;
                    }
                }
                None
            }
        }
    }

    // ---- steps ----

    fn handle_recovery(
        &mut self,
        now: Now,
        index: usize,
        outcome: RecoveryOutcome,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        match outcome {
            RecoveryOutcome::Pending => None,
            RecoveryOutcome::Done => self.check_recovered(now, site, store, fx),
            RecoveryOutcome::Failed { reason } => {
                let (name, ledger) = (site.key.clone(), self.recoveries[index].ledger());
                Some(OpenOutcome::Failed(OpenError::Recovery { name, ledger, reason }))
            }
            RecoveryOutcome::Damaged { reason } => {
                Some(OpenOutcome::Failed(OpenError::Damaged { name: site.key.clone(), reason }))
            }
        }
    }

    /// Once all are recovered (I2), puts their ends into the record.
    fn check_recovered(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Option<OpenOutcome> {
        if !self.recoveries.iter().all(Recovery::is_done) {
            return None;
        }
        for recovery in std::mem::take(&mut self.recoveries) {
            let (ledger, role, metadata) = recovery.finish();
            match (role, metadata) {
                (Role::Message, Some(metadata)) => {
                    store.change(Change::EndLedger { record: self.end_of(ledger, &metadata, now) })
                }
                (Role::Cursors, Some(metadata)) => self.cursors = Some((ledger, metadata)),
                (Role::Rubbish, metadata) => {
                    let bookies = metadata.iter().flat_map(|metadata| metadata.bookies()).collect();
                    self.discards.push((ledger, bookies));
                    store.change(Change::DropNextCursorLedger);
                }
                (Role::Message | Role::Cursors, None) => (),
            }
        }
        if store.is_idle() {
            return self.replay(now, site, store, fx);
        }
        self.step = Step::Ending;
        None
    }

    fn end_of(&mut self, ledger: LedgerId, metadata: &LedgerMetadata, now: Now) -> LedgerRecord {
        let (entries, bytes) = metadata.closed().map_or((0, 0), |(last, length)| (last.count(), length));
        let bookies: Vec<NodeId> = metadata.bookies().into_iter().collect();
        if entries == 0 {
            self.discards.push((ledger, bookies.clone()));
        }
        LedgerRecord { id: ledger, entries, bytes, closed_ms: Some(now.wall_ms), bookies }
    }

    /// Reads the cursor ledger, if there is one with content.
    fn replay(&mut self, now: Now, site: &mut Site, store: &RecordStore, fx: &mut Fx) -> Option<OpenOutcome> {
        let chain = Chain::new(store.record());
        let Some((ledger, metadata)) = self.cursors.take() else {
            return Some(self.opened(chain, CursorSet::new(), CursorLog::absent()));
        };
        let (replay, outcome) = Replay::start(ledger, metadata, chain, now, site, fx);
        self.step = Step::Replaying(Box::new(replay));
        self.handle_replay(outcome, site)
    }

    fn handle_replay(&mut self, outcome: ReplayOutcome, site: &Site) -> Option<OpenOutcome> {
        let name = site.key.clone();
        match outcome {
            ReplayOutcome::Pending => None,
            ReplayOutcome::Failed { ledger, reason } => {
                Some(OpenOutcome::Failed(OpenError::Recovery { name, ledger, reason }))
            }
            ReplayOutcome::Damaged { reason } => Some(OpenOutcome::Failed(OpenError::Damaged { name, reason })),
            ReplayOutcome::Done => {
                let Step::Replaying(replay) = std::mem::replace(&mut self.step, Step::Ending) else { return None };
                let (ledger, bookies, chain, cursors, checkpoint) = replay.finish();
                Some(self.opened(chain, cursors, CursorLog::sealed(ledger, bookies, checkpoint)))
            }
        }
    }

    fn opened(&mut self, chain: Chain, cursors: CursorSet, cursor_log: CursorLog) -> OpenOutcome {
        let discards = std::mem::take(&mut self.discards);
        OpenOutcome::Opened(Box::new(Opened { chain, cursors, cursor_log, discards }))
    }
}

/// Asks for the record.
fn ask(attempts: u32, now: Now, site: &mut Site, fx: &mut Fx) -> Step {
    let id = site.request_id();
    fx.push(get(id, site.key.clone()));
    Step::Reading { id: Some(id), due: now.mono + META_TIMEOUT, attempts }
}
