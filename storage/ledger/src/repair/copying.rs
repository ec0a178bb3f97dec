//! Copies the entries of one fragment to the bookies that take the places of lost ones, batch by batch.
//!
//! **States**  Pausing → Asking (what the bookies lack) → Pausing → Reading → Writing → Pausing → …;  Reading → Searching
//! (behind an entry that no copy gives) → Pausing.
//!
//! **Invariants**
//! - I1  the next batch is read only when every copy of the one before is durable.
//! - I2  an entry goes to exactly those targets whose slot is in its write set, and only when it is missing there.
//! - I3  an entry is passed over only after a read that no copy answered, and is remembered: the fragment is complete but
//!   for these.
//! - I4  entries are passed over at most [`PASSES_MAX`] times and no longer than [`PASSING_MAX`]; then all the rest is.

use super::search::Search;
use super::targets::Targets;
use super::{RepairEffects, RepairOptions};
use crate::{LedgerEffect, ReplicationConfig, RequestIds, SeededBug};
use base::{EntryData, EntryId, LedgerId, Mono, NodeId, Now, RequestId};
use std::collections::BTreeSet;
use std::time::Duration;
use wire::bookie::{AddOutcome, BookieRequest, EntryRange};

/// Entries in one batch at most, however small they are.
const BATCH_ENTRIES: i64 = 4_096;
/// How often entries that no copy gives are passed over in one fragment …
const PASSES_MAX: u32 = 1_000;
/// … and for how long: whoever comes later knows by then what its bookies lack.
const PASSING_MAX: Duration = Duration::from_secs(60);

/// What can be done now.
#[derive(Debug)]
pub(super) enum Step {
    /// Something is under way, or it is too early.
    Wait,
    /// What the targets lack from here on.
    Ask,
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
    Asking {
        deadline: Mono,
    },
    Reading,
    Searching(Search),
    Writing {
        missing: Vec<Missing>,
        deadline: Mono,
    },
}

/// The copying of one fragment.
#[derive(Debug)]
pub(super) struct Copying {
    ledger: LedgerId,
    options: RepairOptions,
    first: EntryId,
    /// One above the last entry.
    end: EntryId,
    targets: Targets,
    /// Everything below is durable on its targets, or unreadable.
    next: EntryId,
    stage: Stage,
    /// What no copy gave (I3), in order.
    unreadable: Vec<EntryRange>,
    passes: u32,
    passing_until: Option<Mono>,
    /// Who was asked what it lacks and said nothing.
    silent: BTreeSet<NodeId>,
}

impl Copying {
    /// `lacks`: exactly what the targets lack; `None` asks them.
    pub(super) fn new(
        ledger: LedgerId,
        replication: ReplicationConfig,
        options: RepairOptions,
        (first, end): (EntryId, EntryId),
        seats: Vec<(u32, NodeId)>,
        lacks: Option<&[EntryRange]>,
    ) -> Self {
        let targets = match lacks {
            Some(lacks) => Targets::lacking(replication, seats, lacks, end),
            None => Targets::unknown(replication, seats, first),
        };
        Self {
            ledger,
            options,
            first,
            end,
            targets,
            next: first,
            stage: Stage::Pausing(Mono::default()),
            unreadable: Vec::new(),
            passes: 0,
            passing_until: None,
            silent: BTreeSet::new(),
        }
    }

    pub(super) fn first(&self) -> EntryId {
        self.first
    }

    pub(super) fn end(&self) -> EntryId {
        self.end
    }

    /// Slots, and the bookies that take them.
    pub(super) fn seats(&self) -> Vec<(u32, NodeId)> {
        self.targets.seats()
    }

    /// What could not be copied.
    pub(super) fn unreadable(&self) -> &[EntryRange] {
        &self.unreadable
    }

    pub(super) fn is_complete(&self) -> bool {
        let known = self.targets.known() >= self.end && self.targets.wanted(self.next).is_none();
        known && !matches!(self.stage, Stage::Writing { .. })
    }

    /// Seeded bug: nobody knows where the fragment ends.
    pub(super) fn is_unbounded(&self) -> bool {
        self.end == EntryId(i64::MAX - 1)
    }

    pub(super) fn end_here(&mut self) {
        self.end = self.next;
        self.targets.limit(self.end);
        self.stage = Stage::Pausing(Mono::default());
    }

    pub(super) fn next_step(&mut self, now: Now, paced_until: Mono) -> Step {
        let early = self.options.seeded.has(SeededBug::RepairSwapsEarly) && self.next > self.first;
        match &mut self.stage {
            Stage::Writing { .. } | Stage::Pausing(_) if early => Step::Copied,
            Stage::Asking { .. } | Stage::Reading | Stage::Searching(_) | Stage::Writing { .. } => Step::Wait,
            Stage::Pausing(until) => match self.targets.wanted(self.next) {
                None if self.targets.known() < self.end => Step::Ask,
                None => Step::Copied,
                Some(range) => {
                    *until = paced_until.max(*until);
                    if now.mono < *until {
                        return Step::Wait;
                    }
                    self.next = range.first;
                    self.stage = Stage::Reading;
                    let entries_max = (range.end.0 - range.first.0).min(BATCH_ENTRIES);
                    Step::Read { from: range.first, entries_max: u32::try_from(entries_max).unwrap_or(1) }
                }
            },
        }
    }

