//! The one table: method and path, who may, what runs.
//!
//! **What**  A path pattern is literal words, `:name` for one segment and `*` for the rest. `:domain` takes only the two
//! domains. The first row that fits wins, so rows with literal words stand before rows with names.
//!
//! **Invariants**
//! - I1  every row names its rule; there is no way to a handler but through a row.

use crate::answer::Refusal;
use crate::call::{Call, Params};
use crate::step::{Context, Next};
use crate::{
    Method, brokers, clusters, lookup, namespace_policies, namespaces, permissions, probes, subscriptions, tenants,
    topic_list, topics,
};
use base::Domain;
use tenancy::Operation;

/// Who may use a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Everybody, also without credentials: probes and metrics.
    Open,
    /// Whoever proved any identity.
    AnyRole,
    /// Whoever may do this on the object that the path names.
    On(Operation, Target),
}

/// Which object of the path is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Broker,
    Cluster,
    Tenant,
    Namespace,
    Topic,
    Subscription,
}

pub(crate) type Handler = fn(&Context<'_>, Call) -> Next;

/// One row.
pub(crate) struct Route {
    pub method: Method,
    pub pattern: &'static str,
    pub access: Access,
    pub run: Handler,
}

/// What a path leads to.
pub(crate) enum Found {
    Route(&'static Route, Params),
    /// The path is known, the method is not.
    OtherMethod,
    Nothing,
}

/// Finds the row for a request.
pub(crate) fn find(method: Method, path: &[String]) -> Found {
    let mut known = false;
    for route in all() {
        if let Some(params) = fit(route.pattern, path) {
            if route.method == method {
                return Found::Route(route, params);
            }
            known = true;
        }
    }
    if known { Found::OtherMethod } else { Found::Nothing }
}

/// Every row, in the order in which they are tried.
pub(crate) fn all() -> impl Iterator<Item = &'static Route> {
    [PROBES, REGION, NAMESPACES, TOPICS, UNBUILT].into_iter().flatten()
}

fn fit(pattern: &'static str, path: &[String]) -> Option<Params> {
    let mut params = Params::new();
    let mut rest = path.iter();
    for word in pattern.split('/') {
        if word == "*" {
            return rest.next().map(|_| params);
        }
        let segment = rest.next()?;
        match word.strip_prefix(':') {
            Some("domain") if Domain::parse(segment).is_none() => return None,
            Some(name) => {
                params.insert(name, segment.clone());
            }
            None if word == segment => (),
            None => return None,
        }
    }
    rest.next().is_none().then_some(params)
}

/// Part of Pulsar's API that is not here: the reason names it.
fn unbuilt(_context: &Context<'_>, _call: Call) -> Next {
    Err(Refusal::new(501, "this part of Pulsar's admin API is not built yet; the documentation lists what is"))
}

macro_rules! rows {
    ($($method:ident $pattern:literal $access:tt $run:expr;)*) => {
        &[$(Route { method: Method::$method, pattern: $pattern, access: rows!(@ $access), run: $run }),*]
    };
    (@ open) => { Access::Open };
    (@ any) => { Access::AnyRole };
    (@ ($target:ident $operation:ident)) => { Access::On(Operation::$operation, Target::$target) };
}

const PROBES: &[Route] = rows! {
    Get "metrics" open probes::metrics;
    Get "status.html" open probes::status;
    Get "livez" open probes::ok;
    Get "readyz" open probes::ok;
    Get "admin/v2/brokers/health" open probes::ok;
    Get "admin/v2/brokers/ready" open probes::ok;
};

const REGION: &[Route] = rows! {
    Get "admin/v2/brokers/version" any brokers::version;
    Get "admin/v2/clusters" (Broker ListClusters) clusters::list;
    Get "admin/v2/clusters/:cluster" (Cluster ReadCluster) clusters::get;
    Put "admin/v2/clusters/:cluster" (Cluster WriteCluster) clusters::create;
    Post "admin/v2/clusters/:cluster" (Cluster WriteCluster) clusters::update;
    Delete "admin/v2/clusters/:cluster" (Cluster WriteCluster) clusters::delete;
    Get "admin/v2/tenants" (Broker ListTenants) tenants::list;
    Get "admin/v2/tenants/:tenant" (Tenant ReadTenant) tenants::get;
    Put "admin/v2/tenants/:tenant" (Tenant WriteTenant) tenants::create;
    Post "admin/v2/tenants/:tenant" (Tenant WriteTenant) tenants::update;
    Delete "admin/v2/tenants/:tenant" (Tenant WriteTenant) tenants::delete;
    Get "lookup/v2/topic/:domain/:tenant/:namespace/:topic" (Topic Lookup) lookup::broker;
    Get "lookup/v2/topic/:domain/:tenant/:namespace/:topic/bundle" (Topic Lookup) lookup::bundle;
};

const NAMESPACES: &[Route] = rows! {
    Get "admin/v2/namespaces/:tenant" (Tenant ListNamespaces) namespaces::list;
    Get "admin/v2/namespaces/:tenant/:namespace" (Namespace ReadNamespacePolicies) namespaces::get;
    Put "admin/v2/namespaces/:tenant/:namespace" (Namespace CreateNamespace) namespaces::create;
    Delete "admin/v2/namespaces/:tenant/:namespace" (Namespace DeleteNamespace) namespaces::delete;
    Get "admin/v2/namespaces/:tenant/:namespace/topics" (Namespace ListTopics) topic_list::of_namespace;
    Put "admin/v2/namespaces/:tenant/:namespace/unload" (Namespace UnloadNamespace) namespaces::unload;
    Get "admin/v2/namespaces/:tenant/:namespace/bundles" (Namespace ReadNamespacePolicies) namespaces::bundles;
    Get "admin/v2/namespaces/:tenant/:namespace/permissions" (Namespace ReadNamespacePermissions) permissions::of_namespace;
    Get "admin/v2/namespaces/:tenant/:namespace/permissions/subscription" (Namespace ReadNamespacePermissions) permissions::of_subscriptions;
    Post "admin/v2/namespaces/:tenant/:namespace/permissions/subscription/:subscription" (Namespace WriteNamespacePermissions) permissions::grant_subscription;
    Post "admin/v2/namespaces/:tenant/:namespace/permissions/:role" (Namespace WriteNamespacePermissions) permissions::grant_namespace;
    Delete "admin/v2/namespaces/:tenant/:namespace/permissions/:role" (Namespace WriteNamespacePermissions) permissions::revoke_namespace;
    Delete "admin/v2/namespaces/:tenant/:namespace/permissions/:subscription/:role" (Namespace WriteNamespacePermissions) permissions::revoke_subscription;
    Get "admin/v2/namespaces/:tenant/:namespace/replication" (Namespace ReadNamespacePolicies) namespaces::replication;
    Post "admin/v2/namespaces/:tenant/:namespace/replication" (Namespace WriteNamespacePolicies) namespaces::set_replication;
    Get "admin/v2/namespaces/:tenant/:namespace/backlogQuotaMap" (Namespace ReadNamespacePolicies) namespaces::backlog_quotas;
    Post "admin/v2/namespaces/:tenant/:namespace/backlogQuota" (Namespace WriteNamespacePolicies) namespaces::set_backlog_quota;
    Delete "admin/v2/namespaces/:tenant/:namespace/backlogQuota" (Namespace WriteNamespacePolicies) namespaces::remove_backlog_quota;
    Get "admin/v2/namespaces/:tenant/:namespace/:policy" (Namespace ReadNamespacePolicies) namespace_policies::get;
    Post "admin/v2/namespaces/:tenant/:namespace/:policy" (Namespace WriteNamespacePolicies) namespace_policies::post;
    Put "admin/v2/namespaces/:tenant/:namespace/:policy" (Namespace WriteNamespacePolicies) namespace_policies::put;
    Delete "admin/v2/namespaces/:tenant/:namespace/:policy" (Namespace WriteNamespacePolicies) namespace_policies::remove;
};

const TOPICS: &[Route] = rows! {
    Get "admin/v2/:domain/:tenant/:namespace" (Namespace ListTopics) topic_list::of_domain;
    Get "admin/v2/:domain/:tenant/:namespace/partitioned" (Namespace ListTopics) topic_list::partitioned;
    Put "admin/v2/:domain/:tenant/:namespace/:topic" (Topic CreateTopic) topics::create;
    Delete "admin/v2/:domain/:tenant/:namespace/:topic" (Topic DeleteTopic) topics::delete;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/partitions" (Topic Lookup) topics::partitions;
    Put "admin/v2/:domain/:tenant/:namespace/:topic/partitions" (Topic CreateTopic) topics::create_partitioned;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/partitions" (Topic UpdateTopic) topics::grow_partitions;
    Delete "admin/v2/:domain/:tenant/:namespace/:topic/partitions" (Topic DeleteTopic) topics::delete_partitioned;
    Put "admin/v2/:domain/:tenant/:namespace/:topic/unload" (Topic UnloadTopic) topics::unload;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/terminate" (Topic TerminateTopic) topics::terminate;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/stats" (Topic ReadStats) topics::stats;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/partitioned-stats" (Topic ReadStats) topics::partitioned_stats;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/internalStats" (Topic ReadStats) topics::internal_stats;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/lastMessageId" (Topic ReadMessages) topics::last_message_id;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/messageid/:time" (Topic ReadMessages) topics::message_id_at;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/permissions" (Topic ReadTopicPermissions) permissions::of_topic;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/permissions/:role" (Topic WriteTopicPermissions) permissions::grant_topic;
    Delete "admin/v2/:domain/:tenant/:namespace/:topic/permissions/:role" (Topic WriteTopicPermissions) permissions::revoke_topic;
    Get "admin/v2/:domain/:tenant/:namespace/:topic/subscriptions" (Topic ListSubscriptions) subscriptions::list;
    Put "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription" (Subscription CreateSubscription) subscriptions::create;
    Delete "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription" (Subscription Unsubscribe) subscriptions::delete;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription/skip_all" (Subscription SkipMessages) subscriptions::skip_all;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription/skip/:count" (Subscription SkipMessages) subscriptions::skip;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription/expireMessages/:seconds" (Subscription ExpireMessages) subscriptions::expire;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription/resetcursor/:time" (Subscription ResetCursor) subscriptions::reset_to_time;
    Post "admin/v2/:domain/:tenant/:namespace/:topic/subscription/:subscription/resetcursor" (Subscription ResetCursor) subscriptions::reset_to_id;
};

const UNBUILT: &[Route] = rows! {
    Get "admin/*" any unbuilt;
    Put "admin/*" any unbuilt;
    Post "admin/*" any unbuilt;
    Delete "admin/*" any unbuilt;
};
