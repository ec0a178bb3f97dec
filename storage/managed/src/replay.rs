//! Rebuilds the cursors from the closed cursor ledger.
//!
//! **Invariants**
//! - I1  every record of the ledger is applied, in order; a damaged one ends the open rather than forget acks.
//!
//! **Not here**  Recovering the ledger (`recover`), what operations do (`cursor_set`).

use crate::chain::Chain;
use crate::cursor_record::{CursorOp, decode};
use crate::cursor_set::CursorSet;
use crate::site::{Fx, Site, relay_all};
use crate::{Checkpoint, CursorId, SeededBug};
use base::{Effects, EntryData, EntryId, LedgerId, Mono, NodeId, Now};
use ledger::{LedgerMetadata, LedgerReader, ReaderEffects, ReaderEvent};
use wire::bookie::BookieResponse;

/// Records asked for at once.
const RECORDS_MAX: u32 = 10_000;
/// How often a failed read is repeated.
const ATTEMPTS_MAX: u32 = 5;

/// What a step led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplayOutcome {
    Pending,
    Done,
    Failed { ledger: LedgerId, reason: String },
    Damaged { reason: String },
}

/// The procedure.
#[derive(Debug)]
pub(crate) struct Replay {
    reader: LedgerReader,
    next: EntryId,
    last: EntryId,
    bytes_max: u32,
    attempts: u32,
    chain: Chain,
    cursors: CursorSet,
    checkpoint: Option<Checkpoint>,
}

impl Replay {
    /// Starts reading a closed cursor ledger.
    pub(crate) fn start(
        ledger: LedgerId,
        metadata: LedgerMetadata,
        chain: Chain,
        now: Now,
        site: &mut Site,
        fx: &mut Fx,
    ) -> (Self, ReplayOutcome) {
        let mut last = metadata.closed().map_or(EntryId::NONE, |(last, _)| last);
        if site.options.seeded.has(SeededBug::ReplayStopsEarly) {
            last = last.previous();
        }
        let reader = LedgerReader::new(site.machine_ids(), ledger, metadata, site.reader_options());
        let mut replay = Self {
            reader,
            next: EntryId(0),
            last,
            bytes_max: site.options.read_block_bytes,
            attempts: 0,
            chain,
            cursors: CursorSet::new(),
            checkpoint: None,
        };
        let outcome = replay.read(now, fx);
        (replay, outcome)
    }

    fn read(&mut self, now: Now, fx: &mut Fx) -> ReplayOutcome {
        if self.next > self.last {
            self.cursors.set_all_durable();
            return ReplayOutcome::Done;
        }
        let records = u32::try_from(self.last.count() - self.next.previous().count()).unwrap_or(u32::MAX);
        let mut inner = ReaderEffects::new();
        let asked = self.reader.read(now, self.next, records.min(RECORDS_MAX), self.bytes_max, &mut inner);
        relay_all(&mut inner, fx);
        match asked {
            Ok(_) => ReplayOutcome::Pending,
            Err(error) => ReplayOutcome::Failed { ledger: self.reader.ledger(), reason: error.to_string() },
        }
    }

    pub(crate) fn handle_bookie(
        &mut self,
        now: Now,
        from: NodeId,
        response: BookieResponse,
        fx: &mut Fx,
    ) -> ReplayOutcome {
        let mut inner = Effects::new();
        self.reader.handle_bookie(now, from, response, &mut inner);
        self.handle_events(now, relay_all(&mut inner, fx), fx)
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.reader.next_deadline()
    }

    pub(crate) fn on_deadline(&mut self, now: Now, fx: &mut Fx) -> ReplayOutcome {
        let mut inner = Effects::new();
        self.reader.on_deadline(now, &mut inner);
        self.handle_events(now, relay_all(&mut inner, fx), fx)
    }

    fn handle_events(&mut self, now: Now, events: Vec<ReaderEvent>, fx: &mut Fx) -> ReplayOutcome {
        // One read is under way at a time, so there is at most one event.
        let Some(ReaderEvent::ReadDone { result, .. }) = events.into_iter().next() else {
            return ReplayOutcome::Pending;
        };
        match result {
            Ok(records) => {
                if let Err(reason) = self.apply(records) {
                    return ReplayOutcome::Damaged { reason };
                }
                self.attempts = 0;
            }
            Err(error) if self.attempts >= ATTEMPTS_MAX => {
                return ReplayOutcome::Failed { ledger: self.reader.ledger(), reason: error.to_string() };
            }
            Err(_) => self.attempts += 1,
        }
        self.read(now, fx)
    }

    fn apply(&mut self, records: Vec<(EntryId, EntryData)>) -> Result<(), String> {
        for (entry, data) in records {
            assert!(entry == self.next, "Replay I1: record {entry} follows {}", self.next);
            let damaged = |reason: String| format!("cursor ledger {} entry {entry}: {reason}", self.reader.ledger());
            for op in decode(&data.body).map_err(|error| damaged(error.to_string()))? {
                match &op {
                    CursorOp::Create { id, .. } if !self.cursors.is_fresh(CursorId(*id)) => {
                        return Err(damaged(format!("cursor {id} is created twice")));
                    }
                    CursorOp::Checkpoint(checkpoint) => self.checkpoint = Some(checkpoint.clone()),
                    CursorOp::Create { .. }
                    | CursorOp::MarkDelete { .. }
                    | CursorOp::Ack { .. }
                    | CursorOp::Partial { .. }
                    | CursorOp::Reset { .. }
                    | CursorOp::Properties { .. }
                    | CursorOp::Delete { .. } => (),
                }
                self.cursors.apply(&self.chain, &op);
            }
            self.next = entry.next();
        }
        Ok(())
    }

    /// What was rebuilt.
    pub(crate) fn finish(self) -> (LedgerId, Vec<NodeId>, Chain, CursorSet, Option<Checkpoint>) {
        let bookies = self.reader.metadata().bookies().into_iter().collect();
        (self.reader.ledger(), bookies, self.chain, self.cursors, self.checkpoint)
    }
}
