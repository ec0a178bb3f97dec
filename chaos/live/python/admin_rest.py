"""The admin API as Pulsar's own tools use it: tenants, namespaces, permissions, every policy. Status codes are Pulsar's."""

import sys

from region import Region
from tokens import Keys

NS = "/admin/v2/namespaces/acme/orders"

# Policy: method of writing, a value, and what is read back after it (when that is not the value itself).
POLICIES = {
    "messageTTL": ("POST", 60), "subscriptionExpirationTime": ("POST", 10), "deduplication": ("POST", True),
    "retention": ("POST", {"retentionTimeInMinutes": 10, "retentionSizeInMB": 100}),
    "autoTopicCreation": ("POST", {"allowAutoTopicCreation": True, "topicType": "partitioned", "defaultNumPartitions": 2}),
    "autoSubscriptionCreation": ("POST", {"allowAutoSubscriptionCreation": False}),
    "persistence": ("POST", {"bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 1, "bookkeeperAckQuorum": 1,
                             "managedLedgerMaxMarkDeleteRate": 0.0}),
    "publishRate": ("POST", {"publishThrottlingRateInMsg": 10, "publishThrottlingRateInByte": 1000}),
    "dispatchRate": ("POST", {"dispatchThrottlingRateInMsg": 10, "dispatchThrottlingRateInByte": 1000,
                              "ratePeriodInSecond": 1, "relativeToPublishRate": False}),
    "subscriptionDispatchRate": ("POST", {"dispatchThrottlingRateInMsg": 10, "dispatchThrottlingRateInByte": 1000,
                                          "ratePeriodInSecond": 1, "relativeToPublishRate": False}),
    "maxProducersPerTopic": ("POST", 5), "maxConsumersPerTopic": ("POST", 5), "maxConsumersPerSubscription": ("POST", 5),
    "maxUnackedMessagesPerConsumer": ("POST", 5), "maxUnackedMessagesPerSubscription": ("POST", 5),
    "maxSubscriptionsPerTopic": ("POST", 5), "maxTopicsPerNamespace": ("POST", 5),
    "delayedDelivery": ("POST", {"tickTime": 1000, "active": True, "maxDeliveryDelayInMillis": 0}),
    "inactiveTopicPolicies": ("POST", {"inactiveTopicDeleteMode": "delete_when_no_subscriptions",
                                       "maxInactiveDurationSeconds": 100, "deleteWhileInactive": True}),
    "encryptionRequired": ("POST", True), "compactionThreshold": ("PUT", 1000), "subscriptionAuthMode": ("POST", "Prefix"),
    "schemaCompatibilityStrategy": ("PUT", "BACKWARD"), "schemaValidationEnforced": ("POST", True),
    "isAllowAutoUpdateSchema": ("POST", False), "subscriptionTypesEnabled": ("POST", ["Shared", "Failover"]),
}
# What the namespace's answer says of a policy that is not set: 204 without a body, but for those with a default of their own.
UNSET_SAYS = {"subscriptionTypesEnabled", "encryptionRequired", "schemaValidationEnforced", "schemaCompatibilityStrategy",
              "subscriptionAuthMode"}


class Asker:
    def __init__(self, region):
        self.region = region

    def __call__(self, method, path, body=None, status=204):
        got, answer = self.region.ask(method, path, body)
        assert got == status, f"{method} {path} {body}: {got} {answer}, not {status}"
        if status >= 400:
            assert set(answer) == {"reason"} and len(answer["reason"]) > 10, (method, path, answer)
        elif status == 204:
            assert answer == "", (method, path, answer)
        return answer


