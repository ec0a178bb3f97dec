//! Replaces the cursor ledger: one procedure from drawing a ledger id to the record naming the new ledger.
//!
//! **States**  Asked (for an id) → Drawn (waiting for enough bookies) → Registering → Registered (waiting until no
//! record is under way in the old ledger) → Filling → Switching. The very first cursor ledger ends after Registering.
//!
//! **Invariants**
//! - I1  the switch is asked for only when every entry of the snapshot is durable.
//!
//! A crash before the switch leaves the old ledger in use and the new one as rubbish that the next open drops; a crash
//! after it leaves the new one in use. Nothing is answered in between but what the old ledger holds.
//!
//! **Not here**  What goes on in the old ledger meanwhile (`cursor_log`).

use crate::cursor_record::{CursorOp, RecordWriter};
use crate::cursor_set::CursorSet;
use crate::pending_ops::Group;
use crate::site::{Fx, Site, relay_all};
use crate::store::{Change, RecordStore};
use crate::{Checkpoint, ManagedEffect, SeededBug};
use base::{Effects, EntryData, LedgerId, Now, RequestId};
use bytes::Bytes;
use ledger::{LedgerWriter, WriterEvent};

/// `ctx` of a record's add.
pub(crate) const RECORD: u64 = 0;
/// `ctx` of a snapshot's adds.
pub(crate) const SNAPSHOT: u64 = 1;
/// A snapshot is cut into records of about this size.
const SNAPSHOT_RECORD_BYTES: usize = 256 << 10;

/// Where the new ledger goes in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// There is no cursor ledger yet.
    First,
    Next,
}

/// A ledger that holds a snapshot, and whom it answers.
#[derive(Debug)]
pub(crate) struct Filled {
    pub(crate) writer: LedgerWriter,
    pub(crate) group: Group,
    /// Size of the snapshot.
    pub(crate) bytes: u64,
}

#[derive(Debug)]
enum Step {
    Asked(RequestId),
    Drawn(LedgerId),
    Registering,
    Registered(LedgerWriter),
    Filling { filled: Filled, unconfirmed: usize },
    Switching(Filled),
}

/// One replacement of the cursor ledger.
#[derive(Debug)]
pub(crate) struct Roll {
    step: Step,
}

impl Roll {
    /// Asks for a ledger id.
    pub(crate) fn start(site: &mut Site, fx: &mut Fx) -> Self {
        let id = site.request_id();
        fx.push(ManagedEffect::NeedLedgerId { id });
        Self { step: Step::Asked(id) }
    }

    /// Whether this id was asked for here; then it is taken.
    pub(crate) fn handle_ledger_id(&mut self, id: RequestId, ledger: LedgerId) -> bool {
        let ours = matches!(self.step, Step::Asked(asked) if asked == id);
        if ours {
            self.step = Step::Drawn(ledger);
        }
        ours
    }

    /// Registers the drawn ledger as soon as there are enough bookies for it.
    pub(crate) fn register(&mut self, now: Now, place: Place, site: &mut Site, store: &mut RecordStore) {
        let Step::Drawn(ledger) = self.step else { return };
        let Some(metadata) = site.new_ledger(now) else { return };
        store.change(match place {
            Place::First => Change::FirstCursorLedger { ledger, metadata },
            Place::Next => Change::NextCursorLedger { ledger, metadata },
        });
        self.step = Step::Registering;
    }

    pub(crate) fn registered(&mut self, writer: LedgerWriter) {
        self.step = Step::Registered(writer);
    }

    /// Writes a snapshot of everything; the events are those that the caller must see.
    #[expect(clippy::too_many_arguments, reason = "one step of a procedure that touches every part")]
    pub(crate) fn fill(
        &mut self,
        now: Now,
        group: Group,
        cursors: &CursorSet,
        checkpoint: Option<&Checkpoint>,
        site: &Site,
        store: &mut RecordStore,
        fx: &mut Fx,
    ) -> Vec<WriterEvent> {
        let Step::Registered(mut writer) = std::mem::replace(&mut self.step, Step::Registering) else {
            panic!("Roll I1: a registered ledger is filled once")
        };
        let records = snapshot(cursors, checkpoint, site);
        let bytes = records.iter().map(|record| record.len() as u64).sum();
        let unconfirmed = records.len();
        let mut inner = Effects::new();
        for record in records {
            // A refused add means that the writer was fenced: its event ends us before the switch (I1).
            let _ = writer.add_entry(now, SNAPSHOT, EntryData::new(Bytes::new(), record), &mut inner);
        }
        self.step = Step::Filling { filled: Filled { writer, group, bytes }, unconfirmed };
        self.handle_events(relay_all(&mut inner, fx), site, store)
    }

