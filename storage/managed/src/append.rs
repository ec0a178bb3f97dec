//! Appends entries: the open ledger, the queue before it, the way from one ledger to the next.
//!
//! **States**  None → Creating → Open → Closing → None. The next ledger's id may be drawn in any of them.
//!
//! **Invariants**
//! - I1  entries are confirmed in the order of the adds: a ledger takes entries only after the one before is closed and
//!   its end is in the metadata, and within a ledger confirmations come in entry order.
//! - I2  unconfirmed adds ≤ `pending_adds_max`, their bytes ≤ `pending_bytes_max` (one add is always taken).
//! - I3  a new ledger's id stands above every id of the chain.
//!
//! **Not here**  Replication (`ledger`), what is readable (`chain`), when a consumed ledger is given up (`trim`).
//!
//! **Tests**  `machine` property tests.

use crate::chain::Chain;
use crate::record::LedgerRecord;
use crate::site::{Fx, Site, relay_all};
use crate::store::{Change, RecordStore};
use crate::{AddRefused, ManagedEffect};
use base::{Effects, EntryData, LedgerId, Mono, NodeId, Now, RequestId};
use ledger::{LedgerMetadata, LedgerWriter, MetadataOutcome, VersionedMetadata, WriterEffects, WriterEvent};
use std::collections::VecDeque;
use wire::bookie::BookieResponse;

/// One add that is not confirmed.
#[derive(Debug)]
pub(crate) struct PendingAdd {
    pub(crate) ctx: u64,
    pub(crate) data: EntryData,
}

/// The ledger that is written.
#[derive(Debug)]
struct Current {
    writer: LedgerWriter,
    /// Entries and bytes given to the writer.
    entries: u64,
    bytes: u64,
    opened: Mono,
}

#[derive(Debug)]
enum Tail {
    None,
    Creating,
    Open(Box<Current>),
    Closing(Box<Current>),
}

/// The id of the next ledger.
#[derive(Debug)]
enum Fresh {
    None,
    Asked(RequestId),
    Drawn(LedgerId),
}

/// The writing end of the log.
#[derive(Debug)]
pub(crate) struct Appender {
    tail: Tail,
    fresh: Fresh,
    /// Given to the writer, oldest first.
    sent: VecDeque<PendingAdd>,
    /// Waiting for a ledger.
    waiting: VecDeque<PendingAdd>,
    bytes: u64,
}

impl Appender {
    pub(crate) fn new() -> Self {
        Self { tail: Tail::None, fresh: Fresh::None, sent: VecDeque::new(), waiting: VecDeque::new(), bytes: 0 }
    }

    /// Takes one add; `flush` sends it.
    pub(crate) fn add(&mut self, ctx: u64, data: EntryData, site: &Site) -> Result<(), AddRefused> {
        let (pending, bytes) = (self.pending(), self.bytes + data.len() as u64);
        let (pending_max, bytes_max) = (site.options.pending_adds_max, site.options.pending_bytes_max);
        if pending > 0 && (pending >= pending_max || bytes > bytes_max) {
            return Err(AddRefused::Busy { pending, bytes: self.bytes, pending_max, bytes_max });
        }
        self.bytes = bytes;
        self.waiting.push_back(PendingAdd { ctx, data });
        Ok(())
    }

