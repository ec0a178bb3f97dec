//! Copies the entries of one fragment to the bookies that take the places of lost ones, batch by batch.
//!
//! **Invariants**
//! - I1  the next batch is read only when every copy of the one before is durable.
//! - I2  an entry goes to exactly those targets whose slot is in its write set, and only when it is missing there.

use super::{RepairEffects, RepairOptions};
use crate::{LedgerEffect, ReplicationConfig, RequestIds, SeededBug};
use base::{EntryData, EntryId, LedgerId, Mono, NodeId, Now};
use wire::bookie::{AddOutcome, BookieRequest, EntryRange};

/// Entries in one batch at most, however small they are.
const BATCH_ENTRIES: i64 = 4_096;

/// What can be done now.
#[derive(Debug)]
pub(super) enum Step {
    /// Something is under way, or it is too early.
    Wait,
    Read {
        from: EntryId,
        entries_max: u32,
    },
    /// Nothing is left.
    Copied,
}

/// One copy that is not durable yet.
#[derive(Debug)]
struct Missing {
    entry: EntryId,
    to: NodeId,
    data: EntryData,
}

#[derive(Debug)]
enum Stage {
    /// Not before this.
    Pausing(Mono),
    Reading,
    Writing {
        missing: Vec<Missing>,
        deadline: Mono,
    },
}

/// The copying of one fragment.
#[derive(Debug)]
pub(super) struct Copying {
    ledger: LedgerId,
    replication: ReplicationConfig,
    options: RepairOptions,
    first: EntryId,
    /// One above the last entry.
    end: EntryId,
    /// Slots, and the bookies that take them.
    targets: Vec<(u32, NodeId)>,
    /// Copies only these, in order; `None` for all.
    only: Option<Vec<EntryRange>>,
    /// Everything below is durable on its targets.
    next: EntryId,
    stage: Stage,
}

impl Copying {
    pub(super) fn new(
        ledger: LedgerId,
        replication: ReplicationConfig,
        options: RepairOptions,
        (first, end): (EntryId, EntryId),
        targets: Vec<(u32, NodeId)>,
        only: Option<Vec<EntryRange>>,
    ) -> Self {
        let stage = Stage::Pausing(Mono::default());
        Self { ledger, replication, options, first, end, targets, only, next: first, stage }
    }

    pub(super) fn first(&self) -> EntryId {
        self.first
    }

    pub(super) fn end(&self) -> EntryId {
        self.end
    }

    pub(super) fn targets(&self) -> &[(u32, NodeId)] {
        &self.targets
    }

    pub(super) fn is_complete(&self) -> bool {
        self.wanted_from(self.next).is_none() && !matches!(self.stage, Stage::Writing { .. })
    }

    /// Seeded bug: nobody knows where the fragment ends.
    pub(super) fn is_unbounded(&self) -> bool {
        self.end == EntryId(i64::MAX - 1)
    }

    pub(super) fn end_here(&mut self) {
        self.end = self.next;
        self.stage = Stage::Pausing(Mono::default());
    }

    pub(super) fn next_step(&mut self, now: Now, paced_until: Mono) -> Step {
        let early = self.options.seeded.has(SeededBug::RepairSwapsEarly) && self.next > self.first;
        let Some(from) = self.wanted_from(self.next).filter(|_| !early) else {
            return if matches!(self.stage, Stage::Writing { .. }) && !early { Step::Wait } else { Step::Copied };
        };
        match &mut self.stage {
            Stage::Pausing(until) => {
                *until = paced_until.max(*until);
                if now.mono < *until {
                    return Step::Wait;
                }
                self.next = from;
                self.stage = Stage::Reading;
                let end = self.missing_from(from).map_or(self.end, |range| range.end.min(self.end));
                Step::Read { from, entries_max: u32::try_from((end.0 - from.0).min(BATCH_ENTRIES)).unwrap_or(1) }
            }
            Stage::Reading | Stage::Writing { .. } => Step::Wait,
        }
    }

