//! Repairers: machines that replace bookies which they take for lost, two at once, killed and started again.
//!
//! **What**  In the fault phase a repairer may be wrong about who is lost. After it, bookies are really lost, with all that
//! they held, and what the ack quorum paid for must hold again: as many more may go, and everything is still read.
//!
//! **Invariants** checked
//! - R1  whenever a repair changes the metadata, every entry of the fragment has its ack quorum where it says (LedgerRepair I2).
//! - R2  a repair changes only bookies of one settled fragment (LedgerRepair I1, I3; `store`).
//! - R3  after the repair of lost bookies every entry has its ack quorum among those that are left.
//! - R4  in a healed world a repair ends.

use super::{Event, LEDGER, LIVENESS_US, World};
use crate::check::Violation;
use crate::plan::REPAIRERS;
use crate::store::repaired;
use base::{Effects, EntryId, NodeId, Now, OwnerId};
use ledger::{
    LedgerEffect, LedgerMetadata, LedgerRepair, Placement, RepairError, RepairEvent, RepairWork, RequestIds,
    UnderReplication,
};
use std::collections::BTreeSet;

/// One repairer.
#[derive(Debug, Default)]
pub(super) struct Repairer {
    pub(super) lost: BTreeSet<NodeId>,
    machine: Option<LedgerRepair>,
    lives: u32,
    pub(super) done: bool,
}

impl World {
    pub(super) fn plan_repairs(&mut self) {
        for ((at, lost), client) in std::mem::take(&mut self.plan.repairs).into_iter().zip(REPAIRERS..) {
            self.repairers.push(Repairer { lost: BTreeSet::from([lost]), ..Repairer::default() });
            self.push(at, Event::Repair { client });
        }
    }

    /// Starts a repairer on what the store has now.
    pub(super) fn start_repair(&mut self, client: usize) -> Result<(), Violation> {
        let (metadata, now, options) = (self.store.current.clone(), self.now(), self.plan.repair);
        let spare = self.bookies.iter().filter(|(_, bookie)| !bookie.gone).map(|(node, _)| *node).collect();
        let rng = self.plan.rng.fork("repair");
        let Some(repairer) = self.repairers.get_mut(client - REPAIRERS).filter(|repairer| !repairer.done) else {
            return Ok(());
        };
        repairer.lives += 1;
        let ids = RequestIds::new(OwnerId(u64::try_from(client).unwrap()), repairer.lives);
        let work = RepairWork::Replace { lost: repairer.lost.clone(), placement: Placement::new(spare, rng) };
        let mut fx = Effects::new();
        repairer.machine = Some(LedgerRepair::start(ids, LEDGER, metadata, work, options, now, &mut fx));
        self.repair_effects(client, fx)
    }

    /// The process of a repairer dies; another one starts over.
    pub(super) fn kill_repair(&mut self, client: usize) {
        let Some(repairer) = self.repairers.get_mut(client - REPAIRERS) else { return };
        if repairer.machine.take().is_some() && !repairer.done {
            let delay = 1 + self.plan.rng.below(5_000);
            self.push(self.now + delay, Event::Repair { client });
        }
    }

    pub(super) fn with_repair(
        &mut self,
        client: usize,
        act: impl FnOnce(&mut LedgerRepair, Now, &mut Effects<LedgerEffect<RepairEvent>>),
    ) -> Result<(), Violation> {
        let (mut fx, now) = (Effects::new(), self.now());
        if let Some(machine) = self.repairers.get_mut(client - REPAIRERS).and_then(|r| r.machine.as_mut()) {
            act(machine, now, &mut fx);
        }
        self.repair_effects(client, fx)
    }

    fn repair_effects(&mut self, client: usize, fx: Effects<LedgerEffect<RepairEvent>>) -> Result<(), Violation> {
        for event in self.execute(client, fx)? {
            match event {
                // Whoever is the only one left cannot be replaced; R3 sees it where it matters.
                RepairEvent::Done { .. } | RepairEvent::Failed(RepairError::NoReplacement { .. }) => {
                    self.repairers[client - REPAIRERS].machine = None;
                    self.repairers[client - REPAIRERS].done = true;
                }
                RepairEvent::Failed(_) => {
                    self.repairers[client - REPAIRERS].machine = None;
                    self.push(self.now + 50_000, Event::Repair { client });
                }
                RepairEvent::Deleted => return Err("R2: nobody deletes the ledger".to_owned()),
            }
        }
        let deadline = self.repairers[client - REPAIRERS].machine.as_ref().and_then(LedgerRepair::next_deadline);
        self.schedule_tick(client, deadline)
    }

    /// R1, after a step of the metadata.
    pub(super) fn check_repaired(&self, before: &LedgerMetadata) -> Result<(), Violation> {
        let after = &self.store.current.metadata;
        let Some((old, parts)) = repaired(before, after) else { return Ok(()) };
        let settled = parts.iter().filter(|part| *part != old && before.settled_end(old.first_entry).is_some());
        for part in settled {
            if let Some(end) = after.settled_end(part.first_entry) {
                self.check_copies(after, part.first_entry.0..=end.previous().0)?;
            }
        }
        Ok(())
    }

    /// Bookies are lost for good, repairers work and die; then as many more are lost.
    pub(super) fn lose_and_repair(&mut self) -> Result<(), Violation> {
        let (replication, end) = (self.plan.replication, self.store.closed_at().unwrap_or(EntryId::NONE));
        let losses = u64::from(replication.ack_quorum() - 1);
        let enough = self.plan.bookies >= u64::from(replication.ensemble()) + losses;
        if losses == 0 || !enough || self.plan.wipes {
            return Ok(());
        }
        let lost = self.lose_bookies(losses);
        for client in REPAIRERS..REPAIRERS + 2 {
            let index = client - REPAIRERS;
            let lives = self.repairers.get(index).map_or(0, |repairer| repairer.lives);
            self.repairers.resize_with(self.repairers.len().max(index + 1), Repairer::default);
            self.repairers[index] = Repairer { lost: lost.clone(), lives, ..Repairer::default() };
            let (start, kill) = (self.plan.rng.below(3_000), self.plan.rng.below(30_000));
            self.push(self.now + start, Event::Repair { client });
            self.push(self.now + kill, Event::KillRepair { client });
        }
        let give_up = self.now + LIVENESS_US;
        while !self.repairers.iter().all(|repairer| repairer.done) {
            self.step(give_up).map_err(|violation| format!("R4: {violation}"))?;
        }
        let metadata = self.store.current.metadata.clone();
        let available = self.bookies.keys().filter(|node| !lost.contains(node)).copied().collect();
        let lacking = UnderReplication::find([(LEDGER, &metadata)], &available);
        if lacking != UnderReplication::default() {
            return Err(format!("R3: after the repair {lacking:?}"));
        }
        self.checker
            .check_copies(&metadata, 0..=end.0, &self.bookies)
            .map_err(|violation| format!("R3: {violation}"))?;
        self.lose_bookies(losses);
        Ok(())
    }

    fn lose_bookies(&mut self, count: u64) -> BTreeSet<NodeId> {
        let mut lost = BTreeSet::new();
        for _ in 0..count {
            let left: Vec<NodeId> = self.bookies.iter().filter(|(_, bookie)| !bookie.gone).map(|(n, _)| *n).collect();
            let node = *self.plan.rng.pick(&left).unwrap();
            self.bookies.get_mut(&node).unwrap().lose();
            lost.insert(node);
        }
        lost
    }
}
