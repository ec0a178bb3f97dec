//! The next deadline of each of many machines, cheap to change.

use base::{Mono, OwnerId};
use std::collections::{BTreeMap, BTreeSet};

/// Deadlines by owner and by time.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    by_owner: BTreeMap<OwnerId, Mono>,
    queue: BTreeSet<(Mono, OwnerId)>,
}

impl Timers {
    /// Replaces the owner's deadline.
    pub(crate) fn set(&mut self, owner: OwnerId, deadline: Option<Mono>) {
        let old = self.by_owner.get(&owner).copied();
        if old == deadline {
            return;
        }
        if let Some(old) = old {
            self.queue.remove(&(old, owner));
        }
        match deadline {
            Some(at) => {
                self.by_owner.insert(owner, at);
                self.queue.insert((at, owner));
            }
            None => {
                self.by_owner.remove(&owner);
            }
        }
    }

    pub(crate) fn next(&self) -> Option<Mono> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes one owner whose deadline is at or before `now`; its owner sets a new one after handling it.
    pub(crate) fn pop_due(&mut self, now: Mono) -> Option<OwnerId> {
        let (at, owner) = self.queue.first().copied()?;
        if at > now {
            return None;
        }
        self.queue.pop_first();
        self.by_owner.remove(&owner);
        Some(owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_can_be_moved() {
        let mut timers = Timers::default();
        timers.set(OwnerId(1), Some(Mono(10)));
        timers.set(OwnerId(2), Some(Mono(5)));
        timers.set(OwnerId(2), Some(Mono(20)));
        assert_eq!(timers.next(), Some(Mono(10)));
        assert_eq!(timers.pop_due(Mono(9)), None);
        assert_eq!(timers.pop_due(Mono(30)), Some(OwnerId(1)));
        timers.set(OwnerId(2), None);
        assert_eq!(timers.pop_due(Mono(30)), None);
    }
}