    /// The first entry from `from` on of which a target is to have a copy.
    fn wanted_from(&self, from: EntryId) -> Option<EntryId> {
        let period = i64::from(self.replication.ensemble());
        let mut from = from;
        while let Some(range) = self.missing_from(from) {
            let end = range.end.min(self.end);
            let wanted = (range.first.0..end.0.min(range.first.0.saturating_add(period)))
                .map(EntryId)
                .find(|entry| self.targets.iter().any(|(slot, _)| self.replication.write_set(*entry).contains(*slot)));
            if wanted.is_some() || end == self.end {
                return wanted;
            }
            from = end;
        }
        None
    }

    /// The rest of the first range from `from` on that is to be copied.
    fn missing_from(&self, from: EntryId) -> Option<EntryRange> {
        let Some(only) = &self.only else { return Some(EntryRange { first: from, end: self.end }) };
        let range = only.get(only.partition_point(|range| range.end <= from))?;
        Some(EntryRange { first: range.first.max(from), ..*range })
    }

    /// A batch was read: writes it. Answers how many entries and bytes are on their way.
    pub(super) fn write(
        &mut self,
        now: Now,
        entries: Vec<(EntryId, EntryData)>,
        ids: &mut RequestIds,
        fx: &mut RepairEffects,
    ) -> (u64, u64) {
        let (mut missing, mut copied) = (Vec::new(), (0, 0));
        for (entry, data) in entries {
            assert!(entry >= self.next && entry < self.end, "Copying I1: {entry} in {}..{}", self.next, self.end);
            self.next = entry.next();
            if self.missing_from(entry).is_none_or(|range| range.first != entry) {
                continue;
            }
            let write_set = self.replication.write_set(entry);
            let targets = self.targets.iter().filter(|(slot, _)| write_set.contains(*slot)); // I2
            let before = missing.len();
            missing.extend(targets.map(|(_, to)| Missing { entry, to: *to, data: data.clone() }));
            if missing.len() > before {
                copied = (copied.0 + 1, copied.1 + data.len() as u64);
            }
        }
        self.stage = Stage::Writing { missing, deadline: now.mono };
        self.resend_overdue(now, ids, fx);
        self.finish_batch();
        copied
    }

    /// The batch could not be read: pauses. Answers at which entry.
    pub(super) fn read_failed(&mut self, now: Now) -> EntryId {
        self.stage = Stage::Pausing(now.mono + self.options.request_timeout);
        self.next
    }

    /// Takes one bookie's answer; whether it changed anything.
    ///
    /// # Errors
    /// The bookie takes no copies.
    pub(super) fn handle_added(&mut self, from: NodeId, entry: EntryId, outcome: AddOutcome) -> Result<bool, NodeId> {
        let Stage::Writing { missing, .. } = &mut self.stage else { return Ok(false) };
        let Some(index) = missing.iter().position(|copy| copy.to == from && copy.entry == entry) else {
            return Ok(false);
        };
        match outcome {
            AddOutcome::Stored => {
                missing.swap_remove(index);
                self.finish_batch();
                Ok(true)
            }
            AddOutcome::ReadOnly => Err(from),
            // No outcome, or deleted there, which the metadata will say: the deadline asks again.
            AddOutcome::Unknown | AddOutcome::Fenced => Ok(false),
        }
    }

    fn finish_batch(&mut self) {
        if matches!(&self.stage, Stage::Writing { missing, .. } if missing.is_empty()) {
            self.stage = Stage::Pausing(Mono::default());
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Mono> {
        match &self.stage {
            Stage::Pausing(until) => Some(*until),
            Stage::Reading => None, // The reader has its own.
            Stage::Writing { deadline, .. } => Some(*deadline),
        }
    }

    /// Sends the copies again that were not answered in time; one of the bookies that owe an answer.
    pub(super) fn resend_overdue(&mut self, now: Now, ids: &mut RequestIds, fx: &mut RepairEffects) -> Option<NodeId> {
        let Stage::Writing { missing, deadline } = &mut self.stage else { return None };
        if now.mono < *deadline {
            return None;
        }
        *deadline = now.mono + self.options.request_timeout;
        for Missing { entry, to, data } in missing.iter() {
            let (id, ledger, data) = (ids.allocate(), self.ledger, data.clone());
            // Everything below a settled entry is confirmed.
            let (entry, lac) = (*entry, entry.previous());
            let request = BookieRequest::Add { id, ledger, entry, lac, recovery: true, data };
            fx.push(LedgerEffect::Bookie { to: *to, request });
        }
        missing.first().map(|copy| copy.to)
    }
}
