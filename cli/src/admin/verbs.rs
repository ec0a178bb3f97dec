//! The one table of admin commands: pulsar-admin's nouns and verbs, and the request that each one is.
//!
//! **What**  `{…}` in a path is an argument of the command or the key of a flag. `{ns}` is `tenant/namespace`, `{topic}` a topic
//! in any of its spellings.

use super::field::{Field, Kind, Place};

/// One command.
#[derive(Debug)]
pub(super) struct Verb {
    pub(super) noun: &'static str,
    /// Spellings, separated by `|`.
    pub(super) verb: &'static str,
    pub(super) method: &'static str,
    /// Below `/admin/v2/`, unless it begins with `/`.
    pub(super) path: &'static str,
    pub(super) fields: &'static [Field],
    pub(super) help: &'static str,
}

macro_rules! verbs {
    ($($noun:literal $verb:literal $method:ident $path:literal [$($field:expr),*] $help:literal;)*) => {
        &[$(Verb {
            noun: $noun, verb: $verb, method: stringify!($method), path: $path, fields: &[$($field),*], help: $help,
        }),*]
    };
}

const FORCE: Field = Field::new("--force -f", "force", Kind::Is(true)).at(Place::Query);
const ROLE: Field = Field::new("--role", "role", Kind::Text).at(Place::Path).required();
const ACTIONS: Field = Field::new("--actions", "actions", Kind::List).at(Place::Body).required();
const BUNDLE: Field = Field::new("--bundle -b", "bundle", Kind::Text).at(Place::Path).required();
const SPLIT_HOW: Field = Field::new("--split-algorithm-name -san", "splitAlgorithmName", Kind::Text)
    .at(Place::Query)
    .or("range_equally_divide");
const SUBSCRIPTION: Field = Field::new("--subscription -s", "sub", Kind::Text).at(Place::Path).required();
const CLUSTERS: Field = Field::new("--clusters -c", "clusters", Kind::List).at(Place::Body).required();
const PARTITIONS: Field = Field::new("--partitions -p", "partitions", Kind::Number).at(Place::Body).required();
const MSG_PUBLISH: Field = Field::new("--msg-publish-rate -m", "publishThrottlingRateInMsg", Kind::Number).or("-1");
const BYTE_PUBLISH: Field = Field::new("--byte-publish-rate -b", "publishThrottlingRateInByte", Kind::Number).or("-1");
const MSG_DISPATCH: Field = Field::new("--msg-dispatch-rate -md", "dispatchThrottlingRateInMsg", Kind::Number).or("-1");
const BYTE_DISPATCH: Field =
    Field::new("--byte-dispatch-rate -bd", "dispatchThrottlingRateInByte", Kind::Number).or("-1");
const DISPATCH_PERIOD: Field = Field::new("--dispatch-rate-period -dt", "ratePeriodInSecond", Kind::Number).or("1");
const QUOTA_TYPE: Field =
    Field::new("--type -t", "backlogQuotaType", Kind::Text).at(Place::Query).or("destination_storage");
const PUBLISH: [Field; 2] = [MSG_PUBLISH, BYTE_PUBLISH];
const CLUSTER: [Field; 7] = [
    Field::new("--url", "serviceUrl", Kind::Text),
    Field::new("--broker-url", "brokerServiceUrl", Kind::Text),
    Field::new("--proxy-url", "proxyServiceUrl", Kind::Text),
    Field::new("--replicator-url", "replicatorUrl", Kind::Text),
    Field::new("--replicator-trust", "replicatorTrust", Kind::Text),
    Field::new("--region-number", "regionNumber", Kind::Number),
    Field::new("--listener-name", "listenerName", Kind::Text),
];
const TENANT: [Field; 2] = [
    Field::new("--admin-roles -r", "adminRoles", Kind::List),
    Field::new("--allowed-clusters -c", "allowedClusters", Kind::List),
];

