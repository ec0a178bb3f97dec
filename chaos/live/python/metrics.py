"""`/metrics` is Prometheus text, and holds the names that Pulsar's dashboards read, with live values behind them."""

import re
import sys

import pulsar
from region import Region, until

TOPIC = "persistent://public/default/measured"
NAME, LABELS = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? ([-+]?(?:\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|Inf)|NaN)(?: -?\d+)?")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')

# The core names of the dashboards for what Meridian has. Left out, as what they count does not exist here:
# storage_offloaded_size and storage_read_latency_count.
CORE = """topics_count subscriptions_count producers_count consumers_count rate_in rate_out throughput_in throughput_out
    msg_backlog storage_size storage_backlog_size storage_backlog_quota_limit storage_write_rate storage_read_rate
    in_messages_total in_bytes_total out_messages_total out_bytes_total subscription_back_log
    subscription_delayed subscription_msg_rate_out subscription_msg_rate_redeliver subscription_msg_throughput_out
    subscription_unacked_messages ml_cache_used_size ml_cache_evictions ml_cache_hits_rate ml_cache_hits_throughput
    ml_cache_misses_rate ml_cache_misses_throughput consumer_msg_rate_redeliver broker_publish_latency
    broker_publish_latency_count broker_publish_latency_sum version_info""".split()
CORE += ["storage_write_latency_" + end for end in
         "le_0_5 le_1 le_5 le_10 le_20 le_50 le_100 le_200 le_1000 overflow count".split()]
CORE += ["entry_size_" + end for end in
         "le_128 le_512 le_1_kb le_2_kb le_4_kb le_16_kb le_100_kb le_1_mb overflow count".split()]
REPLICATION = ["replication_rate_in", "replication_rate_out", "replication_throughput_in", "replication_throughput_out",
               "replication_backlog"]


def parse(text):
    """name -> [(labels, value)]; every line must be of the format, every family have one TYPE above its lines."""
    families, kinds, last = {}, {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("#"):
            word = re.fullmatch(rf"# (?:TYPE ({NAME}) (counter|gauge|histogram|summary|untyped)|HELP .*)", line)
            assert word, line
            if word.group(1):
                assert word.group(1) not in kinds, f"{word.group(1)} has two TYPE lines"
                kinds[word.group(1)] = word.group(2)
            continue
        sample = SAMPLE.fullmatch(line)
        assert sample, f"this is no sample: {line!r}"
        name, labels, value = sample.groups()
        own = re.sub("_(sum|count)$", "", name)
        family = own if kinds.get(own) == "summary" else name
        assert family in kinds, f"{name} has no TYPE"
        assert name == last or name not in families, f"the lines of {name} do not stand together"
        last = name
        pairs = dict(LABEL.findall(labels or ""))
        assert pairs not in [known for known, _ in families.get(name, [])], f"twice: {line}"
        families.setdefault(name, []).append((pairs, float(value)))
    for name, kind in kinds.items():
        bookkeepers = "_NUM_" in name  # Dashboards read BookKeeper's names as they are.
        assert kind != "counter" or bookkeepers or name.endswith(("_total", "_times")), f"a counter without its ending: {name}"
    return families


def main():
    regions = {name: Region(sys.argv[1], name, "--region-number", str(number)) for name, number in (("east", 1), ("west", 2))}
    region = regions["east"]
    client = region.client()
    consumer = client.subscribe(TOPIC, 's"1\\', consumer_type=pulsar.ConsumerType.Shared)
    producer = client.create_producer(TOPIC, batching_enabled=False)
    for _ in range(10):
        producer.send(b"x" * 1000)
    for _ in range(4):
        consumer.acknowledge(consumer.receive(10000))
    for name, own in regions.items():
        for other, its in regions.items():
            if name != other:
                own.http("PUT", f"/admin/v2/clusters/{other}", its.http("GET", f"/admin/v2/clusters/{other}"))
        own.http("PUT", "/admin/v2/tenants/acme", {"adminRoles": [], "allowedClusters": list(regions)})
        own.http("PUT", "/admin/v2/namespaces/acme/orders", {"replication_clusters": list(regions)})
    client.create_producer("persistent://acme/orders/geo").send(b"over there")

    def read():
        return parse(region.http("GET", "/metrics"))

    def value(name, **labels):
        wanted = {"topic": TOPIC, **labels}
        found = [v for known, v in read().get("pulsar_" + name, []) if wanted.items() <= known.items()]
        return found[0] if len(found) == 1 else None

    until("replication is measured", lambda: "pulsar_replication_backlog" in read())
    families = read()
    missing = [name for name in CORE + REPLICATION if "pulsar_" + name not in families]
    assert not missing, f"names that dashboards read are missing: {missing}"
    for name, samples in families.items():
        for labels, _ in samples:
            assert labels.get("cluster") == "east", (name, labels)
            assert "topic" not in labels or "namespace" in labels or "tenant" in labels, (name, labels)
    assert (value("in_messages_total"), value("producers_count"), value("subscriptions_count")) == (10, 1, 1)
    assert value("in_bytes_total") > 10_000 and value("storage_size") > 10_000
    until("acknowledgements are counted", lambda: value("msg_backlog") == 6)
    assert value("subscription_back_log", subscription='s\\"1\\\\') == 6, families["pulsar_subscription_back_log"]
    assert value("out_messages_total") >= 4
    assert (value("storage_write_latency_count"), value("entry_size_le_2_kb")) == (10, 10)
    assert families["pulsar_broker_publish_latency_count"][0][1] >= 10
    region.http("GET", "/status.html")
    client.close()
    for own in regions.values():
        own.stop()


main()
