//! What one tenant holds open, counted against its limits.
//!
//! **What**  [`TenantUsage`] counts topics, producers, consumers and connections of one tenant; `try_take` refuses what
//! would pass the limit and says which limit it was.
//!
//! **Invariants**
//! - I1  a count never passes its limit by taking; a limit lowered below the count only stops further takes.
//! - I2  what is released was taken before.

use base::{ErrorClass, TenantName};
use std::fmt;

/// A kind of thing that a tenant holds open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    Topics,
    Producers,
    Consumers,
    Connections,
}

impl Resource {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Topics => "topics",
            Self::Producers => "producers",
            Self::Consumers => "consumers",
            Self::Connections => "connections",
        }
    }

    /// The field of the tenant's record that sets the limit.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Topics => "maxTopics",
            Self::Producers => "maxProducers",
            Self::Consumers => "maxConsumers",
            Self::Connections => "maxConnections",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How much a tenant may hold open; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantLimits {
    pub topics_max: Option<u32>,
    pub producers_max: Option<u32>,
    pub consumers_max: Option<u32>,
    pub connections_max: Option<u32>,
}

impl TenantLimits {
    pub fn of(&self, resource: Resource) -> Option<u32> {
        match resource {
            Resource::Topics => self.topics_max,
            Resource::Producers => self.producers_max,
            Resource::Consumers => self.consumers_max,
            Resource::Connections => self.connections_max,
        }
    }
}

/// A take was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "tenant {tenant} has {used} {resource} open, its limit {setting} is {limit}: close some or raise {setting} of the tenant",
    setting = resource.setting()
)]
pub struct LimitReached {
    pub tenant: TenantName,
    pub resource: Resource,
    pub used: u32,
    pub limit: u32,
}

impl LimitReached {
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Reject
    }
}

/// The counters of one tenant.
#[derive(Clone, Debug)]
pub struct TenantUsage {
    tenant: TenantName,
    topics: u32,
    producers: u32,
    consumers: u32,
    connections: u32,
}

impl TenantUsage {
    pub fn new(tenant: TenantName) -> Self {
        Self { tenant, topics: 0, producers: 0, consumers: 0, connections: 0 }
    }

    /// Takes one of `resource`.
    ///
    /// # Errors
    /// [`LimitReached`] when the limit is used up; nothing is taken then.
    pub fn try_take(&mut self, resource: Resource, limits: &TenantLimits) -> Result<(), LimitReached> {
        let used = self.used(resource);
        match limits.of(resource) {
            Some(limit) if used >= limit => Err(LimitReached { tenant: self.tenant.clone(), resource, used, limit }),
            Some(_) | None => {
                self.take(resource);
                Ok(())
            }
        }
    }

    /// Takes one of `resource` whatever the limit: for what exists already, such as topics found at start.
    pub fn take(&mut self, resource: Resource) {
        let count = self.count(resource);
        *count = count.saturating_add(1);
    }

    /// Gives one of `resource` back.
    ///
    /// # Panics
    /// When none is taken (I2).
    pub fn release(&mut self, resource: Resource) {
        let count = self.count(resource);
        assert!(*count > 0, "TenantUsage I2: a released {resource} was taken");
        *count -= 1;
    }

    pub fn used(&self, resource: Resource) -> u32 {
        match resource {
            Resource::Topics => self.topics,
            Resource::Producers => self.producers,
            Resource::Consumers => self.consumers,
            Resource::Connections => self.connections,
        }
    }

    /// Whether nothing is open, so that the counters may be forgotten.
    pub fn is_idle(&self) -> bool {
        self.topics == 0 && self.producers == 0 && self.consumers == 0 && self.connections == 0
    }

    fn count(&mut self, resource: Resource) -> &mut u32 {
        match resource {
            Resource::Topics => &mut self.topics,
            Resource::Producers => &mut self.producers,
            Resource::Consumers => &mut self.consumers,
            Resource::Connections => &mut self.connections,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_limit_refuses_and_a_release_makes_room() {
        let limits = TenantLimits { producers_max: Some(1), ..TenantLimits::default() };
        let mut usage = TenantUsage::new(TenantName::parse("acme").unwrap());
        assert_eq!(usage.try_take(Resource::Producers, &limits), Ok(()));
        let refused = usage.try_take(Resource::Producers, &limits).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "tenant acme has 1 producers open, its limit maxProducers is 1: close some or raise maxProducers of the tenant"
        );
        assert_eq!(usage.used(Resource::Producers), 1);
        usage.release(Resource::Producers);
        assert!(usage.is_idle());
        assert_eq!(usage.try_take(Resource::Producers, &limits), Ok(()));
    }

    #[test]
    fn a_limit_lowered_below_the_count_stops_only_further_takes() {
        let mut usage = TenantUsage::new(TenantName::parse("acme").unwrap());
        usage.take(Resource::Topics);
        usage.take(Resource::Topics);
        let limits = TenantLimits { topics_max: Some(1), ..TenantLimits::default() };
        assert!(usage.try_take(Resource::Topics, &limits).is_err());
        assert!(usage.try_take(Resource::Consumers, &limits).is_ok());
        usage.release(Resource::Topics);
        usage.release(Resource::Topics);
        assert!(usage.try_take(Resource::Topics, &limits).is_ok());
    }

    #[test]
    #[should_panic(expected = "TenantUsage I2")]
    fn a_release_without_a_take_is_a_bug() {
        TenantUsage::new(TenantName::parse("acme").unwrap()).release(Resource::Topics);
    }
}
