//! How much each tenant holds open on this broker.

use base::TenantName;
use std::collections::BTreeMap;
use tenancy::{Directory, LimitReached, Resource, TenantUsage};

/// Counters of every tenant that has something open.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    tenants: BTreeMap<TenantName, TenantUsage>,
}

impl Usage {
    /// # Errors
    /// [`LimitReached`] with the limit and how to raise it; nothing is taken then.
    pub(crate) fn take(
        &mut self,
        directory: &Directory,
        tenant: &TenantName,
        what: Resource,
    ) -> Result<(), LimitReached> {
        let limits = directory.tenant(tenant).map(tenancy::TenantInfo::limits).unwrap_or_default();
        let usage = self.tenants.entry(tenant.clone()).or_insert_with(|| TenantUsage::new(tenant.clone()));
        usage.try_take(what, &limits)
    }

    fn release(&mut self, tenant: &TenantName, what: Resource) {
        if let Some(usage) = self.tenants.get_mut(tenant) {
            usage.release(what);
            if usage.is_idle() {
                self.tenants.remove(tenant);
            }
        }
    }

    pub(crate) fn release_producer(&mut self, tenant: &TenantName) {
        self.release(tenant, Resource::Producers);
    }

    pub(crate) fn release_consumer(&mut self, tenant: &TenantName) {
        self.release(tenant, Resource::Consumers);
    }

    pub(crate) fn release_connection(&mut self, tenant: &TenantName) {
        self.release(tenant, Resource::Connections);
    }
}
