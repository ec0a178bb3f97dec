//! Reads the closed ledger back, entry by entry.

use super::{LEDGER, LIVENESS_US, World};
use crate::check::Violation;
use crate::plan::READER;
use base::{Effects, Now, OwnerId};
use ledger::{LedgerEffect, LedgerReader, ReaderEvent, ReaderOptions, RequestIds};
use std::time::Duration;

impl World {
    pub(super) fn read_back(&mut self) -> Result<(), Violation> {
        let (read_timeout, speculate_after) = (Duration::from_millis(20), Duration::from_micros(200));
        let options = ReaderOptions { read_timeout, speculate_after, reads_max: 1, prefer: None };
        let ids = RequestIds::new(OwnerId(u64::try_from(READER).unwrap()), 1);
        let metadata = self.store.current.metadata.clone();
        self.reader = Some(LedgerReader::new(ids, LEDGER, metadata, options));
        let Some(end) = self.store.closed_at() else { return Err("liveness: not closed".to_owned()) };
        let give_up = self.now + LIVENESS_US;
        self.read_more()?;
        while self.read_next <= end {
            self.step(give_up)?;
        }
        if self.read_next.0 < i64::try_from(self.checker.confirmed()).unwrap() {
            return Err("C3: a confirmed entry was not read back".to_owned());
        }
        Ok(())
    }

    fn read_more(&mut self) -> Result<(), Violation> {
        let (from, entries, bytes) = (self.read_next, self.plan.rng.range(1, 9), self.plan.rng.range(1, 300));
        let (entries, bytes) = (u32::try_from(entries).unwrap(), u32::try_from(bytes).unwrap());
        self.with_reader(|reader, now, fx| {
            if from <= reader.metadata().closed().unwrap().0 {
                reader.read(now, from, entries, bytes, fx).unwrap();
            }
        })
    }

    pub(super) fn with_reader(
        &mut self,
        act: impl FnOnce(&mut LedgerReader, Now, &mut Effects<LedgerEffect<ReaderEvent>>),
    ) -> Result<(), Violation> {
        let (mut fx, now) = (Effects::new(), self.now());
        let Some(reader) = &mut self.reader else { return Ok(()) };
        act(reader, now, &mut fx);
        let deadline = reader.next_deadline();
        self.schedule_tick(READER, deadline)?;
        for event in self.execute(READER, fx)? {
            let ReaderEvent::ReadDone { result, .. } = event;
            for (entry, data) in result.map_err(|error| format!("C4: {error}"))? {
                if entry != self.read_next {
                    return Err(format!("LedgerReader I1: {entry} read instead of {}", self.read_next));
                }
                self.checker.check_read(entry, &data)?;
                self.read_next = entry.next();
            }
            self.read_more()?;
        }
        Ok(())
    }
}
