//! Who decides which nodes are alive, and who serves the bundles of dead ones: the node that leads the metadata (ADR 0009).
//!
//! **What**  Told of connections to other nodes and of its own leadership, the controller compares what it hears with what
//! the view shows, and corrects the difference by compare-and-put. Every decision starts from the view again, so that a lost
//! answer, a conflict or another controller costs a repetition and nothing else.
//!
//! **States**  following ⇄ leading
//!
//! **Invariants**
//! - I1  only a leader asks for anything; what it asks for is not done once it leads no more (`MetaHandle::decide`).
//! - I2  a node goes down when its connection is refused, when it started again, or when it has been silent for
//!   [`SILENCE_MAX`]: at least [`LISTENED_MIN`] of it while this node led and did not stand still, because one that was frozen
//!   itself has heard nobody meanwhile; and all of it where this process has never heard of the node.
//! - I3  a bundle is assigned only when its record names an owner that does not count as alive.
//! - I4  at most [`WRITES_MAX`] writes are under way, one for each key.
//!
//! **Not here**  Moving bundles for balance (`balance`), for a node that ends, or an unload. Elections (`meta`).
//!
//! **Tests**  `controller/tests.rs`: two that both believe to lead, on one store, in random order.

use crate::{AliveRecord, View};
use base::{Effects, Mono, NodeId, Now, OwnerId, RequestId, earliest};
use meta_api::{Compare, MetaRequest, MetaResponse, Write};
use std::collections::BTreeMap;
use std::time::Duration;
use tenancy::keys;

/// Silence after which a node counts as down.
pub const SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long a new leader listens before it believes that a node is silent: two of the connections' pings.
const LISTENED_MIN: Duration = Duration::from_millis(400);
/// How often a leader looks at the clock …
const PULSE: Duration = Duration::from_millis(100);
/// … and what it has not done for so long it learns from that it stood still: frozen, or starved of its processor.
const STANDSTILL_MIN: Duration = Duration::from_millis(300);
/// Writes under way at once.
const WRITES_MAX: usize = 64;
/// How long a key is left alone after a write of it failed: the view is behind, or the metadata has no leader.
const PAUSE: Duration = Duration::from_millis(100);

/// What a controller is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControllerInput {
    /// Who leads the metadata.
    Leadership { leader: Option<NodeId>, term: u64 },
    /// A connection with this start of a node exists.
    PeerUp { node: NodeId, incarnation: u64 },
    /// The connection ended; `refused`: nobody listens at the node's address.
    PeerDown { node: NodeId, refused: bool },
    /// The node sent something.
    PeerHeard { node: NodeId },
    /// The view changed.
    ViewChanged,
    /// An answer to one of its requests.
    Meta { id: RequestId, response: MetaResponse },
}

/// A request to the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerEffect {
    pub id: RequestId,
    pub request: MetaRequest,
}

/// What was heard of a node.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// The start that is connected.
    up: Option<u64>,
    heard: Option<Mono>,
    refused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Up(u64),
    Down,
    Undecided,
}

/// Why a key is not written now.
#[derive(Clone, Copy, Debug)]
enum Blocked {
    /// Its write is under way.
    Asked(u64),
    /// The view does not show yet what this revision wrote.
    Behind(u64),
    Until(Mono),
}

/// A key that is blocked, and to whom its bundle was promised.
#[derive(Clone, Copy, Debug)]
struct Block {
    why: Blocked,
    promised: Option<NodeId>,
}

/// The machine of one node.
#[derive(Debug)]
pub struct Controller {
    me: NodeId,
    owner: OwnerId,
    term: u64,
    /// Since when this node leads and has not stood still.
    leading: Option<Mono>,
    /// When the clock was looked at last.
    ran: Mono,
    peers: BTreeMap<NodeId, Peer>,
    blocks: BTreeMap<String, Block>,
    /// When the next decision is due by itself.
    due: Option<Mono>,
    seq: u64,
}

impl Controller {
    /// `owner` names its metadata requests.
    pub fn new(me: NodeId, owner: OwnerId) -> Self {
        let (peers, blocks) = (BTreeMap::new(), BTreeMap::new());
        Self { me, owner, term: 0, leading: None, ran: Mono(0), peers, blocks, due: None, seq: 0 }
    }

