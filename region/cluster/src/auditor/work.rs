//! What the auditor does to one ledger: end it when nobody writes it any more, then repair it.
//!
//! **Not here**  The protocols (`ledger`), which ledger comes next and at what pace (`auditor`).

use super::AuditorEffect;
use super::page::encode;
use base::{Effects, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{
    LedgerEffect, LedgerRecovery, LedgerRepair, MetadataOutcome, Placement, RecoveryEvent, RecoveryOptions,
    RepairError, RepairEvent, RepairOptions, RepairWork, RequestIds, Seeded, VersionedMetadata,
};
use meta_api::{Compare, MetaRequest, Write};
use std::time::Duration;
use wire::bookie::BookieResponse;

#[derive(Debug)]
enum Machine {
    Ending(Box<LedgerRecovery>),
    Repairing(Box<LedgerRepair>),
}

/// How the work on one ledger ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nobody writes the ledger any more: its last fragment is settled.
    Closed,
    Repaired,
    Failed(Option<RepairError>),
}

/// The work on one ledger.
#[derive(Debug)]
pub(super) struct Work {
    key: String,
    machine: Machine,
    pub(super) ledger: LedgerId,
    started: Mono,
}

impl Work {
    pub(super) fn repair(
        ids: RequestIds,
        (key, ledger, metadata): (String, LedgerId, VersionedMetadata),
        work: RepairWork,
        options: RepairOptions,
        now: Now,
        fx: &mut Effects<AuditorEffect>,
    ) -> (Self, Option<Ended>) {
        let mut inner = Effects::new();
        let repair = LedgerRepair::start(ids, ledger, metadata, work, options, now, &mut inner);
        let work = Self { key, machine: Machine::Repairing(Box::new(repair)), ledger, started: now.mono };
        let ended = work.pass_on(inner, fx).map(repaired);
        (work, ended)
    }

    pub(super) fn end(
        ids: RequestIds,
        (key, ledger, metadata): (String, LedgerId, VersionedMetadata),
        placement: Placement,
        now: Now,
        fx: &mut Effects<AuditorEffect>,
    ) -> (Self, Option<Ended>) {
        let options = RecoveryOptions {
            request_timeout: Duration::from_secs(5),
            attempts_max: 2,
            window_entries: 256,
            read_bytes_max: 1 << 20,
            seeded: Seeded::NONE,
        };
        let mut inner = Effects::new();
        let recovery = LedgerRecovery::start(ids, ledger, metadata, options, placement, now, &mut inner);
        let work = Self { key, machine: Machine::Ending(Box::new(recovery)), ledger, started: now.mono };
        let ended = work.pass_on(inner, fx).map(closed);
        (work, ended)
    }

    pub(super) fn owns(&self, id: RequestId) -> bool {
        match &self.machine {
            Machine::Ending(recovery) => recovery.owns(id),
            Machine::Repairing(repair) => repair.owns(id),
        }
    }

    pub(super) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        outcome: MetadataOutcome,
        fx: &mut Effects<AuditorEffect>,
    ) -> Option<Ended> {
        match &mut self.machine {
            Machine::Ending(recovery) => {
                let mut inner = Effects::new();
                recovery.handle_metadata(now, id, outcome, &mut inner);
                self.pass_on(inner, fx).map(closed)
            }
            Machine::Repairing(repair) => {
                let mut inner = Effects::new();
                repair.handle_metadata(now, id, outcome, &mut inner);
                self.pass_on(inner, fx).map(repaired)
            }
        }
    }

    pub(super) fn handle_bookie(
        &mut self,
        now: Now,
        from: NodeId,
        response: BookieResponse,
        fx: &mut Effects<AuditorEffect>,
    ) -> Option<Ended> {
        match &mut self.machine {
            Machine::Ending(recovery) => {
                let mut inner = Effects::new();
                recovery.handle_bookie(now, from, response, &mut inner);
                self.pass_on(inner, fx).map(closed)
            }
            Machine::Repairing(repair) => {
                let mut inner = Effects::new();
                repair.handle_bookie(now, from, response, &mut inner);
                self.pass_on(inner, fx).map(repaired)
            }
        }
    }

    pub(super) fn on_deadline(&mut self, now: Now, fx: &mut Effects<AuditorEffect>) -> Option<Ended> {
        match &mut self.machine {
            Machine::Ending(recovery) => {
                let mut inner = Effects::new();
                recovery.on_deadline(now, &mut inner);
                self.pass_on(inner, fx).map(closed)
            }
            Machine::Repairing(repair) => {
                let mut inner = Effects::new();
                repair.on_deadline(now, &mut inner);
                self.pass_on(inner, fx).map(repaired)
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match &self.machine {
            Machine::Ending(recovery) => recovery.next_deadline(),
            Machine::Repairing(repair) => repair.next_deadline(),
        }
    }

    /// When what was read so far is paid for.
    pub(super) fn paid_at(&self) -> Mono {
        match &self.machine {
            Machine::Ending(_) => self.started,
            Machine::Repairing(repair) => repair.paid_at(),
        }
    }

    /// Copies that became durable so far, and their bytes.
    pub(super) fn copied(&self) -> (u64, u64) {
        match &self.machine {
            Machine::Ending(_) => (0, 0),
            Machine::Repairing(repair) => repair.copied(),
        }
    }

    /// Passes a machine's requests on; its event, when it has ended.
    fn pass_on<E>(&self, mut inner: Effects<LedgerEffect<E>>, fx: &mut Effects<AuditorEffect>) -> Option<E> {
        let mut ended = None;
        for effect in inner.drain() {
            let key = self.key.clone();
            match effect {
                LedgerEffect::Bookie { to, request } => fx.push(AuditorEffect::Bookie { to, request }),
                LedgerEffect::ReadMetadata { id, .. } => {
                    fx.push(AuditorEffect::Meta { id, request: MetaRequest::Get { key } });
                }
                LedgerEffect::CasMetadata { id, version, metadata, .. } => {
                    let compare = vec![Compare::Version { key: key.clone(), version }];
                    let writes = vec![Write::Put { key, value: encode(&metadata) }];
                    fx.push(AuditorEffect::Meta { id, request: MetaRequest::Txn { compare, writes } });
                }
                LedgerEffect::Event(event) => ended = Some(event),
            }
        }
        ended
    }
}

fn repaired(event: RepairEvent) -> Ended {
    match event {
        RepairEvent::Done { .. } | RepairEvent::Deleted => Ended::Repaired,
        RepairEvent::Failed(error) => Ended::Failed(Some(error)),
    }
}

fn closed(event: RecoveryEvent) -> Ended {
    match event {
        RecoveryEvent::Recovered { .. } => Ended::Closed,
        RecoveryEvent::Failed(_) => Ended::Failed(None),
    }
}
