//! How fast the clocks of nodes run.
//!
//! **What**  A node has a clock that only goes on, which times its waits, and a wall clock. Each gains or loses a share of the
//! true time, the same share for the whole run; jumps of wall clocks are another fault (`world::nemesis`). In most seeds that
//! have drift it is at most what bad quartz does, or some percent. In few one node is far off: a clock runs at half or twice the rate.
//!
//! **Invariants**
//! - I1  at the true time that [`Gain::takes`] says, a clock has counted what was asked for, and a nanosecond before it has not.

use crate::queue::Time;
use base::Rng;
use std::fmt;

/// Of a hundred seeds, so many have clocks that drift.
const DRIFTING: u64 = 40;
/// Of a hundred of those, so many have a node whose clocks are far off.
const FAR_OFF: u64 = 10;
/// What clocks gain or lose at most, in millionths: bad quartz, and much worse than any.
const BOUNDS: [i32; 2] = [1000, 50_000];
/// What a clock that is far off gains, in millionths.
const FAR: [i32; 2] = [-500_000, 1_000_000];
const MILLION: u128 = 1_000_000;

/// What a clock gains on the true time, in millionths of it; negative: what it loses. Above -1 000 000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gain(pub i32);

impl Gain {
    /// What the clock counts while so much true time goes by.
    pub fn counts(self, time: Time) -> Time {
        Time::try_from(u128::from(time) * self.rate() / MILLION).unwrap_or(Time::MAX)
    }

    /// The true time that goes by until the clock has counted so much.
    pub fn takes(self, counted: Time) -> Time {
        Time::try_from((u128::from(counted) * MILLION).div_ceil(self.rate())).unwrap_or(Time::MAX) // I1
    }

    /// Millionths of the true time.
    fn rate(self) -> u128 {
        u128::try_from(1_000_000 + i64::from(self.0)).unwrap_or(1).max(1)
    }
}

/// The clocks of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// Of the one that only goes on.
    pub mono: Gain,
    pub wall: Gain,
}

impl Clocks {
    /// What a seed decides for so many nodes. From a source of its own, so that seeds mean what they meant but for their clocks.
    pub fn of_seed(seed: u64, nodes: usize) -> Vec<Self> {
        let mut rng = Rng::new(seed).fork("clock drift");
        if !rng.percent(DRIFTING) {
            return vec![Self::default(); nodes];
        }
        let bound = pick(&mut rng, &BOUNDS);
        let mut clocks: Vec<Self> = (0..nodes).map(|_| Self::within(bound, &mut rng)).collect();
        let (far_off, gain, which) = (rng.percent(FAR_OFF), Gain(pick(&mut rng, &FAR)), rng.below(3));
        let node = usize::try_from(rng.below(nodes as u64)).unwrap_or(0);
        if let Some(clocks) = clocks.get_mut(node).filter(|_| far_off) {
            clocks.mono = if which == 0 { clocks.mono } else { gain };
            clocks.wall = if which == 1 { clocks.wall } else { gain };
        }
        clocks
    }

    fn within(bound: i32, rng: &mut Rng) -> Self {
        let span = 2 * u64::from(bound.unsigned_abs());
        let mut draw = || Gain(i32::try_from(rng.range(0, span)).unwrap_or(0) - bound);
        Self { mono: draw(), wall: draw() }
    }
}

fn pick(rng: &mut Rng, among: &[i32]) -> i32 {
    rng.pick(among).copied().unwrap_or(0)
}

/// The nodes whose clocks drift: what they gain in millionths, the clock that only goes on first.
pub(crate) struct Drifting<'a>(pub(crate) &'a [Clocks]);

impl fmt::Display for Drifting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.iter().all(|clocks| *clocks == Clocks::default()) {
            return f.write_str("none");
        }
        for (node, clocks) in self.0.iter().enumerate() {
            let comma = if node > 0 { "," } else { "" };
            write!(f, "{comma}{node}:{:+}/{:+}", clocks.mono.0, clocks.wall.0)?;
        }
        f.write_str("ppm")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{MS, SECOND};

    #[test]
    fn a_clock_that_gains_five_percent_shows_a_second_early() {
        let fast = Gain(50_000);
        assert_eq!(fast.counts(SECOND), 1050 * MS);
        assert_eq!(fast.takes(1050 * MS), SECOND);
        assert_eq!(Gain::default().counts(7), 7);
        assert_eq!(Gain(-500_000).takes(SECOND), 2 * SECOND);
        assert_eq!(Gain(-500_000).takes(Time::MAX), Time::MAX);
    }

    #[test]
    fn a_wait_ends_when_the_clock_shows_it_and_not_before() {
        let mut rng = Rng::new(1);
        for _ in 0..10_000 {
            let gain = Gain(i32::try_from(rng.below(1_500_001)).unwrap_or(0) - 500_000);
            let counted = rng.range(1, 1000 * SECOND);
            let takes = gain.takes(counted);
            assert!(gain.counts(takes) >= counted && gain.counts(takes - 1) < counted, "{gain:?} {counted}");
        }
    }

    #[test]
    fn seeds_have_true_clocks_clocks_that_drift_and_some_that_are_far_off() {
        let seeds: Vec<Vec<Clocks>> = (0..1000).map(|seed| Clocks::of_seed(seed, 6)).collect();
        let with = |least: i32| {
            let far = |gain: Gain| gain.0.abs() >= least;
            seeds.iter().filter(|all| all.iter().any(|clocks| far(clocks.mono) || far(clocks.wall))).count()
        };
        assert!((350..450).contains(&with(1)), "{}", with(1));
        assert!((150..250).contains(&with(1001)), "{}", with(1001));
        assert!((20..60).contains(&with(500_000)), "{}", with(500_000));
        assert_eq!(with(1_000_001), 0);
    }
}
