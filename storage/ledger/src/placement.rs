//! Chooses bookies for new ledgers and replacements for failed ones, spread over zones.
//!
//! **What**  A random choice without repetition among the bookies that the owner believes to be available. A zone (a rack, a
//! room, a data centre) is what fails together; the next bookie always comes from one of the zones that the ensemble uses
//! least. Bookies without a zone share a nameless one: nothing says that they fail apart.
//!
//! **Invariants**
//! - I1  no bookie stands twice in an ensemble, and a replacement is none of those to be avoided.
//! - I2  an ensemble uses as many zones as it can: a zone gets another bookie only when no available zone has fewer.
//! - I3  the same seed, bookies and zones give the same choices, in whatever order the bookies are listed.
//!
//! **Not here**  Knowing who is alive and in which zone (the owner).
//!
//! **Tests**  properties below.

use crate::{ReplicationConfig, SlotSet, VACANT};
use base::{NodeId, Rng};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which bookie stands in which zone; cheap to clone. A bookie that is not listed is in the nameless zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Zones(Arc<BTreeMap<NodeId, Box<str>>>);

impl Zones {
    /// The nameless zone, an empty name.
    const NAMELESS: &str = "";

    pub fn of(&self, node: NodeId) -> &str {
        self.0.get(&node).map_or(Self::NAMELESS, |zone| zone)
    }
}

impl FromIterator<(NodeId, String)> for Zones {
    fn from_iter<I: IntoIterator<Item = (NodeId, String)>>(zones: I) -> Self {
        Self(Arc::new(zones.into_iter().map(|(node, zone)| (node, zone.into_boxed_str())).collect()))
    }
}

/// The bookies to choose from and the dice.
#[derive(Clone, Debug, Hash)]
pub struct Placement {
    /// Ascending, none twice (I3).
    available: Vec<NodeId>,
    zones: Zones,
    rng: Rng,
}

impl Placement {
    /// All bookies in one zone, until [`Placement::with_zones`] says otherwise.
    pub fn new(available: Vec<NodeId>, rng: Rng) -> Self {
        let mut placement = Self { available: Vec::new(), zones: Zones::default(), rng };
        placement.set_available(available);
        placement
    }

    /// The same bookies and dice with zones.
    #[must_use]
    pub fn with_zones(self, zones: Zones) -> Self {
        Self { zones, ..self }
    }

    /// Replaces the zones.
    pub fn set_zones(&mut self, zones: Zones) {
        self.zones = zones;
    }

    /// Replaces the list of bookies that take new entries.
    pub fn set_available(&mut self, mut available: Vec<NodeId>) {
        available.retain(|node| *node != VACANT);
        available.sort_unstable();
        available.dedup();
        self.available = available;
    }

    pub fn available(&self) -> &[NodeId] {
        &self.available
    }

    /// `count` different bookies in random order, over as many zones as possible; neighbours stand in different zones where
    /// that is possible. `None` when fewer are available.
    pub fn pick_ensemble(&mut self, count: u32) -> Option<Vec<NodeId>> {
        let mut picked: Vec<NodeId> = Vec::with_capacity(usize::try_from(count).ok()?);
        for _ in 0..count {
            let node = self.pick_beside(&picked, &picked)?;
            assert!(!picked.contains(&node), "Placement I1: {node} stands once in an ensemble");
            picked.push(node);
        }
        Some(picked)
    }

    /// The ensemble of a new ledger: as [`Placement::pick_ensemble`], with vacant seats where bookies lack. `None` when so few
    /// are available that not every entry could have its ack quorum.
    pub fn pick_seats(&mut self, replication: ReplicationConfig) -> Option<Vec<NodeId>> {
        let available = u32::try_from(self.available.len()).unwrap_or(u32::MAX);
        let taken = replication.ensemble().min(available);
        let vacant = replication.ensemble() - taken;
        if vacant > replication.vacancies_max() {
            return None;
        }
        let mut seats = self.pick_ensemble(taken)?;
        seats.extend((0..vacant).map(|_| VACANT));
        Some(seats)
    }

