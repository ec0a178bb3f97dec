//! One state of the world, what may happen next, and what becomes of it.

use crate::bookie::ModelBookie;
use crate::client::{Client, Machine, Outcome, StoreRequest};
use crate::identity::Part;
use crate::scene::Scene;
use base::{EntryId, NodeId};
use ledger::{LedgerMetadata, LedgerState, MetadataOutcome, VersionedMetadata};
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use wire::bookie::{BookieRequest, BookieResponse};

/// The client that writes; those behind it recover.
const WRITER: usize = 0;

/// Something that was sent between a client and a bookie, and may arrive from then on.
#[derive(Clone, Debug, Hash)]
enum Message {
    Request { client: usize, to: NodeId, request: BookieRequest },
    Response { client: usize, from: NodeId, response: BookieResponse },
}

impl Message {
    fn is_of_recovery(&self) -> bool {
        matches!(self, Self::Request { client, .. } if *client != WRITER)
    }
}

/// Whether a recovery hears what a bookie answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Heard,
    Lost,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The writer adds the next entry.
    Add,
    /// The writer is told to close.
    Close,
    /// A recovery begins with the metadata as it stands.
    Start(usize),
    /// The message of this hash arrives; a recovery that asked hears the answer at once.
    Deliver(u64),
    /// The message arrives and its answer does not: until the message arrives once more, for an answer that is late.
    DeliverUnanswered(u64),
    /// A client's request reaches the metadata store.
    Store(usize),
    /// The store's answer reaches a client.
    HearStore(usize),
    /// A client's deadline fires.
    Timeout(usize),
    /// A bookie comes back with an empty disk.
    LoseDisk(usize),
}

/// Everything that there is.
#[derive(Clone, Debug)]
pub struct State {
    store: Part<VersionedMetadata>,
    clients: Vec<Part<Client>>,
    bookies: Vec<Part<ModelBookie>>,
    /// By hash, none twice.
    messages: Vec<Part<Message>>,
    disks_lost: u8,
    /// What the writer's user was told, bit by entry.
    confirmed: u64,
    /// The ends that any client has believed in.
    ends: BTreeSet<EntryId>,
    /// A rule that was broken on the way here.
    broken: Option<String>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        crate::identity::identity(self) == crate::identity::identity(other)
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let parts = self.clients.iter().map(Part::hash).chain(self.bookies.iter().map(Part::hash));
        parts.chain(self.messages.iter().map(Part::hash)).for_each(|part| state.write_u64(part));
        (self.store.hash(), self.messages.len(), self.disks_lost, self.confirmed).hash(state);
        (&self.ends, &self.broken).hash(state);
    }
}

impl State {
    /// An open, empty ledger with its writer.
    pub(crate) fn first(scene: &Scene) -> Self {
        let ensemble = (1..=u64::from(scene.replication.ensemble())).map(NodeId).collect();
        let metadata = match LedgerMetadata::new(scene.replication, ensemble, 0) {
            Ok(metadata) => metadata,
            Err(error) => panic!("State: the first ensemble is as large as it must be: {error}"),
        };
        let store = VersionedMetadata { metadata, version: 1 };
        let writer = Part::new(Client::writer(scene, store.clone()));
        let recoveries = (1..=u64::from(scene.recoveries)).map(|number| Part::new(Client::recovery(scene, number)));
        let empty = Self {
            store: Part::new(store),
            clients: std::iter::once(writer).chain(recoveries).collect(),
            bookies: (0..scene.bookies).map(|_| Part::new(ModelBookie::default())).collect(),
            messages: Vec::new(),
            disks_lost: 0,
            confirmed: 0,
            ends: BTreeSet::new(),
            broken: None,
        };
        (0..scene.confirmed_before).fold(empty, |state, _| state.with_one_confirmed(scene))
    }

    /// One more entry, stored everywhere and confirmed; nothing of it is still on its way.
    fn with_one_confirmed(mut self, scene: &Scene) -> Self {
        self.with_client(scene, WRITER, Client::add);
        while let Some(message) = self.messages.pop() {
            self.deliver(scene, &message, Answer::Heard);
        }
        self
    }

    /// The metadata as the store has it.
    pub fn metadata(&self) -> &LedgerMetadata {
        &self.store.metadata
    }

    /// What bookie `node` holds.
    pub fn bookie(&self, node: NodeId) -> Option<&ModelBookie> {
        let index = usize::try_from(node.0.checked_sub(1)?).ok()?;
        self.bookies.get(index).map(|bookie| &**bookie)
    }

