//! The connections between the nodes of a region, as `peer` makes them.
//!
//! **What**  Each node dials each other one and sends on what it dialled. Frames of one kind keep their order; while the way
//! is cut they wait, and when the connection ends those that did not arrive never do. A connection on which nothing comes
//! back for a second of the dialler's clock ends; the end of a process ends its connections at once; a dead process refuses. A
//! cut is of one direction; one between two nodes that a third one reaches is a bridge.
//!
//! **Invariants**
//! - I1  of the frames of a connection and kind a prefix arrives, in order and once.
//! - I2  a frame arrives only at the process that the connection was made to.

use super::{Event, World};
use crate::queue::{MS, SECOND, Time};
use base::NodeId;
use node::Input;
use std::collections::{BTreeMap, BTreeSet};
use wire::bookie::{BookieRequest, BookieResponse};
use wire::cluster::ClusterFrame;

/// How often a node pings the others.
const PING: Time = 200 * MS;
/// Silence after which a connection ends.
const SILENCE_MAX: Time = SECOND;

/// What nodes send to each other.
#[derive(Clone, Debug)]
pub(super) enum PeerFrame {
    Request(BookieRequest),
    Response(BookieResponse),
    Cluster(ClusterFrame),
}

impl PeerFrame {
    fn kind(&self) -> usize {
        match self {
            Self::Request(_) => 0,
            Self::Response(_) => 1,
            Self::Cluster(_) => 2,
        }
    }

    fn into_input(self, from: NodeId) -> Input {
        match self {
            Self::Request(request) => Input::PeerRequest { from, request },
            Self::Response(response) => Input::PeerResponse { from, response },
            Self::Cluster(frame) => Input::ClusterFrame { from, frame },
        }
    }
}

/// What one node holds towards another.
#[derive(Debug, Default)]
struct Link {
    /// Number of the newest connection.
    conn: u64,
    alive: bool,
    /// The lives of the processes that it connects.
    boots: (u64, u64),
    /// The dialler was told last that it is up, or refused.
    up: bool,
    refused: bool,
    /// Since when nothing comes back.
    silent_since: Option<Time>,
    /// Until when frames of an ended connection still arrive.
    lingers_until: Time,
    try_at: Time,
    /// Kind → when its last frame arrives.
    free_at: [Time; 3],
    /// Frames that wait for the end of a cut, in the order of sending.
    held: BTreeMap<u64, PeerFrame>,
    sent: u64,
}

/// All links of all regions.
#[derive(Debug, Default)]
pub(super) struct Peers {
    links: BTreeMap<(usize, usize), Link>,
    /// Sender and receiver whose frames do not get through, and how many faults say so.
    cuts: BTreeMap<(usize, usize), u32>,
}

impl Peers {
    pub(super) fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts.contains_key(&(from, to))
    }

    pub(super) fn cut(&mut self, pairs: &[(usize, usize)]) {
        pairs.iter().for_each(|pair| *self.cuts.entry(*pair).or_default() += 1);
    }

    pub(super) fn mend(&mut self, pairs: &[(usize, usize)]) {
        for pair in pairs {
            let left = self.cuts.remove(pair).unwrap_or(1) - 1;
            if left > 0 {
                self.cuts.insert(*pair, left);
            }
        }
    }
}

