//! The machine that answers a ledger client's requests: one bookie over one log.
//!
//! **What**  Adds, fences and deletions become records on the log device and are answered when the device says that they are
//! durable. Reads go to the device through the sparse index. The cleaner copies what is left in mostly dead files forward.
//!
//! **States**  per ledger: unknown → open (first entry durable) → fenced (fence durable) → deleted (tombstone on its way).
//! The whole bookie: writable ⇄ read-only (space); and limbo for ledgers that may have lost records.
//!
//! **Invariants**
//! - I1  `Stored`, a fencing answer and `Deleted` leave only after their record is durable.
//! - I2  once a fence is on its way, adds without the recovery flag are answered `Fenced`; the fenced read behind it sees every
//!   entry that was taken before.
//! - I3  a negative answer is given only when nothing of the entry is indexed, on its way or possibly lost; damage, overload
//!   and limbo are `Unknown`.
//! - I4  only verified entries leave: checksum, ledger and entry match.
//! - I5  bytes of adds on their way ≤ `pending_bytes_max`; of reads ≤ `pending_read_bytes_max` (or one read); waiting requests are bounded.
//! - I6  a file is given back only when nothing indexed stands in it, and nothing on its way can land in it.
//! - I7  a ledger that was deleted takes no entry any more, though nothing of it is left here: what was deleted since the
//!   process started is remembered, and of what was deleted before, the metadata is asked.
//!
//! **Not here**  Quorums and ledger metadata (`ledger`), files and threads (`disk`), repair of damage from other copies.
//!
//! **Tests**  `machine/tests` against a reference model with a small disk; `chaos/sim` with a lying one.

mod cleaner;
mod damage;
mod doubts;
mod files;
mod id_ranges;
mod index;
mod limbo;
mod orphans;
mod pending;
mod reads;
mod runs;
mod scrub;
#[cfg(test)]
mod tests;

use crate::disk::{AppendId, DiskEvent, DiskOp, Placement, Record};
use crate::layout::{self, RecoveredLog};
use crate::options::{BookieEffect, BookieOptions, BookieStats};
use base::{Effects, EntryData, EntryId, LedgerId, Mono, NodeId, Now, RequestId, earliest};
use cleaner::Cleaner;
use damage::Damaged;
use doubts::Doubts;
pub use doubts::LedgerProof;
use files::file_no;
use index::Index;
use limbo::LimboState;
use orphans::Orphans;
use pending::{Appending, Pending, ReadQuestion, Waiting};
use reads::Reads;
use scrub::Scrubber;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome};

type Fx = Effects<BookieEffect>;

/// One bookie.
#[derive(Debug)]
pub struct Bookie {
    node: NodeId,
    options: BookieOptions,
    index: Index,
    pending: Pending,
    reads: Reads,
    cleaner: Cleaner,
    scrubber: Scrubber,
    limbo: LimboState,
    damaged: Damaged,
    orphans: Orphans,
    doubts: Doubts,
    read_only: bool,
    stats: BookieStats,
}

#[derive(Debug)]
struct Add {
    id: RequestId,
    ledger: LedgerId,
    entry: EntryId,
    lac: EntryId,
    recovery: bool,
    data: EntryData,
}

impl Bookie {
    /// A bookie over a log that the device has just opened.
    pub fn new(node: NodeId, options: BookieOptions, log: RecoveredLog) -> Self {
        let mut index = Index::default();
        for file in &log.files {
            index.apply_file(file);
        }
        index.drop_idle_tombstones();
        index.files.collect_empty();
        let stats = BookieStats { damaged_at_open: log.damage.len() as u64, ..BookieStats::default() };
        let mut bookie = Self {
            node,
            cleaner: Cleaner::default(),
            scrubber: Scrubber::default(),
            reads: Reads::default(),
            pending: Pending::default(),
            limbo: LimboState::open(options.start, &log.lost, &index),
            damaged: Damaged::default(),
            orphans: Orphans::default(),
            doubts: Doubts::default(),
            read_only: false,
            options,
            index,
            stats,
        };
        for report in &log.damage {
            bookie.note_damage(file_no(report.file), report.offset, report.offset + 1);
        }
        bookie
    }