    pub fn is_confirmed(&self, entry: EntryId) -> bool {
        self.confirmed & (1 << entry.0) != 0
    }

    /// The ends that any client has believed in.
    pub fn ends(&self) -> &BTreeSet<EntryId> {
        &self.ends
    }

    /// Bookies that have lost their disk.
    pub fn disks_lost(&self) -> u8 {
        self.disks_lost
    }

    /// A rule that was broken on the way here, if one was.
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Everything that may happen now.
    pub(crate) fn actions(&self, scene: &Scene, actions: &mut Vec<Action>) {
        if self.broken.is_some() {
            return;
        }
        for (index, client) in self.clients.iter().enumerate() {
            if client.asking.is_some() {
                actions.push(Action::Store(index));
            }
            if client.told.is_some() {
                actions.push(Action::HearStore(index));
            }
            if client.deadline(scene).is_some() {
                actions.push(Action::Timeout(index));
            }
        }
        if let Some(next) = self.clients[WRITER].next_entry() {
            if next.0 < i64::from(scene.entries) {
                actions.push(Action::Add);
            }
            if scene.writer_closes {
                actions.push(Action::Close);
            }
        }
        // Recoveries are alike: the first that waits goes first.
        let waiting = self.clients.iter().position(|client| matches!(client.machine, Machine::Waiting));
        actions.extend(waiting.map(Action::Start));
        for message in &self.messages {
            actions.push(Action::Deliver(message.hash()));
            if message.is_of_recovery() {
                actions.push(Action::DeliverUnanswered(message.hash()));
            }
        }
        if self.disks_lost < scene.disks_lost {
            actions.extend((0..self.bookies.len()).map(Action::LoseDisk));
        }
    }

    /// What it is like afterwards; `None` when nothing has changed.
    pub(crate) fn after(&self, scene: &Scene, action: Action) -> Option<Self> {
        let mut next = self.clone();
        match action {
            Action::Add => next.with_client(scene, WRITER, Client::add),
            Action::Close => next.with_client(scene, WRITER, Client::close),
            Action::Start(index) => {
                let metadata = VersionedMetadata::clone(&self.store);
                next.with_client(scene, index, |client| client.start(scene, metadata));
            }
            Action::Deliver(hash) => {
                let index = self.messages.binary_search_by_key(&hash, Part::hash).ok()?;
                next.deliver(scene, &self.messages[index], Answer::Heard);
            }
            Action::DeliverUnanswered(hash) => {
                let index = self.messages.binary_search_by_key(&hash, Part::hash).ok()?;
                next.deliver(scene, &self.messages[index], Answer::Lost);
            }
            Action::Store(index) => next.serve_store(index),
            Action::HearStore(index) => next.with_client(scene, index, Client::hear_store),
            Action::Timeout(index) => {
                let at = self.clients[index].deadline(scene)?;
                next.with_client(scene, index, |client| client.on_deadline(at));
            }
            Action::LoseDisk(index) => {
                next.disks_lost += 1;
                let mut bookie = ModelBookie::clone(&self.bookies[index]);
                bookie.lose_disk(!scene.limbo_denies);
                next.bookies[index] = Part::new(bookie);
            }
        }
        (next != *self).then_some(next)
    }

    /// An action in words.
    pub(crate) fn describe(&self, action: Action) -> String {
        match action {
            Action::Deliver(hash) | Action::DeliverUnanswered(hash) => {
                match self.messages.binary_search_by_key(&hash, Part::hash) {
                    Ok(index) if action == Action::Deliver(hash) => format!("{:?}", *self.messages[index]),
                    Ok(index) => format!("without its answer: {:?}", *self.messages[index]),
                    Err(_) => format!("{action:?}"),
                }
            }
            action => format!("{action:?}"),
        }
    }

    fn deliver(&mut self, scene: &Scene, message: &Message, answer: Answer) {
        match message {
            Message::Request { client, to, request } => {
                let Some(index) = to.0.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else { return };
                let mut bookie = ModelBookie::clone(&self.bookies[index]);
                let response = bookie.handle(request.clone());
                self.bookies[index] = Part::new(bookie);
                if *client == WRITER && self.clients[WRITER].listens_to(scene, &response) {
                    self.post(Message::Response { client: *client, from: *to, response });
                } else if *client != WRITER && answer == Answer::Heard {
                    self.with_client(scene, *client, |client| client.hear(*to, &response));
                }
            }
            Message::Response { client, from, response } => {
                self.with_client(scene, *client, |client| client.hear(*from, response));
            }
        }
    }

