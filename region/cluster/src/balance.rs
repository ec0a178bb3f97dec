//! Spreads the bundles of a region over its nodes by what they carry: the load manager.
//!
//! **What**  Every node says at each beat how much traffic it serves and which of its bundles carry the most. The node that leads
//! the metadata moves bundles: away from a node that stays hotter than the others, and, where traffic says nothing, to nodes
//! that serve fewer, so that a node that was away gets work again. A move is a wish in the owner record; the owner closes
//! the bundle's topics and hands it over (`broker`). Everything is found again by looking, so a change of leader costs a pause.
//!
//! Why it comes to rest while traffic is steady: a move for heat makes the hotter of its two nodes cooler by
//! [`GAIN_PERCENT`], and a move for counts never lifts a node above what [`warm`] calls warm. So the list of warm nodes, hottest first,
//! only ever falls in the order of words, and between two such moves the counts only ever come closer.
//!
//! **Invariants**
//! - I1  only a leader that has not lost its region moves anything, and one bundle at a time.
//! - I2  nothing moves to a node that is down, draining or read-only, or that has not said what it serves. Nor does anything
//!   leave one that is read-only: where its metadata log has no room either, it does not hear of the wish, and the bundle, whose
//!   owner record has changed under it, could open no topic until there is space.
//! - I3  a node sheds for heat only after [`SAMPLES`] beats in a row above [`HOT_PERCENT`] of the mean and [`HOT_MIN`], and only a
//!   bundle whose move makes the hotter of the two nodes cooler.
//! - I4  a bundle that moved rests for [`BalanceOptions::rest`].
//! - I5  bundles of excluded namespaces stay where they are; they count as what their nodes serve.
//!
//! **Not here**  Bundles without an owner (`View::assign`), splitting a bundle that is too hot by itself (`broker`).
//!
//! **Tests**  `balance/tests.rs`: steady traffic of any shape comes to rest.

use crate::{BundleId, Owner, View};
use base::{Effects, Mono, NameError, NamespaceName, NodeId, Now, OwnerId, RequestId};
use meta_api::{MetaRequest, MetaResponse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Beats in a row for which a node is hot, or counts are uneven, before something moves.
const SAMPLES: u32 = 3;
/// A node is hot above this share of the mean …
const HOT_PERCENT: u64 = 130;
/// … and above this traffic, whatever the others do.
pub const HOT_MIN: u64 = 1_000;
/// A node up to this share of the mean is not warm.
const WARM_PERCENT: u64 = 110;
/// How much cooler the hotter node is after a move, in percent of what it was.
const GAIN_PERCENT: u64 = 5;
/// Bundles of which a node says how much they carry, the heaviest.
pub const BUNDLES_SAID_MAX: usize = 64;

/// What a node serves. Traffic is counted in units: a message is one, and a KiB is one, in and out, per second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// All of its traffic.
    pub units: u64,
    /// Its bookie has no room.
    pub read_only: bool,
    /// Its bundles with the most traffic, at most [`BUNDLES_SAID_MAX`], heaviest first; bundles without traffic are left out.
    pub bundles: Vec<(BundleId, u64)>,
}

/// The name of Pulsar's setting for [`BalanceOptions::excluded`], which may be changed at run time.
pub const SHEDDING_EXCLUDED: &str = "loadBalancerSheddingExcludedNamespaces";

/// Whether and how fast bundles move, and which.
#[derive(Clone, Debug)]
pub struct BalanceOptions {
    /// `loadBalancerEnabled`, `loadBalancerSheddingEnabled`: off, bundles move for dead owners and by hand only.
    pub enabled: bool,
    /// How often nodes say what they serve, and at most how often something moves.
    pub every: Duration,
    /// How long a bundle stays where it was moved to.
    pub rest: Duration,
    /// `loadBalancerSheddingExcludedNamespaces`: their bundles move for dead owners and by hand only.
    pub excluded: BTreeSet<NamespaceName>,
}

impl BalanceOptions {
    /// A beat each 10 s, and 5 min of rest.
    pub fn standard() -> Self {
        Self::every(Duration::from_secs(10))
    }

    /// A beat each so often, and thirty of them of rest.
    pub fn every(every: Duration) -> Self {
        let every = every.max(Duration::from_millis(1));
        Self { enabled: true, every, rest: every * 30, excluded: BTreeSet::new() }
    }
}

/// Reads a list of namespaces, `tenant/name` each, with commas between them.
pub fn namespaces(text: &str) -> impl Iterator<Item = Result<NamespaceName, NameError>> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(NamespaceName::parse)
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BalanceEffect {
    /// Tell every other node.
    Say(NodeLoad),
    Meta {
        id: RequestId,
        request: MetaRequest,
    },
}

