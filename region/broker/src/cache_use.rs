//! How much memory the caches of all topics hold together, and which topic was touched the longest ago.
//!
//! **Invariants**
//! - I1  `total` is the sum of what is recorded; a topic with nothing cached is not listed.

use base::OwnerId;
use std::collections::BTreeMap;

/// Cached bytes by topic, in the order of their last use.
#[derive(Debug, Default)]
pub(crate) struct CacheUse {
    by_topic: BTreeMap<OwnerId, (u64, u64)>,
    by_age: BTreeMap<u64, OwnerId>,
    total: u64,
    clock: u64,
}

impl CacheUse {
    /// A topic was touched and holds this much now.
    pub(crate) fn record(&mut self, topic: OwnerId, bytes: u64) {
        if let Some((age, old)) = self.by_topic.remove(&topic) {
            self.by_age.remove(&age);
            self.total -= old; // I1
        }
        if bytes > 0 {
            self.clock += 1;
            self.by_topic.insert(topic, (self.clock, bytes));
            self.by_age.insert(self.clock, topic);
            self.total += bytes;
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The topic with cached entries that was touched the longest ago.
    pub(crate) fn oldest(&self) -> Option<OwnerId> {
        self.by_age.first_key_value().map(|(_, topic)| *topic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_follows_every_record_and_the_oldest_is_the_longest_untouched() {
        let mut cache = CacheUse::default();
        cache.record(OwnerId(1), 10);
        cache.record(OwnerId(2), 20);
        cache.record(OwnerId(1), 5);
        assert_eq!((cache.total(), cache.oldest()), (25, Some(OwnerId(2))), "I1");
        cache.record(OwnerId(2), 0);
        assert_eq!((cache.total(), cache.oldest()), (5, Some(OwnerId(1))), "I1");
    }
}