    /// Other bookies in the seats of as many suspects as possible. Of those for whom there is none, the ones that are not
    /// available leave their seats vacant, when all of them can. `None` when nothing changes.
    pub fn reseat(
        &mut self,
        seats: &[NodeId],
        suspects: SlotSet,
        replication: ReplicationConfig,
    ) -> Option<(Vec<NodeId>, SlotSet)> {
        if suspects.is_empty() {
            return None;
        }
        let mut bookies = seats.to_vec();
        let suspected = |(node, slot): (&NodeId, u32)| suspects.contains(slot).then_some(*node);
        let leaving: Vec<NodeId> = seats.iter().zip(0..).filter_map(suspected).collect();
        let (mut replaced, mut away) = (SlotSet::EMPTY, SlotSet::EMPTY);
        for (slot, seat) in (0..).zip(&mut bookies.clone()).filter(|(slot, _)| suspects.contains(*slot)) {
            let Ok(index) = usize::try_from(slot) else { continue };
            if let Some(node) = self.pick_replacement(&bookies, &leaving) {
                bookies[index] = node;
                replaced.insert(slot);
            } else if *seat != VACANT && !self.available.contains(seat) {
                away.insert(slot);
            }
        }
        let vacant = bookies.iter().filter(|node| **node == VACANT).count();
        let allowed = usize::try_from(replication.vacancies_max()).unwrap_or(0).saturating_sub(vacant);
        if away.iter().count() <= allowed {
            away.iter().filter_map(|slot| usize::try_from(slot).ok()).for_each(|index| bookies[index] = VACANT);
            replaced = replaced.union(away);
        }
        (!replaced.is_empty()).then_some((bookies, replaced))
    }

    /// A bookie for the place of one that leaves `ensemble`: none of `leaving` and none that is in it, from one of the zones
    /// that those who stay use least. `None` when there is none.
    pub fn pick_replacement(&mut self, ensemble: &[NodeId], leaving: &[NodeId]) -> Option<NodeId> {
        let stays = |node: &&NodeId| **node != VACANT && !leaving.contains(node);
        let stay: Vec<NodeId> = ensemble.iter().filter(stays).copied().collect();
        let except: Vec<NodeId> = ensemble.iter().chain(leaving).copied().collect();
        self.pick_beside(&stay, &except)
    }

