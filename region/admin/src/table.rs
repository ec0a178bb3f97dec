//! The rows of the one table, grouped by the path before them. Rows with literal words stand before rows with names.

use crate::routes::{Access, Route, Target, unbuilt};
use crate::{
    Method, brokers, bundles, clusters, entry, lookup, namespace_policies, namespace_work, namespaces, nodes,
    permissions, probes, properties, schemas, subscriptions, tenants, topic_list, topic_policies, topic_state, topics,
};
use tenancy::Operation;

macro_rules! rows {
    ($prefix:literal; $($method:ident $path:literal $access:tt $run:expr;)*) => {
        &[$(Route {
            method: Method::$method,
            pattern: concat!($prefix, $path),
            access: rows!(@ $access),
            run: $run,
        }),*]
    };
    (@ open) => { Access::Open };
    (@ metrics) => { Access::Metrics };
    (@ any) => { Access::AnyRole };
    (@ ($target:ident $operation:ident)) => { Access::On(Operation::$operation, Target::$target) };
}

/// Every group, in the order in which they are tried.
pub(crate) const GROUPS: [&[Route]; 13] = [
    PROBES,
    REGION,
    BROKERS,
    NODES,
    LOOKUP,
    SCHEMAS,
    NAMESPACES,
    NAMESPACE_WORK,
    NAMESPACE_POLICIES,
    TOPICS,
    SUBSCRIPTIONS,
    TOPIC_POLICIES,
    UNBUILT,
];

const PROBES: &[Route] = rows! { "";
    Get "metrics" metrics probes::metrics;
    Get "status.html" open probes::status;
    Get "livez" open probes::ok;
    Get "readyz" open probes::ok;
    Get "admin/v2/brokers/health" open probes::ok;
    Get "admin/v2/brokers/ready" open probes::ok;
};

const REGION: &[Route] = rows! { "admin/v2";
    Get "/clusters" (Broker ListClusters) clusters::list;
    Get "/clusters/:cluster" (Cluster ReadCluster) clusters::get;
    Put "/clusters/:cluster" (Cluster WriteCluster) clusters::create;
    Post "/clusters/:cluster" (Cluster WriteCluster) clusters::update;
    Delete "/clusters/:cluster" (Cluster WriteCluster) clusters::delete;
    Get "/clusters/:cluster/peers" (Cluster ReadCluster) clusters::peers;
    Post "/clusters/:cluster/peers" (Cluster WriteCluster) clusters::set_peers;
    Get "/tenants" (Broker ListTenants) tenants::list;
    Get "/tenants/:tenant" (Tenant ReadTenant) tenants::get;
    Put "/tenants/:tenant" (Tenant WriteTenant) tenants::create;
    Post "/tenants/:tenant" (Tenant WriteTenant) tenants::update;
    Delete "/tenants/:tenant" (Tenant WriteTenant) tenants::delete;
};

const BROKERS: &[Route] = rows! { "admin/v2/brokers";
    Get "" (Broker ReadBroker) brokers::list;
    Get "/version" any brokers::version;
    Get "/leaderBroker" (Broker ReadBroker) brokers::leader;
    Get "/internal-configuration" (Broker ReadBroker) brokers::internal_configuration;
    Get "/backlog-quota-check" (Broker WriteBroker) unbuilt;
    Post "/shutdown" (Broker WriteBroker) unbuilt;
    Get "/configuration" (Broker ReadBroker) brokers::dynamic_names;
    Get "/configuration/values" (Broker ReadBroker) brokers::dynamic_values;
    Get "/configuration/runtime" (Broker ReadBroker) brokers::runtime_values;
    Post "/configuration/:name/:value" (Broker WriteBroker) brokers::set_dynamic;
    Delete "/configuration/:name" (Broker WriteBroker) brokers::remove_dynamic;
    Get "/:cluster" (Broker ReadBroker) brokers::list;
    Get "/:cluster/:broker/ownedNamespaces" (Broker ReadBroker) brokers::owned_namespaces;
};