/// One node as the balancer compares it with others.
#[derive(Clone, Copy, Debug)]
struct Seat {
    node: NodeId,
    units: u64,
    count: usize,
    /// Whether it takes bundles and gives them.
    moves: bool,
}

/// The machine of one node.
#[derive(Debug)]
pub struct Balancer {
    owner: OwnerId,
    options: BalanceOptions,
    /// Namespaces whose bundles stay (I5).
    excluded: BTreeSet<NamespaceName>,
    leading: bool,
    due: Option<Mono>,
    /// The nodes that are hot, and for how many beats in a row.
    hot: BTreeMap<NodeId, u32>,
    /// For how many beats in a row counts were uneven.
    uneven: u32,
    /// Bundles that moved, and until when they rest.
    resting: BTreeMap<BundleId, Mono>,
    /// A move is being written.
    asked: Option<u64>,
    seq: u64,
}

impl Balancer {
    /// `owner` names its metadata requests.
    pub fn new(owner: OwnerId, options: BalanceOptions) -> Self {
        let (hot, resting) = (BTreeMap::new(), BTreeMap::new());
        let excluded = options.excluded.clone();
        Self { owner, options, excluded, leading: false, due: None, hot, uneven: 0, resting, asked: None, seq: 0 }
    }

    pub fn set_options(&mut self, options: BalanceOptions) {
        self.excluded.clone_from(&options.excluded);
        self.options = options;
    }

    /// What an operator excluded at run time, in place of what the options exclude; `None`: nothing was said. What is no
    /// name of a namespace is left out.
    pub fn set_excluded(&mut self, said: Option<&str>) {
        self.excluded = said
            .map_or_else(|| self.options.excluded.clone(), |said| namespaces(said).filter_map(Result::ok).collect());
    }

    /// Whether this node leads the metadata. The first beat of a node comes as soon as it knows that.
    pub fn set_leading(&mut self, now: Now, leading: bool) {
        self.due = self.due.or(Some(now.mono));
        if std::mem::replace(&mut self.leading, leading) != leading {
            self.hot.clear();
            (self.uneven, self.asked) = (0, None);
        }
    }

    /// The answer to a request of this machine. What it changed is seen in the view.
    pub fn handle_meta(&mut self, id: RequestId, _response: &MetaResponse) {
        self.asked = self.asked.filter(|seq| *seq != id.seq);
    }

    /// What this node serves has changed in a way that the others are to know now.
    pub fn speak_up(&mut self) {
        self.due = self.due.and(Some(Mono(0)));
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.due
    }

    /// A beat: `own` is what this node serves now.
    pub fn on_beat(&mut self, now: Now, own: NodeLoad, view: &View, fx: &mut Effects<BalanceEffect>) {
        self.due = Some(now.mono + self.options.every);
        fx.push(BalanceEffect::Say(own));
        self.resting.retain(|_, until| now.mono < *until);
        if !self.leading || !self.options.enabled || view.is_apart() || self.asked.is_some() {
            return; // I1
        }
        let moves = view.bundles().any(|(bundle, _)| view.is_moving(bundle));
        let Some(seats) = seats(view).filter(|seats| seats.len() > 1 && !moves) else { return };
        let wish = self.shed(&seats, view).or_else(|| self.even_out(&seats, view));
        let Some((bundle, to)) = wish else { return };
        let Some(request) = view.move_bundle(&bundle, to) else { return };
        self.resting.insert(bundle, now.mono + self.options.rest); // I4
        self.seq += 1;
        self.asked = Some(self.seq);
        fx.push(BalanceEffect::Meta { id: RequestId::new(self.owner, self.seq), request });
    }

    /// The bundle to take from a node that stays hot (I3), and where it goes.
    fn shed(&mut self, seats: &[Seat], view: &View) -> Option<(BundleId, NodeId)> {
        let mean = seats.iter().map(|seat| seat.units).sum::<u64>() / seats.len().max(1) as u64;
        let mut hot: Vec<&Seat> =
            seats.iter().filter(|seat| seat.moves && seat.units > (mean * HOT_PERCENT / 100).max(HOT_MIN)).collect();
        hot.sort_by_key(|seat| std::cmp::Reverse((seat.units, seat.node)));
        let before = std::mem::take(&mut self.hot);
        let beats = |seat: &&Seat| (seat.node, before.get(&seat.node).copied().unwrap_or(0) + 1);
        self.hot = hot.iter().map(beats).collect();
        let stays = |seat: &&Seat| self.hot.get(&seat.node).is_some_and(|beats| *beats >= SAMPLES);
        let wish = hot.into_iter().filter(stays).find_map(|seat| Some((seat.node, self.take_from(seat, seats, view)?)));
        let (from, wish) = wish?;
        self.hot.remove(&from); // What is left is looked at anew.
        Some(wish)
    }