/// Clusters, tenants, nodes and brokers.
pub(super) const REGION: &[Verb] = verbs! {
    "clusters" "list" GET "clusters" [] "Names of all clusters";
    "clusters" "get" GET "clusters/{cluster}" [] "How a cluster is reached";
    "clusters" "create" PUT "clusters/{cluster}" [CLUSTER[0], CLUSTER[1], CLUSTER[2], CLUSTER[3], CLUSTER[4], CLUSTER[5], CLUSTER[6]] "Introduce a peer region";
    "clusters" "update" POST "clusters/{cluster}" [CLUSTER[0], CLUSTER[1], CLUSTER[2], CLUSTER[3], CLUSTER[4], CLUSTER[5], CLUSTER[6]] "Change how a cluster is reached";
    "clusters" "delete" DELETE "clusters/{cluster}" [] "Forget a cluster";
    "tenants" "list" GET "tenants" [] "Names of all tenants";
    "tenants" "get" GET "tenants/{tenant}" [] "Admin roles and clusters of a tenant";
    "tenants" "create" PUT "tenants/{tenant}" [TENANT[0], TENANT[1]] "Make a tenant; without clusters it may use all";
    "tenants" "update" POST "tenants/{tenant}" [TENANT[0], TENANT[1]] "Change a tenant; what is not given stays";
    "tenants" "delete" DELETE "tenants/{tenant}" [FORCE] "Remove a tenant";
    "cluster" "status" GET "cluster/status" [] "The nodes of this region: which are up, who votes, who leads, who serves how much";
    "cluster" "remove-node" DELETE "cluster/nodes/{node}" [FORCE] "Take a node out of this region for good";
    "brokers" "healthcheck" GET "brokers/health" [] "Whether the server answers";
    "brokers" "version" GET "brokers/version" [] "Version of the server";
    "brokers" "leader-broker" GET "brokers/leaderBroker" [] "The leader of the region";
    "brokers" "list" GET "brokers/{cluster}" [] "Servers of a cluster";
};

/// Namespaces and their policies.
pub(super) const NAMESPACES: &[Verb] = verbs! {
    "namespaces" "list" GET "namespaces/{tenant}" [] "Namespaces of a tenant";
    "namespaces" "create" PUT "namespaces/{ns}" [Field::new("--clusters -c", "replication_clusters", Kind::List)] "Make a namespace";
    "namespaces" "delete" DELETE "namespaces/{ns}" [FORCE] "Remove a namespace";
    "namespaces" "policies" GET "namespaces/{ns}" [] "All policies";
    "namespaces" "topics" GET "namespaces/{ns}/topics" [] "Topics of a namespace";
    "namespaces" "unload" PUT "namespaces/{ns}/unload" [] "Close its topics; clients come back";
    "namespaces" "bundles" GET "namespaces/{ns}/bundles" [] "The ranges of hashes by which its topics are spread over nodes";
    "namespaces" "unload-bundle" PUT "namespaces/{ns}/{bundle}/unload" [BUNDLE, Field::new("--destinationBroker --destination-broker -d", "destinationBroker", Kind::Text).at(Place::Query)] "Close a bundle's topics, or move it to a node";
    "namespaces" "split-bundle" PUT "namespaces/{ns}/{bundle}/split" [BUNDLE, Field::new("--unload -u", "unload", Kind::Is(true)).at(Place::Query), SPLIT_HOW] "Divide a bundle; LARGEST is the one with the most topics";
    "namespaces" "permissions" GET "namespaces/{ns}/permissions" [] "Who may do what";
    "namespaces" "grant-permission" POST "namespaces/{ns}/permissions/{role}" [ROLE, ACTIONS] "Allow a role produce, consume, …";
    "namespaces" "revoke-permission" DELETE "namespaces/{ns}/permissions/{role}" [ROLE] "Take a role's permissions away";
    "namespaces" "get-clusters" GET "namespaces/{ns}/replication" [] "Regions that hold it";
    "namespaces" "set-clusters" POST "namespaces/{ns}/replication" [CLUSTERS] "Replicate it to these regions";
    "namespaces" "get-retention" GET "namespaces/{ns}/retention" [] "What is kept after it was consumed";
    "namespaces" "set-retention" POST "namespaces/{ns}/retention" [Field::new("--time -t", "retentionTimeInMinutes", Kind::Minutes).required(), Field::new("--size -s", "retentionSizeInMB", Kind::Mebibytes).required()] "Keep consumed messages by time and size";
    "namespaces" "remove-retention" DELETE "namespaces/{ns}/retention" [] "Back to the default";
    "namespaces" "get-backlog-quotas|get-backlog-quota" GET "namespaces/{ns}/backlogQuotaMap" [] "Limits on what is not consumed";
    "namespaces" "set-backlog-quota" POST "namespaces/{ns}/backlogQuota" [Field::new("--limit -l", "limitSize", Kind::Bytes).or("-1"), Field::new("--limitTime --limit-time -lt", "limitTime", Kind::Seconds).or("-1"), Field::new("--policy -p", "policy", Kind::Text).required(), QUOTA_TYPE] "Limit what is not consumed: producer_request_hold, producer_exception or consumer_backlog_eviction";
    "namespaces" "remove-backlog-quota" DELETE "namespaces/{ns}/backlogQuota" [QUOTA_TYPE] "Back to the default";
    "namespaces" "get-publish-rate" GET "namespaces/{ns}/publishRate" [] "Limit of every topic";
    "namespaces" "set-publish-rate" POST "namespaces/{ns}/publishRate" [PUBLISH[0], PUBLISH[1]] "Limit every topic of it";
    "namespaces" "remove-publish-rate" DELETE "namespaces/{ns}/publishRate" [] "No limit per topic";
    "namespaces" "get-namespace-publish-rate" GET "namespaces/{ns}/namespacePublishRate" [] "Limit of all its topics together";
    "namespaces" "set-namespace-publish-rate" POST "namespaces/{ns}/namespacePublishRate" [PUBLISH[0], PUBLISH[1]] "Limit all its topics together";
    "namespaces" "remove-namespace-publish-rate" DELETE "namespaces/{ns}/namespacePublishRate" [] "No limit for all together";
    "namespaces" "get-dispatch-rate" GET "namespaces/{ns}/dispatchRate" [] "Limit on what a topic sends out";
    "namespaces" "set-dispatch-rate" POST "namespaces/{ns}/dispatchRate" [MSG_DISPATCH, BYTE_DISPATCH, DISPATCH_PERIOD] "Limit what every topic sends out";
    "namespaces" "remove-dispatch-rate" DELETE "namespaces/{ns}/dispatchRate" [] "No limit on what is sent out";
    "namespaces" "get-subscription-dispatch-rate" GET "namespaces/{ns}/subscriptionDispatchRate" [] "Limit on what a subscription is sent";
    "namespaces" "set-subscription-dispatch-rate" POST "namespaces/{ns}/subscriptionDispatchRate" [MSG_DISPATCH, BYTE_DISPATCH, DISPATCH_PERIOD] "Limit what every subscription is sent";
    "namespaces" "remove-subscription-dispatch-rate" DELETE "namespaces/{ns}/subscriptionDispatchRate" [] "No limit per subscription";
    "namespaces" "get-message-ttl" GET "namespaces/{ns}/messageTTL" [] "When unconsumed messages are given up";
    "namespaces" "set-message-ttl" POST "namespaces/{ns}/messageTTL" [Field::new("--messageTTL --ttl -ttl", "ttl", Kind::Seconds).at(Place::Body).required()] "Give unconsumed messages up after a time";
    "namespaces" "remove-message-ttl" DELETE "namespaces/{ns}/messageTTL" [] "Back to the default";
    "namespaces" "get-deduplication" GET "namespaces/{ns}/deduplication" [] "Whether repetitions are dropped";
    "namespaces" "set-deduplication" POST "namespaces/{ns}/deduplication" [Field::new("--enable -e", "enable", Kind::Is(true)).at(Place::Body), Field::new("--disable -d", "enable", Kind::Is(false)).at(Place::Body)] "Drop repetitions, or not";
    "namespaces" "remove-deduplication" DELETE "namespaces/{ns}/deduplication" [] "Back to the default";
};

