//! How a machine says what it wants done: an ordered list of effects, and the ids that bring the answers home.
//!
//! **What**  A machine never performs IO. It pushes effects; whoever owns it executes them in order and feeds each
//! completion back as an input that carries the [`RequestId`] of the effect.

/// An ordered list of effects that the caller executes in exactly this order.
#[derive(Debug)]
pub struct Effects<T> {
    list: Vec<T>,
}

impl<T> Default for Effects<T> {
    fn default() -> Self {
        Self { list: Vec::new() }
    }
}

impl<T> Effects<T> {
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one effect.
    pub fn push(&mut self, effect: T) {
        self.list.push(effect);
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Takes all effects, oldest first; the list keeps its capacity.
    pub fn drain(&mut self) -> std::vec::Drain<'_, T> {
        self.list.drain(..)
    }

    /// Looks without taking; for tests and asserts.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.list.iter()
    }

    /// Takes the list out, leaving an empty one.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.list)
    }
}

/// Who inside a node asked: answers are routed back to this owner (a topic slot, the cleaner, …) by `node::route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u64);

/// Names one request: the owner that asked and a number that is unique within the owner's lifetime.
/// Answers may come late, twice or never; an owner drops answers whose `seq` it no longer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    pub owner: OwnerId,
    pub seq: u64,
}

impl RequestId {
    pub fn new(owner: OwnerId, seq: u64) -> Self {
        Self { owner, seq }
    }
}
