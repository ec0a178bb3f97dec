//! Chooses bookies for new ledgers and replacements for failed ones.
//!
//! **What**  A uniform random choice without repetition among the bookies that the owner believes to be available.
//! **Not here**  Knowing who is alive (`cluster`).

use base::{NodeId, Rng};

/// The bookies to choose from and the dice.
#[derive(Clone, Debug)]
pub struct Placement {
    available: Vec<NodeId>,
    rng: Rng,
}

impl Placement {
    pub fn new(available: Vec<NodeId>, rng: Rng) -> Self {
        Self { available, rng }
    }

    /// Replaces the list of bookies that take new entries.
    pub fn set_available(&mut self, available: Vec<NodeId>) {
        self.available = available;
    }

    pub fn available(&self) -> &[NodeId] {
        &self.available
    }

    /// `count` different bookies in random order; `None` when fewer are available.
    pub fn pick_ensemble(&mut self, count: u32) -> Option<Vec<NodeId>> {
        let mut picked: Vec<NodeId> = Vec::with_capacity(usize::try_from(count).ok()?);
        for _ in 0..count {
            let node = self.pick_replacement(&picked)?;
            picked.push(node);
        }
        Some(picked)
    }

    /// One available bookie that is not in `except`; `None` when there is none.
    pub fn pick_replacement(&mut self, except: &[NodeId]) -> Option<NodeId> {
        let free: Vec<NodeId> = self.available.iter().filter(|node| !except.contains(node)).copied().collect();
        self.rng.pick(&free).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    #[test]
    fn an_ensemble_has_no_bookie_twice_and_every_bookie_gets_its_share() {
        let mut placement = Placement::new(nodes(&[1, 2, 3, 4]), Rng::new(5));
        let mut counts = [0; 5];
        for _ in 0..400 {
            let mut ensemble = placement.pick_ensemble(3).unwrap();
            ensemble.iter().for_each(|node| counts[usize::try_from(node.0).unwrap()] += 1);
            ensemble.sort();
            ensemble.dedup();
            assert_eq!(ensemble.len(), 3);
        }
        assert!(counts[1..].iter().all(|&count| (250..350).contains(&count)), "{counts:?}");
    }

    #[test]
    fn too_few_bookies_give_none() {
        let mut placement = Placement::new(nodes(&[1, 2]), Rng::new(1));
        assert_eq!(placement.pick_ensemble(3), None);
        assert_eq!(placement.pick_replacement(&nodes(&[1, 2])), None);
        placement.set_available(nodes(&[1, 2, 3]));
        assert_eq!(placement.pick_replacement(&nodes(&[1, 2])), Some(NodeId(3)));
    }

    #[test]
    fn the_same_seed_gives_the_same_choice() {
        let mut left = Placement::new(nodes(&[1, 2, 3, 4, 5]), Rng::new(9));
        let mut right = left.clone();
        assert!((0..20).all(|_| left.pick_ensemble(3) == right.pick_ensemble(3)));
    }
}