const NODES: &[Route] = rows! { "admin/v2/cluster";
    Get "/status" (Broker ReadBroker) nodes::status;
    Delete "/nodes/:node" (Broker WriteBroker) nodes::remove;
};

const LOOKUP: &[Route] = rows! { "lookup/v2/topic/:domain/:tenant/:namespace/:topic";
    Get "" (Topic Lookup) lookup::broker;
    Get "/bundle" (Topic Lookup) lookup::bundle;
};

const SCHEMAS: &[Route] = rows! { "admin/v2/schemas/:tenant/:namespace/:topic";
    Get "/schema" (Topic GetSchema) schemas::get;
    Get "/schema/:version" (Topic GetSchema) schemas::get_version;
    Get "/schemas" (Topic GetSchema) schemas::all;
    Post "/schema" (Topic PutSchema) schemas::post;
    Delete "/schema" (Topic DeleteSchema) schemas::delete;
    Post "/compatibility" (Topic GetSchema) schemas::compatibility;
    Post "/version" (Topic GetSchema) schemas::version_of;
};

const NAMESPACES: &[Route] = rows! { "admin/v2/namespaces/:tenant";
    Get "" (Tenant ListNamespaces) namespaces::list;
    Get "/:namespace" (Namespace ReadNamespacePolicies) namespaces::get;
    Put "/:namespace" (Namespace CreateNamespace) namespaces::create;
    Delete "/:namespace" (Namespace DeleteNamespace) namespaces::delete;
    Get "/:namespace/topics" (Namespace ListTopics) topic_list::of_namespace;
    Get "/:namespace/bundles" (Namespace ReadNamespacePolicies) namespaces::bundles;
    Get "/:namespace/permissions" (Namespace ReadNamespacePermissions) permissions::of_namespace;
    Get "/:namespace/permissions/subscription" (Namespace ReadNamespacePermissions) permissions::of_subscriptions;
    Post "/:namespace/permissions/subscription/:subscription" (Namespace WriteNamespacePermissions) permissions::grant_subscription;
    Post "/:namespace/permissions/:role" (Namespace WriteNamespacePermissions) permissions::grant_namespace;
    Delete "/:namespace/permissions/:role" (Namespace WriteNamespacePermissions) permissions::revoke_namespace;
    Delete "/:namespace/permissions/:subscription/:role" (Namespace WriteNamespacePermissions) permissions::revoke_subscription;
    Get "/:namespace/properties" (Namespace ReadNamespacePolicies) properties::of_namespace;
    Put "/:namespace/properties" (Namespace WriteNamespacePolicies) properties::add_to_namespace;
    Delete "/:namespace/properties" (Namespace WriteNamespacePolicies) properties::clear_namespace;
    Get "/:namespace/property/:key" (Namespace ReadNamespacePolicies) properties::one_of_namespace;
    Put "/:namespace/property/:key/:value" (Namespace WriteNamespacePolicies) properties::set_one_of_namespace;
    Delete "/:namespace/property/:key" (Namespace WriteNamespacePolicies) properties::remove_one_of_namespace;
};

