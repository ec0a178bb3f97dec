//! A tenant: who administers it, where it may live, and what it may use.
//!
//! **What**  Pulsar's TenantInfo with our own optional limits, which are left out of the JSON while they are not set, so
//! that Pulsar's tools read back what they know.

use crate::lenient;
use crate::rates::{DispatchRate, PublishRate};
use crate::usage::TenantLimits;
use base::RegionName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The metadata record of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TenantInfo {
    #[serde(deserialize_with = "lenient::or_default")]
    pub admin_roles: BTreeSet<String>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub allowed_clusters: BTreeSet<RegionName>,
    /// What all of the tenant's producers together may publish in this region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish_rate: Option<PublishRate>,
    /// What all of the tenant's consumers together are sent in this region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatch_rate: Option<DispatchRate>,
    #[serde(deserialize_with = "lenient::maybe_number", skip_serializing_if = "Option::is_none")]
    pub max_topics: Option<u32>,
    #[serde(deserialize_with = "lenient::maybe_number", skip_serializing_if = "Option::is_none")]
    pub max_producers: Option<u32>,
    #[serde(deserialize_with = "lenient::maybe_number", skip_serializing_if = "Option::is_none")]
    pub max_consumers: Option<u32>,
    #[serde(deserialize_with = "lenient::maybe_number", skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl TenantInfo {
    /// The tenant's own limits on what it may hold open at once.
    pub fn limits(&self) -> TenantLimits {
        TenantLimits {
            topics_max: self.max_topics,
            producers_max: self.max_producers,
            consumers_max: self.max_consumers,
            connections_max: self.max_connections,
        }
    }
}
