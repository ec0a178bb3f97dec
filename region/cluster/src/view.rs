//! The local picture of the region's nodes and of who serves which bundle, fed by changes of the metadata.
//!
//! **What**  Records with their versions, as watches and own answers show them. A decision is a compare-and-put on those
//! versions ([`View::assign`], [`View::release`]), so that a stale picture decides nothing.
//!
//! **Invariants**
//! - I1  an owner counts only while `/alive/NODE` carries its incarnation, and so does this node itself.
//! - I2  of two pictures of a record the one with the higher version holds, in whatever order they come.
//! - I3  an assignment raises the epoch by one and goes to a node that is alive and not draining.
//! - I4  a node that has lost the majority of its region owns nothing and assigns nothing.
//! - I5  the parts of a divided bundle get their records in the transaction that takes away the record of the whole.
//!
//! **Not here**  Who decides that a node is alive (`Controller`), what losing a bundle means (`broker`).
//!
//! **Tests**  `view/tests.rs`.

use crate::{AliveRecord, NodeLoad, NodeRecord, OwnerRecord};
use base::{NamespaceName, NodeId};
use bytes::Bytes;
use meta_api::{Compare, MetaRequest, Write};
use std::collections::BTreeMap;
use tenancy::BundleRange;
use tenancy::keys::{self, Key};

mod moves;

pub use moves::OwnerChange;

/// The metadata prefixes that a view must be fed with.
pub const VIEW_PREFIXES: [&str; 3] = [keys::NODES, keys::ALIVE, keys::OWNERS];

/// A bundle of a namespace.
pub type BundleId = (NamespaceName, BundleRange);

/// A record and the revision that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held<R> {
    record: R,
    version: u64,
}

/// Who serves a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This node; `moving_to` says to whom it is giving the bundle.
    Us { version: u64, epoch: u64, moving_to: Option<NodeId> },
    /// Another node that is alive.
    By(NodeId),
    /// No node that is alive.
    Nobody,
}

/// Which part of the picture a change concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewChange {
    Node(NodeId),
    Alive(NodeId),
    Owner(BundleId),
    /// The record cannot be read; it counts as absent.
    Damaged,
    /// Nothing that the view holds, or older than what it holds.
    Nothing,
}

/// A compare-and-put of an owner record, and what it writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub record: OwnerRecord,
    /// Condition 0 is the owner record as seen, condition 1 that the new owner is alive.
    pub request: MetaRequest,
}

/// The picture.
#[derive(Clone, Debug)]
pub struct View {
    me: NodeId,
    incarnation: u64,
    nodes: BTreeMap<NodeId, Held<NodeRecord>>,
    alive: BTreeMap<NodeId, Held<AliveRecord>>,
    owners: BTreeMap<BundleId, Held<OwnerRecord>>,
    /// The newest change taken over.
    revision: u64,
    /// This node has lost the majority of its region: what it sees of others is old.
    apart: bool,
    /// What nodes that are alive said last of what they serve.
    loads: BTreeMap<NodeId, NodeLoad>,
}

/// Traffic below which a bundle counts by its existence alone: what nearly idle nodes serve says nothing of them.
const BUNDLE_TRAFFIC_MIN: u64 = 100;

impl View {
    /// An empty picture of this node, which runs as `incarnation`.
    pub fn new(me: NodeId, incarnation: u64) -> Self {
        Self {
            me,
            incarnation,
            nodes: BTreeMap::new(),
            alive: BTreeMap::new(),
            owners: BTreeMap::new(),
            revision: 0,
            apart: false,
            loads: BTreeMap::new(),
        }
    }

    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Which start of this node it is.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Whether this node has lost the majority of its region (I4).
    pub fn is_apart(&self) -> bool {
        self.apart
    }

    /// Takes over whether it has; true when that is new.
    pub fn set_apart(&mut self, apart: bool) -> bool {
        std::mem::replace(&mut self.apart, apart) != apart
    }

    /// Takes a change over: an event, or the node's own committed write (I2).
    pub fn apply(&mut self, key: &str, version: u64, value: Option<&[u8]>) -> ViewChange {
        self.revision = self.revision.max(version);
        match Key::parse(key) {
            Some(Key::Node(node)) => {
                let read = value.map(NodeRecord::decode);
                take(&mut self.nodes, node, version, read, ViewChange::Node(node))
            }
            Some(Key::Alive(node)) => {
                let read = value.map(AliveRecord::decode);
                self.loads.remove(&node); // It starts or ends.
                take(&mut self.alive, node, version, read, ViewChange::Alive(node))
            }
            Some(Key::Owner(namespace, range)) => {
                let bundle = (namespace, range);
                let read = value.map(OwnerRecord::decode);
                take(&mut self.owners, bundle.clone(), version, read, ViewChange::Owner(bundle))
            }
            _ => ViewChange::Nothing,
        }
    }