const NAMESPACE_WORK: &[Route] = rows! { "admin/v2/namespaces/:tenant/:namespace";
    Put "/unload" (Namespace UnloadNamespace) namespaces::unload;
    Put "/:bundle/unload" (Namespace UnloadNamespace) bundles::unload;
    Put "/:bundle/split" (Namespace UnloadNamespace) bundles::split;
    Post "/clearBacklog" (Namespace ClearNamespaceBacklog) namespace_work::clear_backlog;
    Post "/clearBacklog/:subscription" (Namespace ClearNamespaceBacklog) namespace_work::clear_backlog;
    Post "/:bundle/clearBacklog" (Namespace ClearNamespaceBacklog) namespace_work::clear_backlog;
    Post "/:bundle/clearBacklog/:subscription" (Namespace ClearNamespaceBacklog) namespace_work::clear_backlog;
    Post "/unsubscribe/:subscription" (Namespace ClearNamespaceBacklog) namespace_work::unsubscribe;
    Post "/:bundle/unsubscribe/:subscription" (Namespace ClearNamespaceBacklog) namespace_work::unsubscribe;
    Get "/persistence/bookieAffinity" (Namespace ReadNamespacePolicies) namespace_work::bookie_affinity;
    Post "/persistence/bookieAffinity" (Namespace WriteNamespacePolicies) namespace_work::set_bookie_affinity;
    Delete "/persistence/bookieAffinity" (Namespace WriteNamespacePolicies) namespace_work::remove_bookie_affinity;
    Get "/antiAffinity" (Namespace ReadNamespacePolicies) namespace_work::anti_affinity;
    Post "/antiAffinity" (Namespace WriteNamespacePolicies) namespace_work::set_anti_affinity;
    Delete "/antiAffinity" (Namespace WriteNamespacePolicies) namespace_work::remove_anti_affinity;
    Post "/resourcegroup/:name" (Namespace WriteNamespacePolicies) namespace_work::set_resource_group;
    Delete "/removeOffloadPolicies" (Namespace WriteNamespacePolicies) namespace_work::remove_offload_policies;
    Get "/scanOffloadedLedgers" (Namespace ReadNamespacePolicies) unbuilt;
};

const NAMESPACE_POLICIES: &[Route] = rows! { "admin/v2/namespaces/:tenant/:namespace";
    Get "/replication" (Namespace ReadNamespacePolicies) namespaces::replication;
    Post "/replication" (Namespace WriteNamespacePolicies) namespaces::set_replication;
    Get "/allowedClusters" (Namespace ReadNamespacePolicies) namespaces::allowed_clusters;
    Post "/allowedClusters" (Namespace WriteNamespacePolicies) namespaces::set_allowed_clusters;
    Get "/backlogQuotaMap" (Namespace ReadNamespacePolicies) namespaces::backlog_quotas;
    Post "/backlogQuota" (Namespace WriteNamespacePolicies) namespaces::set_backlog_quota;
    Delete "/backlogQuota" (Namespace WriteNamespacePolicies) namespaces::remove_backlog_quota;
    Get "/:policy" (Namespace ReadNamespacePolicies) namespace_policies::get;
    Post "/:policy" (Namespace WriteNamespacePolicies) namespace_policies::post;
    Put "/:policy" (Namespace WriteNamespacePolicies) namespace_policies::put;
    Delete "/:policy" (Namespace WriteNamespacePolicies) namespace_policies::remove;
};

