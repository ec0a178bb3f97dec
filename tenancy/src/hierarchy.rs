//! Rates that nest: a topic pays for itself, its namespace and its tenant.
//!
//! **What**  One tree for one kind of traffic (publishing, or dispatching). Topics of a namespace share the namespace's
//! limiter, namespaces of a tenant the tenant's. A charge is taken at all three levels; the wait is the longest of them.
//!
//! **Invariants**
//! - I1  a shared limiter lives exactly as long as a topic below it is open.
//! - I2  an id of a closed topic is never mistaken for that of a later one.
//!
//! **Not here**  Sharing between trees: where several shards each hold a tree, whoever makes them divides the rates.

use crate::effective::EffectiveRates;
use crate::limiter::{Burst, RateLimiter};
use crate::rates::Rate;
use base::{Mono, NamespaceName, TenantName, TopicName};
use std::collections::BTreeMap;

/// The rates along a topic's path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRates {
    pub tenant: Rate,
    pub namespace: Rate,
    pub topic: Rate,
}

impl EffectiveRates {
    /// The rates that publishing to the topic pays.
    pub fn publish_path(&self) -> PathRates {
        PathRates { tenant: self.tenant_publish, namespace: self.namespace_publish, topic: self.topic_publish }
    }

    /// The rates that dispatching from the topic pays.
    pub fn dispatch_path(&self) -> PathRates {
        let topic = self.topic_dispatch.rate();
        PathRates { tenant: self.tenant_dispatch, namespace: self.namespace_dispatch, topic }
    }
}

/// A level of the tree, for words about who makes somebody wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Tenant,
    Namespace,
    Topic,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Namespace => "namespace",
            Self::Topic => "topic",
        }
    }
}

/// An open topic's place in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitId {
    slot: u32,
    /// Number of the opening that took the slot (I2).
    opening: u64,
}

/// A node that several topics share.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SharedKey {
    Tenant(TenantName),
    Namespace(NamespaceName),
}

#[derive(Debug)]
struct Node {
    limiter: RateLimiter,
    level: Level,
    parent: Option<u32>,
    /// Nodes below; of a topic 1 while it is open.
    users: u32,
    opening: u64,
    key: Option<SharedKey>,
}

/// The tree of limits for one kind of traffic.
#[derive(Debug, Default)]
pub struct HierarchicalLimit {
    nodes: Vec<Option<Node>>,
    free: Vec<u32>,
    shared: BTreeMap<SharedKey, u32>,
    openings: u64,
}

impl HierarchicalLimit {
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `topic` a place below its namespace and tenant, whose rates are set to `rates` as well.
    pub fn open(&mut self, now: Mono, topic: &TopicName, rates: PathRates) -> LimitId {
        let tenant = self.share(now, SharedKey::Tenant(topic.tenant().clone()), Level::Tenant, None);
        let namespace = SharedKey::Namespace(topic.namespace().clone());
        let namespace = self.share(now, namespace, Level::Namespace, Some(tenant));
        self.node_mut(namespace).users += 1;
        let slot = self.insert(now, Level::Topic, Some(namespace), None);
        let node = self.node_mut(slot);
        node.users = 1;
        let id = LimitId { slot, opening: node.opening };
        self.reconfigure(now, id, rates);
        id
    }

    /// Gives the place back; a shared node without users goes with it (I1). A closed id is ignored.
    pub fn close(&mut self, id: LimitId) {
        if !self.is_open(id) {
            return;
        }
        let mut next = Some(id.slot);
        while let Some(slot) = next {
            let node = self.node_mut(slot);
            assert!(node.users > 0, "HierarchicalLimit I1: a node in the tree has users");
            node.users -= 1;
            if node.users > 0 {
                return;
            }
            next = node.parent;
            self.remove(slot);
        }
    }

    /// Sets the rates along the topic's path from this instant on; those of namespace and tenant for all their topics.
    pub fn reconfigure(&mut self, now: Mono, id: LimitId, rates: PathRates) {
        for slot in self.path(id) {
            let node = self.node_mut(slot);
            let rate = match node.level {
                Level::Tenant => rates.tenant,
                Level::Namespace => rates.namespace,
                Level::Topic => rates.topic,
            };
            node.limiter.reconfigure(now, rate);
        }
    }