    /// Lets a client act; an assertion that fails is a rule that is broken.
    fn with_client(&mut self, scene: &Scene, index: usize, act: impl FnOnce(&mut Client) -> Outcome) {
        let mut client = Client::clone(&self.clients[index]);
        let outcome = match catch_unwind(AssertUnwindSafe(|| act(&mut client))) {
            Ok(outcome) => outcome,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
                self.broken = Some(text.unwrap_or_else(|| "an assertion failed".to_owned()));
                return;
            }
        };
        self.clients[index] = Part::new(client);
        for (to, request) in outcome.requests {
            if matches!(request, BookieRequest::Read { .. }) {
                self.forget_read(index, to);
            }
            self.post(Message::Request { client: index, to, request });
        }
        for entry in outcome.confirmed {
            self.confirm(scene, entry);
        }
        self.ends.extend(outcome.ends);
        let (clients, closed) = (&self.clients, self.store.metadata.closed().is_some());
        self.messages.retain(|message| match &**message {
            // What a recovery still has under way when all is decided only adds copies and fences.
            Message::Request { client, .. } => {
                *client == WRITER || !closed || !matches!(clients[*client].machine, Machine::Done)
            }
            Message::Response { client, response, .. } => clients[*client].listens_to(scene, response),
        });
    }

    /// An asker waits only for its newest read of a bookie.
    fn forget_read(&mut self, of: usize, node: NodeId) {
        self.messages.retain(|message| match &**message {
            Message::Request { client, to, request } => {
                (*client, *to) != (of, node) || !matches!(request, BookieRequest::Read { .. })
            }
            Message::Response { client, from, response } => {
                (*client, *from) != (of, node) || !matches!(response, BookieResponse::Read { .. })
            }
        });
    }

    fn post(&mut self, message: Message) {
        let message = Part::new(message);
        match self.messages.binary_search_by_key(&message.hash(), Part::hash) {
            Ok(index) => self.messages[index] = message, // The same with a newer id.
            Err(index) => self.messages.insert(index, message),
        }
    }

    fn confirm(&mut self, scene: &Scene, entry: EntryId) {
        // Copies count on the bookies that the metadata names for the entry: only there anybody will look for them.
        let named = &self.store.metadata.fragment_of(entry).bookies;
        let holds = |node: &&NodeId| self.bookie(**node).is_some_and(|bookie| bookie.holds(entry).is_some());
        let held = u32::try_from(named.iter().filter(holds).count()).unwrap_or(u32::MAX) + u32::from(self.disks_lost);
        if held < scene.replication.ack_quorum() {
            self.broken = Some(format!("entry {entry:?} is confirmed and {held} of its bookies hold it"));
        }
        if entry != EntryId(i64::from(self.confirmed.trailing_ones())) {
            self.broken = Some(format!("entry {entry:?} is confirmed before one below it"));
        }
        self.confirmed |= 1 << entry.0;
    }

    fn serve_store(&mut self, index: usize) {
        let mut client = Client::clone(&self.clients[index]);
        let told = match client.asking.take() {
            Some(StoreRequest::Read { id }) => {
                Some((id, MetadataOutcome::Current(Some(VersionedMetadata::clone(&self.store)))))
            }
            Some(StoreRequest::Cas { id, version, metadata }) => Some((id, self.compare_and_put(version, metadata))),
            None => None,
        };
        client.told = told.filter(|_| !matches!(client.machine, Machine::Done));
        self.clients[index] = Part::new(client);
    }

    fn compare_and_put(&mut self, version: u64, metadata: LedgerMetadata) -> MetadataOutcome {
        if version != self.store.version {
            return MetadataOutcome::Conflict { actual: Some(VersionedMetadata::clone(&self.store)) };
        }
        if let Err(error) = metadata.check() {
            self.broken = Some(error.to_string());
        }
        let before = self.store.metadata.state;
        let forward = match before {
            LedgerState::Open => true,
            LedgerState::InRecovery => metadata.state != LedgerState::Open,
            LedgerState::Closed { .. } => metadata.state == before,
        };
        if !forward {
            self.broken = Some(format!("a ledger goes back from {before:?} to {:?}", metadata.state));
        }
        let version = version + 1;
        self.store = Part::new(VersionedMetadata { metadata, version });
        MetadataOutcome::Committed { version }
    }
}
