//! Makes cursor operations and checkpoints durable in the cursor ledger.
//!
//! **What**  Operations collect in one record while the record before is being written (group commit). The ledger is
//! made on the first operation; when it has grown, and after every open, a snapshot in a fresh ledger replaces it.
//!
//! **States**  Absent → Open;  Sealed (as the open found it) → Open;  Open → Open (roll);  Open → Closing → Sealed.
//! The roll is a procedure of its own: `roll`.
//!
//! **Invariants**
//! - I1  an operation is answered only after the record that holds it, and all before it, are durable.
//! - I2  a snapshot holds everything that was answered or may still be answered by records before it.
//! - I3  the record names a cursor ledger only when its snapshot is durable (or when there was nothing to take over).
//! - I4  one record is under way at a time; none while a roll drains, fills or switches.
//!
//! **Not here**  What operations do to cursors (`cursor_set`), reading them back (`replay`).
//!
//! **Tests**  `machine` property tests (crash at every step, acks never forgotten).

use crate::cursor_record::CursorOp;
use crate::cursor_set::CursorSet;
use crate::durable_mark::DurableMark;
use crate::pending_ops::{Group, PendingOps, Waiter};
use crate::roll::{Filled, Place, RECORD, Roll, SNAPSHOT};
use crate::site::{Fx, Site, relay_all};
use crate::store::RecordStore;
use crate::{Checkpoint, CursorId, SeededBug};
use base::{Effects, EntryData, LedgerId, Mono, NodeId, Now, Position, RequestId, earliest};
use bytes::Bytes;
use ledger::{LedgerMetadata, LedgerWriter, MetadataOutcome, VersionedMetadata, WriterEffects, WriterEvent};
use wire::bookie::BookieResponse;

/// What the log tells the managed ledger.
#[derive(Debug)]
pub(crate) enum LogOutcome {
    Durable(Group),
    /// Another owner has fenced the cursor ledger.
    Fenced,
    /// This ledger is no longer named anywhere: its copies may go.
    Discard {
        ledger: LedgerId,
        bookies: Vec<NodeId>,
    },
    Closed,
}

#[derive(Debug)]
enum Phase {
    Absent,
    Sealed { ledger: LedgerId, bookies: Vec<NodeId> },
    Open(Box<Writing>),
    Closing(Box<Writing>),
}

#[derive(Debug)]
struct Writing {
    writer: LedgerWriter,
    group: Option<Group>,
}

/// The durable side of the cursors.
#[derive(Debug)]
pub(crate) struct CursorLog {
    phase: Phase,
    roll: Option<Box<Roll>>,
    pending: Box<PendingOps>,
    /// The newest checkpoint asked for.
    checkpoint: Option<Checkpoint>,
    /// How far checkpoints cover the log; before the first one that is nothing.
    checkpoint_mark: DurableMark,
    written_bytes: u64,
    roll_bytes: u64,
}

impl CursorLog {
    /// No cursor ledger yet.
    pub(crate) fn absent() -> Self {
        Self {
            phase: Phase::Absent,
            roll: None,
            pending: Box::default(),
            checkpoint: None,
            checkpoint_mark: DurableMark::new(Position::EARLIEST),
            written_bytes: 0,
            roll_bytes: 0,
        }
    }

    /// A closed cursor ledger whose content was replayed.
    pub(crate) fn sealed(ledger: LedgerId, bookies: Vec<NodeId>, checkpoint: Option<Checkpoint>) -> Self {
        let covered = checkpoint.as_ref().map_or(Position::EARLIEST, |checkpoint| checkpoint.position);
        let checkpoint_mark = DurableMark::new(covered);
        Self { phase: Phase::Sealed { ledger, bookies }, checkpoint, checkpoint_mark, ..Self::absent() }
    }

    // ---- operations ----

    /// Takes operations on one cursor, already applied in memory, for the next record.
    pub(crate) fn submit(&mut self, cursor: CursorId, ops: &[CursorOp], waiter: Waiter) {
        self.pending.push(cursor, ops, waiter);
    }

    /// Lets a waiter whose operation changed nothing wait for everything submitted before it. Answers whether there is
    /// anything to wait for.
    pub(crate) fn attach(&mut self, waiter: Waiter) -> bool {
        if !self.pending.is_empty() {
            self.pending.attach(waiter);
            return true;
        }
        let rolling = self.roll.as_mut().and_then(|roll| roll.group_mut());
        let writing = match &mut self.phase {
            Phase::Open(writing) => writing.group.as_mut(),
            Phase::Absent | Phase::Sealed { .. } | Phase::Closing(_) => None,
        };
        let Some(group) = rolling.or(writing) else { return false };
        group.waiters.push(waiter);
        true
    }

