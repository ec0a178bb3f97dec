//! The writer and the recoveries: the real machines, and what each has asked the metadata store.

use crate::identity::MACHINE;
use crate::scene::Scene;
use base::{Effects, EntryData, EntryId, Mono, NodeId, Now, OwnerId, RequestId};
use bytes::Bytes;
use ledger::{
    LedgerEffect, LedgerMetadata, LedgerRecovery, LedgerWriter, MetadataOutcome, Placement, RecoveryEvent,
    RecoveryOptions, RequestIds, VersionedMetadata, WriterEvent, WriterOptions,
};
use std::time::Duration;
use wire::bookie::{BookieRequest, BookieResponse};

/// The one ledger.
pub(crate) const LEDGER: base::LedgerId = base::LedgerId(1);

/// What a client asks the store.
#[derive(Clone, Debug, Hash)]
pub(crate) enum StoreRequest {
    Read { id: RequestId },
    Cas { id: RequestId, version: u64, metadata: LedgerMetadata },
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Machine {
    /// A recovery that has not begun.
    Waiting,
    Writer(LedgerWriter),
    Recovery(LedgerRecovery),
    /// Ended: it neither sends nor listens.
    Done,
}

/// One machine with its line to the store.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Client {
    number: u64,
    pub(crate) machine: Machine,
    pub(crate) timeouts_left: u8,
    /// On its way to the store.
    pub(crate) asking: Option<StoreRequest>,
    /// On its way back.
    pub(crate) told: Option<(RequestId, MetadataOutcome)>,
}

/// What a step of a client does to the rest of the world.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) requests: Vec<(NodeId, BookieRequest)>,
    pub(crate) confirmed: Vec<EntryId>,
    /// The ends that it believes in.
    pub(crate) ends: Vec<EntryId>,
}

fn now_at(mono: Mono) -> Now {
    Now { mono, wall_ms: 0 }
}

/// Time stands still.
const NOW: Now = Now { mono: Mono(0), wall_ms: 0 };

/// The content of an entry: no two entries are alike.
pub(crate) fn content(entry: EntryId) -> EntryData {
    EntryData::new(Bytes::new(), Bytes::copy_from_slice(&entry.0.to_le_bytes()[..1]))
}

fn placement(scene: &Scene) -> Placement {
    Placement::new((1..=scene.bookies).map(NodeId).collect(), base::Rng::new(1))
}

impl Client {
    fn new(number: u64, machine: Machine, timeouts_left: u8) -> Self {
        Self { number, machine, timeouts_left, asking: None, told: None }
    }

    pub(crate) fn writer(scene: &Scene, metadata: VersionedMetadata) -> Self {
        let options = WriterOptions {
            pending_adds_max: 8,
            pending_bytes_max: 1 << 10,
            add_timeout: Duration::ZERO,
            seeded: scene.seeded,
        };
        let ids = RequestIds::new(OwnerId(0), MACHINE);
        let writer = LedgerWriter::new(ids, LEDGER, metadata, options, placement(scene));
        Self::new(0, Machine::Writer(writer), scene.writer_timeouts)
    }

    pub(crate) fn recovery(scene: &Scene, number: u64) -> Self {
        Self::new(number, Machine::Waiting, scene.recovery_timeouts)
    }

    pub(crate) fn start(&mut self, scene: &Scene, metadata: VersionedMetadata) -> Outcome {
        let options = RecoveryOptions {
            request_timeout: Duration::ZERO,
            attempts_max: 100,
            window_entries: u32::from(scene.read_window),
            read_bytes_max: 1 << 10,
            seeded: scene.seeded,
        };
        let mut fx = Effects::new();
        let ids = RequestIds::new(OwnerId(self.number), MACHINE);
        let recovery = LedgerRecovery::start(ids, LEDGER, metadata, options, placement(scene), NOW, &mut fx);
        self.machine = Machine::Recovery(recovery);
        self.take_recovery(fx)
    }

    /// The next entry that the writer would give out.
    pub(crate) fn next_entry(&self) -> Option<EntryId> {
        match &self.machine {
            Machine::Writer(writer) if writer.check_add(1).is_ok() => Some(writer.last_added().next()),
            Machine::Writer(_) | Machine::Recovery(_) | Machine::Waiting | Machine::Done => None,
        }
    }

    pub(crate) fn add(&mut self) -> Outcome {
        self.with_writer(|writer, fx| {
            let entry = writer.last_added().next();
            let _ = writer.add_entry(NOW, 0, content(entry), fx); // Refused: the action is not offered then.
        })
    }

    pub(crate) fn close(&mut self) -> Outcome {
        self.with_writer(|writer, fx| writer.close(NOW, fx))
    }