    /// The revision of the newest change that the view was fed with.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    // ---- nodes ----

    pub fn node(&self, node: NodeId) -> Option<&NodeRecord> {
        self.nodes.get(&node).map(|held| &held.record)
    }

    /// All registered nodes with the versions of their records.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &NodeRecord, u64)> {
        self.nodes.iter().map(|(node, held)| (*node, &held.record, held.version))
    }

    /// Which incarnation counts as alive, and the version of that record.
    pub fn alive(&self, node: NodeId) -> Option<(u64, u64)> {
        self.alive.get(&node).map(|held| (held.record.incarnation, held.version))
    }

    /// Nodes that count as alive, ascending.
    pub fn live_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.alive.keys().copied().filter(|node| self.nodes.contains_key(node))
    }

    /// Nodes that may take bundles and entries: alive and not draining, ascending.
    pub fn open_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.live_nodes().filter(|node| self.node(*node).is_some_and(|record| !record.draining))
    }

    /// The zones of those nodes that name one.
    pub fn zones(&self) -> impl Iterator<Item = (NodeId, String)> {
        self.nodes.iter().filter_map(|(node, held)| Some((*node, held.record.zone.clone()?)))
    }

    // ---- owners ----

    /// Who serves a bundle (I1).
    pub fn owner(&self, bundle: &BundleId) -> Owner {
        let Some(Held { record, version }) = self.owners.get(bundle) else { return Owner::Nobody };
        if self.alive(record.node).map(|(incarnation, _)| incarnation) != Some(record.incarnation) {
            return Owner::Nobody;
        }
        if record.node != self.me {
            return Owner::By(record.node);
        }
        if record.incarnation != self.incarnation || self.apart {
            return Owner::Nobody; // I4
        }
        Owner::Us { version: *version, epoch: record.epoch, moving_to: record.moving_to }
    }

    /// All bundles that have an owner record, whoever it names.
    pub fn bundles(&self) -> impl Iterator<Item = (&BundleId, &OwnerRecord)> {
        self.owners.iter().map(|(bundle, held)| (bundle, &held.record))
    }

    /// The bundles that this node serves, with the versions of their records.
    pub fn ours(&self) -> impl Iterator<Item = (&BundleId, u64)> {
        self.owners.keys().filter_map(|bundle| match self.owner(bundle) {
            Owner::Us { version, .. } => Some((bundle, version)),
            Owner::By(_) | Owner::Nobody => None,
        })
    }

    /// Bundles whose record names a node that does not count as alive.
    pub fn orphans(&self) -> impl Iterator<Item = &BundleId> {
        self.owners.keys().filter(|bundle| self.owner(bundle) == Owner::Nobody)
    }

    /// How many bundles each node that takes bundles serves.
    fn counts(&self) -> BTreeMap<NodeId, usize> {
        let mut loads: BTreeMap<NodeId, usize> = self.open_nodes().map(|node| (node, 0)).collect();
        for held in self.owners.values() {
            if self.alive(held.record.node).map(|(incarnation, _)| incarnation) == Some(held.record.incarnation)
                && let Some(load) = loads.get_mut(&held.record.node)
            {
                *load += 1;
            }
        }
        loads
    }

    /// A node said what it serves; what is not alive any more is not listened to.
    pub fn set_load(&mut self, node: NodeId, load: NodeLoad) {
        if self.alive.contains_key(&node) {
            self.loads.insert(node, load);
        }
    }

    /// What a node that is alive said last of what it serves.
    pub fn load(&self, node: NodeId) -> Option<&NodeLoad> {
        self.loads.get(&node)
    }

    /// Which of the nodes serves the least: each bundle counts, and traffic counts for as many bundles as carry so much on average.
    /// A node whose disk is full comes last: where its metadata log has no room either, it does not hear what it is given.
    fn least_loaded(&self, counts: impl IntoIterator<Item = (NodeId, usize)>) -> Option<NodeId> {
        let counts: Vec<(NodeId, usize)> = counts.into_iter().collect();
        let traffic = |node: NodeId| self.loads.get(&node).map_or(0, |load| load.units);
        let total: u64 = counts.iter().map(|(node, _)| traffic(*node)).sum();
        let bundles = counts.iter().map(|(_, count)| *count as u64).sum::<u64>().max(1);
        let each = (total / bundles).max(BUNDLE_TRAFFIC_MIN);
        let score = |(node, count): &(NodeId, usize)| {
            let full = self.loads.get(node).is_some_and(|load| load.read_only);
            (full, *count as u64 + traffic(*node) / each, traffic(*node) / each.min(BUNDLE_TRAFFIC_MIN), *node)
        };
        counts.iter().min_by_key(|pair| score(pair)).map(|(node, _)| *node)
    }

    /// Gives a bundle that nobody serves to the node that serves the least; `promised` counts what was given out and is not
    /// in the picture yet. `None` when the bundle has an owner or no node can take it.
    pub fn assign(&self, bundle: &BundleId, promised: &BTreeMap<NodeId, usize>) -> Option<Assignment> {
        if self.apart || self.owner(bundle) != Owner::Nobody {
            return None; // I4
        }
        let counted = |(node, load)| (node, load + promised.get(&node).copied().unwrap_or(0));
        let node = self.least_loaded(self.counts().into_iter().map(counted))?;
        self.give(bundle, node)
    }

    /// Gives a bundle to a node that is alive (I3). `None` when it is not.
    pub fn give(&self, bundle: &BundleId, node: NodeId) -> Option<Assignment> {
        let (incarnation, alive_version) = self.alive(node)?;
        if self.node(node)?.draining {
            return None;
        }
        let key = keys::owner_key(&bundle.0, bundle.1);
        let (condition, epoch) = match self.owners.get(bundle) {
            Some(held) => (Compare::Version { key: key.clone(), version: held.version }, held.record.epoch),
            None => (Compare::Absent { key: key.clone() }, 0),
        };
        let record = OwnerRecord { node, incarnation, epoch: epoch + 1, moving_to: None };
        let lives = Compare::Version { key: keys::alive_key(node), version: alive_version };
        let writes = vec![Write::Put { key, value: record.encode() }];
        Some(Assignment { record, request: MetaRequest::Txn { compare: vec![condition, lives], writes } })
    }

    /// Gives up a bundle that this node serves: deletes its owner record. `None` when it is not ours.
    pub fn release(&self, bundle: &BundleId) -> Option<MetaRequest> {
        let Owner::Us { version, .. } = self.owner(bundle) else { return None };
        let key = keys::owner_key(&bundle.0, bundle.1);
        let compare = vec![Compare::Version { key: key.clone(), version }];
        Some(MetaRequest::Txn { compare, writes: vec![Write::Delete { key }] })
    }

    /// Marks this node as draining. `None` when its record is unknown or says so already.
    pub fn drain(&self) -> Option<MetaRequest> {
        let held = self.nodes.get(&self.me).filter(|held| !held.record.draining)?;
        let key = keys::node_key(self.me);
        let record = NodeRecord { draining: true, ..held.record.clone() };
        let compare = vec![Compare::Version { key: key.clone(), version: held.version }];
        Some(MetaRequest::Txn { compare, writes: vec![Write::Put { key, value: record.encode() }] })
    }

    /// The condition that a bundle is still ours as now; for every change of its topics' logs.
    pub fn guard(&self, bundle: &BundleId) -> Option<Compare> {
        let Owner::Us { version, .. } = self.owner(bundle) else { return None };
        Some(Compare::Version { key: keys::owner_key(&bundle.0, bundle.1), version })
    }
}

