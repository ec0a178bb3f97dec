//! The machines under test: the writer, recoveries, readers.

use super::check::Finding;
use super::{Event, LEDGER, READERS, REST_WITHIN, WRITER, World};
use crate::queue::MS;
use base::{Effects, EntryData, EntryId, Mono, NodeId, Now, OwnerId, RequestId};
use bytes::Bytes;
use ledger::{
    AddError, LedgerEffect, LedgerReader, LedgerRecovery, LedgerWriter, MetadataOutcome, Placement, ReaderEvent,
    ReaderOptions, RecoveryEvent, RequestIds, VersionedMetadata, WriterEvent,
};
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse};

/// Somebody who takes the ledger over, as often as it takes.
#[derive(Debug, Default)]
pub(super) struct Recoverer {
    machine: Option<LedgerRecovery>,
    attempts: u32,
    pub(super) done: bool,
}

fn place(client: u64) -> usize {
    usize::try_from(client).unwrap_or(usize::MAX) - 1
}

impl World {
    pub(super) fn add(&mut self) -> Result<(), Finding> {
        if self.added == self.plan.entries {
            if self.recoverers.is_empty() || self.plan.writer_closes {
                return self.with_writer(|writer, now, fx| writer.close(now, fx));
            }
            return Ok(());
        }
        let (ctx, now) = (1_000 + self.added, self.clock());
        let len = usize::try_from(self.plan.rng.below(60)).unwrap_or(0);
        let data =
            EntryData::new(Bytes::from(ctx.to_be_bytes().to_vec()), Bytes::from(vec![ctx.to_be_bytes()[7]; len]));
        let mut fx = Effects::new();
        match self.writer.add_entry(now, ctx, data.clone(), &mut fx) {
            Ok(entry) => {
                self.added += 1;
                self.checker.add(entry, ctx, data)?;
            }
            Err(AddError::Full { .. }) => (),
            Err(AddError::Closed | AddError::Fenced) => return Ok(()),
        }
        self.writer_effects(fx)?;
        let at = self.now + 1 + self.plan.rng.below(2 * self.plan.add_gap);
        self.queue.plan(at, Event::Add);
        Ok(())
    }

    pub(super) fn with_writer(
        &mut self,
        act: impl FnOnce(&mut LedgerWriter, Now, &mut Effects<LedgerEffect<WriterEvent>>),
    ) -> Result<(), Finding> {
        let mut fx = Effects::new();
        let (now, lac) = (self.clock(), self.writer.last_confirmed());
        act(&mut self.writer, now, &mut fx);
        if self.writer.last_confirmed() < lac {
            return Err(format!("L1: the LAC fell from {lac} to {}", self.writer.last_confirmed()));
        }
        self.writer_effects(fx)
    }

    fn writer_effects(&mut self, fx: Effects<LedgerEffect<WriterEvent>>) -> Result<(), Finding> {
        for event in self.execute(WRITER, fx)? {
            match event {
                WriterEvent::Confirmed { ctx, entry } => {
                    self.checker.confirm(entry, ctx)?;
                    self.checker.copies(self.writer.metadata(), entry.0..=entry.0)?;
                }
                WriterEvent::Fenced { unknown } => {
                    self.checker.fence_writer(&unknown)?;
                    self.writer_ended = true;
                    if self.recoverers.is_empty() {
                        return Err("L1: the writer was fenced and nobody fences".to_owned());
                    }
                }
                WriterEvent::Closed { last_entry, .. } => {
                    self.checker.recovered(last_entry)?;
                    self.writer_ended = true;
                }
                WriterEvent::EnsembleChanged => (),
            }
        }
        let deadline = self.writer.next_deadline();
        self.plan_tick(WRITER, deadline);
        Ok(())
    }

    pub(super) fn start_recovery(&mut self, client: u64, metadata: VersionedMetadata) -> Result<(), Finding> {
        let attempts = self.recoverers[place(client)].attempts;
        let ids = RequestIds::new(OwnerId(client), attempts);
        let placement = Placement::new(self.hosts.keys().copied().collect(), self.plan.rng.fork("recovery"));
        let (mut fx, now) = (Effects::new(), self.clock());
        let machine = LedgerRecovery::start(ids, LEDGER, metadata, self.plan.recovery, placement, now, &mut fx);
        self.recoverers[place(client)] = Recoverer { machine: Some(machine), attempts: attempts + 1, done: false };
        self.recovery_effects(client, fx)
    }

    fn with_recovery(
        &mut self,
        client: u64,
        act: impl FnOnce(&mut LedgerRecovery, Now, &mut Effects<LedgerEffect<RecoveryEvent>>),
    ) -> Result<(), Finding> {
        let (mut fx, now) = (Effects::new(), self.clock());
        if let Some(machine) = &mut self.recoverers[place(client)].machine {
            act(machine, now, &mut fx);
        }
        self.recovery_effects(client, fx)
    }

    fn recovery_effects(&mut self, client: u64, fx: Effects<LedgerEffect<RecoveryEvent>>) -> Result<(), Finding> {
        let reads = |effect: &LedgerEffect<RecoveryEvent>| {
            matches!(effect, LedgerEffect::Bookie { request: BookieRequest::Read { .. }, .. })
        };
        if fx.iter().any(reads) && self.closed_at().is_none() {
            self.checker.may_read(&self.store.metadata)?;
        }
        for event in self.execute(client, fx)? {
            match event {
                RecoveryEvent::Recovered { last_entry, .. } => {
                    self.checker.recovered(last_entry)?;
                    self.recoverers[place(client)].done = true;
                }
                RecoveryEvent::Failed(_) => self.queue.plan(self.now + 50 * MS, Event::Takeover { client }),
            }
        }
        let deadline = self.recoverers[place(client)].machine.as_ref().and_then(LedgerRecovery::next_deadline);
        self.plan_tick(client, deadline);
        Ok(())
    }