    /// Takes one request of `from`; the answer comes as an effect now or after the disk has answered.
    pub fn handle_request(&mut self, _now: Now, from: NodeId, request: BookieRequest, fx: &mut Fx) {
        self.record_start(fx);
        match request {
            BookieRequest::Add { id, ledger, entry, lac, recovery, data } => {
                self.add(from, Add { id, ledger, entry, lac, recovery, data }, fx);
            }
            BookieRequest::Read { id, ledger, from: entry, entries_max, bytes_max, fence } => {
                let question = ReadQuestion { id, ledger, from: entry, entries_max, bytes_max };
                if fence {
                    self.fence(ledger, Waiting::Read { to: from, question }, fx);
                } else {
                    self.read(from, question, 0, fx);
                }
            }
            BookieRequest::ReadLac { id, ledger, fence } => {
                if fence {
                    self.fence(ledger, Waiting::Lac { to: from, id, ledger }, fx);
                } else {
                    self.answer_lac(from, id, ledger, fx);
                }
            }
            BookieRequest::Delete { id, ledger } => {
                self.delete(ledger, Some(Waiting::Delete { to: from, id, ledger }), fx);
            }
            BookieRequest::Repaired { id, ledger, loss } => self.repaired(from, id, ledger, loss, fx),
            BookieRequest::Limbo { id, after } => self.answer_limbo(from, id, after, fx),
            BookieRequest::Missing { id, ledger, range } => self.answer_missing(from, id, ledger, range, fx),
        }
        self.release_files(fx);
    }

    /// Takes one answer of the device.
    pub fn handle_disk(&mut self, now: Now, event: DiskEvent, fx: &mut Fx) {
        match event {
            DiskEvent::Appended { done } => {
                for (id, placement) in done {
                    self.appended(now, id, placement, fx);
                }
            }
            DiskEvent::Read { id, outcome } => {
                if self.cleaner.awaits(id) {
                    self.clean_block(now, outcome, fx);
                } else if self.scrubber.awaits(id) {
                    self.scrub_block(outcome, fx);
                } else {
                    self.read_done(id, outcome, fx);
                }
            }
            DiskEvent::Space { free_bytes, total_bytes } => self.note_space(free_bytes, total_bytes),
        }
        self.release_files(fx);
    }

    /// When [`Bookie::on_deadline`] wants to be called.
    pub fn next_deadline(&self) -> Option<Mono> {
        let start = self.limbo.is_due().then_some(Mono::default());
        let waiting = earliest(start, self.orphans.next_deadline());
        let waiting = earliest(waiting, self.scrubber.next_deadline(&self.options));
        earliest(waiting, self.cleaner.next_deadline(&self.index.files))
    }

