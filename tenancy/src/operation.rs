//! What can be asked of a region, and of which kind of object.
//!
//! **What**  [`Operation`] has one variant for each thing that a wire command or an admin endpoint asks permission for;
//! the table in `rule` gives each its verb, the kind of object it applies to, and who may do it. A new command needs a row
//! there before it compiles.

use auth::Action;
use base::{NamespaceName, RegionName, SubscriptionName, TenantName, TopicName};
use std::fmt;

/// The thing that an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// The region's own machinery: brokers, settings, all clusters, all tenants.
    Broker,
    Cluster(&'a RegionName),
    Tenant(&'a TenantName),
    Namespace(&'a NamespaceName),
    Topic(&'a TopicName),
    Subscription(&'a TopicName, &'a SubscriptionName),
}

impl<'a> Object<'a> {
    pub fn tenant(self) -> Option<&'a TenantName> {
        match self {
            Self::Broker | Self::Cluster(_) => None,
            Self::Tenant(tenant) => Some(tenant),
            Self::Namespace(namespace) => Some(namespace.tenant()),
            Self::Topic(topic) | Self::Subscription(topic, _) => Some(topic.tenant()),
        }
    }

    pub fn namespace(self) -> Option<&'a NamespaceName> {
        match self {
            Self::Broker | Self::Cluster(_) | Self::Tenant(_) => None,
            Self::Namespace(namespace) => Some(namespace),
            Self::Topic(topic) | Self::Subscription(topic, _) => Some(topic.namespace()),
        }
    }

    pub fn topic(self) -> Option<&'a TopicName> {
        match self {
            Self::Broker | Self::Cluster(_) | Self::Tenant(_) | Self::Namespace(_) => None,
            Self::Topic(topic) | Self::Subscription(topic, _) => Some(topic),
        }
    }

    pub fn subscription(self) -> Option<&'a SubscriptionName> {
        match self {
            Self::Subscription(_, subscription) => Some(subscription),
            Self::Broker | Self::Cluster(_) | Self::Tenant(_) | Self::Namespace(_) | Self::Topic(_) => None,
        }
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broker => f.write_str("the region"),
            Self::Cluster(cluster) => write!(f, "cluster {cluster}"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Namespace(namespace) => write!(f, "namespace {namespace}"),
            Self::Topic(topic) => write!(f, "topic {topic}"),
            Self::Subscription(topic, subscription) => write!(f, "subscription {subscription} of topic {topic}"),
        }
    }
}

/// Which kinds of object an operation applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Broker,
    Cluster,
    Tenant,
    Namespace,
    Topic,
    /// Always with its name: a subscription's own list must be asked.
    Subscription,
}

/// Who may do it, beside super users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    SuperUser,
    TenantAdmin,
    /// Any of these grants; the tenant's admin roles hold them all.
    Any(&'static [Action]),
    /// Any proven role.
    AnyRole,
}

const PRODUCE: Needs = Needs::Any(&[Action::Produce]);
const CONSUME: Needs = Needs::Any(&[Action::Consume]);
const EITHER: Needs = Needs::Any(&[Action::Produce, Action::Consume]);

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident: $verb:literal, $kind:ident, $needs:expr;)*) => {
        /// Something that is asked of the region.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($(#[$doc])* $name,)*
        }

        impl Operation {
            /// Every operation, for tests that must miss none.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            fn rule(self) -> (&'static str, Kind, Needs) {
                match self {
                    $(Self::$name => ($verb, Kind::$kind, $needs),)*
                }
            }
        }
    };
}

