//! A bookie over the real device: acknowledged entries and fences survive the end of the process.

use base::{Effects, EntryData, EntryId, LedgerId, NodeId, Now, OwnerId, RequestId};
use bookie::disk::DiskEvent;
use bookie::{Bookie, BookieEffect, BookieOptions};
use bytes::Bytes;
use disk::{DiskOptions, LogDevice};
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;
use wire::bookie::{AddOutcome, BookieRequest, BookieResponse, LacOutcome, ReadOutcome};

struct Node {
    bookie: Bookie,
    device: LogDevice,
    events: Receiver<DiskEvent>,
    answers: Vec<BookieResponse>,
    now: Now,
    seq: u64,
}

#[allow(clippy::unwrap_used, reason = "test helpers")]
impl Node {
    fn start(dir: &Path) -> Self {
        let options = DiskOptions { file_bytes: 1 << 20, ..DiskOptions::standard() };
        let (sender, events) = sync_channel(100_000);
        let fatal = |error: std::io::Error| panic!("the device failed: {error}");
        let (device, log) = LogDevice::open(dir, options, move |event| drop(sender.send(event)), fatal).unwrap();
        let options = BookieOptions { entry_bytes_max: 256 << 10, ..BookieOptions::standard() };
        let bookie = Bookie::new(NodeId(1), options, log);
        Self { bookie, device, events, answers: Vec::new(), now: Now::default(), seq: 0 }
    }

    fn id(&mut self) -> RequestId {
        self.seq += 1;
        RequestId::new(OwnerId(1), self.seq)
    }

    fn perform(&mut self, mut fx: Effects<BookieEffect>) {
        for effect in fx.take() {
            match effect {
                BookieEffect::Respond { response, .. } => self.answers.push(response),
                BookieEffect::Disk(op) => self.device.submit(op),
                BookieEffect::Damaged(damage) => panic!("{damage}"),
                BookieEffect::Prove { ledger } => panic!("{ledger} is in the listing, or newer"),
            }
        }
    }

    fn ask(&mut self, request: BookieRequest) {
        let mut fx = Effects::new();
        self.bookie.handle_request(self.now, NodeId(2), request, &mut fx);
        self.perform(fx);
    }

    fn wait_for(&mut self, id: RequestId) -> BookieResponse {
        loop {
            if let Some(answer) = self.answers.iter().find(|answer| answer.id() == id) {
                return answer.clone();
            }
            self.take_event();
        }
    }

    fn take_event(&mut self) {
        let event = self.events.recv_timeout(Duration::from_secs(30)).unwrap();
        let mut fx = Effects::new();
        self.bookie.handle_disk(self.now, event, &mut fx);
        self.perform(fx);
    }

    /// Runs the cleaner, letting time pass as it asks, until so few files are left.
    fn clean_down_to(&mut self, files: u64) {
        while self.bookie.stats().files > files {
            match self.bookie.next_deadline() {
                None => self.take_event(),
                Some(at) => {
                    self.now.mono = self.now.mono.max(at);
                    let mut fx = Effects::new();
                    self.bookie.on_deadline(self.now, &mut fx);
                    self.perform(fx);
                }
            }
        }
    }

    fn add(&mut self, ledger: u64, entry: i64, len: usize) -> RequestId {
        let id = self.id();
        let (ledger, entry, lac) = (LedgerId(ledger), EntryId(entry), EntryId(entry - 1));
        self.ask(BookieRequest::Add { id, ledger, entry, lac, recovery: false, data: data(entry, len) });
        id
    }

    fn read(&mut self, ledger: u64, from: i64) -> ReadOutcome {
        let (id, ledger, from) = (self.id(), LedgerId(ledger), EntryId(from));
        self.ask(BookieRequest::Read { id, ledger, from, entries_max: 1, bytes_max: 1, fence: false });
        match self.wait_for(id) {
            BookieResponse::Read { outcome, .. } => outcome,
            other => panic!("a read was answered by {other:?}"),
        }
    }
}

fn data(entry: EntryId, len: usize) -> EntryData {
    let body: Vec<u8> = (0..len).map(|i| (i as i64 * 7 + entry.0) as u8).collect();
    EntryData::new(Bytes::from_static(b"h"), Bytes::from(body))
}

fn assert_stored(node: &mut Node, ledger: u64, entry: i64, len: usize) {
    match node.read(ledger, entry) {
        ReadOutcome::Entries(entries) => assert_eq!(entries[0].data, data(EntryId(entry), len)),
        other => panic!("{ledger}:{entry} is stored, not {other:?}"),
    }
}

#[test]
fn acknowledged_entries_and_fences_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    let ids: Vec<RequestId> = (0..300).map(|entry| node.add(1 + entry % 3, (entry / 3) as i64, 20_000)).collect();
    for id in ids {
        assert!(matches!(node.wait_for(id), BookieResponse::Added { outcome: AddOutcome::Stored, .. }));
    }
    let id = node.id();
    node.ask(BookieRequest::ReadLac { id, ledger: LedgerId(2), fence: true });
    let fenced = LacOutcome::Lac { lac: EntryId(98), last: EntryId(99) };
    assert!(matches!(node.wait_for(id), BookieResponse::Lac { outcome, .. } if outcome == fenced));
    drop(node);
    let mut node = Node::start(dir.path());
    for entry in 0..100 {
        (1..=3).for_each(|ledger| assert_stored(&mut node, ledger, entry, 20_000));
    }
    let id = node.add(2, 100, 10);
    assert!(matches!(node.wait_for(id), BookieResponse::Added { outcome: AddOutcome::Fenced, .. }));
}

#[test]
fn the_space_of_deleted_ledgers_comes_back_although_a_slow_one_keeps_few_entries() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path());
    for round in 0..40 {
        let slow = node.add(1000, round, 100);
        let ids: Vec<RequestId> = (0..8).map(|entry| node.add(round as u64, entry, 60_000)).collect();
        ids.into_iter().chain([slow]).for_each(|id| drop(node.wait_for(id)));
    }
    let before = node.bookie.stats();
    assert!(before.files >= 18, "{before:?}");
    for round in 0..40 {
        let id = node.id();
        node.ask(BookieRequest::Delete { id, ledger: LedgerId(round) });
        node.wait_for(id);
    }
    node.clean_down_to(3);
    drop(node);
    let mut node = Node::start(dir.path());
    for round in 0..40 {
        assert_stored(&mut node, 1000, round, 100);
        assert_eq!(node.read(round as u64, 0), ReadOutcome::NoSuchLedger);
    }
}
