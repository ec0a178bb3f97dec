//! Which opening of a topic's log stands behind what a server did.

use crate::history::{History, SubKey};
use std::collections::BTreeMap;

/// The steps in which lives of servers opened topics.
pub(super) struct Loads<'a>(BTreeMap<(usize, &'a str, u64), Vec<u64>>);

impl<'a> Loads<'a> {
    pub(super) fn of(history: &'a History) -> Self {
        let mut loads: BTreeMap<(usize, &'a str, u64), Vec<u64>> = BTreeMap::new();
        for opened in &history.opened {
            loads.entry((opened.region, &opened.topic, opened.boot)).or_default().push(opened.step);
        }
        Self(loads)
    }

    /// When the log was opened that this life used in `step`; `None`: the history does not tell.
    pub(super) fn began(&self, sub: &SubKey, boot: u64, step: u64) -> Option<u64> {
        let steps = self.0.get(&(sub.region, sub.topic.as_str(), boot))?;
        steps[..steps.partition_point(|began| *began <= step)].last().copied()
    }
}