    /// The bundle of a hot node whose move to the coolest makes the hotter of the two the coolest.
    fn take_from(&self, hot: &Seat, seats: &[Seat], view: &View) -> Option<(BundleId, NodeId)> {
        let others = seats.iter().filter(|seat| seat.moves && seat.node != hot.node);
        let coolest = others.min_by_key(|seat| (seat.units, seat.count, seat.node))?;
        let after = |units: u64| hot.units.saturating_sub(units).max(coolest.units + units);
        let enough = |units: u64| after(units) * 100 <= hot.units * (100 - GAIN_PERCENT);
        let said = &view.load(hot.node)?.bundles;
        let able = |bundle: &BundleId| self.may_move(bundle, hot.node, view);
        let best = said.iter().filter(|(bundle, units)| enough(*units) && able(bundle));
        let (bundle, units) = best.min_by_key(|(bundle, units)| (after(*units), bundle.clone()))?;
        assert!(after(*units) < hot.units, "Balancer I3: a move makes the hotter node cooler");
        Some((bundle.clone(), coolest.node))
    }

    /// A bundle to take from the node that serves the most to the one that serves the fewest, where traffic allows it. When
    /// nothing of the one may move, the next is looked at.
    fn even_out(&mut self, seats: &[Seat], view: &View) -> Option<(BundleId, NodeId)> {
        let fewest = seats.iter().filter(|seat| seat.moves).min_by_key(|seat| (seat.count, seat.units, seat.node))?;
        let mut full: Vec<&Seat> = seats.iter().filter(|seat| seat.moves && seat.count >= fewest.count + 2).collect();
        if full.is_empty() {
            self.uneven = 0;
            return None;
        }
        self.uneven += 1;
        if self.uneven < SAMPLES {
            return None;
        }
        full.sort_by_key(|seat| std::cmp::Reverse((seat.count, seat.units, seat.node)));
        let (units, bundle) = full.into_iter().find_map(|seat| self.lightest(seat.node, view))?;
        (fewest.units + units <= warm(seats)).then(|| (bundle.clone(), fewest.node))
    }

    /// The bundle of a node that carries the least of those that may move.
    fn lightest<'a>(&self, node: NodeId, view: &'a View) -> Option<(u64, &'a BundleId)> {
        let load = view.load(node)?;
        let units = |bundle: &BundleId| load.bundles.iter().find(|(said, _)| said == bundle).map(|(_, units)| *units);
        // What is not said is at most as heavy as the lightest that is, and nothing when there was room to say it.
        let full = load.bundles.len() >= BUNDLES_SAID_MAX;
        let unsaid = load.bundles.last().map_or(0, |(_, units)| if full { *units } else { 0 });
        let theirs = view.bundles().map(|(bundle, _)| bundle).filter(|bundle| self.may_move(bundle, node, view));
        theirs.map(|bundle| (units(bundle).unwrap_or(unsaid), bundle)).min()
    }

    fn may_move(&self, bundle: &BundleId, from: NodeId, view: &View) -> bool {
        let stays = self.resting.contains_key(bundle) || self.excluded.contains(&bundle.0); // I4, I5
        !stays && serves(view, bundle) == Some(from)
    }
}

/// The traffic up to which a node may be filled for the sake of counts.
fn warm(seats: &[Seat]) -> u64 {
    let mean = seats.iter().map(|seat| seat.units).sum::<u64>() / seats.len().max(1) as u64;
    (mean * WARM_PERCENT / 100).max(HOT_MIN)
}

fn serves(view: &View, bundle: &BundleId) -> Option<NodeId> {
    match view.owner(bundle) {
        Owner::Us { .. } => Some(view.me()),
        Owner::By(node) => Some(node),
        Owner::Nobody => None,
    }
}

/// The nodes that serve; `None` until all of them have said what they do (I2).
fn seats(view: &View) -> Option<Vec<Seat>> {
    let mut counts: BTreeMap<NodeId, usize> = BTreeMap::new();
    for node in view.bundles().filter_map(|(bundle, _)| serves(view, bundle)) {
        *counts.entry(node).or_default() += 1;
    }
    let seat = |node: NodeId| {
        let load = view.load(node)?;
        let count = counts.get(&node).copied().unwrap_or(0);
        Some(Seat { node, units: load.units, count, moves: !load.read_only })
    };
    view.open_nodes().map(seat).collect()
}

#[cfg(test)]
mod tests;