/// Topics and subscriptions.
pub(super) const TOPICS: &[Verb] = verbs! {
    "topics" "list" GET "persistent/{ns}" [] "Topics of a namespace";
    "topics" "list-partitioned-topics" GET "persistent/{ns}/partitioned" [] "Partitioned topics of a namespace";
    "topics" "create" PUT "{topic}" [] "Make a topic without partitions";
    "topics" "create-partitioned-topic" PUT "{topic}/partitions" [PARTITIONS] "Make a topic with partitions";
    "topics" "update-partitioned-topic" POST "{topic}/partitions" [PARTITIONS] "Add partitions";
    "topics" "get-partitioned-topic-metadata" GET "{topic}/partitions" [] "How many partitions";
    "topics" "delete-partitioned-topic" DELETE "{topic}/partitions" [FORCE] "Remove a partitioned topic";
    "topics" "delete" DELETE "{topic}" [FORCE] "Remove a topic";
    "topics" "stats" GET "{topic}/stats" [Field::new("--get-precise-backlog -gpb", "getPreciseBacklog", Kind::Is(true)).at(Place::Query), Field::new("--get-subscription-backlog-size -sbs", "subscriptionBacklogSize", Kind::Is(true)).at(Place::Query)] "Rates, producers, subscriptions, replication";
    "topics" "partitioned-stats" GET "{topic}/partitioned-stats" [Field::new("--per-partition", "perPartition", Kind::Is(true)).at(Place::Query)] "The same, summed";
    "topics" "stats-internal" GET "{topic}/internalStats" [] "Ledgers and cursors";
    "topics" "last-message-id" GET "{topic}/lastMessageId" [] "Id of the newest message";
    "topics" "get-message-id" GET "{topic}/messageid/{time}" [Field::new("--datetime --time -d", "time", Kind::Ago).at(Place::Path).required()] "Id of the first message since a time ago";
    "topics" "unload" PUT "{topic}/unload" [] "Close it; clients come back";
    "topics" "terminate" POST "{topic}/terminate" [] "Refuse further messages for good";
    "topics" "lookup" GET "/lookup/v2/topic/{topic}" [] "The server that owns it";
    "topics" "bundle-range" GET "/lookup/v2/topic/{topic}/bundle" [] "The bundle that it belongs to";
    "topics" "permissions" GET "{topic}/permissions" [] "Who may do what";
    "topics" "grant-permission" POST "{topic}/permissions/{role}" [ROLE, ACTIONS] "Allow a role produce, consume";
    "topics" "revoke-permission" DELETE "{topic}/permissions/{role}" [ROLE] "Take a role's permissions away";
    "topics" "subscriptions" GET "{topic}/subscriptions" [] "Names of its subscriptions";
    "topics" "create-subscription" PUT "{topic}/subscription/{sub}" [SUBSCRIPTION, Field::new("--message-id --messageId -m", "id", Kind::MessageId).at(Place::Body)] "Make a subscription, at the end or at a message";
    "topics" "unsubscribe" DELETE "{topic}/subscription/{sub}" [SUBSCRIPTION, FORCE] "Remove a subscription";
    "topics" "skip" POST "{topic}/subscription/{sub}/skip/{count}" [SUBSCRIPTION, Field::new("--count -n", "count", Kind::Number).at(Place::Path).required()] "Skip messages";
    "topics" "clear-backlog|skip-all" POST "{topic}/subscription/{sub}/skip_all" [SUBSCRIPTION] "Skip everything";
    "topics" "expire-messages" POST "{topic}/subscription/{sub}/expireMessages/{time}" [SUBSCRIPTION, Field::new("--expireTime --expire-time -t", "time", Kind::Seconds).at(Place::Path).required()] "Skip what is older";
    "topics" "reset-cursor-to-time" POST "{topic}/subscription/{sub}/resetcursor/{time}" [SUBSCRIPTION, Field::new("--time -t", "time", Kind::Ago).at(Place::Path).required()] "Read again from a time ago";
    "topics" "reset-cursor-to-id" POST "{topic}/subscription/{sub}/resetcursor" [SUBSCRIPTION, Field::new("--message-id --messageId -m", "id", Kind::MessageId).at(Place::Body).required()] "Read again from a message";
    "topics" "peek-messages" GET "{topic}/subscription/{sub}/position/{count}" [SUBSCRIPTION, Field::new("--count -n", "count", Kind::Number).at(Place::Path).or("1")] "Look at the next message of a subscription, or the N-th";
};

