//! Auditors on one store with model bookies.

mod limbo;
mod space;
mod unchecked;

use super::*;
use crate::{AliveRecord, NodeLoad, NodeRecord};
use base::{EntryData, EntryId};
use bytes::Bytes;
use ledger::{LedgerMetadata, LedgerState, RepairOptions, ReplicationConfig};
use meta_api::{MetaState, Write};
use wire::bookie::{AddOutcome, LacOutcome, ReadOutcome, StoredEntry};

const OWNER: OwnerId = OwnerId(10);
const ENTRY_BYTES: usize = 1_000;
const GRACE: Duration = Duration::from_secs(30);
const RATE: u64 = 100_000;

struct World {
    now: Now,
    store: MetaState,
    view: View,
    auditor: Auditor,
    bookies: BTreeMap<NodeId, BTreeMap<(LedgerId, EntryId), EntryData>>,
    down: BTreeSet<NodeId>,
    /// How many entries more a bookie takes, where there is a bound.
    space: BTreeMap<NodeId, usize>,
    /// Which ledgers bookies may have lost something of, and at which loss.
    marks: BTreeMap<(NodeId, LedgerId), u32>,
    alarms: Vec<String>,
    effects: VecDeque<AuditorEffect>,
}

fn new_auditor() -> Auditor {
    let repair = RepairOptions { batch_bytes: 10_000, ..AuditorOptions::new(GRACE, RATE).repair };
    Auditor::new(OWNER, AuditorOptions { repair, ..AuditorOptions::new(GRACE, RATE) })
}

impl World {
    fn new(nodes: u64) -> Self {
        let mut world = Self {
            now: Now { mono: Mono(0), wall_ms: 0 },
            store: MetaState::default(),
            view: View::new(NodeId(1), 1),
            auditor: new_auditor(),
            bookies: BTreeMap::new(),
            down: BTreeSet::new(),
            space: BTreeMap::new(),
            marks: BTreeMap::new(),
            alarms: Vec::new(),
            effects: VecDeque::new(),
        };
        for node in (1..=nodes).map(NodeId) {
            let value = NodeRecord { incarnation: 1, ..NodeRecord::default() }.encode();
            world.write(Write::Put { key: keys::node_key(node), value });
            world.bookies.insert(node, BTreeMap::new());
            world.start(node);
        }
        world.lead();
        world
    }

    fn write(&mut self, write: Write) {
        let request = MetaRequest::Txn { compare: Vec::new(), writes: vec![write] };
        let (_, events) = self.store.apply(&request);
        for event in events {
            self.view.apply(&event.key, event.revision, event.value.as_deref());
        }
        self.auditor.handle_view(self.now, &self.view);
    }

    fn start(&mut self, node: NodeId) {
        self.down.remove(&node);
        self.write(Write::Put { key: keys::alive_key(node), value: AliveRecord { incarnation: 1 }.encode() });
    }

    fn stop(&mut self, node: NodeId) {
        self.down.insert(node);
        self.write(Write::Delete { key: keys::alive_key(node) });
    }

    fn lead(&mut self) {
        self.auditor.set_leading(self.now, true, &self.view);
    }

    /// A closed ledger of `entries` entries on these bookies, which hold it.
    fn ledger(&mut self, ledger: u64, bookies: &[NodeId], entries: i64) {
        self.ledger_in(LedgerState::Closed { last_entry: EntryId(entries - 1), length: 0 }, ledger, bookies, entries);
    }

    fn ledger_in(&mut self, state: LedgerState, ledger: u64, bookies: &[NodeId], entries: i64) {
        let ledger = LedgerId(ledger);
        for node in bookies.iter().filter(|node| **node != VACANT) {
            for entry in (0..entries).map(EntryId) {
                let data = EntryData::new(Bytes::new(), Bytes::from(vec![7; ENTRY_BYTES]));
                self.bookies.get_mut(node).unwrap().insert((ledger, entry), data);
            }
        }
        let replication = ReplicationConfig::new(3, 3, 2).unwrap();
        let metadata = LedgerMetadata::new(replication, bookies.to_vec(), 0).unwrap();
        let value = page::encode(&LedgerMetadata { state, ..metadata });
        self.write(Write::Put { key: ledger.key(), value });
    }

    fn metadata(&self, ledger: u64) -> LedgerMetadata {
        let value = self.store.get(&LedgerId(ledger).key()).unwrap();
        serde_json::from_slice(&value.value).unwrap()
    }