    /// The earliest deadline, when one may fire.
    pub(crate) fn deadline(&self, scene: &Scene) -> Option<Mono> {
        let deadline = match &self.machine {
            Machine::Writer(writer) => writer.next_deadline(),
            Machine::Recovery(recovery) => recovery.next_deadline(),
            Machine::Waiting | Machine::Done => None,
        };
        // Only waiting for the store takes time.
        deadline.filter(|at| self.timeouts_left > 0 && (scene.store_is_lossy || *at == Mono(0)))
    }

    pub(crate) fn on_deadline(&mut self, at: Mono) -> Outcome {
        self.timeouts_left -= 1;
        self.act(|writer, fx| writer.on_deadline(now_at(at), fx), |recovery, fx| recovery.on_deadline(now_at(at), fx))
    }

    pub(crate) fn hear(&mut self, from: NodeId, response: &BookieResponse) -> Outcome {
        self.act(
            |writer, fx| writer.handle_add_response(NOW, from, response, fx),
            |recovery, fx| recovery.handle_bookie(NOW, from, response.clone(), fx),
        )
    }

    pub(crate) fn hear_store(&mut self) -> Outcome {
        let Some((id, outcome)) = self.told.take() else { return Outcome::default() };
        let for_recovery = outcome.clone();
        self.act(
            |writer, fx| writer.handle_metadata(NOW, id, outcome, fx),
            |recovery, fx| recovery.handle_metadata(NOW, id, for_recovery, fx),
        )
    }

    /// Whether an answer can still change anything.
    pub(crate) fn listens_to(&self, scene: &Scene, response: &BookieResponse) -> bool {
        match (&self.machine, response) {
            (Machine::Waiting | Machine::Done, _) => false,
            // Copies beyond the quorum matter only to the watch over silent bookies, which deadlines ask.
            (Machine::Writer(writer), BookieResponse::Added { entry, outcome, .. }) => {
                *outcome != wire::bookie::AddOutcome::Stored
                    || scene.writer_timeouts > 0
                    || *entry > writer.last_confirmed()
            }
            (Machine::Writer(_), _) => false,
            (Machine::Recovery(_), _) => true,
        }
    }

    fn act(
        &mut self,
        on_writer: impl FnOnce(&mut LedgerWriter, &mut Effects<LedgerEffect<WriterEvent>>),
        on_recovery: impl FnOnce(&mut LedgerRecovery, &mut Effects<LedgerEffect<RecoveryEvent>>),
    ) -> Outcome {
        match &mut self.machine {
            Machine::Writer(_) => self.with_writer(on_writer),
            Machine::Recovery(recovery) => {
                let mut fx = Effects::new();
                on_recovery(recovery, &mut fx);
                self.take_recovery(fx)
            }
            Machine::Waiting | Machine::Done => Outcome::default(),
        }
    }

    fn with_writer(&mut self, act: impl FnOnce(&mut LedgerWriter, &mut Effects<LedgerEffect<WriterEvent>>)) -> Outcome {
        let (mut fx, mut outcome) = (Effects::new(), Outcome::default());
        let Machine::Writer(writer) = &mut self.machine else { return outcome };
        act(writer, &mut fx);
        for effect in fx.take() {
            match self.execute(effect, &mut outcome) {
                Some(WriterEvent::Confirmed { entry, .. }) => outcome.confirmed.push(entry),
                Some(WriterEvent::Closed { last_entry, .. }) => {
                    outcome.ends.push(last_entry);
                    self.end();
                }
                Some(WriterEvent::Fenced { .. }) => self.end(),
                Some(WriterEvent::EnsembleChanged) | None => (),
            }
        }
        outcome
    }

    fn take_recovery(&mut self, mut fx: Effects<LedgerEffect<RecoveryEvent>>) -> Outcome {
        let mut outcome = Outcome::default();
        for effect in fx.take() {
            match self.execute(effect, &mut outcome) {
                Some(RecoveryEvent::Recovered { last_entry, .. }) => {
                    outcome.ends.push(last_entry);
                    self.end();
                }
                Some(RecoveryEvent::Failed(_)) => self.end(),
                None => (),
            }
        }
        outcome
    }

    /// What an ended machine has asked the store may still happen; nobody hears of it.
    fn end(&mut self) {
        self.machine = Machine::Done;
        self.told = None;
        self.timeouts_left = 0;
    }

    fn execute<E>(&mut self, effect: LedgerEffect<E>, outcome: &mut Outcome) -> Option<E> {
        match effect {
            LedgerEffect::Bookie { to, request } => outcome.requests.push((to, request)),
            LedgerEffect::ReadMetadata { id, .. } => self.ask(StoreRequest::Read { id }),
            LedgerEffect::CasMetadata { id, version, metadata, .. } => {
                self.ask(StoreRequest::Cas { id, version, metadata });
            }
            LedgerEffect::Event(event) => return Some(event),
        }
        None
    }

    /// A request that is still on its way, or its answer, is lost by the next one.
    fn ask(&mut self, request: StoreRequest) {
        self.asking = Some(request);
        self.told = None;
    }
}