    /// Handles one input with the view as it is now.
    pub fn handle(&mut self, now: Now, input: ControllerInput, view: &View, fx: &mut Effects<ControllerEffect>) {
        self.note_running(now);
        match input {
            ControllerInput::Leadership { leader, term } => self.handle_leadership(now, leader, term),
            ControllerInput::PeerUp { node, incarnation } => {
                let peer = Peer { up: Some(incarnation), heard: Some(now.mono), refused: false };
                self.peers.insert(node, peer);
            }
            ControllerInput::PeerDown { node, refused } => {
                let peer = self.peers.entry(node).or_default();
                (peer.up, peer.refused) = (None, refused);
            }
            ControllerInput::PeerHeard { node } => {
                self.peers.entry(node).or_default().heard = Some(now.mono);
                if view.alive(node).is_some() {
                    return; // It takes effect at the deadline.
                }
            }
            ControllerInput::ViewChanged => (),
            ControllerInput::Meta { id, response } => self.handle_meta(now, id, &response),
        }
        self.decide(now, view, fx);
        self.due = self.deadline(now, view);
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    fn deadline(&self, now: Now, view: &View) -> Option<Mono> {
        let since = self.leading?;
        let pauses = self.blocks.values().filter_map(|block| match block.why {
            Blocked::Until(at) => Some(at),
            Blocked::Asked(_) | Blocked::Behind(_) => None,
        });
        let silences = view.nodes().filter(|(node, ..)| *node != self.me && view.alive(*node).is_some());
        // What is due already was asked for: it is looked at again after a pause, not in a busy loop.
        let later = |at: Mono| if at <= now.mono { now.mono + PAUSE } else { at };
        let silences = silences.map(|(node, ..)| later(self.heard_since(node, since) + SILENCE_MAX));
        let waits = now.mono < since + SILENCE_MAX && !self.is_complete(now, since, view);
        let waits = waits && view.orphans().next().is_some();
        let settled = waits.then(|| since + SILENCE_MAX);
        let pulse = Some(self.ran + PULSE);
        pauses.chain(silences).chain(settled).fold(pulse, |at, other| earliest(at, Some(other)))
    }

    pub fn on_deadline(&mut self, now: Now, view: &View, fx: &mut Effects<ControllerEffect>) {
        self.note_running(now);
        self.decide(now, view, fx);
        self.due = self.deadline(now, view);
    }

    pub fn is_leading(&self) -> bool {
        self.leading.is_some()
    }

    /// One that stood still begins to listen anew (I2).
    fn note_running(&mut self, now: Now) {
        if now.mono >= self.ran + STANDSTILL_MIN
            && let Some(since) = &mut self.leading
        {
            *since = now.mono;
        }
        self.ran = now.mono;
    }

    fn handle_leadership(&mut self, now: Now, leader: Option<NodeId>, term: u64) {
        if term < self.term {
            return;
        }
        let leads = leader == Some(self.me);
        if !leads || term > self.term || self.leading.is_none() {
            self.leading = leads.then_some(now.mono);
            self.blocks.clear();
        }
        self.term = term;
    }

    fn handle_meta(&mut self, now: Now, id: RequestId, response: &MetaResponse) {
        let asked = |block: &&mut Block| matches!(block.why, Blocked::Asked(seq) if seq == id.seq);
        let Some(block) = self.blocks.values_mut().find(asked) else { return };
        block.why = match response {
            MetaResponse::Committed { revision } => Blocked::Behind(*revision),
            _ => Blocked::Until(now.mono + PAUSE),
        };
    }

    // ---- decisions ----

    fn decide(&mut self, now: Now, view: &View, fx: &mut Effects<ControllerEffect>) {
        let Some(since) = self.leading else { return }; // I1
        self.blocks.retain(|_, block| match block.why {
            Blocked::Asked(_) => true,
            Blocked::Behind(revision) => view.revision() < revision,
            Blocked::Until(at) => now.mono < at,
        });
        for (node, record, version) in view.nodes() {
            let verdict = self.verdict(now, node, since, view);
            let alive = view.alive(node).map(|(incarnation, _)| incarnation);
            let restarted = alive.is_some_and(|alive| alive < record.incarnation);
            match (verdict, alive) {
                (Verdict::Up(start), alive) if start == record.incarnation && alive != Some(start) => {
                    self.declare_up(node, start, version, view, fx);
                }
                (Verdict::Down, Some(_)) => self.declare_down(node, view, fx),
                (_, Some(_)) if restarted => self.declare_down(node, view, fx),
                _ => (),
            }
        }
        if now.mono >= since + SILENCE_MAX || self.is_complete(now, since, view) {
            self.assign_orphans(view, fx);
        }
    }

    /// From when on a node's silence counts (I2).
    fn heard_since(&self, node: NodeId, since: Mono) -> Mono {
        let earliest = since - (SILENCE_MAX - LISTENED_MIN);
        self.peers.get(&node).and_then(|peer| peer.heard).map_or(since, |heard| heard.max(earliest))
    }

    /// Whether no node is still to come that is to take bundles: each is there, or was there and went down.
    fn is_complete(&self, now: Now, since: Mono, view: &View) -> bool {
        view.nodes().all(|(node, record, _)| {
            let is_there = view.alive(node).is_some_and(|(incarnation, _)| incarnation == record.incarnation);
            let was_there = self.peers.get(&node).is_some_and(|peer| peer.heard.is_some());
            record.draining || is_there || (was_there && self.verdict(now, node, since, view) == Verdict::Down)
        })
    }

    fn verdict(&self, now: Now, node: NodeId, since: Mono, view: &View) -> Verdict {
        if node == self.me {
            return Verdict::Up(view.incarnation());
        }
        let peer = self.peers.get(&node).copied().unwrap_or_default();
        if peer.refused || now.mono >= self.heard_since(node, since) + SILENCE_MAX {
            return Verdict::Down; // I2
        }
        peer.up.map_or(Verdict::Undecided, Verdict::Up)
    }

    fn declare_up(
        &mut self,
        node: NodeId,
        incarnation: u64,
        version: u64,
        view: &View,
        fx: &mut Effects<ControllerEffect>,
    ) {
        let key = keys::alive_key(node);
        let known = Compare::Version { key: keys::node_key(node), version };
        let compare = vec![as_seen(&key, view.alive(node)), known];
        let writes = vec![Write::Put { key: key.clone(), value: AliveRecord { incarnation }.encode() }];
        self.ask(key, MetaRequest::Txn { compare, writes }, None, fx);
    }

    fn declare_down(&mut self, node: NodeId, view: &View, fx: &mut Effects<ControllerEffect>) {
        let key = keys::alive_key(node);
        let compare = vec![as_seen(&key, view.alive(node))];
        self.ask(key.clone(), MetaRequest::Txn { compare, writes: vec![Write::Delete { key }] }, None, fx);
    }

    fn assign_orphans(&mut self, view: &View, fx: &mut Effects<ControllerEffect>) {
        let mut promised: BTreeMap<NodeId, usize> = BTreeMap::new();
        for node in self.blocks.values().filter_map(|block| block.promised) {
            *promised.entry(node).or_default() += 1;
        }
        for bundle in view.orphans() {
            let key = keys::owner_key(&bundle.0, bundle.1);
            if self.blocks.len() >= WRITES_MAX {
                return;
            }
            if self.blocks.contains_key(&key) {
                continue;
            }
            let Some(assignment) = view.assign(bundle, &promised) else { return };
            let node = assignment.record.node;
            *promised.entry(node).or_default() += 1;
            self.ask(key, assignment.request, Some(node), fx);
        }
    }

    fn ask(&mut self, key: String, request: MetaRequest, promised: Option<NodeId>, fx: &mut Effects<ControllerEffect>) {
        if self.blocks.len() >= WRITES_MAX || self.blocks.contains_key(&key) {
            return; // I4
        }
        assert!(self.leading.is_some(), "Controller I1: only a leader asks for anything");
        self.seq += 1;
        self.blocks.insert(key, Block { why: Blocked::Asked(self.seq), promised });
        fx.push(ControllerEffect { id: RequestId::new(self.owner, self.seq), request });
    }
}

/// The condition that `/alive/NODE` is as the view shows it.
fn as_seen(key: &str, alive: Option<(u64, u64)>) -> Compare {
    match alive {
        Some((_, version)) => Compare::Version { key: key.to_owned(), version },
        None => Compare::Absent { key: key.to_owned() },
    }
}

#[cfg(test)]
mod tests;