    /// Sends what waits to the open ledger, closes a full one, begins a new one.
    pub(crate) fn flush(
        &mut self,
        now: Now,
        site: &mut Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Vec<WriterEvent> {
        let mut inner = Effects::new();
        while let Tail::Open(current) = &mut self.tail {
            if current.is_full(now, site) {
                self.begin_close(now, &mut inner);
                break;
            }
            let Some(add) = self.waiting.pop_front() else { break };
            match current.writer.add_entry(now, add.ctx, add.data.clone(), &mut inner) {
                Ok(_) => {
                    current.entries += 1;
                    current.bytes += add.data.len() as u64;
                    self.sent.push_back(add);
                }
                Err(_) => {
                    // Only a fenced writer refuses; its event ends us.
                    self.waiting.push_front(add);
                    break;
                }
            }
        }
        if !self.waiting.is_empty() && !matches!(self.tail, Tail::Open(_)) {
            self.begin_ledger(now, site, store, fx);
        }
        relay_all(&mut inner, fx)
    }

    /// Draws an id, then registers the next ledger once the one before is closed.
    fn begin_ledger(&mut self, now: Now, site: &mut Site, store: &mut RecordStore, fx: &mut Fx) {
        match self.fresh {
            Fresh::None => {
                let id = site.request_id();
                self.fresh = Fresh::Asked(id);
                fx.push(ManagedEffect::NeedLedgerId { id });
            }
            Fresh::Asked(_) => (),
            Fresh::Drawn(ledger) => {
                if let Tail::None = self.tail {
                    // Without enough bookies the adds wait; every later input tries again.
                    let Some(metadata) = site.new_ledger(now) else { return };
                    store.change(Change::StartLedger { ledger, metadata });
                    (self.tail, self.fresh) = (Tail::Creating, Fresh::None);
                }
            }
        }
    }

    /// Closes the open ledger behind what was sent to it.
    fn begin_close(&mut self, now: Now, inner: &mut WriterEffects) {
        if let Tail::Open(mut current) = std::mem::replace(&mut self.tail, Tail::None) {
            current.writer.close(now, inner);
            self.tail = Tail::Closing(current);
        }
    }

    /// Ends the current ledger, if one is open.
    pub(crate) fn roll_over(&mut self, now: Now, fx: &mut Fx) -> Vec<WriterEvent> {
        let mut inner = Effects::new();
        self.begin_close(now, &mut inner);
        relay_all(&mut inner, fx)
    }

    /// Whether this id was asked for here; then it is taken, or asked for anew when it is not above the chain (I3).
    pub(crate) fn handle_ledger_id(
        &mut self,
        id: RequestId,
        ledger: LedgerId,
        chain: &Chain,
        site: &mut Site,
        fx: &mut Fx,
    ) -> bool {
        if !matches!(self.fresh, Fresh::Asked(asked) if asked == id) {
            return false;
        }
        let newest = chain.newest().map_or_else(|| chain.last().ledger, |newest| newest.ledger);
        if ledger > newest {
            self.fresh = Fresh::Drawn(ledger);
        } else {
            let id = site.request_id();
            self.fresh = Fresh::Asked(id);
            fx.push(ManagedEffect::NeedLedgerId { id });
        }
        true
    }

    /// The new ledger is registered.
    pub(crate) fn handle_started(
        &mut self,
        now: Now,
        ledger: LedgerId,
        metadata: LedgerMetadata,
        version: u64,
        site: &mut Site,
    ) {
        assert!(matches!(self.tail, Tail::Creating), "Appender I1: one ledger at a time");
        let writer = site.writer(ledger, VersionedMetadata { metadata, version });
        self.tail = Tail::Open(Box::new(Current { writer, entries: 0, bytes: 0, opened: now.mono }));
    }

    /// The writer confirmed the oldest add.
    pub(crate) fn take_confirmed(&mut self, ctx: u64) -> (LedgerId, PendingAdd) {
        let (Some(add), Some(current)) = (self.sent.pop_front(), self.current()) else {
            panic!("Appender I1: a confirmation has its add and its ledger")
        };
        assert!(add.ctx == ctx, "Appender I1: confirmed {ctx} before {}", add.ctx);
        let ledger = current.writer.ledger();
        self.bytes -= add.data.len() as u64;
        (ledger, add)
    }

    /// The ledger is closed: what the record must say of it.
    pub(crate) fn take_closed(&mut self, now: Now) -> LedgerRecord {
        let Tail::Closing(current) = std::mem::replace(&mut self.tail, Tail::None) else {
            panic!("Appender I1: a ledger closes because it was asked to")
        };
        assert!(self.sent.is_empty(), "Appender I1: a ledger closes behind its last confirmation");
        LedgerRecord {
            id: current.writer.ledger(),
            entries: current.writer.last_confirmed().count(),
            bytes: current.writer.length(),
            closed_ms: Some(now.wall_ms),
            bookies: current.writer.metadata().bookies().into_iter().collect(),
        }
    }

    /// Every unconfirmed add, oldest first; the appender is stopped.
    pub(crate) fn stop(&mut self) -> Vec<u64> {
        let ctxs = self.sent.iter().chain(self.waiting.iter()).map(|add| add.ctx).collect();
        *self = Self::new();
        ctxs
    }

    // ---- inputs of the writer ----

    fn current_mut(&mut self) -> Option<&mut Current> {
        match &mut self.tail {
            Tail::Open(current) | Tail::Closing(current) => Some(current),
            Tail::None | Tail::Creating => None,
        }
    }

    fn current(&self) -> Option<&Current> {
        match &self.tail {
            Tail::Open(current) | Tail::Closing(current) => Some(current),
            Tail::None | Tail::Creating => None,
        }
    }

    /// A bookie's answer to an add; `None` when it is not ours.
    pub(crate) fn handle_added(
        &mut self,
        now: Now,
        from: NodeId,
        response: &BookieResponse,
        fx: &mut Fx,
    ) -> Option<Vec<WriterEvent>> {
        let current = self.current_mut().filter(|current| current.writer.owns(response.id()))?;
        let mut inner = Effects::new();
        current.writer.handle_add_response(now, from, response, &mut inner);
        Some(relay_all(&mut inner, fx))
    }

    /// A metadata answer to the writer; `None` when it is not ours.
    pub(crate) fn handle_meta(
        &mut self,
        now: Now,
        id: RequestId,
        outcome: &MetadataOutcome,
        fx: &mut Fx,
    ) -> Option<Vec<WriterEvent>> {
        let current = self.current_mut().filter(|current| current.writer.owns(id))?;
        let mut inner = Effects::new();
        current.writer.handle_metadata(now, id, outcome.clone(), &mut inner);
        Some(relay_all(&mut inner, fx))
    }

    pub(crate) fn set_available(&mut self, now: Now, site: &Site, fx: &mut Fx) -> Vec<WriterEvent> {
        let mut inner = Effects::new();
        if let Some(current) = self.current_mut() {
            current.writer.set_zones(site.zones.clone());
            current.writer.set_available(now, site.bookies.clone(), &mut inner);
        }
        relay_all(&mut inner, fx)
    }

    pub(crate) fn on_deadline(&mut self, now: Now, fx: &mut Fx) -> Vec<WriterEvent> {
        let mut inner = Effects::new();
        if let Some(current) = self.current_mut() {
            current.writer.on_deadline(now, &mut inner);
        }
        relay_all(&mut inner, fx)
    }

    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.current()?.writer.next_deadline()
    }