const TOPICS: &[Route] = rows! { "admin/v2/:domain/:tenant/:namespace";
    Get "" (Namespace ListTopics) topic_list::of_domain;
    Get "/partitioned" (Namespace ListTopics) topic_list::partitioned;
    Put "/:topic" (Topic CreateTopic) topics::create;
    Delete "/:topic" (Topic DeleteTopic) topics::delete;
    Get "/:topic/partitions" (Topic Lookup) topics::partitions;
    Put "/:topic/partitions" (Topic CreateTopic) topics::create_partitioned;
    Post "/:topic/partitions" (Topic UpdateTopic) topics::grow_partitions;
    Delete "/:topic/partitions" (Topic DeleteTopic) topics::delete_partitioned;
    Post "/:topic/createMissedPartitions" (Topic CreateTopic) topics::create_missed;
    Put "/:topic/unload" (Topic UnloadTopic) topics::unload;
    Post "/:topic/terminate" (Topic TerminateTopic) topic_state::terminate;
    Post "/:topic/terminate/partitions" (Topic TerminateTopic) topic_state::terminate_partitions;
    Get "/:topic/stats" (Topic ReadStats) topic_state::stats;
    Get "/:topic/partitioned-stats" (Topic ReadStats) topic_state::partitioned_stats;
    Get "/:topic/internalStats" (Topic ReadStats) topic_state::internal_stats;
    Get "/:topic/partitioned-internalStats" (Topic ReadStats) topic_state::partitioned_internal_stats;
    Get "/:topic/internal-info" (Topic ReadStats) unbuilt;
    Get "/:topic/backlog" (Topic ReadStats) unbuilt;
    Put "/:topic/backlogSize" (Topic ReadStats) unbuilt;
    Get "/:topic/lastMessageId" (Topic ReadMessages) topic_state::last_message_id;
    Get "/:topic/messageid/:time" (Topic ReadMessages) topic_state::message_id_at;
    Get "/:topic/getMessageIdByIndex" (Topic ReadMessages) unbuilt;
    Get "/:topic/ledger/:ledger/entry/:entry" (Topic ReadMessages) entry::by_id;
    Get "/:topic/examinemessage" (Topic ReadMessages) unbuilt;
    Get "/:topic/compaction" (Topic CompactTopic) unbuilt;
    Put "/:topic/compaction" (Topic CompactTopic) unbuilt;
    Get "/:topic/offload" (Topic OffloadTopic) unbuilt;
    Put "/:topic/offload" (Topic OffloadTopic) unbuilt;
    Post "/:topic/trim" (Topic TruncateTopic) unbuilt;
    Delete "/:topic/truncate" (Topic TruncateTopic) unbuilt;
    Get "/:topic/shadowTopics" (Topic ReadTopicPolicies) unbuilt;
    Put "/:topic/shadowTopics" (Topic WriteTopicPolicies) unbuilt;
    Delete "/:topic/shadowTopics" (Topic WriteTopicPolicies) unbuilt;
    Get "/:topic/properties" (Topic ReadTopicPolicies) properties::of_topic;
    Put "/:topic/properties" (Topic UpdateTopic) properties::add_to_topic;
    Delete "/:topic/properties" (Topic UpdateTopic) properties::remove_from_topic;
    Get "/:topic/permissions" (Topic ReadTopicPermissions) permissions::of_topic;
    Post "/:topic/permissions/:role" (Topic WriteTopicPermissions) permissions::grant_topic;
    Delete "/:topic/permissions/:role" (Topic WriteTopicPermissions) permissions::revoke_topic;
};

const SUBSCRIPTIONS: &[Route] = rows! { "admin/v2/:domain/:tenant/:namespace/:topic";
    Get "/subscriptions" (Topic ListSubscriptions) subscriptions::list;
    Post "/all_subscription/expireMessages/:seconds" (Topic WriteTopicPolicies) subscriptions::expire_all;
    Put "/subscription/:subscription" (Subscription CreateSubscription) subscriptions::create;
    Delete "/subscription/:subscription" (Subscription Unsubscribe) subscriptions::delete;
    Post "/subscription/:subscription/skip_all" (Subscription SkipMessages) subscriptions::skip_all;
    Post "/subscription/:subscription/skip/:count" (Subscription SkipMessages) subscriptions::skip;
    Post "/subscription/:subscription/expireMessages/:seconds" (Subscription ExpireMessages) subscriptions::expire;
    Post "/subscription/:subscription/expireMessages" (Subscription ExpireMessages) unbuilt;
    Post "/subscription/:subscription/resetcursor/:time" (Subscription ResetCursor) subscriptions::reset_to_time;
    Post "/subscription/:subscription/resetcursor" (Subscription ResetCursor) subscriptions::reset_to_id;
    Get "/subscription/:subscription/position/:nth" (Subscription Peek) entry::peek;
    Post "/subscription/:subscription/analyzeBacklog" (Subscription Peek) unbuilt;
    Get "/subscription/:subscription/properties" (Subscription Peek) unbuilt;
    Put "/subscription/:subscription/properties" (Subscription CreateSubscription) unbuilt;
    Get "/subscription/:subscription/replicatedSubscriptionStatus" (Subscription Peek) unbuilt;
    Post "/subscription/:subscription/replicatedSubscriptionStatus" (Subscription CreateSubscription) unbuilt;
};

