//! The ledger readers of one managed ledger, made when needed.
//!
//! **What**  The ledger being written is read with its writer's metadata; for every other one the metadata is fetched.
//!
//! **Invariants**
//! - I1  readers without a read under way ≤ [`READERS_MAX`]; the least recently used goes first.
//!
//! **Not here**  What is read (`reads`).

use crate::reads::ReadScope;
use crate::site::{Fx, META_PAUSE, META_TIMEOUT, decode_ledger, get, relay_all};
use base::{Effects, EntryId, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{LedgerReader, ReaderEvent, VersionedMetadata};
use meta_api::MetaResponse;
use wire::bookie::BookieResponse;

/// Ledgers that are read at once.
const READERS_MAX: usize = 4;

/// A reader, or the wait for its metadata.
#[derive(Debug)]
pub(crate) enum ReaderState {
    /// `id` is `None` while pausing after a failure.
    Loading {
        id: Option<RequestId>,
        due: Mono,
    },
    Ready(Box<ReadyReader>),
}

/// A reader that can read.
#[derive(Debug)]
pub(crate) struct ReadyReader {
    reader: LedgerReader,
}

impl ReadyReader {
    /// Starts a read; `None` when the reader takes none now (then an answer or a deadline tries again).
    pub(crate) fn read(
        &mut self,
        now: Now,
        from: EntryId,
        entries_max: u32,
        bytes_max: u32,
        fx: &mut Fx,
    ) -> Option<ledger::ReadId> {
        let mut inner = Effects::new();
        let read = self.reader.read(now, from, entries_max, bytes_max, &mut inner).ok();
        let events = relay_all(&mut inner, fx);
        assert!(events.is_empty(), "a read is answered by its bookies, not by asking");
        read
    }
}

#[derive(Debug)]
struct Reader {
    ledger: LedgerId,
    state: ReaderState,
    used: u64,
}

/// The readers.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    readers: Vec<Reader>,
    clock: u64,
}

impl Readers {
    /// The reader of this ledger, made if there is none.
    pub(crate) fn prepare(&mut self, ledger: LedgerId, scope: &mut ReadScope<'_>) -> &mut ReaderState {
        self.clock += 1;
        let written = scope.appender.metadata_of(ledger);
        let index = match self.readers.iter().position(|reader| reader.ledger == ledger) {
            Some(index) => {
                if let (ReaderState::Ready(ready), Some(metadata)) = (&mut self.readers[index].state, written) {
                    // The ensemble may have changed since the last read.
                    if ready.reader.metadata() != metadata {
                        ready.reader.set_metadata(metadata.clone());
                    }
                }
                index
            }
            None => {
                self.make_room();
                let state = match written.cloned() {
                    Some(metadata) => ready(ledger, metadata, scope),
                    None => {
                        let id = scope.site.request_id();
                        scope.fx.push(get(id, ledger.key()));
                        ReaderState::Loading { id: Some(id), due: scope.now.mono + META_TIMEOUT }
                    }
                };
                self.readers.push(Reader { ledger, state, used: 0 });
                self.readers.len() - 1
            }
        };
        let reader = &mut self.readers[index];
        reader.used = self.clock;
        &mut reader.state
    }

    fn make_room(&mut self) {
        while self.readers.len() >= READERS_MAX {
            let idle = self.readers.iter().enumerate().filter(|(_, reader)| reader.is_idle());
            let Some(index) = idle.min_by_key(|(_, reader)| reader.used).map(|(index, _)| index) else { return };
            self.readers.swap_remove(index);
        }
    }

    pub(crate) fn forget(&mut self, ledger: LedgerId) {
        self.readers.retain(|reader| reader.ledger != ledger);
    }

    /// Nothing is being fetched: one reader is enough to keep.
    pub(crate) fn keep_newest(&mut self) {
        let newest = self.readers.iter().map(|reader| reader.used).max();
        self.readers.retain(|reader| Some(reader.used) == newest);
    }

    pub(crate) fn handle_bookie(
        &mut self,
        from: NodeId,
        response: BookieResponse,
        scope: &mut ReadScope<'_>,
    ) -> Option<(LedgerId, Vec<ReaderEvent>)> {
        let id = response.id();
        let owner = self.readers.iter_mut().find_map(|reader| match &mut reader.state {
            ReaderState::Ready(ready) if ready.reader.owns(id) => Some((reader.ledger, ready)),
            ReaderState::Ready(_) | ReaderState::Loading { .. } => None,
        });
        let (ledger, ready) = owner?;
        let mut inner = Effects::new();
        ready.reader.handle_bookie(scope.now, from, response, &mut inner);
        Some((ledger, relay_all(&mut inner, scope.fx)))
    }

    /// Takes the metadata of a ledger; answers whether it was awaited here.
    pub(crate) fn handle_meta(&mut self, id: RequestId, response: &MetaResponse, scope: &mut ReadScope<'_>) -> bool {
        let awaited =
            |reader: &&mut Reader| matches!(reader.state, ReaderState::Loading { id: Some(own), .. } if own == id);
        let Some(reader) = self.readers.iter_mut().find(awaited) else { return false };
        let current = match response {
            MetaResponse::Value(Some(value)) => decode_ledger(value),
            MetaResponse::Value(None)
            | MetaResponse::Range { .. }
            | MetaResponse::Committed { .. }
            | MetaResponse::Conflict { .. }
            | MetaResponse::Reserved { .. }
            | MetaResponse::Refused { .. }
            | MetaResponse::Unavailable { .. } => None,
        };
        reader.state = match current {
            Some(VersionedMetadata { metadata, .. }) => ready(reader.ledger, metadata, scope),
            None => ReaderState::Loading { id: None, due: scope.now.mono + META_PAUSE },
        };
        true
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        let due = |reader: &Reader| match &reader.state {
            ReaderState::Loading { due, .. } => Some(*due),
            ReaderState::Ready(ready) => ready.reader.next_deadline(),
        };
        self.readers.iter().filter_map(due).min()
    }

    /// Drives timeouts: metadata that did not come is asked for again by making the reader anew.
    pub(crate) fn on_deadline(&mut self, scope: &mut ReadScope<'_>) -> Vec<(LedgerId, Vec<ReaderEvent>)> {
        let now = scope.now;
        self.readers.retain(|r| !matches!(r.state, ReaderState::Loading { due, .. } if due <= now.mono));
        let mut events = Vec::new();
        for reader in &mut self.readers {
            if let ReaderState::Ready(ready) = &mut reader.state {
                let mut inner = Effects::new();
                ready.reader.on_deadline(now, &mut inner);
                events.push((reader.ledger, relay_all(&mut inner, scope.fx)));
            }
        }
        events
    }
}

impl Reader {
    fn is_idle(&self) -> bool {
        match &self.state {
            ReaderState::Loading { .. } => false,
            ReaderState::Ready(ready) => ready.reader.reads() == 0,
        }
    }
}

fn ready(ledger: LedgerId, metadata: ledger::LedgerMetadata, scope: &mut ReadScope<'_>) -> ReaderState {
    let options = scope.site.reader_options();
    let reader = LedgerReader::new(scope.site.machine_ids(), ledger, metadata, options);
    ReaderState::Ready(Box::new(ReadyReader { reader }))
}