fn take<K: Ord, R>(
    map: &mut BTreeMap<K, Held<R>>,
    key: K,
    version: u64,
    read: Option<Option<R>>,
    change: ViewChange,
) -> ViewChange {
    if map.get(&key).is_some_and(|held| held.version >= version) {
        return ViewChange::Nothing; // I2
    }
    match read {
        Some(Some(record)) => {
            map.insert(key, Held { record, version });
        }
        Some(None) => {
            map.remove(&key);
            return ViewChange::Damaged;
        }
        None if map.remove(&key).is_none() => return ViewChange::Nothing,
        None => (),
    }
    change
}

/// How a broker knows which bundles are its own.
#[derive(Clone, Debug)]
pub enum Ownership {
    /// The only node of its region: every bundle is ours without asking.
    Sole,
    /// One of several.
    Shared(View),
}

impl Ownership {
    pub fn view(&self) -> Option<&View> {
        match self {
            Self::Sole => None,
            Self::Shared(view) => Some(view),
        }
    }

    pub fn owner(&self, bundle: &BundleId) -> Owner {
        match self {
            Self::Sole => Owner::Us { version: 0, epoch: 0, moving_to: None },
            Self::Shared(view) => view.owner(bundle),
        }
    }

    /// The condition for changes of a topic's log; `None` for the sole node, which needs none.
    pub fn guard(&self, bundle: &BundleId) -> Option<Compare> {
        self.view()?.guard(bundle)
    }
}

/// The value of a committed write, as an event would carry it.
pub fn written(request: &MetaRequest) -> Vec<(String, Option<Bytes>)> {
    let MetaRequest::Txn { writes, .. } = request else { return Vec::new() };
    let change = |write: &Write| match write {
        Write::Put { key, value } => (key.clone(), Some(value.clone())),
        Write::Delete { key } => (key.clone(), None),
    };
    writes.iter().map(change).collect()
}

#[cfg(test)]
mod tests;
