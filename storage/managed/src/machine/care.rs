//! Trimming, rolling over, closing, deleting: what keeps a log tidy, and what the store's commits mean to it.

use super::{ManagedLedger, Phase};
use crate::pending_ops::Group;
use crate::site::{Fx, is_due};
use crate::store::{Change, StoreOutcome};
use crate::trim::{CurrentLedger, Floor, plan};
use crate::{CheckpointRule, DeleteError, ManagedEffect, ManagedEvent, Retention, SeededBug};
use base::{LedgerId, Mono, NodeId, Now, Position, earliest};
use ledger::{ReplicationConfig, Zones};
use std::time::Duration;

/// Most ledgers that are removed together with the record; more are trimmed away first.
const REMOVED_TOGETHER_MAX: usize = 500;

/// Where trimming stands.
#[derive(Debug, Default)]
pub(super) struct Trimming {
    /// Something happened that may let ledgers go.
    look: bool,
    due: Option<Mono>,
    /// A trim is being committed: the ledgers that go with it.
    under_way: Option<Vec<(LedgerId, Vec<NodeId>)>>,
}

impl Trimming {
    pub(super) fn look(&mut self) {
        self.look = true;
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.due
    }

    pub(super) fn look_if_due(&mut self, now: Now) {
        if is_due(self.due, now) {
            (self.look, self.due) = (true, None);
        }
    }
}

impl ManagedLedger {
    /// New retention; trims at once what it no longer covers.
    pub fn set_retention(&mut self, now: Now, retention: Retention, fx: &mut Fx) {
        self.site.options.retention = retention;
        self.trimming.look();
        self.settle(now, fx);
    }

    /// New rule for checkpoints; trims at once what it no longer covers.
    pub fn set_checkpoint_rule(&mut self, now: Now, rule: CheckpointRule, fx: &mut Fx) {
        self.site.options.checkpoint = rule;
        self.trimming.look();
        self.settle(now, fx);
    }

    /// How the ledgers that are created from now on are replicated.
    pub fn set_replication(&mut self, replication: ReplicationConfig) {
        self.site.options.replication = replication;
    }

    /// The nodes that may take new ledgers and new copies.
    pub fn set_bookies(&mut self, now: Now, bookies: Vec<NodeId>, fx: &mut Fx) {
        self.site.bookies = bookies;
        if let Phase::Opening(opening) = &mut self.phase {
            let outcome = opening.set_available(now, &mut self.site, &mut self.store, fx);
            self.finish_open(now, outcome, fx);
        } else if self.is_running() {
            let events = self.appender.set_available(now, &self.site, fx);
            self.handle_writer(now, events, fx);
            let outcomes = self.cursor_log.set_available(now, &mut self.store, &self.site, fx);
            self.handle_log(now, outcomes, fx);
        }
        self.settle(now, fx);
    }

    /// In which zones the nodes stand, for every choice of them from the next [`ManagedLedger::set_bookies`] on.
    pub fn set_zones(&mut self, zones: Zones) {
        self.site.zones = zones;
    }

    /// Ends the ledger being written, if there is one, so that trimming can reach all of it.
    pub fn roll_over(&mut self, now: Now, fx: &mut Fx) {
        if self.is_open() {
            let events = self.appender.roll_over(now, fx);
            self.handle_writer(now, events, fx);
            self.settle(now, fx);
        }
    }

    // ---- trimming ----

    /// Looks for ledgers to trim after these operations became durable, if they can have freed one.
    pub(super) fn look_after(&mut self, group: &Group) {
        let oldest = self.chain.ledgers().next().and_then(|oldest| self.chain.last_of(oldest.ledger));
        let frees = |mark: Position| oldest.is_some_and(|end| mark >= end);
        let marks = group.marks.iter().map(|(_, mark)| *mark);
        self.trimming.look |=
            group.checkpoint.is_some_and(frees) || marks.into_iter().any(|mark| mark.is_none_or(frees));
    }

    fn floor(&self) -> Floor {
        let seeded = self.site.options.seeded;
        if seeded.has(SeededBug::TrimIgnoresCursors) {
            return Floor::Nothing;
        }
        let cursors = if seeded.has(SeededBug::TrimBeforeDurable) {
            self.cursors.durable().map(|(_, cursor)| cursor.mark_delete()).min()
        } else {
            self.cursors.floor()
        };
        let checkpoint = match self.site.options.checkpoint {
            CheckpointRule::Unused => None,
            CheckpointRule::Required => Some(self.cursor_log.checkpoint_floor()),
        };
        match cursors.into_iter().chain(checkpoint).min() {
            Some(floor) => Floor::After(floor),
            None => Floor::Nothing,
        }
    }