    /// Plays `seconds` of a world in which bookies and store answer at once.
    fn run(&mut self, seconds: u64) {
        let end = self.now.mono + Duration::from_secs(seconds);
        while let Some(at) = self.auditor.next_deadline().filter(|at| *at <= end) {
            self.now.mono = self.now.mono.max(at);
            let mut fx = Effects::new();
            self.auditor.on_deadline(self.now, &self.view, &mut fx);
            self.effects.extend(fx.take());
            while let Some(effect) = self.effects.pop_front() {
                self.answer(effect);
            }
        }
        self.now.mono = self.now.mono.max(end);
    }

    fn answer(&mut self, effect: AuditorEffect) {
        let mut fx = Effects::new();
        match effect {
            AuditorEffect::Meta { id, request } => {
                let (response, _) = self.store.apply(&request);
                self.auditor.handle_meta(self.now, id, response, &self.view, &mut fx);
            }
            AuditorEffect::Bookie { to, request } => {
                let up = !self.down.contains(&to);
                let held = self.bookies.get_mut(&to).filter(|_| up);
                let response = match limbo::answer(to, held, &mut self.marks, request) {
                    Ok(None) => return,
                    Ok(Some(response)) => response,
                    Err(request) => {
                        let held = self.bookies.get_mut(&to).filter(|_| up);
                        match space::refuse(to, held.as_deref(), &mut self.space, &request) {
                            Some(refused) => refused,
                            None => bookie_answer(held, request),
                        }
                    }
                };
                self.auditor.handle_bookie(self.now, to, response, &self.view, &mut fx);
            }
            AuditorEffect::Alarm { text } => self.alarms.push(text),
        }
        self.effects.extend(fx.take());
    }
}

/// `None`: the bookie is down, and its node says so.
fn bookie_answer(
    held: Option<&mut BTreeMap<(LedgerId, EntryId), EntryData>>,
    request: BookieRequest,
) -> BookieResponse {
    match (request, held) {
        (BookieRequest::Add { id, ledger, entry, data, .. }, Some(held)) => {
            held.insert((ledger, entry), data);
            BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Stored }
        }
        (BookieRequest::Add { id, ledger, entry, .. }, None) => {
            BookieResponse::Added { id, ledger, entry, outcome: AddOutcome::Unknown }
        }
        (BookieRequest::Read { id, ledger, from, entries_max, bytes_max, .. }, Some(held)) => {
            let count = (bytes_max as usize / ENTRY_BYTES).clamp(1, entries_max as usize);
            let range = held.range((ledger, from)..).take_while(|((of, _), _)| *of == ledger).take(count);
            let stored =
                range.map(|((_, entry), data)| StoredEntry { entry: *entry, lac: EntryId::NONE, data: data.clone() });
            let stored: Vec<_> = stored.collect();
            let outcome = if stored.is_empty() { ReadOutcome::NoSuchEntry } else { ReadOutcome::Entries(stored) };
            BookieResponse::Read { id, ledger, outcome }
        }
        (BookieRequest::Read { id, ledger, .. }, None) => {
            BookieResponse::Read { id, ledger, outcome: ReadOutcome::Unknown }
        }
        (BookieRequest::ReadLac { id, ledger, .. }, held) => {
            let last = |held: &mut BTreeMap<_, _>| {
                let of =
                    held.range((ledger, EntryId(0))..).take_while(|((of, _), _): &(&(LedgerId, _), _)| *of == ledger);
                let last = of.last().map_or(EntryId::NONE, |((_, entry), _)| *entry);
                LacOutcome::Lac { lac: EntryId::NONE, last }
            };
            BookieResponse::Lac { id, ledger, outcome: held.map_or(LacOutcome::Unknown, last) }
        }
        (other, _) => panic!("an auditor reads and adds, and does not ask {other:?}"),
    }
}

fn nodes<const N: usize>(ids: [u64; N]) -> [NodeId; N] {
    ids.map(NodeId)
}

#[test]
fn i2_a_lost_node_is_counted_at_once_and_replaced_after_the_grace() {
    let mut world = World::new(4);
    world.ledger(100, &nodes([1, 2, 3]), 50);
    world.run(5);
    assert_eq!(world.auditor.stats(), AuditStats::default());
    world.stop(NodeId(3));
    world.run(20);
    assert_eq!((world.auditor.stats().ledgers, world.auditor.stats().entries), (1, 50));
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 3]), "Auditor I2");
    world.run(20);
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 4]));
    assert_eq!(world.bookies[&NodeId(4)].len(), 50);
    let stats = world.auditor.stats();
    assert_eq!((stats.ledgers, stats.entries, stats.repaired_ledgers_total), (0, 0, 1));
    assert_eq!((stats.repaired_entries_total, stats.repaired_bytes_total), (50, 50_000));
}

