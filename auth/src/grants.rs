//! Which role may do what inside one namespace.
//!
//! **What**  Pulsar's `auth_policies` object: actions per role for the whole namespace, actions per role for one topic, and
//! roles per subscription. The first two give; the third takes away.
//!
//! **Invariants**
//! - I1  nothing is allowed that is not written down (lib.rs I3).
//! - I2  a subscription that has a list of roles is open to these roles only, also when the list has become empty: revoking
//!   the last role locks the subscription, it does not open it to everybody.
//! - I3  a grant on a partitioned topic covers its partitions; a grant on one partition covers no other.
//!
//! **Not here**  Super users and tenant administrators (`tenancy::authorize`). Roles are compared as whole texts: there are
//! no wildcards.

use crate::Action;
use base::{SubscriptionName, TopicName};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};

type RoleActions = BTreeMap<String, BTreeSet<Action>>;

/// What a subscription's own list says about a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The subscription has no list, or the role is on it.
    Open,
    /// The subscription has a list and the role is not on it.
    Restricted,
}

/// The grants of one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Grants {
    #[serde(rename = "namespace_auth", deserialize_with = "null_is_empty")]
    namespace: RoleActions,
    #[serde(rename = "destination_auth", deserialize_with = "null_is_empty")]
    topics: BTreeMap<TopicName, RoleActions>,
    #[serde(rename = "subscription_auth_roles", deserialize_with = "null_is_empty")]
    subscriptions: BTreeMap<String, BTreeSet<String>>,
}

fn null_is_empty<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn holds(roles: &RoleActions, role: &str, action: Action) -> bool {
    roles.get(role).is_some_and(|actions| actions.contains(&action))
}

impl Grants {
    /// Whether the whole namespace is open to `role` for `action`.
    pub fn allows_namespace(&self, role: &str, action: Action) -> bool {
        holds(&self.namespace, role, action)
    }

    /// Whether `role` may do `action` on `topic`, by a grant on the namespace, on the topic, or on its partitioned topic.
    pub fn allows_topic(&self, role: &str, action: Action, topic: &TopicName) -> bool {
        self.allows_namespace(role, action)
            || self.topics.get(topic).is_some_and(|roles| holds(roles, role, action))
            || (topic.partition().is_some()
                && self.topics.get(&topic.partitioned()).is_some_and(|roles| holds(roles, role, action)))
    }

    /// What the list of `subscription` says about `role` (I2). Open is no grant: consume must be granted as well.
    pub fn subscription_access(&self, role: &str, subscription: &SubscriptionName) -> Access {
        match self.subscriptions.get(subscription.as_str()) {
            Some(roles) if !roles.contains(role) => Access::Restricted,
            Some(_) | None => Access::Open,
        }
    }

    /// Replaces what `role` may do in the whole namespace, as Pulsar does; no actions removes the role.
    pub fn grant_namespace(&mut self, role: &str, actions: BTreeSet<Action>) {
        set_actions(&mut self.namespace, role, actions);
    }

    /// Removes `role` from the namespace's grants; answers whether it had any.
    pub fn revoke_namespace(&mut self, role: &str) -> bool {
        self.namespace.remove(role).is_some()
    }

    /// Replaces what `role` may do on `topic`; no actions removes the role.
    pub fn grant_topic(&mut self, topic: &TopicName, role: &str, actions: BTreeSet<Action>) {
        set_actions(self.topics.entry(topic.clone()).or_default(), role, actions);
        self.forget_empty_topic(topic);
    }

    /// Removes `role` from the grants of `topic` itself; answers whether it had any there.
    pub fn revoke_topic(&mut self, topic: &TopicName, role: &str) -> bool {
        let had = self.topics.get_mut(topic).is_some_and(|roles| roles.remove(role).is_some());
        self.forget_empty_topic(topic);
        had
    }

    /// Removes every grant of `topic` itself, as when the topic is deleted.
    pub fn remove_topic(&mut self, topic: &TopicName) {
        self.topics.remove(topic);
    }

    /// Restricts `subscription` to exactly `roles`. An empty set lifts the restriction: whoever may consume may use it.
    pub fn restrict_subscription(&mut self, subscription: &SubscriptionName, roles: BTreeSet<String>) {
        if roles.is_empty() {
            self.subscriptions.remove(subscription.as_str());
        } else {
            self.subscriptions.insert(subscription.as_str().to_owned(), roles);
        }
    }

    /// Takes `role` off the list of `subscription`; the list stays, even empty (I2). Answers whether it was on it.
    pub fn revoke_subscription(&mut self, subscription: &SubscriptionName, role: &str) -> bool {
        self.subscriptions.get_mut(subscription.as_str()).is_some_and(|roles| roles.remove(role))
    }

    /// Role → actions of the whole namespace.
    pub fn namespace_grants(&self) -> &BTreeMap<String, BTreeSet<Action>> {
        &self.namespace
    }

    /// Role → actions on `topic`: the namespace's grants joined with the topic's own and its partitioned topic's.
    pub fn topic_grants(&self, topic: &TopicName) -> BTreeMap<String, BTreeSet<Action>> {
        let mut joined = self.namespace.clone();
        let base = topic.partitioned();
        let whole = self.topics.get(&base).filter(|_| base != *topic);
        for (role, actions) in self.topics.get(topic).into_iter().chain(whole).flatten() {
            joined.entry(role.clone()).or_default().extend(actions);
        }
        joined
    }

    /// Subscription → roles, for the subscriptions that have a list.
    pub fn subscription_roles(&self) -> &BTreeMap<String, BTreeSet<String>> {
        &self.subscriptions
    }

    fn forget_empty_topic(&mut self, topic: &TopicName) {
        if self.topics.get(topic).is_some_and(BTreeMap::is_empty) {
            self.topics.remove(topic);
        }
    }
}

fn set_actions(roles: &mut RoleActions, role: &str, actions: BTreeSet<Action>) {
    if actions.is_empty() {
        roles.remove(role);
    } else {
        roles.insert(role.to_owned(), actions);
    }
}