    // ---- getters ----

    /// Adds not yet confirmed.
    pub(crate) fn pending(&self) -> usize {
        self.sent.len() + self.waiting.len()
    }

    /// Whether nothing is open, under way or waiting.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.tail, Tail::None) && self.waiting.is_empty()
    }

    /// Whether the open ledger has nothing to wait for before it may be closed for good.
    pub(crate) fn may_close(&self) -> bool {
        matches!(self.tail, Tail::Open(_)) && self.waiting.is_empty()
    }

    /// When the open ledger was opened.
    pub(crate) fn opened(&self) -> Option<Mono> {
        match &self.tail {
            Tail::Open(current) => Some(current.opened),
            Tail::None | Tail::Creating | Tail::Closing(_) => None,
        }
    }

    /// The metadata of the ledger being written, if it is this one.
    pub(crate) fn metadata_of(&self, ledger: LedgerId) -> Option<&LedgerMetadata> {
        self.current().map(|current| &current.writer).filter(|w| w.ledger() == ledger).map(LedgerWriter::metadata)
    }

    /// The bookies of the ledger being written.
    pub(crate) fn bookies(&self) -> Option<(LedgerId, Vec<NodeId>)> {
        let writer = &self.current()?.writer;
        Some((writer.ledger(), writer.metadata().bookies().into_iter().collect()))
    }
}

impl Current {
    fn is_full(&self, now: Now, site: &Site) -> bool {
        let options = &site.options;
        let too_old = now.mono.since(self.opened) >= options.ledger_age_max;
        self.entries >= options.ledger_entries_max
            || self.bytes >= options.ledger_bytes_max
            || (self.entries > 0 && too_old)
    }
}