#[test]
fn a_node_that_comes_back_in_time_keeps_its_place() {
    let mut world = World::new(4);
    world.ledger(100, &nodes([1, 2, 3]), 5);
    world.stop(NodeId(3));
    world.run(20);
    world.start(NodeId(3));
    world.run(60);
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 3]));
    assert_eq!(world.auditor.stats(), AuditStats::default());
}

#[test]
fn a_vacant_seat_goes_to_a_bookie_as_soon_as_there_is_one() {
    let mut world = World::new(3);
    world.stop(NodeId(2));
    world.ledger(100, &[NodeId(1), VACANT, NodeId(3)], 20);
    world.run(10);
    assert_eq!(world.auditor.stats().entries, 20);
    assert_eq!(world.auditor.stats().failed_repairs_total, 0, "nothing is tried while nobody can take the seat");
    world.start(NodeId(2));
    world.run(2);
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 3]));
    assert_eq!(world.bookies[&NodeId(2)].len(), 20);
    assert_eq!(world.auditor.stats().ledgers, 0);
}

#[test]
fn i5_a_ledger_that_nobody_writes_any_more_is_closed_and_repaired_when_its_writer_had_its_time() {
    let mut world = World::new(4);
    world.ledger_in(LedgerState::Open, 100, &nodes([1, 2, 3]), 20);
    world.stop(NodeId(3));
    world.run(40);
    assert_eq!(world.metadata(100).state, LedgerState::Open, "Auditor I5");
    world.run(60);
    let after = world.metadata(100);
    assert_eq!(after.closed().map(|(last, _)| last), Some(EntryId(19)));
    assert!(after.fragments.iter().all(|fragment| !fragment.bookies.contains(&NodeId(3))), "{after:?}");
    assert_eq!(world.auditor.stats().ledgers, 0);
}

#[test]
fn i1_another_leader_goes_on_and_the_former_one_asks_for_nothing() {
    let mut world = World::new(4);
    world.ledger(100, &nodes([1, 2, 3]), 500);
    world.stop(NodeId(3));
    world.run(31);
    assert!(world.auditor.stats().repaired_ledgers_total == 0, "the repair is under way");
    let mut former = std::mem::replace(&mut world.auditor, new_auditor());
    former.set_leading(world.now, false, &world.view);
    assert_eq!(former.next_deadline(), None, "Auditor I1");
    world.lead();
    world.run(60);
    assert_eq!(world.metadata(100).fragments[0].bookies, nodes([1, 2, 4]));
    assert_eq!(world.auditor.stats().ledgers, 0);
}

#[test]
fn i3_the_rate_holds_over_many_ledgers_and_what_has_fewest_copies_comes_first() {
    let mut world = World::new(5);
    for ledger in 100..200 {
        world.ledger(ledger, &nodes([1, 2, 3]), 10);
    }
    world.ledger(500, &nodes([1, 3, 4]), 10);
    [3, 4].into_iter().for_each(|node| world.stop(NodeId(node)));
    world.run(30);
    let before = world.auditor.stats().repaired_bytes_total;
    world.run(5);
    let copied = world.auditor.stats().repaired_bytes_total - before;
    assert!(copied <= 5 * RATE + 20_000, "Auditor I3: {copied} bytes in 5 s");
    assert!(copied >= 3 * RATE, "{copied} bytes in 5 s");
    let last = &world.metadata(500).fragments[0].bookies;
    assert!(!last.contains(&NodeId(3)), "the one with one copy left goes first: {last:?}");
    world.run(60);
    assert_eq!(world.auditor.stats().ledgers, 0);
    assert_eq!(world.auditor.stats().repaired_ledgers_total, 101);
}

#[test]
fn i4_of_very_many_ledgers_all_are_counted_and_a_bounded_number_is_kept() {
    let mut found = Found::default();
    let value = page::encode(&LedgerMetadata::new(ReplicationConfig::SINGLE, vec![NodeId(9)], 0).unwrap());
    let item = |id| (LedgerId(id).key(), meta_api::Versioned { value: value.clone(), version: 1 });
    let items: Vec<_> = (1..=20).map(item).collect();
    read_page(&items, &BTreeSet::new(), 5, &mut found);
    assert_eq!((found.ledgers, found.lacking.len()), (20, 5), "Auditor I4");
}