    /// Starts a trim, or ends the current ledger, when the plan says so.
    pub(super) fn trim(&mut self, now: Now, fx: &mut Fx) {
        if !self.trimming.look || self.trimming.under_way.is_some() {
            return;
        }
        self.trimming.look = false;
        let options = &self.site.options;
        let retentions = [options.retention, options.unsubscribed];
        // Without a durable cursor both count.
        let counting = if self.cursors.floor().is_some() { &retentions[..1] } else { &retentions[..] };
        let plan = plan(&self.chain, self.floor(), counting, options, now, self.appender.opened());
        self.trimming.due = plan.due;
        if let Some(last) = plan.up_to {
            let goes = self.store.record().ledgers.iter().filter(|ledger| ledger.id <= last.ledger);
            self.trimming.under_way = Some(goes.map(|ledger| (ledger.id, ledger.bookies.clone())).collect());
            self.store.change(Change::Trim { last });
            self.leave_behind(now, last, fx);
        }
        if plan.current == CurrentLedger::RollOver {
            let events = self.appender.roll_over(now, fx);
            self.handle_writer(now, events, fx);
        }
    }

    /// Gives ledgers up in memory. That comes before the commit, so that no cursor is created or reset into them in
    /// between; if the commit never happens the next owner finds them again.
    fn leave_behind(&mut self, now: Now, last: Position, fx: &mut Fx) {
        self.chain.trim(last.ledger);
        self.cursors.skip_trimmed(&self.chain);
        let (reads, mut scope) = self.reading(now, fx);
        reads.handle_trimmed(&mut scope);
        let first = self.chain.first();
        fx.push(ManagedEffect::Event(ManagedEvent::Trimmed { first }));
    }

    fn handle_trimmed(&mut self, now: Now, fx: &mut Fx) {
        for (ledger, bookies) in self.trimming.under_way.take().unwrap_or_default() {
            self.discards.start(now, ledger, bookies, &mut self.site, fx);
        }
        self.trimming.look();
    }

    // ---- commits of the record ----

    pub(super) fn handle_stored(&mut self, now: Now, outcome: StoreOutcome, fx: &mut Fx) {
        match (outcome, &self.phase) {
            (StoreOutcome::Done { changes, version }, _) => {
                changes.into_iter().for_each(|change| self.handle_change(now, change, version, fx));
            }
            (StoreOutcome::Superseded, Phase::Deleting(_)) => self.finish_delete(Err(DeleteError::Superseded), fx),
            (StoreOutcome::Refused { reason }, Phase::Deleting(_)) => {
                self.finish_delete(Err(DeleteError::Metadata { reason }), fx);
            }
            (StoreOutcome::Superseded, _) => self.fence("another owner has taken the record over".to_owned(), fx),
            (StoreOutcome::Refused { reason }, _) => self.fence(format!("the metadata store refuses: {reason}"), fx),
        }
    }

    fn handle_change(&mut self, now: Now, change: Change, version: u64, fx: &mut Fx) {
        if let Phase::Deleting(doomed) = &mut self.phase {
            match change {
                Change::StartLedger { ledger, metadata }
                | Change::FirstCursorLedger { ledger, metadata }
                | Change::NextCursorLedger { ledger, metadata } => {
                    doomed.push((ledger, metadata.bookies().into_iter().collect()));
                }
                Change::Remove => {
                    for (ledger, bookies) in std::mem::take(doomed) {
                        self.discards.start(now, ledger, bookies, &mut self.site, fx);
                    }
                }
                Change::TakeOver
                | Change::EndLedger { .. }
                | Change::SwitchCursorLedger
                | Change::DropNextCursorLedger
                | Change::Trim { .. } => (),
            }
            return;
        }
        match change {
            Change::StartLedger { ledger, metadata } => {
                self.chain.start(ledger);
                self.appender.handle_started(now, ledger, metadata, version, &mut self.site);
                // From now on the ledger ages.
                let age = self.site.options.consumed_age_min.min(self.site.options.ledger_age_max);
                self.trimming.due = earliest(self.trimming.due, Some(now.mono + age.max(Duration::from_millis(1))));
            }
            Change::EndLedger { record } => {
                self.chain.end(record.id, record.closed_ms.unwrap_or(now.wall_ms));
                if record.entries == 0 {
                    self.discards.start(now, record.id, record.bookies, &mut self.site, fx);
                }
                self.trimming.look();
            }
            Change::FirstCursorLedger { ledger, metadata } | Change::NextCursorLedger { ledger, metadata } => {
                self.cursor_log.handle_registered(ledger, metadata, version, &mut self.site);
            }
            Change::SwitchCursorLedger => {
                let outcomes = self.cursor_log.handle_switched();
                self.handle_log(now, outcomes, fx);
            }
            Change::Trim { .. } => self.handle_trimmed(now, fx),
            Change::TakeOver | Change::DropNextCursorLedger | Change::Remove => (),
        }
    }