const TOPIC_POLICIES: &[Route] = rows! { "admin/v2/:domain/:tenant/:namespace/:topic";
    Get "/backlogQuotaMap" (Topic ReadTopicPolicies) topic_policies::backlog_quotas;
    Post "/backlogQuota" (Topic WriteTopicPolicies) topic_policies::set_backlog_quota;
    Delete "/backlogQuota" (Topic WriteTopicPolicies) topic_policies::remove_backlog_quota;
    Get "/:subscription/dispatchRate" (Topic ReadTopicPolicies) topic_policies::subscription_rate;
    Post "/:subscription/dispatchRate" (Topic WriteTopicPolicies) topic_policies::set_subscription_rate;
    Delete "/:subscription/dispatchRate" (Topic WriteTopicPolicies) topic_policies::remove_subscription_rate;
    Get "/:policy" (Topic ReadTopicPolicies) topic_policies::get;
    Post "/:policy" (Topic WriteTopicPolicies) topic_policies::post;
    Put "/:policy" (Topic WriteTopicPolicies) topic_policies::put;
    Delete "/:policy" (Topic WriteTopicPolicies) topic_policies::remove;
};

/// The rest of Pulsar's surface: known, and honestly not here. Any proven role is told so.
const UNBUILT: &[Route] = rows! { "admin";
    Post "/v2/clusters/:cluster/migrate" any unbuilt;
    Get "/v2/clusters/:cluster/migrate" any unbuilt;
    Get "/v2/clusters/:cluster/failureDomains" any unbuilt;
    Get "/v2/clusters/:cluster/failureDomains/*" any unbuilt;
    Post "/v2/clusters/:cluster/failureDomains/*" any unbuilt;
    Delete "/v2/clusters/:cluster/failureDomains/*" any unbuilt;
    Get "/v2/clusters/:cluster/namespaceIsolationPolicies" any unbuilt;
    Get "/v2/clusters/:cluster/namespaceIsolationPolicies/*" any unbuilt;
    Post "/v2/clusters/:cluster/namespaceIsolationPolicies/*" any unbuilt;
    Delete "/v2/clusters/:cluster/namespaceIsolationPolicies/*" any unbuilt;
    Get "/v2/broker-stats/*" any unbuilt;
    Get "/v2/bookies/*" any unbuilt;
    Post "/v2/bookies/*" any unbuilt;
    Delete "/v2/bookies/*" any unbuilt;
    Get "/v2/resource-quotas" any unbuilt;
    Post "/v2/resource-quotas" any unbuilt;
    Get "/v2/resource-quotas/*" any unbuilt;
    Post "/v2/resource-quotas/*" any unbuilt;
    Delete "/v2/resource-quotas/*" any unbuilt;
    Get "/v2/resourcegroups" any unbuilt;
    Get "/v2/resourcegroups/*" any unbuilt;
    Put "/v2/resourcegroups/*" any unbuilt;
    Delete "/v2/resourcegroups/*" any unbuilt;
    Get "/v2/worker/*" any unbuilt;
    Put "/v2/worker/*" any unbuilt;
    Get "/v2/worker-stats/*" any unbuilt;
    Get "/v2/functions/*" any unbuilt;
    Put "/v2/functions/*" any unbuilt;
    Post "/v2/functions/*" any unbuilt;
    Delete "/v2/functions/*" any unbuilt;
    Get "/v2/scalable/*" any unbuilt;
    Put "/v2/scalable/*" any unbuilt;
    Post "/v2/scalable/*" any unbuilt;
    Delete "/v2/scalable/*" any unbuilt;
    Get "/v3/*" any unbuilt;
    Put "/v3/*" any unbuilt;
    Post "/v3/*" any unbuilt;
    Delete "/v3/*" any unbuilt;
};
