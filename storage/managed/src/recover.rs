//! One ledger that an open must end: reads its metadata, then recovers it.
//!
//! **States**  Reading → Running → Done. Rubbish (a cursor ledger that was never used) is only read, for its bookies.
//!
//! **Not here**  The recovery itself (`ledger`).

use crate::site::{Fx, META_PAUSE, META_TIMEOUT, Site, decode_ledger, get, is_due, metadata_outcome, relay_all};
use base::{Effects, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{LedgerMetadata, LedgerRecovery, RecoveryEvent};
use meta_api::MetaResponse;
use wire::bookie::BookieResponse;

/// How often the metadata is asked for.
const ATTEMPTS_MAX: u32 = 20;

/// What the ledger is to the managed ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Message,
    Cursors,
    Rubbish,
}

#[derive(Debug)]
enum Step {
    /// `id` is `None` while pausing.
    Reading {
        id: Option<RequestId>,
        due: Mono,
        attempts: u32,
    },
    Running(Box<LedgerRecovery>),
    /// `None`: the metadata is gone, which only rubbish may be.
    Done(Option<LedgerMetadata>),
}

/// What a step led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RecoveryOutcome {
    Pending,
    Done,
    Failed { reason: String },
    Damaged { reason: String },
}

/// The procedure for one ledger.
#[derive(Debug)]
pub(crate) struct Recovery {
    ledger: LedgerId,
    role: Role,
    step: Step,
}

impl Recovery {
    pub(crate) fn start(ledger: LedgerId, role: Role, now: Now, site: &mut Site, fx: &mut Fx) -> Self {
        Self { ledger, role, step: ask(ledger, 1, now, site, fx) }
    }

    /// Whether an answer with this id belongs here.
    pub(crate) fn awaits(&self, id: RequestId) -> bool {
        match &self.step {
            Step::Reading { id: asked, .. } => *asked == Some(id),
            Step::Running(recovery) => recovery.owns(id),
            Step::Done(_) => false,
        }
    }

    pub(crate) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        response: MetaResponse,
        site: &mut Site,
        fx: &mut Fx,
    ) -> RecoveryOutcome {
        match &mut self.step {
            Step::Reading { attempts, .. } => {
                let attempts = *attempts;
                self.handle_metadata(now, response, attempts, site, fx)
            }
            Step::Running(recovery) => {
                let mut inner = Effects::new();
                recovery.handle_metadata(now, id, metadata_outcome(response), &mut inner);
                self.handle_events(relay_all(&mut inner, fx))
            }
            Step::Done(_) => RecoveryOutcome::Pending,
        }
    }

    fn handle_metadata(
        &mut self,
        now: Now,
        response: MetaResponse,
        attempts: u32,
        site: &mut Site,
        fx: &mut Fx,
    ) -> RecoveryOutcome {
        let ledger = self.ledger;
        match response {
            MetaResponse::Value(None) if self.role == Role::Rubbish => self.done(None),
            MetaResponse::Value(None) => {
                RecoveryOutcome::Damaged { reason: format!("the record names ledger {ledger}, which does not exist") }
            }
            MetaResponse::Value(Some(value)) => match decode_ledger(&value) {
                None => RecoveryOutcome::Damaged { reason: format!("the metadata of ledger {ledger} is damaged") },
                Some(current) if self.role == Role::Rubbish => self.done(Some(current.metadata)),
                Some(current) => {
                    let mut inner = Effects::new();
                    let (ids, options, placement) = (site.machine_ids(), site.recovery_options(), site.placement());
                    let recovery = LedgerRecovery::start(ids, ledger, current, options, placement, now, &mut inner);
                    self.step = Step::Running(Box::new(recovery));
                    self.handle_events(relay_all(&mut inner, fx))
                }
            },
            MetaResponse::Unavailable { reason } if attempts >= ATTEMPTS_MAX => RecoveryOutcome::Failed { reason },
            MetaResponse::Range { .. }
            | MetaResponse::Committed { .. }
            | MetaResponse::Conflict { .. }
            | MetaResponse::Reserved { .. }
            | MetaResponse::Refused { .. }
            | MetaResponse::Unavailable { .. } => {
                self.step = Step::Reading { id: None, due: now.mono + META_PAUSE, attempts };
                RecoveryOutcome::Pending
            }
        }
    }

    fn done(&mut self, metadata: Option<LedgerMetadata>) -> RecoveryOutcome {
        self.step = Step::Done(metadata);
        RecoveryOutcome::Done
    }

    pub(crate) fn handle_bookie(
        &mut self,
        now: Now,
        from: NodeId,
        response: BookieResponse,
        fx: &mut Fx,
    ) -> RecoveryOutcome {
        let Step::Running(recovery) = &mut self.step else { return RecoveryOutcome::Pending };
        let mut inner = Effects::new();
        recovery.handle_bookie(now, from, response, &mut inner);
        self.handle_events(relay_all(&mut inner, fx))
    }

    /// The bookies that take what is recovered from now on.
    pub(crate) fn set_available(&mut self, now: Now, bookies: &[NodeId], fx: &mut Fx) -> RecoveryOutcome {
        let Step::Running(recovery) = &mut self.step else { return RecoveryOutcome::Pending };
        let mut inner = Effects::new();
        recovery.set_available(now, bookies.to_vec(), &mut inner);
        self.handle_events(relay_all(&mut inner, fx))
    }

    fn handle_events(&mut self, events: Vec<RecoveryEvent>) -> RecoveryOutcome {
        match (events.into_iter().next_back(), &self.step) {
            (Some(RecoveryEvent::Failed(error)), _) => RecoveryOutcome::Failed { reason: error.to_string() },
            (Some(RecoveryEvent::Recovered { .. }), Step::Running(recovery)) => {
                let metadata = recovery.metadata().clone();
                self.done(Some(metadata))
            }
            (Some(RecoveryEvent::Recovered { .. }) | None, _) => RecoveryOutcome::Pending,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        match &self.step {
            Step::Reading { due, .. } => Some(*due),
            Step::Running(recovery) => recovery.next_deadline(),
            Step::Done(_) => None,
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Now, site: &mut Site, fx: &mut Fx) -> RecoveryOutcome {
        match &mut self.step {
            Step::Reading { due, attempts, .. } if is_due(Some(*due), now) => {
                let attempts = *attempts + 1;
                if attempts > ATTEMPTS_MAX {
                    return RecoveryOutcome::Failed { reason: "the metadata store does not answer".to_owned() };
                }
                self.step = ask(self.ledger, attempts, now, site, fx);
                RecoveryOutcome::Pending
            }
            Step::Running(recovery) => {
                let mut inner = Effects::new();
                recovery.on_deadline(now, &mut inner);
                self.handle_events(relay_all(&mut inner, fx))
            }
            Step::Reading { .. } | Step::Done(_) => RecoveryOutcome::Pending,
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self.step, Step::Done(_))
    }

    pub(crate) fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The closed ledger's metadata.
    pub(crate) fn finish(self) -> (LedgerId, Role, Option<LedgerMetadata>) {
        match self.step {
            Step::Done(metadata) => (self.ledger, self.role, metadata),
            Step::Reading { .. } | Step::Running(_) => (self.ledger, self.role, None),
        }
    }
}

fn ask(ledger: LedgerId, attempts: u32, now: Now, site: &mut Site, fx: &mut Fx) -> Step {
    let id = site.request_id();
    fx.push(get(id, ledger.key()));
    Step::Reading { id: Some(id), due: now.mono + META_TIMEOUT, attempts }
}