operations! {
    // The data path.
    /// Where a topic is served, its partition metadata.
    Lookup: "look up", Topic, EITHER;
    Produce: "produce on", Topic, PRODUCE;
    /// Subscribe, receive, acknowledge.
    Consume: "consume from", Subscription, CONSUME;
    Unsubscribe: "unsubscribe", Subscription, CONSUME;
    Seek: "seek on", Subscription, CONSUME;
    GetSchema: "read the schema of", Topic, EITHER;
    /// Registering a schema with the first message.
    PutSchema: "register a schema on", Topic, PRODUCE;
    /// The topics of a namespace, on the wire and over HTTP; also pattern subscriptions.
    ListTopics: "list the topics of", Namespace, EITHER;
    // One topic, over HTTP.
    ReadStats: "read the statistics of", Topic, EITHER;
    ListSubscriptions: "list the subscriptions of", Topic, CONSUME;
    CreateSubscription: "create", Subscription, CONSUME;
    /// Reading a subscription's next messages without consuming them.
    Peek: "peek at", Subscription, CONSUME;
    /// Reading messages by id or by position, message ids by time.
    ReadMessages: "read messages of", Topic, CONSUME;
    SkipMessages: "skip messages of", Subscription, CONSUME;
    ExpireMessages: "expire messages of", Subscription, CONSUME;
    ResetCursor: "reset the cursor of", Subscription, CONSUME;
    CreateTopic: "create", Topic, Needs::TenantAdmin;
    DeleteTopic: "delete", Topic, Needs::TenantAdmin;
    /// Partitions, properties.
    UpdateTopic: "change", Topic, Needs::TenantAdmin;
    UnloadTopic: "unload", Topic, Needs::TenantAdmin;
    TerminateTopic: "terminate", Topic, Needs::TenantAdmin;
    TruncateTopic: "truncate", Topic, Needs::TenantAdmin;
    CompactTopic: "compact", Topic, Needs::TenantAdmin;
    OffloadTopic: "offload", Topic, Needs::TenantAdmin;
    DeleteSchema: "delete the schema of", Topic, Needs::TenantAdmin;
    ReadTopicPolicies: "read the policies of", Topic, Needs::TenantAdmin;
    WriteTopicPolicies: "change the policies of", Topic, Needs::TenantAdmin;
    ReadTopicPermissions: "read the permissions of", Topic, Needs::TenantAdmin;
    WriteTopicPermissions: "change the permissions of", Topic, Needs::TenantAdmin;
    // One namespace.
    CreateNamespace: "create", Namespace, Needs::TenantAdmin;
    DeleteNamespace: "delete", Namespace, Needs::TenantAdmin;
    /// Unload and split bundles.
    UnloadNamespace: "unload", Namespace, Needs::TenantAdmin;
    ReadNamespacePolicies: "read the policies of", Namespace, Needs::TenantAdmin;
    WriteNamespacePolicies: "change the policies of", Namespace, Needs::TenantAdmin;
    ReadNamespacePermissions: "read the permissions of", Namespace, Needs::TenantAdmin;
    WriteNamespacePermissions: "change the permissions of", Namespace, Needs::TenantAdmin;
    /// Clear the backlog of, or unsubscribe, a subscription on all topics of the namespace.
    ClearNamespaceBacklog: "clear the backlog of", Namespace, Needs::TenantAdmin;
    // Tenants.
    ListNamespaces: "list the namespaces of", Tenant, Needs::TenantAdmin;
    ReadTenant: "read", Tenant, Needs::TenantAdmin;
    /// Create, update, delete. Not for the tenant's own admins: they would set their own quotas.
    WriteTenant: "change", Tenant, Needs::SuperUser;
    ListTenants: "list the tenants of", Broker, Needs::SuperUser;
    // Clusters and the region itself.
    ListClusters: "list the clusters of", Broker, Needs::AnyRole;
    ReadCluster: "read", Cluster, Needs::SuperUser;
    WriteCluster: "change", Cluster, Needs::SuperUser;
    /// Settings, metrics, load, internal state.
    ReadBroker: "read the state of", Broker, Needs::SuperUser;
    WriteBroker: "change the settings of", Broker, Needs::SuperUser;
}

impl Operation {
    /// The words between "may not" and the object.
    pub fn verb(self) -> &'static str {
        self.rule().0
    }

    pub(crate) fn needs(self) -> Needs {
        self.rule().2
    }

    /// Whether the operation applies to this kind of object.
    pub fn fits(self, on: Object<'_>) -> bool {
        match (self.rule().1, on) {
            (Kind::Broker, Object::Broker)
            | (Kind::Cluster, Object::Cluster(_))
            | (Kind::Tenant, Object::Tenant(_))
            | (Kind::Namespace, Object::Namespace(_))
            | (Kind::Topic, Object::Topic(_))
            | (Kind::Subscription, Object::Subscription(..)) => true,
            (Kind::Broker | Kind::Cluster | Kind::Tenant | Kind::Namespace | Kind::Topic | Kind::Subscription, _) => {
                false
            }
        }
    }
}
