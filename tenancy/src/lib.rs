//! Tenants, namespaces, policies, quotas: who owns what, what holds where, who may do it, and how much.
//!
//! **What**  [`keys`] lays out the metadata, [`Directory`] is its local view, [`authorize`] decides, [`EffectivePolicies`]
//! resolves, [`RateLimiter`] and [`HierarchicalLimit`] keep rates, [`check_backlog`] and [`TenantUsage`] keep sizes.
//!
//! **Not here**  Proving identities (`auth`), storing metadata (`meta`), acting on a verdict (`broker`, `admin`).

pub mod keys;

mod authorize;
mod backlog;
mod bundle;
mod cluster;
mod defaults;
mod directory;
mod effective;
mod hierarchy;
mod lenient;
mod limiter;
mod operation;
mod policies;
mod rates;
mod tenant;
mod topic_policies;
mod usage;
mod values;

pub use authorize::{Authorization, Denied, authorize};
pub use backlog::{
    Backlog, BacklogExcess, BacklogPolicy, BacklogQuota, BacklogQuotaType, BacklogQuotas, BacklogVerdict, check_backlog,
};
pub use bundle::{BUNDLES_DEFAULT, BUNDLES_MAX, BundleRange, Bundles, SplitError, topic_hash};
pub use cluster::ClusterData;
pub use defaults::BrokerDefaults;
pub use directory::{Change, Directory, PartitionedRecord, TopicRecord};
pub use effective::{EffectiveLimits, EffectivePolicies, EffectiveRates, EffectiveStorage, PolicySources};
pub use hierarchy::{HierarchicalLimit, Level, LimitId, PathRates};
pub use limiter::{Burst, CREDIT, DEBT_MAX, RateLimiter};
pub use operation::{Object, Operation};
pub use policies::{LocalPolicies, Policies, PolicyRecord};
pub use rates::{DispatchRate, PublishRate, Rate, SubscribeRate};
pub use tenant::TenantInfo;
pub use topic_policies::{TopicPolicies, TopicPolicyRecord};
pub use usage::{LimitReached, Resource, TenantLimits, TenantUsage};
pub use values::{
    AutoSubscriptionCreation, AutoTopicCreation, BookieAffinity, DelayedDelivery, EntryFilters,
    InactiveTopicDeleteMode, InactiveTopics, OffloadPolicies, Persistence, PolicyError, Retention, SchemaCompatibility,
    SubscriptionAuthMode, SubscriptionKind,
};