/// Every command.
pub(super) fn all() -> impl Iterator<Item = &'static Verb> {
    [REGION, NAMESPACES, TOPICS].into_iter().flatten()
}

impl Verb {
    pub(super) fn is_called(&self, noun: &str, verb: &str) -> bool {
        self.noun == noun && self.verb.split('|').any(|own| own == verb)
    }

    /// The names in braces that are arguments and no flags.
    pub(super) fn arguments(&self) -> impl Iterator<Item = &'static str> {
        let names = self.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        names.filter(|name| !self.fields.iter().any(|field| field.place == Place::Path && field.key == *name))
    }

    /// One line of help.
    pub(super) fn usage(&self) -> String {
        let mut words = vec![self.noun.to_owned(), self.verb.to_owned()];
        words.extend(self.arguments().map(|name| match name {
            "ns" => "TENANT/NAMESPACE".to_owned(),
            name => name.to_uppercase(),
        }));
        words.extend(self.fields.iter().map(Field::usage));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_command_has_its_own_name_and_every_path_flag_its_braces() {
        let mut names = BTreeSet::new();
        for verb in all() {
            for name in verb.verb.split('|') {
                assert!(names.insert((verb.noun, name)), "{} {name}", verb.noun);
            }
            for field in verb.fields.iter().filter(|field| field.place == Place::Path) {
                assert!(verb.path.contains(&format!("{{{}}}", field.key)), "{}", verb.usage());
            }
        }
    }

    #[test]
    fn usage_names_arguments_and_flags() {
        let verb = all().find(|verb| verb.is_called("namespaces", "grant-permission")).unwrap();
        assert_eq!(verb.usage(), "namespaces grant-permission TENANT/NAMESPACE --role TEXT --actions A,B");
    }
}