impl World {
    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.hosts.len();
        let same = |a: usize, b: usize| a != b && self.hosts[a].region == self.hosts[b].region;
        all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).filter(|(a, b)| same(*a, *b)).collect()
    }

    fn peer_delay(&mut self) -> Time {
        1 + self.rng.peers.below(self.options.cluster.peer_delay.max(1))
    }

    /// Whether the frame is on its way.
    pub(super) fn send_to_peer(&mut self, from: usize, to: NodeId, frame: PeerFrame) -> bool {
        let region = self.hosts[from].region;
        let Some(to) = self.hosts_of(region).into_iter().find(|index| self.hosts[*index].node == to) else {
            return false;
        };
        let (at, waits) = (self.now + self.peer_delay(), self.peers.is_cut(from, to));
        let Some(link) = self.peers.links.get_mut(&(from, to)).filter(|link| link.alive && link.up) else {
            return false;
        };
        link.sent += 1;
        if waits || !link.held.is_empty() {
            link.held.insert(link.sent, frame);
            return true;
        }
        let free = &mut link.free_at[frame.kind()];
        *free = at.max(*free); // I1
        let event = Event::PeerFrame { from, to, conn: link.conn, number: link.sent, frame: Box::new(frame) };
        self.queue.plan(*free, event);
        true
    }

    pub(super) fn on_peer_frame(&mut self, from: usize, to: usize, conn: u64, number: u64, frame: PeerFrame) {
        let cut = self.peers.is_cut(from, to);
        let Some(link) = self.peers.links.get_mut(&(from, to)).filter(|link| link.conn == conn) else { return };
        let boot = link.boots.1;
        if link.alive && (cut || !link.held.is_empty()) {
            link.held.insert(number, frame);
        } else if link.alive || (!cut && self.now <= link.lingers_until) {
            let number = self.hosts[from].node;
            self.feed(to, boot, frame.into_input(number)); // I2
        }
    }

    pub(super) fn on_peer_tick(&mut self) {
        for (from, to) in self.pairs() {
            self.look_after(from, to);
        }
        self.queue.plan(self.now + PING, Event::PeerTick);
    }

    fn look_after(&mut self, from: usize, to: usize) {
        let (boot, to_boot) = (self.hosts[from].boot, self.hosts[to].boot);
        let (from_runs, to_runs) = (self.hosts[from].process.is_some(), self.hosts[to].process.is_some());
        let cut = self.peers.is_cut(from, to) || self.peers.is_cut(to, from);
        let (from_wakes, to_wakes) = (self.hosts[from].is_awake(), self.hosts[to].is_awake());
        let link = self.peers.links.entry((from, to)).or_default();
        if !from_runs || link.boots.0 != boot {
            // The dialler died: what it sent last may arrive.
            let was_alive = link.alive;
            *link = Link { conn: link.conn, boots: (boot, 0), lingers_until: link.lingers_until, ..Link::default() };
            if was_alive {
                link.lingers_until = self.now;
            }
        }
        if !from_wakes {
            return;
        }
        if !link.alive {
            return self.dial_peer(from, to);
        }
        let dead = !to_runs || link.boots.1 != to_boot;
        let silent = cut || !to_wakes;
        if dead && !cut {
            return self.end_link(from, to);
        }
        if silent || dead {
            let since = *link.silent_since.get_or_insert(self.now);
            if self.hosts[from].waited(since, self.now) >= SILENCE_MAX {
                self.end_link(from, to);
            }
            return;
        }
        link.silent_since = None;
        self.release_held(from, to);
        let node = self.hosts[to].node;
        self.feed(from, boot, Input::PeerHeard { node });
    }

    /// The way is open again.
    fn release_held(&mut self, from: usize, to: usize) {
        let at = self.now + self.peer_delay();
        let Some(link) = self.peers.links.get_mut(&(from, to)) else { return };
        for (number, frame) in std::mem::take(&mut link.held) {
            let free = &mut link.free_at[frame.kind()];
            *free = at.max(*free);
            let event = Event::PeerFrame { from, to, conn: link.conn, number, frame: Box::new(frame) };
            self.queue.plan(*free, event);
        }
    }

    /// The dialler notices that the connection is gone.
    fn end_link(&mut self, from: usize, to: usize) {
        let (lingers, pause) = (self.rng.peers.below(50 * MS), self.rng.peers.range(100 * MS, SECOND));
        let (boot, node) = (self.hosts[from].boot, self.hosts[to].node);
        let Some(link) = self.peers.links.get_mut(&(from, to)) else { return };
        link.alive = false;
        link.held.clear();
        link.lingers_until = self.now + lingers;
        link.try_at = self.now + pause;
        if std::mem::take(&mut link.up) {
            self.feed(from, boot, Input::PeerDown { node, refused: false });
        }
    }

    fn dial_peer(&mut self, from: usize, to: usize) {
        let cut = self.peers.is_cut(from, to) || self.peers.is_cut(to, from);
        let to_host = &self.hosts[to];
        let (node, to_boot, boot) = (to_host.node, to_host.boot, self.hosts[from].boot);
        let (nobody, wakes) = (to_host.process.is_none() && !to_host.booting, to_host.is_awake());
        let incarnation = to_host.process.as_ref().map_or(0, |process| process.incarnation);
        let pause = self.rng.peers.range(100 * MS, SECOND);
        let Some(link) = self.peers.links.get_mut(&(from, to)).filter(|link| link.try_at <= self.now) else { return };
        link.try_at = self.now + pause;
        if cut {
            return;
        }
        if nobody {
            if !std::mem::replace(&mut link.refused, true) {
                self.feed(from, boot, Input::PeerDown { node, refused: true });
            }
        } else if wakes {
            link.conn += 1;
            (link.alive, link.up, link.refused, link.silent_since) = (true, true, false, None);
            link.boots = (boot, to_boot);
            link.free_at = [self.now; 3];
            self.feed(from, boot, Input::PeerUp { node, incarnation });
        }
    }

    /// Draws who cannot reach whom: a node that is alone, one direction, or two nodes of three.
    pub(super) fn draw_cut(&mut self) -> Vec<(usize, usize)> {
        let region = usize::from(self.rng.nemesis.percent(50));
        let mut hosts = self.hosts_of(region);
        let alone = usize::try_from(self.rng.nemesis.below(hosts.len() as u64)).unwrap_or(0);
        let alone = hosts.swap_remove(alone);
        let to_it: BTreeSet<(usize, usize)> = hosts.iter().map(|other| (*other, alone)).collect();
        let from_it: BTreeSet<(usize, usize)> = hosts.iter().map(|other| (alone, *other)).collect();
        match self.rng.nemesis.below(5) {
            0 => to_it.into_iter().collect(),
            1 => from_it.into_iter().collect(),
            2 => vec![(hosts[0], alone), (alone, hosts[0])],
            3 => vec![(hosts[0], alone)],
            _ => to_it.union(&from_it).copied().collect(),
        }
    }
}