    // ---- closing ----

    /// Finishes pending work and stops; [`ManagedEvent::Closed`] follows. Pending reads end with an error.
    pub fn close(&mut self, now: Now, fx: &mut Fx) {
        match self.phase {
            Phase::Open => {
                self.reads.stop(&self.chain, fx);
                self.phase = Phase::Closing;
                self.settle(now, fx);
            }
            Phase::Opening(_) | Phase::Stopped(_) => self.finish_close(fx),
            Phase::Closing | Phase::Deleting(_) => (),
        }
    }

    pub(super) fn advance_close(&mut self, now: Now, fx: &mut Fx) {
        if self.appender.may_close() {
            let events = self.appender.roll_over(now, fx);
            self.handle_writer(now, events, fx);
        }
        if self.is_running() && self.cursor_log.close(now, fx) && self.appender.is_idle() && self.store.is_idle() {
            self.finish_close(fx);
        }
    }

    fn finish_close(&mut self, fx: &mut Fx) {
        self.phase = Phase::Stopped("closed");
        fx.push(ManagedEffect::Event(ManagedEvent::Closed));
    }

    // ---- deleting ----

    /// Removes the managed ledger: metadata first, then the copies. [`ManagedEvent::Deleted`] follows; adds, reads and
    /// cursor operations pending now end as unknown.
    pub fn delete(&mut self, now: Now, fx: &mut Fx) {
        if !self.is_running() {
            let result = Err(DeleteError::NotOpen { state: self.state() });
            return fx.push(ManagedEffect::Event(ManagedEvent::Deleted { result }));
        }
        let closed = self.store.record().ledgers.iter().filter(|ledger| ledger.closed_ms.is_some());
        let mut doomed: Vec<_> = closed.map(|ledger| (ledger.id, ledger.bookies.clone())).collect();
        doomed.extend(self.appender.bookies());
        doomed.extend(self.cursor_log.ledgers());
        doomed.extend(self.trimming.under_way.take().unwrap_or_default());
        doomed.sort_unstable();
        doomed.dedup();
        self.answer_unknown("deleted", fx);
        self.store.forget_queued();
        self.phase = Phase::Deleting(doomed);
        self.settle(now, fx);
    }

    /// Asks for the next commit, or reports the end when the last copies are gone or given up.
    pub(super) fn advance_delete(&mut self, fx: &mut Fx) {
        if !self.store.is_idle() {
            return;
        }
        match &self.phase {
            Phase::Deleting(doomed) if doomed.is_empty() && self.store.is_removed() => {
                if self.discards.is_empty() {
                    self.finish_delete(Ok(()), fx);
                }
            }
            Phase::Deleting(_) => {
                let ledgers = &self.store.record().ledgers;
                let change = match ledgers.get(REMOVED_TOGETHER_MAX) {
                    Some(_) => {
                        let last = &ledgers[REMOVED_TOGETHER_MAX / 2];
                        let entries = i64::try_from(last.entries).unwrap_or(i64::MAX);
                        Change::Trim { last: Position::new(last.id, entries - 1) }
                    }
                    None => Change::Remove,
                };
                self.store.change(change);
            }
            Phase::Opening(_) | Phase::Open | Phase::Closing | Phase::Stopped(_) => (),
        }
    }

    fn finish_delete(&mut self, result: Result<(), DeleteError>, fx: &mut Fx) {
        self.phase = Phase::Stopped("deleted");
        fx.push(ManagedEffect::Event(ManagedEvent::Deleted { result }));
    }
}