    /// Charges all three levels; answers the instant until which the payer must wait, `now` when it need not.
    pub fn charge(&mut self, now: Mono, id: LimitId, messages: u32, bytes: u64) -> Mono {
        let mut until = now;
        for slot in self.path(id) {
            until = until.max(self.node_mut(slot).limiter.charge(now, messages, bytes));
        }
        until
    }

    /// Charges all three levels, and answers the instant from which what was charged may pass. Topics that share a level
    /// get turns in the order in which they ask, and the shared rate is exact from the first message on.
    pub fn reserve(&mut self, now: Mono, id: LimitId, messages: u32, bytes: u64) -> Mono {
        let mut pass_at = now;
        for slot in self.path(id) {
            pass_at = pass_at.max(self.node_mut(slot).limiter.reserve(now, messages, bytes));
        }
        pass_at
    }

    /// Charges all three levels only if none of them makes the payer wait. Who shares a level with others and keeps its own
    /// order uses this: another topic may have charged since the last answer.
    ///
    /// # Errors
    /// The instant until which to wait; nothing is charged.
    pub fn try_charge(&mut self, now: Mono, id: LimitId, messages: u32, bytes: u64) -> Result<Mono, Mono> {
        match self.waits_for(now, id) {
            Some((until, _)) => Err(until),
            None => Ok(self.charge(now, id, messages, bytes)),
        }
    }

    /// The instant until which a payer must wait, and the level that makes it wait longest; `None` when it need not.
    pub fn waits_for(&self, now: Mono, id: LimitId) -> Option<(Mono, Level)> {
        let waits = self.path(id).map(|slot| {
            let node = self.node(slot);
            (node.limiter.wait_until(now), node.level)
        });
        waits.filter(|(until, _)| *until > now).max_by_key(|(until, _)| *until)
    }

    /// How much to take at once so that no level is overrun (see [`RateLimiter::burst`]).
    pub fn burst(&self, id: LimitId) -> Burst {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        self.path(id).fold(Burst::default(), |burst, slot| {
            let own = self.node(slot).limiter.burst();
            Burst { messages: least(burst.messages, own.messages), bytes: least(burst.bytes, own.bytes) }
        })
    }

    /// Nodes in the tree, of all levels.
    pub fn node_count(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    fn is_open(&self, id: LimitId) -> bool {
        let node = self.nodes.get(id.slot as usize).and_then(Option::as_ref);
        node.is_some_and(|node| node.opening == id.opening)
    }

    /// Topic, namespace, tenant; nothing for a closed id.
    fn path(&self, id: LimitId) -> impl Iterator<Item = u32> + use<> {
        let first = self.is_open(id).then_some(id.slot);
        let second = first.and_then(|slot| self.node(slot).parent);
        let third = second.and_then(|slot| self.node(slot).parent);
        [first, second, third].into_iter().flatten()
    }

    /// The shared node of `key`, made when it is missing. A new one counts as a user of its parent.
    fn share(&mut self, now: Mono, key: SharedKey, level: Level, parent: Option<u32>) -> u32 {
        if let Some(slot) = self.shared.get(&key) {
            return *slot;
        }
        if let Some(parent) = parent {
            self.node_mut(parent).users += 1;
        }
        let slot = self.insert(now, level, parent, Some(key.clone()));
        self.shared.insert(key, slot);
        slot
    }

    fn insert(&mut self, now: Mono, level: Level, parent: Option<u32>, key: Option<SharedKey>) -> u32 {
        self.openings += 1;
        let limiter = RateLimiter::new(now, Rate::NONE);
        let node = Some(Node { limiter, level, parent, users: 0, opening: self.openings, key });
        if let Some(slot) = self.free.pop() {
            self.nodes[slot as usize] = node;
            return slot;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("HierarchicalLimit: fewer than 2^32 open topics")
    }

    fn remove(&mut self, slot: u32) {
        let node = self.nodes[slot as usize].take();
        if let Some(key) = node.and_then(|node| node.key) {
            self.shared.remove(&key);
        }
        self.free.push(slot);
    }

    fn node(&self, slot: u32) -> &Node {
        self.nodes[slot as usize].as_ref().expect("HierarchicalLimit I1: a parent lives as long as its children")
    }

    fn node_mut(&mut self, slot: u32) -> &mut Node {
        self.nodes[slot as usize].as_mut().expect("HierarchicalLimit I1: a parent lives as long as its children")
    }
}
