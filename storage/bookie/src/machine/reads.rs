//! Reads: from the sparse index to a block of a file, and from the block to verified entries.
//!
//! **What**  One read of the device answers one request: from the run that holds the first entry over its neighbours, as far
//! as they stand in order in the same file, up to [`READ_BYTES_MAX`] (one run is read whole, however long its entries are).
//! When the cleaner moved the entry meanwhile, the read starts over at its new place.

use super::files::{FileNo, file_id};
use super::pending::{ReadQuestion, Waiting};
use super::runs::Run;
use super::{Bookie, Fx, respond};
use crate::disk::{DiskOp, DiskReadError, ReadId};
use crate::layout::{self, DamageReport, Walk};
use crate::options::{BookieEffect, Damage};
use base::{FixedMap, NodeId};
use bytes::Bytes;
use wire::bookie::{BookieResponse, ReadOutcome};

/// A read of the device covers at most this much, unless one run is longer.
const READ_BYTES_MAX: u64 = 1 << 20;
/// How often a read follows an entry that moves.
const ATTEMPTS_MAX: u32 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    file: FileNo,
    offset: u64,
    len: u32,
}

#[derive(Debug)]
struct OnItsWay {
    to: NodeId,
    question: ReadQuestion,
    span: Span,
    attempt: u32,
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    open: FixedMap<ReadId, OnItsWay>,
    bytes: u64,
    last_id: u64,
}

impl Reads {
    pub(super) fn next_id(&mut self) -> ReadId {
        self.last_id += 1;
        ReadId(self.last_id)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}

impl Bookie {
    /// Answers a read, now when it is negative, otherwise after the device has read.
    pub(super) fn read(&mut self, to: NodeId, question: ReadQuestion, attempt: u32, fx: &mut Fx) {
        let ledger = question.ledger;
        let known = self.index.get(ledger);
        if let Some(runs) = known.and_then(|l| l.runs.from(question.from)) {
            let span = span_of(runs, &question);
            return self.start_read(OnItsWay { to, question, span, attempt }, fx);
        }
        if let Some(append) = self.pending.entry(ledger, question.from) {
            // On its way to disk: a negative answer would be wrong in a moment (I3).
            if !self.pending.join(append, Waiting::Read { to, question }) {
                self.stats.overloaded_total += 1;
                answer_unknown(to, &question, fx);
            }
            return;
        }
        let outcome = match known {
            _ if self.may_have_lost(ledger) && !self.index.is_deleted(ledger) => ReadOutcome::Unknown,
            Some(_) => ReadOutcome::NoSuchEntry,
            None if self.pending.touches(ledger) => ReadOutcome::NoSuchEntry,
            None => ReadOutcome::NoSuchLedger,
        };
        respond(to, BookieResponse::Read { id: question.id, ledger, outcome }, fx);
    }

    fn start_read(&mut self, read: OnItsWay, fx: &mut Fx) {
        let room = self.options.pending_read_bytes_max.saturating_sub(self.reads.bytes);
        if u64::from(read.span.len) > room && self.reads.len() > 0 {
            self.stats.overloaded_total += 1;
            return answer_unknown(read.to, &read.question, fx);
        }
        let id = self.reads.next_id();
        let Span { file, offset, len } = read.span;
        fx.push(BookieEffect::Disk(DiskOp::Read { id, file: file_id(file), offset, len }));
        self.reads.bytes += u64::from(len);
        self.reads.open.insert(id, read);
    }

    /// The device has read, or could not.
    pub(super) fn read_done(&mut self, id: ReadId, outcome: Result<Bytes, DiskReadError>, fx: &mut Fx) {
        let Some(OnItsWay { to, question, span, attempt }) = self.reads.open.remove(&id) else {
            return;
        };
        self.reads.bytes -= u64::from(span.len);
        let block = outcome.unwrap_or_default();
        let walk = Walk::new(block, span.offset);
        let found = layout::collect(walk, question.ledger, question.from, question.entries_max, question.bytes_max);
        if !found.entries.is_empty() {
            // I4: `collect` gives out only what is verified.
            self.stats.entries_read_total += found.entries.len() as u64;
            self.stats.bytes_read_total += found.entries.iter().map(|e| e.data.len() as u64).sum::<u64>();
            let outcome = ReadOutcome::Entries(found.entries);
            return respond(to, BookieResponse::Read { id: question.id, ledger: question.ledger, outcome }, fx);
        }
        let runs = self.index.get(question.ledger).and_then(|l| l.runs.from(question.from));
        let place = runs.map(|runs| span_of(runs, &question));
        if place != Some(span) && attempt < ATTEMPTS_MAX {
            return self.read(to, question, attempt + 1, fx);
        }
        self.stats.damaged_reads_total += 1;
        if place == Some(span) && self.damaged.note(question.ledger, question.from) {
            let (file, offset) = (file_id(span.file), span.offset);
            let report = DamageReport { file, offset, what: "an entry cannot be read" };
            fx.push(BookieEffect::Damaged(Damage { report, entry: Some((question.ledger, question.from)) }));
        }
        answer_unknown(to, &question, fx); // I3: it is indexed, so it once was here.
    }
}

/// Neither yes nor no.
pub(super) fn answer_unknown(to: NodeId, question: &ReadQuestion, fx: &mut Fx) {
    let ReadQuestion { id, ledger, .. } = *question;
    respond(to, BookieResponse::Read { id, ledger, outcome: ReadOutcome::Unknown }, fx);
}

/// What to read: the first run, and those behind it while they bring what was asked for.
fn span_of(runs: &[Run], question: &ReadQuestion) -> Span {
    let Some((first, rest)) = runs.split_first() else {
        unreachable!("Bookie: a read is planned over at least one run");
    };
    let offset = u64::from(first.offset);
    let (mut end, mut next, mut bytes) = (first.end_offset(), first.end(), u64::from(first.bytes));
    for run in rest {
        let in_order = run.file == first.file && run.first().0 == next && u64::from(run.offset) >= offset;
        let short = bytes < u64::from(question.bytes_max)
            && next - question.from.0 < i64::from(question.entries_max)
            && run.end_offset().saturating_sub(offset) <= READ_BYTES_MAX;
        if !in_order || !short {
            break;
        }
        end = end.max(run.end_offset());
        next = run.end();
        bytes += u64::from(run.bytes);
    }
    let Ok(len) = u32::try_from(end - offset) else {
        unreachable!("Bookie: a run lies within a file below 4 GiB");
    };
    Span { file: first.file, offset, len }
}