    /// Counts confirmations and asks for the switch at the last (I1). Other events come back.
    pub(crate) fn handle_events(
        &mut self,
        events: Vec<WriterEvent>,
        site: &Site,
        store: &mut RecordStore,
    ) -> Vec<WriterEvent> {
        let mut others = Vec::new();
        for event in events {
            match (event, &mut self.step) {
                (WriterEvent::Confirmed { .. }, Step::Filling { unconfirmed, .. }) => *unconfirmed -= 1,
                (WriterEvent::Confirmed { .. } | WriterEvent::EnsembleChanged, _) => (),
                (event @ (WriterEvent::Fenced { .. } | WriterEvent::Closed { .. }), _) => others.push(event),
            }
        }
        let early = site.options.seeded.has(SeededBug::SwitchBeforeSnapshot);
        if matches!(self.step, Step::Filling { unconfirmed, .. } if unconfirmed == 0 || early)
            && let Step::Filling { filled, .. } = std::mem::replace(&mut self.step, Step::Registering)
        {
            self.step = Step::Switching(filled);
            store.change(Change::SwitchCursorLedger);
        }
        others
    }

    /// The switch is durable.
    pub(crate) fn finish(self) -> Option<Filled> {
        match self.step {
            Step::Switching(filled) => Some(filled),
            Step::Asked(_) | Step::Drawn(_) | Step::Registering | Step::Registered(_) | Step::Filling { .. } => None,
        }
    }

    pub(crate) fn is_registered(&self) -> bool {
        matches!(self.step, Step::Registered(_))
    }

    /// Whether records must wait for the end of the roll.
    pub(crate) fn holds_records(&self) -> bool {
        match self.step {
            Step::Asked(_) | Step::Drawn(_) | Step::Registering => false,
            Step::Registered(_) | Step::Filling { .. } | Step::Switching(_) => true,
        }
    }

    fn filled(&self) -> Option<&Filled> {
        match &self.step {
            Step::Filling { filled, .. } | Step::Switching(filled) => Some(filled),
            Step::Asked(_) | Step::Drawn(_) | Step::Registering | Step::Registered(_) => None,
        }
    }

    /// Who waits for the snapshot.
    pub(crate) fn group(&self) -> Option<&Group> {
        self.filled().map(|filled| &filled.group)
    }

    pub(crate) fn group_mut(&mut self) -> Option<&mut Group> {
        match &mut self.step {
            Step::Filling { filled, .. } | Step::Switching(filled) => Some(&mut filled.group),
            Step::Asked(_) | Step::Drawn(_) | Step::Registering | Step::Registered(_) => None,
        }
    }

    pub(crate) fn writer(&self) -> Option<&LedgerWriter> {
        match &self.step {
            Step::Registered(writer) => Some(writer),
            Step::Filling { filled, .. } | Step::Switching(filled) => Some(&filled.writer),
            Step::Asked(_) | Step::Drawn(_) | Step::Registering => None,
        }
    }

    pub(crate) fn writer_mut(&mut self) -> Option<&mut LedgerWriter> {
        match &mut self.step {
            Step::Registered(writer) => Some(writer),
            Step::Filling { filled, .. } | Step::Switching(filled) => Some(&mut filled.writer),
            Step::Asked(_) | Step::Drawn(_) | Step::Registering => None,
        }
    }
}

/// Everything that is durable about cursors, as records.
fn snapshot(cursors: &CursorSet, checkpoint: Option<&Checkpoint>, site: &Site) -> Vec<Bytes> {
    let forgets = site.options.seeded.has(SeededBug::SnapshotForgetsBatchAcks);
    let (mut records, mut record) = (Vec::new(), RecordWriter::default());
    let ops = cursors.durable().flat_map(|(id, cursor)| cursor.snapshot(id.0));
    let ops = ops.filter(|op| !(forgets && matches!(op, CursorOp::Partial { .. })));
    for op in ops.chain(checkpoint.cloned().map(CursorOp::Checkpoint)) {
        record.push(&op);
        if record.len() >= SNAPSHOT_RECORD_BYTES {
            records.push(record.finish());
        }
    }
    if !record.is_empty() {
        records.push(record.finish());
    }
    records
}