    /// Asks the targets what they lack behind what is known; again those that did not answer in time. One that owes an answer.
    pub(super) fn ask(&mut self, now: Now, ids: &mut RequestIds, fx: &mut RepairEffects) -> Option<NodeId> {
        self.stage = Stage::Asking { deadline: now.mono + self.options.request_timeout };
        let range = EntryRange { first: self.targets.known(), end: self.end };
        self.targets.ask(self.ledger, range, ids, fx)
    }

    /// What a bookie lacks.
    pub(super) fn handle_missing(&mut self, now: Now, id: RequestId, until: EntryId, lacks: Vec<EntryRange>) {
        match &mut self.stage {
            Stage::Asking { .. } => {
                if self.targets.handle_missing(id, until, lacks) {
                    self.stage = Stage::Pausing(Mono::default());
                }
            }
            Stage::Searching(search) => {
                search.handle_missing(id, until, &lacks);
                self.end_search(now);
            }
            Stage::Pausing(_) | Stage::Reading | Stage::Writing { .. } => (),
        }
    }

    /// A batch was read: writes it.
    pub(super) fn write(
        &mut self,
        now: Now,
        entries: Vec<(EntryId, EntryData)>,
        ids: &mut RequestIds,
        fx: &mut RepairEffects,
    ) {
        let mut missing = Vec::new();
        for (entry, data) in entries {
            assert!(entry >= self.next && entry < self.end, "Copying I1: {entry} in {}..{}", self.next, self.end);
            self.next = entry.next();
            let copies = self.targets.wanting(entry).map(|to| Missing { entry, to, data: data.clone() }); // I2
            missing.extend(copies);
        }
        self.stage = Stage::Writing { missing, deadline: now.mono };
        self.resend_overdue(now, ids, fx);
        self.finish_batch();
    }

    /// The batch could not be read: pauses.
    pub(super) fn pause(&mut self, now: Now) {
        self.stage = Stage::Pausing(now.mono + self.options.request_timeout);
    }

    /// The next entry cannot be read from any copy: looks for one behind it, on these bookies.
    pub(super) fn pass_over(
        &mut self,
        now: Now,
        bookies: &BTreeSet<NodeId>,
        ids: &mut RequestIds,
        fx: &mut RepairEffects,
    ) {
        let until = *self.passing_until.get_or_insert(now.mono + PASSING_MAX);
        self.passes += 1;
        if self.passes > PASSES_MAX || now.mono > until {
            return self.pass_rest(); // I4
        }
        let deadline = now.mono + self.options.request_timeout;
        let range = EntryRange { first: self.next.next(), end: self.targets.known().max(self.next.next()) };
        let asked = bookies.difference(&self.silent).filter(|_| range.first < range.end).copied();
        self.stage = Stage::Searching(Search::start(self.ledger, range, asked, deadline, ids, fx));
        self.end_search(now);
    }

    fn end_search(&mut self, now: Now) {
        let Stage::Searching(search) = &self.stage else { return };
        if !search.is_over() && now.mono < search.deadline() {
            return;
        }
        self.silent.extend(search.silent());
        let found = search.found();
        self.forgo(found);
    }

    fn pass_rest(&mut self) {
        self.targets.give_up(self.end);
        self.forgo(self.end);
    }

    /// What lacks below `below` stays as it is (I3).
    fn forgo(&mut self, below: EntryId) {
        while let Some(range) = self.targets.wanted(self.next).filter(|range| range.first < below) {
            let end = range.end.min(below);
            match self.unreadable.last_mut() {
                Some(last) if last.end == range.first => last.end = end,
                Some(_) | None => self.unreadable.push(EntryRange { first: range.first, end }),
            }
            self.next = end;
        }
        self.next = self.next.max(below);
        self.stage = Stage::Pausing(Mono::default());
    }

    /// Takes one bookie's answer: how many bytes are durable there now, if that is new.
    ///
    /// # Errors
    /// The bookie takes no copies.
    pub(super) fn handle_added(
        &mut self,
        from: NodeId,
        entry: EntryId,
        outcome: AddOutcome,
    ) -> Result<Option<usize>, NodeId> {
        let Stage::Writing { missing, .. } = &mut self.stage else { return Ok(None) };
        let Some(index) = missing.iter().position(|copy| copy.to == from && copy.entry == entry) else {
            return Ok(None);
        };
        match outcome {
            AddOutcome::Stored => {
                let copy = missing.swap_remove(index);
                self.finish_batch();
                Ok(Some(copy.data.len()))
            }
            AddOutcome::ReadOnly => Err(from),
            // No outcome, or deleted there, which the metadata will say: the deadline asks again.
            AddOutcome::Unknown | AddOutcome::Fenced => Ok(None),
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
            Stage::Searching(search) => Some(search.deadline()),
            Stage::Asking { deadline } | Stage::Writing { deadline, .. } => Some(*deadline),
        }
    }

    /// Asks again what was not answered in time; one of the bookies that owe an answer.
    pub(super) fn on_deadline(&mut self, now: Now, ids: &mut RequestIds, fx: &mut RepairEffects) -> Option<NodeId> {
        match &self.stage {
            Stage::Asking { deadline } if *deadline <= now.mono => self.ask(now, ids, fx),
            Stage::Searching(_) => {
                self.end_search(now);
                None
            }
            Stage::Writing { .. } => self.resend_overdue(now, ids, fx),
            Stage::Asking { .. } | Stage::Pausing(_) | Stage::Reading => None,
        }
    }

    /// Sends the copies again that were not answered in time; one of the bookies that owe an answer.
    fn resend_overdue(&mut self, now: Now, ids: &mut RequestIds, fx: &mut RepairEffects) -> Option<NodeId> {
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