    pub(crate) fn save_checkpoint(&mut self, checkpoint: Checkpoint, waiter: Waiter) {
        self.checkpoint_mark.lower(checkpoint.position);
        self.pending.push_checkpoint(checkpoint.position, waiter);
        self.checkpoint = Some(checkpoint);
    }

    /// Operations that are not answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.pending.waiters() + self.groups().map(|group| group.waiters.len()).sum::<usize>()
    }

    /// Bytes that wait for the next record.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.bytes()
    }

    fn groups(&self) -> impl Iterator<Item = &Group> + '_ {
        let writing = match &self.phase {
            Phase::Open(writing) | Phase::Closing(writing) => writing.group.as_ref(),
            Phase::Absent | Phase::Sealed { .. } => None,
        };
        writing.into_iter().chain(self.roll.as_ref().and_then(|roll| roll.group()))
    }

    /// Everyone who still waits, oldest first; the log is stopped.
    pub(crate) fn stop(&mut self) -> Vec<Waiter> {
        let mut waiters: Vec<Waiter> = self.groups().flat_map(|group| group.waiters.iter().copied()).collect();
        waiters.extend(self.pending.take_waiters());
        *self = Self::absent();
        waiters
    }

    // ---- driving ----

    /// Starts what can be started: the next record, the first ledger, a roll.
    pub(crate) fn pump(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        cursors: &mut CursorSet,
        fx: &mut Fx,
    ) -> Vec<LogOutcome> {
        let grown = self.written_bytes > self.roll_bytes.max(site.options.cursor_log_bytes_max);
        let wanted = match &self.phase {
            Phase::Absent | Phase::Sealed { .. } => !self.pending.is_empty(),
            Phase::Open(_) => grown,
            Phase::Closing(_) => false,
        };
        if wanted && self.roll.is_none() {
            self.roll = Some(Box::new(Roll::start(site, fx)));
        }
        let place = match self.phase {
            Phase::Absent => Place::First,
            Phase::Sealed { .. } | Phase::Open(_) | Phase::Closing(_) => Place::Next,
        };
        if let Some(roll) = &mut self.roll {
            roll.register(now, place, site, store);
        }
        if self.roll.as_ref().is_some_and(|roll| roll.is_registered()) {
            return self.fill_next(now, site, store, cursors, fx);
        }
        self.write_record(now, site, cursors, fx)
    }

    /// Writes what is pending as one record (I4).
    fn write_record(&mut self, now: Now, site: &Site, cursors: &mut CursorSet, fx: &mut Fx) -> Vec<LogOutcome> {
        if self.pending.is_empty() || self.roll.as_ref().is_some_and(|roll| roll.holds_records()) {
            return Vec::new();
        }
        if !matches!(&self.phase, Phase::Open(writing) if writing.group.is_none()) {
            return Vec::new();
        }
        self.seal_checkpoint(self.pending.checkpoint());
        let Phase::Open(writing) = &mut self.phase else { return Vec::new() };
        let (record, group) = self.pending.take_record(self.checkpoint.as_ref(), cursors);
        self.written_bytes += record.len() as u64;
        let mut inner = Effects::new();
        // A refused add means that the writer was fenced: its event ends us, the group stays unanswered (I1).
        let _ = writing.writer.add_entry(now, RECORD, EntryData::new(Bytes::new(), record), &mut inner);
        if site.options.seeded.has(SeededBug::CursorDoneBeforeDurable) {
            writing.group = Some(Group::default());
            let mut outcomes = vec![LogOutcome::Durable(group)];
            outcomes.extend(self.handle_events(relay_all(&mut inner, fx)));
            return outcomes;
        }
        writing.group = Some(group);
        self.handle_events(relay_all(&mut inner, fx))
    }

    /// Writes a snapshot to the registered next ledger once no record is under way (I2, I4).
    fn fill_next(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        cursors: &mut CursorSet,
        fx: &mut Fx,
    ) -> Vec<LogOutcome> {
        if matches!(&self.phase, Phase::Open(writing) if writing.group.is_some()) {
            return Vec::new();
        }
        let checkpoint = self.checkpoint.as_ref().map(|checkpoint| checkpoint.position);
        self.seal_checkpoint(checkpoint);
        let group = Group { waiters: self.pending.take_waiters(), marks: cursors.seal_all(), checkpoint };
        let events = match &mut self.roll {
            Some(roll) => roll.fill(now, group, cursors, self.checkpoint.as_ref(), site, store, fx),
            None => Vec::new(),
        };
        self.handle_events(events)
    }

    /// The record names a new cursor ledger, as `next` or (the very first) as the one in use.
    pub(crate) fn handle_registered(
        &mut self,
        ledger: LedgerId,
        metadata: LedgerMetadata,
        version: u64,
        site: &mut Site,
    ) {
        let Some(roll) = &mut self.roll else { return };
        let writer = site.writer(ledger, VersionedMetadata { metadata, version });
        if let Phase::Absent = self.phase {
            self.phase = Phase::Open(Box::new(Writing { writer, group: None }));
            (self.written_bytes, self.roll_bytes) = (0, 0);
            self.roll = None;
        } else {
            roll.registered(writer);
        }
    }

    /// The record names the filled ledger as the one in use.
    pub(crate) fn handle_switched(&mut self) -> Vec<LogOutcome> {
        let Some(Filled { writer, group, bytes }) = self.roll.take().and_then(|roll| roll.finish()) else {
            panic!("CursorLog I3: a switch ends a roll")
        };
        let writing = Box::new(Writing { writer, group: None });
        let old = std::mem::replace(&mut self.phase, Phase::Open(writing));
        // The next roll comes when the log has doubled, so that a large snapshot is not written again and again.
        (self.written_bytes, self.roll_bytes) = (bytes, bytes * 2);
        let mut outcomes = Vec::new();
        match old {
            Phase::Absent => (),
            Phase::Sealed { ledger, bookies } => outcomes.push(LogOutcome::Discard { ledger, bookies }),
            Phase::Open(old) | Phase::Closing(old) => {
                let bookies = old.writer.metadata().bookies().into_iter().collect();
                outcomes.push(LogOutcome::Discard { ledger: old.writer.ledger(), bookies });
            }
        }
        outcomes.push(self.durable(group));
        outcomes
    }

    /// A record or snapshot with the checkpoint at this position is under way.
    fn seal_checkpoint(&mut self, position: Option<Position>) {
        if let Some(position) = position {
            self.checkpoint_mark.seal(position);
        }
    }

    fn durable(&mut self, group: Group) -> LogOutcome {
        if let Some(position) = group.checkpoint {
            self.checkpoint_mark.confirm(position);
        }
        LogOutcome::Durable(group)
    }

    fn handle_events(&mut self, events: Vec<WriterEvent>) -> Vec<LogOutcome> {
        let mut outcomes = Vec::new();
        for event in events {
            match event {
                WriterEvent::Confirmed { ctx: SNAPSHOT, .. } => (),
                WriterEvent::Confirmed { .. } => {
                    let Phase::Open(writing) = &mut self.phase else { continue };
                    let Some(group) = writing.group.take() else {
                        panic!("CursorLog I4: a confirmation has its record")
                    };
                    outcomes.push(self.durable(group));
                }
                WriterEvent::Fenced { .. } => outcomes.push(LogOutcome::Fenced),
                WriterEvent::EnsembleChanged => (),
                WriterEvent::Closed { .. } => {
                    let Phase::Closing(writing) = &self.phase else { continue };
                    let (ledger, bookies) = (writing.writer.ledger(), writing.writer.metadata().bookies());
                    self.phase = Phase::Sealed { ledger, bookies: bookies.into_iter().collect() };
                    outcomes.push(LogOutcome::Closed);
                }
            }
        }
        outcomes
    }

    /// Closes the ledger when nothing is under way; answers whether it is closed already.
    pub(crate) fn close(&mut self, now: Now, fx: &mut Fx) -> bool {
        if !self.pending.is_empty() || self.roll.is_some() {
            return false;
        }
        match std::mem::replace(&mut self.phase, Phase::Absent) {
            Phase::Open(mut writing) if writing.group.is_none() => {
                let mut inner = Effects::new();
                writing.writer.close(now, &mut inner);
                self.phase = Phase::Closing(writing);
                let events = relay_all(&mut inner, fx);
                self.handle_events(events);
            }
            other => self.phase = other,
        }
        matches!(self.phase, Phase::Absent | Phase::Sealed { .. })
    }

    // ---- inputs ----

    /// Whether this id was asked for here; then it is taken.
    pub(crate) fn handle_ledger_id(&mut self, id: RequestId, ledger: LedgerId) -> bool {
        self.roll.as_mut().is_some_and(|roll| roll.handle_ledger_id(id, ledger))
    }

    /// The writer that owns this request id.
    fn run(
        &mut self,
        now: Now,
        id: RequestId,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
        input: impl FnOnce(&mut LedgerWriter, Now, &mut WriterEffects),
    ) -> Option<Vec<LogOutcome>> {
        let mut inner = Effects::new();
        if let Phase::Open(writing) | Phase::Closing(writing) = &mut self.phase
            && writing.writer.owns(id)
        {
            input(&mut writing.writer, now, &mut inner);
            let events = relay_all(&mut inner, fx);
            return Some(self.handle_events(events));
        }
        let roll = self.roll.as_mut()?;
        let writer = roll.writer_mut().filter(|writer| writer.owns(id))?;
        input(writer, now, &mut inner);
        let events = roll.handle_events(relay_all(&mut inner, fx), site, store);
        Some(self.handle_events(events))
    }

    /// A bookie's answer to one of our adds; `None` when it is not ours.
    pub(crate) fn handle_added(
        &mut self,
        now: Now,
        from: NodeId,
        response: &BookieResponse,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
    ) -> Option<Vec<LogOutcome>> {
        self.run(now, response.id(), store, site, fx, |writer, now, fx| {
            writer.handle_add_response(now, from, response, fx);
        })
    }

    /// A metadata answer to one of our writers; `None` when it is not ours.
    pub(crate) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        outcome: MetadataOutcome,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
    ) -> Option<Vec<LogOutcome>> {
        self.run(now, id, store, site, fx, |writer, now, fx| writer.handle_metadata(now, id, outcome, fx))
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let writing = match &self.phase {
            Phase::Open(writing) | Phase::Closing(writing) => writing.writer.next_deadline(),
            Phase::Absent | Phase::Sealed { .. } => None,
        };
        earliest(writing, self.roll.as_ref().and_then(|roll| roll.writer()?.next_deadline()))
    }

    pub(crate) fn on_deadline(
        &mut self,
        now: Now,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
    ) -> Vec<LogOutcome> {
        self.run_all(now, store, site, fx, |writer, now, fx| writer.on_deadline(now, fx))
    }

    /// Every writer there is.
    fn run_all(
        &mut self,
        now: Now,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
        input: impl Fn(&mut LedgerWriter, Now, &mut WriterEffects),
    ) -> Vec<LogOutcome> {
        let mut inner = Effects::new();
        if let Phase::Open(writing) | Phase::Closing(writing) = &mut self.phase {
            input(&mut writing.writer, now, &mut inner);
        }
        let mut events = relay_all(&mut inner, fx);
        if let Some(roll) = &mut self.roll
            && let Some(writer) = roll.writer_mut()
        {
            input(writer, now, &mut inner);
            events.extend(roll.handle_events(relay_all(&mut inner, fx), site, store));
        }
        self.handle_events(events)
    }

    /// The nodes that may take new entries.
    pub(crate) fn set_available(
        &mut self,
        now: Now,
        store: &mut RecordStore,
        site: &Site,
        fx: &mut Fx,
    ) -> Vec<LogOutcome> {
        self.run_all(now, store, site, fx, |writer, now, fx| {
            writer.set_zones(site.zones.clone());
            writer.set_available(now, site.bookies.clone(), fx)
        })
    }

    // ---- getters ----

    /// Every cursor ledger that may have copies.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (LedgerId, Vec<NodeId>)> + '_ {
        let of = |writer: &LedgerWriter| (writer.ledger(), writer.metadata().bookies().into_iter().collect());
        let present = match &self.phase {
            Phase::Absent => None,
            Phase::Sealed { ledger, bookies } => Some((*ledger, bookies.clone())),
            Phase::Open(writing) | Phase::Closing(writing) => Some(of(&writing.writer)),
        };
        present.into_iter().chain(self.roll.as_ref().and_then(|roll| roll.writer()).map(of))
    }

    /// What the checkpoint covers, also after a crash.
    pub(crate) fn checkpoint_floor(&self) -> Position {
        self.checkpoint_mark.lowest()
    }

    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }
}