    pub(super) fn deliver(&mut self, client: u64, from: NodeId, response: BookieResponse) -> Result<(), Finding> {
        match client {
            WRITER => self.with_writer(|writer, now, fx| writer.handle_add_response(now, from, &response, fx)),
            READERS.. => self.with_reader(|reader, now, fx| reader.handle_bookie(now, from, response, fx)),
            _ => self.with_recovery(client, |machine, now, fx| {
                if machine.owns(response.id()) {
                    machine.handle_bookie(now, from, response, fx);
                }
            }),
        }
    }

    pub(super) fn deliver_metadata(
        &mut self,
        client: u64,
        id: RequestId,
        outcome: MetadataOutcome,
    ) -> Result<(), Finding> {
        match client {
            WRITER => self.with_writer(|writer, now, fx| writer.handle_metadata(now, id, outcome, fx)),
            _ => self.with_recovery(client, |machine, now, fx| machine.handle_metadata(now, id, outcome, fx)),
        }
    }

    pub(super) fn tick(&mut self, client: u64) -> Result<(), Finding> {
        if self.ticks.get(&client) == Some(&self.now) {
            self.ticks.remove(&client);
        }
        match client {
            WRITER => self.with_writer(|writer, now, fx| writer.on_deadline(now, fx)),
            READERS.. => self.with_reader(|reader, now, fx| reader.on_deadline(now, fx)),
            _ => self.with_recovery(client, |machine, now, fx| machine.on_deadline(now, fx)),
        }
    }

    fn plan_tick(&mut self, client: u64, deadline: Option<Mono>) {
        let Some(Mono(at)) = deadline else { return };
        if self.ticks.get(&client).is_some_and(|planned| *planned <= at && *planned > self.now) {
            return;
        }
        let at = at.max(self.now + 1000);
        self.ticks.insert(client, at);
        self.queue.plan(at, Event::Tick { client });
    }

    /// Sends what a machine asks for and answers its events.
    fn execute<E>(&mut self, client: u64, mut fx: Effects<LedgerEffect<E>>) -> Result<Vec<E>, Finding> {
        let mut events = Vec::new();
        for effect in fx.take() {
            match effect {
                LedgerEffect::Bookie { to, request } => {
                    if let BookieRequest::Add { lac, .. } = &request {
                        self.checker.copies(&self.store.metadata, lac.0.max(0)..=lac.0)?;
                    }
                    self.send(client, to, Event::ToBookie { client, to, request });
                }
                LedgerEffect::ReadMetadata { id, .. } => self.ask_store(client, id, Event::ReadStore { client, id }),
                LedgerEffect::CasMetadata { id, version, metadata, .. } => {
                    self.ask_store(client, id, Event::CasStore { client, id, version, metadata });
                }
                LedgerEffect::Event(event) => events.push(event),
            }
        }
        Ok(events)
    }

    // ---- reading back

    /// Reads the closed ledger from its beginning, each time from another bookie first.
    pub(super) fn read_back(&mut self) -> Result<(), Finding> {
        self.reader_client += 1;
        let prefer = Some(NodeId(self.reader_client - READERS));
        let (read_timeout, speculate_after) = (Duration::from_millis(20), Duration::from_millis(2));
        let options = ReaderOptions { read_timeout, speculate_after, reads_max: 1, prefer };
        let ids = RequestIds::new(OwnerId(self.reader_client), 1);
        self.reader = Some(LedgerReader::new(ids, LEDGER, self.store.metadata.clone(), options));
        self.read_next = EntryId(0);
        let Some(end) = self.closed_at() else { return Err("liveness: not closed".to_owned()) };
        let give_up = self.now + REST_WITHIN;
        self.read_more()?;
        while self.read_next <= end {
            self.step(give_up)?;
        }
        if self.read_next.0 < i64::try_from(self.checker.confirmed).unwrap_or(i64::MAX) {
            return Err("L3: a confirmed entry was not read back".to_owned());
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), Finding> {
        let (from, end) = (self.read_next, self.closed_at());
        let small = |number: u64| u32::try_from(number).unwrap_or(1);
        let (entries, bytes) = (small(self.plan.rng.range(1, 9)), small(self.plan.rng.range(1, 300)));
        if end.is_none_or(|end| from > end) {
            return Ok(());
        }
        let mut refused = None;
        self.with_reader(|reader, now, fx| refused = reader.read(now, from, entries, bytes, fx).err())?;
        refused.map_or(Ok(()), |error| Err(format!("L4: a read was refused: {error}")))
    }

    fn with_reader(
        &mut self,
        act: impl FnOnce(&mut LedgerReader, Now, &mut Effects<LedgerEffect<ReaderEvent>>),
    ) -> Result<(), Finding> {
        let (mut fx, now) = (Effects::new(), self.clock());
        let Some(reader) = &mut self.reader else { return Ok(()) };
        act(reader, now, &mut fx);
        let deadline = reader.next_deadline();
        self.plan_tick(self.reader_client, deadline);
        for event in self.execute(self.reader_client, fx)? {
            let ReaderEvent::ReadDone { result, .. } = event;
            for (entry, data) in result.map_err(|error| format!("L4: {error}"))? {
                if entry != self.read_next {
                    return Err(format!("L4: {entry} was read instead of {}", self.read_next));
                }
                self.checker.read(entry, &data)?;
                self.read_next = entry.next();
            }
            self.read_more()?;
        }
        Ok(())
    }
}