    /// Does what is due: the record of the start, orphans, the next steps of the cleaner and the scrubber.
    pub fn on_deadline(&mut self, now: Now, fx: &mut Fx) {
        self.record_start(fx);
        self.delete_orphans(now, fx);
        self.clean(now, fx);
        self.scrub(now, fx);
        self.release_files(fx);
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Whether adds are refused because the disk is nearly full.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Counters and sizes at this moment.
    pub fn stats(&self) -> BookieStats {
        let (log_bytes, live_bytes) = self.index.files.totals();
        BookieStats {
            log_bytes,
            live_bytes,
            files: self.index.files.len() as u64,
            ledgers: self.index.ledger_count() as u64,
            limbo_ledgers: self.lacking().len() as u64,
            limbo: self.limbo.is_whole(),
            index_points: self.index.points() as u64,
            read_only: self.read_only,
            pending_appends: self.pending.len() as u64,
            pending_bytes: self.pending.bytes(),
            pending_reads: self.reads.len() as u64,
            ..self.stats
        }
    }

    fn add(&mut self, to: NodeId, add: Add, fx: &mut Fx) {
        let (id, ledger, entry) = (add.id, add.ledger, add.entry);
        let answer = |outcome| BookieResponse::Added { id, ledger, entry, outcome };
        if self.doubts.contains(ledger) {
            return self.doubt(to, add, fx); // I7
        }
        match self.check_add(&add) {
            Err(outcome) => {
                match outcome {
                    AddOutcome::Fenced => self.stats.adds_fenced_total += 1,
                    AddOutcome::Unknown => self.stats.overloaded_total += 1,
                    AddOutcome::Stored | AddOutcome::ReadOnly => (),
                }
                respond(to, answer(outcome), fx);
            }
            Ok(Some(append)) => {
                if !self.pending.join(append, Waiting::Add { to, id }) {
                    self.stats.overloaded_total += 1;
                    respond(to, answer(AddOutcome::Unknown), fx);
                }
            }
            Ok(None) => {
                let bytes = add.data.len() as u64;
                self.stats.entries_added_total += 1;
                self.stats.bytes_added_total += bytes;
                let record = layout::entry_record(ledger, entry, add.lac, add.data);
                let what = Appending::Entry { ledger, entry, lac: add.lac };
                self.append(what, record, Some(Waiting::Add { to, id }), fx);
            }
        }
    }

    /// Whether an add is refused (or needs no work), joins one on its way, or is to be written.
    fn check_add(&self, add: &Add) -> Result<Option<AppendId>, AddOutcome> {
        if self.index.was_deleted(add.ledger) {
            return Err(AddOutcome::Fenced); // I7
        }
        let known = self.index.get(add.ledger);
        let fenced = known.is_some_and(|ledger| ledger.fence.is_some())
            || self.pending.fence(add.ledger).is_some()
            || known.is_some_and(|ledger| ledger.mark.is_some()); // LimboState I3
        if fenced && !add.recovery {
            return Err(AddOutcome::Fenced); // I2
        }
        if self.limbo.is_whole() && !add.recovery {
            // Until the loss is measured, a ledger known here may be incomplete and an unknown one may have been fenced.
            return Err(if known.is_some() { AddOutcome::Fenced } else { AddOutcome::Unknown });
        }
        let again = add.recovery && self.damaged.contains(add.ledger, add.entry); // Damaged I2
        if !again && known.is_some_and(|ledger| ledger.runs.from(add.entry).is_some()) {
            return Err(AddOutcome::Stored); // Asked again, and durable since.
        }
        if let Some(append) = self.pending.entry(add.ledger, add.entry) {
            return Ok(Some(append));
        }
        if self.read_only {
            return Err(AddOutcome::ReadOnly);
        }
        let len = add.data.len() as u64;
        let valid = add.entry >= EntryId(0)
            && len <= u64::from(self.options.entry_bytes_max)
            && add.data.head.len() <= usize::from(u16::MAX);
        let room = self.pending.bytes() + len <= self.options.pending_bytes_max || self.pending.len() == 0;
        if !valid || !room {
            return Err(AddOutcome::Unknown); // I5
        }
        Ok(None)
    }

    /// Makes the ledger fenced, then looks at the waiting question.
    fn fence(&mut self, ledger: LedgerId, waiting: Waiting, fx: &mut Fx) {
        let fenced = self.index.get(ledger).is_some_and(|l| l.fence.is_some());
        if fenced || self.index.is_deleted(ledger) {
            return self.wake(waiting, fx);
        }
        if let Some(append) = self.pending.fence(ledger) {
            if !self.pending.join(append, waiting) {
                self.refuse(waiting, fx);
            }
            return;
        }
        if self.pending.bytes() > 2 * self.options.pending_bytes_max {
            return self.refuse(waiting, fx);
        }
        self.append(Appending::Fence { ledger }, layout::fence_record(ledger), Some(waiting), fx);
    }

    fn delete(&mut self, ledger: LedgerId, waiting: Option<Waiting>, fx: &mut Fx) {
        if let Some(append) = self.pending.delete(ledger) {
            if let Some(waiting) = waiting
                && !self.pending.join(append, waiting)
            {
                self.refuse(waiting, fx);
            }
            return;
        }
        let known = self.index.delete(ledger);
        self.forget_damage(ledger);
        if !known {
            let unseen = !self.index.is_deleted(ledger) && self.pending.touches(ledger);
            if !unseen {
                // Deleted before, or never seen: there is nothing to make durable.
                self.index.forget(ledger);
                if let Some(waiting) = waiting {
                    self.wake(waiting, fx);
                }
                return;
            }
            self.index.delete_unseen(ledger);
        }
        self.append(Appending::Delete { ledger }, layout::delete_record(ledger), waiting, fx);
    }

    fn append(&mut self, what: Appending, record: Record, waiting: Option<Waiting>, fx: &mut Fx) {
        let id = self.pending.begin(what, record.len() as u64, waiting);
        fx.push(BookieEffect::Disk(DiskOp::Append { id, record }));
    }

    /// A record is durable: what it says is true from now on, and whoever waited is answered.
    fn appended(&mut self, now: Now, id: AppendId, placement: Placement, fx: &mut Fx) {
        let Some(done) = self.pending.finish(id) else {
            return;
        };
        self.index.files.note_written(placement);
        let file = file_no(placement.file);
        match done.what {
            Appending::Entry { ledger, entry, lac } => {
                let kept = self.index.apply_entry(ledger, entry, lac, placement);
                self.healed(ledger, entry);
                let outcome = if kept { AddOutcome::Stored } else { AddOutcome::Fenced };
                for waiting in done.waiting() {
                    match waiting {
                        Waiting::Add { to, id } => {
                            respond(to, BookieResponse::Added { id, ledger, entry, outcome }, fx);
                        }
                        Waiting::Delete { .. }
                        | Waiting::Read { .. }
                        | Waiting::Lac { .. }
                        | Waiting::Repaired { .. } => {
                            self.wake(waiting, fx);
                        }
                    }
                }
                return;
            }
            Appending::Fence { ledger } => self.index.apply_fence(ledger, file),
            Appending::Delete { ledger } => self.index.apply_tombstone(ledger, file),
            Appending::Mark { ledger, mark } => self.index.apply_mark(ledger, mark, file),
            Appending::Loss { loss } => {
                self.index.apply_loss(loss, file);
                self.loss_recorded(loss);
            }
            Appending::MovedEntry { .. }
            | Appending::MovedFence { .. }
            | Appending::MovedTombstone { .. }
            | Appending::MovedMark { .. }
            | Appending::MovedLoss { .. } => self.moved(now, done.what, placement),
        }
        for waiting in done.waiting() {
            self.wake(waiting, fx);
        }
    }

    /// What a request waited for has happened.
    fn wake(&mut self, waiting: Waiting, fx: &mut Fx) {
        match waiting {
            Waiting::Add { .. } => unreachable!("Bookie: adds wait only for their own entry"),
            Waiting::Delete { to, id, ledger } => respond(to, BookieResponse::Deleted { id, ledger }, fx),
            Waiting::Read { to, question } => self.read(to, question, 0, fx),
            Waiting::Lac { to, id, ledger } => self.answer_lac(to, id, ledger, fx),
            Waiting::Repaired { to, id, ledger } => self.answer_repaired(to, id, ledger, fx),
        }
    }

    /// Too much is waiting (I5).
    fn refuse(&mut self, waiting: Waiting, fx: &mut Fx) {
        self.stats.overloaded_total += 1;
        match waiting {
            Waiting::Read { to, question } => reads::answer_unknown(to, &question, fx),
            Waiting::Lac { to, id, ledger } => {
                respond(to, BookieResponse::Lac { id, ledger, outcome: LacOutcome::Unknown }, fx);
            }
            Waiting::Repaired { to, id, ledger } => self.answer_repaired(to, id, ledger, fx),
            // These have no word for it; the asker's timeout says the same.
            Waiting::Add { .. } | Waiting::Delete { .. } => (),
        }
    }

    fn answer_lac(&mut self, to: NodeId, id: RequestId, ledger: LedgerId, fx: &mut Fx) {
        let outcome = match self.index.get(ledger) {
            Some(known) => LacOutcome::Lac { lac: known.lac, last: known.runs.last() },
            None if self.may_have_lost(ledger) => LacOutcome::Unknown,
            None => LacOutcome::NoSuchLedger,
        };
        respond(to, BookieResponse::Lac { id, ledger, outcome }, fx);
    }

    fn note_space(&mut self, free_bytes: u64, total_bytes: u64) {
        self.stats.free_bytes = free_bytes;
        self.stats.total_bytes = total_bytes;
        let reserve = self.options.reserve_bytes;
        // Half a reserve of distance, so that one freed file does not flip it back and forth.
        self.read_only = free_bytes < if self.read_only { reserve + reserve / 2 } else { reserve };
    }

    /// Gives back every file that holds nothing any more (I6).
    fn release_files(&mut self, fx: &mut Fx) {
        while let Some(file) = self.index.files.take_empty() {
            self.stats.files_freed_total += 1;
            fx.push(BookieEffect::Disk(DiskOp::Free { file: files::file_id(file) }));
            self.index.drop_idle_tombstones();
        }
    }
}

fn respond(to: NodeId, response: BookieResponse, fx: &mut Fx) {
    fx.push(BookieEffect::Respond { to, response });
}
