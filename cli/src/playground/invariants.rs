//! What must hold for the playground's load: nothing missing, nothing twice, nothing out of order, and how late it is.
//!
//! **What**  Every region publishes the numbers 1, 2, 3 … and every other region reads them. A reader's topic has one order of
//! positions; a message at a position that was seen before is a redelivery and proves nothing.
//!
//! **Invariants** (of the service, counted here)
//! - I1  at new positions, the numbers of one origin are 1, 2, 3 … : a jump counts as missing, a number behind the jump that
//!   comes later counts as reordered (and is missing no more), any other repetition counts as duplicated.

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Missing numbers that are remembered per pair, to tell a late one from a duplicate.
const GAPS_MAX: usize = 100_000;
/// Publish times that are kept per origin.
const TIMES_MAX: usize = 4_000_000;

/// Where a message stands in a reader's topic.
pub(super) type Place = (u64, u64, u32);

/// The numbers of `GET /status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Messages with a receipt.
    pub(super) published: u64,
    /// First deliveries in other regions.
    pub(super) delivered: u64,
    pub(super) missing: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// The worst pair of regions: age of the oldest message that should be there, or time of the last delivery.
    pub(super) lag_ms: u64,
}

#[derive(Debug, Default)]
struct Origin {
    confirmed: u64,
    /// Publish times of the last confirmed numbers.
    sent_ms: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Pair {
    /// Highest number delivered.
    last: u64,
    gaps: BTreeSet<u64>,
    delivered: u64,
    missing: u64,
    duplicated: u64,
    reordered: u64,
    last_delay_ms: u64,
}

/// The checker.
#[derive(Debug, Default)]
pub(super) struct Invariants {
    origins: BTreeMap<String, Origin>,
    /// (origin, reader) → what was read.
    pairs: BTreeMap<(String, String), Pair>,
    /// Reader → last position.
    places: BTreeMap<String, Place>,
}

impl Invariants {
    pub(super) fn new(regions: &[String]) -> Self {
        let mut new = Self::default();
        for origin in regions {
            new.origins.insert(origin.clone(), Origin::default());
            for reader in regions.iter().filter(|reader| *reader != origin) {
                new.pairs.insert((origin.clone(), reader.clone()), Pair::default());
            }
        }
        new
    }

    /// The next number of `origin` has its receipt; it was sent at `sent_ms`.
    pub(super) fn confirmed(&mut self, origin: &str, sent_ms: u64) {
        let Some(origin) = self.origins.get_mut(origin) else { return };
        origin.confirmed += 1;
        origin.sent_ms.push_back(sent_ms);
        if origin.sent_ms.len() > TIMES_MAX {
            origin.sent_ms.pop_front();
        }
    }

    /// `reader` got number `n` of `origin` at `place`.
    pub(super) fn delivered(&mut self, reader: &str, place: Place, origin: &str, n: u64, sent_ms: u64, now_ms: u64) {
        let last_place = self.places.entry(reader.to_owned()).or_default();
        if place <= *last_place {
            return;
        }
        *last_place = place;
        let Some(pair) = self.pairs.get_mut(&(origin.to_owned(), reader.to_owned())) else { return };
        pair.take(n); // I1
        pair.last_delay_ms = now_ms.saturating_sub(sent_ms);
    }

    pub(super) fn totals(&self, now_ms: u64) -> Totals {
        let mut totals = Totals { published: self.origins.values().map(|o| o.confirmed).sum(), ..Totals::default() };
        for (names, pair) in &self.pairs {
            totals.delivered += pair.delivered;
            totals.missing += pair.missing;
            totals.duplicated += pair.duplicated;
            totals.reordered += pair.reordered;
            totals.lag_ms = totals.lag_ms.max(self.lag_of(&names.0, pair, now_ms));
        }
        totals
    }

    /// Lag from `origin` to `reader`.
    pub(super) fn lag_ms(&self, origin: &str, reader: &str, now_ms: u64) -> u64 {
        let pair = self.pairs.get(&(origin.to_owned(), reader.to_owned()));
        pair.map_or(0, |pair| self.lag_of(origin, pair, now_ms))
    }

    fn lag_of(&self, origin: &str, pair: &Pair, now_ms: u64) -> u64 {
        let Some(origin) = self.origins.get(origin) else { return 0 };
        let behind = usize::try_from(origin.confirmed.saturating_sub(pair.last)).unwrap_or(usize::MAX);
        if behind == 0 {
            return pair.last_delay_ms;
        }
        let oldest = origin.sent_ms.len().checked_sub(behind).and_then(|at| origin.sent_ms.get(at));
        let oldest = oldest.or_else(|| origin.sent_ms.front()).copied().unwrap_or(now_ms);
        now_ms.saturating_sub(oldest)
    }
}

impl Pair {
    fn take(&mut self, n: u64) {
        if n > self.last {
            let skipped = n - self.last - 1;
            self.missing += skipped;
            let room = GAPS_MAX.saturating_sub(self.gaps.len());
            self.gaps.extend((self.last + 1..n).take(room));
            self.last = n;
            self.delivered += 1;
        } else if self.gaps.remove(&n) {
            self.missing -= 1;
            self.reordered += 1;
            self.delivered += 1;
        } else {
            self.duplicated += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> Invariants {
        Invariants::new(&["east".to_owned(), "west".to_owned()])
    }

    fn read(world: &mut Invariants, entry: u64, n: u64) -> Totals {
        world.delivered("west", (1, entry, 0), "east", n, 1000, 1010);
        world.totals(1010)
    }

    #[test]
    fn numbers_in_order_break_nothing() {
        let mut world = world();
        for n in 1..=3 {
            world.confirmed("east", 1000);
            read(&mut world, n, n);
        }
        let expected = Totals { published: 3, delivered: 3, lag_ms: 10, ..Totals::default() };
        assert_eq!(world.totals(1010), expected);
    }

    #[test]
    fn a_jump_is_missing_until_the_number_comes_late() {
        let mut world = world();
        read(&mut world, 1, 1);
        assert_eq!(read(&mut world, 2, 3).missing, 1);
        let late = read(&mut world, 3, 2);
        assert_eq!((late.missing, late.reordered, late.delivered), (0, 1, 3));
    }

    #[test]
    fn a_second_copy_is_a_duplicate_but_a_redelivery_is_not() {
        let mut world = world();
        read(&mut world, 1, 1);
        assert_eq!(read(&mut world, 1, 1).duplicated, 0);
        assert_eq!(read(&mut world, 2, 1).duplicated, 1);
    }

    #[test]
    fn lag_grows_while_a_message_is_not_there() {
        let mut world = world();
        world.confirmed("east", 1000);
        world.confirmed("east", 2000);
        assert_eq!(world.lag_ms("east", "west", 5000), 4000);
        world.delivered("west", (1, 1, 0), "east", 1, 1000, 5000);
        assert_eq!(world.lag_ms("east", "west", 5000), 3000);
        world.delivered("west", (1, 2, 0), "east", 2, 2000, 5100);
        assert_eq!(world.lag_ms("east", "west", 9000), 3100);
    }
}
