//! Requests that move bundles or divide them, made from the picture.
//!
//! **Not here**  Closing topics, which the owner does before it lets go of a bundle (`broker`); when to move (`balance`).

use super::{BundleId, Held, Owner, View};
use crate::OwnerRecord;
use base::{NamespaceName, NodeId};
use meta_api::{Compare, MetaRequest, Write};
use tenancy::BundleRange;
use tenancy::keys;

/// The part of a transaction that concerns owner records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnerChange {
    pub compare: Vec<Compare>,
    pub writes: Vec<Write>,
}

impl View {
    /// Asks the owners of a namespace's bundles, whoever they are, to close their topics and hand each bundle to the node that
    /// then serves the fewest. `None` when nothing of the namespace is served.
    pub fn unload(&self, namespace: &NamespaceName) -> Option<MetaRequest> {
        self.hand_over(namespace, None)
    }

    /// Asks the other owners of a namespace's bundles to hand them to this node. `None` when it has all that are served.
    pub fn gather(&self, namespace: &NamespaceName) -> Option<MetaRequest> {
        self.hand_over(namespace, Some(self.me))
    }

    fn hand_over(&self, namespace: &NamespaceName, to: Option<NodeId>) -> Option<MetaRequest> {
        let mut loads = self.counts();
        let (mut compare, mut writes) = (Vec::new(), Vec::new());
        for (bundle, held) in self.owners.iter().filter(|(bundle, _)| bundle.0 == *namespace) {
            let stays = held.record.moving_to.is_some() || to == Some(held.record.node);
            if stays || self.owner(bundle) == Owner::Nobody {
                continue;
            }
            if let Some(load) = loads.get_mut(&held.record.node) {
                *load = load.saturating_sub(1);
            }
            let node = to.or_else(|| self.least_loaded(loads.clone()))?;
            *loads.entry(node).or_default() += 1;
            let key = keys::owner_key(&bundle.0, bundle.1);
            let record = OwnerRecord { moving_to: Some(node), ..held.record };
            compare.push(Compare::Version { key: key.clone(), version: held.version });
            writes.push(Write::Put { key, value: record.encode() });
        }
        (!writes.is_empty()).then_some(MetaRequest::Txn { compare, writes })
    }

    /// Whether a bundle of the namespace is being handed over.
    pub fn is_unloading(&self, namespace: &NamespaceName) -> bool {
        let moves = |(bundle, held): (&BundleId, &Held<OwnerRecord>)| {
            bundle.0 == *namespace && held.record.moving_to.is_some() && self.owner(bundle) != Owner::Nobody
        };
        self.owners.iter().any(moves)
    }

    /// Whether a bundle is being handed over.
    pub fn is_moving(&self, bundle: &BundleId) -> bool {
        let moves = self.owners.get(bundle).is_some_and(|held| held.record.moving_to.is_some());
        moves && self.owner(bundle) != Owner::Nobody
    }

    /// Asks the owner of a bundle to hand it to a node that is alive and not draining. `None` when it cannot move there: nobody
    /// serves it, it moves already, or it is there.
    pub fn move_bundle(&self, bundle: &BundleId, to: NodeId) -> Option<MetaRequest> {
        let held = self.owners.get(bundle).filter(|held| held.record.moving_to.is_none() && held.record.node != to)?;
        if self.owner(bundle) == Owner::Nobody || !self.open_nodes().any(|node| node == to) {
            return None;
        }
        let key = keys::owner_key(&bundle.0, bundle.1);
        let record = OwnerRecord { moving_to: Some(to), ..held.record };
        let compare = vec![Compare::Version { key: key.clone(), version: held.version }];
        Some(MetaRequest::Txn { compare, writes: vec![Write::Put { key, value: record.encode() }] })
    }

    /// What becomes of a bundle's owner record when the bundle is divided into `parts` by the same transaction (I5). This node
    /// serves it and keeps the first part, and the others too unless `spread`: then each goes to the node that serves the
    /// least. A bundle without a record has parts without one. `None` while it moves, or when it is not ours.
    pub fn split(&self, bundle: &BundleId, parts: &[BundleRange], spread: bool) -> Option<OwnerChange> {
        let key = keys::owner_key(&bundle.0, bundle.1);
        let Some(held) = self.owners.get(bundle) else {
            return Some(OwnerChange { compare: vec![Compare::Absent { key }], writes: Vec::new() });
        };
        let Owner::Us { moving_to: None, version, epoch } = self.owner(bundle) else { return None };
        let mut change = OwnerChange {
            compare: vec![Compare::Version { key: key.clone(), version }],
            writes: vec![Write::Delete { key }],
        };
        let mut loads = self.counts();
        for (at, part) in parts.iter().enumerate() {
            let least = if at == 0 || !spread { None } else { self.least_loaded(loads.clone()) };
            let taker = least.and_then(|node| Some((node, self.alive(node)?)));
            let (node, incarnation) = match taker {
                Some((node, (incarnation, alive))) if node != self.me => {
                    let lives = Compare::Version { key: keys::alive_key(node), version: alive };
                    if !change.compare.contains(&lives) {
                        change.compare.push(lives);
                    }
                    (node, incarnation)
                }
                _ => (self.me, held.record.incarnation),
            };
            if at > 0 {
                *loads.entry(node).or_default() += 1; // The first takes the place of the whole.
            }
            let record = OwnerRecord { node, incarnation, epoch: epoch + 1, moving_to: None };
            change.writes.push(Write::Put { key: keys::owner_key(&bundle.0, *part), value: record.encode() });
        }
        Some(change)
    }
}
