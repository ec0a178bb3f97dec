//! The rates of every open topic: publishing and dispatching, each composed with its namespace's and tenant's.

use crate::core::Core;
use crate::env::DispatchLimit;
use base::{FixedMap, Mono, OwnerId, TopicName};
use tenancy::{HierarchicalLimit, LimitId};

/// Both trees of limits.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    publish: HierarchicalLimit,
    dispatch: HierarchicalLimit,
    topics: FixedMap<OwnerId, (LimitId, LimitId)>,
    now: Mono,
}

impl Limits {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The instant of the input being handled; limiters are never told an earlier one.
    pub(crate) fn set_now(&mut self, now: Mono) {
        self.now = self.now.max(now);
    }

    /// Gives a topic its place; its rates are those of its policies.
    pub(crate) fn attach(&mut self, slot: OwnerId, name: &TopicName, core: &Core) {
        let policies = core.directory.effective(name).unwrap_or_else(|| core.default_policies());
        let publish = self.publish.open(self.now, name, policies.rates.publish_path());
        let dispatch = self.dispatch.open(self.now, name, policies.rates.dispatch_path());
        self.topics.insert(slot, (publish, dispatch));
    }

    /// The policies changed.
    pub(crate) fn reconfigure(&mut self, slot: OwnerId, rates: &tenancy::EffectiveRates) {
        if let Some((publish, dispatch)) = self.topics.get(&slot) {
            self.publish.reconfigure(self.now, *publish, rates.publish_path());
            self.dispatch.reconfigure(self.now, *dispatch, rates.dispatch_path());
        }
    }

    pub(crate) fn detach(&mut self, slot: OwnerId) {
        if let Some((publish, dispatch)) = self.topics.remove(&slot) {
            self.publish.close(publish);
            self.dispatch.close(dispatch);
        }
    }

    /// Charges a publish; answers from when it may pass.
    pub(crate) fn reserve_publish(&mut self, now: Mono, slot: OwnerId, messages: u32, bytes: u64) -> Mono {
        match self.topics.get(&slot) {
            Some((publish, _)) => self.publish.reserve(now, *publish, messages, bytes),
            None => now,
        }
    }

    /// The dispatch side of one topic.
    pub(crate) fn dispatch(&mut self, slot: OwnerId) -> TopicDispatch<'_> {
        let id = self.topics.get(&slot).map(|(_, dispatch)| *dispatch);
        TopicDispatch { limit: &mut self.dispatch, id }
    }
}

/// One topic's dispatch rates.
pub(crate) struct TopicDispatch<'a> {
    limit: &'a mut HierarchicalLimit,
    id: Option<LimitId>,
}

impl DispatchLimit for TopicDispatch<'_> {
    fn blocked_until(&self, now: Mono) -> Option<Mono> {
        self.limit.waits_for(now, self.id?).map(|(until, _)| until)
    }

    fn charge(&mut self, now: Mono, messages: u32, bytes: u64) {
        if let Some(id) = self.id {
            self.limit.charge(now, id, messages, bytes);
        }
    }
}