def check_tenants(ask):
    clusters = ["standalone"]
    assert ask("GET", "/admin/v2/clusters", status=200) == clusters
    assert set(ask("GET", "/admin/v2/tenants", status=200)) == {"public", "pulsar"}
    info = {"adminRoles": ["boss"], "allowedClusters": clusters}
    ask("PUT", "/admin/v2/tenants/acme", info)
    ask("PUT", "/admin/v2/tenants/acme", info, status=409)
    read = ask("GET", "/admin/v2/tenants/acme", status=200)
    assert {key: read[key] for key in info} == info, read
    ask("PUT", "/admin/v2/tenants/bad%20name", info, status=412)
    ask("PUT", "/admin/v2/tenants/nowhere", {"adminRoles": [], "allowedClusters": []}, status=412)
    ask("PUT", "/admin/v2/tenants/nowhere", {"adminRoles": [], "allowedClusters": ["mars"]}, status=412)
    ask("POST", "/admin/v2/tenants/acme", {**info, "adminRoles": ["boss", "other"]})
    assert set(ask("GET", "/admin/v2/tenants/acme", status=200)["adminRoles"]) == {"boss", "other"}
    ask("POST", "/admin/v2/tenants/nobody", info, status=404)
    ask("GET", "/admin/v2/tenants/nobody", status=404)
    ask("DELETE", "/admin/v2/tenants/nobody", status=404)
    assert ask("GET", "/admin/v2/tenants", status=200) == ["acme", "public", "pulsar"]
    ask("GET", "/admin/v2/tenants/", status=200)


def check_namespaces(ask):
    ask("PUT", NS)
    ask("PUT", NS, status=409)
    ask("PUT", "/admin/v2/namespaces/nobody/orders", status=404)
    ask("PUT", "/admin/v2/namespaces/acme/a%20b", status=412)
    ask("PUT", "/admin/v2/namespaces/acme/far", {"replication_clusters": ["mars"]}, status=412)
    ask("PUT", "/admin/v2/namespaces/acme/bundled", {"bundles": {"numBundles": 2, "boundaries": []}})
    assert ask("GET", "/admin/v2/namespaces/acme", status=200) == ["acme/bundled", "acme/orders"]
    ask("GET", "/admin/v2/namespaces/nobody", status=404)
    policies = ask("GET", NS, status=200)
    wanted = {"auth_policies", "replication_clusters", "bundles", "backlog_quota_map", "persistence", "retention_policies",
              "deduplicationEnabled", "message_ttl_in_seconds", "topicDispatchRate", "publishMaxMessageRate", "deleted",
              "schema_compatibility_strategy", "subscription_types_enabled", "encryption_required"}
    assert wanted <= set(policies), wanted - set(policies)
    assert policies["replication_clusters"] == ["standalone"] and policies["deleted"] is False
    assert policies["bundles"]["numBundles"] == 4, policies["bundles"]
    bundles = ask("GET", "/admin/v2/namespaces/acme/bundled/bundles", status=200)
    assert bundles == {"boundaries": ["0x00000000", "0x80000000", "0xffffffff"], "numBundles": 2}, bundles
    ask("GET", "/admin/v2/namespaces/acme/absent", status=404)
    ask("GET", "/admin/v2/namespaces/acme/absent/topics", status=404)
    assert ask("GET", f"{NS}/topics", status=200) == []
    ask("PUT", f"{NS}/unload")
    ask("DELETE", "/admin/v2/namespaces/acme/absent", status=404)
    ask("DELETE", "/admin/v2/tenants/acme", status=409)


def check_policies(ask):
    for name, (method, value) in POLICIES.items():
        unset = ask("GET", f"{NS}/{name}", status=200 if name in UNSET_SAYS else 204)
        ask(method, f"{NS}/{name}", value)
        read = ask("GET", f"{NS}/{name}", status=200)
        same = sorted(read) == sorted(value) if isinstance(value, list) else (
            {key: read[key] for key in value} == value if isinstance(value, dict) else read == value)
        assert same, (name, read, value)
        ask("DELETE", f"{NS}/{name}")
        after = ask("GET", f"{NS}/{name}", status=200 if name in UNSET_SAYS else 204)
        assert after == unset, (name, after, unset)
        status, answer = ask.region.ask(method, f"{NS}/{name}", [[1]])
        assert status in (400, 412) and answer["reason"], (name, status, answer)
    ask("GET", f"{NS}/noSuchPolicy", status=404)
    ask("POST", "/admin/v2/namespaces/acme/absent/messageTTL", 60, status=404)
    ask("POST", f"{NS}/messageTTL", -5, status=412)
    ask("POST", f"{NS}/persistence", {"bookkeeperEnsemble": 1, "bookkeeperWriteQuorum": 2, "bookkeeperAckQuorum": 3,
                                      "managedLedgerMaxMarkDeleteRate": 0.0}, status=412)
    quota = {"limitSize": 1 << 30, "limitTime": -1, "policy": "producer_exception"}
    ask("POST", f"{NS}/backlogQuota?backlogQuotaType=destination_storage", quota)
    read = ask("GET", f"{NS}/backlogQuotaMap", status=200)["destination_storage"]
    assert {key: read[key] for key in quota} == quota, read
    ask("POST", f"{NS}/retention", {"retentionTimeInMinutes": 1, "retentionSizeInMB": 1}, status=412)
    ask("DELETE", f"{NS}/backlogQuota?backlogQuotaType=destination_storage")
    assert ask("GET", f"{NS}/replication", status=200) == ["standalone"]
    ask("POST", f"{NS}/replication", ["mars"], status=412)


