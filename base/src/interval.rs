//! A set of integers kept as disjoint inclusive ranges: the shape of individual acknowledgements.
//!
//! **Invariants**
//! - I1  ranges are disjoint and never adjacent: between two ranges at least one integer is missing.

use std::collections::BTreeMap;

/// A set of `i64` as inclusive ranges. Cost is per range, not per member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    /// start → end, inclusive.
    ranges: BTreeMap<i64, i64>,
}

impl IntervalSet {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `start..=end`; answers whether anything was missing before.
    pub fn insert(&mut self, start: i64, end: i64) -> bool {
        assert!(start <= end, "IntervalSet I1: start {start} <= end {end}");
        let (mut low, mut high) = (start, end);
        if let Some((&s, &e)) = self.ranges.range(..=start).next_back() {
            if e >= end {
                return false;
            }
            if e >= start.saturating_sub(1) {
                low = s;
            }
        }
        let touched: Vec<i64> = self.ranges.range(low..=end.saturating_add(1)).map(|(&s, _)| s).collect();
        for s in touched {
            if let Some(e) = self.ranges.remove(&s) {
                high = high.max(e);
            }
        }
        self.ranges.insert(low, high);
        true
    }

    pub fn contains(&self, value: i64) -> bool {
        self.range_of(value).is_some()
    }

    /// The range that holds `value`.
    pub fn range_of(&self, value: i64) -> Option<(i64, i64)> {
        self.ranges.range(..=value).next_back().map(|(&s, &e)| (s, e)).filter(|&(_, e)| e >= value)
    }

    /// Drops every member at or below `value`.
    pub fn remove_up_to(&mut self, value: i64) {
        while let Some((&s, &e)) = self.ranges.iter().next() {
            if s > value {
                return;
            }
            self.ranges.remove(&s);
            if e > value {
                self.ranges.insert(value + 1, e);
                return;
            }
        }
    }

    /// Members, not ranges.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|(s, e)| e.abs_diff(*s) + 1).sum()
    }

    /// Members within `start..=end`.
    pub fn count_within(&self, start: i64, end: i64) -> u64 {
        if start > end {
            return 0;
        }
        let first = self.range_of(start).map_or(start, |(s, _)| s);
        self.ranges.range(first..=end).map(|(&s, &e)| e.min(end).abs_diff(s.max(start)) + 1).sum()
    }

    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Ranges in ascending order, inclusive at both ends.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, i64)> + '_ {
        self.ranges.iter().map(|(&s, &e)| (s, e))
    }

    /// Adds every member of `other`.
    pub fn union(&mut self, other: &Self) {
        for (s, e) in other.iter() {
            self.insert(s, e);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_behaves_like_a_plain_set(ops in proptest::collection::vec((0i64..60, 0i64..8, 0u8..8), 0..60)) {
            let (mut set, mut model) = (IntervalSet::new(), BTreeSet::new());
            for (start, length, kind) in ops {
                if kind == 0 {
                    set.remove_up_to(start);
                    model.retain(|v| *v > start);
                } else {
                    let grew = (start..=start + length).any(|v| !model.contains(&v));
                    prop_assert_eq!(set.insert(start, start + length), grew);
                    model.extend(start..=start + length);
                }
                let ranges: Vec<_> = set.iter().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].1 + 1 < w[1].0), "I1: {ranges:?}");
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            for value in -1..80 {
                prop_assert_eq!(set.contains(value), model.contains(&value));
                let within = model.iter().filter(|v| (10..=value).contains(*v)).count() as u64;
                prop_assert_eq!(set.count_within(10, value), within);
            }
        }
    }
}
