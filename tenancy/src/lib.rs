//! Tenants, namespaces, policies, quotas, fairness.