    /// One bookie that is not in `except`, of a zone that `beside` uses least (I2).
    fn pick_beside(&mut self, beside: &[NodeId], except: &[NodeId]) -> Option<NodeId> {
        let used = |node: &NodeId| {
            let zone = self.zones.of(*node);
            beside.iter().filter(|other| self.zones.of(**other) == zone).count()
        };
        let free: Vec<(usize, NodeId)> =
            self.available.iter().filter(|node| !except.contains(node)).map(|node| (used(node), *node)).collect();
        let least = free.iter().map(|(used, _)| *used).min()?;
        let best: Vec<NodeId> = free.iter().filter(|(used, _)| *used == least).map(|(_, node)| *node).collect();
        self.rng.pick(&best).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    /// Bookies 1, 2, … in these zones; zone 0 is the nameless one.
    fn placed(zones: &[u8], seed: u64) -> (Placement, Zones) {
        let all: Vec<NodeId> = (1..=zones.len() as u64).map(NodeId).collect();
        let named = all.iter().zip(zones).filter(|(_, zone)| **zone > 0);
        let zones: Zones = named.map(|(node, zone)| (*node, format!("zone-{zone}"))).collect();
        (Placement::new(all, Rng::new(seed)).with_zones(zones.clone()), zones)
    }

    fn bookies() -> impl Strategy<Value = Vec<u8>> {
        vec(0..5_u8, 1..14)
    }

    /// How many of `nodes` stand in each zone that has an available bookie.
    fn shares(nodes: &[NodeId], placement: &Placement, zones: &Zones) -> BTreeMap<String, (usize, usize)> {
        let mut shares: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for node in placement.available() {
            let (taken, free) = shares.entry(zones.of(*node).to_owned()).or_default();
            if nodes.contains(node) { *taken += 1 } else { *free += 1 }
        }
        shares
    }

    proptest! {
        #[test]
        fn an_ensemble_uses_as_many_zones_as_it_can(sites in bookies(), count in 1..9_u32, seed in any::<u64>()) {
            let (mut placement, zones) = placed(&sites, seed);
            let Some(ensemble) = placement.pick_ensemble(count) else {
                prop_assert!(sites.len() < count as usize);
                return Ok(());
            };
            let different: BTreeSet<_> = ensemble.iter().collect();
            prop_assert_eq!(different.len(), count as usize, "Placement I1");
            let shares = shares(&ensemble, &placement, &zones);
            let used = shares.values().filter(|(taken, _)| *taken > 0).count();
            prop_assert_eq!(used, shares.len().min(count as usize), "Placement I2");
            for (taken, _) in shares.values() {
                let unfair = shares.values().any(|(other, free)| *free > 0 && other + 1 < *taken);
                prop_assert!(!unfair, "Placement I2: {shares:?}");
            }
        }

        #[test]
        fn a_replacement_prefers_a_zone_that_those_who_stay_do_not_use(
            sites in bookies(), count in 1..6_u32, gone in 0..6_usize, seed in any::<u64>()
        ) {
            let (mut placement, zones) = placed(&sites, seed);
            let Some(ensemble) = placement.pick_ensemble(count) else { return Ok(()) };
            let leaving = [ensemble[gone % ensemble.len()]];
            let Some(node) = placement.pick_replacement(&ensemble, &leaving) else {
                prop_assert_eq!(sites.len(), ensemble.len());
                return Ok(());
            };
            prop_assert!(!ensemble.contains(&node), "Placement I1");
            let stay: BTreeSet<&str> = ensemble.iter().filter(|n| **n != leaving[0]).map(|n| zones.of(*n)).collect();
            let fresh = placement.available().iter().any(|n| !ensemble.contains(n) && !stay.contains(zones.of(*n)));
            prop_assert_eq!(!stay.contains(zones.of(node)), fresh, "Placement I2");
        }

        #[test]
        fn the_same_seed_gives_the_same_choice_in_whatever_order_bookies_are_listed(
            sites in bookies(), seed in any::<u64>()
        ) {
            let (mut left, _) = placed(&sites, seed);
            let mut right = left.clone();
            right.set_available(left.available().iter().rev().chain(left.available()).copied().collect());
            for count in (1..5).cycle().take(20) {
                let ensemble = left.pick_ensemble(count);
                prop_assert_eq!(&ensemble, &right.pick_ensemble(count), "Placement I3");
                let ensemble = ensemble.unwrap_or_default();
                let (a, b) = (left.pick_replacement(&ensemble, &[]), right.pick_replacement(&ensemble, &[]));
                prop_assert_eq!(a, b, "Placement I3");
            }
        }
    }

    #[test]
    fn without_zones_every_bookie_gets_its_share() {
        let mut placement = Placement::new(nodes(&[1, 2, 3, 4]), Rng::new(5));
        let mut counts = [0; 5];
        for _ in 0..400 {
            let ensemble = placement.pick_ensemble(3).unwrap();
            ensemble.iter().for_each(|node| counts[usize::try_from(node.0).unwrap()] += 1);
        }
        assert!(counts[1..].iter().all(|&count| (250..350).contains(&count)), "{counts:?}");
    }

    #[test]
    fn seats_stay_vacant_only_where_every_entry_has_its_ack_quorum() {
        let (three, all) = (ReplicationConfig::new(3, 3, 2).unwrap(), ReplicationConfig::new(3, 3, 3).unwrap());
        let mut placement = Placement::new(nodes(&[4, 7]), Rng::new(1));
        let seats = placement.pick_seats(three).unwrap();
        assert_eq!((seats[2], seats.len()), (VACANT, 3));
        assert_eq!(placement.pick_seats(all), None);
        let reseated = placement.reseat(&nodes(&[4, 7, 9]), SlotSet::from_iter([2]), three);
        assert_eq!(reseated, Some((vec![NodeId(4), NodeId(7), VACANT], SlotSet::from_iter([2]))));
        assert_eq!(placement.reseat(&nodes(&[4, 8, 9]), SlotSet::from_iter([1, 2]), three).unwrap().0[1], NodeId(7));
        assert_eq!(placement.reseat(&nodes(&[4, 7, 9]), SlotSet::from_iter([0, 1]), three), None, "they are there");
        placement.set_available(nodes(&[4]));
        assert_eq!((placement.pick_seats(three), placement.available()), (None, &nodes(&[4])[..]));
    }

    #[test]
    fn too_few_bookies_give_none() {
        let mut placement = Placement::new(nodes(&[1, 2]), Rng::new(1));
        assert_eq!(placement.pick_ensemble(3), None);
        assert_eq!(placement.pick_replacement(&nodes(&[1, 2]), &nodes(&[2])), None);
        placement.set_available(nodes(&[1, 2, 3]));
        assert_eq!(placement.pick_replacement(&nodes(&[1, 2]), &nodes(&[2])), Some(NodeId(3)));
    }
}