def check_permissions(ask):
    assert ask("GET", f"{NS}/permissions", status=200) == {}
    ask("POST", f"{NS}/permissions/app", ["produce", "consume"])
    assert sorted(ask("GET", f"{NS}/permissions", status=200)["app"]) == ["consume", "produce"]
    ask("POST", f"{NS}/permissions/app", ["fly"], status=400)
    ask("POST", f"{NS}/permissions/subscription/inbox", ["app"])
    assert ask("GET", f"{NS}/permissions/subscription", status=200) == {"inbox": ["app"]}
    ask("DELETE", f"{NS}/permissions/inbox/app")
    ask("DELETE", f"{NS}/permissions/app")
    assert ask("GET", f"{NS}/permissions", status=200) == {}
    topic = "/admin/v2/persistent/acme/orders/allowed"
    ask("POST", f"{topic}/permissions/app", ["consume"])
    assert ask("GET", f"{topic}/permissions", status=200) == {"app": ["consume"]}
    ask("DELETE", f"{topic}/permissions/app")
    ask("DELETE", f"{topic}/permissions/app", status=412)


def check_properties(ask):
    ask("PUT", f"{NS}/properties", {"a": "1", "b": "2"})
    assert ask("GET", f"{NS}/properties", status=200) == {"a": "1", "b": "2"}
    ask("PUT", f"{NS}/property/c/3")
    assert ask("GET", f"{NS}/property/c", status=200) in (3, "3")
    ask.region.http("DELETE", f"{NS}/property/c")
    ask("DELETE", f"{NS}/properties")
    assert ask("GET", f"{NS}/properties", status=200) == {}


def check_brokers(ask):
    address = f"127.0.0.1:{ask.region.ports['http']}"
    assert ask("GET", "/admin/v2/brokers/health", status=200) == "ok"
    assert ask("GET", "/admin/v2/brokers", status=200) == [address]
    assert ask("GET", "/admin/v2/brokers/standalone", status=200) == [address]
    assert ask("GET", "/admin/v2/brokers/leaderBroker", status=200)["serviceUrl"] == f"http://{address}"
    assert "." in str(ask("GET", "/admin/v2/brokers/version", status=200))
    assert isinstance(ask("GET", "/admin/v2/brokers/configuration", status=200), list)
    lookup = ask("GET", "/lookup/v2/topic/persistent/acme/orders/t", status=200)
    assert lookup["brokerUrl"] == f"pulsar://127.0.0.1:{ask.region.ports['pulsar']}" and "brokerUrlTls" in lookup, lookup
    ask("GET", "/lookup/v2/topic/persistent/nobody/orders/t", status=404)
    ask("GET", "/admin/v2/nonsense", status=404)
    ask("DELETE", "/admin/v2/brokers/health", status=405)
    status, answer = ask.region.ask("GET", "/admin/v2/broker-stats/metrics")
    assert status == 501 and "not built" in answer["reason"], (status, answer)


def main():
    keys = Keys(sys.argv[1], "secret")
    region = Region(sys.argv[1], "standalone", "--config", keys.config(f"{sys.argv[1]}/auth.toml"))
    region.token = keys.token("admin")
    ask = Asker(region)
    for check in (check_tenants, check_namespaces, check_policies, check_permissions, check_properties, check_brokers):
        check(ask)
    ask("DELETE", NS)
    ask("DELETE", "/admin/v2/namespaces/acme/bundled")
    ask("DELETE", "/admin/v2/tenants/acme")
    ask("GET", "/admin/v2/tenants/acme", status=404)
    region.stop()


if __name__ == "__main__":
    main()
