//! Everything that is to happen, ordered by time, then by the order in which it was planned.

use std::collections::BTreeMap;

/// Nanoseconds of simulated time since the start of a run.
pub type Time = u64;

/// One millisecond.
pub const MS: Time = 1_000_000;
/// One second.
pub const SECOND: Time = 1000 * MS;

/// Events that are due in the future.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(Time, u64), E>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), planned: 0 }
    }
}

impl<E> Queue<E> {
    /// Plans `event` for the instant `at`; of two events of one instant the one planned first happens first.
    pub fn plan(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The next event and its instant.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        self.events.pop_first().map(|((at, _), event)| (at, event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_instant_happen_in_the_order_of_planning() {
        let mut queue = Queue::default();
        for (at, name) in [(5, "c"), (3, "a"), (3, "b")] {
            queue.plan(at, name);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(3, "a"), (3, "b"), (5, "c")]);
    }
}
